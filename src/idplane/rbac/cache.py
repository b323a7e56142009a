"""Values read from the store and kept until the change feed says that they changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

__all__ = ["FeedCache"]

V = TypeVar("V")


class FeedCache(Generic[V]):
    """A bounded map with one promise: what was loaded before a key was dropped is never kept after it.

    A load that was under way when its key was dropped answers its own caller, whose question was asked before the change, and is
    then forgotten. When the map is full, what was loaded longest ago goes.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._values: dict[str, V] = {}
        self._loading: dict[str, set[object]] = {}

    async def get(self, key: str, load: Callable[[str], Awaitable[V]]) -> V:
        """The kept value, or what `load` reads; whatever `load` raises comes through and nothing is kept."""
        try:
            return self._values[key]
        except KeyError:
            return await self._load(key, load)

    async def get_all(self, keys: Iterable[str], load: Callable[[str], Awaitable[V]]) -> list[V]:
        """The same for several keys, in their order."""
        values = self._values
        return [values[key] if key in values else await self._load(key, load) for key in keys]

    def drop(self, key: str) -> None:
        """The value under this key changed."""
        self._values.pop(key, None)
        self._loading.pop(key, None)

    def clear(self) -> None:
        """Anything may have changed."""
        self._values.clear()
        self._loading.clear()

    async def _load(self, key: str, load: Callable[[str], Awaitable[V]]) -> V:
        ticket = object()
        self._loading.setdefault(key, set()).add(ticket)
        try:
            value = await load(key)
        finally:
            current = self._finished(key, ticket)
        if current:
            self._keep(key, value)
        return value

    def _finished(self, key: str, ticket: object) -> bool:
        """Whether nothing dropped the key since the ticket was taken."""
        tickets = self._loading.get(key)
        if tickets is None or ticket not in tickets:
            return False
        tickets.remove(ticket)
        if not tickets:
            del self._loading[key]
        return True

    def _keep(self, key: str, value: V) -> None:
        if len(self._values) >= self._limit and key not in self._values:
            del self._values[next(iter(self._values))]
        self._values[key] = value
