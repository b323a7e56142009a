"""Virtual machines as records: properties verbatim, secrets never, an honest power state."""

import pytest
from tests.unit.providers.surface_plane import COMPUTE, OpenPlane, vm


async def test_secrets_in_the_profile_are_not_kept(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    profile = {"computerName": "c", "adminUsername": "u", "adminPassword": "hunter2-secret", "customData": "aHVudGVyMg=="}
    body = {"location": "westeurope", "properties": {"osProfile": profile, "networkProfile": {"networkInterfaces": []}}}
    for method in ("PUT", "PATCH"):
        reply = await plane.call(method, vm("one"), body, version=COMPUTE)
        assert reply.body["properties"]["osProfile"] == {"computerName": "c", "adminUsername": "u"}
        assert reply.body["properties"]["networkProfile"] == {"networkInterfaces": []}


async def test_power_actions_change_what_is_seen(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.machine("one")

    async def power() -> str:
        view = await plane.get(f"{vm('one')}/instanceView", version=COMPUTE)
        return str(view["statuses"][1]["code"])

    assert await power() == "PowerState/running"
    for action, state in (("powerOff", "stopped"), ("start", "running"), ("DEALLOCATE", "deallocated")):
        reply = await plane.call("POST", f"{vm('one')}/{action}", version=COMPUTE)
        assert (reply.status, reply.body) == (200, None)
        assert await power() == f"PowerState/{state}"
    refused = await plane.call("POST", f"{vm('one')}/restart", version=COMPUTE)
    assert (refused.status, refused.code) == (409, "OperationNotAllowed")
    await plane.machine("one")
    assert await power() == "PowerState/deallocated"
    expanded = await plane.get(f"{vm('one')}?$expand=instanceView", version=COMPUTE)
    assert expanded["properties"]["instanceView"]["statuses"][1]["displayStatus"] == "VM deallocated"
    plain = await plane.get(vm("one"), version=COMPUTE)
    assert "instanceView" not in plain["properties"]
    assert "powerState" not in plain


async def test_clients_cannot_write_what_the_plane_reports(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    first = await plane.machine("one")
    fake = {"vmId": "x", "instanceView": {}, "provisioningState": "Failed"}
    body = {"location": "westeurope", "powerState": "on fire", "properties": fake}
    for method in ("PUT", "PATCH"):
        reply = await plane.call(method, vm("one"), body, version=COMPUTE)
        assert reply.body["properties"] == {"vmId": first["properties"]["vmId"], "provisioningState": "Succeeded"}
        assert "powerState" not in reply.body


@pytest.mark.parametrize(
    ("word", "status", "code"), [("explode", 404, "InvalidResourceType"), ("instanceView", 405, "MethodNotAllowed")]
)
async def test_actions_that_are_not_declared(open_plane: OpenPlane, word: str, status: int, code: str) -> None:
    plane = await open_plane()
    await plane.machine("one")
    reply = await plane.call("POST", f"{vm('one')}/{word}", version=COMPUTE)
    assert (reply.status, reply.code) == (status, code)


@pytest.mark.parametrize("version", ["2017-12-01", "2018-06-01", "2021-07-01", "2024-11-01", "2026-04-01"])
async def test_versions(open_plane: OpenPlane, version: str) -> None:
    plane = await open_plane()
    reply = await plane.call(
        "PUT", vm("one"), {"location": "westeurope", "identity": {"type": "SystemAssigned"}}, version=version
    )
    assert reply.status == 201
    assert reply.body["identity"]["type"] == "SystemAssigned"


async def test_actions_on_nothing(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for method, word in (("POST", "start"), ("GET", "instanceView")):
        reply = await plane.call(method, f"{vm('gone')}/{word}", version=COMPUTE)
        assert (reply.status, reply.code) == (404, "ResourceNotFound")
