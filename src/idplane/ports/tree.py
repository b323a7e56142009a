"""The tree over both logs, as a store keeps it: entries, nodes and checkpoints, and the logs' rows as they are stored.

Entries and nodes are only ever added, by `Extend` in a commit that is refused when somebody else added first. What they mean is
decided in `audit`; a store does not look into them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from idplane.ports.store import ColumnValue, Log, StoredCheckpoint

__all__ = ["LogRow", "LogSealer", "LogTree"]


@dataclass(frozen=True, slots=True)
class LogRow:
    """One row of a log, not interpreted."""

    position: int
    doc: bytes
    """The document's exact text, in UTF-8."""
    seal: str | None
    columns: tuple[ColumnValue, ...]
    """In the order of `Log.columns`."""


class LogSealer(Protocol):
    """Proves that this installation wrote a record, and hears of what was written."""

    def seal(self, log: str, doc: str) -> str:
        """The proof that is stored beside a record."""
        ...

    def appended(self, rows: Sequence[tuple[str, int, str]]) -> None:
        """Records of this process became durable: log, position, document. Called on the event loop, before they are acknowledged."""
        ...


class LogTree(Protocol):
    """Reads of the tree and of what it is made from. Raises as `Store` does."""

    async def newest(self) -> StoredCheckpoint | None:
        """The checkpoint of the highest number."""
        ...

    async def checkpoints(self, after: int, limit: int) -> tuple[StoredCheckpoint, ...]:
        """Checkpoints with higher numbers, in order."""
        ...

    async def naming(self, line: str) -> tuple[StoredCheckpoint, ...]:
        """The checkpoints in whose text a line begins like this, in order; all others are looked through."""
        ...

    async def entries(self, begin: int, end: int, size: int) -> bytes:
        """The stored entries of leaves, as far as there are any; `size` is that of one in bytes."""
        ...

    async def nodes(self, level: int, begin: int, end: int) -> Mapping[int, bytes]:
        """Stored nodes of a level, by number."""
        ...

    async def rows(self, log: Log[object], after: int, until: int, limit: int) -> tuple[LogRow, ...]:
        """Rows behind one position and up to another, in order."""
        ...

    async def row(self, log: Log[object], identifier: str) -> LogRow | None:
        """The record with an id or, if it is a number, at a position."""
        ...

    async def end(self, log: Log[object]) -> int:
        """The last position that anybody can see."""
        ...

    async def horizon(self, log: Log[object]) -> int:
        """The last position, once everything up to it is committed: no record can appear behind it any more."""
        ...

    async def trims(self) -> Mapping[str, int]:
        """How far the logs have been trimmed, as the table says: log → microseconds since the epoch."""
        ...
