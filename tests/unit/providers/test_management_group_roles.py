"""What the tree of management groups means for roles, and who sees what of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.providers.grouping import (
    GROUPS,
    OPERATOR,
    ROOT,
    allowed,
    call,
    make,
    move,
    open_groups,
    outcome,
    place,
    refused,
)
from tests.unit.providers.management_world import (
    GROUP,
    READER,
    ROLES,
    SUB,
    SUBSCRIPTION,
    TENANT,
    World,
    guid,
)

from idplane.model.failure import FailureKind
from idplane.model.profile import AZURE
from idplane.ports.collections import DEPLOYMENTS, MANAGEMENT_GROUPS, ROLE_ASSIGNMENTS


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The tenant's operator beside the people of the subscription, who hold nothing above it."""
    opened = await open_groups()
    yield opened
    await opened.store.close()


# What it means for roles ----------------------------------------------------------------------------------------------


async def test_roles_are_inherited_along_the_tree_and_move_with_it(world: World) -> None:
    worker = await world.principal(0x10)
    for name, parent in (("a", None), ("b", "a"), ("c", None)):
        await make(world, name, parent)
    role = f"/providers/Microsoft.Authorization/roleDefinitions/{ROLES['Reader']}"
    assignment = f"{GROUPS}/a/providers/Microsoft.Authorization/roleAssignments/{guid(0x100)}"
    body = {"properties": {"roleDefinitionId": role, "principalId": worker}}
    made = (await world.call("PUT", assignment, body, caller=OPERATOR)).body
    assert isinstance(made, dict)
    assert (made["id"], made["properties"]["scope"]) == (assignment, f"{GROUPS}/a")
    assert not await allowed(world, worker)
    await place(world, "b")
    assert await allowed(world, worker)
    await move(world, "b", "c")
    assert not await allowed(world, worker)
    await move(world, "c", "a")
    assert await allowed(world, worker)
    await place(world, TENANT)
    assert not await allowed(world, worker)


async def test_the_root_group_is_above_every_subscription(world: World) -> None:
    worker = await world.principal(0x10)
    await world.grant(0x100, "Reader", ROOT, worker)
    assert await allowed(world, worker)
    stranger = "/subscriptions/00000052-0000-4000-8000-000000000052"
    assert not await allowed(world, worker, scope=stranger)
    items = await world.get("/subscriptions", caller=worker, version="2022-12-01")
    assert [one["subscriptionId"] for one in items["value"]] == [SUBSCRIPTION]


async def test_lists_at_a_scope_hold_what_stands_at_the_groups_above(world: World) -> None:
    worker = await world.principal(0x10)
    await make(world, "a")
    await place(world, "a")
    await world.grant(0x100, "Reader", f"{GROUPS}/a", worker)
    await world.grant(0x101, "Reader", ROOT, worker)
    url = f"{GROUP}/providers/Microsoft.Authorization/roleAssignments?$filter=atScope()"
    items, _ = await world.everything(url, caller=OPERATOR)
    scopes = [one["properties"]["scope"] for one in items]
    assert scopes == ["/", ROOT, f"{GROUPS}/a", SUB, SUB, SUB]
    at_group = f"{GROUPS}/a/providers/Microsoft.Authorization/roleAssignments?$filter=principalId eq '{worker}'"
    items, _ = await world.everything(at_group, caller=OPERATOR)
    assert [one["properties"]["scope"] for one in items] == [ROOT, f"{GROUPS}/a"]


async def test_a_custom_role_is_assignable_below_its_group(world: World) -> None:
    worker = await world.principal(0x10)
    await make(world, "a")
    definition = {
        "properties": {
            "roleName": "Looker",
            "permissions": [{"actions": ["*/read"]}],
            "assignableScopes": [f"{GROUPS}/a"],
        }
    }
    role = f"{GROUPS}/a/providers/Microsoft.Authorization/roleDefinitions/{guid(0x200)}"
    await world.call("PUT", role, definition, caller=OPERATOR)
    body = {"properties": {"roleDefinitionId": role, "principalId": worker}}
    assignment = f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/{guid(0x100)}"
    assert await refused(world.call("PUT", assignment, body, caller=OPERATOR)) is FailureKind.INVALID_PARAMETER
    await place(world, "a")
    assert (await world.call("PUT", assignment, body, caller=OPERATOR)).status == 201
    listed = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions?$filter=type eq 'CustomRole'"
    items, _ = await world.everything(listed, caller=OPERATOR)
    assert [one["properties"]["roleName"] for one in items] == ["Looker"]
    nowhere = f"{GROUPS}/b/providers/Microsoft.Authorization/roleDefinitions/{guid(0x201)}"
    definition["properties"]["assignableScopes"] = [f"{GROUPS}/b"]
    assert await refused(world.call("PUT", nowhere, definition, caller=OPERATOR)) is FailureKind.RESOURCE_NOT_FOUND


async def test_what_stands_at_a_group_goes_with_it(world: World) -> None:
    worker = await world.principal(0x10)
    await make(world, "a")
    await world.grant(0x100, "Reader", f"{GROUPS}/a", worker)
    await call(world, "DELETE", f"{GROUPS}/a")
    assert not await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": worker})
    assert not await world.store.all(DEPLOYMENTS)
    assert not await world.store.all(MANAGEMENT_GROUPS)


async def test_a_grant_never_outlives_its_group(world: World) -> None:
    worker = await world.principal(0x10)
    role = f"/providers/Microsoft.Authorization/roleDefinitions/{ROLES['Reader']}"
    body = {"properties": {"roleDefinitionId": role, "principalId": worker}}

    for number in range(8):
        await make(world, "a")
        assignment = f"{GROUPS}/a/providers/Microsoft.Authorization/roleAssignments/{guid(0x300 + number)}"
        grant = world.call("PUT", assignment, body, caller=OPERATOR)
        calls = (call(world, "DELETE", f"{GROUPS}/a"), grant) if number % 2 else (grant, call(world, "DELETE", f"{GROUPS}/a"))
        assert set(await asyncio.gather(*map(outcome, calls))) <= {201, 204, 404}
        assert not await world.store.all(MANAGEMENT_GROUPS)
        assert not await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": worker})


async def test_a_group_has_five_hundred_role_assignments_where_azure_says_so() -> None:
    world = await open_groups(profile=AZURE)
    await make(world, "a")
    for number in range(500):
        await world.grant(0x1000 + number, guid(0x9000 + number), f"{GROUPS}/a", READER)
    role = f"/providers/Microsoft.Authorization/roleDefinitions/{ROLES['Reader']}"
    body = {"properties": {"roleDefinitionId": role, "principalId": READER}}
    url = f"{GROUPS}/a/providers/Microsoft.Authorization/roleAssignments/{guid(0x8000)}"
    assert await refused(world.call("PUT", url, body, caller=OPERATOR)) is FailureKind.LIMIT_EXCEEDED
    await world.store.close()


# Entities -------------------------------------------------------------------------------------------------------------


async def test_entities_are_the_tree_as_the_caller_sees_it(world: World) -> None:
    for name, parent in (("a", None), ("b", "a")):
        await make(world, name, parent)
    await place(world, "b")

    async def entities(query: str = "", caller: str = OPERATOR) -> list[Any]:
        answer = await call(world, "POST", f"/providers/Microsoft.Management/getEntities{query}", caller=caller)
        assert isinstance(answer.body, dict)
        value: list[Any] = answer.body["value"]
        return value

    everything = {one["name"]: one["properties"] for one in await entities()}
    assert list(everything) == [TENANT, "a", "b", SUBSCRIPTION]
    root, b = everything[TENANT], everything["b"]
    assert (root["numberOfDescendants"], root["numberOfChildren"], root["numberOfChildGroups"]) == (3, 1, 1)
    assert (b["parentNameChain"], b["permissions"], b["parent"]) == ([TENANT, "a"], "edit", {"id": f"{GROUPS}/a"})

    async def found(query: str) -> list[str]:
        return [one["name"] for one in await entities(query)]

    assert await found("?$view=GroupsOnly") == [TENANT, "a", "b"]
    assert await found("?$view=SubscriptionsOnly") == [SUBSCRIPTION]
    assert await found("?groupName=a") == ["a", "b", SUBSCRIPTION]
    assert await found("?groupName=a&$search=ParentAndFirstLevelChildren") == ["a", "b"]
    assert await found("?groupName=a&$search=ChildrenOnly") == ["b"]
    assert await found("?groupName=a&$search=ParentOnly") == ["a"]
    assert await refused(entities("?$search=Anything")) is FailureKind.INVALID_PARAMETER
    assert await refused(entities("?groupName=none")) is FailureKind.MANAGEMENT_GROUP_NOT_FOUND


@pytest.mark.parametrize("word", ["tenantBackfillStatus", "startTenantBackfill"])
async def test_there_is_nothing_to_fill_in(world: World, word: str) -> None:
    answer = await call(world, "POST", f"/providers/Microsoft.Management/{word}")
    assert answer.body == {"tenantId": TENANT, "status": "Completed"}
