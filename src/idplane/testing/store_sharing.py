"""The part of the store conformance suite that needs one database twice: reopened, shared, or killed.

Users import it from `idplane.testing.store_conformance`.
"""
# ruff: noqa: D102, PLR2004 - a test's name says what it asserts, and its numbers are the expected values

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from idplane.model.events import ActivityEvent
from idplane.ports.collections import ACTIVITY, SETTINGS, SIGN_INS
from idplane.ports.store import Append, Batch, Change, CommitRefused, Logged, Order, Put, Store, Versioned
from idplane.testing import store_samples as sample

__all__ = ["Opener", "SharedStoreConformance", "acknowledge", "committer", "verify_acknowledged"]

Opener: TypeAlias = Callable[[], Awaitable[Store]]
"""Opens the store under test, migrated and ready."""


class SharedStoreConformance:
    """What holds when one database is opened again, or twice at once. Subclasses provide the fixture `opener`."""

    async def test_everything_is_there_after_reopening(self, opener: Opener) -> None:
        first = await opener()
        await first.commit(sample.everything() + Batch.of(Append(log=ACTIVITY, event=sample.activity("1"))))
        feed = await first.changes(0)
        await first.close()
        second = await opener()
        for one in sample.everything().operations:
            assert isinstance(one, Put)
            assert await second.get(one.collection, one.collection.key(one.value)) == Versioned(one.value, 1)
        assert [one.event for one in await second.read_log(ACTIVITY)] == [sample.activity("1")]
        assert await second.changes(0) == feed
        assert await _put(second, "next") == feed[-1].position + 1
        await second.close()

    async def test_two_stores_on_one_database_agree(self, opener: Opener) -> None:
        one, two = await opener(), await opener()
        results = await asyncio.gather(
            *(_put(store, f"{number:02}") for number in range(20) for store in (one, two)), return_exceptions=True
        )
        assert sum(isinstance(result, int) for result in results) == 20
        assert all(isinstance(result, int | CommitRefused) for result in results)
        assert await one.all(SETTINGS) == await two.all(SETTINGS)
        await one.close()
        await two.close()

    async def test_whoever_follows_the_feed_misses_nothing(self, opener: Opener) -> None:
        stores = [await opener() for _ in range(3)]
        writing = asyncio.gather(
            *(_put(store, f"{index}-{number}") for number in range(25) for index, store in enumerate(stores[:2]))
        )
        seen: list[Change] = []
        while len(seen) < 50:
            seen += await stores[2].changes(seen[-1].position if seen else 0, limit=3)
            await asyncio.wait({asyncio.ensure_future(stores[2].position())})
        await writing
        assert tuple(seen) == await stores[2].changes(0)
        assert [one.position for one in seen] == list(range(1, 51))
        for store in stores:
            await store.close()

    async def test_whoever_follows_a_log_misses_nothing(self, opener: Opener) -> None:
        stores = [await opener() for _ in range(3)]

        async def append(store: Store, number: int) -> None:
            event = Batch.of(Append(log=ACTIVITY, event=sample.activity(str(number))))
            record = Batch.of(sample.create(SETTINGS, sample.setting(str(number))))
            await store.commit(event + record if number % 2 else event)

        writing = asyncio.gather(*(append(stores[number % 2], number) for number in range(60)))
        seen: list[Logged[ActivityEvent]] = []
        while len(seen) < 60:
            after = seen[-1].position if seen else None
            seen += await stores[2].read_log(ACTIVITY, order=Order.OLDEST_FIRST, position=after, limit=7)
            await asyncio.wait({asyncio.ensure_future(stores[2].position())})
        await writing
        assert tuple(seen) == await stores[2].read_log(ACTIVITY, order=Order.OLDEST_FIRST)
        for store in stores:
            await store.close()


_COMMITTER = """
import asyncio, sys
from functools import partial
from idplane.store.opening import open_store
from idplane.testing.store_conformance import acknowledge
from idplane.testing.worlds import FakeClock

async def main():
    await acknowledge(await open_store(sys.argv[1], clock=FakeClock()), partial(print, flush=True))

asyncio.run(main())
"""


def committer(address: str) -> list[str]:
    """The command of a process that runs `acknowledge` on the store at that address until it is killed, one number a line."""
    return [sys.executable, "-c", _COMMITTER, address]


async def acknowledge(store: Store, tell: Callable[[str], None]) -> None:
    """Commit numbered records with their events for ever, from several tasks at once, and `tell` each number once it is acknowledged."""
    numbers = iter(range(1 << 60))

    async def work() -> None:
        for number in numbers:
            record = sample.create(SETTINGS, sample.setting(str(number)))
            await store.commit(Batch.of(record, Append(log=SIGN_INS, event=sample.sign_in(str(number)))))
            await store.commit(Batch.of(Append(log=SIGN_INS, event=sample.sign_in(f"{number}-alone"))))
            tell(str(number))

    await asyncio.gather(*(work() for _ in range(8)))


async def verify_acknowledged(store: Store, told: Iterable[str]) -> None:
    """Assert that every number told is there, that no record is without its event, and that the feed tells of every record."""
    records = {one.value.name for one in await store.all(SETTINGS)}
    events = {one.event.id for one in await store.read_log(SIGN_INS, limit=10_000_000)}
    feed = [one.key for one in await store.changes(0, limit=10_000_000)]
    acknowledged = set(told)
    assert acknowledged <= records
    assert {f"{number}-alone" for number in acknowledged} <= events
    assert {one for one in events if not one.endswith("-alone")} == records
    assert len(feed) == len(records)
    assert set(feed) == records


async def _put(store: Store, name: str, value: str = "") -> int:
    return await store.commit(Batch.of(sample.create(SETTINGS, sample.setting(name, value))))
