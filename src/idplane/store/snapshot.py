"""All rows of a database as they were at one moment, whichever database it is: what backups and checks read.

Servers go on meanwhile: SQLite's write-ahead log and PostgreSQL's snapshots both let a reader see one state for as long as it reads. Nothing is
migrated or written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from idplane.model.failure import Failure, FailureKind
from idplane.store.sqlite_connection import FEED_END, failure_of

__all__ = ["NOT_DATA", "PAGE", "Row", "Snapshot", "TableShape", "is_postgres", "snapshot_of"]

Row = tuple[Any, ...]
PAGE: Final = 500
NOT_DATA: Final = frozenset({"schema_version", "feed_end", "changes", "leases"})
"""The schema's own table, the feed (a restored database begins a new one), and who does what just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableShape:
    """A table, with the columns in the order in which its rows are read."""

    name: str
    columns: tuple[str, ...]


class Snapshot(Protocol):
    """One moment of a database."""

    @property
    def database(self) -> str:
        """`sqlite` or `postgres`, as the migrations' folders are called."""
        ...

    @property
    def versions(self) -> tuple[int, ...]:
        """The migrations that were applied."""
        ...

    @property
    def feed(self) -> int:
        """The end of the change feed."""
        ...

    @property
    def tables(self) -> tuple[TableShape, ...]:
        """Every table that holds data."""
        ...

    def rows(self, table: TableShape, /) -> AsyncIterator[Row]:
        """Its rows in the order of the first column, which is the key or the position."""
        ...


def is_postgres(address: str | Path) -> bool:
    """Whether an address is a PostgreSQL URL, and not the path of a SQLite file."""
    return str(address).startswith(("postgresql://", "postgres://"))


def snapshot_of(address: str | Path) -> AbstractAsyncContextManager[Snapshot]:
    """The database as it is now. Raises `Failure(UNAVAILABLE)` when it cannot be read or is none of ours."""
    if is_postgres(address):
        try:
            from idplane.store.postgres_snapshot import (  # noqa: PLC0415 - an optional extra, and costly to import
                postgres_snapshot,
            )
        except ImportError as error:
            raise Failure(FailureKind.UNAVAILABLE, "PostgreSQL needs a driver: pip install 'idplane[postgresql]'") from error
        return postgres_snapshot(str(address))
    path = Path(address).absolute()
    if not path.is_file():
        raise Failure(FailureKind.UNAVAILABLE, f"there is no database {path}")
    return _sqlite_snapshot(path.as_uri())


@dataclass(frozen=True, slots=True, kw_only=True)
class _SqliteSnapshot:
    connection: sqlite3.Connection
    versions: tuple[int, ...]
    feed: int
    tables: tuple[TableShape, ...]
    database: str = "sqlite"

    async def rows(self, table: TableShape, /) -> AsyncIterator[Row]:
        text = f"select {', '.join(table.columns)} from {table.name} order by 1"  # noqa: S608 - names from the database's own catalogue
        try:
            cursor = self.connection.execute(text)
            while page := cursor.fetchmany(PAGE):
                for row in page:
                    yield row
        except sqlite3.Error as error:
            raise failure_of(error) from error


@asynccontextmanager
async def _sqlite_snapshot(uri: str) -> AsyncIterator[Snapshot]:
    try:
        with closing(sqlite3.connect(f"{uri}?mode=rw", uri=True, isolation_level=None)) as connection:
            connection.execute("pragma query_only = on")
            connection.execute("begin")
            versions = tuple(one for (one,) in connection.execute("select version from schema_version order by 1"))
            ((feed,),) = connection.execute(FEED_END)
            found = _SqliteSnapshot(connection=connection, versions=versions, feed=feed, tables=tuple(_tables(connection)))
            yield found
    except sqlite3.Error as error:
        raise failure_of(error) from error


def _tables(connection: sqlite3.Connection) -> list[TableShape]:
    names = connection.execute("select name from sqlite_schema where type = 'table' and name not like 'sqlite_%' order by name")
    return [
        TableShape(name=name, columns=tuple(row[1] for row in connection.execute(f"pragma table_info({name})")))
        for (name,) in names.fetchall()
        if name not in NOT_DATA
    ]
