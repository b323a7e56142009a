"""Long lists, a page at a time: in an order, of several selections, and only what somebody may see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from idplane.ports.sorting import Sort
from idplane.ports.store import Collection, ColumnValue, Page, Reads, Versioned, order_place
from idplane.web.portal.view import Visit

__all__ = ["PAGE", "Part", "Question", "sort_of"]

T = TypeVar("T")

PAGE: Final = 50
_ROUNDS: Final = 40
"""How many pages of the store one page of a list looks at: who may see little of much gets a shorter page, and goes on from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One selection of what a list is made of."""

    where: Mapping[str, ColumnValue] = field(default_factory=dict)
    under: tuple[str, str] | None = None


async def _everything(_: object) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a list asks the store for. A record that is in several parts is shown once."""

    store: Reads
    parts: Sequence[Part]
    order: Sort
    containing: tuple[str, str] | None = None
    limit: int = PAGE

    async def page(
        self, collection: Collection[T], after: str | None, keep: Callable[[T], Awaitable[bool]] = _everything
    ) -> Page[T]:
        """The records behind a place that `keep` lets through; a page may be short before the end. Raises `Failure` for what is no place."""
        found: list[Versioned[T]] = []
        place = after
        for _ in range(_ROUNDS):
            some, place = await self._next(collection, place)
            for one in some:
                if not await keep(one.value):
                    continue
                if len(found) == self.limit:
                    return Page(tuple(found), str(order_place(collection, found[-1].value, self.order)))
                found.append(one)
            if place is None:
                break
        return Page(tuple(found), place)

    async def _next(self, collection: Collection[T], after: str | None) -> tuple[list[Versioned[T]], str | None]:
        """The first records of all parts behind a place, and the place of the last of them if there are more."""
        merged: dict[str, Versioned[T]] = {}
        more = False
        for part in self.parts:
            page = await self.store.page(
                collection,
                where=part.where,
                under=part.under,
                containing=self.containing,
                order=self.order,
                after=after,
                limit=self.limit,
            )
            more = more or page.after is not None
            merged.update((collection.key(one.value), one) for one in page.items)
        places = {key: order_place(collection, one.value, self.order) for key, one in merged.items()}
        keys = sorted(merged, key=lambda it: self.order.rank(places[it]), reverse=self.order.descending)
        shown = keys[: self.limit]
        ends = not more and len(keys) == len(shown)
        return [merged[key] for key in shown], None if ends else str(places[shown[-1]])


def sort_of(visit: Visit, columns: Mapping[str, str], default: str) -> Sort:
    """The order that the address asks for: a heading's name, behind `-` the other way round. What is no heading's is the default."""
    asked = visit.query("sort", default)
    name = asked.removeprefix("-")
    return Sort(columns[name], asked.startswith("-")) if name in columns else Sort(columns[default])
