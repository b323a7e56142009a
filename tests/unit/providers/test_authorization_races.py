from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from tests.unit.providers.management_world import GROUP, ROLES, SUB, TENANT, World, guid, open_world

from idplane.arm.requests import ManagementResponse
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import RESOURCES, ROLE_ASSIGNMENTS, ROLE_DEFINITIONS
from idplane.providers.authorization import AUTHORIZATION
from idplane.providers.keyvault import KEY_VAULT

DATA = f"{SUB}/resourceGroups/Data"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/stock"
VERSION = "2026-05-15"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    opened = await open_world(AUTHORIZATION, KEY_VAULT)
    await opened.resource(DATA)
    yield opened
    await opened.store.close()


def grant(world: World, number: int, scope: str, principal: str, role: str = ROLES["Reader"]) -> Awaitable[ManagementResponse]:
    properties = {"roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{role}", "principalId": principal}
    url = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{guid(number)}"
    return world.call("PUT", url, {"properties": properties})


def make_vault(world: World, identifier: str = VAULT) -> Awaitable[ManagementResponse]:
    properties = {"tenantId": TENANT, "sku": {"family": "A", "name": "standard"}}
    return world.call("PUT", identifier, {"location": "westeurope", "properties": properties}, version=VERSION)


async def together(*calls: Awaitable[ManagementResponse]) -> list[int | FailureKind]:
    """What each of several calls at once came to."""

    async def outcome(call: Awaitable[ManagementResponse]) -> int | FailureKind:
        try:
            return (await call).status
        except Failure as failure:
            return failure.kind

    return await asyncio.gather(*map(outcome, calls))


async def test_one_of_many_equal_grants_wins(world: World) -> None:
    machine = await world.principal(0x10)
    outcomes = await together(*(grant(world, 0x100 + number, GROUP, machine) for number in range(6)))
    assert sorted(map(str, outcomes)) == ["201", *["FailureKind.ROLE_ASSIGNMENT_EXISTS"] * 5]


async def test_many_grants_at_one_scope_do_not_hinder_each_other(world: World) -> None:
    machines = [await world.principal(0x10 + number) for number in range(40)]
    outcomes = await together(*(grant(world, 0x100 + number, GROUP, machine) for number, machine in enumerate(machines)))
    assert outcomes == [201] * 40


@pytest.mark.parametrize("delete_first", [True, False])
async def test_a_grant_never_outlives_its_scope(world: World, *, delete_first: bool) -> None:
    machine = await world.principal(0x10)
    for number in range(10):
        await make_vault(world)
        calls = [world.call("DELETE", VAULT, version=VERSION), grant(world, 0x100 + number, VAULT, machine)]
        outcomes = await together(*(calls if delete_first else reversed(calls)))
        assert await world.store.get(RESOURCES, VAULT.lower()) is None
        assert not (await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": machine}))
        assert 200 in outcomes


async def test_a_grant_below_a_resource_refers_to_that_resource(world: World) -> None:
    machine = await world.principal(0x10)
    await make_vault(world)
    await grant(world, 0x100, f"{VAULT}/secrets/password", machine)
    await grant(world, 0x101, SUB, machine)
    anchors = {
        one.value.id: one.value.anchor for one in await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": machine})
    }
    assert anchors == {guid(0x100): VAULT.lower(), guid(0x101): None}
    await world.call("DELETE", VAULT, version=VERSION)
    left = await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": machine})
    assert [one.value.id for one in left] == [guid(0x101)]


@pytest.mark.parametrize("delete_first", [True, False])
async def test_a_grant_never_outlives_its_custom_role(world: World, *, delete_first: bool) -> None:
    machine = await world.principal(0x10)
    url = f"{GROUP}/providers/Microsoft.Authorization/roleDefinitions/{guid(0x200)}"
    role: dict[str, Any] = {"roleName": "r", "permissions": [{"actions": ["*/read"]}], "assignableScopes": [GROUP]}
    await world.put(url, {"properties": role})
    calls = [world.call("DELETE", url), grant(world, 0x100, GROUP, machine, guid(0x200))]
    outcomes = await together(*(calls if delete_first else reversed(calls)))
    granted = await world.store.get(ROLE_ASSIGNMENTS, guid(0x100))
    defined = await world.store.get(ROLE_DEFINITIONS, guid(0x200))
    assert (granted is None) == (defined is None)
    assert {FailureKind.ROLE_DEFINITION_NOT_FOUND, FailureKind.ROLE_DEFINITION_IN_USE} & set(outcomes)


async def test_one_of_many_equal_vault_names_wins(world: World) -> None:
    elsewhere = f"{DATA}/providers/Microsoft.KeyVault/vaults/Stock"
    outcomes = await together(make_vault(world), make_vault(world, elsewhere))
    assert sorted(map(str, outcomes)) == ["201", "FailureKind.CONFLICT"]
    assert len(await world.store.all(RESOURCES, where={"name": "stock"})) == 1


async def test_two_owners_cannot_both_leave(world: World) -> None:
    second = await world.principal(0x10)
    await world.grant(0x100, "Owner", SUB, second)
    url = f"{SUB}/providers/Microsoft.Authorization/roleAssignments"
    outcomes = await together(
        world.call("DELETE", f"{url}/{guid(0xF1)}", caller=second), world.call("DELETE", f"{url}/{guid(0x100)}")
    )
    owners = await world.store.all(ROLE_ASSIGNMENTS, where={"role_id": ROLES["Owner"]})
    assert len(owners) == 1
    assert 200 in outcomes
