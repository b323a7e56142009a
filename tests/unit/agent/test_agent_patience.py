"""Clocks, pauses and the moment between requests: what an agent does so that it is neither misled nor taken for a copy of itself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.agent.agent_world import settle

from idplane.agent.backoff import Backoff, chance
from idplane.agent.lanes import Lanes
from idplane.agent.server_clock import ServerClock
from idplane.agent.upstream import UNSETTLED
from idplane.bootstrap.world import SystemEntropy
from idplane.model.failure import Failure, FailureKind
from idplane.testing.worlds import FakeClock, SeededEntropy

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_before_a_server_was_heard_the_hosts_clock_counts() -> None:
    host = FakeClock(NOON)
    assert ServerClock(host).now() == NOON


@pytest.mark.parametrize("wrong", [timedelta(minutes=10), timedelta(minutes=-10), timedelta(days=400), timedelta(days=-400)])
def test_a_server_sets_the_clock_right(wrong: timedelta) -> None:
    host = FakeClock(NOON + wrong)
    clock = ServerClock(host)
    clock.heard(NOON)
    host.advance(60)
    assert clock.now() == NOON + timedelta(minutes=1)


def test_a_host_clock_that_is_set_back_changes_nothing() -> None:
    host = FakeClock(NOON)
    clock = ServerClock(host)
    clock.heard(NOON)
    host.set(NOON - timedelta(hours=1))
    host.advance(60)
    assert clock.now() == NOON + timedelta(minutes=1)


def test_a_machine_that_slept_is_not_believed_to_be_in_the_past() -> None:
    host = FakeClock(NOON)
    clock = ServerClock(host)
    clock.heard(NOON)
    host.set(NOON + timedelta(hours=1))
    assert clock.now() == NOON + timedelta(hours=1)
    clock.heard(NOON)
    assert clock.now() == NOON


def test_dates_without_fractions_do_not_make_the_clock_tremble() -> None:
    host = FakeClock(NOON + timedelta(milliseconds=900))
    clock = ServerClock(host)
    clock.heard(NOON)
    assert clock.corrected == 0
    assert clock.now() == NOON + timedelta(milliseconds=900)


def test_pauses_grow_to_a_bound_and_differ() -> None:
    backoff = Backoff(entropy=SeededEntropy(), first=1.0, most=8.0)
    pauses = [backoff.pause() for _ in range(200)]
    assert all(0 <= pause <= min(8.0, 2.0**number) for number, pause in enumerate(pauses))
    assert max(pauses) > 7
    assert len(set(pauses)) == 200
    backoff.reset()
    assert backoff.pause() <= 1.0


def test_a_thousand_agents_do_not_come_back_at_once() -> None:
    pauses = sorted(Backoff(entropy=SystemEntropy(), first=0.5, most=10.0).pause() for _ in range(1000))
    most = max(sum(1 for one in pauses if start / 50 <= one < (start + 1) / 50) for start in range(25))
    assert most < 120  # of 1,000 in any 20 ms, where an even spread has 40


def test_chance_is_a_share() -> None:
    assert all(0 <= chance(SeededEntropy(str(one))) <= 1 for one in range(100))


class Requests:
    """Requests that end when the test says so."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.lanes = Lanes(self.clock)
        self.identity = "old"
        self.seen: list[str] = []

    async def one(self, gate: asyncio.Event, *, poll: bool = False, failing: bool = False) -> None:
        async with self.lanes.request(poll=poll):
            self.seen.append(self.identity)
            await gate.wait()
            if failing:
                raise Failure(FailureKind.UNAVAILABLE, "lost", **{UNSETTLED: "yes"})

    async def change(self) -> None:
        async with self.lanes.quiet():
            self.identity = "new"


async def test_the_identity_changes_when_no_request_is_under_way_and_those_to_come_wait() -> None:
    requests = Requests()
    gates = {name: asyncio.Event() for name in ("poll", "call", "later")}
    poll = asyncio.ensure_future(requests.one(gates["poll"], poll=True))
    call = asyncio.ensure_future(requests.one(gates["call"]))
    await settle()
    change = asyncio.ensure_future(requests.change())
    await settle()
    during = asyncio.Event()
    during.set()
    await requests.one(during)  # while the poll is waited for, everything else goes on
    gates["poll"].set()
    await poll
    await settle()
    later = asyncio.ensure_future(requests.one(during))
    await settle()
    assert requests.seen == ["old", "old", "old"]
    gates["call"].set()
    await asyncio.gather(call, change, later)
    assert requests.seen == ["old", "old", "old", "new"]


async def test_a_request_whose_answer_was_lost_is_waited_out() -> None:
    requests = Requests()
    ready = asyncio.Event()
    ready.set()
    with pytest.raises(Failure):
        await requests.one(ready, failing=True)
    change = asyncio.ensure_future(requests.change())
    for _ in range(12):
        requests.clock.advance(10)
        await settle()
        assert requests.identity == "old"
        await requests.one(ready)
    requests.clock.advance(15)
    await change
    assert requests.identity == "new"


async def test_a_change_that_is_given_up_lets_requests_through() -> None:
    requests = Requests()
    gate, ready = asyncio.Event(), asyncio.Event()
    ready.set()
    poll = asyncio.ensure_future(requests.one(gate, poll=True))
    await settle()
    change = asyncio.ensure_future(requests.change())
    await settle()
    change.cancel()
    await asyncio.gather(change, return_exceptions=True)
    await requests.one(ready, poll=True)
    gate.set()
    await poll
    assert requests.identity == "old"
