"""The store: versioned records in declared collections, append-only logs, one atomic commit, and a feed of changes.

Reads are single records or keyset pages. All writing is one call, `commit(Batch)`: every operation names the version that it was
computed from, and either the whole batch becomes durable or none of it does. A batch's operations apply in order (references
are checked at each one, so delete children before parents). Adapters prove themselves with
`idplane.testing.store_conformance`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

from idplane.ports.sorting import Place, Sort

if TYPE_CHECKING:
    from idplane.ports.tree import LogSealer, LogTree

__all__ = [
    "ABSENT",
    "ANY",
    "PLACE_SEPARATOR",
    "Append",
    "Batch",
    "Change",
    "Collection",
    "CommitRefused",
    "Delete",
    "Expect",
    "Extend",
    "Listener",
    "Log",
    "Logged",
    "Order",
    "Page",
    "Put",
    "Reads",
    "RefusedBecause",
    "Require",
    "Store",
    "StoredCheckpoint",
    "Tally",
    "Trim",
    "TrimChanges",
    "Versioned",
    "order_place",
    "place_of",
]

T = TypeVar("T")

ColumnValue: TypeAlias = str | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection(Generic[T]):
    """A declared set of records: how to key one, which columns can be searched, and whom a change concerns.

    The SQL table has the collection's name and the columns `key`, `version`, `doc` and those declared here.
    """

    name: str
    type: type[T]
    key: Callable[[T], str]
    columns: Mapping[str, Callable[[T], ColumnValue]] = field(default_factory=dict)
    subject: Callable[[T], str] | None = None
    """Who must hear of a change besides the key: a principal id or a resource id key."""
    fed: bool = True
    """Whether the feed tells of its changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(Generic[T]):
    """An append-only sequence of events; `columns` can be searched, `at` (microseconds since the epoch) is always one of them."""

    name: str
    type: type[T]
    columns: Mapping[str, Callable[[T], ColumnValue]]


def place_of(
    collection: Collection[T], value: T, where: Mapping[str, ColumnValue] | None, under: tuple[str, str] | None
) -> str:
    """Where a record stands in the pages of a selection."""
    key = collection.key(value)
    found = collection.columns[under[0]](value) if under and not where else key
    return key if found == key else f"{found}{PLACE_SEPARATOR}{key}"


def order_place(collection: Collection[T], value: T, order: Sort) -> Place:
    """Where a record stands in an order."""
    return Place(collection.columns[order.column](value), collection.key(value))


class Expect(enum.Enum):
    """Expectations about a record that are not a version number."""

    ABSENT = "absent"
    ANY = "any"


PLACE_SEPARATOR = "\x1f"
"""Between the two parts of a place; it sorts ahead of whatever a resource id may hold."""
ABSENT = Expect.ABSENT
ANY = Expect.ANY


@dataclass(frozen=True, slots=True)
class Versioned(Generic[T]):
    """A record with its version: 1 when created, one more at each change."""

    value: T
    version: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Records in the order of their places; `after` is the place behind which the next page starts, None at the end.

    A record's place is its key. Where `under` alone selects, it is that column's value and then the key: the order of the column's
    index, so that the last page of a long list costs what the first does. Where an `order` was asked for, it is `ports.sorting.Place`.
    """

    items: tuple[Versioned[T], ...]
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Put(Generic[T]):
    """Create (`expect=ABSENT`), replace a known version, or write whatever is there (`ANY`)."""

    collection: Collection[T]
    value: T
    expect: int | Expect


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete(Generic[T]):
    """Remove a record at a known version, or `ANY` (then an absent record is fine)."""

    collection: Collection[T]
    key: str
    expect: int | Expect = ANY
    subject: str | None = None
    """The removed record's subject, for the feed; the adapter reads it from the record when None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Require(Generic[T]):
    """Refuse the batch unless the record is at this version (or ABSENT)."""

    collection: Collection[T]
    key: str
    expect: int | Expect


@dataclass(frozen=True, slots=True, kw_only=True)
class Append(Generic[T]):
    """Add an event to a log."""

    log: Log[T]
    event: T


@dataclass(frozen=True, slots=True, kw_only=True)
class Trim(Generic[T]):
    """Remove the `limit` oldest events of a log that happened before an instant (microseconds since the epoch).

    The event with the last position stays, however old it is, since positions go on from it. A cursor into what was removed goes on
    behind it, or finds the end.
    """

    log: Log[T]
    before: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimChanges:
    """Remove at most `limit` of the feed's oldest rows, so that at least the last `keep` stay.

    The feed's positions have no gaps: whoever asks for what comes after a position, and gets anything but the next one, has missed some.
    """

    keep: int
    limit: int


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint of the tree over the logs, as it is stored; `note` is all that is signed."""

    number: int
    size: int
    at: int
    """Microseconds since the epoch."""
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Extend:
    """Add leaves to the tree over the logs (`ports.tree`): their entries, and the nodes that became complete.

    Refused for its version when somebody else has added at `start`, or signed a checkpoint since the one that it follows. The checkpoint
    takes the place of the last one if it has its number. Feeds do not tell of it.
    """

    start: int
    entries: bytes
    nodes: Sequence[tuple[int, int, bytes]]
    """Level, number, hash."""
    checkpoint: StoredCheckpoint
    follows: StoredCheckpoint | None = None
    """The newest checkpoint, which this was signed after; None for the first."""


Operation: TypeAlias = Put[object] | Delete[object] | Require[object] | Append[object] | Trim[object] | TrimChanges | Extend


@dataclass(frozen=True, slots=True)
class Batch:
    """Operations that become durable together. Build with `Batch.of(...)`; join with `+`."""

    operations: tuple[Operation, ...] = ()

    @classmethod
    def of(cls, *operations: object) -> Batch:
        """A batch of operations of any record types."""
        return cls(tuple(_operation(one) for one in operations))

    def __add__(self, other: Batch) -> Batch:
        return Batch(self.operations + other.operations)

    def __bool__(self) -> bool:
        return bool(self.operations)


_OPERATIONS = (Put, Delete, Require, Append, Trim, TrimChanges, Extend)


def _operation(one: object) -> Operation:
    if isinstance(one, _OPERATIONS):
        return one
    raise TypeError(f"{type(one).__name__} is not a store operation")


class RefusedBecause(enum.Enum):
    """Why a commit was refused."""

    VERSION = "version"
    """A record was not at the expected version."""
    UNIQUE = "unique"
    """Another record has the same unique columns."""
    REFERENCE = "reference"
    """A record that this one needs is missing, or one that needs it is still there."""


class CommitRefused(Exception):  # noqa: N818 - an outcome of optimistic concurrency, not an error
    """The batch did not apply; nothing of it did. Read again and decide anew."""

    def __init__(self, because: RefusedBecause, collection: str, key: str) -> None:
        super().__init__(f"{because.value} conflict in {collection}")
        self.because = because
        self.collection = collection
        self.key = key


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row of the change feed: a record of `collection` was written or removed."""

    position: int
    collection: str
    key: str
    subject: str | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class Logged(Generic[T]):
    """An event with its place in the log; positions rise, and never repeat."""

    position: int
    event: T


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many events of a log had one value in one step of time."""

    step: int
    """From 0, which begins where the counting does."""
    value: ColumnValue
    count: int


class Order(enum.Enum):
    """Direction in which a log is read."""

    OLDEST_FIRST = "asc"
    NEWEST_FIRST = "desc"


Listener: TypeAlias = Callable[[Sequence[Change]], None]


class Reads(Protocol):
    """The half of a store that changes nothing: what resource providers are given. Raises as `Store` does."""

    async def get(self, collection: Collection[T], key: str, /) -> Versioned[T] | None:
        """One record."""
        ...

    async def page(  # noqa: PLR0913 - one query, spelled out
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
        """Records whose columns equal `where` and whose `under[0]` column is `under[1]` or starts with `under[1] + "/"`.

        `containing` asks, besides, that a column of texts has a text somewhere in it, letter by letter. With an `order`, raises
        `Failure(INVALID_PARAMETER)` for an `after` that no page in it ends with.
        """
        ...

    async def all(
        self,
        collection: Collection[T],
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        under: tuple[str, str] | None = None,
    ) -> tuple[Versioned[T], ...]:
        """Every matching record; only for sets that are small by nature or bounded by the query."""
        ...

    async def count(
        self,
        collection: Collection[T],
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        under: tuple[str, str] | None = None,
        limit: int,
    ) -> int:
        """How many records match, counted no further than `limit`: what limits are checked with."""
        ...

    async def read_log(  # noqa: PLR0913 - one query, spelled out
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
        """Events with `since <= at < until` beyond `position` in the given direction."""
        ...

    async def tally(  # noqa: PLR0913 - one query, spelled out
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
        """How many events there were of each value of a column in each `step` (microseconds) from `since` to `until`, by step and value.

        The newest `limit` of them are counted: where the counts add up to it, what is older may be missing.
        """
        ...


class Store(Reads, Protocol):
    """Where everything durable is. Raises `Failure(UNAVAILABLE)` when it cannot be reached, `Failure(STORAGE_FULL)` on a full disk."""

    async def commit(self, batch: Batch, /) -> int:
        """Apply all or nothing, durably; the feed position after it. Raises `CommitRefused`.

        Listeners of this process have been called when it returns.
        """
        ...

    async def changes(self, after: int, /, *, limit: int = 1000) -> tuple[Change, ...]:
        """The feed after a position, oldest first."""
        ...

    async def position(self) -> int:
        """The feed's current end."""
        ...

    def freshness(self) -> float:
        """Seconds since this process last knew where the feed ends: how old what its listeners have been told may be."""
        ...

    def subscribe(self, listener: Listener, /) -> Callable[[], None]:
        """Call `listener` with each commit's changes, before the commit is acknowledged; returns the way to stop.

        Listeners run on the event loop, are quick and never raise.
        """
        ...

    @property
    def tree(self) -> LogTree:
        """The tree over the logs."""
        ...

    def seal_logs(self, sealer: LogSealer, /) -> None:
        """From now on, store a proof of `sealer` beside each record that is appended, and tell it of them."""
        ...

    async def close(self) -> None:
        """Finish what was acknowledged and let go of the database."""
        ...
