"""Moving and deleting a resource, with what follows said before it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from idplane.arm.locks import locks_along, locks_below
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.ports.collections import (
    AGENTS,
    BINDINGS,
    CREDENTIALS,
    DENY_ASSIGNMENTS,
    FEDERATED_CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    SECRETS,
)
from idplane.ports.store import Collection
from idplane.providers.moves import UNMOVABLE
from idplane.web.portal.blade import Blade, blade_of
from idplane.web.portal.offers import offer
from idplane.web.portal.resources import Line
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import groups_of, may_see
from idplane.web.portal.types import IDENTITY, declared, version_of
from idplane.web.portal.view import Html, Page, Redirect, Visit

__all__ = ["ROUTES"]

_MOVE_VERSION: Final = "2021-04-01"
_GROUP_WRITE: Final = "Microsoft.Resources/subscriptions/resourceGroups/write"
_MOVE_ACTION: Final = "Microsoft.Resources/subscriptions/resourceGroups/moveResources/action"
_MOST: Final = 1000
_NAMED: Final = 50
_Words: TypeAlias = tuple[str, str]


# What goes along ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tree:
    """A resource with everything below it, as far as there is room to say so."""

    resources: tuple[Resource, ...]
    names: tuple[Line, ...]
    """Those that the person may see, without the resource itself."""
    unseen: int
    identities: int
    counts: Mapping[_Words, int]
    """How many of what: one of it, and several."""
    locks: tuple[str, ...]

    @property
    def said(self) -> list[str]:
        """What goes, in words."""
        return [
            f"{count}{' or more' if count >= _MOST else ''} {one if count == 1 else many}"
            for (one, many), count in self.counts.items()
            if count
        ]


async def _tree(visit: Visit, blade: Blade) -> _Tree:
    store, key = visit.desk.store, blade.id.key
    page = await store.page(RESOURCES, under=("path", key), limit=_MOST)
    found = tuple(one.value for one in page.items)
    below = [one for one in found if one.id != blade.id]
    seen = [one for one in below[:_NAMED] if await may_see(visit, one.id)]
    principals = [one for one in map(_own_principal, found) if one is not None]
    counts = {
        ("role assignment at it or below", "role assignments at it or below"): await store.count(
            ROLE_ASSIGNMENTS, where=None, under=("scope_key", key), limit=_MOST
        ),
        ("deny assignment", "deny assignments"): await store.count(DENY_ASSIGNMENTS, under=("scope_key", key), limit=_MOST),
        ("workload binding", "workload bindings"): await store.count(BINDINGS, under=("host_key", key), limit=_MOST),
        ("agent on a host", "agents on hosts"): await store.count(AGENTS, under=("host_key", key), limit=_MOST),
        ("secret of a vault", "secrets of vaults"): await store.count(SECRETS, under=("vault_key", key), limit=_MOST),
    }
    counts |= await _of_principals(visit, principals[:_NAMED])
    used = await store.count(IDENTITY_ASSIGNMENTS, where={"identity_key": key}, limit=_MOST)
    counts["resource that loses this identity", "resources that lose this identity"] = used
    locks = [*await locks_along(store, blade.id), *await locks_below(store, blade.id)]
    return _Tree(
        resources=found,
        names=tuple(Line(one) for one in seen),
        unseen=len(below) - len(seen),
        identities=len(principals),
        counts=counts,
        locks=tuple(dict.fromkeys(f"{one.id.name} ({one.level.value})" for one in locks)),
    )


def _own_principal(resource: Resource) -> str | None:
    """The principal of the identity that goes with a resource, if one does."""
    if resource.type == IDENTITY:
        return str(resource.properties["principalId"])
    return resource.identity.principal_id if resource.identity is not None and resource.identity.type.has_system else None


async def _of_principals(visit: Visit, principals: list[str]) -> dict[_Words, int]:
    counts = dict.fromkeys(_HELD, 0)
    for principal in principals:
        for words, collection in _HELD.items():
            counts[words] += await visit.desk.store.count(collection, where={"principal_id": principal}, limit=_MOST)
    return counts


_HELD: Final[Mapping[_Words, Collection[Any]]] = {
    ("role that the identities hold", "roles that the identities hold"): ROLE_ASSIGNMENTS,
    ("certificate or other credential", "certificates and other credentials"): CREDENTIALS,
    ("federated credential", "federated credentials"): FEDERATED_CREDENTIALS,
}


# Deleting -----------------------------------------------------------------------------------------------------------


async def _deletion(visit: Visit) -> Page:
    return await _deletion_page(visit, await blade_of(visit, ""))


async def _deletion_page(visit: Visit, blade: Blade, problem: Failure | None = None) -> Page:
    tree = await _tree(visit, blade)
    why = f"A lock keeps it: {', '.join(tree.locks)}." if tree.locks else ""
    known = declared(blade.resource.type)
    action = known.permission("delete") if known else f"{blade.resource.type}/delete"
    return Html(
        template="resource-delete.html",
        values={
            "title": f"Delete {blade.line.name}",
            "blade": blade,
            "tree": tree,
            "delete": await offer(visit, action, blade.id, why=why),
            "typed": visit.form("name"),
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


async def _delete(visit: Visit) -> Page:
    blade = await blade_of(visit, "")
    try:
        if visit.form("name").lower() != blade.id.name.lower():
            raise Failure(FailureKind.INVALID_PARAMETER, f"write '{blade.id.name}' to confirm that it goes", parameter="name")
        await visit.desk.write("DELETE", str(blade.id), version=version_of(blade.resource.type))
    except Failure as failure:
        return await _deletion_page(visit, blade, failure)
    group = blade.line.group
    to = "/portal/identities" if blade.is_identity else f"/portal/resource{group}" if group else "/portal/resources"
    if group is not None and not await may_see(visit, group):
        to = "/portal/resources"
    return Redirect(to=to, said=f"{blade.id.name} is deleted, with everything that hung on it.")


# Moving -------------------------------------------------------------------------------------------------------------


async def _moving(visit: Visit) -> Page:
    return await _moving_page(visit, await blade_of(visit, ""))


async def _moving_page(visit: Visit, blade: Blade, problem: Failure | None = None) -> Page:
    group = _group(blade)
    tree = await _tree(visit, blade)
    targets = [
        (str(one.id), one.id.name if one.id.subscription == blade.id.subscription else f"{one.id.name} (another subscription)")
        for one in await groups_of(visit)
        if one.id != group and await visit.desk.may(_GROUP_WRITE, one.id)
    ]
    return Html(
        template="resource-move.html",
        values={
            "title": f"Move {blade.line.name}",
            "blade": blade,
            "tree": tree,
            "targets": targets,
            "target": visit.form("target"),
            "move": await offer(visit, _MOVE_ACTION, group, why=_against(blade, tree)),
            "stops": _stops(visit, tree),
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


def _stops(visit: Visit, tree: _Tree) -> bool:
    """Whether a system-assigned identity would stop working in another subscription."""
    types = visit.desk.profile.stopped_by_moves
    return any(
        one.type.lower() in types and one.identity is not None and one.identity.type.has_system for one in tree.resources
    )


def _group(blade: Blade) -> ResourceId:
    group = blade.line.group
    if group is None:
        raise Failure(FailureKind.INVALID_PARAMETER, "only what lies in a resource group can be moved")
    return group


def _against(blade: Blade, tree: _Tree) -> str:
    """Why nobody can move it."""
    if blade.id.parent != _group(blade):
        return "It moves with the resource that it belongs to, and not by itself."
    if blade.resource.type.lower() in UNMOVABLE:
        return "Resources of this type can't be moved, at Azure either."
    return f"A lock keeps it: {', '.join(tree.locks)}." if tree.locks else ""


async def _move(visit: Visit) -> Page:
    blade = await blade_of(visit, "")
    group = _group(blade)
    try:
        target = ResourceId.parse(visit.form("target"))
        body = {"resources": [str(blade.id)], "targetResourceGroup": str(target)}
        await visit.desk.write("POST", f"{group}/moveResources", body, version=_MOVE_VERSION)
    except Failure as failure:
        return await _moving_page(visit, blade, failure)
    moved = ResourceId((*target.segments, *blade.id.segments[len(group.segments) :]))
    to = f"/portal/resource{moved}" if await may_see(visit, moved) else "/portal/resources"
    return Redirect(to=to, said=f"{blade.id.name} is in {target.name} now.")


ROUTES: Final = (
    Route(method="GET", pattern="/portal/resource/delete/{id:path}", handler=_deletion),
    Route(method="POST", pattern="/portal/resource/delete/{id:path}", handler=_delete),
    Route(method="GET", pattern="/portal/resource/move/{id:path}", handler=_moving),
    Route(method="POST", pattern="/portal/resource/move/{id:path}", handler=_move),
)
