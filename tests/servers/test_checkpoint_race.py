"""Two servers over PostgreSQL sign a checkpoint after the same one, one of them with a move of the log's key: never both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from tests.needed import postgres
from tests.unit.audit.log_world import check, checkpoints, opened, rotate, rotation, write

from idplane.audit.checkpoints import read_checkpoint
from idplane.bootstrap.log_keeping import LogKeeping
from idplane.bootstrap.world import World
from idplane.model.profile import OPEN
from idplane.ports.store import Batch, CommitRefused, Extend, Store
from idplane.store.opening import open_store
from idplane.testing.postgres_cluster import Cluster
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy

pytestmark = pytest.mark.wide


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with postgres() as running:
        yield running


@pytest.fixture
async def servers(cluster: Cluster) -> AsyncIterator[tuple[LogKeeping, LogKeeping]]:
    clock, custody = FakeClock(), MemoryCustody()
    async with AsyncExitStack() as stack:
        made = []
        for name in ("one", "two"):
            store = await open_store(cluster.url("postgres"), clock=clock)
            stack.push_async_callback(store.close)
            world = World(clock=clock, entropy=SeededEntropy(name), store=store, custody=custody, profile=OPEN)
            made.append(await opened(world))
        yield made[0], made[1]


async def accepted(store: Store, batch: Batch) -> bool:
    try:
        await store.commit(batch)
    except CommitRefused:
        return False
    return True


def sequenced(keeping: LogKeeping, number: int) -> Batch:
    """What its duty would sign now, in place of the newest checkpoint or behind it."""
    newest, stored = keeping.watch.newest, keeping.watch.stored
    assert newest is not None
    assert stored is not None
    note = keeping.keys.sign(newest.note.rpartition("\n\n")[0] + "\nof another moment\n")
    point = replace(stored, number=stored.number + number, note=note)
    return Batch.of(Extend(start=newest.size, entries=b"", nodes=(), checkpoint=point, follows=stored))


async def test_one_of_two_is_refused(servers: tuple[LogKeeping, LogKeeping]) -> None:
    one, two = servers
    moved = 0
    for number in range(20):
        await write(one.world, 2)
        await one.turn()
        await two.turn()
        change, other = await rotation(one), sequenced(two, number % 2)
        commits = [accepted(one.world.store, change), accepted(two.world.store, other)]
        first, second = await asyncio.gather(*(commits if number % 3 else reversed(commits)))
        assert first + second < 2, "each is the first after the one before"
        moved += first if number % 3 else second
    await one.turn()
    await rotate(two)
    await one.turn()
    read = [read_checkpoint(point.note) for point in await checkpoints(one.world)]
    assert sum(point.introduces is not None for point in read) == moved + 1
    assert [point.size for point in read] == sorted(point.size for point in read)
    assert len(one.keys.notes) == moved + 2
    assert (await check(one)).findings == []
