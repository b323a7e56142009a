"""What-if tells what a deployment would do, and does none of it."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.providers.deploying import DEPLOY, asked, at, deploy, identity, template
from tests.unit.providers.surface_plane import GROUP, SUB, OpenPlane, Plane, uai, vm

from idplane.ports.collections import COLLECTIONS

ROLE = "7e000000-0000-4000-8000-000000000001"


async def changes(plane: Plane, document: object, *, mode: str = "Incremental", by: str = "owner") -> dict[str, Any]:
    """By the last part of the resource id."""
    reply = await plane.call("POST", f"{at('main')}/whatIf", asked(document, mode=mode), version=DEPLOY, by=by)
    assert reply.status == 200, reply.body
    return {one["resourceId"].rpartition("/")[2]: one for one in reply.body["properties"]["changes"]}


def machine(name: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "Microsoft.Compute/virtualMachines",
        "apiVersion": "2024-11-01",
        "name": name,
        "location": "westeurope",
        **more,
    }


async def test_nothing_is_written(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    before = {one.name: await plane.store.all(one) for one in COLLECTIONS}
    events = len(await plane.events())
    nested = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": "n",
        "properties": {"mode": "Incremental", "template": template(identity("two"))},
    }
    found = await changes(plane, template(identity("one"), nested, machine("vm", identity={"type": "SystemAssigned"})))
    assert {name: one["changeType"] for name, one in found.items()} == {"one": "Create", "two": "Create", "vm": "Create"}
    assert {one.name: await plane.store.all(one) for one in COLLECTIONS} == before
    assert len(await plane.events()) == events + 1


async def test_what_chance_decides_is_left_out(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    found = await changes(plane, template(identity("one"), machine("vm", identity={"type": "SystemAssigned"})))
    assert {"principalId", "clientId"}.isdisjoint(found["one"]["after"]["properties"])
    assert set(found["vm"]["after"]["identity"]) == {"type", "tenantId"}
    assert "vmId" not in found["vm"]["after"]["properties"]


async def test_an_identity_that_is_enabled_or_taken_away(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.machine("vm", {"type": "SystemAssigned"})
    found = (await changes(plane, template(machine("vm", identity={"type": "None"}))))["vm"]
    assert found["changeType"] == "Modify"
    assert [(one["path"], one["propertyChangeType"]) for one in found["delta"]] == [("identity", "Delete")]


async def test_what_is_left_alone_and_what_is_deleted(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for name in ("kept", "other"):
        await plane.identity(name)
    for mode, fate in (("Incremental", "Ignore"), ("Complete", "Delete")):
        found = await changes(plane, template(identity("kept")), mode=mode)
        assert {name: one["changeType"] for name, one in found.items()} == {"kept": "NoChange", "other": fate}
    assert (await plane.call("GET", uai("other"), version="2024-11-30")).status == 200


async def test_what_would_be_refused_is_told_with_the_refusal(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("treasure")
    await plane.person(
        "operator", ("Virtual Machine Contributor", GROUP), ("Contributor", vm("vm")), ("Managed Identity Contributor", GROUP)
    )
    await plane.person("planner", ("Contributor", GROUP))
    chosen = {"type": "UserAssigned", "userAssignedIdentities": {uai("none"): {}}}
    found = await changes(plane, template(machine("vm", identity=chosen), identity("after", dependsOn=["vm"])), by="planner")
    assert found["vm"]["changeType"] == "Unsupported"
    assert found["vm"]["unsupportedReason"].startswith("LinkedAuthorizationFailed: ")
    assert found["after"]["changeType"] == "Create"


async def test_a_role_and_its_assignment_in_one_template(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    role = {
        "type": "Microsoft.Authorization/roleDefinitions",
        "apiVersion": "2022-04-01",
        "scope": SUB,
        "name": ROLE,
        "properties": {
            "roleName": "Looker",
            "type": "CustomRole",
            "permissions": [{"actions": ["Microsoft.Compute/*/read"]}],
            "assignableScopes": [SUB],
        },
    }
    grant = {
        "type": "Microsoft.Authorization/roleAssignments",
        "apiVersion": "2022-04-01",
        "name": "[guid('looker')]",
        "dependsOn": [f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{ROLE}"],
        "properties": {
            "roleDefinitionId": f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{ROLE}",
            "principalId": plane.people["reader"],
            "principalType": "ServicePrincipal",
        },
    }
    document = template(role, grant)
    assert {one["changeType"] for one in (await changes(plane, document)).values()} == {"Create"}
    assert (await deploy(plane, document))["provisioningState"] == "Succeeded"
    again = await changes(plane, document)
    assert {one["changeType"] for one in again.values()} == {"NoChange"}, json.dumps(again)


async def test_asking_needs_the_right_to_ask(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    reply = await plane.call("POST", f"{at('main')}/whatIf", asked(template()), version=DEPLOY, by="reader")
    assert (reply.status, reply.code) == (403, "AuthorizationFailed")
    assert "Microsoft.Resources/deployments/whatIf/action" in reply.message
