"""Role definitions on pages: found by name, by what they say of themselves, and by an action that they hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from idplane.explain.roles import rules_of
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.roles import RoleDefinition
from idplane.ports.collections import ROLE_DEFINITIONS
from idplane.providers.role_definitions import assignable_at
from idplane.rbac import BUILT_IN_ROLES
from idplane.web.portal.places import parsed_scope
from idplane.web.portal.view import Visit

__all__ = ["READ_ROLES", "RoleRow", "role_choices", "role_named", "roles_like"]

READ_ROLES: Final = "Microsoft.Authorization/roleDefinitions/read"

_WORDS: Final = 4


@dataclass(frozen=True, slots=True)
class RoleRow:
    """A role in words."""

    role: RoleDefinition

    @property
    def kind(self) -> str:
        """Whose it is."""
        return "Built-in role" if self.role.built_in else "Custom role"

    @property
    def page(self) -> str:
        """The page that shows what it allows."""
        return f"/portal/iam/role/{self.role.id}"

    @property
    def allows(self) -> tuple[str, ...]:
        """The first of what it allows."""
        return tuple(one for block in self.role.permissions for one in (*block.actions, *block.data_actions))[:_WORDS]

    @property
    def more(self) -> int:
        """How much else it allows."""
        return sum(len(block.actions) + len(block.data_actions) for block in self.role.permissions) - len(self.allows)

    @property
    def document(self) -> str:
        """As the command line takes it."""
        blocks = self.role.permissions
        return json.dumps(
            {
                "Name": self.role.name,
                "Description": self.role.description,
                "Actions": [one for block in blocks for one in block.actions],
                "NotActions": [one for block in blocks for one in block.not_actions],
                "DataActions": [one for block in blocks for one in block.data_actions],
                "NotDataActions": [one for block in blocks for one in block.not_data_actions],
                "AssignableScopes": [*self.role.assignable_scopes],
            },
            indent=2,
        )


async def role_named(visit: Visit, role_id: str) -> RoleDefinition:
    """A role by its id; raises `Failure(RESOURCE_NOT_FOUND)`, for custom ones also where the person may read none of their scopes' roles."""
    found = await visit.desk.access.definition(visit.desk.tenant.id, role_id)
    scopes = () if found is None or found.built_in else [parsed_scope(one) for one in found.assignable_scopes]
    seen = any([await visit.desk.may(READ_ROLES, one) for one in scopes if one is not None])
    if found is None or not (found.built_in or seen):
        raise Failure(FailureKind.RESOURCE_NOT_FOUND, "there is no such role", name=role_id[:100])
    return found


async def role_choices(visit: Visit, scope: ResourceId) -> list[tuple[str, str]]:
    """The ids and names of the roles that can be assigned at a scope, custom ones marked, in the names' order."""
    return [
        (one.id, one.name if one.built_in else f"{one.name} (custom)")
        for one in sorted(await _all(visit, scope), key=lambda it: it.name.lower())
    ]


async def roles_like(visit: Visit, scope: ResourceId, *, text: str, kind: str = "", holds: str = "") -> list[RoleRow]:
    """Roles that can be assigned at a scope, by name: those that hold a text in their name or description, and an action."""
    wanted, action = text.strip().lower(), holds.strip()
    found = [
        RoleRow(one)
        for one in await _all(visit, scope)
        if (wanted in one.name.lower() or wanted in one.description.lower())
        and (kind == "" or one.built_in == (kind == "built-in"))
        and (not action or any(rules_of(one.permissions).hold(action, data=data) for data in (False, True)))
    ]
    # What is called like it comes ahead of what only speaks of it.
    return sorted(
        found,
        key=lambda it: (not it.role.name.lower().startswith(wanted), wanted not in it.role.name.lower(), it.role.name.lower()),
    )


async def _all(visit: Visit, scope: ResourceId) -> list[RoleDefinition]:
    custom = await visit.desk.store.all(ROLE_DEFINITIONS, where={"tenant_id": visit.desk.tenant.id})
    keys = await visit.desk.access.lineage(scope)
    return [
        *BUILT_IN_ROLES.values(),
        *(one.value for one in custom if assignable_at(one.value, keys)),
    ]
