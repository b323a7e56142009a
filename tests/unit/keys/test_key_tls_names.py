"""Servers whose settings name different names share one authority for listeners: it grows to sign for all of them, and nobody shrinks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import permutations

import pytest
from cryptography import x509
from tests.unit.keys.keys_world import KeyWorld, a_key_world

from idplane.keys import TlsAuthority
from idplane.keys.lines import line_of
from idplane.keys.moves import Moves, read_line
from idplane.keys.names import LOOPBACK
from idplane.keys.rotation import Activate, Create, retired
from idplane.keys.tls import tls_line
from idplane.model.keys import KeyPurpose, KeyState, SigningKey

ONE, TWO = ("shared.example.com", "one.example.com"), ("shared.example.com", "10.0.0.2")
ALL = {*ONE, *TWO}


@pytest.fixture
async def world() -> AsyncIterator[KeyWorld]:
    async with a_key_world() as made:
        yield made


def _names(authority: TlsAuthority) -> set[str]:
    """What the signing authority may sign, beyond this machine."""
    found = authority.issuer.certificate.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    return {str(one.value).removesuffix("/32") for one in found or []} - {"localhost", "127.0.0.0/8", "::1/128"}


def _active(authority: TlsAuthority) -> SigningKey:
    (found,) = (key for key in authority.keys if key.state is KeyState.ACTIVE)
    return found


async def _settled(*authorities: TlsAuthority, rounds: int = 4) -> list[int]:
    """How many authorities there are after each round of everybody's turns."""
    counts = []
    for _ in range(rounds):
        for one in authorities:
            await one.turn()
        counts.append(len(authorities[0].keys))
    return counts


@pytest.mark.parametrize("order", [(ONE, TWO), (TWO, ONE)])
async def test_one_after_another(world: KeyWorld, order: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    first = await world.tls(*order[0])
    before = first.ca_pem
    second = await world.tls(*order[1])
    await first.refresh()
    assert _names(first) == _names(second) == ALL
    assert first.ca_pem == second.ca_pem
    assert before in first.ca_pem, "what it signed stays good"
    assert await _settled(first, second) == [2, 2, 2, 2]
    for authority, names in ((first, order[0]), (second, order[1])):
        authority.issue(names)


async def test_one_with_fewer_leaves_it_alone(world: KeyWorld) -> None:
    wide = await world.tls(*ONE, *TWO)
    for names in ((), ONE, TWO):
        assert (await world.tls(*names)).ca_pem == wide.ca_pem
    assert len(wide.keys) == 1


@pytest.mark.parametrize("count", [2, 5])
async def test_at_once(world: KeyWorld, count: int) -> None:
    hosts = [("shared.example.com", f"{number}.example.com") for number in range(count)]
    started = await asyncio.gather(*(world.tls(*names) for names in hosts))
    every = {name for names in hosts for name in names}
    for authority, names in zip(started, hosts, strict=True):
        assert set(names) <= _names(authority), "nobody starts with an authority that may not sign its names"
    counts = await _settled(*started)
    assert len(set(counts)) == 1, "and then nothing moves"
    assert all(_names(one) == every for one in started)


async def test_in_any_order_of_three(world: KeyWorld) -> None:
    for number, order in enumerate(permutations(("a", "b", "c"))):
        for label in order:
            await world.tls(f"{label}{number}.example.com")
    last = await world.tls()
    assert _names(last) == {f"{label}{number}.example.com" for number in range(6) for label in "abc"}


async def test_its_successor_and_one_that_was_rotated_by_hand_keep_all_names(world: KeyWorld) -> None:
    first, second = await world.tls(*ONE), await world.tls(*TWO)
    await first.rotate()
    await second.refresh()
    assert _names(second) == ALL
    await _settled(first, second)
    assert _names(first) == ALL


@pytest.mark.parametrize("by_hand", [True, False])
async def test_the_one_after_a_tainted_one_keeps_all_names(world: KeyWorld, *, by_hand: bool) -> None:
    """Whoever taints need not know the names; and those who lack some do not fight about it."""
    first, second = await world.tls(*ONE), await world.tls(*TWO)
    await first.refresh()
    tainted = _active(first).id
    if by_hand:
        line = line_of(KeyPurpose.TLS_AUTHORITY, world.profile, world.custody, world.entropy)
        assert line is not None
        records = await read_line(world.store, line.purpose)
        await world.store.commit(await Moves(line=line, custody=world.custody).taint(records, tainted, world.clock.now()))
        await first.refresh()
    else:
        await first.taint(tainted)
    assert _names(first) == ALL
    await second.refresh()
    assert await _settled(first, second) == [3, 3, 3, 3]
    assert _names(first) == _names(second) == ALL


async def test_an_earlier_one_with_fewer_names_does_not_come_back() -> None:
    """Of two that lack something, each would do for one server: they would replace each other for ever."""
    async with a_key_world() as here, a_key_world() as there:
        (earlier,), (present,) = (await here.tls(*ONE)).keys, (await there.tls(*TWO)).keys
        line = tls_line(here.custody, here.entropy, LOOPBACK.with_hosts(ONE))
        now = here.clock.now()
        plan = Moves(line=line, custody=here.custody).plan([retired(earlier, now), present], now)
        assert plan.steps == (Create(state=KeyState.ACTIVE),)
        wider = _active(await there.tls(*ONE))
        plan = Moves(line=line, custody=here.custody).plan([retired(wider, now), present], now)
        assert plan.steps == (Activate(key_id=wider.id),)
