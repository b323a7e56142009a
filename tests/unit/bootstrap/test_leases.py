import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from idplane.bootstrap.leases import Duties, Duty, Leases
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import LEASES, SETTINGS
from idplane.ports.store import ABSENT, Batch, CommitRefused, Put, RefusedBecause
from idplane.store.sqlite import SqliteStore
from idplane.testing import store_samples as sample
from idplane.testing.worlds import FakeClock, memory_store

_LENGTH = 12.0


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    opened = await memory_store()
    yield opened
    await opened.close()


def _leases(store: SqliteStore, holder: str, clock: FakeClock) -> Leases:
    return Leases(store=store, clock=clock, holder=holder, length=_LENGTH)


async def _settle() -> None:
    """Let every task go as far as it can without the clock; the store's thread answers in between."""
    for _ in range(60):
        await asyncio.wait({asyncio.ensure_future(asyncio.to_thread(int))})


class TestOneLease:
    async def test_the_first_one_takes_it_and_the_second_does_not(self, store: SqliteStore) -> None:
        clock = FakeClock()
        one, two = _leases(store, "one", clock), _leases(store, "two", clock)
        await one.beat(["purge"])
        await two.beat(["purge"])
        assert (one.holds("purge"), two.holds("purge")) == (True, False)
        assert not one.holds("another")

    async def test_of_many_that_ask_at_once_exactly_one_gets_it(self, store: SqliteStore) -> None:
        many = [_leases(store, str(number), FakeClock()) for number in range(20)]
        await asyncio.gather(*(one.beat(["purge"]) for one in many))
        assert sum(one.holds("purge") for one in many) == 1

    async def test_a_holder_that_renews_keeps_it(self, store: SqliteStore) -> None:
        clock = FakeClock()
        one, two = _leases(store, "one", clock), _leases(store, "two", clock)
        for _ in range(20):
            await one.beat(["purge"])
            await two.beat(["purge"])
            assert (one.holds("purge"), two.holds("purge")) == (True, False)
            clock.advance(one.beat_seconds)

    async def test_one_that_is_gone_is_followed_after_the_whole_length_on_the_others_clock(self, store: SqliteStore) -> None:
        one, clock = _leases(store, "one", FakeClock()), FakeClock()
        two = _leases(store, "two", clock)
        await one.beat(["purge"])
        await two.beat(["purge"])
        clock.advance(_LENGTH - 0.01)
        await two.beat(["purge"])
        assert not two.holds("purge")
        clock.advance(0.01)
        await two.beat(["purge"])
        assert two.holds("purge")
        assert (await store.all(LEASES))[0].value == sample.lease("purge", "two", 2)

    async def test_a_wall_clock_that_jumps_changes_nothing(self, store: SqliteStore) -> None:
        clock = FakeClock()
        one, two = _leases(store, "one", clock), _leases(store, "two", clock)
        await one.beat(["purge"])
        await two.beat(["purge"])
        for year in (2016, 2036):
            clock.set(datetime(year, 1, 1, tzinfo=UTC))
            await two.beat(["purge"])
            assert (one.holds("purge"), two.holds("purge")) == (True, False)

    async def test_a_holder_stops_before_anybody_may_follow(self, store: SqliteStore) -> None:
        clock = FakeClock()
        one = _leases(store, "one", clock)
        await one.beat(["purge"])
        clock.advance(_LENGTH * 2 / 3)
        assert not one.holds("purge")

    async def test_a_holder_that_was_frozen_finds_that_it_lost_it(self, store: SqliteStore) -> None:
        frozen, clock = FakeClock(), FakeClock()
        one, two = _leases(store, "one", frozen), _leases(store, "two", clock)
        await one.beat(["purge"])
        await two.beat(["purge"])
        clock.advance(_LENGTH)
        await two.beat(["purge"])
        frozen.advance(_LENGTH)
        assert not one.holds("purge")
        await one.beat(["purge"])
        assert (one.holds("purge"), two.holds("purge")) == (False, True)

    async def test_a_holder_that_was_frozen_while_nobody_followed_goes_on(self, store: SqliteStore) -> None:
        clock = FakeClock()
        one = _leases(store, "one", clock)
        await one.beat(["purge"])
        clock.advance(_LENGTH * 5)
        await one.beat(["purge"])
        assert one.holds("purge")
        assert (await store.all(LEASES))[0].value.term == 1

    async def test_what_is_handed_over_can_be_taken_at_once(self, store: SqliteStore) -> None:
        one, two = _leases(store, "one", FakeClock()), _leases(store, "two", FakeClock())
        await one.beat(["purge", "trim"])
        await two.beat(["purge", "trim"])
        await one.hand_over()
        assert not one.holds("purge")
        await two.beat(["purge", "trim"])
        assert two.holds("purge")
        assert two.holds("trim")

    async def test_handing_over_takes_nothing_from_another(self, store: SqliteStore) -> None:
        one, two = _leases(store, "one", FakeClock()), _leases(store, "two", FakeClock())
        await two.beat(["purge"])
        await one.hand_over()
        assert (await store.all(LEASES))[0].value.holder == "two"

    async def test_losing_one_lease_does_not_lose_the_others(self, store: SqliteStore) -> None:
        one = _leases(store, "one", FakeClock())
        await one.beat(["purge", "trim"])
        (purge,) = [row for row in await store.all(LEASES) if row.value.name == "purge"]

        class Racing:
            """The store as it is when another server is faster between this one's look and its renewal."""

            def __getattr__(self, name: str) -> object:
                return getattr(store, name)

            async def all(self, *_: object) -> object:
                rows = await store.all(LEASES)
                await store.commit(
                    Batch.of(Put(collection=LEASES, value=sample.lease("purge", "two", 2), expect=purge.version))
                )
                return rows

        one._store = Racing()  # type: ignore[assignment]  # between two awaits of one method nobody else can step in
        await one.beat(["purge", "trim"])
        assert (one.holds("purge"), one.holds("trim")) == (False, True)

    async def test_nothing_of_it_is_in_the_feed(self, store: SqliteStore) -> None:
        one = _leases(store, "one", FakeClock())
        for _ in range(3):
            await one.beat(["purge"])
        assert await store.position() == 0


class TestDuties:
    async def test_without_leases_everything_is_done_here(self, store: SqliteStore) -> None:
        del store
        clock, done = FakeClock(), _Done()
        running = asyncio.ensure_future(Duties([done.duty("a"), done.duty("b", every_replica=True)], clock=clock).run())
        await _settle()
        assert sorted(done.turns) == ["a", "b"]
        await _cancel(running)

    async def test_what_is_shared_is_done_by_one_and_the_rest_by_each(self, store: SqliteStore) -> None:
        clock, done = FakeClock(), _Done()
        duties = [done.duty("shared"), done.duty("each", every_replica=True)]
        running = [
            asyncio.ensure_future(Duties(duties, clock=clock, leases=_leases(store, name, clock)).run())
            for name in ("one", "two")
        ]
        for turn in range(1, 4):
            await _settle()
            assert done.turns.count("each") == 2 * turn
            assert done.turns.count("shared") == turn
            for _ in range(10):
                clock.advance(3)
                await _settle()
        for one in running:
            await _cancel(one)

    async def test_the_next_one_goes_on_as_soon_as_the_first_ends(self, store: SqliteStore) -> None:
        clock = FakeClock()
        ours, theirs = _Done(), _Done()
        one = asyncio.ensure_future(Duties([ours.duty("a")], clock=clock, leases=_leases(store, "one", clock)).run())
        await _settle()
        two = asyncio.ensure_future(Duties([theirs.duty("a")], clock=clock, leases=_leases(store, "two", clock)).run())
        await _settle()
        assert (ours.turns, theirs.turns) == (["a"], [])
        await _cancel(one)
        clock.advance(3)
        await _settle()
        assert theirs.turns == ["a"]
        await _cancel(two)

    async def test_a_holder_that_cannot_renew_takes_no_turn(self, store: SqliteStore) -> None:
        clock, done = FakeClock(), _Done()
        leases = _leases(store, "one", clock)
        running = asyncio.ensure_future(Duties([done.duty("a", seconds=1)], clock=clock, leases=leases).run())
        await _settle()
        leases._store = _Away()  # type: ignore[assignment]  # the database goes away under a running duty
        for _ in range(20):
            clock.advance(1)
            await _settle()
        assert len(done.turns) <= 1 + _LENGTH * 2 / 3
        taken = len(done.turns)
        clock.advance(5)
        await _settle()
        assert len(done.turns) == taken
        await _cancel(running)

    @pytest.mark.parametrize(
        "error", [Failure(FailureKind.UNAVAILABLE, "away"), CommitRefused(RefusedBecause.VERSION, "settings", "a")], ids=str
    )
    async def test_a_turn_that_fails_is_taken_again(self, error: Exception) -> None:
        clock, done = FakeClock(), _Done(error)
        running = asyncio.ensure_future(Duties([done.duty("a")], clock=clock).run())
        for turn in range(1, 4):
            await _settle()
            assert done.turns == ["a"] * turn
            clock.advance(30)
        await _cancel(running)

    async def test_a_bug_ends_everything(self) -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await Duties([_Done(KeyError("bug")).duty("a"), _Done().duty("b")], clock=FakeClock()).run()
        assert [type(one) for one in caught.value.exceptions] == [KeyError]

    async def test_nobody_sleeps_until_a_far_instant_or_not_at_all(self) -> None:
        clock, done = FakeClock(), _Done()
        running = asyncio.ensure_future(Duties([done.duty("never"), done.duty("always", seconds=-5)], clock=clock).run())
        for _ in range(30):
            await _settle()
            clock.advance(1)
        await _settle()
        assert done.turns.count("never") == 2
        assert done.turns.count("always") == 31
        await _cancel(running)


class _Done:
    """Which turns were taken."""

    def __init__(self, error: Exception | None = None) -> None:
        self.turns: list[str] = []
        self._error = error

    def duty(self, name: str, *, every_replica: bool = False, seconds: float | None = None) -> Duty:
        async def turn() -> datetime | None:
            self.turns.append(name)
            if self._error is not None:
                raise self._error
            return None if seconds is None else datetime.fromtimestamp(0, UTC)

        return Duty(name=name, turn=turn, every_replica=every_replica)


class _Away:
    async def all(self, *_: object) -> object:
        raise Failure(FailureKind.UNAVAILABLE, "away")


async def _cancel(running: "asyncio.Future[None]") -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_duty_that_woke_too_late_is_refused_by_what_it_read(store: SqliteStore) -> None:
    """Fencing: two servers in the same turn, and only one of them changes anything."""
    await store.commit(Batch.of(Put(collection=SETTINGS, value=sample.setting("a", "0"), expect=ABSENT)))
    read = await store.get(SETTINGS, "a")
    assert read is not None
    await store.commit(Batch.of(Put(collection=SETTINGS, value=sample.setting("a", "new"), expect=read.version)))
    with pytest.raises(CommitRefused):
        await store.commit(Batch.of(Put(collection=SETTINGS, value=sample.setting("a", "stale"), expect=read.version)))
