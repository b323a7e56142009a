"""Notes of when agents were seen: together, quietly, and one process' never in another's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from idplane.directory.sightings import Sightings, shard_of
from idplane.model.calls import Call
from idplane.model.enrollments import AgentSighting
from idplane.ports.collections import AGENT_SIGHTINGS
from idplane.ports.store import Store
from idplane.testing.worlds import FakeClock, memory_store

_AGENTS = [f"agent-{number}" for number in range(60)]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(clock: FakeClock) -> AsyncIterator[Store]:
    opened = await memory_store(clock)
    yield opened
    await opened.close()


def _call(clock: FakeClock, address: str) -> Call:
    return Call(request_id="", correlation_id="", received_at=clock.now(), client_address=address, user_agent="idplane/1")


async def _known(store: Store) -> dict[str, AgentSighting]:
    return {name: seen for row in await store.all(AGENT_SIGHTINGS) for name, seen in row.value.seen.items()}


async def test_a_minute_of_many_agents_wakes_nobody(clock: FakeClock, store: Store) -> None:
    sightings, heard, before = Sightings(store=store, clock=clock), list[object](), await store.position()
    store.subscribe(heard.append)
    for name in _AGENTS:
        sightings.note(name, _call(clock, "::1"))
    await sightings.turn()
    assert (await _known(store)).keys() == set(_AGENTS)
    assert not heard
    assert await store.position() == before


async def test_a_quiet_minute_writes_nothing(clock: FakeClock, store: Store) -> None:
    sightings = Sightings(store=store, clock=clock)
    sightings.note("one", _call(clock, "::1"))
    await sightings.turn()
    (before,) = await store.all(AGENT_SIGHTINGS)
    await sightings.turn()
    assert await store.all(AGENT_SIGHTINGS) == (before,)


async def test_two_servers_that_write_at_once_lose_no_later_news(clock: FakeClock, store: Store) -> None:
    servers = [Sightings(store=store, clock=clock) for _ in range(2)]
    for server in servers:
        for name in _AGENTS:
            server.note(name, _call(clock, "::1"))
    await asyncio.gather(*(server.turn() for server in servers))
    clock.advance(timedelta(minutes=1))
    servers[0].note(_AGENTS[0], _call(clock, "::2"))
    servers[1].note(next(one for one in _AGENTS if shard_of(one) != shard_of(_AGENTS[0])), _call(clock, "::3"))
    await asyncio.gather(*(server.turn() for server in servers))
    addresses = sorted(str(seen.address) for seen in (await _known(store)).values())
    assert addresses[-2:] == ["::2", "::3"]
    assert len(addresses) == len(_AGENTS)


async def test_older_news_never_replaces_later(clock: FakeClock, store: Store) -> None:
    early, late = Sightings(store=store, clock=clock), Sightings(store=store, clock=clock)
    early.note("one", _call(clock, "::1"))
    clock.advance(timedelta(seconds=1))
    late.note("one", _call(clock, "::2"))
    await late.turn()
    await early.turn()
    assert (await _known(store))["one"].address == "::2"
