"""Roles and refusals in a test's hands: short ways to write role assignments, deny assignments and role definitions."""

from __future__ import annotations

from typing import Any

from tests.unit.providers.surface_plane import ROLES, SUB, Plane, Reply

__all__ = [
    "DENY",
    "EVERYONE",
    "GRANT",
    "ROLE",
    "delegate",
    "deny",
    "deny_url",
    "denying",
    "grant",
    "granting",
    "guid",
    "refused",
    "role_url",
    "url",
]

GRANT, ROLE, DENY = "2022-04-01", "2022-04-01", "2024-07-01-preview"
EVERYONE = "00000000-0000-0000-0000-000000000000"


def guid(number: int) -> str:
    return f"aa000000-0000-4000-8000-{number:012x}"


def url(scope: str, number: int) -> str:
    return f"{scope}/providers/Microsoft.Authorization/roleAssignments/{guid(number)}"


def deny_url(scope: str, number: int) -> str:
    return f"{scope}/providers/Microsoft.Authorization/denyAssignments/{guid(number)}"


def role_url(scope: str, number: int) -> str:
    return f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{guid(number)}"


def granting(principal: str, role: str = "Reader", **properties: object) -> dict[str, Any]:
    role_id = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{ROLES.get(role, role)}"
    return {"properties": {"roleDefinitionId": role_id, "principalId": principal, **properties}}


def denying(*actions: str, whom: str = EVERYONE, but: tuple[str, ...] = (), **properties: object) -> dict[str, Any]:
    kind = "SystemDefined" if whom == EVERYONE else "ServicePrincipal"
    return {
        "properties": {
            "denyAssignmentName": "no",
            "permissions": [{"actions": list(actions)}],
            "principals": [{"id": whom, "type": kind}],
            "excludePrincipals": [{"id": one, "type": "ServicePrincipal"} for one in but],
            **properties,
        }
    }


async def grant(
    plane: Plane, principal: str, role: str, scope: str, number: int, *, by: str = "owner", **properties: object
) -> Reply:
    body = granting(plane.people.get(principal, principal), role, **properties)
    return await plane.call("PUT", url(scope, number), body, by=by, version=GRANT)


async def deny(plane: Plane, body: object, scope: str, number: int = 0xD1, *, by: str = "owner") -> Reply:
    return await plane.call("PUT", deny_url(scope, number), body, by=by, version=DENY)


def delegate(*roles: str, kinds: tuple[str, ...] = ("ServicePrincipal",)) -> str:
    """The condition of one who may give and take some roles, and only to some kinds of principals."""
    ids, words = ", ".join(ROLES[role] for role in roles), ", ".join(f"'{kind}'" for kind in kinds)
    clauses = []
    for verb, source in (("write", "Request"), ("delete", "Resource")):
        name = f"@{source}[Microsoft.Authorization/roleAssignments"
        clauses.append(
            f"((!(ActionMatches{{'Microsoft.Authorization/roleAssignments/{verb}'}})) OR "
            f"({name}:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {{{ids}}} AND "
            f"{name}:PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {{{words}}}))"
        )
    return " AND ".join(clauses)


async def refused(plane: Plane, reply: Reply, status: int, code: str) -> None:
    """The answer is this refusal, and the last event in the activity log says so."""
    assert (reply.status, reply.code) == (status, code), reply.body
    events = await plane.events()
    assert (events[-1].status.value, events[-1].sub_status) == ("Failed", code)
