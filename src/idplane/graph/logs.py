"""What entity sets over the append-only logs have in common: bounds on the time, and positions as cursors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from idplane.graph.declare import RowQuery
from idplane.graph.filters import Comparison, Operator
from idplane.graph.matching import conjuncts
from idplane.graph.query import refused
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import microseconds
from idplane.ports.store import Order

__all__ = ["order_of", "position_of", "time_bounds"]

_MAX_POSITION: Final = 1 << 63


def order_of(query: RowQuery) -> Order:
    """Newest first, unless the request says otherwise."""
    sorting = query.odata.sorting
    return Order.OLDEST_FIRST if sorting and not sorting[0].descending else Order.NEWEST_FIRST


def position_of(query: RowQuery) -> int | None:
    """Where the page starts; raises `Failure(INVALID_PARAMETER)` for what no link of ours says."""
    after = query.after
    if after is None:
        return None
    if not (after.isascii() and after.isdigit() and len(after) < 20 and int(after) < _MAX_POSITION):  # noqa: PLR2004 - digits of 2**63
        raise refused("'$skiptoken' is not valid")
    return int(after)


def time_bounds(query: RowQuery, name: str) -> tuple[int | None, int | None]:
    """Bounds on a time, in microseconds, that every wanted event keeps; the second is exclusive."""
    since: int | None = None
    until: int | None = None
    for part in conjuncts(query.filter):
        if not isinstance(part, Comparison) or part.path != (name,) or not isinstance(part.value, datetime):
            continue
        try:
            at = microseconds(part.value.astimezone(UTC))
        except (ValueError, OverflowError) as error:
            raise Failure(FailureKind.INVALID_FILTER, "the filter names an instant out of range") from error
        if part.operator in (Operator.GE, Operator.GT, Operator.EQ):
            since = at if since is None else max(since, at)
        if part.operator in (Operator.LE, Operator.LT, Operator.EQ):
            until = at + 1 if until is None else min(until, at + 1)
    return since, until
