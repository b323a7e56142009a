"""`exportTemplate` of groups: what it says deploys elsewhere, to no difference."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.providers.deploying import DEPLOY, asked, at, deploy
from tests.unit.providers.surface_plane import GROUP, MSI, SUB, OpenPlane, Plane, uai, vm
from tests.unit.providers.test_quickstarts import FOLDER, NAMES

from idplane.ports.collections import RESOURCES

OTHER = f"{SUB}/resourceGroups/Copy"
DEFAULTS = {"resources": ["*"], "options": "IncludeParameterDefaultValue"}


async def _export(plane: Plane, body: object = DEFAULTS, *, by: str = "owner", group: str = GROUP) -> Any:
    reply = await plane.call("POST", f"{group}/exportTemplate", body, by=by, version="2022-09-01")
    assert reply.status == 200, reply.body
    return reply.body


@pytest.mark.parametrize("name", [one for one in NAMES if one != "landing-zone"])
async def test_an_export_deploys_elsewhere(open_plane: OpenPlane, name: str) -> None:
    plane = await open_plane()
    template = json.loads((FOLDER / f"{name}.json").read_text())
    given = json.loads((FOLDER / f"{name}.parameters.json").read_text())["parameters"]
    done = await deploy(plane, template, {key: one["value"] for key, one in given.items()})
    assert done["provisioningState"] == "Succeeded", done.get("error")
    exported = await _export(plane)
    assert "error" not in exported
    document = exported["template"]
    # Vaults have names that nobody else has.
    renamed = {key: "copied-vault" for key in document["parameters"] if key.startswith("vaults_")}
    await plane.put(OTHER, {"location": "westeurope"})
    copied = await deploy(plane, document, renamed, scope=OTHER)
    assert copied["provisioningState"] == "Succeeded", json.dumps(copied.get("error"), indent=1)
    assert (
        await _held(plane, OTHER) == {one.replace("/quick-keys", "/copied-vault") for one in await _held(plane, GROUP)}
        or renamed
    )
    changes = await plane.call("POST", f"{at('main', OTHER)}/whatIf", asked(document, renamed), version=DEPLOY)
    foreseen = changes.body["properties"]["changes"]
    assert {one["changeType"] for one in foreseen} <= {"NoChange", "Ignore"}, foreseen
    # Where it came from, it changes nothing either.
    here = await plane.call("POST", f"{at('main')}/whatIf", asked(document), version=DEPLOY)
    foreseen = here.body["properties"]["changes"]
    assert {one["changeType"] for one in foreseen} <= {"NoChange", "Ignore"}, foreseen


async def _held(plane: Plane, group: str) -> set[str]:
    return {
        one.value.id.key.removeprefix(group.lower()) for one in await plane.store.all(RESOURCES, under=("path", group.lower()))
    }


async def test_names_and_ids_become_parameters_and_expressions(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.put(OTHER, {"location": "westeurope"})
    foreign = uai("far").replace(GROUP, OTHER)
    await plane.put(foreign, {"location": "westeurope"}, version=MSI)
    await plane.identity("near")
    trust = {"properties": {"issuer": "https://issuer.test", "subject": "[s]", "audiences": ["api://x"]}}
    await plane.put(f"{uai('near')}/federatedIdentityCredentials/one", trust, version=MSI)
    users: dict[str, object] = {uai("near"): {}, foreign: {}}
    machine = {
        "location": "westeurope",
        "tags": {"a": "[b]"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": users},
    }
    await plane.put(vm("a.b"), machine, version="2024-11-01")
    document = (await _export(plane))["template"]
    assert document["parameters"] == {
        "virtualMachines_a_b_name": {"defaultValue": "a.b", "type": "String"},
        "userAssignedIdentities_near_name": {"defaultValue": "near", "type": "String"},
        "userAssignedIdentities_far_externalid": {"defaultValue": foreign, "type": "String"},
    }
    one, other, credential = document["resources"]
    near = "[resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', parameters('userAssignedIdentities_near_name'))]"
    assert one["name"] == "[parameters('virtualMachines_a_b_name')]"
    assert one["tags"] == {"a": "[[b]"}
    assert one["identity"] == {
        "type": "UserAssigned",
        "userAssignedIdentities": {near: {}, "[parameters('userAssignedIdentities_far_externalid')]": {}},
    }
    assert one["dependsOn"] == [near]
    assert not {"principalId", "clientId", "tenantId"} & set(other["properties"])
    assert credential["name"] == "[concat(parameters('userAssignedIdentities_near_name'), '/', 'one')]"
    assert credential["properties"]["subject"] == "[[s]"
    bare = (await _export(plane, {"resources": ["*"], "options": "SkipAllParameterizations,IncludeComments"}))["template"]
    assert bare["parameters"] == {}
    assert [one["name"] for one in bare["resources"]] == ["a.b", "near", "near/one"]
    assert bare["resources"][0]["comments"] == f"Generalized from resource: '{vm('a.b')}'."
    assert foreign in bare["resources"][0]["identity"]["userAssignedIdentities"]
    names = (await _export(plane, {"resources": ["*"], "options": "SkipResourceNameParameterization"}))["template"]
    assert list(names["parameters"]) == ["userAssignedIdentities_far_externalid"]
    plain = (await _export(plane, {}))["template"]
    assert plain["parameters"]["virtualMachines_a_b_name"] == {"type": "String"}


async def test_some_resources_only(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("one")
    await plane.machine("vm", {"type": "UserAssigned", "userAssignedIdentities": {uai("one"): {}}})
    document = (await _export(plane, {"resources": [vm("VM")]}))["template"]
    assert [one["type"] for one in document["resources"]] == ["Microsoft.Compute/virtualMachines"]
    assert list(document["parameters"]) == ["virtualMachines_vm_name", "userAssignedIdentities_one_externalid"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"resources": ["junk"]}, 400),
        ({"resources": [vm("ghost")]}, 400),
        ({"resources": [1]}, 400),
        ({"resources": "*"}, 400),
        ({"options": "Everything"}, 400),
        ({"outputFormat": "Bicep"}, 400),
    ],
)
async def test_what_cannot_be_exported(open_plane: OpenPlane, body: object, status: int) -> None:
    plane = await open_plane()
    assert (await plane.call("POST", f"{GROUP}/exportTemplate", body, version="2022-09-01")).status == status


async def test_what_the_caller_may_not_read_is_told_and_left_out(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.machine("vm")
    assert (await plane.call("POST", f"{GROUP}/exportTemplate", DEFAULTS, by="reader", version="2022-09-01")).status == 403
    assert (await plane.call("POST", f"{SUB}/resourceGroups/x/exportTemplate", DEFAULTS, version="2022-09-01")).status == 404
