"""Resources as Resource Manager keeps them, and the identity block that some of them bear."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["GENERATION_BYTES", "AssignedIdentity", "Identity", "IdentityAssignment", "IdentityType", "Resource"]


GENERATION_BYTES = 12
"""Length of `IdentityAssignment.generation`."""


class IdentityType(enum.StrEnum):
    """The identity types, in the exact spelling that clients need back (control-plane.md section 1 point 6)."""

    NONE = "None"
    SYSTEM = "SystemAssigned"
    USER = "UserAssigned"
    BOTH = "SystemAssigned, UserAssigned"

    @property
    def has_system(self) -> bool:
        """Whether a system-assigned identity is part of it."""
        return self in (IdentityType.SYSTEM, IdentityType.BOTH)

    @property
    def has_user(self) -> bool:
        """Whether user-assigned identities are part of it."""
        return self in (IdentityType.USER, IdentityType.BOTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedIdentity:
    """A user-assigned identity as listed on a host resource, under the id that the caller wrote."""

    id: ResourceId
    principal_id: str
    client_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The `identity` block of a host resource. At most one system-assigned identity."""

    type: IdentityType
    tenant_id: str
    principal_id: str | None = None
    """Of the system-assigned identity."""
    client_id: str | None = None
    """Of the system-assigned identity; Azure does not show it in the block."""
    user_assigned: tuple[AssignedIdentity, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One ARM resource of any stored type, resource groups included."""

    id: ResourceId
    type: str
    """With the declared type's casing."""
    created_at: datetime
    changed_at: datetime
    location: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    identity: Identity | None = None
    properties: JsonObject = field(default_factory=dict)
    envelope: JsonObject = field(default_factory=dict)
    """Further top-level members that clients send and expect back: sku, kind, zones, plan, managedBy, ..."""
    created_by: str = ""
    created_by_type: str = "Application"
    changed_by: str = ""
    changed_by_type: str = "Application"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityAssignment:
    """A host resource may use an identity: the fact that entitles its agent to certificates and tokens.

    One row for the system-assigned identity and one for each user-assigned one. Removing the row in the same transaction as the
    host's change is what ends the entitlement.
    """

    host: ResourceId
    principal_id: str
    client_id: str
    identity: ResourceId | None
    """The user-assigned identity's id; None for system-assigned."""
    generation: str = ""
    """Hex of random bytes (`GENERATION_BYTES`), new for each assignment: tokens carry it, so that those issued under an earlier
    assignment of the same identity to the same host stay dead."""
    stopped: str = ""
    """Why the host gets no certificates for the identity, for whoever asks; empty while it does."""

    @property
    def key(self) -> str:
        """Unique: one row for each host and identity."""
        return identity_assignment_key(self.host.key, self.principal_id)


def identity_assignment_key(host_key: str, principal_id: str) -> str:
    """The key of an `IdentityAssignment`."""
    return f"{host_key}|{principal_id}"
