"""A backup into a PostgreSQL database, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any, Final

import asyncpg

from idplane.store.backup import BackupProblem, Verified, contents
from idplane.store.postgres_connections import ERRORS, failure_of, hang_up
from idplane.store.postgres_snapshot import table_columns
from idplane.store.schema import SCHEMA_VERSION_TABLE, Migration, migrations
from idplane.store.snapshot import Row, TableShape

__all__ = ["restore_postgres"]

_CONNECT_SECONDS: Final = 10.0
_PAGE: Final = 500
_LOCK: Final = 7163812340178
"""What migrations take: a server that starts meanwhile waits."""
_REFERENCES: Final = """
select conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) from pg_constraint
where contype = 'f' and connamespace = current_schema()::regnamespace
"""
_Columns = dict[str, dict[str, tuple[str, bool]]]


async def restore_postgres(verified: Verified, url: str, now: datetime, *, leap: int) -> None:
    """See `restore.restore_backup`."""
    try:
        connection = await asyncpg.connect(url, timeout=_CONNECT_SECONDS, server_settings={"application_name": "idplane admin"})
    except ERRORS as error:
        raise failure_of(error) from error
    try:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
            if await table_columns(connection):
                raise BackupProblem("the database is not empty: restore into a new one (createdb)")
            await _fill(connection, verified, now, leap)
    except asyncpg.ForeignKeyViolationError as error:
        raise BackupProblem(f"{verified.path} does not hold together: a record refers to one that is not there") from error
    except asyncpg.IntegrityConstraintViolationError as error:
        raise BackupProblem(f"{verified.path} does not hold together: two of its records exclude each other") from error
    except asyncpg.DataError as error:
        raise BackupProblem(f"{verified.path} has a value that does not fit its column: it was edited") from error
    except ERRORS as error:
        raise failure_of(error) from error
    finally:
        await hang_up(connection)


async def _fill(connection: Any, verified: Verified, now: datetime, leap: int) -> None:
    known, applied = migrations("postgres"), set(verified.header.migrations)
    await connection.execute(SCHEMA_VERSION_TABLE)
    await _migrate(connection, [one for one in known if one.version in applied], now)
    tables = await table_columns(connection)
    # Tables come in any order, and rows of one refer to each other: references are taken away, and checked when they are put back.
    references = await connection.fetch(_REFERENCES)
    for table, name, _ in references:
        await connection.execute(f'alter table {table} drop constraint "{name}"')
    for shape, rows in contents(verified):
        await _copy(connection, verified, tables, shape, rows)
    for table, name, definition in references:
        await connection.execute(f'alter table {table} add constraint "{name}" {definition}')
    await _number_on(connection, tables)
    await connection.execute("update feed_end set position = $1", verified.header.feed + leap)
    await _migrate(connection, [one for one in known if one.version not in applied], now)


async def _migrate(connection: Any, wanted: list[Migration], now: datetime) -> None:
    for one in wanted:
        await connection.execute(one.sql)
        await connection.execute("insert into schema_version values ($1, $2, $3)", one.version, one.name, now.isoformat())


async def _copy(connection: Any, verified: Verified, tables: _Columns, shape: TableShape, rows: Iterator[Row]) -> None:
    columns = tables.get(shape.name, {})
    if not set(shape.columns) <= columns.keys():
        raise BackupProblem(f"{verified.path} has a table or column that idplane has not: it was edited")
    kinds = [columns[name][0] for name in shape.columns]
    while page := [tuple(map(_fitting, row, kinds)) for row in islice(rows, _PAGE)]:
        try:
            await connection.copy_records_to_table(shape.name, records=page, columns=shape.columns)
        except (TypeError, ValueError, OverflowError) as error:
            raise BackupProblem(f"{verified.path} has a value that does not fit its column: it was edited") from error


async def _number_on(connection: Any, tables: _Columns) -> None:
    """Logs go on behind their last position."""
    for table, columns in tables.items():
        for column, (_, numbered) in columns.items():
            if numbered:
                await connection.execute(
                    f"select setval(pg_get_serial_sequence('{table}', '{column}'), coalesce(max({column}), 1), max({column}) is not null) from {table}"  # noqa: S608 - names of the database's own catalogue
                )


def _fitting(value: object, kind: str) -> object:
    """SQLite has no booleans."""
    return bool(value) if kind == "boolean" and isinstance(value, int) else value
