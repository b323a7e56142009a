"""The duty that takes records into the tree, in order, and signs what the tree is then.

At most one beat a second, each a few commits of at most some hundred records; when nothing was written, a fresh checkpoint every ten
minutes, so that silence can be told from a stop. Any number of processes may have the duty: of two that add at the same place, one is
refused. Of the checkpoints in each ten minutes the store keeps the last.

A record is taken as this process wrote it, if it did, and otherwise as it is stored. Where the two differ, or the stored one is gone, the
tree has what was written, and `idplane log verify` names the record. A record whose seal is not the installation's own is taken, and
marked: leaving it out would hide it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from idplane.audit.checkpoints import Checkpoint, checkpoint_text
from idplane.audit.entries import Entry, Seal, entry_for
from idplane.audit.tree import leaf_hash
from idplane.audit.trims import trim_in
from idplane.audit.watch import LogInconsistent, LogSigner, LogWatch
from idplane.ports.collections import ACTIVITY, LOGS, microseconds
from idplane.ports.store import Batch, CommitRefused, Extend, Log, Store, StoredCheckpoint
from idplane.ports.tree import LogRow
from idplane.ports.world import Clock

__all__ = ["BEAT", "SILENCE", "Sequencer", "next_number"]

BEAT: Final = timedelta(seconds=1)
SILENCE: Final = timedelta(minutes=10)
"""No checkpoint is older than this while a process is at work; the store keeps one for each such time."""
_AT_ONCE: Final = 500
"""Records in one commit: some milliseconds of this process' time."""
_ATTEMPTS: Final = 3
_log = logging.getLogger("idplane.audit")


@dataclass(frozen=True, slots=True)
class _Taken:
    """What comes next into the tree."""

    entries: Sequence[Entry]
    trimmed: Mapping[str, int]


class Sequencer:
    """The duty of one process, over its `LogWatch`."""

    def __init__(self, *, store: Store, signer: LogSigner, watch: LogWatch, clock: Clock) -> None:
        self._store = store
        self._signer = signer
        self._watch = watch
        self._clock = clock

    async def turn(self) -> datetime:
        """Take everything that is durable into the tree; when to come again.

        A log that cannot be trusted is left alone: `LogWatch.problem` says why.
        """
        with suppress(LogInconsistent):  # told by the watch, once
            await self._advance()
        return self._clock.now() + BEAT

    async def _advance(self) -> None:
        newest = await self._watch.follow()
        refusals = 0
        while refusals < _ATTEMPTS:
            taken = await self._next(newest)
            if not taken.entries and newest is not None and not self._is_silent(newest):
                return
            try:
                await self._store.commit(Batch.of(self._extension(taken, newest)))
            except CommitRefused:
                refusals += 1  # another process was first: go on from what it did
            newest = await self._watch.follow()

    def _is_silent(self, newest: Checkpoint) -> bool:
        return abs(self._clock.now() - newest.at) >= SILENCE

    def _extension(self, taken: _Taken, newest: Checkpoint | None) -> Extend:
        frontier = self._watch.frontier
        start, nodes = frontier.size, []
        for entry in taken.entries:
            nodes += frontier.append(leaf_hash(entry.packed()))
        positions = {log.name: (newest.positions.get(log.name, 0) if newest else 0) for log in LOGS}
        positions |= {entry.log: entry.position for entry in taken.entries}
        now = self._clock.now()
        head = (self._signer.origin, frontier.size, frontier.root())
        note = self._signer.sign(checkpoint_text(head, now, positions=positions, trimmed=taken.trimmed))
        return Extend(
            start=start,
            entries=b"".join(entry.packed() for entry in taken.entries),
            nodes=nodes,
            checkpoint=StoredCheckpoint(next_number(self._watch, now), frontier.size, microseconds(now), note),
            follows=self._watch.stored,
        )

    async def _next(self, newest: Checkpoint | None) -> _Taken:
        entries: list[Entry] = []
        trimmed = dict(newest.trimmed) if newest else {}
        for log in LOGS:
            reached = newest.positions.get(log.name, 0) if newest else 0
            taken = await self._of(log, reached, _AT_ONCE - len(entries), trimmed)
            entries += taken
        return _Taken(entries, trimmed)

    async def _of(self, log: Log[object], reached: int, limit: int, trimmed: dict[str, int]) -> list[Entry]:
        tree = self._store.tree
        # Whatever this process knows to be durable now, the rows that are read below must have.
        own = self._watch.own(log.name)
        if limit < 1 or (await tree.end(log) <= reached and not own):
            return []
        rows = await tree.rows(log, reached, await tree.horizon(log), limit)
        if len(rows) == limit:
            own = {position: doc for position, doc in own.items() if position <= rows[-1].position}
        entries = [self._entry(log, row, own, trimmed) for row in rows]
        removed = [entry_for(log.name, position, doc.encode(), Seal.HOLDS) for position, doc in own.items()]
        self._watch.alarm(removed)
        return sorted((*entries, *removed), key=lambda one: one.position)

    def _entry(self, log: Log[object], row: LogRow, own: dict[int, str], trimmed: dict[str, int]) -> Entry:
        at = row.columns[_AT[log.name]]
        seal = self._seal(log.name, row)
        found = trim_in(row.doc) if seal is Seal.HOLDS and log.name == ACTIVITY.name else None
        if found is not None:
            trimmed[found.log] = max(trimmed.get(found.log, 0), found.until)
        entry = entry_for(log.name, row.position, row.doc, seal, at if isinstance(at, int) else 0)
        written = own.pop(row.position, None)
        if written is not None and written.encode() != row.doc:
            entry = entry_for(log.name, row.position, written.encode(), Seal.HOLDS)
            self._watch.alarm([entry])
        elif seal is Seal.BROKEN:
            _log.error("the record %s was not written by this installation", entry)
        return entry

    def _seal(self, log: str, row: LogRow) -> Seal:
        if row.seal is None:
            return Seal.MISSING
        return Seal.HOLDS if self._signer.sealed(log, row.doc, row.seal) else Seal.BROKEN


_AT: Final = {log.name: list(log.columns).index("at") for log in LOGS}


def next_number(watch: LogWatch, now: datetime) -> int:
    """The number of a checkpoint signed now: its predecessor's, whose place it takes, unless that is one to keep."""
    if watch.stored is None or watch.newest is None:
        return 1
    span = round(SILENCE.total_seconds() * 1_000_000)
    same = watch.stored.at // span == microseconds(now) // span and watch.newest.introduces is None
    return watch.stored.number + (0 if same else 1)
