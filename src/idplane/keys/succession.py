"""One line of keys as a process follows it: read, checked, unsealed once, moved when it is due, and read again when others moved it.

Commits are compare-and-swap. Losing such a race is an outcome, not an error: the line is read again and goes on from what the winner
wrote. What somebody wrote into the database who does not have the custody counts for nothing (`keys.sealing`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, TypeVar

from idplane.keys import rotation
from idplane.keys.moves import Moves, Records, read_line
from idplane.keys.sealing import check_mark
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import SigningKey
from idplane.ports.collections import SIGNING_KEYS
from idplane.ports.store import Batch, Change, CommitRefused, Store
from idplane.ports.world import Clock

__all__ = ["Reading", "Succession"]

M = TypeVar("M")

_log = logging.getLogger(__name__)
_ATTEMPTS: Final = 10
"""Lost races in a row before we say that something else is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[M]):
    """One reading of the store, ready for use. Replaced as a whole."""

    records: Records = field(default_factory=dict, repr=False)
    material: Mapping[str, M] = field(default_factory=dict, repr=False)
    """Of all keys that count, by id: without tainted ones, and without those that were changed behind our back."""
    active: M | None = None

    @property
    def keys(self) -> tuple[SigningKey, ...]:
        """Every key, oldest first, tainted ones included."""
        return tuple(record.value for record in self.records.values())

    @property
    def trusted(self) -> Records:
        """Without what was changed behind our back: what moves are planned by, lest one of them makes such a change good."""
        return {kid: one for kid, one in self.records.items() if kid in self.material or one.value.tainted}


class Succession(Generic[M]):
    """Follows one line. `prepare` unseals a key; it is called once for each, and raises `Failure(INTERNAL)` for one that is not intact."""

    def __init__(
        self,
        *,
        moves: Moves,
        prepare: Callable[[SigningKey], M],
        store: Store,
        clock: Clock,
        changed: Callable[[], None] | None = None,
    ) -> None:
        """`changed` is called after a reading that differs from the one before."""
        self._moves = moves
        self._prepare = prepare
        self._store = store
        self._clock = clock
        self._changed = changed
        self.reading: Reading[M] = Reading()
        self.stale = asyncio.Event()
        self._tainted: set[str] = set()
        self._distrusted: dict[str, int] = {}
        self._opened = False
        self._locked = asyncio.Lock()
        self._turning = asyncio.Lock()
        self._begun = self._done = 0

    def apply(self, changes: Sequence[Change]) -> None:
        """Hear of commits, ours and other replicas': what is in memory may have been overtaken."""
        if any(change.collection == SIGNING_KEYS.name for change in changes):
            self.stale.set()

    async def refresh(self) -> None:
        """Read the keys again if the feed said that they changed; costs nothing otherwise."""
        if self.stale.is_set():
            await self.read()

    async def read(self) -> None:
        """Read the keys again. Callers that come while one reads share the next reading: however many ask, one reads at a time.

        Raises `Failure(INTERNAL)` if the very first reading finds a key that is not intact: then custody or database are wrong.
        """
        mine = self._begun + 1
        async with self._locked:
            if self._done >= mine:
                return
            self._begun += 1
            mine = self._begun
            told = self.stale.is_set()
            self.stale.clear()
            try:
                self._adopt(await read_line(self._store, self._moves.line.purpose))
            except BaseException:
                if told:
                    self.stale.set()
                raise
            self._opened, self._done = True, mine

    async def turn(self) -> datetime:
        """One pass: read the keys, take the steps that are due now (at most one that makes or moves a key), say when the next is."""
        async with self._turning:
            await self.read()
            now = self._clock.now()
            for step in self._plan(now).steps:
                with suppress(CommitRefused):  # another replica took it; the reading below shows what it did
                    await self._store.commit(await self._moves.step(step, self.reading.trusted, now))
            await self.read()
            return self._plan(self._clock.now()).due

    async def rotate(self) -> str:
        """Replace the active key at once; the id of the key that is active from now on."""
        async with self._turning:
            await self.read()
            before = self.active_id
            return await self._until(lambda: self.active_id not in {None, before}, self._rotation)

    async def taint(self, kid: str) -> None:
        """Let a key count for nothing; another becomes active in the same transaction if it was. Raises `Failure(INVALID_PARAMETER)`."""
        async with self._turning:
            await self.read()
            if kid not in self.reading.records:
                raise Failure(FailureKind.INVALID_PARAMETER, "no signing key has that id", name=kid)
            await self._until(lambda: self._is_tainted(kid), lambda: self._tainting(kid))

    @property
    def active_id(self) -> str | None:
        """The key that signs; None while there is none that can."""
        active = rotation.active_key(self.reading.keys)
        return active.id if active and active.id in self.reading.material else None

    @property
    def serves(self) -> bool:
        """Whether the active key can do this process' work: another server's first authority may lack our names."""
        active = self.reading.records.get(self.active_id or "")
        return active is not None and self._moves.line.usable(active.value, self._clock.now())

    async def _rotation(self) -> Batch:
        return await self._moves.rotate(self.reading.trusted, self._clock.now())

    def _plan(self, now: datetime) -> rotation.Plan:
        return self._moves.plan([one.value for one in self.reading.trusted.values()], now)

    async def _tainting(self, kid: str) -> Batch:
        # Also one that was changed behind our back: that is how somebody who knows of it puts an end to it.
        records = {**self.reading.trusted, kid: self.reading.records[kid]}
        return await self._moves.taint(records, kid, self._clock.now())

    def _is_tainted(self, kid: str) -> bool:
        record = self.reading.records.get(kid)
        return record is None or record.value.tainted

    async def _until(self, done: Callable[[], bool], attempt: Callable[[], Awaitable[Batch]]) -> str:
        """Commit attempts until the goal is reached, by us or by whoever won the race."""
        for _ in range(_ATTEMPTS):
            with suppress(CommitRefused):
                await self._store.commit(await attempt())
            await self.read()
            if done() and self.active_id is not None:
                return self.active_id
        raise Failure(FailureKind.UNAVAILABLE, "the signing keys kept changing")

    def _adopt(self, records: Records) -> None:
        known = self.reading
        material: dict[str, M] = {}
        for kid, record in records.items():
            if record.value.tainted:
                self._tainted.add(kid)
            elif (made := self._material(kid, record.value, record.version)) is not None:
                material[kid] = made
        active = rotation.active_key(record.value for record in records.values())
        self.reading = Reading(records=records, material=material, active=material.get(active.id) if active else None)
        if self._changed is not None and (known.keys != self.reading.keys or not self._opened):
            self._changed()

    def _material(self, kid: str, key: SigningKey, version: int) -> M | None:
        """The key, ready for use. One that is not intact does not count; only at the start, when all may be wrong, it is an error."""
        known = self.reading.records.get(kid)
        try:
            if kid in self._tainted:
                raise Failure(FailureKind.INTERNAL, "a tainted key was made good again behind our back")
            if known is not None and known.value == key and kid in self.reading.material:
                return self.reading.material[kid]
            check_mark(key, self._moves.custody)
            same = known is not None and (known.value.certificate, known.value.anchor) == (key.certificate, key.anchor)
            return self.reading.material[kid] if same and kid in self.reading.material else self._prepare(key)
        except Failure as failure:
            if not self._opened or failure.kind is not FailureKind.INTERNAL:
                raise
            if self._distrusted.get(kid) != version:
                self._distrusted[kid] = version
                _log.error(
                    "the record of key %s was changed behind the program's back and does not count: %s", kid, failure.detail
                )
            return None
