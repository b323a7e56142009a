"""Deployments in complete mode, at every scope, and inside one another."""

from __future__ import annotations

import json

import pytest
from tests.unit.providers.deploying import (
    DEPLOY,
    asked,
    at,
    code_of,
    deploy,
    identity,
    nested,
    status,
    template,
)
from tests.unit.providers.surface_plane import AWAY, GROUP, HOME, SUB, OpenPlane, uai

# Complete mode


async def test_complete_mode_leaves_only_what_the_template_states(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for name in ("old", "kept", "off", "inner"):
        await plane.identity(name)
    document = template(identity("kept"), identity("off", condition=False), nested("n", template(identity("inner"))))
    done = await deploy(plane, document, mode="complete")
    assert done["provisioningState"] == "Succeeded", done
    assert [await status(plane, uai(name)) for name in ("kept", "inner", "old", "off")] == [200, 200, 404, 404]
    deleted = [
        one["properties"]
        for one in (await plane.get(f"{at('main')}/operations", version=DEPLOY))["value"]
        if one["properties"]["provisioningOperation"] == "Delete"
    ]
    assert sorted(one["targetResource"]["resourceName"] for one in deleted) == ["off", "old"]
    assert (await plane.events())[-1].caller_name == "owner"


async def test_complete_mode_deletes_nothing_after_a_failure(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("old")
    assert (await deploy(plane, template(identity("b!d")), mode="Complete"))["provisioningState"] == "Failed"
    assert await status(plane, uai("old")) == 200


async def test_complete_mode_is_for_groups(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    reply = await plane.call("PUT", at("main", SUB), {**asked(template(), mode="Complete"), "location": "x"}, version=DEPLOY)
    assert code_of(reply) == (400, "InvalidDeployment")


# Scopes and nesting


async def test_a_group_with_what_is_in_it_from_the_subscription(open_plane: OpenPlane) -> None:
    plane = await open_plane(group=False)
    group = {
        "type": "Microsoft.Resources/resourceGroups",
        "apiVersion": "2022-09-01",
        "name": "Stock",
        "location": "[deployment().location]",
    }
    inside = template(
        identity("[parameters('name')]"),
        parameters={"name": {"type": "string"}},
        outputs={"id": {"type": "string", "value": "[resourceGroup().id]"}},
    )
    module = nested(
        "inside", inside, resourceGroup="Stock", dependsOn=["Stock"], properties={"parameters": {"name": {"value": "one"}}}
    )
    done = await deploy(
        plane,
        template(group, module, outputs={"id": {"type": "string", "value": "[reference('inside').outputs.id.value]"}}),
        scope=SUB,
    )
    assert done["provisioningState"] == "Succeeded", done
    assert done["outputs"]["id"]["value"] == GROUP
    assert await status(plane, uai("one")) == 200
    assert {one["id"] for one in done["outputResources"]} == {GROUP, uai("one")}
    shown = await plane.get(at("main", SUB), version=DEPLOY)
    assert shown["location"] == "westeurope"


@pytest.mark.parametrize(
    ("scope", "place", "code"), [(SUB, None, "LocationRequired"), (GROUP, "westeurope", "InvalidDeployment")]
)
async def test_where_deployments_have_a_location(open_plane: OpenPlane, scope: str, place: str | None, code: str) -> None:
    plane = await open_plane()
    body = asked(template()) | ({} if place is None else {"location": place})
    assert code_of(await plane.call("PUT", at("main", scope), body, version=DEPLOY)) == (400, code)


async def test_a_deployment_keeps_its_location(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await deploy(plane, template(), scope=SUB)
    moved = await plane.call("PUT", at("main", SUB), {**asked(template()), "location": "eastus"}, version=DEPLOY)
    assert code_of(moved) == (409, "InvalidDeploymentLocation")


async def test_deployments_of_the_tenant_are_its_own(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    module = nested("below", template(identity("one")), subscriptionId=SUB.rpartition("/")[2], resourceGroup="Stock")
    done = await deploy(plane, template(module), scope="")
    assert done["provisioningState"] == "Succeeded", done
    assert await status(plane, uai("one")) == 200
    assert (await plane.call("GET", at("main", ""), version=DEPLOY, by="stranger")).code == "DeploymentNotFound"
    assert (await plane.get("/providers/Microsoft.Resources/deployments", version=DEPLOY, by="stranger"))["value"] == []
    assert AWAY != HOME


async def test_a_nested_failure_is_told_to_the_innermost(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    done = await deploy(plane, template(nested("a", template(nested("b", template(identity("x!")))))))
    detail = done["error"]["details"][0]
    assert (detail["code"], detail["target"]) == ("DeploymentFailed", at("a"))
    assert detail["details"][0]["details"][0]["code"] == "InvalidResourceName"
    assert (await plane.get(at("b"), version=DEPLOY))["properties"]["provisioningState"] == "Failed"


async def test_nesting_has_an_end(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    document = template()
    for depth in range(7):
        document = template(nested(f"n{depth}", document))
    done = await deploy(plane, document)
    assert "NestedDeploymentDepthExceeded" in json.dumps(done["error"])


async def test_the_scope_in_which_nested_templates_are_evaluated(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    document = template(
        nested("inside", template(identity("[variables('v')]"), variables={"v": "own"})),
        nested("outside", template(identity("[variables('v')]"), variables={"v": "hidden"}), inner=False),
        variables={"v": "outer"},
    )
    assert (await deploy(plane, document))["provisioningState"] == "Succeeded"
    assert [await status(plane, uai(name)) for name in ("own", "outer", "hidden")] == [200, 200, 404]
