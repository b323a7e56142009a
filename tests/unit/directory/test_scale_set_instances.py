"""Instances of scale sets as agents meet them: described as themselves, entitled as their set, and gone with a scale-in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.unit.directory.hosts_world import GROUP, HostsWorld, hosts_world, new_csr, resource

from idplane.directory.identities import new_system_identity
from idplane.model.failure import Failure, FailureKind
from idplane.model.resources import Resource
from idplane.model.scale_sets import INSTANCES, computer_name, identity_host, identity_host_key
from idplane.ports.collections import BINDINGS, IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES
from idplane.ports.store import ABSENT, ANY, Batch, Change, Put

SET = GROUP.extension("Microsoft.Compute/virtualMachineScaleSets", "Front")
ZERO, ONE = SET.child("virtualMachines", "0"), SET.child("virtualMachines", "1")


@pytest.fixture
async def world() -> AsyncIterator[HostsWorld]:
    async with hosts_world() as world:
        yield world


async def scale_set(world: HostsWorld, *instances: str) -> Resource:
    profile = {"osProfile": {"computerNamePrefix": "front"}, "storageProfile": {"imageReference": {"offer": "u"}}}
    made = replace(
        resource(SET, world.clock),
        properties={"virtualMachineProfile": profile},
        envelope={"sku": {"name": "Standard_B2s"}, INSTANCES: {one: {"vmId": f"vm-{one}"} for one in instances}},
    )
    await world.store.commit(Batch.of(Put(collection=RESOURCES, value=made, expect=ANY)))
    return made


async def with_identity(world: HostsWorld) -> str:
    made = await scale_set(world, "0", "1")
    principal = new_system_identity(made, tenant_id=world.system.tenant_id, entropy=world.entropy, now=world.clock.now())
    await world.store.commit(Batch.of(Put(collection=PRINCIPALS, value=principal, expect=ABSENT)))
    await world.assign(SET, principal)
    return principal.id


async def test_an_instance_is_described_by_its_set_s_model(world: HostsWorld) -> None:
    principal = await with_identity(world)
    agent = (await world.enroll("agent-1", ZERO.key)).agent
    host = await world.hosts.describe(agent, ZERO)
    assert (host.id, [one.principal_id for one in host.identities]) == (SET, [principal])
    compute = host.compute
    assert (compute["name"], compute["vmScaleSetName"], compute["vmId"]) == ("Front_0", "Front", "vm-0")
    assert compute["virtualMachineScaleSet"] == {"id": str(SET)}
    assert (compute["resourceId"], compute["vmSize"], compute["offer"]) == (str(ZERO), "Standard_B2s", "u")
    assert compute["osProfile"] == {
        "adminUsername": "",
        "computerName": "front000000",
        "disablePasswordAuthentication": "false",
    }
    assert compute["tags"] == "team:stocks"


async def test_an_agent_of_an_instance_serves_its_set_s_identities_and_no_other_instance(world: HostsWorld) -> None:
    principal = await with_identity(world)
    agent = (await world.enroll("agent-1", ZERO.key)).agent
    credential = await world.hosts.certify(agent, SET, principal, new_csr())
    assert credential.host == SET.key
    with pytest.raises(Failure) as other:
        await world.hosts.describe(agent, ONE)
    assert other.value.kind is FailureKind.HOST_NOT_BOUND
    stranger = (await world.enroll("agent-2", GROUP.key)).agent
    for attempt in (world.hosts.describe(stranger, ZERO), world.hosts.certify(stranger, SET, principal, new_csr())):
        with pytest.raises(Failure) as refused:
            await attempt
        assert refused.value.kind is FailureKind.HOST_NOT_BOUND


async def test_an_instance_that_has_gone_is_no_host(world: HostsWorld) -> None:
    await with_identity(world)
    agent = (await world.enroll("agent-1", "*")).agent
    await scale_set(world, "1")
    for missing in (ZERO, SET.child("virtualMachines", "x")):
        with pytest.raises(Failure) as gone:
            await world.hosts.describe(agent, missing)
        assert gone.value.kind is FailureKind.RESOURCE_NOT_FOUND
    assert (await world.hosts.describe(agent, ONE)).id == SET
    assert (await world.hosts.describe(agent, SET)).compute["name"] == "Front"


async def test_an_agent_of_an_instance_is_told_of_its_set(world: HostsWorld) -> None:
    principal = await with_identity(world)
    agent = (await world.enroll("agent-1", ZERO.key)).agent
    changes = tuple(
        Change(position=at, collection=collection, key=key, subject=subject, deleted=False)
        for at, (collection, key, subject) in enumerate(
            (
                (RESOURCES.name, SET.key, SET.key),
                (IDENTITY_ASSIGNMENTS.name, f"{SET.key}|{principal}", SET.key),
                (PRINCIPALS.name, principal, principal),
                (BINDINGS.name, f"{SET.key}|app", SET.key),
                (RESOURCES.name, GROUP.key, GROUP.key),
                (PRINCIPALS.name, world.system.id, world.system.id),
            )
        )
    )
    assert await world.hosts.visible(agent, changes) == changes[:4]


def test_whose_identities_a_host_has() -> None:
    assert identity_host(ZERO) == SET
    for other in (SET, GROUP, GROUP.extension("Microsoft.Compute/virtualMachines", "0"), SET.child("extensions", "e")):
        assert identity_host(other) == other
        assert identity_host_key(other.key) == other.key
    assert str(identity_host(ZERO)) == str(SET)


@pytest.mark.parametrize(("instance", "name"), [("0", "p000000"), ("35", "p00000Z"), ("36", "p000010")])
def test_computer_names(instance: str, name: str) -> None:
    assert computer_name("p", instance) == name
