"""Bringing a PostgreSQL database up to date while other servers work on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from idplane.ports.world import Clock
from idplane.store.postgres_connections import Address, connect, hang_up
from idplane.store.schema import SCHEMA_VERSION_TABLE, Migration, applied_rows, outstanding, record_of

__all__ = ["migrate"]

_MIGRATING = 7163812340178
"""Advisory lock: servers that start together migrate one after the other."""
_ATTEMPTS = 20
_PATIENCE = "set local lock_timeout = '2s'"
"""A statement that waits for a table makes all that come after it wait, too; better to step back and let them pass."""
_STEP_BACK = "select pg_sleep(0.5)"


async def migrate(address: Address, clock: Clock, known: Sequence[Migration]) -> None:
    """Apply what is outstanding, in one transaction. Raises what asyncpg raises, and `Failure` for a database that is too new."""
    connection = await connect(address, hurried=False)
    try:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await _attempt(connection, clock, known)
            except asyncpg.LockNotAvailableError:
                if attempt == _ATTEMPTS:
                    raise
                await connection.execute(_STEP_BACK)
            else:
                return
    finally:
        await hang_up(connection)


async def _attempt(connection: Any, clock: Clock, known: Sequence[Migration]) -> None:
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", _MIGRATING)
        await connection.execute(SCHEMA_VERSION_TABLE)
        applied = applied_rows(await connection.fetch("select * from schema_version"))
        await connection.execute(_PATIENCE)
        for one in outstanding(known, applied):
            await connection.execute(one.sql)
            record = record_of(one, clock.now().isoformat())
            marks = ", ".join(f"${number}" for number in range(1, len(record) + 1))
            text = f"insert into schema_version ({', '.join(record)}) values ({marks})"  # noqa: S608 - fixed names
            await connection.execute(text, *record.values())
