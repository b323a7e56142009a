"""What tests of management groups share: the tenant's operator, and what is asked of the tree."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from tests.unit.providers.management_world import (
    GROUP,
    SUBSCRIPTION,
    TENANT,
    World,
    guid,
    open_world,
)

from idplane.arm.requests import ManagementResponse
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.providers import PROVIDERS

VERSION = "2023-04-01"
GROUPS = "/providers/Microsoft.Management/managementGroups"
ROOT = f"{GROUPS}/{TENANT}"
OPERATOR = guid(0x70)


async def open_groups(**options: Any) -> World:
    opened = await open_world(*PROVIDERS, **options)
    await opened.principal(0x70, "operator")
    await opened.grant(0xE1, "Owner", "/", OPERATOR)
    return opened


def call(world: World, method: str, path: str, body: object = None, caller: str = OPERATOR) -> Awaitable[ManagementResponse]:
    return world.call(method, path, body, caller=caller, version=VERSION)


async def make(world: World, name: str, parent: str | None = None, caller: str = OPERATOR) -> Any:
    details = {"details": {"parent": {"id": f"{GROUPS}/{parent}"}}} if parent else {}
    answer = await call(world, "PUT", f"{GROUPS}/{name}", {"properties": {"displayName": f"The {name}", **details}}, caller)
    assert answer.status == 200
    return answer.body


async def show(world: World, path: str, caller: str = OPERATOR) -> Any:
    return (await call(world, "GET", path, caller=caller)).body


async def names(world: World, path: str, caller: str = OPERATOR) -> list[str]:
    items, _ = await world.everything(path, caller=caller, version=VERSION)
    return [one["name"] for one in items]


def move(world: World, name: str, parent: str, caller: str = OPERATOR) -> Awaitable[ManagementResponse]:
    return call(world, "PATCH", f"{GROUPS}/{name}", {"parentGroupId": f"{GROUPS}/{parent}"}, caller)


def place(world: World, name: str, caller: str = OPERATOR) -> Awaitable[ManagementResponse]:
    return call(world, "PUT", f"{GROUPS}/{name}/subscriptions/{SUBSCRIPTION}", caller=caller)


async def refused(awaited: Awaitable[object]) -> FailureKind:
    with pytest.raises(Failure) as caught:
        await awaited
    return caught.value.kind


async def outcome(awaited: Awaitable[ManagementResponse]) -> int:
    """The status that one of several calls at once comes to."""
    try:
        return (await awaited).status
    except Failure as failure:
        return failure.kind.category.value


async def allowed(
    world: World, principal: str, action: str = "Microsoft.Compute/virtualMachines/read", scope: str = GROUP
) -> bool:
    return (await world.access.check(frozenset({principal}), action, ResourceId.parse(scope))).allowed
