"""A log under attack: whoever can write to the database, past every trigger, against whoever kept a checkpoint elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from idplane.audit.checkpoints import Checkpoint, read_checkpoint
from idplane.audit.log_check import LogReport, check_log
from idplane.bootstrap.log_keeping import LogKeeping
from idplane.bootstrap.world import World
from idplane.model.profile import OPEN
from idplane.ports.collections import ACTIVITY, SIGN_INS
from idplane.ports.store import Append, Batch, Store
from idplane.testing import store_samples as sample
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy

__all__ = ["TENANT", "LogUnderAttack", "Sql", "log_under_attack"]

TENANT = "11111111-1111-4111-8111-111111111111"
Sql = Callable[..., Awaitable[Sequence[Any]]]
"""Runs a statement with `?` for parameters, with triggers and foreign keys off; answers with rows."""


@dataclass
class LogUnderAttack:
    world: World
    clock: FakeClock
    keeping: LogKeeping
    sql: Sql
    kept: list[Checkpoint]

    async def write(self, count: int = 1) -> None:
        """Records of both logs."""
        for start in range(0, count, 50):
            appends = [self._append(number) for number in range(start, min(start + 50, count))]
            await self.world.store.commit(Batch.of(*appends))

    def _append(self, number: int) -> object:
        self.clock.advance(0.01)
        made, now = self.world.entropy.guid(), self.clock.now()
        if number % 3:
            return Append(log=SIGN_INS, event=sample.sign_in(made, now))
        return Append(log=ACTIVITY, event=sample.activity(made, now))

    async def beat(self, after: float = 1.0) -> None:
        self.clock.advance(after)
        await self.keeping.turn()

    def keep(self) -> None:
        """Somebody elsewhere keeps the newest checkpoint."""
        assert self.keeping.checkpoint is not None
        self.kept.append(read_checkpoint(self.keeping.checkpoint))

    async def check(self) -> LogReport:
        keys = self.keeping.keys
        return await check_log(self.world.store.tree, keys=keys.notes, kept=self.kept, sealed=keys.sealed)

    async def glance(self, newest: int) -> LogReport:
        """As `idplane admin check` looks at a log: at its newest records, and without a checkpoint that was kept elsewhere."""
        keys = self.keeping.keys
        return await check_log(self.world.store.tree, keys=keys.notes, sealed=keys.sealed, newest=newest)

    async def first(self) -> str:
        """What verification says first."""
        report = await self.check()
        assert report.findings
        return str(report.findings[0])

    async def restarted(self) -> LogKeeping:
        """Another process: it remembers nothing."""
        return await LogKeeping.open(self.world, tenant_id=TENANT)

    async def records(self, log: str = "sign_ins") -> list[tuple[int, str]]:
        found = await self.sql(f"select position, doc from {log} order by position")
        return [(int(one[0]), str(one[1])) for one in found]


@asynccontextmanager
async def log_under_attack(store: Store, clock: FakeClock, sql: Sql) -> AsyncIterator[LogUnderAttack]:
    """A log with 400 records, most of them in the tree of three checkpoints, the newest of which somebody keeps."""
    world = World(clock=clock, entropy=SeededEntropy(), store=store, custody=MemoryCustody(), profile=OPEN)
    keeping = await LogKeeping.open(world, tenant_id=TENANT)
    attacked = LogUnderAttack(world=world, clock=clock, keeping=keeping, sql=sql, kept=[])
    await attacked.beat()
    for count in (100, 200, 96):
        await attacked.write(count)
        await attacked.beat(timedelta(minutes=11).total_seconds())
    attacked.keep()
    await attacked.write(4)
    await attacked.beat()
    report = await attacked.check()
    assert (report.findings, report.size, report.checked) == ([], 400, 400)
    yield attacked
