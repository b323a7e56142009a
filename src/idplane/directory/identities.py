"""Service principals of managed identities: how they are named, made and removed (control-plane.md sections 8 and 11).

A system-assigned identity lives and dies with its host resource; a user-assigned one is a resource of its own. Neither has an
application object, a password or a certificate that anyone ever sees.
"""

from __future__ import annotations

import base64
from datetime import datetime

from idplane.directory.app_roles import app_role_removals
from idplane.directory.people import leaving, sign_out
from idplane.directory.revocation import bound, revoke_host, revoke_principal, revoke_tenant
from idplane.model.directory import Principal, PrincipalType
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.ports.collections import CREDENTIALS, FEDERATED_CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS, ROLE_ASSIGNMENTS
from idplane.ports.store import Batch, Delete, Reads
from idplane.ports.world import Entropy

__all__ = [
    "bound",
    "display_name",
    "new_system_identity",
    "new_user_assigned",
    "removal_of",
    "revoke_host",
    "revoke_principal",
    "revoke_tenant",
]

_IDENTITY_URI = "https://identity.azure.net/"
_IDENTITY_URI_BYTES = 32


def display_name(host: ResourceId) -> str:
    """What a system-assigned identity is called: like its resource, a slot's like `<app>/slots/<slot>` (control-plane.md section 8)."""
    if host.type.lower() == "microsoft.web/sites/slots":
        app, slot = host.segments[-3], host.segments[-1]
        return f"{app}/slots/{slot}"
    return host.name


def new_system_identity(host: Resource, *, tenant_id: str, entropy: Entropy, now: datetime) -> Principal:
    """The service principal of `host`'s system-assigned identity.

    Every call makes another principal id and client id: an identity that is enabled again is a new one (design section 6).
    """
    return _managed_identity(
        host.id, name=display_name(host.id), system_assigned=True, tenant_id=tenant_id, entropy=entropy, now=now
    )


def new_user_assigned(resource_id: ResourceId, *, tenant_id: str, entropy: Entropy, now: datetime) -> Principal:
    """The service principal of the user-assigned identity with that resource id."""
    return _managed_identity(
        resource_id, name=resource_id.name, system_assigned=False, tenant_id=tenant_id, entropy=entropy, now=now
    )


def _managed_identity(
    resource_id: ResourceId, *, name: str, system_assigned: bool, tenant_id: str, entropy: Entropy, now: datetime
) -> Principal:
    client_id = entropy.guid()
    return Principal(
        id=entropy.guid(),
        tenant_id=tenant_id,
        client_id=client_id,
        display_name=name,
        type=PrincipalType.MANAGED_IDENTITY,
        created_at=now,
        resource_id=str(resource_id),
        system_assigned=system_assigned,
        names=(client_id, _IDENTITY_URI + base64.b64encode(entropy.bytes(_IDENTITY_URI_BYTES)).decode()),
        alternative_names=(f"isExplicit={not system_assigned}", str(resource_id)),
    )


async def removal_of(store: Reads, principal_id: str, /) -> Batch:
    """The operations that remove a principal with all that hangs on it: credentials, roles of every kind, identities, memberships, sessions.

    Children come first and every record is named at the version that was read, so the batch applies to exactly what was seen: if
    a certificate or an assignment is added meanwhile, the commit is refused (`VERSION` or `REFERENCE`) and the caller reads again.
    Nothing is left to dangle, unlike in Azure (design section 6). Empty when there is no such principal.
    """
    principal = await store.get(PRINCIPALS, principal_id)
    if principal is None:
        return Batch()
    mine = {"principal_id": principal_id}
    credentials = await store.all(CREDENTIALS, where=mine)
    federated = await store.all(FEDERATED_CREDENTIALS, where=mine)
    roles = await store.all(ROLE_ASSIGNMENTS, where=mine)
    hosts = await store.all(IDENTITY_ASSIGNMENTS, where=mine)
    signed_in = await sign_out(store, principal_id) if principal.value.type is PrincipalType.USER else Batch()
    memberships = await leaving(store, principal_id)
    own = await app_role_removals(store, principal.value) + Batch.of(
        *(Delete(collection=CREDENTIALS, key=it.value.id, expect=it.version, subject=principal_id) for it in credentials),
        *(
            Delete(collection=FEDERATED_CREDENTIALS, key=it.value.key, expect=it.version, subject=principal_id)
            for it in federated
        ),
        *(Delete(collection=ROLE_ASSIGNMENTS, key=it.value.id, expect=it.version, subject=principal_id) for it in roles),
        *(
            Delete(collection=IDENTITY_ASSIGNMENTS, key=it.value.key, expect=it.version, subject=it.value.host.key)
            for it in hosts
        ),
        Delete(collection=PRINCIPALS, key=principal_id, expect=principal.version, subject=principal_id),
    )
    return signed_in + memberships + own
