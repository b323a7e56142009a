"""What the log says of bodies and of what goes along, through the kernel."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from tests.unit.providers.management_world import GROUP, OWNER, READER, ROLES, SUB, World, guid, open_world

from idplane.model.events import ActivityEvent, EventStatus
from idplane.model.failure import Failure
from idplane.ports.collections import ACTIVITY
from idplane.ports.store import Order
from idplane.providers import PROVIDERS

ROLE = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{ROLES['Reader']}"
ASSIGNMENT = f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/{guid(0x77)}"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/One"
MSI = "2023-01-31"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    opened = await open_world(*PROVIDERS)
    yield opened
    await opened.store.close()


async def events(world: World) -> list[ActivityEvent]:
    return [one.event for one in await world.store.read_log(ACTIVITY, order=Order.OLDEST_FIRST)]


async def test_a_grant_shows_what_was_granted_and_its_removal_what_was_taken(world: World) -> None:
    machine = await world.principal(0x10)
    sent = {"roleDefinitionId": ROLE, "principalId": machine, "password": "hunter2", "description": "why"}
    await world.put(ASSIGNMENT, {"properties": sent, "secret": "hunter2"})
    await world.call("DELETE", ASSIGNMENT)
    granted, revoked = await events(world)
    asked = json.loads(str(granted.properties["requestbody"]))
    assert asked == {
        "id": ASSIGNMENT,
        "properties": {"roleDefinitionId": ROLE, "principalId": machine, "description": "why"},
    }
    answered = json.loads(str(granted.properties["responseBody"]))["properties"]
    assert (answered["principalId"], answered["scope"]) == (machine, GROUP)
    assert "requestbody" not in revoked.properties
    assert json.loads(str(revoked.properties["responseBody"]))["properties"]["principalId"] == machine
    assert "hunter2" not in str([granted, revoked])


@pytest.mark.parametrize("body", [{"properties": {"description": "x" * 8193}}, {"properties": [1]}, {}])
async def test_what_is_too_long_or_no_object_is_left_out(world: World, body: object) -> None:
    with pytest.raises(Failure):
        await world.put(ASSIGNMENT, body)
    (refused,) = await events(world)
    assert "requestbody" not in refused.properties
    assert json.loads(str(refused.properties["statusMessage"]))["error"]["message"]


async def test_bodies_of_other_types_are_not_shown(world: World) -> None:
    await world.put(IDENTITY, {"location": "here", "tags": {"password": "hunter2"}}, version=MSI)
    (made,) = await events(world)
    assert set(made.properties) == {"statusCode", "serviceRequestId", "uri"}
    assert "hunter2" not in str(made)


async def test_a_refusal_says_why(world: World) -> None:
    with pytest.raises(Failure):
        await world.put(IDENTITY, {"location": "here"}, caller=READER, version=MSI)
    (refused,) = await events(world)
    assert refused.status is EventStatus.FAILED
    assert json.loads(str(refused.properties["statusMessage"]))["error"]["code"] == "FORBIDDEN"


async def test_a_group_that_goes_takes_its_resources_along_each_with_an_event(world: World) -> None:
    await world.put(IDENTITY, {"location": "here"}, version=MSI)
    before = len(await events(world))
    await world.call("DELETE", GROUP, version="2022-09-01")
    group, member = (await events(world))[before:]
    assert (group.resource_id, group.operation) == (GROUP, "Microsoft.Resources/subscriptions/resourceGroups/delete")
    assert (member.resource_id.lower(), member.operation) == (
        IDENTITY.lower(),
        "Microsoft.ManagedIdentity/userAssignedIdentities/delete",
    )
    assert (member.correlation_id, member.caller_id, member.status) == (group.correlation_id, OWNER, EventStatus.SUCCEEDED)
    assert (group.started_at is None, member.started_at) == (False, None)
    assert member.id != group.id
