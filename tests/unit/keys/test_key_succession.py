"""Authorities that follow one another, and what vouches for what they issued."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from cryptography import x509
from tests.unit.keys.keys_world import KeyWorld, a_key_world

from idplane.jose import make_csr, new_ec_key
from idplane.keys import CredentialAuthority, TlsAuthority
from idplane.keys.roots import OUTLIVED, PACE
from idplane.keys.rotation import GRACE
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyState

DAY = timedelta(days=1)
AUTHORITIES: list[Callable[[KeyWorld], Awaitable[CredentialAuthority | TlsAuthority]]] = [KeyWorld.credentials, KeyWorld.tls]


@pytest.fixture
async def key_world() -> AsyncIterator[KeyWorld]:
    async with a_key_world() as world:
        yield world


def anchors(authority: CredentialAuthority | TlsAuthority) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(authority.trust_pem)


def states(authority: CredentialAuthority | TlsAuthority) -> list[KeyState]:
    return [key.state for key in authority.keys]


def certified(authority: CredentialAuthority) -> bytes:
    return authority.issue_agent(make_csr(new_ec_key(), "agent"), "agent")


@pytest.mark.parametrize("opened", AUTHORITIES)
async def test_a_successor_is_trusted_before_it_signs_and_its_predecessor_after(
    key_world: KeyWorld, opened: Callable[[KeyWorld], Awaitable[CredentialAuthority | TlsAuthority]]
) -> None:
    authority = await opened(key_world)
    first = authority.issuer.pem
    key_world.clock.advance(PACE.lifetime - PACE.lead)
    await authority.turn()
    assert states(authority) == [KeyState.ACTIVE, KeyState.PREPARED]
    assert authority.issuer.pem == first
    assert len(anchors(authority)) == 2
    published = set(anchors(authority))
    key_world.clock.advance(PACE.lead)
    await authority.turn()
    assert states(authority) == [KeyState.RETIRED, KeyState.ACTIVE]
    assert authority.issuer.pem != first
    assert set(anchors(authority)) == published
    key_world.clock.advance(OUTLIVED + GRACE)
    await authority.turn()
    assert states(authority) == [KeyState.ACTIVE]
    assert x509.load_pem_x509_certificate(first) not in anchors(authority)


async def test_what_a_retired_authority_issued_is_good_until_it_is_gone(key_world: KeyWorld) -> None:
    authority = await key_world.credentials()
    held = certified(authority)
    assert authority.is_current(held)
    await authority.rotate()
    assert authority.vouches_for(held)
    assert not authority.is_current(held), "it is time for a new one"
    assert authority.is_current(certified(authority))
    key_world.clock.advance(OUTLIVED + GRACE)
    await authority.turn()
    assert not authority.vouches_for(held)


async def test_what_a_tainted_authority_issued_counts_for_nothing_on_any_replica(key_world: KeyWorld) -> None:
    one, two = await key_world.credentials(), await key_world.credentials()
    held, tainted = certified(one), one.keys[0].id
    assert await two.vouched(held)
    before = two.trust_pem
    await one.taint(tainted)
    assert not await one.vouched(held)
    assert not await two.vouched(held)
    assert before not in two.trust_pem
    assert await two.vouched(certified(one))
    with pytest.raises(Failure) as caught:
        await one.taint("nobody's")
    assert caught.value.kind is FailureKind.INVALID_PARAMETER


async def test_a_tainted_authoritys_private_part_is_gone(key_world: KeyWorld) -> None:
    authority = await key_world.credentials()
    await authority.taint(authority.keys[0].id)
    tainted = next(key for key in authority.keys if key.tainted)
    assert tainted.sealed == b""
    assert tainted.state is KeyState.RETIRED


async def test_nobody_elses_certificates_are_vouched_for(key_world: KeyWorld) -> None:
    authority = await key_world.credentials()
    async with a_key_world() as elsewhere:
        foreign = certified(await elsewhere.credentials())
    tls = await key_world.tls()
    for stranger in (foreign, b"", b"\x30\x00", authority.keys[0].certificate, tls.keys[0].certificate):
        assert not authority.vouches_for(stranger)


async def test_a_successor_may_sign_what_its_predecessor_could(key_world: KeyWorld) -> None:
    """Whoever rotates by hand need not know the names of the servers."""
    named = await key_world.tls("plane.example.com")
    unaware = await key_world.tls()
    key_world.clock.advance(DAY)
    await unaware.rotate()
    await named.refresh()
    assert states(named) == [KeyState.RETIRED, KeyState.ACTIVE]
    named.issue(["plane.example.com"])
    await named.turn()
    assert states(named) == [KeyState.RETIRED, KeyState.ACTIVE], "it suits, so that no other is made"


async def test_replicas_that_rotate_and_taint_at_once_end_with_one_authority(key_world: KeyWorld) -> None:
    replicas = [await key_world.credentials() for _ in range(3)]
    first = replicas[0].keys[0].id
    await asyncio.gather(*(one.rotate() for one in replicas), *(one.taint(first) for one in replicas))
    for one in replicas:
        await one.turn()
    assert len({one.trust_pem for one in replicas}) == 1
    assert states(replicas[0]).count(KeyState.ACTIVE) == 1


async def test_a_closed_authority_no_longer_listens(key_world: KeyWorld) -> None:
    one, two = await key_world.credentials(), await key_world.credentials()
    two.close()
    two.close()
    held = certified(two)
    await one.taint(one.keys[0].id)
    assert await two.vouched(held)
