"""The blade of one resource: what it is, its tags, what refers to it, and what was done to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from idplane.model.events import ActivityEvent, EventStatus
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.ports.collections import (
    ACTIVITY,
    BINDINGS,
    ENROLLMENTS,
    IDENTITY_ASSIGNMENTS,
    LOCKS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
)
from idplane.ports.store import Collection
from idplane.providers.enrollments import ENROLLMENTS_TYPE
from idplane.providers.workload_bindings import BINDINGS_TYPE
from idplane.web.portal.blade import Blade, authors_of, blade_of
from idplane.web.portal.offers import offer
from idplane.web.portal.resources import Line
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import visible
from idplane.web.portal.tags import tag_lines, tags_of
from idplane.web.portal.types import GROUP, version_of
from idplane.web.portal.view import Html, Page, Redirect, Visit

__all__ = ["ROUTES", "activity_of"]

_ACTIVITY_READ: Final = "Microsoft.Insights/eventtypes/values/read"
_ROLES_READ: Final = "Microsoft.Authorization/roleAssignments/read"
_REFERRING: Final[tuple[tuple[str, str, Collection[Any], str, str], ...]] = (
    (_ROLES_READ, "Role assignments here", ROLE_ASSIGNMENTS, "scope_key", "/portal/iam/assignments"),
    ("Microsoft.Authorization/locks/read", "Locks here", LOCKS, "scope_key", ""),
    (f"{BINDINGS_TYPE}/read", "Workload bindings", BINDINGS, "host_key", "/portal/hosts?host="),
    (f"{ENROLLMENTS_TYPE}/read", "Rules that admit hosts", ENROLLMENTS, "host_key", "/portal/hosts?host="),
    ("", "Identities that it may use", IDENTITY_ASSIGNMENTS, "host_key", "/portal/resource/identity"),
)
"""What may name a resource: what reading it takes, what it is called, where it is stored, and where it is shown."""
_MOST: Final = 500
_EVENTS: Final = 50


@dataclass(frozen=True, slots=True)
class _Reference:
    """Something that has to do with the resource: what, how many, and where they are seen."""

    words: str
    count: int
    to: str

    @property
    def said(self) -> str:
        return f"{self.count}{' or more' if self.count == _MOST else ''}"


async def _overview(visit: Visit) -> Page:
    identifier = visit.resource()
    if identifier.subscription is not None and len(identifier.segments) == 2:  # noqa: PLR2004 - /subscriptions/{id}
        return Redirect(to=f"/portal/resources?subscription={identifier.subscription}")
    blade = await blade_of(visit, "overview")
    if blade.is_identity:
        return Redirect(to=f"/portal/identity/overview{blade.id}")
    return await _overview_page(visit, blade)


async def _overview_page(visit: Visit, blade: Blade, problem: Failure | None = None) -> Page:
    resource = blade.resource
    shown = await visit.desk.read(str(blade.id), version=version_of(resource.type))
    children = await visit.desk.store.page(RESOURCES, where={"parent_key": blade.id.key}, limit=_MOST)
    listed = [Line(one.value) for one in children.items if await visible(visit, one.value)]
    return Html(
        template="resource.html",
        values={
            "title": blade.line.name,
            "blade": blade,
            "is_group": resource.type == GROUP,
            "properties": json.dumps(shown.get("properties", {}), indent=2, ensure_ascii=False),
            "tags": resource.tags,
            "tag_lines": visit.form("tags") if problem else tag_lines(resource.tags),
            "children": listed,
            "authors": await authors_of(visit, resource),
            "references": await _references(visit, blade.id),
            "write": await offer(visit, f"{_permission(blade)}/write", blade.id),
            "delete": await offer(visit, f"{_permission(blade)}/delete", blade.id),
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


def _permission(blade: Blade) -> str:
    return "Microsoft.Resources/subscriptions/resourceGroups" if blade.resource.type == GROUP else blade.resource.type


async def _references(visit: Visit, identifier: ResourceId) -> list[_Reference]:
    """What else names it, as far as the person may read of that kind here."""
    found: list[_Reference] = []
    for action, words, collection, column, to in _REFERRING:
        if action and not await visit.desk.may(action, identifier):
            continue
        count = await visit.desk.store.count(collection, where={column: identifier.key}, limit=_MOST)
        if count:
            found.append(_Reference(words, count, f"{to}{identifier}" if to else ""))
    return found


async def _save_tags(visit: Visit) -> Page:
    blade = await blade_of(visit, "overview")
    try:
        tags = tags_of(visit.form("tags"))
        await visit.desk.write("PATCH", str(blade.id), {"tags": tags}, version=version_of(blade.resource.type))
    except Failure as failure:
        return await _overview_page(visit, blade, failure)
    return Redirect(to=f"/portal/resource{blade.id}", said="The tags are saved.")


# Activity -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Event:
    """A record of the activity log in words."""

    event: ActivityEvent

    @property
    def good(self) -> bool:
        return self.event.status is not EventStatus.FAILED

    @property
    def caller(self) -> str:
        return self.event.caller_name or self.event.caller or self.event.caller_id


async def activity_of(visit: Visit, identifier: ResourceId) -> list[_Event] | None:
    """The newest events of a resource; None where the person may read none."""
    if not await visit.desk.may(_ACTIVITY_READ, identifier):
        return None
    where = {"resource_key": identifier.key}
    logged = await visit.desk.store.read_log(ACTIVITY, where=where, limit=_EVENTS)
    return [_Event(one.event) for one in logged if one.event.tenant_id == visit.desk.tenant.id]


async def _activity(visit: Visit) -> Page:
    blade = await blade_of(visit, "activity")
    return Html(
        template="resource-activity.html",
        values={
            "title": f"{blade.line.name}: activity log",
            "blade": blade,
            "events": await activity_of(visit, blade.id),
            "reading": await offer(visit, _ACTIVITY_READ, blade.id),
        },
    )


ROUTES: Final = (
    Route(method="GET", pattern="/portal/resource/{id:path}", handler=_overview),
    Route(method="POST", pattern="/portal/resource/tags/{id:path}", handler=_save_tags),
    Route(method="GET", pattern="/portal/resource/activity/{id:path}", handler=_activity),
)
