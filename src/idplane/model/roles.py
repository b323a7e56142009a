"""Role definitions, role assignments, deny assignments and the decision that they lead to (control-plane.md section 9)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from idplane.model.attributes import NO_ATTRIBUTES, Attributes

__all__ = [
    "AccessCall",
    "Decision",
    "DenyAssignment",
    "Permission",
    "Reason",
    "RoleAssignment",
    "RoleDefinition",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """One permission block: action patterns with `*`, compared without case."""

    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()
    condition: str | None = None
    """Of what somebody holds: the condition of the assignment that gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleDefinition:
    """A role. `id` is the GUID in lower case; built-ins are assignable anywhere and cannot be changed."""

    id: str
    tenant_id: str | None
    """None for built-in roles."""
    name: str
    description: str
    built_in: bool
    permissions: tuple[Permission, ...]
    assignable_scopes: tuple[str, ...]
    created_at: datetime | None = None
    changed_at: datetime | None = None
    created_by: str = ""
    changed_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleAssignment:
    """A role given to a principal at a scope. `id` is the GUID in lower case, unique in the tenant."""

    id: str
    tenant_id: str
    scope: str
    """As written; compared by `scope_key`."""
    role_id: str
    """The role definition's GUID, lower case."""
    principal_id: str
    principal_type: str
    created_at: datetime
    changed_at: datetime
    created_by: str = ""
    changed_by: str = ""
    description: str | None = None
    condition: str | None = None
    condition_version: str | None = None
    delegated_identity: str | None = None
    anchor: str | None = None
    """Id key of the stored resource that the scope is or lies in; None for the tenant and subscriptions."""

    @property
    def scope_key(self) -> str:
        """The scope's resource id key."""
        return self.scope.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class DenyAssignment:
    """A refusal that wins over every role. `everyone` stands for all principals except the excluded ones."""

    id: str
    tenant_id: str
    name: str
    scope: str
    permissions: tuple[Permission, ...]
    principals: tuple[str, ...]
    """Object ids; the all-zero GUID is everyone."""
    exclude_principals: tuple[str, ...] = ()
    do_not_apply_to_child_scopes: bool = False
    system_protected: bool = False
    description: str = ""
    created_at: datetime | None = None
    changed_at: datetime | None = None
    created_by: str = ""
    changed_by: str = ""
    anchor: str | None = None
    """Id key of the stored resource that the scope is or lies in, as for role assignments."""

    @property
    def scope_key(self) -> str:
        """The scope's resource id key."""
        return self.scope.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessCall:
    """May these principals do this here? `scopes` are id keys from the target up to the tenant (`/`)."""

    principal_ids: frozenset[str]
    action: str
    data: bool
    scopes: tuple[str, ...]
    tenant_id: str | None = None
    """The tenant that the target lies in, where it is known; assignments of other tenants then count for nothing."""
    attributes: Attributes = NO_ATTRIBUTES
    """What conditions may look at."""
    at: datetime | None = None
    """When it is asked, for conditions that look at the time; to them an unknown time is an absent attribute."""


class Reason(enum.StrEnum):
    """What decided."""

    GRANTED = "granted"
    DENY_ASSIGNMENT = "deny-assignment"
    NO_ASSIGNMENT = "no-assignment"
    """No role is assigned to the caller at or above the target."""
    NOT_IN_ROLES = "not-in-roles"
    """Roles are assigned, none of them holds the action."""
    CONDITION = "condition"
    """Roles that hold the action are assigned, each under a condition that the call does not meet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer with what decided it: the granting assignment, the denying one, or the absence."""

    allowed: bool
    reason: Reason
    because: str | None = None
    """Id of the role assignment or deny assignment that decided; of an unmet condition, the nearest assignment that has one."""
    considered: tuple[str, ...] = ()
    """Ids of the caller's role assignments at or above the target that did not grant the action."""
