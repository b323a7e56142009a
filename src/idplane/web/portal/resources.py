"""All resources that the person may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from idplane.model.failure import Failure
from idplane.model.ids import ResourceId, normalize_location
from idplane.model.resources import Resource
from idplane.ports.collections import RESOURCES
from idplane.ports.store import ColumnValue
from idplane.providers.locations import LOCATION_NAMES
from idplane.web.portal.lists import Question, sort_of
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import groups_of, parts_of, subscriptions_of, visible
from idplane.web.portal.types import GROUP, label_of, listed_types, symbol_of
from idplane.web.portal.view import Html, Page, Visit

__all__ = ["LOCATIONS", "ROUTES", "Line", "narrowed", "scope_filters"]

LOCATIONS: Final = tuple((normalize_location(name), name) for name in LOCATION_NAMES)
"""Names and display names."""
_DISPLAYED: Final = dict(LOCATIONS)
_COLUMNS: Final = {"name": "name", "type": "type", "group": "path", "location": "location"}
"""By what each heading sorts. A path begins with its group, and goes on with type and name."""


@dataclass(frozen=True, slots=True)
class Line:
    """A resource in a list."""

    resource: Resource

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.resource.id)

    @property
    def name(self) -> str:
        """Its own name; a child's with its parents'."""
        return "/".join(self.resource.id.segments[len(self.resource.id.scope.segments) + 3 :: 2]) or self.resource.id.name

    @property
    def label(self) -> str:
        """What it is."""
        return label_of(self.resource.type)

    @property
    def symbol(self) -> str:
        """Its symbol."""
        return symbol_of(self.resource.type)

    @property
    def group(self) -> ResourceId | None:
        """The resource group that it lies in, unless it is one."""
        identifier = self.resource.id
        return ResourceId(identifier.segments[:4]) if identifier.resource_group and identifier.namespace else None

    @property
    def location(self) -> str:
        """As people write it."""
        stored = self.resource.location or ""
        return _DISPLAYED.get(normalize_location(stored), stored)

    @property
    def identities(self) -> tuple[str, ...]:
        """Which identities it bears, in words."""
        identity = self.resource.identity
        if identity is None:
            return ()
        system = ("System assigned",) if identity.type.has_system else ()
        users = len(identity.user_assigned)
        return (*system, f"{users} user assigned") if users else system


def narrowed(visit: Visit) -> dict[str, ColumnValue]:
    """What the address narrows a list of resources to by subscription, group and location."""
    where: dict[str, ColumnValue] = {}
    if visit.query("subscription"):
        where["subscription_id"] = visit.query("subscription").lower()
    if group := _group(visit):
        where["group_key"] = group.key
        where["subscription_id"] = group.subscription
    if visit.query("location"):
        where["location"] = normalize_location(visit.query("location"))
    return where


def _group(visit: Visit) -> ResourceId | None:
    """The group that is asked for; what is no group's id narrows nothing."""
    try:
        group = ResourceId.parse(visit.query("group") or "/")
    except Failure:
        return None
    return group if group.type == GROUP else None


async def scope_filters(visit: Visit) -> dict[str, object]:
    """What the filter bars of lists of resources offer."""
    groups, subscriptions = await groups_of(visit), await subscriptions_of(visit)
    return {
        "groups": [(str(one.id), one.id.name) for one in groups],
        "group": next((str(one.id) for one in groups if one.id == _group(visit)), ""),
        "subscriptions": [(one.id, one.display_name) for one in subscriptions],
        "subscription": visit.query("subscription").lower(),
        "locations": LOCATIONS,
        "location": normalize_location(visit.query("location")),
    }


async def _resources(visit: Visit) -> Page:
    wanted, text = visit.query("type").lower(), visit.query("q").lower()
    where = {**narrowed(visit), **({"type": wanted} if wanted else {})}
    question = Question(
        store=visit.desk.store,
        parts=await parts_of(visit, where),
        order=sort_of(visit, _COLUMNS, "name"),
        containing=("name", text) if text else None,
    )

    async def shown(resource: Resource) -> bool:
        return (resource.type != GROUP or wanted == GROUP.lower()) and await visible(visit, resource)

    page = await question.page(RESOURCES, visit.query("after") or None, shown)
    return Html(
        template="resources.html",
        values={
            "title": "Resource groups" if wanted == GROUP.lower() else "Resources",
            "lines": [Line(one.value) for one in page.items],
            "after": page.after,
            "types": listed_types(),
            "type": wanted,
            "group_type": GROUP.lower(),
            "narrowed": bool(where or text),
            **await scope_filters(visit),
        },
    )


ROUTES: Final = (Route(method="GET", pattern="/portal/resources", handler=_resources),)
