"""The Microsoft.Insights provider: reading the activity log (control-plane.md sections 5.7 and 7.5).

The log is asked with a narrow `$filter` (`providers.activity_filters`). What no column can select is sifted here, a bounded number of
records a page; so a page may be short, even empty, and still have a next one. The two events of an operation are never parted.

Who may read the log of a subscription reads all of it. Others read what is theirs: a filter that keeps to a group or resource needs the
right to read there only, and without one each sees the events of what it may read.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from idplane.arm.declare import Item, Listed, Listing, Lookup, OperationInfo, Own, Placement, Provider, ResourceType, Visibility
from idplane.model.events import ActivityEvent
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId
from idplane.model.values import JsonObject
from idplane.ports.collections import ACTIVITY, PRINCIPALS, ROLE_ASSIGNMENTS
from idplane.providers.activity_events import EVENT_MEMBERS, render_event, with_role
from idplane.providers.activity_filters import ActivityQuery, activity_query

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
"""Records looked at for one page."""
_BATCH = 500
_POSITION_DIGITS = 18


async def _list(listing: Listing) -> Listed:
    context = listing.context
    select = _selected(context.query.get("$select"))
    query = activity_query(context.query.get("$filter"), listing.scope.scope)
    reader = _Reader(listing=listing, query=await _addressed(listing, query), everything=await _reads_all(listing, query))
    shown, after = await reader.page()
    return Listed(items=tuple(_shown(one, select) for one in shown), after=after)


async def _addressed(listing: Listing, query: ActivityQuery) -> ActivityQuery:
    """The query with what the columns know: whose log it is, and the caller's object id if the filter's word for it is one."""
    context = listing.context
    # Without a subscription the list holds what happened at the tenant itself, not what happened in its subscriptions.
    columns = {**query.columns, "tenant_id": context.tenant.id, "subscription_id": listing.scope.subscription}
    if query.caller is not None and await context.store.get(PRINCIPALS, query.caller) is not None:
        columns["caller_id"] = query.caller
    return replace(query, columns=columns)


async def _reads_all(listing: Listing, query: ActivityQuery) -> bool:
    """Whether the caller may read all that the filter can find; raises `Failure(FORBIDDEN)` for who may read nothing of it."""
    context = listing.context
    if (await context.access.check(context.caller.principal_ids, context.action, listing.scope)).allowed:
        return True
    if query.narrowed is not None:
        await context.require(context.action, query.narrowed)
        return True
    if not await _holds_role_below(listing):
        await context.require(context.action, listing.scope)
    return False


async def _holds_role_below(listing: Listing) -> bool:
    context = listing.context
    for principal_id in context.caller.principal_ids:
        page = await context.store.page(
            ROLE_ASSIGNMENTS, where={"principal_id": principal_id}, under=("scope_key", listing.scope.scope.key), limit=1
        )
        if page.items:
            return True
    return False


@dataclass(slots=True, kw_only=True)
class _Reader:
    """One page: newest first, up to its size or to the limit of what one request may look at."""

    listing: Listing
    query: ActivityQuery
    everything: bool
    _readable: dict[str, bool] = field(default_factory=dict)
    _roles: dict[str, str] = field(default_factory=dict)

    async def page(self) -> tuple[list[JsonObject], str | None]:
        """The events, and the cursor if there may be more."""
        position = _position(self.listing.after)
        found: list[JsonObject] = []
        for _ in range(_SCAN_LIMIT // _BATCH):
            batch = await self.listing.context.store.read_log(
                ACTIVITY,
                where=self.query.where,
                since=self.query.since,
                until=self.query.until,
                position=position,
                limit=_BATCH,
            )
            for logged in batch:
                events = await self._events(logged.event)
                if found and len(found) + len(events) > self.listing.top:
                    return found, str(position)
                found += events
                position = logged.position
            if len(batch) < _BATCH:
                return found, None
        return found, str(position)

    async def _events(self, event: ActivityEvent) -> list[JsonObject]:
        if not self.query.holds(event) or not await self._may_read(event):
            return []
        found = [shown for shown in render_event(event) if self.query.admits(shown)]
        role = await self._role(event) if found else ""
        return [with_role(shown, role) for shown in found] if role else found

    async def _may_read(self, event: ActivityEvent) -> bool:
        if self.everything:
            return True
        key = event.resource_id.lower()
        if key not in self._readable:
            context = self.listing.context
            decision = await context.access.check(context.caller.principal_ids, context.action, _scope(event.resource_id))
            self._readable[key] = decision.allowed
        return self._readable[key]

    async def _role(self, event: ActivityEvent) -> str:
        """The name of the role that allowed it, if the assignment is still there."""
        context, because = self.listing.context, event.because or ""
        if because not in self._roles:
            found = await context.store.get(ROLE_ASSIGNMENTS, because) if because else None
            role = await context.access.definition(found.value.tenant_id, found.value.role_id) if found else None
            self._roles[because] = role.name if role else ""
        return self._roles[because]


def _scope(resource_id: str) -> ResourceId:
    """An event's resource as a scope; what is no id of today is the whole tenant's."""
    try:
        return ResourceId.parse(resource_id)
    except Failure:
        return ROOT


def _position(after: str | None) -> int | None:
    if after is None:
        return None
    if not (after.isascii() and after.isdigit() and len(after) <= _POSITION_DIGITS):
        raise Failure(FailureKind.INVALID_PARAMETER, "the value of '$skiptoken' is not valid", parameter="$skiptoken")
    return int(after)


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
    visibility=Visibility.OPEN,
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
