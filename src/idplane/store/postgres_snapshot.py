"""A `Snapshot` of a PostgreSQL database: one repeatable-read transaction that only reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from idplane.store.postgres_connections import ERRORS, failure_of, hang_up
from idplane.store.snapshot import NOT_DATA, PAGE, Row, Snapshot, TableShape

__all__ = ["postgres_snapshot", "table_columns"]

_CONNECT_SECONDS = 10.0
_COLUMNS = """
select table_name::text, column_name::text, data_type::text, is_identity::text from information_schema.columns
where table_schema = current_schema() and table_name in
  (select table_name from information_schema.tables where table_schema = current_schema() and table_type = 'BASE TABLE')
order by table_name collate "C", ordinal_position
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _PostgresSnapshot:
    connection: Any
    versions: tuple[int, ...]
    feed: int
    tables: tuple[TableShape, ...]
    database: str = "postgres"

    async def rows(self, table: TableShape, /) -> AsyncIterator[Row]:
        text = f"select {', '.join(table.columns)} from {table.name} order by 1"  # noqa: S608 - names from the database's own catalogue
        try:
            async for row in self.connection.cursor(text, prefetch=PAGE):
                yield tuple(row)
        except ERRORS as error:
            raise failure_of(error) from error


async def table_columns(connection: Any) -> dict[str, dict[str, tuple[str, bool]]]:
    """The tables of the schema: by column its type, and whether the database numbers it itself."""
    found: dict[str, dict[str, tuple[str, bool]]] = {}
    for table, column, kind, identity in await connection.fetch(_COLUMNS):
        found.setdefault(table, {})[column] = (kind, identity == "YES")
    return found


@asynccontextmanager
async def postgres_snapshot(url: str) -> AsyncIterator[Snapshot]:
    """The database as it is now; raises `Failure(UNAVAILABLE)`."""
    try:
        connection = await asyncpg.connect(url, timeout=_CONNECT_SECONDS, server_settings={"application_name": "idplane admin"})
    except ERRORS as error:
        raise failure_of(error) from error
    try:
        # Ends with the connection. What goes wrong with whatever the rows are for is not the database's fault, and stays what it is.
        yield await _begun(connection)
    finally:
        await hang_up(connection)


async def _begun(connection: Any) -> _PostgresSnapshot:
    try:
        await connection.transaction(isolation="repeatable_read", readonly=True).start()
        versions = [one for (one,) in await connection.fetch("select version from schema_version order by 1")]
        feed = await connection.fetchval("select position from feed_end")
        tables = await table_columns(connection)
    except ERRORS as error:
        raise failure_of(error) from error
    shapes = (TableShape(name=name, columns=tuple(columns)) for name, columns in tables.items() if name not in NOT_DATA)
    return _PostgresSnapshot(connection=connection, versions=tuple(versions), feed=feed, tables=tuple(shapes))
