"""Management locks: what keeps a scope, and all that lies in it, from being deleted or changed by whoever has the right to."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from idplane.model.ids import ResourceId

__all__ = ["Lock", "LockLevel", "LockMark"]


class LockLevel(enum.StrEnum):
    """What a lock forbids, in the wire's words."""

    CAN_NOT_DELETE = "CanNotDelete"
    READ_ONLY = "ReadOnly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock on a subscription, a resource group, a resource or a child of one."""

    id: ResourceId
    """The lock's own; it is an extension of what it locks."""
    level: LockLevel
    created_at: datetime
    changed_at: datetime
    notes: str | None = None
    owners: tuple[str, ...] = ()
    """Application ids. They say who is to be asked; the right to remove a lock comes from roles."""
    created_by: str = ""
    created_by_type: str = "Application"
    changed_by: str = ""
    changed_by_type: str = "Application"
    anchor: str | None = None
    """Id key of the stored resource that is locked, or that the locked scope lies in; None for subscriptions."""

    @property
    def scope_key(self) -> str:
        """What is locked."""
        return self.id.scope.key


@dataclass(frozen=True, slots=True, kw_only=True)
class LockMark:
    """Written with every change of a subscription's locks or state, so that its version tells whether either has changed."""

    subscription_id: str
