"""A batch made ready for a writer: encoded on the event loop, so that the transaction itself is only statements.

What no database could keep is refused here, the same way for both: NUL characters and lone surrogates in searchable text, integers beyond
64 bits, keys longer than an index entry may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias, assert_never

from idplane.model.failure import Failure, FailureKind
from idplane.ports.store import (
    Append,
    Batch,
    Collection,
    ColumnValue,
    Delete,
    Expect,
    Extend,
    Log,
    Operation,
    Put,
    Require,
    Trim,
    TrimChanges,
)
from idplane.ports.tree import LogSealer
from idplane.store.codec import encode
from idplane.store.log_tree import TreeQuery, extension_queries
from idplane.store.tables import CollectionTable, Dialect, LogTable, Parameters, Query, feed_trim

__all__ = [
    "AppendRow",
    "DeleteRecord",
    "ExtendTree",
    "Plan",
    "PutRecord",
    "RequireRecord",
    "Step",
    "Tables",
    "TrimFeed",
    "TrimLog",
    "Written",
    "findable",
    "log_statements",
]

_KEY_BYTES = 2600
"""A B-tree entry of PostgreSQL holds about 2700 bytes; resource ids are at most 2048 characters."""
_SHORT = 512
_INTEGER = 1 << 63
_CHUNKS = (64, 32, 16, 8, 4, 2, 1)
"""Rows for each insert statement into a log: few statements for any number of rows, and few distinct texts, so that all stay prepared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the feed is told of a record, before it has a position."""

    collection: str
    key: str
    subject: str | None
    deleted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PutRecord:
    """Write one record; `parameters` are key, doc and columns."""

    table: CollectionTable[object]
    key: str
    expect: int | Expect
    parameters: Parameters
    subject: str | None

    @property
    def query(self) -> Query:
        """The statement; no row comes back when the record is not as expected."""
        if self.expect is Expect.ABSENT:
            return self.table.insert, self.parameters
        if self.expect is Expect.ANY:
            return self.table.upsert, self.parameters
        return self.table.update, (*self.parameters, self.expect)

    @property
    def written(self) -> Written | None:
        """What the feed is told, if anything."""
        if not self.table.fed:
            return None
        return Written(collection=self.table.name, key=self.key, subject=self.subject, deleted=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecord:
    """Remove one record; without a `subject`, `subject_of` reads it from the removed document."""

    table: CollectionTable[object]
    key: str
    version: int | None
    """None for any, an absent record included."""
    subject: str | None
    subject_of: Callable[[object], str] | None

    @property
    def query(self) -> Query:
        """The statement; the removed document comes back, or no row."""
        if self.version is None:
            return self.table.delete, (self.key,)
        return self.table.delete_version, (self.key, self.version)

    def written(self, doc: str) -> Written | None:
        """What the feed is told, if anything; `doc` is the document that was removed."""
        if not self.table.fed:
            return None
        subject = self.subject
        if subject is None and self.subject_of is not None:
            subject = self.subject_of(self.table.decode(doc))
        return Written(collection=self.table.name, key=self.key, subject=subject, deleted=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequireRecord:
    """Check one record: a version, `ABSENT`, or `ANY` for one that exists."""

    table: CollectionTable[object]
    key: str
    expect: int | Expect

    @property
    def record(self) -> tuple[str, str]:
        """Which one it is: table and key."""
        return self.table.name, self.key

    @property
    def query(self) -> Query:
        """The statement; the version comes back, or no row."""
        return self.table.version, (self.key,)

    def met_by(self, version: int | None) -> bool:
        """Whether a record at this version, None for an absent one, is as required."""
        if self.expect is Expect.ABSENT:
            return version is None
        if self.expect is Expect.ANY:
            return version is not None
        return version == self.expect


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendRow:
    """Add one event; `parameters` are doc, seal and columns."""

    table: LogTable[object]
    parameters: Parameters

    @property
    def doc(self) -> str:
        """The document."""
        return str(self.parameters[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimLog:
    """Remove events that are old enough."""

    table: LogTable[object]
    before: int
    limit: int

    @property
    def queries(self) -> tuple[Query, Query]:
        """The statements, in order: how far the log may be trimmed, and the removal itself."""
        return (self.table.mark, (self.before,)), (self.table.trim, (self.before, self.limit))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimFeed:
    """Remove the oldest rows of the feed."""

    text: str
    keep: int
    limit: int

    @property
    def queries(self) -> tuple[Query, ...]:
        """The statement."""
        return ((self.text, (self.keep, self.limit)),)


@dataclass(frozen=True, slots=True)
class ExtendTree:
    """Add to the tree over the logs."""

    queries: tuple[TreeQuery, ...]


_NOISY = (PutRecord, DeleteRecord, TrimLog, TrimFeed, ExtendTree)
_RECORDS = (PutRecord, DeleteRecord, RequireRecord)
Step: TypeAlias = PutRecord | DeleteRecord | RequireRecord | AppendRow | TrimLog | TrimFeed | ExtendTree


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one batch, in order."""

    steps: tuple[Step, ...]

    @property
    def appends(self) -> tuple[AppendRow, ...] | None:
        """The steps, if all of them are appends: such a batch cannot conflict with anything."""
        rows = tuple(step for step in self.steps if isinstance(step, AppendRow))
        return rows if len(rows) == len(self.steps) else None

    @property
    def requirements(self) -> tuple[RequireRecord, ...]:
        """The steps that only check."""
        return tuple(step for step in self.steps if isinstance(step, RequireRecord))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing changes that was there: steps only check and append, as they do for every token."""
        return not any(isinstance(step, _NOISY) for step in self.steps)

    @property
    def is_of_logs(self) -> bool:
        """Whether no record matters to it."""
        return not any(isinstance(step, _RECORDS) for step in self.steps)


class Tables:
    """The SQL of every collection and log that a store has met, in its dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._collections: dict[str, CollectionTable[object]] = {}
        self._logs: dict[str, LogTable[object]] = {}
        self.sealer: LogSealer | None = None
        """Who seals what is appended, and hears of it."""

    def collection(self, collection: Collection[object]) -> CollectionTable[object]:
        """The table of a collection."""
        table = self._collections.get(collection.name)
        if table is None:
            table = self._collections[collection.name] = CollectionTable(collection, self._dialect)
        return table

    def log(self, log: Log[object]) -> LogTable[object]:
        """The table of a log."""
        table = self._logs.get(log.name)
        if table is None:
            table = self._logs[log.name] = LogTable(log, self._dialect)
        return table

    def plan(self, batch: Batch) -> Plan:
        """The batch, encoded; raises `Failure(INVALID_PARAMETER)` for a value that cannot be stored."""
        return Plan(tuple(self._step(one) for one in batch.operations))

    def _step(self, one: Operation) -> Step:
        match one:
            case Put():
                return self._put(one)
            case Delete():
                return self._delete(one)
            case Require():
                return RequireRecord(table=self.collection(one.collection), key=_text(one.key), expect=one.expect)
            case Append():
                log = self.log(one.log)
                columns = (_column(get(one.event)) for _, get in log.columns)
                doc = encode(one.event)
                seal = None if self.sealer is None else self.sealer.seal(log.name, doc)
                return AppendRow(table=log, parameters=(doc, seal, *columns))
            case Trim() | TrimChanges():
                return self._trim(one)
            case Extend():
                return ExtendTree(extension_queries(one, self._dialect))
            case _:
                assert_never(one)

    def _trim(self, one: Trim[object] | TrimChanges) -> Step:
        if isinstance(one, TrimChanges):
            return TrimFeed(text=feed_trim(self._dialect), keep=one.keep, limit=one.limit)
        return TrimLog(table=self.log(one.log), before=one.before, limit=one.limit)

    def _delete(self, one: Delete[object]) -> Step:
        table, key = self.collection(one.collection), _text(one.key)
        if one.expect is Expect.ABSENT:
            return RequireRecord(table=table, key=key, expect=one.expect)
        version = one.expect if isinstance(one.expect, int) else None
        return DeleteRecord(table=table, key=key, version=version, subject=one.subject, subject_of=one.collection.subject)

    def _put(self, one: Put[object]) -> PutRecord:
        table = self.collection(one.collection)
        key = _text(one.collection.key(one.value))
        columns = (_column(get(one.value)) for _, get in table.columns)
        subject = one.collection.subject
        return PutRecord(
            table=table,
            key=key,
            expect=one.expect,
            parameters=(key, encode(one.value), *columns),
            subject=subject(one.value) if subject else None,
        )


def log_statements(rows: Sequence[AppendRow]) -> Iterator[tuple[Query, Sequence[AppendRow]]]:
    """The fewest statements that append all rows, each log in the order given, and the rows that each one appends."""
    tables = {row.table.name: row.table for row in rows}
    for name, table in tables.items():
        entries = [row for row in rows if row.table.name == name]
        done = 0
        for size in _CHUNKS:
            while len(entries) - done >= size:
                some = entries[done : done + size]
                yield (table.insert(size), tuple(chain.from_iterable(row.parameters for row in some))), some
                done += size


def findable(value: ColumnValue) -> bool:
    """Whether a record could have this value in a searchable column; if not, a search for it finds nothing."""
    if isinstance(value, str):
        return "\x00" not in value and (value.isascii() or _encodable(value))
    return value is None or -_INTEGER <= value < _INTEGER


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _column(value: ColumnValue) -> ColumnValue:
    if isinstance(value, str):
        return _text(value)
    if not findable(value):
        raise Failure(FailureKind.INVALID_PARAMETER, "a number is too large to be stored")
    return value


def _text(text: str) -> str:
    if len(text) <= _SHORT and text.isascii() and "\x00" not in text:
        return text  # almost every text; fourteen of them come with each token
    if not findable(text):
        raise Failure(FailureKind.INVALID_PARAMETER, "a text with control characters cannot be stored")
    if len(text) * 4 > _KEY_BYTES and len(text.encode()) > _KEY_BYTES:
        raise Failure(FailureKind.INVALID_PARAMETER, f"'{text[:40]}...' is too long to be stored")
    return text
