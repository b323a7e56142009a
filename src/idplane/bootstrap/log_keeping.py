"""The log that cannot be rewritten, for one process: its keys, what it remembers, its duty, and the file that operators keep elsewhere."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from idplane.audit.checkpoints import KEY_LINE, Checkpoint, checkpoint_text, notes_in, read_checkpoint
from idplane.audit.sequencer import BEAT, Sequencer
from idplane.audit.stored_tree import TreeDamaged, consistency_proof
from idplane.audit.trims import trim_event
from idplane.audit.watch import LogInconsistent, LogWatch
from idplane.bootstrap.health import Unready
from idplane.bootstrap.world import World
from idplane.jose.notes import NoteProblem
from idplane.keys.log_keys import LogKeys, tainted_keys_of
from idplane.model.events import ActivityEvent
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyState, SigningKey
from idplane.ports.collections import microseconds
from idplane.ports.store import Batch, CommitRefused, Extend, Put, StoredCheckpoint
from idplane.ports.telemetry import LOG_CHECKPOINT_AGE, LOG_TRUSTED

__all__ = ["CHECKPOINT_FILE", "LogKeeping", "log_origin"]

CHECKPOINT_FILE: Final = "log.checkpoint"
"""In the data folder of each process."""
_LARGEST: Final = 1 << 20
_log = logging.getLogger("idplane.audit")


def log_origin(tenant_id: str) -> str:
    """The name of an installation's log, which its checkpoints begin with."""
    return f"idplane.log/{tenant_id}"


@dataclass(frozen=True, kw_only=True)
class LogKeeping:
    """Make one with `open`, before anything is appended; then `turn` every second."""

    world: World
    tenant_id: str
    keys: LogKeys
    watch: LogWatch
    sequencer: Sequencer
    file: Path | None = None
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    _written: list[str] = field(default_factory=list, repr=False)
    """What the file holds."""
    _successions: dict[object, tuple[str, ...]] = field(default_factory=dict, repr=False)
    """By the keys that were known when they were read."""

    @classmethod
    async def open(cls, world: World, *, tenant_id: str, file: Path | None = None) -> LogKeeping:
        """The log of the world's store; from now on what is appended is sealed.

        `file` is where the newest checkpoint is written. What is in it already must have been signed over what the database holds.
        """
        store, clock = world.store, world.clock
        keys = await LogKeys.open(
            origin=log_origin(tenant_id), store=store, custody=world.custody, clock=clock, entropy=world.entropy
        )
        watch = LogWatch(tree=store.tree, signer=keys, kept=_kept(file))
        sequencer = Sequencer(store=store, signer=keys, watch=watch, clock=clock)
        keeping = cls(world=world, tenant_id=tenant_id, keys=keys, watch=watch, sequencer=sequencer, file=file)
        with suppress(LogInconsistent):  # told by the watch, and tried again at every turn
            await watch.follow()
        store.seal_logs(keeping)
        return keeping

    def seal(self, log: str, doc: str) -> str:
        """For the store: the proof that this installation wrote a record."""
        return self.keys.seal(log, doc)

    def appended(self, rows: Sequence[tuple[str, int, str]]) -> None:
        """For the store: records that this process has written."""
        self.watch.appended(rows)

    async def turn(self) -> datetime:
        """For whoever has the lease: sequence, sign, and write the checkpoint where operators find it; when to come again."""
        due = await self._sequence()
        await self._turn_keys()
        return due

    async def _sequence(self) -> datetime:
        async with self._busy:
            due = await self.sequencer.turn()
            self._publish()
        return due

    async def follow(self) -> datetime:
        """For every process: hold the database to what was seen before; when to come again."""
        async with self._busy:
            with suppress(LogInconsistent):  # told by the watch
                await self.watch.follow()
            self._publish()
        return self.world.clock.now() + BEAT

    def _publish(self) -> None:
        newest, telemetry = self.watch.newest, self.world.telemetry
        telemetry.gauge(LOG_TRUSTED, 0 if self.watch.problem else 1)
        if newest is not None:
            telemetry.gauge(LOG_CHECKPOINT_AGE, (self.world.clock.now() - newest.at).total_seconds())
        if self.file is not None and newest is not None and self.watch.problem is None and self._written != [newest.note]:
            _write(self.file, newest.note)
            self._written[:] = [newest.note]

    async def vouched(self, change: Batch) -> Batch:
        """A change of the log's keys, with the checkpoint by which whoever verifies learns of it: to be committed together.

        The key that signs from then on is introduced by the one before. What follows a tainted key vouches alone for the log so far, as
        this process has followed it. Raises `Failure(UNAVAILABLE)` while the log cannot be trusted, but for the end of a tainted key.
        """
        await self.keys.turn()
        active = self.keys.active
        moved = [one.value for one in change.operations if isinstance(one, Put) and isinstance(one.value, SigningKey)]
        lost = tainted_keys_of(moved, origin=self.keys.origin)
        present = next((self.keys.ready(one) for one in moved if one.state is KeyState.ACTIVE and not one.tainted), active)
        if present.note == active.note and not lost:
            return change
        await self._sequence()
        newest, stored = self.watch.newest, self.watch.stored
        if newest is None or stored is None or self.watch.problem is not None:
            if lost:
                return change
            raise Failure(FailureKind.UNAVAILABLE, "a log that cannot be trusted is not signed")
        now, number = self.world.clock.now(), stored.number
        made = partial(
            checkpoint_text,
            (newest.origin, newest.size, newest.root),
            now,
            positions=newest.positions,
            trimmed=newest.trimmed,
        )
        signers = {one.note: one for one in (active, present) if one.note not in lost}
        speaking = self.keys.sign(made(introduces=present.note, tainted=lost), signers.values())
        # A second one of the new key's alone, so that servers of the version before, too, look for a key that they do not know.
        points = [
            StoredCheckpoint(number + more, newest.size, microseconds(now), note)
            for more, note in enumerate((speaking, self.keys.sign(made(), [present])), 1)
        ]
        followed = zip(points, (stored, *points), strict=False)
        steps = (Extend(start=newest.size, entries=b"", nodes=(), checkpoint=one, follows=last) for one, last in followed)
        return change + Batch.of(*steps)

    async def _turn_keys(self) -> None:
        """Move the keys where that is due."""
        change = await self.keys.change_due()
        if change is None or self.watch.problem is not None:
            return
        with suppress(CommitRefused):  # another process was first
            await self.world.store.commit(await self.vouched(change))
        await self.keys.turn()

    async def check(self) -> None:
        """For readiness: raises `Unready` while the log in the database is not the one that was seen before."""
        if self.watch.problem is not None:
            raise Unready(f"the log cannot be trusted: {self.watch.problem}")

    def trimmed(self, log: str, until: int) -> ActivityEvent:
        """The record of a trim that begins now."""
        world = self.world
        return trim_event(event_id=world.entropy.guid(), at=world.clock.now(), tenant_id=self.tenant_id, log=log, until=until)

    @property
    def checkpoint(self) -> str | None:
        """For the endpoint: the newest checkpoint that this process has checked."""
        return self.watch.newest.note if self.watch.newest else None

    @property
    def verifiers(self) -> tuple[str, ...]:
        """For the endpoint: the keys that checkpoints are signed with, the active one first."""
        return tuple(str(one) for one in self.keys.notes)

    async def successions(self) -> tuple[str, ...]:
        """For the endpoint: the checkpoints that speak of keys, for who knows an earlier one only."""
        known = (self.keys.notes, self.keys.tainted)
        if known not in self._successions:
            found = await self.world.store.tree.naming(KEY_LINE)
            self._successions.clear()
            self._successions[known] = tuple(one.note for one in found)
        return self._successions[known]

    async def consistency(self, first: int, second: int) -> list[bytes]:
        """For the endpoint: the proof that the tree grew from one size to another."""
        newest = self.watch.newest
        if newest is None or not 0 <= first <= second <= newest.size:
            raise Failure(FailureKind.INVALID_PARAMETER, "there is no such stretch of the log")
        try:
            return await consistency_proof(self.world.store.tree, first, second)
        except TreeDamaged as damaged:
            raise Failure(FailureKind.UNAVAILABLE, "the tree over the logs is damaged") from damaged


def _kept(file: Path | None) -> list[Checkpoint]:
    """What the file holds from before; nothing if there is none, or none that can be read."""
    if file is None or not file.exists():
        return []
    try:
        return [read_checkpoint(note) for note in notes_in(file.read_bytes()[:_LARGEST].decode())]
    except (OSError, UnicodeDecodeError, NoteProblem) as problem:
        _log.error("%s holds no checkpoint, and is not compared with the database: %s", file, problem)
        return []


def _write(file: Path, note: str) -> None:
    """Replace the file at once, so that whoever ships it elsewhere never reads half of one."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        draft.write_text(note, encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        _log.warning("the checkpoint cannot be written to %s: %s", file, (error.strerror or "").lower())
