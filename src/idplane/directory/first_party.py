"""Azure's own applications in a tenant: service principals that people look up by their well-known client ids to grant roles of them.

They have no application object here and no credential: nobody can sign in as one. Microsoft Graph offers the application roles that
this plane honours, and common others that programs of the outside are granted, under their real ids.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from idplane.directory.audiences import AUDIENCE_URIS, GRAPH, WELL_KNOWN
from idplane.model.directory import AppRole, Principal, PrincipalType
from idplane.ports.collections import PRINCIPALS
from idplane.ports.store import ABSENT, Batch, CommitRefused, Put, Store
from idplane.ports.world import Entropy

__all__ = ["FIRST_PARTY", "GRAPH_ROLES", "OWNER_TENANT", "ensure_first_party", "first_party_roles"]

OWNER_TENANT: Final = "f8cdef31-a31e-4b4a-93e4-5f571e91255a"
"""The tenant that Azure's own applications are registered in."""
FIRST_PARTY: Final = frozenset(it.application.client_id for it in WELL_KNOWN)
"""Their client ids."""

_GRAPH_TABLE: Final = """
9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30 Application.Read.All               Read all applications
1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9 Application.ReadWrite.All          Read and write all applications
18a4783c-866b-4cc7-a460-3d5e5662c884 Application.ReadWrite.OwnedBy      Manage apps that this app creates or owns
06b708a9-e830-4db3-a914-8e69da51d44f AppRoleAssignment.ReadWrite.All    Manage app permission grants and app role assignments
b0afded3-3588-46d8-8b3d-9842eff778da AuditLog.Read.All                  Read all audit log data
7ab1d382-f21e-4acd-a863-ba3e13f7da61 Directory.Read.All                 Read directory data
19dbc75e-c2e2-444c-a770-ec69d8559fc7 Directory.ReadWrite.All            Read and write directory data
5b567255-7703-4780-807c-7be8301ae99b Group.Read.All                     Read all groups
62a82d76-70ea-41e2-9197-370581804d09 Group.ReadWrite.All                Read and write all groups
98830695-27a2-44f7-8c18-0c3ebc9698f6 GroupMember.Read.All               Read all group memberships
dbaae8cf-10b5-4b86-a4a1-f871c94c6695 GroupMember.ReadWrite.All          Read and write all group memberships
df021288-bdef-4463-88db-98f22de89214 User.Read.All                      Read all users' full profiles
741f803b-c850-494e-b5df-cde7c675a1ca User.ReadWrite.All                 Read and write all users' full profiles
8e8e4742-1d95-4f68-9d56-6ee75648c72a DelegatedPermissionGrant.ReadWrite.All Manage all delegated permission grants
498476ce-e0fe-48b0-b801-37ba7e2685c6 Organization.Read.All              Read organization information
246dd0d5-5bd0-4def-940b-0421030a5b68 Policy.Read.All                    Read your organization's policies
483bed4a-2ad3-4361-a73b-c83ccdbdc53c RoleManagement.Read.Directory      Read all directory RBAC settings
9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8 RoleManagement.ReadWrite.Directory Read and write all directory RBAC settings
230c1aed-a721-4c5d-9cb4-a90514e508ef Reports.Read.All                   Read all usage reports
810c84a8-4a9e-49e6-bf7d-12d183f40d01 Mail.Read                          Read mail in all mailboxes
e2a3a72e-5f79-4c64-b1b1-878b674786c9 Mail.ReadWrite                     Read and write mail in all mailboxes
b633e1c5-b582-4048-a93e-9f11b44c7e96 Mail.Send                          Send mail as any user
798ee544-9d2d-430c-a058-570e29e34338 Calendars.Read                     Read calendars in all mailboxes
01d4889c-1287-42c6-ac1f-5d1e02578ef6 Files.Read.All                     Read files in all site collections
75359482-378d-4052-8f01-80520e7db3cd Files.ReadWrite.All                Read and write files in all site collections
332a536c-c7ef-4017-ab91-336970924f0d Sites.Read.All                     Read items in all site collections
9492366f-7969-46a4-8d15-ed1a20078fff Sites.ReadWrite.All                Read and write items in all site collections
883ea226-0bf2-4a8f-9f9d-92c9162a727d Sites.Selected                     Access selected site collections
"""


def _role(line: str) -> AppRole:
    identifier, value, words = line.split(maxsplit=2)
    return AppRole(id=identifier, value=value, display_name=words, description=words)


GRAPH_ROLES: Final = tuple(_role(line) for line in _GRAPH_TABLE.strip().splitlines())
"""The application roles of Microsoft Graph that can be granted."""


def first_party_roles(client_id: str) -> tuple[AppRole, ...] | None:
    """The roles that one of Azure's own applications offers; None for an application of a tenant."""
    if client_id not in FIRST_PARTY:
        return None
    return GRAPH_ROLES if client_id == GRAPH.client_id else ()


async def ensure_first_party(store: Store, *, tenant_id: str, entropy: Entropy, now: datetime) -> None:
    """Make the service principals that a tenant lacks; another replica may be doing the same."""
    lacking = []
    for known in WELL_KNOWN:
        where = {"tenant_id": tenant_id, "client_id": known.application.client_id}
        if not (await store.page(PRINCIPALS, where=where, limit=1)).items:
            lacking.append(known.application)
    if not lacking:
        return
    made = (
        Principal(
            id=entropy.guid(),
            tenant_id=tenant_id,
            client_id=one.client_id,
            display_name=one.display_name,
            type=PrincipalType.APPLICATION,
            created_at=now,
            names=AUDIENCE_URIS[one.client_id],
        )
        for one in lacking
    )
    try:
        await store.commit(Batch.of(*(Put(collection=PRINCIPALS, value=one, expect=ABSENT) for one in made)))
    except CommitRefused:
        await ensure_first_party(store, tenant_id=tenant_id, entropy=entropy, now=now)
