"""The Microsoft.Insights provider: reading the activity log (control-plane.md sections 5.7 and 7.5).

The log is asked with a narrow `$filter`: a start time, and optionally an end and one or more equalities. What the log's columns cannot
select is sifted here, a bounded number of events a page; so a page may be short, even empty, and still have a next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeAlias

from idplane.arm.declare import Item, Listed, Listing, Lookup, OperationInfo, Own, Placement, Provider, ResourceType, Visibility
from idplane.model.events import ActivityEvent
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject
from idplane.ports.collections import ACTIVITY, microseconds
from idplane.ports.store import ColumnValue, Logged
from idplane.providers.activity_events import EVENT_MEMBERS, group_name, render_event
from idplane.providers.filters import Comparison, Condition, invalid_filter, parse_filter

__all__ = ["INSIGHTS"]

_VERSIONS = ("2015-04-01", "2014-04-01")
_CATEGORIES = (
    "Administrative",
    "Security",
    "ServiceHealth",
    "Alert",
    "Recommendation",
    "Policy",
    "Autoscale",
    "ResourceHealth",
)
_SCAN_LIMIT = 2000
"""Events looked at for one page."""
_BATCH = 500
_POSITION_DIGITS = 18

_Test: TypeAlias = Callable[[ActivityEvent], bool]


@dataclass(frozen=True, slots=True)
class _Query:
    """What to read: bounds in microseconds, equal columns, and tests for the rest."""

    since: int | None = None
    until: int | None = None
    where: Mapping[str, ColumnValue] = field(default_factory=dict)
    tests: tuple[_Test, ...] = ()

    def admits(self, event: ActivityEvent) -> bool:
        return all(test(event) for test in self.tests)


async def _list(listing: Listing) -> Listed:
    context = listing.context
    select = _selected(context.query.get("$select"))
    query = _query(context.query.get("$filter"))
    # Without a subscription the list holds what happened at the tenant itself, not what happened in its subscriptions.
    where = {**query.where, "tenant_id": context.tenant.id, "subscription_id": listing.scope.subscription}
    found, after = await _scan(listing, replace(query, where=where))
    return Listed(items=tuple(_shown(render_event(one.event), select) for one in found), after=after)


async def _scan(listing: Listing, query: _Query) -> tuple[list[Logged[ActivityEvent]], str | None]:
    """Newest first, up to a page or to the limit of what one request may look at; with the cursor if there may be more."""
    position = _position(listing.after)
    found: list[Logged[ActivityEvent]] = []
    for _ in range(_SCAN_LIMIT // _BATCH):
        batch = await listing.context.store.read_log(
            ACTIVITY, where=query.where, since=query.since, until=query.until, position=position, limit=_BATCH
        )
        for logged in batch:
            position = logged.position
            if query.admits(logged.event):
                found.append(logged)
                if len(found) == listing.top:
                    return found, str(position)
        if len(batch) < _BATCH:
            return found, None
    return found, str(position)


def _position(after: str | None) -> int | None:
    if after is None:
        return None
    if not (after.isascii() and after.isdigit() and len(after) <= _POSITION_DIGITS):
        raise Failure(FailureKind.INVALID_PARAMETER, "The value of '$skiptoken' is not valid.", parameter="$skiptoken")
    return int(after)


# The filter ----------------------------------------------------------------------------------------------------------


def _query(text: str | None) -> _Query:
    query = _Query()
    for condition in parse_filter(text):
        query = _narrowed(query, condition, text or "")
    if query.since is None:
        raise Failure(
            FailureKind.INVALID_FILTER,
            "it is required and must hold at least a start time: eventTimestamp ge '{time}'",
            filter=(text or "")[:200],
        )
    return query


def _narrowed(query: _Query, condition: Condition, text: str) -> _Query:
    if not isinstance(condition, Comparison):
        raise invalid_filter(text)
    if condition.field == "eventtimestamp":
        return _bounded(query, condition, text)
    column, test = _COLUMNS.get(condition.field), _TESTS.get(condition.field)
    if condition.operator != "eq" or (column is None and test is None):
        raise invalid_filter(text)
    if column is not None:
        if query.where.get(column, condition.value.lower()) != condition.value.lower():
            raise invalid_filter(text)
        return replace(query, where={**query.where, column: condition.value.lower()})
    assert test is not None
    return replace(query, tests=(*query.tests, test(condition.value)))


def _bounded(query: _Query, condition: Comparison, text: str) -> _Query:
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


def _by_group(name: str) -> _Test:
    return lambda event: group_name(event).lower() == name.lower()


def _by_provider(namespace: str) -> _Test:
    return lambda event: event.operation.partition("/")[0].lower() == namespace.lower()


def _by_caller(caller: str) -> _Test:
    return lambda event: caller.lower() in {event.caller.lower(), event.caller_id.lower()}


def _by_status(status: str) -> _Test:
    return lambda event: event.status.value.lower() == status.lower()


def _any_channel(_: str) -> _Test:
    """There is one channel, and the clients that name channels name it."""
    return lambda _event: True


_COLUMNS: Mapping[str, str] = {
    "resourceid": "resource_key",
    "resourceuri": "resource_key",
    "correlationid": "correlation_id",
}
_TESTS: Mapping[str, Callable[[str], _Test]] = {
    "resourcegroupname": _by_group,
    "resourceprovider": _by_provider,
    "caller": _by_caller,
    "status": _by_status,
    "eventchannels": _any_channel,
}


# $select -------------------------------------------------------------------------------------------------------------


def _selected(text: str | None) -> frozenset[str] | None:
    """The members to show, as clients spell them in any case; None for all."""
    names = [name.strip().lower() for name in (text or "").split(",") if name.strip()]
    if not names:
        return None
    known = {member.lower(): member for member in EVENT_MEMBERS}
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise Failure(FailureKind.INVALID_PARAMETER, f"'{unknown[:100]}' is not a property of an event.", parameter="$select")
    return frozenset(known[name] for name in names)


def _shown(event: JsonObject, select: frozenset[str] | None) -> JsonObject:
    return event if select is None else {name: value for name, value in event.items() if name in select}


# Declarations --------------------------------------------------------------------------------------------------------


async def _get_event_type(lookup: Lookup) -> Item | None:
    """`eventtypes/management` is the one event type: the path to its values needs it to be there."""
    if lookup.id.name.lower() != "management":
        return None
    return Item(body={"id": str(lookup.id), "name": "management", "type": "Microsoft.Insights/eventtypes"})


async def _list_categories(_: Listing) -> Listed:
    return Listed(items=tuple({"value": name, "localizedValue": name} for name in _CATEGORIES))


_EVENT_TYPES = ResourceType(
    name="Microsoft.Insights/eventtypes",
    api_versions=_VERSIONS,
    placements=frozenset({Placement.TENANT, Placement.SUBSCRIPTION}),
    own=Own(get=_get_event_type),
    located=False,
    taggable=False,
    system_data=False,
)

_VALUES = ResourceType(
    name="Microsoft.Insights/eventtypes/values",
    api_versions=_VERSIONS,
    placements=frozenset({Placement.TENANT, Placement.SUBSCRIPTION}),
    own=Own(list=_list),
    located=False,
    taggable=False,
    system_data=False,
)

_EVENT_CATEGORIES = ResourceType(
    name="Microsoft.Insights/eventcategories",
    api_versions=_VERSIONS,
    placements=frozenset({Placement.TENANT}),
    own=Own(list=_list_categories),
    visibility=Visibility.OPEN,
    located=False,
    taggable=False,
    system_data=False,
)

_OPERATIONS = tuple(
    OperationInfo(name=one.permission("read"), operation="Read", resource=words, provider="Microsoft Insights")
    for one, words in ((_VALUES, "Activity log events"), (_EVENT_CATEGORIES, "Event categories"))
)

INSIGHTS = Provider(
    namespace="Microsoft.Insights",
    types=(_EVENT_TYPES, _VALUES, _EVENT_CATEGORIES),
    operations=_OPERATIONS,
    operations_versions=("2015-04-01",),
)
