"""What a custom role's actions may be, and where such a role may be assigned."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.providers.granting import ROLE, grant, guid, refused, role_url
from tests.unit.providers.surface_plane import GROUP, HOME, SUB, OpenPlane, Plane, Reply

ROOT_GROUP = f"/providers/Microsoft.Management/managementGroups/{HOME}"


async def define(plane: Plane, *scopes: str, number: int = 1, by: str = "owner", **block: Any) -> Reply:
    properties = {"roleName": f"role {number}", "permissions": [block], "assignableScopes": list(scopes or (SUB,))}
    return await plane.call("PUT", role_url(SUB, number), {"properties": properties}, by=by, version=ROLE)


@pytest.mark.parametrize(
    "action",
    [
        "*",
        "*/read",
        "Microsoft.Compute/*",
        "microsoft.compute/virtualMachines/*/action",
        "Microsoft.Compute/virtualMachines/start/action",
        "Microsoft.*/virtualMachines/read",
        "Microsoft.Resources/subscriptions/resourceGroups/read",
        "Microsoft.KeyVault/vaults/secrets/getSecret/action",
        "Idplane.Workloads/bindings/write",
        "Datadog.Observability/monitors/read",
        "Microsoft.Web/sites/slots/config/rea*",
    ],
)
async def test_actions_that_can_be(open_plane: OpenPlane, action: str) -> None:
    plane = await open_plane()
    for name in ("actions", "dataActions"):
        block: dict[str, Any] = {name: [action]}
        reply = await define(plane, **block)
        assert reply.status == 201
        assert reply.body["properties"]["permissions"][0][name] == [action]


@pytest.mark.parametrize(
    "action",
    [
        "read",
        "Microsoft.Compute",
        "Microsoft.Compute/",
        "/read",
        "Microsoft.Compute//read",
        "Microsoft.Compute/virtualMachines",
        "Microsoft.Compute/virtualMachines/start",
        "Microsoft.Compute/virtualMachines/reed",
        "Microsoft.Compute/virtualMachines/read/",
        "Microsoft.Compute/virtual machines/read",
        "Microsoft.Compute/virtualMachines/read\n",
        "Microsoft.Compute\\virtualMachines/read",
        "Microsoft.Compute/virtualMachines/?",
        "Microsoft.Comput/virtualMachines/read",
        "Compute/virtualMachines/read",
        "\u041cicrosoft.Compute/virtualMachines/read",
    ],
)
@pytest.mark.parametrize("name", ["actions", "notActions", "dataActions", "notDataActions"])
async def test_actions_that_can_be_none(open_plane: OpenPlane, name: str, action: str) -> None:
    plane = await open_plane()
    code = "InvalidDataActionOrNotDataAction" if "Data" in name or name == "dataActions" else "InvalidActionOrNotAction"
    block: dict[str, Any] = {"actions": ["*/read"], name: [action]}
    await refused(plane, await define(plane, **block), 400, code)
    assert (await plane.call("GET", role_url(SUB, 1), version=ROLE)).status == 404


async def test_an_update_is_held_to_the_same(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    assert (await define(plane, actions=["*/read"])).status == 201
    await refused(plane, await define(plane, actions=["nonsense"]), 400, "InvalidActionOrNotAction")
    shown = await plane.get(role_url(SUB, 1), version=ROLE)
    assert shown["properties"]["permissions"][0]["actions"] == ["*/read"]


async def test_data_actions_and_management_groups(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    named = ["Microsoft.KeyVault/vaults/secrets/getSecret/action"]
    reply = await define(plane, ROOT_GROUP, dataActions=["Microsoft.KeyVault/*"])
    await refused(plane, reply, 400, "InvalidDataActionOrNotDataAction")
    assert (await define(plane, ROOT_GROUP, dataActions=named)).status == 201
    assert (await define(plane, ROOT_GROUP, number=2, actions=["*/read"])).status == 201
    reply = await grant(plane, "nobody", guid(1), ROOT_GROUP, 3)
    await refused(plane, reply, 400, "RoleAssignmentScopeNotAssignableToRoleDefinition")
    for number, role, scope in ((4, guid(1), SUB), (5, guid(1), GROUP), (6, guid(2), ROOT_GROUP)):
        assert (await grant(plane, "nobody", role, scope, number)).status == 201


@pytest.mark.parametrize("scopes", [("/",), (), (ROOT_GROUP, f"{ROOT_GROUP}x"), (f"{GROUP}/providers/Microsoft.Web/sites/x",)])
async def test_where_a_role_cannot_be_assignable(open_plane: OpenPlane, scopes: tuple[str, ...]) -> None:
    plane = await open_plane()
    body = {"properties": {"roleName": "x", "permissions": [{"actions": ["*/read"]}], "assignableScopes": list(scopes)}}
    await refused(plane, await plane.call("PUT", role_url(SUB, 1), body, version=ROLE), 400, "InvalidParameter")
