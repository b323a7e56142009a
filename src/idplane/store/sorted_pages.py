"""A page in another order than the keys', in at most two statements: each reads one range of an index, or sorts one selection.

Records without a value come last in both directions, so the two parts never mix, and no comparison meets a null.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from idplane.ports.sorting import Place, Sort
from idplane.ports.store import Page, Versioned
from idplane.store.tables import CollectionTable, Parameters, Selection

__all__ = ["sorted_page"]

T = TypeVar("T")


async def sorted_page(
    table: CollectionTable[T],
    fetch: Callable[[str, Parameters], Awaitable[list[Any]]],
    selected: Selection,
    order: Sort,
    after: str | None,
    limit: int,
) -> Page[T]:
    """Records in the order; raises `Failure(INVALID_PARAMETER)` for an `after` that is no place."""
    behind = None if after is None else Place.parse(after)
    wanted = limit + 1  # one more than asked tells whether there is another page
    rows: list[Any] = []
    if behind is None or behind.value is not None:
        rows = await fetch(*table.ordered(selected, order, behind, wanted, absent=False))
    if len(rows) < wanted:
        rows += await fetch(*table.ordered(selected, order, behind, wanted - len(rows), absent=True))
    shown = rows[:limit]
    return Page(
        tuple(Versioned(table.decode(doc), version) for _, _, version, doc in shown),
        str(Place(shown[-1][0], shown[-1][1])) if len(rows) > limit else None,
    )
