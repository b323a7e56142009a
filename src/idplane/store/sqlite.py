"""The embedded store: one SQLite file, reads inline on the event loop, one writer with group commit.

A read is a few microseconds of a prepared statement on a connection of its own, cheaper than any hand-over to a thread; the
write-ahead log lets it go on beside the writer and always shows the last commit.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from idplane.model.failure import Failure, FailureKind
from idplane.ports.sorting import Sort
from idplane.ports.store import (
    Batch,
    Change,
    Collection,
    ColumnValue,
    Listener,
    Log,
    Logged,
    Order,
    Page,
    Tally,
    Versioned,
)
from idplane.ports.tree import LogSealer
from idplane.ports.world import Clock
from idplane.store.listeners import Listeners
from idplane.store.log_tree import SqlLogTree
from idplane.store.plan import Tables, findable
from idplane.store.sorted_pages import sorted_page
from idplane.store.sqlite_connection import FEED_END, empty_database, failure_of, migrate, open_reader, open_writer
from idplane.store.sqlite_writer import SqliteWriter
from idplane.store.tables import FEED_COLUMNS, CollectionTable, Dialect, LogTable, Parameters, Selection

__all__ = ["SqliteStore"]

T = TypeVar("T")

_FEED = f"select {FEED_COLUMNS} from changes where position > ? order by position limit ?"  # noqa: S608 - constants only


class SqliteStore:
    """A `ports.store.Store` over one SQLite file. Make one with `open`; one event loop uses it."""

    def __init__(
        self,
        path: Path,
        *,
        writer: sqlite3.Connection,
        reader: sqlite3.Connection,
        discard: Path | None = None,
    ) -> None:
        self.path = path
        """The database file."""
        self._writing = writer
        self._reading = reader
        self._tables = Tables(Dialect.SQLITE)
        self._listeners = Listeners()
        self._writer = SqliteWriter(writer, self._listeners, self._tables)
        self.tree = SqlLogTree(Dialect.SQLITE, self._fetch)
        """The tree over the logs."""
        self._closed = False
        self._discard = weakref.finalize(self, shutil.rmtree, discard, ignore_errors=True) if discard else None

    @classmethod
    async def open(cls, path: str | Path, *, clock: Clock) -> SqliteStore:
        """Open or create the database at `path`; `":memory:"` is a private one that ends with `close`.

        Raises `Failure(UNAVAILABLE)` for a file that is no database of ours or belongs to a newer program, `Failure(STORAGE_FULL)` on a
        full disk.
        """
        if str(path) == ":memory:":
            return cls._open_private(clock)
        return cls._open_file(Path(path), clock)

    @classmethod
    def _open_private(cls, clock: Clock) -> SqliteStore:
        # A file that nothing waits for the disk to write: the same code, locks and snapshots as a real one, which SQLite's own
        # memory databases do not have when two connections share them.
        folder = Path(tempfile.mkdtemp(prefix="idplane-"))
        path = folder / "store.sqlite"
        path.write_bytes(empty_database())
        return cls._open_file(path, clock, private=folder)

    @classmethod
    def _open_file(cls, path: Path, clock: Clock, *, private: Path | None = None) -> SqliteStore:
        writer = open_writer(path, durable=private is None)
        try:
            migrate(writer, clock.now())
            reader = open_reader(path)
        except BaseException:
            writer.close()
            raise
        return cls(path, writer=writer, reader=reader, discard=private)

    async def get(self, collection: Collection[T], key: str, /) -> Versioned[T] | None:
        """One record."""
        table = self._table(collection)
        try:
            row = self._reading.execute(table.get, (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._failure(error) from error
        except UnicodeEncodeError:
            return None  # no stored key has such characters
        return None if row is None else Versioned(table.decode(row[1]), row[0])

    async def page(  # noqa: PLR0913 - the port's query, spelled out
        self,
        collection: Collection[T],
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        under: tuple[str, str] | None = None,
        containing: tuple[str, str] | None = None,
        order: Sort | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[T]:
        """Records in the order of their places; see the port."""
        if limit < 1:
            raise ValueError("a page has at least one record")
        table, selected = self._table(collection), Selection(where, under, containing)
        if order is not None:
            return await sorted_page(table, self._found, selected, order, after, limit)
        # One more than asked tells whether there is another page.
        rows = self._rows(*table.select(selected, after, limit + 1))
        shown = rows[:limit]
        return Page(
            tuple(Versioned(table.decode(doc), version) for _, version, doc in shown),
            shown[-1][0] if len(rows) > limit else None,
        )

    async def all(
        self,
        collection: Collection[T],
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        under: tuple[str, str] | None = None,
    ) -> tuple[Versioned[T], ...]:
        """Every matching record, in key order."""
        table = self._table(collection)
        rows = self._rows(*table.select(Selection(where, under)))
        return tuple(Versioned(table.decode(doc), version) for _, version, doc in rows)

    async def count(
        self,
        collection: Collection[T],
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        under: tuple[str, str] | None = None,
        limit: int,
    ) -> int:
        """How many records match, at most `limit`."""
        rows = self._rows(*self._table(collection).count(where, under, limit))
        return int(rows[0][0]) if rows else 0

    async def commit(self, batch: Batch, /) -> int:
        """Apply all or nothing, durably. A caller that is cancelled while it waits does not undo the commit."""
        plan = self._tables.plan(batch)
        if not plan.steps:
            return await self.position()
        if self._closed:
            raise _closed()
        return await self._writer.submit(plan)

    async def read_log(  # noqa: PLR0913 - the port's query, spelled out
        self,
        log: Log[T],
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        since: int | None = None,
        until: int | None = None,
        position: int | None = None,
        order: Order = Order.NEWEST_FIRST,
        limit: int = 100,
    ) -> tuple[Logged[T], ...]:
        """Events; newest first is by time, then position; oldest first is by position, the order of commits."""
        table = cast("LogTable[T]", self._tables.log(cast("Log[object]", log)))
        text, parameters = table.select(where=where, since=since, until=until, position=position, order=order, limit=limit)
        return tuple(Logged(at, table.decode(doc)) for at, doc in self._rows(text, parameters))

    async def tally(  # noqa: PLR0913 - the port's query, spelled out
        self,
        log: Log[T],
        by: str,
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        since: int,
        until: int,
        step: int,
        limit: int,
    ) -> tuple[Tally, ...]:
        """How many of the newest events there were, by step and value; see the port."""
        table = cast("LogTable[T]", self._tables.log(cast("Log[object]", log)))
        text, parameters = table.tally(by=by, where=where, since=since, until=until, step=step, limit=limit)
        return tuple(Tally(step=slot, value=value, count=count) for slot, value, count in self._rows(text, parameters))

    async def changes(self, after: int, /, *, limit: int = 1000) -> tuple[Change, ...]:
        """The feed after a position, oldest first."""
        return tuple(
            Change(position=position, collection=collection, key=key, subject=subject, deleted=bool(deleted))
            for position, collection, key, subject, deleted in self._rows(_FEED, (after, limit))
        )

    async def position(self) -> int:
        """The feed's current end."""
        return int(self._rows(FEED_END, ())[0][0])

    def freshness(self) -> float:
        """Nothing: this process makes every change itself."""
        return 0.0

    def subscribe(self, listener: Listener, /) -> Callable[[], None]:
        """Hear of every commit of this store before it is acknowledged."""
        return self._listeners.add(listener)

    def seal_logs(self, sealer: LogSealer, /) -> None:
        """Seal what is appended from now on."""
        self._tables.sealer = sealer

    async def close(self) -> None:
        """Settle what was submitted, then let go of the file. Closing twice is fine; anything else afterwards is `UNAVAILABLE`."""
        if self._closed:
            return
        self._closed = True
        await self._writer.stop()
        self._reading.close()
        self._writing.close()
        if self._discard is not None:
            self._discard()

    def _table(self, collection: Collection[T]) -> CollectionTable[T]:
        return cast("CollectionTable[T]", self._tables.collection(cast("Collection[object]", collection)))

    def _rows(self, text: str, parameters: Parameters) -> list[Any]:
        if not all(findable(value) for value in parameters):
            return []
        try:
            # All at once, so that no read transaction stays open and keeps the log from being folded back.
            return self._reading.execute(text, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    async def _found(self, text: str, parameters: Parameters) -> list[Any]:
        return self._rows(text, parameters)

    async def _fetch(self, text: str, parameters: tuple[object, ...]) -> list[Any]:
        try:
            return self._reading.execute(text, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: sqlite3.Error) -> Failure:
        return _closed() if self._closed else failure_of(error)


def _closed() -> Failure:
    return Failure(FailureKind.UNAVAILABLE, "the store is closed")
