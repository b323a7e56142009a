"""Who can make a change: the roles that hold its action, and of those who have one, whom the viewer may know."""

from __future__ import annotations

from typing import Final

from idplane.explain.findings import Tools
from idplane.explain.model import Fact, WhoMay
from idplane.explain.roles import holders, rules_of
from idplane.explain.sight import Sight
from idplane.model.ids import ROOT, ResourceId
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import ROLE_ASSIGNMENTS

__all__ = ["ADMINISTRATION", "assignments_at", "directory_administrators", "who_may"]

ADMINISTRATION: Final = "Microsoft.Authorization/roleAssignments/write"
_ROLES: Final = 3
_PRINCIPALS: Final = 5
_LOOKED_AT: Final = 200
"""Assignments at one scope that are gone through: there may be thousands."""


async def who_may(
    sight: Sight, tools: Tools, action: str, scope: ResourceId, *, data: bool = False, gives_access: bool = False
) -> WhoMay:
    """Who can do something at a scope. Whom the viewer may not know of is not counted either.

    `gives_access` says that the change lets somebody in, which takes the right to assign roles there as well.
    """
    known: list[str] = []
    for key in await tools.access.lineage(scope):
        for one in await assignments_at(tools, key):
            if one.principal_id not in known and await _gives(sight, tools, one, action, data=data):
                known.append(one.principal_id)
    able = [one for one in known if await _can(tools, one, action, scope, data=data)]
    roles, you = holders(action, data=data), await sight.may(action, scope, data=data)
    if gives_access:
        able = [one for one in able if await _can(tools, one, ADMINISTRATION, scope, data=False)]
        roles = tuple(one for one in roles if one in holders(ADMINISTRATION, data=False))
        you = you and await sight.may(ADMINISTRATION, scope)
    return WhoMay(
        action=action,
        scope=str(scope),
        you=you,
        roles=tuple(one.name for one in roles[:_ROLES]),
        principals=tuple([await _fact(sight, one) for one in able[:_PRINCIPALS]]),
        more=len(able[_PRINCIPALS:]),
    )


async def directory_administrators(sight: Sight, tools: Tools) -> WhoMay:
    """Who can change the directory's objects: whoever may assign roles at the tenant's root."""
    return await who_may(sight, tools, ADMINISTRATION, ROOT)


async def assignments_at(tools: Tools, scope_key: str) -> tuple[RoleAssignment, ...]:
    """The role assignments that stand at a scope, as many as are gone through."""
    page = await tools.store.page(ROLE_ASSIGNMENTS, where={"scope_key": scope_key}, limit=_LOOKED_AT)
    return tuple(one.value for one in page.items)


async def _gives(sight: Sight, tools: Tools, one: RoleAssignment, action: str, *, data: bool) -> bool:
    if not await sight.of_assignment(one):
        return False
    role = await tools.access.definition(one.tenant_id, one.role_id)
    return role is not None and rules_of(role.permissions).hold(action, data=data)


async def _can(tools: Tools, principal_id: str, action: str, scope: ResourceId, *, data: bool) -> bool:
    ids = await tools.access.principal_ids(principal_id)
    return (await tools.access.check(ids, action, scope, data=data)).allowed


async def _fact(sight: Sight, principal_id: str) -> Fact:
    return await sight.fact("principal", principal_id)
