"""Background duties, and which of several servers does each.

A lease is a record that its holder keeps rewriting, by compare-and-swap. Others watch its version: when it has not moved for the lease's
length, on their own monotonic clock, they take it over; no two machines' clocks are ever compared. The holder stops at two thirds of that
time after its last successful renewal began, so that a server that is cut off from the database stops before another one starts.

A process that was frozen in the middle of a turn may still finish a step when it wakes, before it learns that it lost the lease. So a lease
only spares work: whatever a duty writes is a compare-and-swap on what it has read, or may be done twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from idplane.model.failure import Failure
from idplane.model.leases import Lease
from idplane.ports.collections import LEASES
from idplane.ports.store import ABSENT, Batch, CommitRefused, Put, Store, Versioned
from idplane.ports.telemetry import DUTY, DUTY_FAILURES, LEASES_HELD, NO_TELEMETRY, Telemetry
from idplane.ports.world import Clock

__all__ = ["LEASE_SECONDS", "Duties", "Duty", "Leases"]

LEASE_SECONDS = 15.0
_TURN_AT_MOST_EVERY = 30.0
"""Seconds between looks at what is due: wall clocks jump, so nobody sleeps until a far instant."""
_TURN_AT_LEAST_EVERY = 1.0
_HAND_OVER_SECONDS = 3.0
_log = logging.getLogger("idplane.bootstrap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """Something to be done again and again. `turn` does what is due and says when the next thing is, None for whenever.

    A turn may be cancelled at any await, and two servers may for a moment both be in one: see the module.
    """

    name: str
    turn: Callable[[], Awaitable[datetime | None]] = field(repr=False)
    every_replica: bool = False
    """Done by each server, whoever else does it."""


class Leases:
    """What one process holds. `holder` must be its own: drawn anew at each start."""

    def __init__(self, *, store: Store, clock: Clock, holder: str, length: float = LEASE_SECONDS) -> None:
        self._store = store
        self._clock = clock
        self._holder = holder
        self._held_until: dict[str, float] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._length = length

    @property
    def beat_seconds(self) -> float:
        """How often to call `beat`."""
        return self._length / 4

    def holds(self, name: str) -> bool:
        """Whether this process may do the duty now."""
        return self._clock.monotonic() < self._held_until.get(name, float("-inf"))

    async def beat(self, names: Iterable[str]) -> None:
        """Renew what this process holds, and take what is free or has been left. Raises `Failure` when the store does."""
        rows = {row.value.name: row for row in await self._store.all(LEASES)}
        began = self._clock.monotonic()
        mine: list[Versioned[Lease]] = []
        for name in names:
            row = rows.get(name)
            if row is not None and row.value.holder == self._holder:
                mine.append(row)
            elif self._is_free(name, row, began):
                await self._take(name, row)
        await self._renew(mine)

    async def hand_over(self) -> None:
        """Give everything back, so that others need not wait; as far as the store can be reached."""
        self._held_until.clear()
        with suppress(Failure):
            for row in await self._store.all(LEASES):
                if row.value.holder == self._holder:
                    await self._write(Lease(name=row.value.name, holder="", term=row.value.term), row.version)

    def _is_free(self, name: str, row: Versioned[Lease] | None, now: float) -> bool:
        if row is None or not row.value.holder:
            return True
        version, since = self._seen.get(name, (0, now))
        if version != row.version:
            self._seen[name] = (row.version, now)
            return False
        return now - since >= self._length

    async def _take(self, name: str, row: Versioned[Lease] | None) -> None:
        began = self._clock.monotonic()
        term = row.value.term + 1 if row else 1
        if await self._write(Lease(name=name, holder=self._holder, term=term), row.version if row else None):
            self._hold(name, began)

    async def _renew(self, mine: Sequence[Versioned[Lease]]) -> None:
        """All at once, or each for itself where one was lost."""
        if not mine:
            return
        began = self._clock.monotonic()
        try:
            await self._store.commit(Batch.of(*(Put(collection=LEASES, value=one.value, expect=one.version) for one in mine)))
        except CommitRefused:
            kept = [one for one in mine if await self._write(one.value, one.version)]
        else:
            kept = list(mine)
        for one in mine:
            if one in kept:
                self._hold(one.value.name, began)
            else:
                self._held_until.pop(one.value.name, None)

    def _hold(self, name: str, began: float) -> None:
        self._held_until[name] = began + self._length * 2 / 3

    async def _write(self, lease: Lease, version: int | None) -> bool:
        try:
            await self._store.commit(
                Batch.of(Put(collection=LEASES, value=lease, expect=ABSENT if version is None else version))
            )
        except CommitRefused:
            return False  # another server was faster
        return True


class Duties:
    """Runs duties until cancelled: all of them without `leases`, else those that every server does and those that this one holds."""

    def __init__(
        self, duties: Iterable[Duty], *, clock: Clock, leases: Leases | None = None, telemetry: Telemetry = NO_TELEMETRY
    ) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._leases = leases
        self._duties = tuple(duties)
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Do them. A bug in one ends all with its exception; what is held is handed over at the end."""
        alone = [one for one in self._duties if one.every_replica or self._leases is None]
        shared = [one for one in self._duties if one not in alone]
        async with asyncio.TaskGroup() as group:
            for duty in alone:
                group.create_task(self._repeat(duty))
            if self._leases is not None and shared:
                group.create_task(self._share(self._leases, shared, group))

    async def _share(self, leases: Leases, duties: Sequence[Duty], group: asyncio.TaskGroup) -> None:
        try:
            while True:
                with suppress(Failure):  # what is held runs out by itself
                    await leases.beat(one.name for one in duties)
                for duty in duties:
                    self._telemetry.gauge(LEASES_HELD, float(leases.holds(duty.name)), duty=duty.name)
                    self._follow(duty, group, held=leases.holds(duty.name))
                await self._clock.sleep(leases.beat_seconds)
        finally:
            for task in self._running.values():
                task.cancel()
            # Not for long: it spares the others a wait, and who ends has connections to look after.
            with suppress(TimeoutError):
                async with asyncio.timeout(_HAND_OVER_SECONDS):
                    await leases.hand_over()

    def _follow(self, duty: Duty, group: asyncio.TaskGroup, *, held: bool) -> None:
        task = self._running.get(duty.name)
        if held and (task is None or task.done()):
            self._running[duty.name] = group.create_task(self._repeat(duty))
        elif not held and task is not None:
            task.cancel()

    async def _repeat(self, duty: Duty) -> None:
        """Take a turn now and whenever it next says; a failure is logged and tried again."""
        while True:
            pause = _TURN_AT_MOST_EVERY
            if self._may(duty):
                try:
                    with self._telemetry.span(DUTY, duty=duty.name):
                        due = await duty.turn()
                    pause = self._pause(due)
                except Failure as failure:
                    self._telemetry.count(DUTY_FAILURES, duty=duty.name)
                    _log.warning("%s failed and will be tried again: %s", duty.name, failure)
                except CommitRefused:
                    _log.info("%s met another server's work and will be tried again", duty.name)
            await self._clock.sleep(pause)

    def _may(self, duty: Duty) -> bool:
        return duty.every_replica or self._leases is None or self._leases.holds(duty.name)

    def _pause(self, due: datetime | None) -> float:
        if due is None:
            return _TURN_AT_MOST_EVERY
        return min(max((due - self._clock.now()).total_seconds(), _TURN_AT_LEAST_EVERY), _TURN_AT_MOST_EVERY)
