"""User-assigned identities by the thousand, written straight into the database: making them is not what a fleet is measured by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from faults.fleet.members import Member
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.directory.identities import new_user_assigned
from idplane.model.ids import ResourceId
from idplane.model.resources import AssignedIdentity, IdentityAssignment, IdentityType, Resource
from idplane.ports.collections import IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES
from idplane.ports.store import ABSENT, Batch, Put, Store
from idplane.store.postgres import PostgresStore

__all__ = ["seed"]

_TYPE = "Microsoft.ManagedIdentity/userAssignedIdentities"


async def seed(url: str, members: Sequence[Member], *, shared: int) -> None:
    """Give each member's machine so many identities more."""
    store = await PostgresStore.open(url, clock=SystemClock(), connections=2)
    try:
        for one in members:
            await _seed(store, one, shared)
    finally:
        await store.close()


async def _seed(store: Store, member: Member, shared: int) -> None:
    clock, entropy = SystemClock(), SystemEntropy()
    machine = ResourceId.parse(member.id)
    found = await store.get(RESOURCES, machine.key)
    assert found is not None
    assert found.value.identity is not None
    batch, listed = Batch(), []
    for number in range(shared):
        identifier = ResourceId.parse(f"{member.id.partition('/providers/')[0]}/providers/{_TYPE}/{machine.name}-{number}")
        now = clock.now()
        principal = new_user_assigned(identifier, tenant_id=found.value.identity.tenant_id, entropy=entropy, now=now)
        own = {"tenantId": principal.tenant_id, "principalId": principal.id, "clientId": principal.client_id}
        resource = Resource(id=identifier, type=_TYPE, created_at=now, changed_at=now, location="westeurope", properties=own)
        row = IdentityAssignment(
            host=found.value.id,
            principal_id=principal.id,
            client_id=principal.client_id,
            identity=identifier,
            generation=entropy.bytes(8).hex(),
        )
        batch += Batch.of(
            Put(collection=RESOURCES, value=resource, expect=ABSENT),
            Put(collection=PRINCIPALS, value=principal, expect=ABSENT),
            Put(collection=IDENTITY_ASSIGNMENTS, value=row, expect=ABSENT),
        )
        listed.append(AssignedIdentity(id=identifier, principal_id=principal.id, client_id=principal.client_id))
    block = replace(found.value.identity, type=IdentityType.BOTH, user_assigned=tuple(listed))
    changed = replace(found.value, identity=block)
    await store.commit(batch + Batch.of(Put(collection=RESOURCES, value=changed, expect=found.version)))
    member.shared = tuple(one.client_id for one in listed)
