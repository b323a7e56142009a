"""The SQL of the log tree, for both databases; see `ports.tree`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final, TypeAlias

from idplane.model.keys import SigningKey
from idplane.ports.store import Extend, Log, StoredCheckpoint
from idplane.ports.tree import LogRow
from idplane.store.codec import decoder
from idplane.store.sqlite_connection import open_reader, read_failures
from idplane.store.tables import Dialect

__all__ = ["Fetch", "Horizon", "SqlLogTree", "TreeQuery", "extension_queries", "open_log_tree"]

TreeQuery: TypeAlias = tuple[str, tuple[object, ...], bool]
"""Text, parameters, and whether somebody else was first when no row comes back."""
Fetch: TypeAlias = Callable[[str, tuple[object, ...]], Awaitable[Sequence[Any]]]
Horizon: TypeAlias = Callable[[str, str], Awaitable[Sequence[Any]]]
"""Rows of a text that is asked while nobody is between taking a position in the log and committing it."""

_CHECKPOINT: Final = "number, size, at, note"
_KEYS: Final = decoder(SigningKey)


def extension_queries(extension: Extend, dialect: Dialect) -> tuple[TreeQuery, ...]:
    """The statements, in order. An entry's place and a checkpoint's number are taken by whoever is first."""
    mark = dialect.mark
    point = extension.checkpoint
    queries: list[TreeQuery] = []
    if (before := extension.follows) is not None:
        # Whoever signs next waits here, and finds another text, or a further checkpoint in the next statement.
        lock = " for update" if dialect is Dialect.POSTGRESQL else ""
        held = f"select number from log_checkpoints where number = {mark(1)} and note = {mark(2)}{lock}"  # noqa: S608 - constants and marks
        last = f"select number from log_checkpoints where number = {mark(1)} and not exists (select 1 from log_checkpoints where number > {mark(1)})"  # noqa: S608 - as above
        queries += ((held, (before.number, before.note), True), (last, (before.number,), True))
    checkpoint = (
        f"insert into log_checkpoints ({_CHECKPOINT}) values ({mark(1)}, {mark(2)}, {mark(3)}, {mark(4)}) "  # noqa: S608 - constants and marks
        "on conflict (number) do update set size = excluded.size, at = excluded.at, note = excluded.note "
        "where log_checkpoints.size <= excluded.size and excluded.number = (select max(number) from log_checkpoints) "
        "returning number"
    )
    queries.append((checkpoint, (point.number, point.size, point.at, point.note), True))
    if extension.entries:
        insert = (
            f"insert into log_entries (start, entries) values ({mark(1)}, {mark(2)}) on conflict do nothing returning start"  # noqa: S608 - as above
        )
        queries.append((insert, (extension.start, extension.entries), True))
    node = f"insert into log_nodes (level, number, hash) values ({mark(1)}, {mark(2)}, {mark(3)})"  # noqa: S608 - as above
    queries += ((node, one, False) for one in extension.nodes)
    return tuple(queries)


class SqlLogTree:
    """A `ports.tree.LogTree` over whatever runs its statements."""

    def __init__(self, dialect: Dialect, fetch: Fetch, horizon: Horizon | None = None) -> None:
        self._dialect = dialect
        self._fetch = fetch
        self._horizon = horizon

    async def newest(self) -> StoredCheckpoint | None:
        """The checkpoint of the highest number."""
        found = await self._fetch(f"select {_CHECKPOINT} from log_checkpoints order by number desc limit 1", ())  # noqa: S608 - constants
        return StoredCheckpoint(*found[0]) if found else None

    async def checkpoints(self, after: int, limit: int) -> tuple[StoredCheckpoint, ...]:
        """Checkpoints with higher numbers, in order."""
        text = f"select {_CHECKPOINT} from log_checkpoints where number > {self._mark(1)} order by number limit {self._mark(2)}"  # noqa: S608 - constants and marks
        return tuple(StoredCheckpoint(*one) for one in await self._fetch(text, (after, limit)))

    async def naming(self, line: str) -> tuple[StoredCheckpoint, ...]:
        """Checkpoints with a line that begins so, in order."""
        text = f"select {_CHECKPOINT} from log_checkpoints where note like {self._mark(1)} order by number"  # noqa: S608 - constants and marks
        return tuple(StoredCheckpoint(*one) for one in await self._fetch(text, (f"%\n{line}%",)))

    async def entries(self, begin: int, end: int, size: int) -> bytes:
        """The stored entries of leaves, as far as there are any without a hole."""
        if begin >= end:
            return b""
        text = (
            "select start, entries from log_entries where start < "  # noqa: S608 - marks
            f"{self._mark(1)} and start >= coalesce((select max(start) from log_entries where start <= {self._mark(2)}), 0) order by start"
        )
        found, reached = bytearray(), begin
        for start, stretch in await self._fetch(text, (end, begin)):
            if start > reached:
                break
            found += stretch[(reached - start) * size : (end - start) * size]
            reached = begin + len(found) // size
        return bytes(found)

    async def nodes(self, level: int, begin: int, end: int) -> Mapping[int, bytes]:
        """Stored nodes of a level, by number."""
        text = (
            f"select number, hash from log_nodes where level = {self._mark(1)} "  # noqa: S608 - marks
            f"and number >= {self._mark(2)} and number < {self._mark(3)}"
        )
        return {number: bytes(hashed) for number, hashed in await self._fetch(text, (level, begin, end))}

    async def rows(self, log: Log[object], after: int, until: int, limit: int) -> tuple[LogRow, ...]:
        """Rows behind one position and up to another, in order."""
        where = f"position > {self._mark(1)} and position <= {self._mark(2)} order by position limit {self._mark(3)}"
        return await self._rows(log, where, (after, until, limit))

    async def row(self, log: Log[object], identifier: str) -> LogRow | None:
        """The record with an id, or at a position. No index has ids: the whole log is looked through."""
        if identifier.isascii() and identifier.isdecimal():
            found = await self._rows(log, f"position = {self._mark(1)}", (int(identifier),))
        else:
            # The id is a record's first member.
            found = await self._rows(log, f"substr(doc, 1, 60) like {self._mark(1)} limit 1", (f'{{"id":"{identifier}"%',))
        return found[0] if found else None

    async def end(self, log: Log[object]) -> int:
        """The last position that anybody can see."""
        return int((await self._fetch(_end(log), ()))[0][0])

    async def horizon(self, log: Log[object]) -> int:
        """The last position, once everything up to it is committed."""
        found = await (self._fetch(_end(log), ()) if self._horizon is None else self._horizon(log.name, _end(log)))
        return int(found[0][0])

    async def trims(self) -> Mapping[str, int]:
        """How far the logs have been trimmed, as the table says."""
        return {str(log): int(until) for log, until in await self._fetch("select log, until from log_trims", ())}

    async def keys(self) -> tuple[SigningKey, ...]:
        """The keys of the log, sealed as they are stored."""
        found = await self._fetch("select doc from signing_keys where purpose = 'log'", ())
        return tuple(_KEYS(one[0]) for one in found)

    async def _rows(self, log: Log[object], where: str, parameters: tuple[object, ...]) -> tuple[LogRow, ...]:
        text = f"select position, doc, seal, {', '.join(log.columns)} from {log.name} where {where}"  # noqa: S608 - declared names
        return tuple(
            LogRow(position, doc.encode() if isinstance(doc, str) else bytes(doc), seal, tuple(columns))
            for position, doc, seal, *columns in await self._fetch(text, parameters)
        )

    def _mark(self, number: int) -> str:
        return self._dialect.mark(number)


def _end(log: Log[object]) -> str:
    return f"select coalesce(max(position), 0) from {log.name}"  # noqa: S608 - a declared name


@asynccontextmanager
async def open_log_tree(address: str | Path) -> AsyncIterator[SqlLogTree]:
    """The tree in a database that may be in use, for reading only: at a `postgresql://` URL, or in a SQLite file.

    Raises `Failure(UNAVAILABLE)` when there is none; neither database nor schema is touched.
    """
    if str(address).startswith(("postgresql://", "postgres://")):
        from idplane.store.postgres_connections import Address, Connections  # noqa: PLC0415 - an optional extra, and costly to import

        connections = Connections(Address(url=str(address)), limit=1)
        try:
            yield SqlLogTree(Dialect.POSTGRESQL, connections.fetch)
        finally:
            await connections.close()
        return
    with read_failures(), closing(open_reader(Path(address))) as reader:

        async def fetch(text: str, parameters: tuple[object, ...]) -> Sequence[Any]:
            with read_failures():
                return reader.execute(text, parameters).fetchall()

        yield SqlLogTree(Dialect.SQLITE, fetch)
