"""Turns are fair: laws over any order of asking, ending and giving up, and the refusals one by one."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent.agent_world import settle

from idplane.agent import (
    appservice_2017_errors,
    appservice_errors,
    arc_errors,
    cloudshell_errors,
    imds_errors,
    machinelearning_errors,
    servicefabric_errors,
)
from idplane.agent.fairness import FairShare
from idplane.agent.replies import Reply
from idplane.model.failure import Failure, FailureKind


class Crowd:
    """Callers that ask for turns, hold them until told to end, and write down who was served in what order."""

    def __init__(self, share: FairShare) -> None:
        self.share = share
        self.served: list[str] = []
        self.refused: list[str] = []
        self.holding: list[tuple[str, asyncio.Event]] = []
        self.waiting: list[tuple[str, asyncio.Task[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, caller: str, times: int = 1) -> None:
        for _ in range(times):
            task = asyncio.create_task(self._use(caller))
            self._tasks.add(task)
            self.waiting.append((caller, task))
            await settle()

    async def end(self, index: int = 0) -> None:
        """Let one holder end."""
        _, ended = self.holding.pop(index % len(self.holding))
        ended.set()
        await settle()

    async def give_up(self, index: int) -> None:
        """Let one that waits go away."""
        if self.waiting:
            self.waiting.pop(index % len(self.waiting))[1].cancel()
            await settle()

    async def finish(self) -> None:
        while self.holding:
            await self.end()
        assert not self.waiting, "nobody holds a turn and somebody waits for one"
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def held(self) -> Counter[str]:
        return Counter(caller for caller, _ in self.holding)

    async def _use(self, caller: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            async with self.share.turn(caller):
                self.waiting.remove((caller, task))
                self.served.append(caller)
                ended = asyncio.Event()
                self.holding.append((caller, ended))
                await ended.wait()
        except Failure as failure:
            if failure.kind is not FailureKind.THROTTLED:
                raise
            self.waiting.remove((caller, task))
            self.refused.append(caller)


class Judge:
    """Watches a crowd: who was overtaken how often by whom while it waited below its share."""

    def __init__(self, crowd: Crowd, running: int, each: int) -> None:
        self._crowd = crowd
        self._running = running
        self._each = each
        self._overtaken: defaultdict[str, Counter[str]] = defaultdict(Counter)

    @contextmanager
    def step(self) -> Iterator[None]:
        seen = len(self._crowd.served)
        entitled = self._entitled()
        yield
        for caller in self._crowd.served[seen:]:
            self._overtaken.pop(caller, None)
            for other in entitled - {caller}:
                self._overtaken[other][caller] += 1
        after = self._entitled()
        for gone in self._overtaken.keys() - after:
            del self._overtaken[gone]
        assert all(times <= 1 for counts in self._overtaken.values() for times in counts.values())
        held = self._crowd.held()
        assert held.total() <= self._running
        assert max(held.values(), default=0) <= self._each
        assert not after or held.total() == self._running, "a turn is free and somebody waits for it"
        waiting = {caller for caller, _ in self._crowd.waiting}
        assert self._crowd.share.callers == len(held.keys() | waiting)

    def _entitled(self) -> set[str]:
        held = self._crowd.held()
        return {caller for caller, _ in self._crowd.waiting if held[caller] < self._each}


ASK = st.tuples(st.just("ask"), st.sampled_from("aaaabbcd"))
STEPS = st.lists(
    st.one_of(ASK, ASK, st.tuples(st.just("end"), st.integers(0, 20)), st.tuples(st.just("give up"), st.integers(0, 20))),
    min_size=20,
    max_size=60,
)


@given(steps=STEPS, running=st.integers(1, 5), each=st.integers(1, 3))
def test_nobody_waits_for_more_than_one_turn_of_each_other(steps: list[tuple[str, str | int]], running: int, each: int) -> None:
    async def play() -> None:
        crowd = Crowd(FairShare(running=running, running_each=each, waiting_each=5, waiting=12))
        judge = Judge(crowd, running, each)
        for kind, detail in steps:
            with judge.step():
                if kind == "ask":
                    await crowd.ask(str(detail))
                elif kind == "give up":
                    await crowd.give_up(int(detail))
                elif crowd.holding:
                    await crowd.end(int(detail))
            assert max(Counter(caller for caller, _ in crowd.waiting).values(), default=0) <= 5
            assert len(crowd.waiting) <= 12
        await crowd.finish()
        assert crowd.share.callers == 0

    asyncio.run(play())


async def test_a_noisy_caller_is_refused_alone_and_does_not_delay_another() -> None:
    crowd = Crowd(FairShare(running=4, running_each=3, waiting_each=10))
    await crowd.ask("noisy", 100)
    assert (len(crowd.holding), len(crowd.waiting), len(crowd.refused)) == (3, 10, 87)
    await crowd.ask("quiet", 2)
    assert crowd.served == ["noisy", "noisy", "noisy", "quiet"]  # the second of the quiet one waits for a single end
    await crowd.end()
    assert crowd.served[-1] == "quiet"
    assert set(crowd.refused) == {"noisy"}
    await crowd.finish()


async def test_turns_go_round() -> None:
    crowd = Crowd(FairShare(running=1, running_each=1))
    for caller in "aaabbc":
        await crowd.ask(caller)
    await crowd.finish()
    assert "".join(crowd.served) == "abcaba"


async def test_when_all_rows_are_full_the_longest_makes_room_for_a_newcomer() -> None:
    crowd = Crowd(FairShare(running=1, running_each=1, waiting_each=8, waiting=10))
    await crowd.ask("noisy", 9)
    await crowd.ask("busy", 2)
    await crowd.ask("quiet")
    assert crowd.refused == ["noisy"]
    for number in range(6):
        await crowd.ask(f"newcomer {number}")
    assert crowd.refused == ["noisy"] * 7
    await crowd.ask("one more")
    assert crowd.refused[-1] == "busy"
    await crowd.ask("too many")  # ten callers wait for one turn each: no row is longer than the newcomer's would be
    assert crowd.refused[-1] == "too many"
    await crowd.finish()


async def test_a_turn_that_comes_when_its_waiter_goes_is_passed_on() -> None:
    share = FairShare(running=1)
    await share.take("first")
    waiting = [asyncio.create_task(share.take(name)) for name in ("second", "third")]
    await settle()
    share.give_back("first")  # the second has it now, and has not run since
    waiting[0].cancel()
    await settle()
    assert waiting[0].cancelled()
    assert waiting[1].done()
    share.give_back("third")
    assert share.callers == 0


async def test_a_turn_is_not_given_to_a_waiter_that_is_going() -> None:
    share = FairShare(running=1)
    await share.take("first")
    waiting = [asyncio.create_task(share.take(name)) for name in ("second", "third")]
    await settle()
    waiting[0].cancel()
    share.give_back("first")
    await settle()
    assert waiting[1].done()
    share.give_back("third")
    assert share.callers == 0


async def test_a_place_that_is_given_up_as_it_is_taken_away_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    share = FairShare(running=1, waiting_each=4, waiting=2)
    await share.take("holder")
    waiting = [asyncio.create_task(share.take("noisy")) for _ in range(2)]
    await settle()
    newcomer = asyncio.create_task(share.take("newcomer"))
    await asyncio.sleep(0)
    waiting[1].cancel()
    await settle()
    share.give_back("holder")
    await settle()
    share.give_back("noisy")
    await newcomer
    share.give_back("newcomer")
    assert share.callers == 0
    del waiting
    gc.collect()
    assert not caplog.records


async def test_what_fails_during_a_turn_ends_it() -> None:
    share = FairShare(running=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with share.turn("a"):
                raise ZeroDivisionError
    assert share.callers == 0


RENDERERS = (
    imds_errors,
    appservice_errors,
    appservice_2017_errors,
    arc_errors,
    servicefabric_errors,
    cloudshell_errors,
    machinelearning_errors,
)


@pytest.mark.parametrize("dialect", RENDERERS, ids=lambda it: it.__name__.rpartition(".")[2])
async def test_every_dialect_says_429_and_when_to_come_back(dialect: ModuleType) -> None:
    """In seconds, the one form of `Retry-After` that all SDKs read (MIE section 1.7)."""
    with pytest.raises(Failure) as refused:
        await FairShare(running=0, waiting_each=0).take("noisy")
    answer: Reply = dialect.render(refused.value, "11111111-1111-1111-1111-111111111111", datetime(2026, 1, 1, tzinfo=UTC))
    assert answer.head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert answer.head.count(b"\r\nRetry-After: 1\r\n") == 1
    assert b"waiting already" in answer.body
