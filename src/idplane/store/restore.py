"""Putting a backup into an empty database, whole or not at all, whatever kills the process meanwhile.

SQLite: a file beside the place where it belongs, renamed when it is complete. PostgreSQL: one transaction. The schema is made as the backup's program
knew it, the rows go in, and later migrations follow, so that an older backup is brought up to date as its database would have been.

The change feed begins anew far behind its old end, without the changes before: whoever still follows a later state sees that it has missed some,
and starts afresh.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Final

from idplane.model.failure import Failure, FailureKind
from idplane.store.backup import BackupProblem, Verified, contents
from idplane.store.datafolder import sync_folder
from idplane.store.schema import SCHEMA_VERSION_TABLE, migrations
from idplane.store.snapshot import Row, TableShape, is_postgres
from idplane.store.sqlite_connection import apply_migration, failure_of

__all__ = ["FEED_LEAP", "restore_backup"]

FEED_LEAP: Final = 1_000_000_000
"""More changes than there can have been since the backup was made."""
_PAGE: Final = 500


async def restore_backup(verified: Verified, address: str | Path, now: datetime) -> None:
    """Make the database at `address` what the backup holds.

    Raises `BackupProblem` when there is something already or the backup does not hold together, `Failure` when the database cannot be used.
    """
    if is_postgres(address):
        try:
            from idplane.store.postgres_restore import restore_postgres  # noqa: PLC0415 - an optional extra, and costly to import
        except ImportError as error:
            raise Failure(FailureKind.UNAVAILABLE, "PostgreSQL needs a driver: pip install 'idplane[postgresql]'") from error
        await restore_postgres(verified, str(address), now, leap=FEED_LEAP)
    else:
        _restore_sqlite(verified, Path(address), now)


def _restore_sqlite(verified: Verified, path: Path, now: datetime) -> None:
    for part in (path, *(path.with_name(f"{path.name}-{end}") for end in ("wal", "shm", "journal"))):
        if part.exists():
            raise BackupProblem(f"there is a database already ({part}): restore into an empty place")
    draft = path.with_name(f".{path.name}.restoring")
    draft.unlink(missing_ok=True)
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            # A draft that is not complete is worth nothing, so nothing has to be undone; what is complete has to be on the disk.
            connection.execute("pragma journal_mode = memory")
            connection.execute("pragma synchronous = full")
            connection.execute("begin immediate")
            _fill(connection, verified, now)
            connection.execute("commit")
        # Unlike a rename, a link never replaces.
        os.link(draft, path)
    except sqlite3.Error as error:
        raise failure_of(error) from error
    except FileExistsError as error:
        raise BackupProblem(f"there is a database already ({path}): restore into an empty place") from error
    except OSError as error:
        raise failure_of(error) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def _fill(connection: sqlite3.Connection, verified: Verified, now: datetime) -> None:
    known, applied = migrations("sqlite"), set(verified.header.migrations)
    connection.execute(SCHEMA_VERSION_TABLE)
    for one in known:
        if one.version in applied:
            apply_migration(connection, one, now)
    for table, rows in contents(verified):
        _insert(connection, verified, table, rows)
    connection.execute("delete from sqlite_sequence where name = 'changes'")
    connection.execute("insert into sqlite_sequence values ('changes', ?)", (verified.header.feed + FEED_LEAP,))
    for one in known:
        if one.version not in applied:
            apply_migration(connection, one, now)
    if connection.execute("pragma foreign_key_check").fetchone() is not None:
        raise BackupProblem(f"{verified.path} does not hold together: a record refers to one that is not there")


def _insert(connection: sqlite3.Connection, verified: Verified, table: TableShape, rows: Iterator[Row]) -> None:
    known = {row[1] for row in connection.execute(f"pragma table_info({_name(table.name)})")}
    if not known or not set(table.columns) <= known:
        raise BackupProblem(f"{verified.path} has a table or column that idplane has not: it was edited")
    marks = ", ".join("?" for _ in table.columns)
    text = f"insert into {table.name} ({', '.join(table.columns)}) values ({marks})"  # noqa: S608 - names of the catalogue, as just checked
    try:
        connection.executemany(text, rows)
    except sqlite3.IntegrityError as error:
        raise BackupProblem(
            f"{verified.path} does not hold together: two records of {table.name} exclude each other"
        ) from error


def _name(text: str) -> str:
    if not text.isidentifier() or not text.isascii():
        raise BackupProblem("the backup has a table with an impossible name: it was edited")
    return text
