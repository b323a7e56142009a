"""What would let somebody do something: the least role at the least scope, membership in a group, the end of a denial."""

from __future__ import annotations

import uuid
from typing import Final

from idplane.explain.authority import ADMINISTRATION, directory_administrators, who_may
from idplane.explain.commands import az, below, graph, management, rest
from idplane.explain.findings import Tools
from idplane.explain.inquiry import Inquiry
from idplane.explain.model import Fix
from idplane.explain.near import Near
from idplane.explain.roles import breadth, holders
from idplane.explain.sight import READ_DENIES, Sight
from idplane.model.ids import ResourceId
from idplane.model.roles import DenyAssignment, Reason, RoleAssignment, RoleDefinition
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES, ROLE_ASSIGNMENTS
from idplane.rbac import EVERYONE, Judgement, Reach, Trace

__all__ = ["grant_at", "remedies"]

_ASSIGNMENTS: Final = "2022-04-01"
_DENIES: Final = "2024-07-01-preview"
_NAMES: Final = uuid.UUID("6a1ef0d6-0f8a-5c52-8d4b-6a3f5e0c9b11")
"""The space of the names that suggested assignments have: pasted twice, a command makes one assignment."""


async def remedies(inquiry: Inquiry, trace: Trace, near: Near, sight: Sight, tools: Tools) -> tuple[Fix, ...]:
    """The changes that would help, the least first."""
    match trace.decision.reason:
        case Reason.DENY_ASSIGNMENT:
            fixes = await _without_denies(inquiry, trace, sight, tools)
        case Reason.CONDITION:
            fixes = await _without_condition(inquiry, trace, sight, tools)
        case _:
            fixes = [*await _by_group(inquiry, near, sight, tools), *await _by_role(inquiry, near, sight, tools)]
    return tuple(fixes)


# Roles ------------------------------------------------------------------------------------------------------------------


async def _by_role(inquiry: Inquiry, near: Near, sight: Sight, tools: Tools) -> list[Fix]:
    scope = await grant_at(inquiry.action, inquiry.scope, sight, tools)
    least = holders(inquiry.action, data=inquiry.data)[:1]
    roles = [*least]
    if near.role is not None and near.role.id not in {one.id for one in least}:
        roles.append(near.role)
    roles.sort(key=breadth)
    return [await _grant(inquiry, one, scope, sight, tools) for one in roles]


async def grant_at(action: str, scope: ResourceId, sight: Sight, tools: Tools) -> ResourceId:
    """The least scope at which a role can be assigned for an action: what is to be made is not there yet, its group is.

    A viewer who may not read the scope gets an answer that does not depend on what is there.
    """
    if scope.resource_group is None:
        return scope
    if await sight.reads(scope):
        for one in scope.lineage():
            if one.subscription is None or one.resource_group is None or await _is_there(one, tools):
                return one
    made = action.lower().endswith("/write")
    return next(one for one in scope.lineage() if one.namespace is None) if made else scope


async def _is_there(scope: ResourceId, tools: Tools) -> bool:
    return await tools.store.get(RESOURCES, scope.key) is not None


async def _grant(inquiry: Inquiry, role: RoleDefinition, scope: ResourceId, sight: Sight, tools: Tools) -> Fix:
    body: JsonObject = {
        "properties": {
            "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{role.id}",
            "principalId": inquiry.principal_id,
            "principalType": inquiry.principal_type,
        }
    }
    name = uuid.uuid5(_NAMES, f"{inquiry.principal_id}|{role.id}|{scope.key}")
    words = ("--assignee-object-id", inquiry.principal_id, "--assignee-principal-type", inquiry.principal_type)
    return Fix(
        text=f"Assign the role '{role.name}' to {inquiry.name} at '{scope}'",
        command=az("role", "assignment", "create", *words, "--role", role.name, "--scope", str(scope)),
        request=management("PUT", below(scope, f"Microsoft.Authorization/roleAssignments/{name}"), _ASSIGNMENTS, body),
        who_may=await who_may(sight, tools, ADMINISTRATION, scope),
    )


async def _by_group(inquiry: Inquiry, near: Near, sight: Sight, tools: Tools) -> list[Fix]:
    if near.group is None:
        return []
    group = near.group.principal_id
    member: JsonObject = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{inquiry.principal_id}"}
    return [
        Fix(
            text=f"Make {inquiry.name} a member of the group '{await sight.name(group)}'",
            command=az("ad", "group", "member", "add", "--group", group, "--member-id", inquiry.principal_id),
            request=graph("POST", f"/groups/{group}/members/$ref", member),
            who_may=await directory_administrators(sight, tools),
        )
    ]


# Conditions ---------------------------------------------------------------------------------------------------------------


async def _without_condition(inquiry: Inquiry, trace: Trace, sight: Sight, tools: Tools) -> list[Fix]:
    """The same role without the condition: at the target alone where that is less than where the assignment stands."""
    found = await tools.store.get(ROLE_ASSIGNMENTS, trace.decision.because or "")
    if found is None or not await sight.of_assignment(found.value):
        return []
    one = found.value
    role = await tools.access.definition(one.tenant_id, one.role_id)
    scope = await grant_at(inquiry.action, inquiry.scope, sight, tools)
    if role is not None and (scope.key != one.scope_key or one.principal_id != inquiry.principal_id):
        return [await _grant(inquiry, role, scope, sight, tools)]
    request = management("PUT", below(one.scope, f"Microsoft.Authorization/roleAssignments/{one.id}"), _ASSIGNMENTS, _bare(one))
    return [
        Fix(
            text=f"Take the condition off the role assignment {one.id}",
            command=rest(request),
            request=request,
            who_may=await who_may(sight, tools, ADMINISTRATION, scope),
        )
    ]


def _bare(one: RoleAssignment) -> JsonObject:
    properties = {
        "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{one.role_id}",
        "principalId": one.principal_id,
        "principalType": one.principal_type,
    }
    return {"properties": properties if one.description is None else {**properties, "description": one.description}}


# Deny assignments ---------------------------------------------------------------------------------------------------------


async def _without_denies(inquiry: Inquiry, trace: Trace, sight: Sight, tools: Tools) -> list[Fix]:
    """Each that covers it must go, and what is left must still allow it."""
    fixes = [
        await _without_deny(inquiry, one, sight, tools)
        for one, reach in trace.denies
        if reach is Reach.COVERS and not one.system_protected and await sight.of_deny(one)
    ]
    if not any(judgement is Judgement.GRANTS for _, judgement in trace.assignments):
        fixes += await _by_role(inquiry, Near(), sight, tools)
    return fixes


async def _without_deny(inquiry: Inquiry, deny: DenyAssignment, sight: Sight, tools: Tools) -> Fix:
    scope = ResourceId.parse(deny.scope)
    path = below(scope, f"Microsoft.Authorization/denyAssignments/{deny.id}")
    if EVERYONE not in deny.principals:
        text, request = f"Delete the deny assignment '{deny.name}'", management("DELETE", path, _DENIES)
    else:
        text = f"Exclude {inquiry.name} from the deny assignment '{deny.name}'"
        request = management("PUT", path, _DENIES, _excluding(deny, inquiry))
    verb = "delete" if request.method == "DELETE" else "write"
    # What else the deny assignment says is for those who may read it.
    told = await sight.may(READ_DENIES, scope)
    return Fix(
        text=text,
        command=rest(request) if told else None,
        request=request if told else None,
        who_may=await who_may(sight, tools, f"Microsoft.Authorization/denyAssignments/{verb}", scope),
    )


def _excluding(deny: DenyAssignment, inquiry: Inquiry) -> JsonObject:
    excluded = [{"id": one} for one in deny.exclude_principals]
    return {
        "properties": {
            "denyAssignmentName": deny.name,
            "description": deny.description,
            "permissions": [
                {
                    "actions": [*one.actions],
                    "notActions": [*one.not_actions],
                    "dataActions": [*one.data_actions],
                    "notDataActions": [*one.not_data_actions],
                }
                for one in deny.permissions
            ],
            "doNotApplyToChildScopes": deny.do_not_apply_to_child_scopes,
            "principals": [{"id": one, "type": "SystemDefined"} for one in deny.principals],
            "excludePrincipals": [*excluded, {"id": inquiry.principal_id, "type": inquiry.principal_type}],
        }
    }
