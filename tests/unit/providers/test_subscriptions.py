from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.providers.management_world import (
    CONTRIBUTOR,
    GROUP,
    OTHER_SUBSCRIPTION,
    OWNER,
    READER,
    SUB,
    SUBSCRIPTION,
    TENANT,
    World,
    guid,
    open_world,
)

from idplane.arm.requests import ManagementResponse
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.ports.collections import SUBSCRIPTIONS
from idplane.ports.store import ANY, Batch, Put
from idplane.providers import PROVIDERS

VERSION = "2021-10-01"
ALIASES = "/providers/Microsoft.Subscription/aliases"
GROUPS = "/providers/Microsoft.Management/managementGroups"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"
OPERATOR = guid(0x70)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    opened = await open_world(*PROVIDERS)
    await opened.principal(0x70, "operator")
    await opened.grant(0xE1, "Owner", "/", OPERATOR)
    yield opened
    await opened.store.close()


def call(world: World, method: str, path: str, body: object = None, caller: str = OPERATOR) -> Awaitable[ManagementResponse]:
    return world.call(method, path, body, caller=caller, version=VERSION)


async def make(world: World, alias: str = "shop", caller: str = OPERATOR, **properties: Any) -> Any:
    body = {"properties": {"displayName": "Shop", "workload": "DevTest", **properties}}
    return (await call(world, "PUT", f"{ALIASES}/{alias}", body, caller)).body


async def refused(awaited: Awaitable[object]) -> FailureKind:
    with pytest.raises(Failure) as caught:
        await awaited
    return caught.value.kind


def act(world: World, word: str, caller: str = OWNER, **body: str) -> Awaitable[ManagementResponse]:
    return call(world, "POST", f"{SUB}/providers/Microsoft.Subscription/{word}", body, caller)


async def put_identity(world: World, identifier: str = IDENTITY) -> ManagementResponse:
    return await world.call("PUT", identifier, {"location": "westeurope"}, version="2024-11-30")


# Aliases --------------------------------------------------------------------------------------------------------------


async def test_an_alias_makes_a_subscription_once(world: World) -> None:
    made = await make(world, billingScope="/billingAccounts/1")
    properties = made["properties"]
    assert (made["id"], made["name"], made["type"]) == (f"{ALIASES}/shop", "shop", "Microsoft.Subscription/aliases")
    assert (properties["displayName"], properties["workload"], properties["provisioningState"]) == (
        "Shop",
        "DevTest",
        "Succeeded",
    )
    assert properties["managementGroupId"] == f"{GROUPS}/{TENANT}"
    again = await make(world, "SHOP", displayName="Another")
    assert again == made
    assert (await world.get(ALIASES, caller=OPERATOR, version=VERSION))["value"] == [made]
    subscription = await world.get(f"/subscriptions/{properties['subscriptionId']}", caller=OPERATOR, version="2022-12-01")
    assert (subscription["displayName"], subscription["state"]) == ("Shop", "Enabled")
    assert (await call(world, "DELETE", f"{ALIASES}/shop")).status == 200
    assert (await call(world, "DELETE", f"{ALIASES}/shop")).status == 204
    assert await refused(call(world, "GET", f"{ALIASES}/shop")) is FailureKind.RESOURCE_NOT_FOUND
    assert (await world.store.get(SUBSCRIPTIONS, properties["subscriptionId"])) is not None


async def test_whoever_makes_a_subscription_owns_it(world: World) -> None:
    maker, owner = await world.principal(0x10), await world.principal(0x11)
    await world.grant(0x100, "Contributor", "/", maker)
    for alias, more, expected in (
        ("mine", {}, maker),
        ("theirs", {"additionalProperties": {"subscriptionOwnerId": owner}}, owner),
    ):
        made = await make(world, alias, maker, **more)
        scope = ResourceId.parse(f"/subscriptions/{made['properties']['subscriptionId']}")
        action = "Microsoft.Authorization/roleAssignments/write"
        may = [one for one in (maker, owner) if (await world.access.check(frozenset({one}), action, scope)).allowed]
        assert may == [expected]
    unknown = make(world, "nobodys", maker, additionalProperties={"subscriptionOwnerId": guid(0x99)})
    assert await refused(unknown) is FailureKind.PRINCIPAL_NOT_FOUND


async def test_a_subscription_is_made_where_it_belongs(world: World) -> None:
    maker = await world.principal(0x10)
    await world.call("PUT", f"{GROUPS}/shops", {}, caller=OPERATOR, version="2023-04-01")
    place: dict[str, Any] = {"additionalProperties": {"managementGroupId": f"{GROUPS}/shops", "tags": {"a": "b"}}}
    made = await make(world, **place)
    assert made["properties"]["managementGroupId"] == f"{GROUPS}/shops"
    assert made["properties"]["tags"] == {"a": "b"}
    await world.grant(0x100, "Contributor", f"{GROUPS}/shops", maker)
    for alias in ("other", "shop"):
        assert await refused(make(world, alias, maker, **place)) is FailureKind.FORBIDDEN
    nowhere: dict[str, Any] = {"additionalProperties": {"managementGroupId": f"{GROUPS}/none"}}
    assert await refused(make(world, "other", **nowhere)) is FailureKind.MANAGEMENT_GROUP_NOT_FOUND


async def test_an_alias_may_name_a_subscription_that_is_there(world: World) -> None:
    await world.call("PUT", f"{GROUPS}/shops", {}, caller=OPERATOR, version="2023-04-01")
    made = await make(world, subscriptionId=SUBSCRIPTION, additionalProperties={"managementGroupId": f"{GROUPS}/shops"})
    assert (made["properties"]["subscriptionId"], made["properties"]["displayName"]) == (SUBSCRIPTION, "one")
    stored = await world.store.get(SUBSCRIPTIONS, SUBSCRIPTION)
    assert stored is not None
    assert stored.value.management_group == "shops"
    foreign = {FailureKind.FORBIDDEN, FailureKind.SUBSCRIPTION_NOT_FOUND}
    assert await refused(make(world, "stolen", subscriptionId=OTHER_SUBSCRIPTION)) in foreign


@pytest.mark.parametrize(
    "change", [{"displayName": None}, {"displayName": "n" * 65}, {"workload": "Play"}, {"subscriptionId": "a b"}]
)
async def test_what_makes_no_subscription_is_refused(world: World, change: dict[str, Any]) -> None:
    kinds = {FailureKind.INVALID_PARAMETER, FailureKind.SUBSCRIPTION_NOT_FOUND}
    assert await refused(make(world, **change)) in kinds
    assert not (await world.get(ALIASES, caller=OPERATOR, version=VERSION))["value"]


async def test_people_of_a_subscription_make_none(world: World) -> None:
    assert await refused(make(world, caller=OWNER)) is FailureKind.FORBIDDEN
    assert await refused(call(world, "GET", ALIASES, caller=OWNER)) is FailureKind.FORBIDDEN


# Names and states -----------------------------------------------------------------------------------------------------


async def test_a_subscription_is_renamed(world: World) -> None:
    assert (await act(world, "rename", subscriptionName="New")).body == {"subscriptionId": SUBSCRIPTION}
    assert (await world.get(SUB, version="2022-12-01"))["displayName"] == "New"
    for name in ("", "n" * 65):
        assert await refused(act(world, "rename", subscriptionName=name)) is FailureKind.INVALID_PARAMETER
    group = f"{GROUP}/providers/Microsoft.Subscription/rename"
    assert await refused(call(world, "POST", group, {"subscriptionName": "x"})) is FailureKind.PATH_NOT_FOUND
    assert await refused(act(world, "rename", READER, subscriptionName="Mine")) is FailureKind.FORBIDDEN


async def test_a_cancelled_subscription_is_read_and_emptied_and_nothing_else(world: World) -> None:
    await put_identity(world)
    assert await refused(act(world, "cancel", CONTRIBUTOR)) is FailureKind.FORBIDDEN
    assert (await act(world, "cancel")).status == 200
    assert (await world.get(SUB, version="2022-12-01"))["state"] == "Disabled"
    writes = [
        put_identity(world, f"{IDENTITY}2"),
        world.call("PATCH", IDENTITY, {"tags": {"a": "b"}}, version="2024-11-30"),
        world.call("POST", f"{IDENTITY}/listAssociatedResources", version="2022-01-31-preview"),
        world.call("PUT", f"{SUB}/resourceGroups/new", {"location": "westeurope"}, version="2021-04-01"),
    ]
    for write in writes:
        assert await refused(write) is FailureKind.SUBSCRIPTION_DISABLED
    assert (await world.call("GET", IDENTITY, version="2024-11-30")).status == 200
    assert (await world.call("DELETE", IDENTITY, version="2024-11-30")).status == 200
    assert await refused(act(world, "enable", CONTRIBUTOR)) is FailureKind.FORBIDDEN
    assert (await act(world, "enable")).status == 200
    assert (await put_identity(world)).status == 201


async def test_a_warned_subscription_takes_no_writes_either(world: World) -> None:
    stored = await world.store.get(SUBSCRIPTIONS, SUBSCRIPTION)
    assert stored is not None
    warned = replace(stored.value, state="Warned")
    await world.store.commit(Batch.of(Put(collection=SUBSCRIPTIONS, value=warned, expect=ANY)))
    assert await refused(put_identity(world)) is FailureKind.SUBSCRIPTION_DISABLED
