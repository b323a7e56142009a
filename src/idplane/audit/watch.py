"""What one process knows of the log, and holds the database to.

It remembers the newest checkpoint that it has seen and follows the tree from there: whatever the database shows next must have grown out
of that. It also remembers the records that it has written itself until they are in the tree, as it wrote them. A database that was
rolled back, rewritten or forked behind its back is noticed within a second, and nothing is signed on top of it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from idplane.audit.checkpoints import Checkpoint, KnownKeys, read_checkpoint
from idplane.audit.entries import ENTRY_BYTES, Entry, Seal, entry_for, unpacked
from idplane.audit.stored_tree import TreeDamaged, frontier_at, leaves_of, root_at
from idplane.audit.tree import Frontier
from idplane.jose.notes import NoteKey, NoteProblem
from idplane.ports.collections import LOGS
from idplane.ports.store import StoredCheckpoint
from idplane.ports.tree import LogTree

__all__ = ["LogInconsistent", "LogSigner", "LogWatch"]

_AT_ONCE: Final = 4096
_MOST_REMEMBERED: Final = 50_000
"""Own records, while nothing is sequenced: the oldest are forgotten."""
_log = logging.getLogger("idplane.audit")


class LogInconsistent(Exception):  # noqa: N818 - its text is what an operator reads
    """The database holds another log than the one that was seen before; the text says how they differ."""


class LogSigner(Protocol):
    """The keys of the log; `keys.LogKeys` is one."""

    origin: str

    @property
    def notes(self) -> tuple[NoteKey, ...]:
        """Every key that may have signed."""
        ...

    @property
    def tainted(self) -> tuple[NoteKey, ...]:
        """Those that others may have, too."""
        ...

    async def turn(self) -> None:
        """Follow what other replicas did to the keys."""
        ...

    async def refresh(self) -> None:
        """The same, if there is anything to follow."""
        ...

    def sign(self, text: str) -> str:
        """The text as a signed note."""
        ...

    def sealed(self, log: str, doc: bytes, seal: str) -> bool:
        """Whether a record's seal is the installation's own."""
        ...


class LogWatch:
    """The memory of one process. `follow` at least every second; `appended` for each record that the process wrote."""

    def __init__(self, *, tree: LogTree, signer: LogSigner, kept: Sequence[Checkpoint] = ()) -> None:
        """`kept` are checkpoints from elsewhere that the database must have grown out of; their signatures were checked."""
        self._tree = tree
        self._signer = signer
        self._kept = kept
        self._frontier = Frontier()
        self._own: dict[str, dict[int, str]] = {log.name: {} for log in LOGS}
        self._recent: tuple[Mapping[tuple[str, int], bytes], ...] = ({}, {})
        self._begun = False
        """Whether there is something to hold the database to: a checkpoint that was seen, or that there was none."""
        self._inconsistent: str | None = None
        self._lost: str | None = None
        self.stored: StoredCheckpoint | None = None
        self.newest: Checkpoint | None = None
        """The newest checkpoint that was checked."""

    @property
    def problem(self) -> str | None:
        """Why the log cannot be trusted any more, in one sentence; None while it can.

        What is wrong with the database goes when the database is right again; a record of this process that was changed or taken
        before it was in the tree is told of until the process ends.
        """
        return self._inconsistent or self._lost

    @property
    def frontier(self) -> Frontier:
        """The tree at the newest checkpoint."""
        return self._frontier.copy()

    def appended(self, rows: Sequence[tuple[str, int, str]]) -> None:
        """Remember what this process wrote: log, position, document."""
        reached = self.newest.positions if self.newest else {}
        for log, position, doc in rows:
            if position <= reached.get(log, 0):
                self._late(log, position, doc)
                continue
            own = self._own[log]
            before = own.setdefault(position, doc)
            if before is not doc:
                # A position is given again only when its record is gone.
                self.alarm([entry_for(log, position, before.encode(), Seal.HOLDS)])
                own[position] = doc
            if len(own) > _MOST_REMEMBERED:
                own.pop(next(iter(own)))

    def _late(self, log: str, position: int, doc: str) -> None:
        """A record that was in the tree before it was known to be durable."""
        told = next((one[log, position] for one in self._recent if (log, position) in one), None)
        if told is not None and told != hashlib.sha256(doc.encode()).digest():
            self.alarm([entry_for(log, position, doc.encode(), Seal.HOLDS)])

    def own(self, log: str) -> dict[int, str]:
        """The records of this process that are not in the tree yet, by position."""
        return dict(self._own[log])

    def alarm(self, lost: Iterable[Entry]) -> None:
        """Tell of records of this process that were changed or removed before they were in the tree."""
        for entry in lost:
            _log.error("the record %s was changed or removed behind the program's back", entry)
            self._lost = self._lost or f"the record {entry} was changed or removed behind the program's back"

    async def follow(self) -> Checkpoint | None:
        """Check what the database has now, and remember it; None for a log without a checkpoint.

        Raises `LogInconsistent` when it cannot have grown out of what was seen before.
        """
        try:
            newest = await self._follow()
        except (TreeDamaged, NoteProblem, ValueError) as error:
            raise self._refused(str(error)) from error
        except LogInconsistent as error:
            raise self._refused(str(error)) from None
        if self._inconsistent is not None:
            _log.warning("the log is as it was seen before again")
            self._inconsistent = None
        return newest

    def _refused(self, why: str) -> LogInconsistent:
        if why != self._inconsistent:
            _log.error("the log in the database cannot be trusted, and is not signed: %s", why)
        self._inconsistent = why
        return LogInconsistent(why)

    async def _follow(self) -> Checkpoint | None:
        await self._signer.refresh()
        stored = await self._tree.newest()
        if stored is None:
            for seen in (*self._kept, *([self.newest] if self.newest else [])):
                raise LogInconsistent(_rolled_back(seen, 0))
            self._begun = True
            return None
        if stored == self.stored:
            return self.newest
        checkpoint = await self._believed(stored)
        if self._begun:
            await self._grow(checkpoint)
        else:
            await self._begin(checkpoint)
        self.stored, self.newest, self._begun = stored, checkpoint, True
        return checkpoint

    async def _believed(self, stored: StoredCheckpoint) -> Checkpoint:
        checkpoint = read_checkpoint(stored.note)
        if not self._knows(checkpoint):
            await self._signer.turn()
        known = KnownKeys(self._signer.notes, self._signer.tainted)
        if known.trusted(checkpoint) is None:
            whose = "by a tainted key only" if known.was_trusted(checkpoint) else "not by the log's key"
            raise LogInconsistent(f"the newest checkpoint in the database is signed {whose}")
        if (checkpoint.origin, checkpoint.size) != (self._signer.origin, stored.size):
            raise LogInconsistent(
                "the newest checkpoint in the database is of another log, or of another size than its row says"
            )
        return checkpoint

    def _knows(self, checkpoint: Checkpoint) -> bool:
        """Whether this process has heard of all the keys that the checkpoint is signed by and speaks of."""
        notes = self._signer.notes
        told = checkpoint.introduces is None or checkpoint.introduces in notes
        return told and not set(checkpoint.tainted) & set(notes) and KnownKeys(notes).trusted(checkpoint) is not None

    async def _begin(self, checkpoint: Checkpoint) -> None:
        frontier = await frontier_at(self._tree, checkpoint.size)
        if frontier.root() != checkpoint.root:
            raise LogInconsistent("the tree in the database is not the one that its newest checkpoint was signed over")
        for kept in self._kept:
            if kept.size > checkpoint.size:
                raise LogInconsistent(_rolled_back(kept, checkpoint.size))
            if await root_at(self._tree, kept.size) != kept.root:
                raise LogInconsistent(_rewritten(kept))
        self._frontier = frontier
        for log, own in self._own.items():  # what was sequenced before there was anything to compare with
            for position in [one for one in own if one <= checkpoint.positions.get(log, 0)]:
                del own[position]

    async def _grow(self, checkpoint: Checkpoint) -> None:
        if self.newest is not None and checkpoint.size < self.newest.size:
            raise LogInconsistent(_rolled_back(self.newest, checkpoint.size))
        frontier, digests, lost = self.frontier, {}, []
        while frontier.size < checkpoint.size:
            stretch = await self._tree.entries(frontier.size, min(frontier.size + _AT_ONCE, checkpoint.size), ENTRY_BYTES)
            if not stretch:
                raise TreeDamaged(f"the tree's entry {frontier.size} is missing")
            for leaf, entry in zip(leaves_of(stretch), unpacked(stretch), strict=True):
                frontier.append(leaf)
                digests[entry.log, entry.position] = entry.digest
        if frontier.root() != checkpoint.root:
            raise LogInconsistent(_rewritten(self.newest or checkpoint))
        for log, own in self._own.items():
            for position in [one for one in own if one <= checkpoint.positions.get(log, 0)]:
                doc = own.pop(position).encode()
                if digests.get((log, position)) != hashlib.sha256(doc).digest():
                    lost.append(entry_for(log, position, doc, Seal.HOLDS))
        self.alarm(lost)
        self._frontier = frontier
        if digests:
            self._recent = (digests, self._recent[0])


def _rolled_back(seen: Checkpoint, size: int) -> str:
    return (
        f"the database was rolled back: it has {size} records in its tree, and the checkpoint of "
        f"{seen.at.isoformat()} was signed over {seen.size}"
    )


def _rewritten(seen: Checkpoint) -> str:
    return f"the log was rewritten: its tree did not grow out of the one that the checkpoint of {seen.at.isoformat()} was signed over"
