"""Roles of a scope, and what each allows; giving one to somebody there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from idplane.model.failure import Failure
from idplane.model.ids import ROOT, is_guid
from idplane.rbac.conditions import CONDITION_VERSION
from idplane.web.portal.grants import assignment_path
from idplane.web.portal.iam_frame import VERSION, WRITE, IamFrame, frame_of, tab_routes
from idplane.web.portal.lists import PAGE
from idplane.web.portal.offers import offer
from idplane.web.portal.places import iam, parsed_scope, place_of
from idplane.web.portal.principals import KINDS, Eyes, Shown
from idplane.web.portal.role_table import READ_ROLES, RoleRow, role_named, roles_like
from idplane.web.portal.routes import Route
from idplane.web.portal.view import Html, Page, Redirect, Visit

__all__ = ["ROUTES"]

_KINDS: Final = (("", "All roles"), ("built-in", "Built-in roles"), ("custom", "Custom roles"))
_SHOWN: Final = 30


async def _roles(visit: Visit) -> Page:
    frame = await frame_of(visit, "roles")
    await visit.desk.require(READ_ROLES, frame.scope)
    found = await roles_like(visit, frame.scope, text=visit.query("q"), kind=visit.query("kind"), holds=visit.query("holds"))
    start = int(visit.query("after")) if re.fullmatch("[0-9]{1,5}", visit.query("after")) else 0
    return Html(
        template="iam-roles.html",
        values={
            "title": f"{frame.place.name}: roles",
            "frame": frame,
            "rows": found[start : start + PAGE],
            "count": len(found),
            "after": str(start + PAGE) if start + PAGE < len(found) else None,
            "kinds": list(_KINDS),
        },
    )


async def _role(visit: Visit) -> Page:
    wanted = visit.params["role"].lower()
    scope = parsed_scope(visit.query("at")) or ROOT
    definition = await role_named(visit, wanted)
    return Html(
        template="iam-role.html",
        values={"title": definition.name, "row": RoleRow(definition), "place": await place_of(visit, scope)},
    )


# Adding ------------------------------------------------------------------------------------------------------------------


async def _adding(visit: Visit) -> Page:
    return await _add_page(visit, await frame_of(visit, "assignments"), {})


async def _add_page(visit: Visit, frame: IamFrame, typed: Mapping[str, str], problem: Failure | None = None) -> Page:
    eyes = Eyes(visit)
    role = await visit.desk.access.definition(visit.desk.tenant.id, visit.query("role")) if visit.query("role") else None
    who = await eyes.shown(visit.query("who").lower()) if is_guid(visit.query("who")) else None
    step = "role" if role is None else "who" if who is None else "review"
    found = await roles_like(visit, frame.scope, text=visit.query("q"), holds=visit.query("holds")) if step == "role" else []
    people = await eyes.find(visit.query("q"), kind=visit.query("kind"), limit=_SHOWN) if step == "who" else ()
    return Html(
        template="iam-add.html",
        status=problem.kind.category.value if problem else 200,
        problem=problem,
        values={
            "title": "Add role assignment",
            "frame": frame,
            "step": step,
            "role": RoleRow(role) if role else None,
            "who": who,
            "roles": found[:_SHOWN],
            "more": max(0, len(found) - _SHOWN),
            "people": people,
            "kinds": list(KINDS.items()),
            "typed": {"description": "", "condition": "", **typed},
            "adding": await offer(visit, WRITE, frame.scope),
        },
    )


async def _add(visit: Visit) -> Page:
    frame = await frame_of(visit, "assignments")
    who = await Eyes(visit).shown(visit.query("who").lower())
    try:
        # The request's own id is new and unguessable: what an assignment's name must be.
        name = visit.request.call.request_id
        path = assignment_path(frame.scope, name)
        await visit.desk.write("PUT", path, {"properties": _properties(visit, who)}, version=VERSION)
    except Failure as failure:
        return await _add_page(visit, frame, dict(visit.fields), failure)
    role = await visit.desk.access.definition(visit.desk.tenant.id, visit.query("role"))
    said = f"{who.name} has the role {role.name if role else visit.query('role')} at {frame.place.name}."
    return Redirect(to=iam(frame.scope, "assignments"), said=said)


def _properties(visit: Visit, who: Shown) -> dict[str, object]:
    condition, description = visit.form("condition"), visit.form("description")
    return {
        "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{visit.query('role')}",
        "principalId": who.id,
        **({"principalType": who.principal.type.rbac_type} if who.principal is not None else {}),
        **({"description": description} if description else {}),
        **({"condition": condition, "conditionVersion": CONDITION_VERSION} if condition else {}),
    }


ROUTES: Final = (
    *tab_routes("roles", _roles),
    *tab_routes("add", _adding, _add),
    Route(method="GET", pattern="/portal/iam/role/{role}", handler=_role),
)
