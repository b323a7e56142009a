"""Managed identities: the user-assigned ones, and for each what uses it, what it may do, and what proves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from idplane.model.failure import Failure
from idplane.model.ids import ROOT, ResourceId
from idplane.ports.collections import CREDENTIALS, IDENTITY_ASSIGNMENTS, RESOURCES
from idplane.web.portal.blade import Blade, authors_of, identity_blade
from idplane.web.portal.creation import created
from idplane.web.portal.credential_rows import credential_rows
from idplane.web.portal.grants import grants_of
from idplane.web.portal.lists import Question, sort_of
from idplane.web.portal.offers import offer
from idplane.web.portal.resources import LOCATIONS, Line, narrowed, scope_filters
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import groups_of, may_see, parts_of, visible
from idplane.web.portal.sign_in_rows import sign_in_rows
from idplane.web.portal.tags import tags_of
from idplane.web.portal.types import IDENTITY, label_of, symbol_of, version_of
from idplane.web.portal.view import Html, Page, Visit

__all__ = ["ROUTES"]

_LIST: Final = "/portal/identities"
_COLUMNS: Final = {"name": "name", "group": "path", "location": "location"}
_ASSOCIATED: Final = f"{IDENTITY}/listAssociatedResources/action"
_SIGN_INS: Final = "Microsoft.Authorization/roleAssignments/write"
"""What whoever has it at the tenant may read the sign-in log by; see `graph.permissions`."""
_MOST: Final = 500


async def _identities(visit: Visit) -> Page:
    where = {**narrowed(visit), "type": IDENTITY.lower()}
    text = visit.query("q").lower()
    question = Question(
        store=visit.desk.store,
        parts=await parts_of(visit, where),
        order=sort_of(visit, _COLUMNS, "name"),
        containing=("name", text) if text else None,
    )
    page = await question.page(RESOURCES, visit.query("after") or None, lambda it: visible(visit, it))
    rows = [
        {
            "line": Line(one.value),
            "client_id": one.value.properties["clientId"],
            "used": await visit.desk.store.count(IDENTITY_ASSIGNMENTS, where={"identity_key": one.value.id.key}, limit=_MOST),
        }
        for one in page.items
    ]
    return Html(
        template="identities.html",
        values={
            "title": "Managed identities",
            "rows": rows,
            "after": page.after,
            "narrowed": bool(text or len(where) > 1),
            **await scope_filters(visit),
        },
    )


# Creating -----------------------------------------------------------------------------------------------------------


async def _form(visit: Visit) -> Page:
    return await _form_page(visit, {"location": "westeurope", "group": visit.query("group")})


async def _create(visit: Visit) -> Page:
    try:
        group = ResourceId.parse(visit.form("group"))
        identity = group.child("providers", *IDENTITY.split("/"), visit.form("name"))
        body = {"location": visit.form("location"), "tags": tags_of(visit.form("tags"))}
        return await created(visit, identity, body)
    except Failure as failure:
        return await _form_page(visit, dict(visit.fields), failure)


async def _form_page(visit: Visit, typed: Mapping[str, str], problem: Failure | None = None) -> Page:
    return Html(
        template="identity-new.html",
        values={
            "title": "Create a user-assigned identity",
            "groups": [(str(one.id), one.id.name) for one in await groups_of(visit)],
            "locations": LOCATIONS,
            "typed": {"name": "", "tags": "", "group": "", "location": "", **typed},
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


# One identity -------------------------------------------------------------------------------------------------------


def _principal(blade: Blade) -> str:
    return str(blade.resource.properties["principalId"])


async def _overview(visit: Visit) -> Page:
    blade = await identity_blade(visit, "overview")
    shown = await visit.desk.read(str(blade.id), version=version_of(IDENTITY))
    properties = shown.get("properties")
    return Html(
        template="identity.html",
        values={
            "title": blade.id.name,
            "blade": blade,
            "properties": properties if isinstance(properties, Mapping) else {},
            "tags": blade.resource.tags,
            "authors": await authors_of(visit, blade.resource),
            "write": await offer(visit, f"{IDENTITY}/write", blade.id),
            "delete": await offer(visit, f"{IDENTITY}/delete", blade.id),
        },
    )


async def _resources(visit: Visit) -> Page:
    blade = await identity_blade(visit, "associated")
    listing = await offer(visit, _ASSOCIATED, blade.id)
    rows: list[dict[str, object]] = []
    if listing.open:
        found = await visit.desk.store.all(IDENTITY_ASSIGNMENTS, where={"identity_key": blade.id.key})
        hosts = sorted((one.value.host for one in found), key=lambda it: it.key)
        rows = [
            {
                "id": str(one),
                "name": one.name,
                "label": label_of(one.type),
                "symbol": symbol_of(one.type),
                "group": one.resource_group,
            }
            for one in hosts
            if await may_see(visit, one)
        ]
    return Html(
        template="identity-resources.html",
        values={"title": f"{blade.id.name}: associated resources", "blade": blade, "rows": rows, "listing": listing},
    )


async def _roles(visit: Visit) -> Page:
    blade = await identity_blade(visit, "roles")
    return Html(
        template="identity-roles.html",
        values={
            "title": f"{blade.id.name}: role assignments",
            "blade": blade,
            "principal": _principal(blade),
            "grants": await grants_of(visit, _principal(blade)),
            "back": f"/portal/identity/roles{blade.id}",
        },
    )


async def _credentials(visit: Visit) -> Page:
    blade = await identity_blade(visit, "credentials")
    page = await visit.desk.store.page(CREDENTIALS, where={"principal_id": _principal(blade)}, limit=_MOST)
    return Html(
        template="identity-credentials.html",
        values={
            "title": f"{blade.id.name}: credentials",
            "blade": blade,
            "rows": credential_rows((one.value for one in page.items), visit.desk.now),
        },
    )


async def _sign_ins(visit: Visit) -> Page:
    blade = await identity_blade(visit, "sign-ins")
    return Html(
        template="identity-sign-ins.html",
        values={
            "title": f"{blade.id.name}: sign-ins",
            "blade": blade,
            "principal": _principal(blade),
            "sign_ins": await sign_in_rows(visit, _principal(blade)),
            "reading": await offer(visit, _SIGN_INS, ROOT),
        },
    )


ROUTES: Final = (
    Route(method="GET", pattern=_LIST, handler=_identities),
    Route(method="GET", pattern=f"{_LIST}/new", handler=_form),
    Route(method="POST", pattern=f"{_LIST}/new", handler=_create),
    Route(method="GET", pattern="/portal/identity/overview/{id:path}", handler=_overview),
    Route(method="GET", pattern="/portal/identity/resources/{id:path}", handler=_resources),
    Route(method="GET", pattern="/portal/identity/roles/{id:path}", handler=_roles),
    Route(method="GET", pattern="/portal/identity/credentials/{id:path}", handler=_credentials),
    Route(method="GET", pattern="/portal/identity/sign-ins/{id:path}", handler=_sign_ins),
)
