"""Identity, as Azure's blade has it: the system-assigned identity on or off, and the user-assigned identities of a resource.

Every change is a PATCH of the resource's `identity`, under the person's own roles: the system-assigned identity and its service principal
come and go with it, and user-assigned ones need the right to assign them, each on itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import AssignedIdentity, Identity, IdentityType
from idplane.model.values import JsonObject
from idplane.ports.collections import BINDINGS, CREDENTIALS, RESOURCES, ROLE_ASSIGNMENTS
from idplane.providers.hosts import ASSIGN
from idplane.web.portal.blade import Blade, blade_of
from idplane.web.portal.grants import grants_of
from idplane.web.portal.lists import Question, sort_of
from idplane.web.portal.offers import Offer, offer
from idplane.web.portal.resources import Line, narrowed, scope_filters
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import may_see, parts_of, visible
from idplane.web.portal.types import IDENTITY, declared, version_of
from idplane.web.portal.view import Html, Page, Redirect, Visit

__all__ = ["ROUTES"]

_COLUMNS: Final = {"name": "name", "group": "path", "location": "location"}
_MOST: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What a resource bears now, and what its type takes."""

    identity: Identity | None
    takes: frozenset[IdentityType]
    most: int | None

    @classmethod
    def of(cls, blade: Blade) -> _State:
        """Raises `Failure(RESOURCE_NOT_FOUND)` for a type without identities."""
        known = declared(blade.resource.type)
        if known is None or not known.bears_identity:
            words = f"resources of type '{blade.resource.type}' bear no identities"
            raise Failure(FailureKind.RESOURCE_NOT_FOUND, words, type=blade.resource.type, name=blade.id.name)
        return cls(identity=blade.resource.identity, takes=known.identity_types, most=known.most_user_assigned)

    @property
    def system(self) -> bool:
        """Whether the system-assigned identity is on."""
        return self.identity is not None and self.identity.type.has_system

    @property
    def users(self) -> tuple[AssignedIdentity, ...]:
        """The user-assigned identities."""
        return self.identity.user_assigned if self.identity is not None else ()

    @property
    def against_system(self) -> str:
        """Why the system-assigned identity can't be turned on or off, if it can't."""
        wanted = _type(system=not self.system, users=bool(self.users))
        if wanted is IdentityType.NONE or wanted in self.takes:
            return ""
        if IdentityType.SYSTEM not in self.takes:
            return "Resources of this type take user-assigned identities only."
        if self.system:
            return "Resources of this type take user-assigned identities only beside a system-assigned one: remove those first."
        return "Resources of this type take either kind of identity, not both: remove the user-assigned ones first."

    @property
    def against_users(self) -> str:
        """Why no user-assigned identity can be added, if none can."""
        if _type(system=self.system, users=True) not in self.takes:
            if not any(one.has_user for one in self.takes):
                return "Resources of this type take a system-assigned identity only."
            if self.system:
                return "Resources of this type take either kind of identity, not both: turn the system-assigned one off first."
            return "Resources of this type take user-assigned identities only beside a system-assigned one: turn that on first."
        if self.most is not None and len(self.users) >= self.most:
            return f"Resources of this type take {self.most} user-assigned identity: remove it first."
        return ""


def _type(*, system: bool, users: bool) -> IdentityType:
    if system:
        return IdentityType.BOTH if users else IdentityType.SYSTEM
    return IdentityType.USER if users else IdentityType.NONE


# System assigned ----------------------------------------------------------------------------------------------------


async def _system(visit: Visit) -> Page:
    return await _system_page(visit, await blade_of(visit, "identity"))


async def _system_page(visit: Visit, blade: Blade, problem: Failure | None = None) -> Page:
    state = _State.of(blade)
    principal = state.identity.principal_id if state.identity is not None and state.system else None
    return Html(
        template="resource-identity.html",
        values={
            "title": f"{blade.line.name}: identity",
            "blade": blade,
            "parts": _parts(blade, "system", len(state.users)),
            "on": state.system,
            "identity": state.identity,
            "write": await offer(visit, f"{blade.resource.type}/write", blade.id, why=state.against_system),
            "grants": await grants_of(visit, principal) if principal else (),
            "lost": await _lost(visit, blade, principal) if principal else {},
            "back": f"/portal/resource/identity{blade.id}",
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


async def _lost(visit: Visit, blade: Blade, principal: str) -> dict[str, int]:
    """What goes when the identity is turned off."""
    store = visit.desk.store
    return {
        "role assignments": await store.count(ROLE_ASSIGNMENTS, where={"principal_id": principal}, limit=_MOST),
        "certificates": await store.count(CREDENTIALS, where={"principal_id": principal}, limit=_MOST),
        "bindings": await store.count(BINDINGS, where={"host_key": blade.id.key}, limit=_MOST),
    }


async def _save_system(visit: Visit) -> Page:
    blade = await blade_of(visit, "identity")
    state, back = _State.of(blade), f"/portal/resource/identity{blade.id}"
    wanted = visit.form("status")
    if wanted not in {"on", "off"} or (wanted == "on") is state.system:
        return Redirect(to=back, said=f"Nothing to save: the status is {'On' if state.system else 'Off'} already.")
    kind = _type(system=wanted == "on", users=bool(state.users))
    try:
        await _save(visit, blade, {"type": kind.value})
    except Failure as failure:
        return await _system_page(visit, blade, failure)
    done = (
        "is on. Give it roles where it is to be used."
        if wanted == "on"
        else "is off. Its roles, certificates and tokens are gone."
    )
    return Redirect(to=back, said=f"The system assigned managed identity {done}")


# User assigned ------------------------------------------------------------------------------------------------------


async def _users(visit: Visit) -> Page:
    return await _users_page(visit, await blade_of(visit, "identity"))


async def _users_page(visit: Visit, blade: Blade, problem: Failure | None = None) -> Page:
    state = _State.of(blade)
    rows = [
        {
            "assigned": one,
            "group": ResourceId(one.id.segments[:4]),
            "there": await visit.desk.store.get(RESOURCES, one.id.key) is not None if await may_see(visit, one.id) else None,
        }
        for one in state.users
    ]
    write = f"{blade.resource.type}/write"
    return Html(
        template="resource-user-assigned.html",
        values={
            "title": f"{blade.line.name}: user-assigned identities",
            "blade": blade,
            "parts": _parts(blade, "user", len(state.users)),
            "rows": rows,
            "write": await offer(visit, write, blade.id),
            "add": await offer(visit, write, blade.id, why=state.against_users),
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


async def _remove_user(visit: Visit) -> Page:
    blade = await blade_of(visit, "identity")
    state = _State.of(blade)
    try:
        gone = ResourceId.parse(visit.form("identity"))
        kind = _type(system=state.system, users=any(one.id != gone for one in state.users))
        body: dict[str, object] = {"type": kind.value}
        if kind.has_user:
            body["userAssignedIdentities"] = {str(gone): None}
        await _save(visit, blade, body)
    except Failure as failure:
        return await _users_page(visit, blade, failure)
    return Redirect(to=f"/portal/resource/user-assigned{blade.id}", said=f"{gone.name} is removed from {blade.id.name}.")


# The picker ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """An identity that may be picked, or why not."""

    line: Line
    assign: Offer
    assigned: bool


async def _picker(visit: Visit) -> Page:
    return await _picker_page(visit, await blade_of(visit, "identity"))


async def _picker_page(visit: Visit, blade: Blade, problem: Failure | None = None) -> Page:
    state, text = _State.of(blade), visit.query("q").lower()
    where = {**narrowed(visit), "type": IDENTITY.lower()}
    question = Question(
        store=visit.desk.store,
        parts=await parts_of(visit, where),
        order=sort_of(visit, _COLUMNS, "name"),
        containing=("name", text) if text else None,
    )
    page = await question.page(RESOURCES, visit.query("after") or None, lambda it: visible(visit, it))
    assigned = {one.id.key for one in state.users}
    choices = [
        _Choice(line=Line(one.value), assign=await offer(visit, ASSIGN, one.value.id), assigned=one.value.id.key in assigned)
        for one in page.items
    ]
    return Html(
        template="identity-picker.html",
        values={
            "title": f"Add user-assigned identities to {blade.line.name}",
            "blade": blade,
            "choices": choices,
            "after": page.after,
            "add": await offer(visit, f"{blade.resource.type}/write", blade.id, why=state.against_users),
            "one_only": state.most == 1,
            "narrowed": bool(text or len(where) > 1),
            **await scope_filters(visit),
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


async def _add_users(visit: Visit) -> Page:
    blade = await blade_of(visit, "identity")
    state, picked = _State.of(blade), visit.forms("identity")
    try:
        if not picked:
            raise Failure(FailureKind.INVALID_PARAMETER, "no identity is selected", parameter="identity")
        body: dict[str, object] = {
            "type": _type(system=state.system, users=True).value,
            "userAssignedIdentities": {one: {} for one in picked},
        }
        await _save(visit, blade, body)
    except Failure as failure:
        return await _picker_page(visit, blade, failure)
    count = len(picked)
    said = f"{count} user-assigned {'identity is' if count == 1 else 'identities are'} added to {blade.id.name}."
    return Redirect(to=f"/portal/resource/user-assigned{blade.id}", said=said)


async def _save(visit: Visit, blade: Blade, identity: JsonObject) -> None:
    """Change the identity, unless somebody else has changed the resource since it was read: what is asked for rests on what it bears."""
    version = version_of(blade.resource.type)
    await visit.desk.write("PATCH", str(blade.id), {"identity": identity}, version=version, if_match=blade.etag)


def _parts(blade: Blade, shown: str, users: int) -> list[tuple[str, str, bool]]:
    return [
        ("System assigned", f"/portal/resource/identity{blade.id}", shown == "system"),
        (f"User assigned ({users})", f"/portal/resource/user-assigned{blade.id}", shown == "user"),
    ]


ROUTES: Final = (
    Route(method="GET", pattern="/portal/resource/identity/{id:path}", handler=_system),
    Route(method="POST", pattern="/portal/resource/identity/{id:path}", handler=_save_system),
    Route(method="GET", pattern="/portal/resource/user-assigned/{id:path}", handler=_users),
    Route(method="GET", pattern="/portal/resource/user-assigned/add/{id:path}", handler=_picker),
    Route(method="POST", pattern="/portal/resource/user-assigned/add/{id:path}", handler=_add_users),
    Route(method="POST", pattern="/portal/resource/user-assigned/remove/{id:path}", handler=_remove_user),
)
