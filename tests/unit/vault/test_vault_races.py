"""Callers at the same secret at once: nobody's version is lost, nothing half-done stays, whoever keeps losing is told."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.vault.vault_world import VAULT, World, vault_world

from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import AZURE
from idplane.model.vault import SecretVersion
from idplane.ports.collections import RESOURCES, SECRETS
from idplane.ports.store import Batch, CommitRefused, Delete, RefusedBecause, Store
from idplane.rbac import AccessControl
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy
from idplane.vault import SecretDraft, SecretVault, find_vault


async def _stored(world: World) -> list[SecretVersion]:
    return sorted((one.value for one in await world.store.all(SECRETS)), key=lambda it: it.sequence)


def _is_whole(versions: list[SecretVersion]) -> None:
    assert [one.sequence for one in versions] == list(range(1, len(versions) + 1))
    assert all(one.deleted_at is None for one in versions[:-1])


@pytest.mark.parametrize("writers", [2, 10, 40])
async def test_sets_at_once_each_become_a_version_or_are_told(world: World, writers: int) -> None:
    answers = await asyncio.gather(*(world.send("PUT", "/secrets/s", {"value": str(number)}) for number in range(writers)))
    made = {json.loads(one.body)["id"].rsplit("/", 1)[1] for one in answers if one.status == 200}
    versions = await _stored(world)
    assert {one.version for one in versions} == made
    _is_whole(versions)
    assert {one.status for one in answers} <= ({200} if writers <= 10 else {200, 409})
    current = await world.ok("GET", "/secrets/s")
    assert current["id"].endswith(versions[-1].version)


_STEPS = st.lists(st.sampled_from(["set", "set", "update", "delete", "recover", "purge"]), min_size=2, max_size=10)
_REQUESTS = {
    "set": ("PUT", "/secrets/s", {"value": "v"}),
    "update": ("PATCH", "/secrets/s", {"tags": {"a": "b"}}),
    "delete": ("DELETE", "/secrets/s", None),
    "recover": ("POST", "/deletedsecrets/s/recover", None),
    "purge": ("DELETE", "/deletedsecrets/s", None),
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_STEPS, min_size=1, max_size=3))
async def test_any_operations_at_once_leave_a_whole_secret(rounds: list[list[str]]) -> None:
    async with vault_world() as world:
        for steps in rounds:
            answers = await asyncio.gather(*(world.send(*_REQUESTS[step]) for step in steps))
            assert {one.status for one in answers} <= {200, 204, 404, 409}
            _is_whole(await _stored(world))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(min_value=0, max_value=70), st.integers(min_value=1, max_value=25))
async def test_the_current_version_and_all_pages_are_found_however_many_there_are(count: int, size: int) -> None:
    async with vault_world() as world:
        for number in range(count):
            await world.ok("PUT", "/secrets/s", {"value": str(number)})
            await world.ok("PUT", f"/secrets/t{number}", {"value": "x"})
        if count:
            assert (await world.ok("GET", "/secrets/s"))["value"] == str(count - 1)
        versions = await _collected(world, f"/secrets/s/versions?maxresults={size}")
        assert len(versions) == len(set(versions)) == count
        secrets = await _collected(world, f"/secrets?maxresults={size}")
        assert len(secrets) == len(set(secrets)) == (count + 1 if count else 0)


async def _collected(world: World, path: str) -> list[str]:
    found: list[str] = []
    while path:
        shown = await world.ok("GET", path, version="7.4" if "api-version" not in path else "")
        found += [item["id"] for item in shown["value"]]
        path = (shown["nextLink"] or "").removeprefix("https://stock.vault.localhost:8443")
    return found


class _Contended:
    """A store whose commits always lose the race."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.commits = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def commit(self, batch: Batch, /) -> int:
        self.commits += 1
        raise CommitRefused(RefusedBecause.VERSION, SECRETS.name, str(len(batch.operations)))


async def test_who_loses_every_race_is_told_after_a_bounded_number_of_tries(world: World) -> None:
    contended = _Contended(world.store)
    vault = SecretVault(
        store=cast("Store", contended),
        custody=MemoryCustody(),
        access=AccessControl(store=world.store),
        clock=FakeClock(),
        entropy=SeededEntropy(),
        profile=AZURE,
    )
    caller, stock = world.tokens.known["officer"], await find_vault(world.store, "stock")
    with pytest.raises(Failure) as caught:
        await vault.set(caller, stock, "s", lambda: SecretDraft(value="v"))
    assert caught.value.kind is FailureKind.CONFLICT
    assert contended.commits == 10


async def test_a_set_into_a_vault_that_goes_away_says_so(world: World) -> None:
    caller, stock = world.tokens.known["officer"], await find_vault(world.store, "stock")
    await world.store.commit(Batch.of(Delete(collection=RESOURCES, key=VAULT.key)))
    with pytest.raises(Failure) as caught:
        await world.vault.set(caller, stock, "s", lambda: SecretDraft(value="v"))
    assert caught.value.kind is FailureKind.VAULT_NOT_FOUND


async def test_a_due_purge_that_loses_the_race_is_due_again(world: World) -> None:
    await world.ok("PUT", "/secrets/s", {"value": "v"})
    shown = await world.ok("DELETE", "/secrets/s")
    world.clock.advance(shown["scheduledPurgeDate"] - shown["deletedDate"])
    contended = _Contended(world.store)
    vault = SecretVault(
        store=cast("Store", contended),
        custody=MemoryCustody(),
        access=AccessControl(store=world.store),
        clock=world.clock,
        entropy=SeededEntropy(),
        profile=AZURE,
    )
    assert await vault.purge_due(world.clock.now()) == world.clock.now()
    assert await world.vault.purge_due(world.clock.now()) is None


async def test_values_are_sealed_and_bound_to_their_place(world: World) -> None:
    await world.ok("PUT", "/secrets/a", {"value": "hunter2-of-a"})
    await world.ok("PUT", "/secrets/b", {"value": "hunter2-of-b"})
    first, second = await _stored(world)
    assert b"hunter2" not in first.sealed + second.sealed
    custody = MemoryCustody()
    with pytest.raises(Failure):
        custody.unseal(first.sealed, context=second.key)
    assert custody.unseal(first.sealed, context=first.key) in {b"hunter2-of-a", b"hunter2-of-b"}
