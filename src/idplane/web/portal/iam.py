"""Access control of any scope: who has which role there, checked for one principal or listed, and what is denied."""

from __future__ import annotations

from typing import Final

from idplane.explain.sight import READ_DENIES
from idplane.model.directory import PrincipalType
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import ROLE_ASSIGNMENTS
from idplane.ports.store import ColumnValue
from idplane.web.portal.access_paths import assignments_in
from idplane.web.portal.grants import remove_grant
from idplane.web.portal.iam_frame import IamFrame, frame_of, tab_routes
from idplane.web.portal.iam_rows import Row, RowMaker, by_role, denies_of, held_here
from idplane.web.portal.lists import PAGE
from idplane.web.portal.offers import offer
from idplane.web.portal.places import iam
from idplane.web.portal.principals import KINDS, Eyes
from idplane.web.portal.role_table import role_choices
from idplane.web.portal.routes import Route
from idplane.web.portal.view import Html, Page, Redirect, Visit

__all__ = ["ROUTES"]

_MATCHES: Final = 25
_LOOKED_AT: Final = 200
_ROUNDS: Final = 6
_MOST_COUNTED: Final = 10_000
_WHERE: Final = (("", "All scopes"), ("here", "This scope only"), ("inherited", "Inherited"))


# Check access ------------------------------------------------------------------------------------------------------------


async def _check(visit: Visit) -> Page:
    frame = await frame_of(visit, "check")
    eyes = Eyes(visit)
    text, chosen = visit.query("q"), visit.query("principal").lower()
    found = await eyes.find(text, kind=visit.query("kind")) if text else ()
    if len(found) == 1 and not chosen:
        chosen = found[0].id
    subject = await eyes.shown(chosen) if chosen else None
    ids = await visit.desk.access.principal_ids(chosen) if chosen else frozenset[str]()
    told = await visit.desk.may(READ_DENIES, frame.scope)
    return Html(
        template="iam-check.html",
        values={
            "title": f"{frame.place.name}: access control",
            "frame": frame,
            "found": found if not chosen else (),
            "subject": subject,
            "me": visit.person.caller.principal_id,
            "rows": await held_here(visit, frame, eyes, chosen) if chosen else (),
            "denies": [one for one in await denies_of(visit, frame, eyes) if one.concerns(ids)] if chosen and told else (),
            "told": told,
            "kinds": list(KINDS.items()),
        },
    )


# Role assignments ----------------------------------------------------------------------------------------------------------


async def _assignments(visit: Visit) -> Page:
    frame = await frame_of(visit, "assignments")
    eyes = Eyes(visit)
    rows, after = await _named(visit, frame, eyes) if visit.query("q") else await _listed(visit, frame, eyes)
    narrowed = any(visit.query(name) for name in ("q", "kind", "where", "role"))
    return Html(
        template="iam-assignments.html",
        values={
            "title": f"{frame.place.name}: role assignments",
            "frame": frame,
            "roles": by_role(rows),
            "shown": len(rows),
            "after": after,
            "narrowed": narrowed,
            "here_count": await visit.desk.store.count(
                ROLE_ASSIGNMENTS, where={"scope_key": frame.scope.key}, limit=_MOST_COUNTED
            ),
            "kinds": list(KINDS.items()),
            "wheres": list(_WHERE),
            "role_choices": await role_choices(visit, frame.scope),
        },
    )


def _keys(visit: Visit, frame: IamFrame) -> tuple[str, ...]:
    match visit.query("where"):
        case "here":
            return frame.keys[:1]
        case "inherited":
            return frame.keys[1:]
        case _:
            return frame.keys


async def _listed(visit: Visit, frame: IamFrame, eyes: Eyes) -> tuple[list[Row], str | None]:
    """A page in the order of the scopes, nearest first. Of a kind, as many are looked at as one page may: it may be shorter, or longer."""
    role: dict[str, ColumnValue] = {"role_id": visit.query("role").lower()} if visit.query("role") else {}
    selection = [{"scope_key": key, **role} for key in _keys(visit, frame)]
    after = visit.query("after") or None
    kept: list[RoleAssignment] = []
    for _ in range(_ROUNDS):
        found, after = await assignments_in(visit, selection, after, _LOOKED_AT if visit.query("kind") else PAGE)
        kept += [one for one in found if await _wanted(visit, eyes, one)]
        if len(kept) >= PAGE or after is None:
            break
    maker = RowMaker(visit, frame, eyes)
    return [await maker.row(one) for one in kept], after


async def _named(visit: Visit, frame: IamFrame, eyes: Eyes) -> tuple[list[Row], str | None]:
    """Of those whose name holds a text: principals are searched, since assignments don't know names."""
    maker, keys, role = RowMaker(visit, frame, eyes), _keys(visit, frame), visit.query("role").lower()
    rows: list[Row] = []
    for who in await eyes.find(visit.query("q"), kind=visit.query("kind"), limit=_MATCHES):
        held = [one.value for one in await visit.desk.store.all(ROLE_ASSIGNMENTS, where={"principal_id": who.id})]
        here = [one for one in held if one.scope_key in keys and role in {"", one.role_id}]
        rows += [await maker.row(one) for one in here if await _wanted(visit, eyes, one)]
    return rows, None


async def _wanted(visit: Visit, eyes: Eyes, one: RoleAssignment) -> bool:
    kind = visit.query("kind")
    if one.tenant_id != visit.desk.tenant.id:
        return False
    if kind not in KINDS:
        return True
    if PrincipalType(kind).rbac_type != one.principal_type:
        return False
    who = await eyes.shown(one.principal_id) if PrincipalType(kind).is_client else None
    return who is None or (who.principal is not None and who.principal.type.value == kind)


# Deny assignments ----------------------------------------------------------------------------------------------------------


async def _denies(visit: Visit) -> Page:
    frame = await frame_of(visit, "denies")
    reading = await offer(visit, READ_DENIES, frame.scope)
    return Html(
        template="iam-denies.html",
        values={
            "title": f"{frame.place.name}: deny assignments",
            "frame": frame,
            "reading": reading,
            "rows": await denies_of(visit, frame, Eyes(visit)) if reading.allowed else (),
        },
    )


async def _scope(visit: Visit) -> Page:
    return Redirect(to=iam(visit.resource("scope")))


ROUTES: Final = (
    *tab_routes("check", _check),
    *tab_routes("assignments", _assignments),
    *tab_routes("denies", _denies),
    Route(method="POST", pattern="/portal/iam/remove", handler=remove_grant),
    Route(method="GET", pattern="/portal/iam/{scope:path}", handler=_scope),
)
