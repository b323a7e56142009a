"""Records that were read a moment ago, for deciding without reading them again.

A decision reads four to six records, which costs half of what its signature does. What was read is kept until the change feed tells
of any change in its collection; in this process that is before the change is acknowledged. Another replica's change may be told later, so
nothing here is the last word: what permission rests on is required unchanged by the commit of the token's record, and a refusal
is decided anew from the store (`service`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from idplane.ports.store import Change, Collection, ColumnValue, Page, Store, Versioned
from idplane.sts.bounded import Bounded

__all__ = ["RecentReads", "Records"]

T = TypeVar("T")

_KEPT = 4096
"""Answers in each collection."""


class Records(Protocol):
    """What deciding reads: the store, or what was read of it a moment ago. Raises as `Store` does."""

    async def get(self, collection: Collection[T], key: str, /) -> Versioned[T] | None:
        """One record."""
        ...

    async def page(
        self, collection: Collection[T], /, *, where: Mapping[str, ColumnValue] | None = None, limit: int = 100
    ) -> Page[T]:
        """The first records whose columns equal `where`."""
        ...

    async def all(
        self, collection: Collection[T], /, *, where: Mapping[str, ColumnValue] | None = None
    ) -> tuple[Versioned[T], ...]:
        """Every such record."""
        ...


class RecentReads:
    """Reads through to a store. What is not there is not remembered: what is made later must be found at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shelves: dict[str, Bounded[object, Any]] = {}
        store.subscribe(self._on_changes)

    async def get(self, collection: Collection[T], key: str, /) -> Versioned[T] | None:
        """As the store's."""
        shelf = self._shelf(collection)
        known: Versioned[T] | None = shelf.get(key)
        if known is None:
            known = await self._store.get(collection, key)
            if known is not None:
                shelf.put(key, known)
        return known

    async def page(
        self, collection: Collection[T], /, *, where: Mapping[str, ColumnValue] | None = None, limit: int = 100
    ) -> Page[T]:
        """As the store's."""
        shelf, name = self._shelf(collection), (limit, *(where or {}).items())
        known: Page[T] | None = shelf.get(name)
        if known is None:
            known = await self._store.page(collection, where=where, limit=limit)
            if known.items:
                shelf.put(name, known)
        return known

    async def all(
        self, collection: Collection[T], /, *, where: Mapping[str, ColumnValue] | None = None
    ) -> tuple[Versioned[T], ...]:
        """As the store's."""
        shelf, name = self._shelf(collection), tuple((where or {}).items())
        known: tuple[Versioned[T], ...] | None = shelf.get(name)
        if known is None:
            known = await self._store.all(collection, where=where)
            if known:
                shelf.put(name, known)
        return known

    def _shelf(self, collection: Collection[T]) -> Bounded[object, Any]:
        """Where answers are kept. Replaced at each change, so that a read that was under way then is kept where nobody looks."""
        shelf = self._shelves.get(collection.name)
        if shelf is None:
            shelf = self._shelves[collection.name] = Bounded(_KEPT)
        return shelf

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._shelves.pop(change.collection, None)
