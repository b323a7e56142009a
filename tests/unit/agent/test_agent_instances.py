"""Instances of a scale set at the agent: one credential and one token for the set, and every one of them forgets with it."""

from __future__ import annotations

import pytest
from tests.unit.agent.agent_world import ARM, SUBSCRIPTION, SYSTEM, AgentWorld, change

from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId

SET = ResourceId.parse(f"{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/front")
OTHER = ResourceId.parse(f"{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/front-2")
ZERO, ONE = SET.child("virtualMachines", "0"), SET.child("virtualMachines", "1")


async def token(world: AgentWorld, host: ResourceId) -> str:
    return (await world.agent.token(host, None, ARM)).access_token


async def test_instances_share_what_is_the_set_s(world: AgentWorld) -> None:
    world.server.hosts = {one.key: [SYSTEM] for one in (SET, ZERO, ONE)}
    assert await token(world, ZERO) == await token(world, ONE)
    assert (world.server.token_requests, world.server.count("/agent/v1/certificates")) == (1, 1)
    assert world.server.count("/agent/v1/host") == 2


@pytest.mark.parametrize(
    ("collection", "key"),
    [("resources", SET.key), ("identity_assignments", f"{SET.key}|{SYSTEM.principal_id}")],
)
async def test_a_change_of_the_set_is_one_of_its_instances(world: AgentWorld, collection: str, key: str) -> None:
    world.server.hosts = {one.key: [SYSTEM] for one in (SET, ZERO, ONE, OTHER)}
    for host in (ZERO, ONE, OTHER):
        await token(world, host)
    world.server.hosts = {one.key: [SYSTEM] for one in (SET, ZERO, OTHER)}
    world.agent.apply([change(collection, key, subject=SET.key)])
    asked = world.server.count("/agent/v1/host")
    await token(world, OTHER)
    assert world.server.count("/agent/v1/host") == asked
    await token(world, ZERO)
    assert world.server.count("/agent/v1/host") == asked + 1
    with pytest.raises(Failure) as gone:
        await token(world, ONE)
    assert gone.value.kind is FailureKind.IDENTITY_NOT_FOUND


async def test_a_set_that_is_deleted_takes_its_instances_tokens_and_keys(world: AgentWorld) -> None:
    world.server.hosts = {one.key: [SYSTEM] for one in (SET, ZERO)}
    first = await token(world, ZERO)
    world.agent.apply([change("resources", SET.key, subject=SET.key, deleted=True)])
    assert await token(world, ZERO) != first
    assert world.server.count("/agent/v1/certificates") == 2
