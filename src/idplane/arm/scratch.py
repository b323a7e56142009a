"""A store whose commits nobody sees: reads fall through to the real one, writes stay here. What-if runs on it.

Versions are checked as in the real store; references and uniqueness are not, since only a real commit meets other writers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from idplane.ports.sorting import Place, Sort
from idplane.ports.store import (
    ABSENT,
    ANY,
    Append,
    Batch,
    Change,
    Collection,
    ColumnValue,
    CommitRefused,
    Delete,
    Expect,
    Extend,
    Listener,
    Log,
    Logged,
    Order,
    Page,
    Put,
    Reads,
    RefusedBecause,
    Require,
    Tally,
    Trim,
    TrimChanges,
    Versioned,
    order_place,
    place_of,
)
from idplane.ports.tree import LogSealer, LogTree
from idplane.ports.world import Entropy

__all__ = ["NotedEntropy", "ScratchStore"]

T = TypeVar("T")


class NotedEntropy:
    """Random values, with a note of every GUID given out."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self.guids: set[str] = set()

    def bytes(self, count: int) -> bytes:
        """`count` random bytes."""
        return self._entropy.bytes(count)

    def guid(self) -> str:
        """A random GUID."""
        made = self._entropy.guid()
        self.guids.add(made)
        return made


class ScratchStore:
    """A `Store` over the reads of another. Lives as long as one rehearsal."""

    def __init__(self, base: Reads) -> None:
        self._base = base
        self._written: dict[str, dict[str, Versioned[object] | None]] = {}

    def _own(self, collection: Collection[T]) -> dict[str, Versioned[T] | None]:
        return cast("dict[str, Versioned[T] | None]", self._written.setdefault(collection.name, {}))

    async def get(self, collection: Collection[T], key: str, /) -> Versioned[T] | None:
        """One record, as it would be."""
        own = self._own(collection)
        return own[key] if key in own else await self._base.get(collection, key)

    async def page(  # noqa: PLR0913 - the store's interface
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
        """A page; it may hold fewer than `limit` records before the end."""
        own = self._own(collection)
        base = await self._base.page(
            collection, where=where, under=under, containing=containing, order=order, after=after, limit=limit
        )
        matching = [
            one for one in own.values() if one is not None and _matches(collection, one.value, where, under, containing)
        ]
        kept = [one for one in base.items if collection.key(one.value) not in own]
        if order is not None:
            return _in_order(collection, order, kept, matching, after=after, end=base.after, limit=limit)
        end = base.after
        merged = {place_of(collection, one.value, where, under): one for one in kept}
        for found in matching:
            place = place_of(collection, found.value, where, under)
            if (after is None or place > after) and (end is None or place <= end):
                merged[place] = found
        places = sorted(merged)
        if len(places) > limit:
            places, end = places[:limit], places[limit - 1]
        return Page(tuple(merged[place] for place in places), end)

    async def all(
        self,
        collection: Collection[T],
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        under: tuple[str, str] | None = None,
    ) -> tuple[Versioned[T], ...]:
        """Every matching record."""
        own = self._own(collection)
        base = await self._base.all(collection, where=where, under=under)
        merged = {collection.key(one.value): one for one in base if collection.key(one.value) not in own}
        merged.update(
            {key: one for key, one in own.items() if one is not None and _matches(collection, one.value, where, under)}
        )
        return tuple(merged[key] for key in sorted(merged))

    async def count(
        self,
        collection: Collection[T],
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        under: tuple[str, str] | None = None,
        limit: int,
    ) -> int:
        """How many records match, at most `limit`."""
        return min(limit, len(await self.all(collection, where=where, under=under)))

    async def read_log(  # noqa: PLR0913 - the store's interface
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
        """The real log: what happens here is not logged."""
        return await self._base.read_log(
            log, where=where, since=since, until=until, position=position, order=order, limit=limit
        )

    async def tally(  # noqa: PLR0913 - the store's interface
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
        """Of the real log."""
        return await self._base.tally(log, by, where=where, since=since, until=until, step=step, limit=limit)

    async def commit(self, batch: Batch, /) -> int:
        """Apply all or nothing, here only; raises `CommitRefused` for versions that have passed."""
        states: dict[tuple[str, str], Versioned[object] | None] = {}
        for operation in batch.operations:
            if isinstance(operation, Append | Trim | TrimChanges | Extend):
                continue
            key = operation.collection.key(operation.value) if isinstance(operation, Put) else operation.key
            place = (operation.collection.name, key)
            old = states[place] if place in states else await self.get(operation.collection, key)
            if not _expected(operation.expect, old):
                raise CommitRefused(RefusedBecause.VERSION, operation.collection.name, key)
            if isinstance(operation, Put):
                states[place] = Versioned(operation.value, old.version + 1 if old else 1)
            elif isinstance(operation, Delete):
                states[place] = None
            else:
                assert isinstance(operation, Require)  # the only other operation
        for (name, key), state in states.items():
            self._written.setdefault(name, {})[key] = state
        return 0

    async def changes(self, after: int, /, *, limit: int = 1000) -> tuple[Change, ...]:
        """None: nobody is told."""
        del after, limit
        return ()

    async def position(self) -> int:
        """The start."""
        return 0

    def freshness(self) -> float:
        """As the store's below."""
        return 0.0

    def subscribe(self, listener: Listener, /) -> Callable[[], None]:
        """Nobody is told, this listener neither."""
        del listener
        return lambda: None

    @property
    def tree(self) -> LogTree:
        """There is none: nothing is appended here."""
        raise NotImplementedError

    def seal_logs(self, sealer: LogSealer, /) -> None:
        """Nothing is appended here."""

    async def close(self) -> None:
        """Forget everything."""
        self._written.clear()


def _expected(expect: int | Expect, old: Versioned[object] | None) -> bool:
    if expect is ANY:
        return True
    if expect is ABSENT:
        return old is None
    return old is not None and old.version == expect


def _matches(
    collection: Collection[T],
    value: T,
    where: Mapping[str, ColumnValue] | None,
    under: tuple[str, str] | None,
    containing: tuple[str, str] | None = None,
) -> bool:
    if any(collection.columns[name](value) != wanted for name, wanted in (where or {}).items()):
        return False
    if containing is not None:
        text = collection.columns[containing[0]](value)
        if text is None or containing[1] not in str(text):
            return False
    if under is None:
        return True
    path = str(collection.columns[under[0]](value))
    return path == under[1] or path.startswith(under[1] + "/")


def _in_order(  # noqa: PLR0913 - a page of the base, what was written, and which page was asked for
    collection: Collection[T],
    order: Sort,
    base: list[Versioned[T]],
    written: list[Versioned[T]],
    *,
    after: str | None,
    end: str | None,
    limit: int,
) -> Page[T]:
    """A page with what was written between its start and its end."""
    first, last = (None if text is None else Place.parse(text) for text in (after, end))
    merged = {order_place(collection, one.value, order): one for one in base}
    for one in written:
        place = order_place(collection, one.value, order)
        if (first is None or order.follows(place, first)) and (last is None or not order.follows(place, last)):
            merged[place] = one
    places = sorted(merged, key=order.rank, reverse=order.descending)
    if len(places) > limit:
        places, last = places[:limit], places[limit - 1]
    return Page(tuple(merged[place] for place in places), None if last is None else str(last))
