"""A backup: one file of JSON lines that holds a whole installation, for either database.

    {"format": "idplane backup", "version": 1, "database": ..., "migrations": [...], "feed": N, "program": ..., "createdAt": ...}
    {"table": NAME, "columns": [...]}       then a line for each of its rows, an array in that order
    {"end": {"rows": {NAME: N}, "sha256": ..., "seal": ...}}

Bytes are arrays of one base64 text. The digest is of all bytes before the last line, and `seal` is that digest sealed by the key custody: nobody
without the custody can make a backup, or change one, that is taken for the installation's. What is sealed in the database stays sealed as it is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from idplane.model.failure import Failure, os_reason
from idplane.model.keys import KeyPurpose
from idplane.ports.world import KeyCustody
from idplane.store.schema import Migration
from idplane.store.snapshot import Row, Snapshot, TableShape

__all__ = ["NOT_KEPT", "BackupProblem", "Header", "Verified", "check_seal", "contents", "verify_backup", "write_backup"]

_FORMAT: Final = "idplane backup"
_VERSION: Final = 1
_LINE: Final = 256 * 1024 * 1024
NOT_KEPT: Final = frozenset({"join_tokens"})
"""Tables that no backup has: a join token that was used after it would be good again. They live for a day at most; others are issued."""
_CONTEXT: Final = f"{_FORMAT} {_VERSION}"
_ENCODER: Final = msgspec.json.Encoder()


class BackupProblem(Exception):  # noqa: N818 - it is what the person at the terminal reads
    """Why a backup cannot be made or used; its text is one sentence."""


class Header(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The first line."""

    format: str
    version: int
    database: str
    migrations: tuple[int, ...]
    feed: int
    program: str
    created_at: str


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    table: str
    columns: tuple[str, ...]


class _End(msgspec.Struct, frozen=True, kw_only=True):
    rows: dict[str, int]
    sha256: str
    seal: str


class _Key(msgspec.Struct, frozen=True, kw_only=True):
    """What of a signing key's record is looked at."""

    purpose: str
    sealed: bytes = b""


class _Last(msgspec.Struct, frozen=True, kw_only=True):
    end: _End


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A backup that is whole."""

    path: Path
    header: Header
    rows: dict[str, int]
    sha256: str
    sealed: bytes | None = field(repr=False, default=None)
    """Something that the installation's custody has sealed."""


async def write_backup(
    snapshot: Snapshot, out: BinaryIO, custody: KeyCustody, *, program: str, created_at: str
) -> dict[str, int]:
    """Write everything, and how many rows each table had. Raises `Failure` as the snapshot and the custody do, `OSError` as the file does."""
    digest = hashlib.sha256()

    def put(line: bytes) -> None:
        digest.update(line + b"\n")
        out.write(line + b"\n")

    header = Header(
        format=_FORMAT,
        version=_VERSION,
        database=snapshot.database,
        migrations=snapshot.versions,
        feed=snapshot.feed,
        program=program,
        created_at=created_at,
    )
    put(_ENCODER.encode(header))
    rows: dict[str, int] = {}
    for table in snapshot.tables:
        if table.name in NOT_KEPT:
            continue
        put(_ENCODER.encode(_Table(table=table.name, columns=table.columns)))
        rows[table.name] = 0
        async for row in snapshot.rows(table):
            put(_ENCODER.encode([_written(value) for value in row]))
            rows[table.name] += 1
    found = digest.digest()
    seal = base64.b64encode(custody.seal(found, context=_CONTEXT)).decode()
    out.write(_ENCODER.encode(_Last(end=_End(rows=rows, sha256=found.hex(), seal=seal))) + b"\n")
    return rows


def verify_backup(path: Path, known: tuple[Migration, ...]) -> Verified:
    """Read a backup to its end; `known` are this program's migrations. Raises `BackupProblem` unless it is whole and can be read by it."""
    digest = hashlib.sha256()
    rows: dict[str, int] = {}
    header: Header | None = None
    table: _Table | None = None
    sealed: bytes | None = None
    end: _End | None = None
    for line in _lines(path):
        if end is not None:
            raise BackupProblem(f"{path} goes on behind its end: it was edited")
        if header is None:
            header = _header(path, line, known)
        elif line.startswith(b"["):
            row = _row(path, line, table)
            assert table is not None
            rows[table.table] += 1
            sealed = sealed or _sealed_in(path, table, row)
        elif line.startswith(b'{"end"'):
            end = _read(path, line, _Last).end
            continue
        else:
            table = _read(path, line, _Table)
            if table.table in rows:
                raise BackupProblem(f"{path} has the table {table.table} twice: it was edited")
            rows[table.table] = 0
        digest.update(line)
    if header is None or end is None:
        raise BackupProblem(f"{path} ends too early: it is not whole")
    if end.rows != rows or end.sha256 != digest.hexdigest():
        raise BackupProblem(f"{path} is not as it was written: its digest is another one")
    return Verified(path=path, header=header, rows=rows, sha256=end.sha256, sealed=sealed)


def check_seal(verified: Verified, custody: KeyCustody) -> None:
    """Raises `BackupProblem` unless this custody sealed this backup."""
    *_, last = _lines(verified.path)
    end = _read(verified.path, last, _Last).end
    try:
        found = custody.unseal(base64.b64decode(end.seal, validate=True), context=_CONTEXT)
    except (Failure, binascii.Error) as error:
        raise BackupProblem(
            f"{verified.path} was not made with this key custody: use the one of the installation that it is a backup of"
        ) from error
    if found.hex() != verified.sha256 or end.sha256 != verified.sha256:
        raise BackupProblem(f"{verified.path} is not as it was written: its seal is for another content")


def contents(verified: Verified) -> Iterator[tuple[TableShape, Iterator[Row]]]:
    """Its tables with their rows, each read to its end before the next. Raises `BackupProblem` at the end if the file is another one by now."""
    digest = hashlib.sha256()
    lines = _lines(verified.path)
    digest.update(next(lines))
    waiting: list[bytes] = []

    def rows(table: _Table) -> Iterator[Row]:
        for line in lines:
            if not line.startswith(b"["):
                waiting.append(line)
                return
            digest.update(line)
            yield tuple(_value(value) for value in _row(verified.path, line, table))

    waiting.append(next(lines))
    while waiting and not waiting[0].startswith(b'{"end"'):
        line = waiting.pop()
        digest.update(line)
        table = _read(verified.path, line, _Table)
        yield TableShape(name=table.table, columns=table.columns), rows(table)
    if digest.hexdigest() != verified.sha256:
        raise BackupProblem(f"{verified.path} was changed while it was read")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while line := file.readline(_LINE):
                if not line.endswith(b"\n"):
                    raise BackupProblem(f"{path} ends too early: it is not whole")
                yield line
    except OSError as error:
        raise BackupProblem(f"{path} cannot be read: {os_reason(error)}") from error


def _header(path: Path, line: bytes, known: tuple[Migration, ...]) -> Header:
    try:
        header = msgspec.json.decode(line, type=Header)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BackupProblem(f"{path} is not a backup of idplane") from error
    if header.format != _FORMAT:
        raise BackupProblem(f"{path} is not a backup of idplane")
    newest = max(one.version for one in known)
    if header.version != _VERSION or max(header.migrations, default=0) > newest:
        raise BackupProblem(f"{path} was made by a newer idplane ({header.program[:40]}): use the newer one")
    if not header.migrations or not set(header.migrations) <= {one.version for one in known}:
        raise BackupProblem(f"{path} has a schema that no idplane ever had: it was edited")
    return header


def _read(path: Path, line: bytes | str, type_: type[Any]) -> Any:
    try:
        return msgspec.json.decode(line, type=type_)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise BackupProblem(f"{path} has a line that is no part of a backup: it was edited or damaged") from error


def _row(path: Path, line: bytes, table: _Table | None) -> list[Any]:
    row = _read(path, line, list)
    if table is None or len(row) != len(table.columns):
        raise BackupProblem(f"{path} has a row that fits no table: it was edited or damaged")
    return list(row)


def _sealed_in(path: Path, table: _Table, row: list[Any]) -> bytes | None:
    """The sealed part of a token-signing key."""
    if table.table != "signing_keys":
        return None
    doc = _read(path, dict(zip(table.columns, row, strict=True)).get("doc", ""), _Key)
    return doc.sealed if doc.purpose == KeyPurpose.TOKEN.value else None


def _written(value: object) -> object:
    return [base64.b64encode(value).decode()] if isinstance(value, bytes) else value


def _value(value: object) -> object:
    return base64.b64decode(str(value[0])) if isinstance(value, list) else value
