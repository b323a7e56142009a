"""Scale sets: instances follow the capacity, are part of their set, and have its identities."""

from typing import Any

import pytest
from tests.unit.providers.surface_plane import COMPUTE, GROUP, OpenPlane, Plane, uai

SET = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/Front"


async def _put(plane: Plane, capacity: object = None, **members: Any) -> Any:
    sku = {} if capacity is None else {"sku": {"name": "Standard_B1s", "capacity": capacity}}
    return await plane.put(SET, {"location": "westeurope", **sku, **members}, version=COMPUTE)


async def _ids(plane: Plane) -> list[str]:
    listed = await plane.get(f"{SET}/virtualMachines", version=COMPUTE)
    return [one["instanceId"] for one in listed["value"]]


async def test_instances_follow_the_capacity(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    made = await _put(plane, 3)
    assert (made["sku"]["capacity"], made["properties"]["upgradePolicy"]) == (3, {"mode": "Manual"})
    assert not {"instances", "nextInstance"} & set(made)
    assert await _ids(plane) == ["0", "1", "2"]
    first = await plane.get(f"{SET}/virtualMachines/0", version=COMPUTE)
    await plane.call("PATCH", SET, {"sku": {"capacity": 1}}, version=COMPUTE)
    assert await _ids(plane) == ["0"]
    grown = await plane.call("PATCH", SET, {"sku": {"capacity": 12}}, version=COMPUTE)
    assert grown.body["sku"] == {"name": "Standard_B1s", "capacity": 12}
    assert await _ids(plane) == ["0", *(str(number) for number in range(3, 14))]
    assert (await plane.get(f"{SET}/virtualMachines/0", version=COMPUTE))["properties"]["vmId"] == first["properties"]["vmId"]
    # A body that says nothing of the capacity leaves the instances alone.
    await _put(plane)
    assert len(await _ids(plane)) == 12
    await _put(plane, 0)
    assert await _ids(plane) == []
    for wrong in (-1, 1001, "many", True):
        body = {"location": "westeurope", "sku": {"capacity": wrong}}
        refused = await plane.call("PUT", SET, body, version=COMPUTE)
        assert (refused.status, refused.code) == (400, "InvalidParameter")


async def test_an_instance_shows_its_set_s_model_and_identity(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("one")
    both = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {uai("one"): {}}}
    profile = {"osProfile": {"computerNamePrefix": "front", "adminUsername": "u", "adminPassword": "hunter2-secret"}}
    made = await _put(plane, 2, identity=both, tags={"a": "b"}, properties={"virtualMachineProfile": profile})
    one = await plane.get(f"{SET}/virtualMachines/1", version=COMPUTE)
    assert (one["id"], one["name"], one["instanceId"]) == (f"{SET}/virtualMachines/1", "Front_1", "1")
    assert one["type"] == "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"
    assert one["identity"] == made["identity"]
    assert (one["sku"]["name"], one["tags"]) == ("Standard_B1s", {"a": "b"})
    assert one["properties"]["osProfile"] == {"adminUsername": "u", "computerName": "front000001"}
    assert "instanceView" not in one["properties"]
    expanded = await plane.get(f"{SET}/virtualMachines/1?$expand=instanceView", version=COMPUTE)
    assert expanded["properties"]["instanceView"]["statuses"][1]["code"] == "PowerState/running"
    pages = await plane.get(f"{SET}/virtualMachines?$top=1", version=COMPUTE)
    assert [it["instanceId"] for it in (await plane.get(pages["nextLink"]))["value"]] == ["1"]


async def test_instances_are_stopped_and_deleted_one_by_one_and_together(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _put(plane, 4)
    view = f"{SET}/virtualMachines/1/instanceView"
    for action, state in (("powerOff", "stopped"), ("start", "running"), ("deallocate", "deallocated"), ("restart", "running")):
        assert (await plane.call("POST", f"{SET}/virtualMachines/1/{action}", version=COMPUTE)).status == 200
        assert (await plane.get(view, version=COMPUTE))["statuses"][1]["code"] == f"PowerState/{state}"
    assert (await plane.call("POST", f"{SET}/deallocate", {"instanceIds": ["0", "2"]}, version=COMPUTE)).status == 200
    summary = (await plane.get(f"{SET}/instanceView", version=COMPUTE))["virtualMachine"]["statusesSummary"]
    assert {one["code"]: one["count"] for one in summary} == {"PowerState/deallocated": 2, "PowerState/running": 2}
    assert (await plane.call("POST", f"{SET}/start", version=COMPUTE)).status == 200
    assert (await plane.call("POST", f"{SET}/manualupgrade", {"instanceIds": ["*"]}, version=COMPUTE)).status == 200
    assert (await plane.call("DELETE", f"{SET}/virtualMachines/1", version=COMPUTE)).status == 200
    assert (await plane.call("DELETE", f"{SET}/virtualMachines/1", version=COMPUTE)).status == 204
    assert (await plane.call("POST", f"{SET}/delete", {"instanceIds": ["3"]}, version=COMPUTE)).status == 200
    assert await _ids(plane) == ["0", "2"]
    assert (await plane.get(SET, version=COMPUTE))["sku"]["capacity"] == 2
    for action in ("start", "delete", "manualupgrade"):
        refused = await plane.call("POST", f"{SET}/{action}", {"instanceIds": ["9"]}, version=COMPUTE)
        assert (refused.status, refused.code) == (400, "InvalidParameter")
    assert (await plane.call("POST", f"{SET}/delete", version=COMPUTE)).status == 400


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("GET", "/instanceView"), ("POST", "/start")])
async def test_what_is_not_there(open_plane: OpenPlane, method: str, suffix: str) -> None:
    plane = await open_plane()
    await _put(plane, 1)
    gone = SET.replace("/Front", "/gone")
    for url in (f"{SET}/virtualMachines/1{suffix}", f"{SET}/virtualMachines/x{suffix}", f"{gone}/virtualMachines/0{suffix}"):
        reply = await plane.call(method, url, version=COMPUTE)
        assert (reply.status, reply.code) == (404, "ResourceNotFound")
    assert (await plane.call("GET", f"{gone}/virtualMachines", version=COMPUTE)).status == 404
    assert (await plane.call("PUT", f"{SET}/virtualMachines/0", {"location": "westeurope"}, version=COMPUTE)).status == 405


async def test_what_the_plane_keeps_cannot_be_written(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    first = await _put(plane, 1)
    forged = {"instances": {"7": {"vmId": "x", "power": "x"}}, "nextInstance": 7, "properties": {"uniqueId": "x"}}
    for method in ("PUT", "PATCH"):
        reply = await plane.call(method, SET, {"location": "westeurope", **forged}, version=COMPUTE)
        assert reply.status == 200
        assert reply.body["properties"]["uniqueId"] == first["properties"]["uniqueId"]
    assert await _ids(plane) == ["0"]


async def test_a_flexible_set_has_no_instances_of_its_own(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    made = await _put(plane, 3, properties={"orchestrationMode": "Flexible"})
    assert made["sku"]["capacity"] == 3
    assert await _ids(plane) == []
