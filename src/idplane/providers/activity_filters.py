"""The activity log's `$filter`: what the log's columns select, and what is sifted from what they do (control-plane.md section 7.5).

A start time is required, an end is optional; everything else is an equality, joined by `and`. One column selects, the narrowest that the
filter names, so that whatever the filter, a page costs no more than looking at a bounded number of neighbouring events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

from idplane.model.events import ActivityEvent
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.collections import group_key_of, microseconds
from idplane.ports.store import ColumnValue
from idplane.providers.activity_events import resource_type
from idplane.providers.filters import Comparison, Condition, invalid_filter, parse_filter

__all__ = ["ActivityQuery", "activity_query"]

T = TypeVar("T")

_Test: TypeAlias = Callable[[ActivityEvent], bool]
_ShownTest: TypeAlias = Callable[[JsonObject], bool]
_NARROWEST_FIRST = ("correlation_id", "resource_key", "caller_id", "group_key", "subscription_id", "tenant_id")
_NO_GROUP = "-"
"""Of a group's name at the tenant, which has no groups: no event has such a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityQuery:
    """What to read: bounds in microseconds, values of columns, and tests for the rest."""

    since: int | None = None
    until: int | None = None
    columns: Mapping[str, ColumnValue] = field(default_factory=dict)
    tests: tuple[_Test, ...] = ()
    shown_tests: tuple[_ShownTest, ...] = ()
    """Of what differs between the start and the end of an operation."""
    narrowed: ResourceId | None = None
    """The group or resource that the filter keeps to, if it names one."""
    caller: str | None = None
    """Whom the filter names, in lower case: an object id, a client id, or a name."""

    @property
    def where(self) -> Mapping[str, ColumnValue]:
        """The one column that the log selects by. Tenant and subscription together are one: events of a tenant are in no subscription."""
        chosen = next(name for name in _NARROWEST_FIRST if self.columns.get(name) is not None)
        names = ("tenant_id", "subscription_id") if chosen == "tenant_id" else (chosen,)
        return {name: self.columns[name] for name in names if name in self.columns}

    def holds(self, event: ActivityEvent) -> bool:
        """Whether a record has the values that the log was not asked for."""
        in_columns = all(_VALUES[name](event) == value for name, value in self.columns.items())
        return in_columns and all(test(event) for test in self.tests)

    def admits(self, shown: JsonObject) -> bool:
        """Whether one of a record's events, as it is shown, passes."""
        return all(test(shown) for test in self.shown_tests)


_VALUES: Mapping[str, Callable[[ActivityEvent], ColumnValue]] = {
    "tenant_id": lambda it: it.tenant_id,
    "subscription_id": lambda it: it.subscription_id,
    "group_key": lambda it: group_key_of(it.resource_id),
    "resource_key": lambda it: it.resource_id.lower(),
    "correlation_id": lambda it: it.correlation_id,
    "caller_id": lambda it: it.caller_id,
}


def activity_query(text: str | None, scope: ResourceId) -> ActivityQuery:
    """Read a filter for the log of a scope; raises `Failure(INVALID_FILTER)`."""
    query = ActivityQuery()
    for condition in parse_filter(text):
        query = _narrowed(query, condition, text or "", scope)
    if query.since is None:
        raise Failure(
            FailureKind.INVALID_FILTER,
            "it is required and must hold at least a start time: eventTimestamp ge '{time}'",
            filter=(text or "")[:200],
        )
    return query


def _narrowed(query: ActivityQuery, condition: Condition, text: str, scope: ResourceId) -> ActivityQuery:
    if not isinstance(condition, Comparison):
        raise invalid_filter(text)
    if condition.field == "eventtimestamp":
        return _bounded(query, condition, text)
    if condition.operator != "eq":
        raise invalid_filter(text)
    value = condition.value.strip()
    match condition.field:
        case "correlationid":
            return _with_column(query, "correlation_id", value.lower(), text)
        case "resourceid" | "resourceuri":
            narrower = replace(query, narrowed=_id(value, text))
            return _with_column(narrower, "resource_key", value.lower(), text)
        case "resourcegroupname":
            return _in_group(query, value, text, scope)
        case "caller":
            if query.caller not in {None, value.lower()}:
                raise invalid_filter(text)
            return replace(query, caller=value.lower(), tests=(*query.tests, _by_caller(value)))
        case _:
            return _with_test(query, condition.field, value, text)


def _with_test(query: ActivityQuery, name: str, value: str, text: str) -> ActivityQuery:
    if name in _SHOWN_TESTS:
        return replace(query, shown_tests=(*query.shown_tests, _SHOWN_TESTS[name](value)))
    if name in _TESTS:
        return replace(query, tests=(*query.tests, _TESTS[name](value)))
    raise invalid_filter(text)


def _with_column(query: ActivityQuery, column: str, value: str, text: str) -> ActivityQuery:
    if query.columns.get(column, value) != value:
        raise invalid_filter(text)
    return replace(query, columns={**query.columns, column: value})


def _in_group(query: ActivityQuery, name: str, text: str, scope: ResourceId) -> ActivityQuery:
    if scope.subscription is None:
        return _with_column(query, "group_key", _NO_GROUP, text)
    group = _id(f"{scope}/resourceGroups/{name}", text)
    if group.resource_group != name:
        raise invalid_filter(text)
    narrowed = query.narrowed if query.narrowed is not None else group
    return _with_column(replace(query, narrowed=narrowed), "group_key", group.key, text)


def _id(value: str, text: str) -> ResourceId:
    try:
        return ResourceId.parse(value)
    except Failure as error:
        raise invalid_filter(text) from error


def _bounded(query: ActivityQuery, condition: Comparison, text: str) -> ActivityQuery:
    at = _instant(condition.value, text)
    if condition.operator in {"ge", "gt"} and query.since is None:
        return replace(query, since=at + (condition.operator == "gt"))
    if condition.operator in {"le", "lt"} and query.until is None:
        return replace(query, until=at + (condition.operator == "le"))
    raise invalid_filter(text)


def _instant(value: str, text: str) -> int:
    """Microseconds of an ISO 8601 time; without an offset it is UTC."""
    try:
        at = datetime.fromisoformat(value)
        return microseconds(at if at.tzinfo is not None else at.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise invalid_filter(text) from error


# Tests ---------------------------------------------------------------------------------------------------------------


def _one_of(read: Callable[[T], str]) -> Callable[[str], Callable[[T], bool]]:
    """Equality with one of the values of a comma-separated list, without case."""

    def of(text: str) -> Callable[[T], bool]:
        wanted = {part.strip().lower() for part in text.split(",") if part.strip()}
        return lambda one: read(one).lower() in wanted

    return of


def _status(shown: JsonObject) -> str:
    words = shown.get("status")
    return str(words.get("value")) if isinstance(words, Mapping) else ""


def _by_caller(text: str) -> _Test:
    """The caller by its name, object id or client id."""
    wanted = text.lower()
    return lambda event: any(
        str(word).lower() == wanted
        for word in (event.caller, event.caller_name, event.caller_id, event.claims.get("appid"), event.claims.get("azp"))
    )


def _any(_: str) -> _Test:
    """There is one channel and one category of events, and the clients that name them name these."""
    return lambda _event: True


_TESTS: Mapping[str, Callable[[str], _Test]] = {
    "operations": _one_of(lambda event: event.operation),
    "operationname": _one_of(lambda event: event.operation),
    "resourceprovider": _one_of(lambda event: event.operation.partition("/")[0]),
    "resourcetype": _one_of(resource_type),
    "resourcetypes": _one_of(resource_type),
    "category": _one_of(lambda _: "Administrative"),
    "eventchannels": _any,
}
_SHOWN_TESTS: Mapping[str, Callable[[str], _ShownTest]] = {
    "status": _one_of(_status),
    "level": _one_of(lambda shown: str(shown.get("level"))),
    "levels": _one_of(lambda shown: str(shown.get("level"))),
}
