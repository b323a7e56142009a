"""Pages of an entity set: rows are read in the set's own order until the page is full, and a filter passes over those that it does not want.

A request reads a bounded number of rows. When it has read them all, the page is short (it may be empty) and says where to go on.
An order that the rows do not have is made by sorting them all, which is bounded, too.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from idplane.graph.declare import Context, Entity, EntitySet, RowQuery, Rows
from idplane.graph.matching import matches
from idplane.graph.query import ODataQuery, Sorting, refused
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["Listing", "count_of", "list_page", "shown"]

_CHUNK: Final = 250
_MOST_READ: Final = 5_000
"""Rows that one request for a page reads."""
_MOST_COUNTED: Final = 200_000
_MOST_SORTED: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A page; `after` is where the next one starts, None at the end."""

    items: tuple[Entity, ...]
    after: str | None


async def list_page(found: EntitySet, context: Context, parent: Entity | None, query: ODataQuery) -> Listing:
    """One page of the set; raises `Failure(INVALID_FILTER)` for an order that would need too many rows."""
    if _must_sort(found, query):
        return await _sorted_page(found, context, parent, query)
    items: list[Entity] = []
    read = 0
    async for rows in _chunks(found, context, parent, query, query.after):
        for at, one in enumerate(rows.items, 1):
            if query.filter is None or matches(query.filter, one.document):
                items.append(one)
            if len(items) == query.top:
                ends = at == len(rows.items) and rows.after is None
                return Listing(items=tuple(items), after=None if ends else one.cursor or one.id)
        read += len(rows.items)
        if read >= _MOST_READ and rows.after is not None:
            return Listing(items=tuple(items), after=rows.after)
    return Listing(items=tuple(items), after=None)


async def count_of(found: EntitySet, context: Context, parent: Entity | None, query: ODataQuery) -> int:
    """How many entities satisfy the filter, on all pages together; raises `Failure(INVALID_FILTER)` when they are too many to count."""
    count = read = 0
    async for rows in _chunks(found, context, parent, query, None):
        read += len(rows.items)
        if read > _MOST_COUNTED:
            raise Failure(FailureKind.INVALID_FILTER, f"more than {_MOST_COUNTED} objects are not counted")
        count += sum(query.filter is None or matches(query.filter, one.document) for one in rows.items)
    return count


async def shown(found: EntitySet, context: Context, entity: Entity, query: ODataQuery) -> JsonObject:
    """The entity's document with the properties that were asked for; annotations stay."""
    wanted = query.select
    if found.complete is not None:
        entity = await found.complete(context, entity, lambda name: wanted is None or name in wanted)
    if wanted is None:
        return entity.document
    return {name: value for name, value in entity.document.items() if name in wanted or name.startswith("@")}


async def _chunks(
    found: EntitySet, context: Context, parent: Entity | None, query: ODataQuery, after: str | None
) -> AsyncIterator[Rows]:
    read = _readable(found)
    while True:
        limit = _CHUNK if query.filter is not None or query.sorting else min(query.top, _CHUNK)
        rows = await read(RowQuery(context=context, parent=parent, odata=query, after=after, limit=limit))
        yield rows
        after = rows.after
        if after is None:
            return


def _readable(found: EntitySet) -> Callable[[RowQuery], Awaitable[Rows]]:
    if found.rows is None:
        raise Failure(FailureKind.METHOD_NOT_ALLOWED, f"'{found.name}' cannot be listed", allowed="POST")
    return found.rows


def _must_sort(found: EntitySet, query: ODataQuery) -> bool:
    if not query.sorting:
        return False
    return len(query.sorting) > 1 or query.sorting[0].name not in found.sorted_by


async def _sorted_page(found: EntitySet, context: Context, parent: Entity | None, query: ODataQuery) -> Listing:
    every: list[Entity] = []
    read = 0
    async for rows in _chunks(found, context, parent, query, None):
        read += len(rows.items)
        if read > _MOST_SORTED:
            raise Failure(FailureKind.INVALID_FILTER, f"more than {_MOST_SORTED} objects are not sorted")
        every.extend(one for one in rows.items if query.filter is None or matches(query.filter, one.document))
    every.sort(key=lambda one: one.id)
    for sorting in reversed(query.sorting):
        every.sort(key=lambda one: _order_key(one.document, sorting), reverse=sorting.descending)
    start = _start(every, query.after)
    page = every[start : start + query.top]
    more = start + query.top < len(every)
    return Listing(items=tuple(page), after=_cursor(start + query.top, page[-1].id) if more else None)


def _order_key(document: JsonObject, sorting: Sorting) -> tuple[int, float, str]:
    """Nulls first, then numbers and truths, then texts without case: every value has its place."""
    match document.get(sorting.name):
        case bool() | int() | float() as number:
            return 1, float(number), ""
        case str(text):
            return 2, 0.0, text.casefold()
        case None:
            return 0, 0.0, ""
        case Mapping() | _:
            raise refused(f"'$orderby' cannot sort by '{sorting.name}'")


def _cursor(position: int, last: str) -> str:
    return json.dumps([position, last])


def _start(every: list[Entity], after: str | None) -> int:
    """Behind the object that the last page ended with; where it stood, if it is gone by now."""
    if after is None:
        return 0
    try:
        position, last = json.loads(after)
    except (ValueError, TypeError) as error:
        raise refused("'$skiptoken' is not valid") from error
    if not isinstance(position, int) or isinstance(position, bool) or position < 0:
        raise refused("'$skiptoken' is not valid")
    found = next((at for at, one in enumerate(every, 1) if one.id == last), None)
    return found if found is not None else position
