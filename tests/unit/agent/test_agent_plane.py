"""The agent and the real server in one process: the same path as production, short of the network between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from idplane.agent.host import Selector, SelectorKind
from idplane.bootstrap.plane import Plane
from idplane.bootstrap.world import World
from idplane.directory.identities import new_system_identity, new_user_assigned, removal_of
from idplane.jose import parse
from idplane.model.directory import Principal
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.profile import OPEN
from idplane.model.resources import IdentityAssignment, Resource
from idplane.ports.collections import CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES, SIGN_INS
from idplane.ports.store import ABSENT, Batch, Delete, Put
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store

ARM = "https://management.azure.com/"


@dataclass
class Scene:
    """A plane with two machines, one system-assigned identity and a shared one."""

    plane: Plane
    clock: FakeClock
    vm: ResourceId
    other: ResourceId
    system: Principal
    shared: Principal
    tokens: list[str] = field(default_factory=list)

    @property
    def shared_selector(self) -> Selector:
        return Selector(SelectorKind.CLIENT_ID, self.shared.client_id)

    async def token(self, host: ResourceId | None = None, selector: Selector | None = None, resource: str = ARM) -> str:
        return (await self.plane.agent.token(host or self.vm, selector, resource)).access_token

    async def commit(self, *operations: object) -> None:
        await self.plane.server.world.store.commit(Batch.of(*operations))

    async def unassign(self, host: ResourceId, principal: Principal) -> None:
        await self.commit(Delete(collection=IDENTITY_ASSIGNMENTS, key=f"{host.key}|{principal.id}", subject=host.key))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    clock, entropy = FakeClock(), SeededEntropy()
    store = await memory_store(clock)
    plane = await Plane.open(World(clock=clock, entropy=entropy, store=store, custody=MemoryCustody(), profile=OPEN))
    tenant, subscription = plane.server.installation.tenant.id, plane.server.installation.subscription.id
    group = ResourceId.parse(f"/subscriptions/{subscription}/resourceGroups/rg")
    vm, other = (group.extension("Microsoft.Compute/virtualMachines", name) for name in ("stock-vm", "other-vm"))
    identity = group.extension("Microsoft.ManagedIdentity/userAssignedIdentities", "front-end")
    now = clock.now()
    resources = [
        Resource(id=it, type=it.type, created_at=now, changed_at=now, location="westeurope")
        for it in (group, vm, other, identity)
    ]
    system = new_system_identity(resources[1], tenant_id=tenant, entropy=entropy, now=now)
    shared = new_user_assigned(identity, tenant_id=tenant, entropy=entropy, now=now)
    assignments = [
        IdentityAssignment(host=vm, principal_id=system.id, client_id=system.client_id, identity=None),
        IdentityAssignment(host=vm, principal_id=shared.id, client_id=shared.client_id, identity=identity),
        IdentityAssignment(host=other, principal_id=shared.id, client_id=shared.client_id, identity=identity),
    ]
    scene = Scene(plane, clock, vm, other, system, shared)
    await scene.commit(
        *(Put(collection=RESOURCES, value=it, expect=ABSENT) for it in resources),
        *(Put(collection=PRINCIPALS, value=it, expect=ABSENT) for it in (system, shared)),
        *(Put(collection=IDENTITY_ASSIGNMENTS, value=it, expect=ABSENT) for it in assignments),
    )
    yield scene
    await plane.close()
    await store.close()


async def test_a_token_by_the_agents_own_credential(scene: Scene) -> None:
    claims = parse(await scene.token()).claims
    assert claims["oid"] == scene.system.id
    assert claims["appid"] == scene.system.client_id
    assert claims["aud"] == ARM
    (credential,) = await scene.plane.server.world.store.all(CREDENTIALS, where={"principal_id": scene.system.id})
    (sign_in,) = await scene.plane.server.world.store.read_log(SIGN_INS)
    assert sign_in.event.credential_id == credential.value.id
    assert sign_in.event.token_id == claims["uti"]


async def test_waiters_share_one_token(scene: Scene) -> None:
    tokens = await asyncio.gather(*(scene.token() for _ in range(20)))
    assert len(set(tokens)) == 1
    assert len(await scene.plane.server.world.store.read_log(SIGN_INS)) == 1
    assert len(await scene.plane.server.world.store.all(CREDENTIALS, where={"host_key": scene.vm.key})) == 1


async def test_the_first_certificate_does_not_evict_itself(scene: Scene) -> None:
    """Its own commit is in the feed before the agent has it."""
    first = await scene.token()
    assert await scene.token() == first
    await scene.token(resource="https://vault.azure.net")
    assert len(await scene.plane.server.world.store.all(CREDENTIALS, where={"host_key": scene.vm.key})) == 1


async def test_an_unassigned_identity_is_gone_at_once_here_and_stays_there(scene: Scene) -> None:
    await scene.token(selector=scene.shared_selector)
    kept = await scene.token(scene.other)
    await scene.unassign(scene.vm, scene.shared)
    with pytest.raises(Failure) as caught:
        await scene.token(selector=scene.shared_selector)
    assert caught.value.kind is FailureKind.IDENTITY_NOT_FOUND
    assert await scene.token(scene.other) == kept


async def test_a_removed_identity_is_gone_at_once_everywhere(scene: Scene) -> None:
    await scene.token(scene.other)
    await scene.token()
    await scene.plane.server.world.store.commit(await removal_of(scene.plane.server.world.store, scene.shared.id))
    for host, selector in ((scene.vm, scene.shared_selector), (scene.other, None)):
        with pytest.raises(Failure) as caught:
            await scene.token(host, selector)
        assert caught.value.kind is FailureKind.IDENTITY_NOT_FOUND
    assert not await scene.plane.server.world.store.all(CREDENTIALS, where={"principal_id": scene.shared.id})
    assert await scene.token()


async def test_a_disabled_identity_is_refused_at_once_in_the_token_services_words(scene: Scene) -> None:
    await scene.token()
    row = await scene.plane.server.world.store.get(PRINCIPALS, scene.system.id)
    assert row is not None
    await scene.commit(Put(collection=PRINCIPALS, value=replace(row.value, enabled=False), expect=row.version))
    with pytest.raises(Failure) as caught:
        await scene.token()
    assert "AADSTS" in caught.value.detail
    assert "answer" in caught.value.data


async def test_a_revoked_certificate_is_replaced_and_its_token_not_served(scene: Scene) -> None:
    first = await scene.token()
    (credential,) = await scene.plane.server.world.store.all(CREDENTIALS, where={"principal_id": scene.system.id})
    await scene.commit(Delete(collection=CREDENTIALS, key=credential.value.id))
    assert await scene.token() != first


async def test_certificates_renew_and_one_is_live(scene: Scene) -> None:
    await scene.token()
    seen = set()
    for _ in range(12):
        scene.clock.advance(timedelta(hours=6))
        await scene.token()
        await asyncio.gather(*scene.plane.agent._source._credentials._flights._tasks)
        (live,) = await scene.plane.server.world.store.all(CREDENTIALS, where={"principal_id": scene.system.id})
        seen.add(live.value.id)
        assert live.value.not_after > scene.clock.now()
    assert len(seen) >= 5


async def test_an_unknown_audience_is_the_token_services_own_error(scene: Scene) -> None:
    with pytest.raises(Failure) as caught:
        await scene.token(resource="https://nowhere.example")
    assert caught.value.kind is FailureKind.AUDIENCE_UNKNOWN
    assert "AADSTS500011" in caught.value.data["answer"]


async def test_a_host_that_does_not_exist(scene: Scene) -> None:
    with pytest.raises(Failure) as caught:
        await scene.token(scene.vm.parent)
    assert caught.value.kind is FailureKind.IDENTITY_NOT_FOUND
