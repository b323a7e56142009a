"""Creating resources and resource groups: the same PUT that any client would send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import IdentityType
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES
from idplane.ports.sorting import Sort
from idplane.web.portal.kinds import KINDS, Filled, Kind, kind_named
from idplane.web.portal.lists import Question
from idplane.web.portal.resources import LOCATIONS
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import groups_of, parts_of, subscriptions_of, visible
from idplane.web.portal.tags import tags_of
from idplane.web.portal.types import IDENTITY, declared, label_of, symbol_of, version_of
from idplane.web.portal.view import Html, Page, Redirect, Visit

__all__ = ["ROUTES", "created"]

_NEW: Final = "/portal/resources/new"
_DEFAULT_LOCATION: Final = "westeurope"
_MOST_SITES: Final = 200
_COMMON: Final = ("name", "tags", "group", "location", "parent", "identity")


async def _kinds(visit: Visit) -> Page:
    del visit
    cards = [
        {
            "to": f"{_NEW}/resource-group",
            "label": "Resource group",
            "words": "What everything else lies in.",
            "symbol": "group",
        },
        *({"to": f"{_NEW}/{one.slug}", "label": one.label, "words": one.words, "symbol": symbol_of(one.type)} for one in KINDS),
        {
            "to": "/portal/identities/new",
            "label": label_of(IDENTITY),
            "words": "An identity that several resources can share.",
            "symbol": "identity",
        },
    ]
    return Html(template="resource-kinds.html", values={"title": "Create a resource", "cards": cards})


# Resource groups ----------------------------------------------------------------------------------------------------


async def _group_form(visit: Visit) -> Page:
    return await _group_page(visit, {"location": _DEFAULT_LOCATION, "subscription": visit.query("subscription")})


async def _create_group(visit: Visit) -> Page:
    try:
        subscription = ResourceId(("subscriptions", visit.form("subscription")))
        group = subscription.child("resourceGroups", visit.form("name"))
        return await created(visit, group, {"location": visit.form("location"), "tags": tags_of(visit.form("tags"))})
    except Failure as failure:
        return await _group_page(visit, dict(visit.fields), failure)


async def _group_page(visit: Visit, typed: Mapping[str, str], problem: Failure | None = None) -> Page:
    subscriptions = await subscriptions_of(visit)
    return Html(
        template="resource-group-new.html",
        values={
            "title": "Create a resource group",
            "subscriptions": [(one.id, one.display_name) for one in subscriptions],
            "locations": LOCATIONS,
            "typed": {"name": "", "tags": "", "subscription": "", "location": "", **typed},
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


# Resources ----------------------------------------------------------------------------------------------------------


async def _form(visit: Visit) -> Page:
    kind = _kind(visit)
    typed = {one.name: one.value for one in kind.inputs}
    typed |= {"location": _DEFAULT_LOCATION, "group": visit.query("group"), "parent": visit.query("parent")}
    return await _page(visit, kind, typed)


async def _create(visit: Visit) -> Page:
    kind = _kind(visit)
    try:
        return await created(visit, *_asked(visit, kind))
    except Failure as failure:
        return await _page(visit, kind, dict(visit.fields), failure)


def _asked(visit: Visit, kind: Kind) -> tuple[ResourceId, JsonObject]:
    """What to make, and the body for it; raises `Failure` for what can't be."""
    values = {one.name: visit.form(one.name) for one in kind.inputs}
    _require_choices(kind, values)
    group, parent = visit.form("group"), visit.form("parent")
    if kind.parent:
        site = ResourceId.parse(parent)
        group, parent = str(ResourceId(site.segments[:4])), site.name
    place = ResourceId.parse(group)
    filled = Filled(name=visit.form("name"), group=place, tenant_id=visit.desk.tenant.id, values={**values, "parent": parent})
    body: dict[str, object] = {"location": visit.form("location"), "tags": tags_of(visit.form("tags")), **kind.body(filled)}
    if visit.form("identity") and _takes_system(kind):
        body["identity"] = {"type": IdentityType.SYSTEM.value}
    return kind.id(filled), body


def _require_choices(kind: Kind, values: Mapping[str, str]) -> None:
    for one in kind.inputs:
        offered = {value for value, _ in one.options}
        if (offered and values[one.name] not in offered) or (one.required and not values[one.name]):
            raise Failure(
                FailureKind.INVALID_PARAMETER, f"'{one.label}' is missing, or none of the choices", parameter=one.name
            )


def _takes_system(kind: Kind) -> bool:
    known = declared(kind.type)
    return known is not None and IdentityType.SYSTEM in known.identity_types


def _kind(visit: Visit) -> Kind:
    kind = kind_named(visit.params["kind"])
    if kind is None:
        raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such page")
    return kind


async def _page(visit: Visit, kind: Kind, typed: Mapping[str, str], problem: Failure | None = None) -> Page:
    groups = await groups_of(visit)
    return Html(
        template="resource-new.html",
        values={
            "title": f"Create: {kind.label}",
            "kind": kind,
            "symbol": symbol_of(kind.type),
            "groups": [(str(one.id), one.id.name) for one in groups],
            "parents": await _sites(visit) if kind.parent else [],
            "locations": LOCATIONS,
            "takes_system": _takes_system(kind),
            "typed": {**dict.fromkeys((*_COMMON, *(one.name for one in kind.inputs)), ""), **typed},
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


async def _sites(visit: Visit) -> list[tuple[str, str]]:
    question = Question(
        store=visit.desk.store,
        parts=await parts_of(visit, {"type": "microsoft.web/sites"}),
        order=Sort("name"),
        limit=_MOST_SITES,
    )
    page = await question.page(RESOURCES, None, lambda it: visible(visit, it))
    return [(str(one.value.id), f"{one.value.id.name} ({one.value.id.resource_group})") for one in page.items]


async def created(visit: Visit, identifier: ResourceId, body: JsonObject) -> Page:
    """Make a resource that is not there yet, and go to it. Raises `Failure`, `CONFLICT` for a name that is taken."""
    if await visit.desk.store.get(RESOURCES, identifier.key) is not None:
        await visit.desk.require(f"{identifier.type}/write", identifier)  # who may not write learns nothing of what is there
        raise Failure(FailureKind.CONFLICT, f"'{identifier.name}' is there already: take another name, or change that one")
    await visit.desk.write("PUT", str(identifier), body, version=version_of(identifier.type))
    return Redirect(to=f"/portal/resource{identifier}", said=f"{label_of(identifier.type)} {identifier.name} is created.")


ROUTES: Final = (
    Route(method="GET", pattern=_NEW, handler=_kinds),
    Route(method="GET", pattern=f"{_NEW}/resource-group", handler=_group_form),
    Route(method="POST", pattern=f"{_NEW}/resource-group", handler=_create_group),
    Route(method="GET", pattern=f"{_NEW}/{{kind}}", handler=_form),
    Route(method="POST", pattern=f"{_NEW}/{{kind}}", handler=_create),
)
