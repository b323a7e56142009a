"""Templates at management groups: what they see of their group, and what they bring about in it, above it and below it."""

from __future__ import annotations

from typing import Any

from tests.unit.providers.deploying import DEPLOY, asked, at, deploy, identity, template
from tests.unit.providers.surface_plane import GROUP, HOME, ROLES, SUB, SUBSCRIPTION, OpenPlane, Plane

from idplane.ports.collections import DEPLOYMENTS, MANAGEMENT_GROUPS, ROLE_ASSIGNMENTS, SUBSCRIPTIONS

GROUPS = "/providers/Microsoft.Management/managementGroups"
SHOPS = f"{GROUPS}/Shops"
VERSION = "2023-04-01"


async def shops(plane: Plane) -> None:
    body = {"properties": {"displayName": "All shops"}}
    assert (await plane.call("PUT", SHOPS, body, version=VERSION)).status == 200


def group(name: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
    details = {"details": {"parent": {"id": parent}}} if parent else {}
    return {
        "type": "Microsoft.Management/managementGroups",
        "apiVersion": VERSION,
        "name": name,
        "scope": "/",
        "properties": {"displayName": name, **details},
        **more,
    }


def nested(name: str, document: object, **more: Any) -> dict[str, Any]:
    return {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": name,
        "location": "westeurope",
        "properties": {"mode": "Incremental", "expressionEvaluationOptions": {"scope": "inner"}, "template": document},
        **more,
    }


async def test_a_template_sees_the_group_that_it_is_deployed_at(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await shops(plane)
    values = {
        "name": "[managementGroup().name]",
        "shown": "[managementGroup().properties.displayName]",
        "parent": "[managementGroup().properties.details.parent.id]",
        "own": "[managementGroupResourceId('Microsoft.Authorization/policyDefinitions', 'p')]",
        "id": "[resourceId('Microsoft.Authorization/roleDefinitions', 'r')]",
        "deployment": "[deployment().location]",
    }
    outputs = {name: {"type": "string", "value": value} for name, value in values.items()}
    done = await deploy(plane, template(outputs=outputs), scope=SHOPS)
    assert {name: one["value"] for name, one in done["outputs"].items()} == {
        "name": "Shops",
        "shown": "All shops",
        "parent": f"{GROUPS}/{HOME}",
        "own": f"{SHOPS}/providers/Microsoft.Authorization/policyDefinitions/p",
        "id": "/providers/Microsoft.Authorization/roleDefinitions/r",
        "deployment": "westeurope",
    }
    listed = await plane.get(f"{SHOPS}/providers/Microsoft.Resources/deployments", version=DEPLOY)
    assert [one["id"] for one in listed["value"]] == [at("main", SHOPS)]
    refused = await deploy(plane, template(outputs={"a": {"type": "string", "value": "[resourceGroup().name]"}}), scope=GROUP)
    assert refused["outputs"]["a"]["value"] == "Stock"


async def test_functions_of_a_group_are_for_templates_at_groups(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for value in ("[managementGroup().name]", "[managementGroupResourceId('A.B/c', 'd')]"):
        document = template(outputs={"a": {"type": "string", "value": value}})
        reply = await plane.call("POST", f"{at('main')}/validate", asked(document), version=DEPLOY)
        if reply.status == 200:
            assert (await deploy(plane, document))["provisioningState"] == "Failed"
        else:
            assert (reply.status, reply.code) == (400, "InvalidTemplate")


async def test_a_landing_zone_is_deployed_in_one_go_and_again(open_plane: OpenPlane) -> None:
    """Groups below the deployment's own, a role at it, a subscription placed, and a deployment into that subscription."""
    plane = await open_plane()
    await shops(plane)
    worker = await plane.person("worker")
    role = {
        "type": "Microsoft.Authorization/roleAssignments",
        "apiVersion": "2022-04-01",
        "name": "[guid(managementGroup().id, 'reader')]",
        "properties": {
            "roleDefinitionId": f"[tenantResourceId('Microsoft.Authorization/roleDefinitions', '{ROLES['Reader']}')]",
            "principalId": worker,
        },
    }
    placing = {
        "type": "Microsoft.Management/managementGroups/subscriptions",
        "apiVersion": VERSION,
        "scope": "/",
        "name": f"Web/{SUBSCRIPTION}",
        "dependsOn": ["[tenantResourceId('Microsoft.Management/managementGroups', 'Web')]"],
    }
    inside = nested("inside", template(identity("app")), subscriptionId=SUBSCRIPTION, resourceGroup="Stock")
    aside = nested("aside", template(outputs={"a": {"type": "string", "value": "[managementGroup().name]"}}))
    del inside["location"]
    aside |= {"scope": "Microsoft.Management/managementGroups/Web", "dependsOn": placing["dependsOn"]}
    document = template(group("Web", "[managementGroup().id]"), role, placing, inside, aside)
    for _ in range(2):
        done = await deploy(plane, document, scope=SHOPS)
        assert done["provisioningState"] == "Succeeded", done["error"]
    web = await plane.store.get(MANAGEMENT_GROUPS, "web")
    subscription = await plane.store.get(SUBSCRIPTIONS, SUBSCRIPTION)
    assert web is not None
    assert subscription is not None
    assert (web.value.parent, subscription.value.management_group) == ("shops", "web")
    (assigned,) = await plane.store.all(ROLE_ASSIGNMENTS, where={"management_group_key": "shops"})
    assert (assigned.value.scope, assigned.value.principal_id) == (SHOPS, worker)
    app = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"
    assert (await plane.call("GET", app, version="2024-11-30", by="worker")).status == 200
    ended = await plane.get(at("aside", f"{GROUPS}/Web"), version=DEPLOY)
    assert ended["properties"]["outputs"]["a"]["value"] == "Web"
    reply = await plane.call(
        "POST", f"{at('main', SHOPS)}/whatIf", {**asked(document), "location": "westeurope"}, version=DEPLOY
    )
    assert {one["changeType"] for one in reply.body["properties"]["changes"]} == {"NoChange"}


async def test_the_history_of_a_group_goes_with_it(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await shops(plane)
    await deploy(plane, template(outputs={"a": {"type": "int", "value": 1}}), scope=SHOPS)
    assert (await plane.call("DELETE", SHOPS, version=VERSION)).status == 204
    assert not await plane.store.all(DEPLOYMENTS)


async def test_deploying_at_a_group_takes_rights_there(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await shops(plane)
    body = {**asked(template()), "location": "westeurope"}
    await plane.person("shopkeeper", ("Contributor", SHOPS))
    for name, expected in (("contributor", 403), ("stranger", 403), ("shopkeeper", 201)):
        assert (await plane.call("PUT", at("main", SHOPS), body, version=DEPLOY, by=name)).status == expected
    missing = await plane.call("PUT", at("main", f"{GROUPS}/none"), body, version=DEPLOY)
    assert missing.status == 404
    unplaced = await plane.call("PUT", at("main", SHOPS), asked(template()), version=DEPLOY)
    assert unplaced.code == "LocationRequired"
    widening = template(group("Other"))
    done = await deploy(plane, widening, scope=SHOPS, by="shopkeeper", name="wide")
    assert done["error"]["details"][0]["code"] == "AuthorizationFailed"
    assert (await plane.call("GET", SUB, version="2022-12-01", by="shopkeeper")).status == 403
