"""Who may do what through Graph: one table.

A caller may read or change an area by an application role of Microsoft Graph in its token, or as an administrator of the
directory: whoever may assign roles at the tenant's root (Owner and User Access Administrator there). Everyone may read itself.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from idplane.model.calls import Caller
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT
from idplane.rbac import AccessControl

__all__ = ["Area", "administers", "forbidden", "is_administrator", "may"]

_ADMINISTRATION: Final = "Microsoft.Authorization/roleAssignments/write"


class Area(enum.Enum):
    """What permissions are about."""

    APPLICATIONS = "applications"
    """Applications and service principals, with their credentials."""
    APP_ROLE_ASSIGNMENTS = "appRoleAssignments"
    USERS = "users"
    GROUPS = "groups"
    MEMBERS = "members"
    """Of groups."""
    DIRECTORY = "directory"
    """Objects whatever their type."""
    SIGN_INS = "signIns"
    DIRECTORY_AUDITS = "directoryAudits"
    SELF = "self"
    """The caller's own object, which everyone may read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Roles:
    read: frozenset[str]
    write: frozenset[str] = frozenset()


def _roles(read: str, write: str = "") -> _Roles:
    changing = frozenset(write.split())
    return _Roles(read=frozenset(read.split()) | changing, write=changing)


_DIRECTORY_READERS: Final = "Directory.Read.All Directory.ReadWrite.All"
_TABLE: Final[Mapping[Area, _Roles]] = {
    Area.APPLICATIONS: _roles(f"Application.Read.All {_DIRECTORY_READERS}", "Application.ReadWrite.All"),
    Area.APP_ROLE_ASSIGNMENTS: _roles(
        f"Application.Read.All Application.ReadWrite.All {_DIRECTORY_READERS}", "AppRoleAssignment.ReadWrite.All"
    ),
    Area.USERS: _roles(f"User.Read.All {_DIRECTORY_READERS}", "User.ReadWrite.All Directory.ReadWrite.All"),
    Area.GROUPS: _roles(
        f"Group.Read.All GroupMember.Read.All GroupMember.ReadWrite.All {_DIRECTORY_READERS}",
        "Group.ReadWrite.All Directory.ReadWrite.All",
    ),
    Area.MEMBERS: _roles(
        f"Group.Read.All GroupMember.Read.All {_DIRECTORY_READERS}",
        "GroupMember.ReadWrite.All Group.ReadWrite.All Directory.ReadWrite.All",
    ),
    Area.DIRECTORY: _roles(_DIRECTORY_READERS),
    Area.SIGN_INS: _roles("AuditLog.Read.All Directory.Read.All"),
    Area.DIRECTORY_AUDITS: _roles("AuditLog.Read.All Directory.Read.All"),
    Area.SELF: _roles(""),
}


async def is_administrator(caller: Caller, access: AccessControl) -> bool:
    """Whether the caller may assign roles at the root of its tenant."""
    return await administers(access, *caller.principal_ids)


async def administers(access: AccessControl, *principal_ids: str) -> bool:
    """Whether any of these principals may assign roles at the root of its tenant."""
    return (await access.check(frozenset(principal_ids), _ADMINISTRATION, ROOT)).allowed


async def may(caller: Caller, access: AccessControl, area: Area, *, writes: bool) -> bool:
    """Whether the caller may read or change everything in an area."""
    if area is Area.SELF and not writes:
        return True
    row = _TABLE[area]
    allowing = row.write if writes else row.read
    return not allowing.isdisjoint(caller.roles) or await is_administrator(caller, access)


def forbidden(area: Area, *, writes: bool) -> Failure:
    """The refusal, which names what would have been enough."""
    row = _TABLE[area]
    enough = ", ".join(sorted(row.write if writes else row.read))
    return Failure(
        FailureKind.FORBIDDEN, f"the token holds none of the application roles that allow it: {enough}", roles=enough
    )
