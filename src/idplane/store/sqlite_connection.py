"""SQLite connections set up as the store needs them, and what SQLite's errors mean."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from idplane.model.failure import Failure, FailureKind
from idplane.ports.store import RefusedBecause
from idplane.store.schema import SCHEMA_VERSION_TABLE, Migration, applied_rows, migrations, outstanding, record_of

__all__ = [
    "FEED_END",
    "apply_migration",
    "empty_database",
    "failure_of",
    "migrate",
    "open_reader",
    "open_writer",
    "read_failures",
    "refusal_of",
]

FEED_END = "select coalesce((select seq from sqlite_sequence where name = 'changes'), 0)"
"""The position of the last change, even if older ones have been removed."""

_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
_REASONS = {
    sqlite3.SQLITE_NOTADB: "the file is not a database, or damaged: restore it from a backup",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore it from a backup",
    sqlite3.SQLITE_ERROR: "it is not a database of idplane, or damaged",
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_PERM: "access is denied",
    sqlite3.SQLITE_CANTOPEN: "a file of it cannot be opened",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
}
"""Primary result codes in words."""
_OLDEST = (3, 37, 0)  # strict tables; RETURNING came two versions earlier
_BUSY_SECONDS = 5.0
_READ_BUSY_SECONDS = 1.0
"""Readers run on the event loop; in WAL mode only recovery after a crash ever makes one wait."""


def open_writer(path: Path, *, durable: bool) -> sqlite3.Connection:
    """The one connection that writes; raises `Failure(UNAVAILABLE)` when the file cannot be a database of ours."""
    if sqlite3.sqlite_version_info < _OLDEST:
        raise Failure(FailureKind.UNAVAILABLE, f"SQLite {sqlite3.sqlite_version} is too old: idplane needs 3.37")
    try:
        _create_private(path)
        with _connected(path, _BUSY_SECONDS) as connection:
            (mode,) = connection.execute("pragma journal_mode = wal").fetchone()
            if mode != "wal":
                words = f"the file system of {path} does not support SQLite's write-ahead log"
                raise Failure(FailureKind.UNAVAILABLE, words)
            connection.execute(f"pragma synchronous = {'full' if durable else 'off'}")
            connection.execute("pragma foreign_keys = on")
            # A statement that adds many log rows keeps what it would have to undo; more than 64 KiB of it would go to a temporary file.
            connection.execute("pragma temp_store = memory")
            return connection
    except (sqlite3.Error, OSError) as error:
        raise failure_of(error) from error


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads."""
    try:
        with _connected(path, _READ_BUSY_SECONDS) as connection:
            connection.execute("pragma query_only = on")
            return connection
    except sqlite3.Error as error:
        raise failure_of(error) from error


@contextmanager
def read_failures() -> Iterator[None]:
    """Turn what SQLite raises inside into `Failure`."""
    try:
        yield
    except sqlite3.Error as error:
        raise failure_of(error) from error


def _create_private(path: Path) -> None:
    # Readable by its owner only; SQLite gives the log beside it the same mode.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))


@contextmanager
def _connected(path: Path, busy: float) -> Iterator[sqlite3.Connection]:
    """A connection that outlives the block if that succeeds, and is closed if it fails."""
    # Opened on the event loop's thread, used by one thread at a time.
    connection = sqlite3.connect(path, timeout=busy, isolation_level=None, check_same_thread=False, cached_statements=512)
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def migrate(connection: sqlite3.Connection, now: datetime, known: Sequence[Migration] | None = None) -> None:
    """Bring the schema up to date, in one transaction; raises `Failure(UNAVAILABLE)` for a database too new for the program.

    `known` are the migrations of another program than this one.
    """
    try:
        connection.execute("begin immediate")
        connection.execute(SCHEMA_VERSION_TABLE)
        applied = applied_rows(connection.execute("select * from schema_version").fetchall())
        for one in outstanding(migrations("sqlite") if known is None else known, applied):
            apply_migration(connection, one, now)
        connection.execute("commit")
    except sqlite3.Error as error:
        raise failure_of(error) from error
    finally:
        if connection.in_transaction:
            connection.execute("rollback")


def apply_migration(connection: sqlite3.Connection, one: Migration, now: datetime) -> None:
    """One step, in the transaction that is going on."""
    for statement in _statements(one.sql):
        connection.execute(statement)
    record = record_of(one, now.isoformat())
    marks = ", ".join("?" for _ in record)
    connection.execute(f"insert into schema_version ({', '.join(record)}) values ({marks})", tuple(record.values()))  # noqa: S608 - fixed names


@cache
def empty_database() -> bytes:
    """The file of a database that holds its schema and nothing else, made once in a process: tests open thousands."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        migrate(made, datetime.fromtimestamp(0, UTC))
        return made.serialize()


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def failure_of(error: sqlite3.Error | OSError) -> Failure:
    """What an error that is nobody's fault amounts to: a full disk, or a database that cannot be used, and why."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _FULL or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        failure = Failure(FailureKind.STORAGE_FULL, "the disk that holds the database is full")
    else:
        why = (error.strerror or "").lower() if isinstance(error, OSError) else _REASONS.get(code & 0xFF, "")
        failure = Failure(
            FailureKind.UNAVAILABLE, f"the database cannot be used: {why}" if why else "the database cannot be used"
        )
    failure.__cause__ = error
    return failure


def refusal_of(error: sqlite3.IntegrityError) -> RefusedBecause | None:
    """Which constraint a statement broke; None for one that no valid record can break."""
    return {
        sqlite3.SQLITE_CONSTRAINT_UNIQUE: RefusedBecause.UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: RefusedBecause.UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: RefusedBecause.REFERENCE,
    }.get(error.sqlite_errorcode)
