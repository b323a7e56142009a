"""Assertions that count once, where their application says so; and everywhere else what real clients do with one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from tests.unit.sts.sts_world import ARM, StsWorld, key_pair, replacing, rsa_pair

from idplane.directory.clients import certificate_credential
from idplane.jose import Algorithm, b64url, b64url_decode, new_ec_key
from idplane.model.directory import AssertionUse, CredentialKind
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import CREDENTIALS, PRINCIPALS, SPENT_PROOFS
from idplane.ports.store import ABSENT, Put
from idplane.sts import TokenRequest
from idplane.sts.upkeep import SignInUpkeep

VAULT = "https://vault.azure.net"
REPLAYED = FailureKind.ASSERTION_REPLAYED


@pytest.fixture
async def world() -> AsyncIterator[StsWorld]:
    opened = await StsWorld.open()
    await says(opened, AssertionUse.ONCE)
    yield opened
    await opened.store.close()


async def says(world: StsWorld, use: AssertionUse) -> None:
    await world.commit(replacing(PRINCIPALS, replace(world.app, assertion_use=use)))


async def outcome(world: StsWorld, request: TokenRequest) -> FailureKind | None:
    try:
        await world.service.issue(request, world.call())
    except Failure as failure:
        return failure.kind
    return None


def shown(world: StsWorld, *, audience: str = ARM, **claims: object) -> TokenRequest:
    return world.by_assertion(world.assertion(rsa_pair(), claims=claims), audience=audience)


async def test_the_second_use_is_refused_and_recorded(world: StsWorld) -> None:
    request = shown(world)
    assert await outcome(world, request) is None
    for _ in range(3):
        assert await outcome(world, request) is REPLAYED
    good, *bad = await world.sign_ins()
    assert (good.error_code, len(bad)) == (0, 3)
    for record in bad:
        assert (record.error_code, record.principal_id, record.token_id) == (50013, world.app.id, None)
        assert record.credential_id == good.credential_id
        assert "used before" in record.failure_reason
    assert await outcome(world, shown(world, jti="two")) is None, "the client itself goes on"


async def test_of_many_at_once_one_wins(world: StsWorld) -> None:
    request = shown(world)
    outcomes = await asyncio.gather(*(outcome(world, request) for _ in range(30)))
    assert Counter(outcomes) == {None: 1, REPLAYED: 29}
    assert [one.error_code for one in await world.sign_ins()].count(0) == 1


@pytest.mark.parametrize("resource", [ARM, ARM.rstrip("/"), VAULT])
async def test_once_is_once_for_all_resources(world: StsWorld, resource: str) -> None:
    assert await outcome(world, shown(world)) is None
    assert await outcome(world, shown(world, audience=resource)) is REPLAYED


async def test_once_for_each_resource_whatever_its_spelling(world: StsWorld) -> None:
    await says(world, AssertionUse.ONCE_PER_RESOURCE)
    assert await outcome(world, shown(world)) is None
    assert await outcome(world, shown(world, audience=VAULT)) is None
    for resource in (ARM, ARM.rstrip("/"), "https://management.core.windows.net/", VAULT, f"{VAULT}/"):
        assert await outcome(world, shown(world, audience=resource)) is REPLAYED, resource


async def test_another_signature_of_the_same_claims_is_the_same_assertion(world: StsWorld) -> None:
    """RSA-PSS signs anew each time, and an ECDSA signature has a twin that needs no key."""
    assert await outcome(world, world.by_assertion(world.assertion(rsa_pair(), Algorithm.PS256))) is None
    assert await outcome(world, world.by_assertion(world.assertion(rsa_pair(), Algorithm.PS256))) is REPLAYED
    pair = key_pair(new_ec_key())
    own = certificate_credential(world.app, certificate=pair.certificate, entropy=world.entropy)
    await world.commit(Put(collection=CREDENTIALS, value=own, expect=ABSENT))
    assertion = world.assertion(pair, Algorithm.ES256, {"jti": "curve"})
    assert await outcome(world, world.by_assertion(assertion)) is None
    assert await outcome(world, world.by_assertion(twin_of(assertion))) is REPLAYED


def twin_of(assertion: str) -> str:
    head, _, signature = assertion.rpartition(".")
    raw = b64url_decode(signature)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = decode_dss_signature(encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:])))
    return f"{head}.{b64url(r.to_bytes(32) + (order - s).to_bytes(32))}"


@pytest.mark.parametrize("claims", [{"jti": None}, {"jti": ""}, {"jti": 7}, {"jti": "x" * 513}])
async def test_each_needs_an_id(world: StsWorld, claims: dict[str, Any]) -> None:
    assert await outcome(world, shown(world, **claims)) is FailureKind.ASSERTION_INVALID
    assert (await world.sign_ins())[-1].error_code == 700027
    await says(world, AssertionUse.ANY)
    assert await outcome(world, shown(world, **claims)) is None, "as for everybody who does not ask for it"


async def test_the_setting_counts_from_its_commit_on(world: StsWorld) -> None:
    """Nothing that a server remembers of an assertion that was used often outlives it."""
    await says(world, AssertionUse.ANY)
    request = shown(world)
    for _ in range(4):
        assert await outcome(world, request) is None
    await says(world, AssertionUse.ONCE)
    assert await outcome(world, request) is None, "its first use that is counted"
    assert await outcome(world, request) is REPLAYED
    await says(world, AssertionUse.ANY)
    assert await outcome(world, request) is None


async def test_a_refusal_uses_nothing_up(world: StsWorld) -> None:
    assert await outcome(world, shown(world, audience="https://nowhere.example")) is FailureKind.AUDIENCE_UNKNOWN
    assert await outcome(world, shown(world)) is None


async def test_as_a_client_at_other_endpoints(world: StsWorld) -> None:
    request = shown(world)
    assert (await world.service.client(request, world.call())).id == world.app.id
    with pytest.raises(Failure) as raised:
        await world.service.client(request, world.call())
    assert raised.value.kind is REPLAYED
    assert await outcome(world, request) is REPLAYED
    assert [one.error_code for one in await world.sign_ins()] == [50013, 50013]


async def test_secrets_and_managed_identities_are_as_they_were(world: StsWorld) -> None:
    for request in (world.by_secret(), world.by_agent(world.system)):
        for _ in range(3):
            assert await outcome(world, request) is None


async def test_uses_are_kept_while_the_assertion_could_be_shown_and_no_longer(world: StsWorld) -> None:
    request = shown(world)
    assert await outcome(world, request) is None
    late = FailureKind.ASSERTION_TIME
    # Ten minutes longer than it counts: the clocks of other servers may be behind.
    for minutes, expected, kept in ((14, REPLAYED, 1), (1, late, 1), (10, late, 1), (1, late, 0)):
        world.clock.advance(timedelta(minutes=minutes))
        assert await outcome(world, request) is expected
        await SignInUpkeep(store=world.store).purge_due(world.clock.now())
        assert len(await world.store.all(SPENT_PROOFS)) == kept


async def test_the_record_of_a_use_does_not_hold_the_assertion(world: StsWorld) -> None:
    assert await outcome(world, shown(world, jti="an-id-to-look-for")) is None
    (row,) = await world.store.all(SPENT_PROOFS)
    assert "an-id-to-look-for" not in repr(row.value)
    kinds = {one.value.kind for one in await world.store.all(CREDENTIALS)}
    assert CredentialKind.CERTIFICATE in kinds
