"""SQL text that is the same in both databases, built once for each collection and log.

The dialects differ in the parameter marker alone; whatever else differs is in the adapters and the migrations. Every text has
its parameters in the order that the methods document.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from idplane.ports.sorting import Place, Sort
from idplane.ports.store import PLACE_SEPARATOR, Collection, ColumnValue, Log, Order
from idplane.store.codec import decoder

__all__ = ["FEED_COLUMNS", "CollectionTable", "Dialect", "LogTable", "Parameters", "Query", "Selection", "feed_trim"]

T = TypeVar("T")

Parameters: TypeAlias = tuple[ColumnValue, ...]
Query: TypeAlias = tuple[str, Parameters]

FEED_COLUMNS = "position, collection, key, subject, deleted"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records are meant; see `ports.store.Reads.page`."""

    where: Mapping[str, ColumnValue] | None
    under: tuple[str, str] | None
    containing: tuple[str, str] | None = None


class Dialect(enum.Enum):
    """How a database marks the n-th parameter."""

    SQLITE = "?"
    POSTGRESQL = "$"

    def mark(self, number: int) -> str:
        """The marker of parameter `number`, from 1."""
        return f"{self.value}{number}"

    @property
    def position(self) -> str:
        """The function that says where in a text another one is, from 1, or 0."""
        return "instr" if self is Dialect.SQLITE else "strpos"


# Columns that no table has. `path` repeats the key so that `under` can name it; reading the key itself keeps subtree pages in index order.
# What a resource's place is, people narrow lists by, and nothing else asks for: it is read from the document.
_READ: Mapping[tuple[str, str], Mapping[Dialect, str]] = {
    ("resources", "path"): dict.fromkeys(Dialect, "key"),
    ("resources", "location"): {
        Dialect.SQLITE: "json_extract(doc, '$.location')",
        Dialect.POSTGRESQL: "((doc::json ->> 'location') collate \"C\")",
    },
}


class _Clauses:
    """Conditions and their parameters, in step."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.conditions: list[str] = []
        self.parameters: list[ColumnValue] = []

    def mark(self, value: ColumnValue) -> str:
        self.parameters.append(value)
        return self._dialect.mark(len(self.parameters))

    def equal(self, column: str, value: ColumnValue) -> None:
        self.conditions.append(f"{column} is null" if value is None else f"{column} = {self.mark(value)}")

    def compare(self, left: str, operator: str, value: ColumnValue) -> None:
        self.conditions.append(f"{left} {operator} {self.mark(value)}")

    def within(self, column: str, prefix: str, *, beyond: str | None = None) -> None:
        # One index range: "0" follows "/", so everything below the prefix sorts before prefix + "0". Its start is one condition:
        # of two, a database may search by the wrong one, and read all earlier pages again.
        self.conditions.append(beyond or f"{column} >= {self.mark(prefix)}")
        self.compare(column, "<", prefix + "0")
        self.conditions.append(f"({column} = {self.mark(prefix)} or {column} >= {self.mark(prefix + '/')})")

    def beyond(self, placed: str, after: str) -> str:
        if placed == "key":
            return f"key > {self.mark(after)}"
        value, _, key = after.partition(PLACE_SEPARATOR)
        return f"({placed}, key) > ({self.mark(value)}, {self.mark(key)})"

    @property
    def where(self) -> str:
        return f" where {' and '.join(self.conditions)}" if self.conditions else ""


def feed_trim(dialect: Dialect) -> str:
    """Removes the oldest rows of the feed. Parameters: how many stay at least, and how many go at most."""
    end = "select max(position) from changes"
    keep, limit = dialect.mark(1), dialect.mark(2)
    old = f"select position from changes where position <= ({end}) - {keep} order by position limit {limit}"  # noqa: S608 - marks only
    return f"delete from changes where position in ({old})"  # noqa: S608 - as above


class CollectionTable(Generic[T]):
    """The SQL of one collection. Texts: `get`, `insert`, `upsert`, `update`, `delete`, `delete_version`, `version`."""

    def __init__(self, collection: Collection[T], dialect: Dialect) -> None:
        self.name = collection.name
        self.fed = collection.fed
        self.decode: Callable[[str | bytes], T] = decoder(collection.type)
        self._dialect = dialect
        read = {name: _READ[collection.name, name][dialect] for name in collection.columns if (collection.name, name) in _READ}
        self._physical = {name: read.get(name, name) for name in collection.columns}
        self.columns = tuple((name, get) for name, get in collection.columns.items() if name not in read)
        self._build(self.name, tuple(name for name, _ in self.columns))

    def _build(self, table: str, columns: tuple[str, ...]) -> None:
        mark = self._dialect.mark
        names = ", ".join(("key", "version", "doc", *columns))
        values = ", ".join((mark(1), "1", *(mark(number) for number in range(2, len(columns) + 3))))
        assigned = ", ".join(f"{name} = {mark(number)}" for number, name in enumerate(("doc", *columns), 2))
        replaced = ", ".join(f"{name} = excluded.{name}" for name in ("doc", *columns))
        # The names come from the declarations in ports.collections, never from a request.
        insert = f"insert into {table} ({names}) values ({values}) on conflict (key) do"  # noqa: S608 - see above
        self.get = f"select version, doc from {table} where key = {mark(1)}"  # noqa: S608 - see above
        self.version = self.version_of(1)
        self.insert = f"{insert} nothing returning version"
        """Parameters: key, doc, columns. No row comes back when the key is taken."""
        self.upsert = f"{insert} update set version = {table}.version + 1, {replaced} returning version"
        """Parameters: key, doc, columns."""
        at_version = f"where key = {mark(1)} and version = {mark(len(columns) + 3)}"
        self.update = f"update {table} set version = version + 1, {assigned} {at_version} returning version"  # noqa: S608 - see above
        """Parameters: key, doc, columns, version. No row comes back when the version is another."""
        self.delete = f"delete from {table} where key = {mark(1)} returning doc"  # noqa: S608 - see above
        self.delete_version = f"delete from {table} where key = {mark(1)} and version = {mark(2)} returning doc"  # noqa: S608 - see above

    def version_of(self, number: int) -> str:
        """The version of the record whose key is parameter `number`, as one value."""
        return f"select version from {self.name} where key = {self._dialect.mark(number)}"  # noqa: S608 - a declared name

    def select(self, selected: Selection, after: str | None = None, limit: int | None = None) -> Query:
        """Rows (place, version, doc) in the order of a `Page`; without a limit in key order."""
        where, under = selected.where, selected.under
        clauses = self._clauses(Selection(where, None, selected.containing))
        column, prefix = (self._physical[under[0]], under[1]) if under else ("key", "")
        placed = column if limit is not None and not where else "key"
        place, order = ("key", "key") if placed == "key" else (f"{placed} || '{PLACE_SEPARATOR}' || key", f"{placed}, key")
        # A place ahead of the subtree narrows nothing.
        beyond = clauses.beyond(placed, after) if after is not None and (column != placed or after >= prefix) else None
        if under is not None:
            clauses.within(column, prefix, beyond=beyond if column == placed else None)
        if beyond is not None and (under is None or column != placed):
            clauses.conditions.append(beyond)
        text = f"select {place}, version, doc from {self.name}{clauses.where} order by {order}"  # noqa: S608 - names are declared, values are parameters
        if limit is not None:
            text += f" limit {clauses.mark(limit)}"
        return text, tuple(clauses.parameters)

    def _clauses(self, selected: Selection) -> _Clauses:
        clauses = _Clauses(self._dialect)
        for column, value in (selected.where or {}).items():
            clauses.equal(self._physical[column], value)
        if selected.under is not None:
            clauses.within(self._physical[selected.under[0]], selected.under[1])
        if selected.containing is not None:
            column, text = selected.containing
            clauses.conditions.append(f"{self._dialect.position}({self._physical[column]}, {clauses.mark(text)}) > 0")
        return clauses

    def ordered(self, selected: Selection, order: Sort, behind: Place | None, limit: int, *, absent: bool) -> Query:
        """Rows (value, key, version, doc) of one part of an order: that in which the column holds something, or that in which it does not."""
        clauses = self._clauses(selected)
        column, way, beyond = self._physical[order.column], *(("desc", "<") if order.descending else ("asc", ">"))
        if absent:
            clauses.conditions.append(f"{column} is null")
            if behind is not None and behind.value is None:
                clauses.compare("key", beyond, behind.key)
        elif behind is None:
            clauses.conditions.append(f"{column} is not null")
        else:
            clauses.conditions.append(f"({column}, key) {beyond} ({clauses.mark(behind.value)}, {clauses.mark(behind.key)})")
        by = f"key {way}" if absent else f"{column} {way}, key {way}"
        return (
            f"select {column}, key, version, doc from {self.name}{clauses.where} order by {by} limit {clauses.mark(limit)}",  # noqa: S608 - as in select
            tuple(clauses.parameters),
        )

    def count(self, where: Mapping[str, ColumnValue] | None, under: tuple[str, str] | None, limit: int) -> Query:
        """The number of rows, counted no further than `limit`."""
        clauses = self._clauses(Selection(where, under))
        inner = f"select 1 from {self.name}{clauses.where} limit {clauses.mark(limit)}"  # noqa: S608 - as in select
        return f"select count(*) from ({inner}) as counted", tuple(clauses.parameters)  # noqa: S608 - as in select


class LogTable(Generic[T]):
    """The SQL of one log."""

    def __init__(self, log: Log[T], dialect: Dialect) -> None:
        self.name = log.name
        self.decode: Callable[[str | bytes], T] = decoder(log.type)
        self.columns = tuple(log.columns.items())
        self._dialect = dialect
        self._names = tuple(log.columns)
        self.names = ("doc", "seal", *self._names)
        """The columns of an event, in the order of its parameters."""
        self._inserts: dict[int, str] = {}
        one, two = dialect.mark(1), dialect.mark(2)
        self.mark = (
            f"insert into log_trims (log, until) values ('{log.name}', {one}) "  # noqa: S608 - a declared name
            f"on conflict (log) do update set until = case when excluded.until > log_trims.until "
            "then excluded.until else log_trims.until end"
        )
        """Parameter: the time before which events may be removed."""
        self.trim = (
            f"delete from {log.name} where position in "  # noqa: S608 - as above
            f"(select position from {log.name} where at < {one} order by at, position limit {two}) "
            f"and position < (select max(position) from {log.name})"
        )
        """Parameters: the time, and how many events at most."""

    def insert(self, rows: int) -> str:
        """Parameters: doc, seal and columns of each row, one row after the other. PostgreSQL answers with the positions."""
        text = self._inserts.get(rows)
        if text is None:
            text = self._inserts[rows] = self._build_insert(rows)
        return text

    def _build_insert(self, rows: int) -> str:
        names = self.names
        numbers = iter(range(1, rows * len(names) + 1))
        values = (f"({', '.join(self._dialect.mark(next(numbers)) for _ in names)})" for _ in range(rows))
        # SQLite's one writer knows which positions its rows get: those up to the last one's.
        positions = " returning position" if self._dialect is Dialect.POSTGRESQL else ""
        return f"insert into {self.name} ({', '.join(names)}) values {', '.join(values)}{positions}"  # noqa: S608 - names are declared

    def select(
        self,
        *,
        where: Mapping[str, ColumnValue] | None,
        since: int | None,
        until: int | None,
        position: int | None,
        order: Order,
        limit: int,
    ) -> Query:
        """Rows (position, doc).

        Newest first is by time and then position, which is what people list and what the indexes hold. Oldest first is by position
        alone, the order of commits: whoever follows the log misses nothing, even if a clock was set back.
        """
        clauses = _Clauses(self._dialect)
        for column, value in (where or {}).items():
            clauses.equal(self._known(column), value)
        if since is not None:
            clauses.compare("at", ">=", since)
        if until is not None:
            clauses.compare("at", "<", until)
        newest = order is Order.NEWEST_FIRST
        if position is not None and newest:
            mark = clauses.mark(position)
            clauses.conditions.append(f"(at, position) < ((select at from {self.name} where position = {mark}), {mark})")  # noqa: S608 - a declared name
        elif position is not None:
            clauses.compare("position", ">", position)
        by = "at desc, position desc" if newest else "position"
        return (
            f"select position, doc from {self.name}{clauses.where} order by {by} limit {clauses.mark(limit)}",  # noqa: S608 - as above
            tuple(clauses.parameters),
        )

    def tally(
        self, *, by: str, where: Mapping[str, ColumnValue] | None, since: int, until: int, step: int, limit: int
    ) -> Query:
        """Rows (step, value, count) of the newest events in a window, by step and value; see `ports.store.Reads.tally`."""
        clauses = _Clauses(self._dialect)
        for column, value in (where or {}).items():
            clauses.equal(self._known(column), value)
        clauses.compare("at", ">=", since)
        clauses.compare("at", "<", until)
        newest = f"select at, {self._known(by)} from {self.name}{clauses.where} order by at desc, position desc limit {clauses.mark(limit)}"  # noqa: S608 - declared names and marks
        slot = f"(at - {clauses.mark(since)}) / {clauses.mark(step)}"
        return (
            f"select {slot} as slot, {by}, count(*) from ({newest}) as newest group by slot, {by} order by slot, {by}",  # noqa: S608 - as above
            tuple(clauses.parameters),
        )

    def _known(self, column: str) -> str:
        if column not in self._names:
            raise KeyError(column)
        return column
