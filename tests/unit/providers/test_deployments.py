"""Deployments through the management surface: life, order, failure, rights, secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.providers.deploying import (
    DEPLOY,
    SCHEMA,
    Gate,
    asked,
    at,
    code_of,
    deploy,
    ended,
    grant,
    identity,
    machine,
    nested,
    status,
    template,
)
from tests.unit.providers.surface_plane import FOREIGN, GROUP, HOME, MSI, ORIGIN, SUB, OpenPlane, uai, vm

from idplane.model.events import EventStatus
from idplane.ports.collections import DEPLOYMENT_OPERATIONS, DEPLOYMENTS, RESOURCES
from idplane.providers import PROVIDERS
from idplane.providers.catalogue import composed

# Life


async def test_a_deployment_s_life(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    document = template(
        identity("one"),
        outputs={"client": {"type": "string", "value": "[reference('one').clientId]"}},
        parameters={"p": {"type": "int"}},
    )
    url = at("main")
    assert (await plane.call("HEAD", url, version=DEPLOY)).status == 404
    assert code_of(await plane.call("GET", url, version=DEPLOY)) == (404, "DeploymentNotFound")

    made = await plane.call("PUT", url, asked(document, {"p": 5}), version=DEPLOY)
    assert (made.status, made.body["properties"]["provisioningState"]) == (201, "Accepted")
    assert (made.body["id"], made.body["name"], made.body["type"]) == (url, "main", "Microsoft.Resources/deployments")
    done = (await ended(plane, url))["properties"]
    polled = await plane.call("GET", made.headers["azure-asyncoperation"])
    assert polled.body == {"status": "Succeeded"}
    assert done["provisioningState"] == "Succeeded"
    assert done["parameters"] == {"p": {"type": "Int", "value": 5}}
    assert done["outputs"] == {
        "client": {"type": "String", "value": (await plane.get(uai("one"), version=MSI))["properties"]["clientId"]}
    }
    assert done["outputResources"] == [{"id": uai("one")}]
    assert done["correlationId"] == "d1000000-0000-4000-8000-000000000001"

    assert (await plane.call("HEAD", url, version=DEPLOY)).status == 204
    assert [
        one["name"] for one in (await plane.get(f"{GROUP}/providers/Microsoft.Resources/deployments/", version=DEPLOY))["value"]
    ] == ["main"]
    assert (await plane.call("POST", f"{url}/exportTemplate", version=DEPLOY)).body == {"template": document}
    operations = (await plane.get(f"{GROUP}/deployments/main/operations", version=DEPLOY))["value"]
    assert [one["properties"]["provisioningOperation"] for one in operations] == ["Create", "EvaluateDeploymentOutput"]
    assert operations[0]["properties"]["targetResource"]["id"] == uai("one")
    assert await plane.get(f"{url}/operations/{operations[0]['operationId']}", version=DEPLOY) == operations[0]

    again = await plane.call("PUT", url, asked(document, {"p": 6}), version=DEPLOY)
    assert again.status == 200
    assert code_of(await plane.call("GET", made.headers["azure-asyncoperation"])) == (404, "ResourceNotFound")
    await ended(plane, url)
    assert len((await plane.get(f"{url}/operations", version=DEPLOY))["value"]) == 2

    assert (await plane.call("DELETE", url, version=DEPLOY)).status == 204
    assert (await plane.call("DELETE", url, version=DEPLOY)).status == 204
    assert await status(plane, uai("one")) == 200
    assert await plane.store.all(DEPLOYMENT_OPERATIONS) == ()


async def test_ids_have_the_casing_of_what_is_there(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await deploy(plane, template(identity("one")), scope=GROUP.replace("resourceGroups/Stock", "resourceGroups/STOCK"))
    shown = await plane.get(at("MAIN"), version=DEPLOY)
    assert (shown["id"], shown["properties"]["outputResources"]) == (at("main"), [{"id": uai("one")}])


async def test_lists_are_filtered_by_state(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await deploy(plane, template(identity("one")), name="good")
    await deploy(plane, template(identity("x!")), name="bad")
    url = f"{GROUP}/providers/Microsoft.Resources/deployments?$filter=provisioningState eq 'Failed'"
    assert [one["name"] for one in (await plane.get(url, version=DEPLOY))["value"]] == ["bad"]
    assert (
        await plane.call("GET", url.replace("provisioningState", "name"), version=DEPLOY)
    ).code == "InvalidFilterInQueryString"
    assert (
        await plane.call("GET", f"{SUB}/resourceGroups/none/providers/Microsoft.Resources/deployments", version=DEPLOY)
    ).code == "ResourceGroupNotFound"


async def test_deployments_go_with_their_group(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await deploy(plane, template(identity("one")))
    assert (await plane.call("DELETE", GROUP)).status == 202
    assert await plane.store.all(DEPLOYMENTS) == ()
    assert await plane.store.all(RESOURCES) == ()


# Order and failure


async def test_a_machine_whose_identity_gets_a_role(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    full = "reference(resourceId('Microsoft.Compute/virtualMachines', 'vm'), '2024-11-01', 'Full')"
    done = await deploy(
        plane, template(grant(f"[{full}.identity.principalId]"), machine("vm", identity={"type": "SystemAssigned"}))
    )
    assert done["provisioningState"] == "Succeeded", done
    principal = (await plane.get(vm("vm"), version="2024-11-01"))["identity"]["principalId"]
    found = await plane.get(
        f"{GROUP}/providers/Microsoft.Authorization/roleAssignments?$filter=principalId eq '{principal}'", version="2022-04-01"
    )
    assert len(found["value"]) == 1
    assert [(one["resourceName"], one["dependsOn"][0]["resourceName"]) for one in done["dependencies"]] == [
        (found["value"][0]["name"], "vm")
    ]


async def test_what_is_independent_runs_at_once(open_plane: OpenPlane) -> None:
    gate = Gate()
    plane = await open_plane(providers=composed(gate.provider))
    document = template(gate.resource("a"), gate.resource("b"), gate.resource("c", dependsOn=["a"]))
    await plane.call("PUT", at("main"), asked(document), version=DEPLOY)
    await gate.until("a", "b")
    assert "c" not in gate.waiting
    gate.open.set()
    assert (await ended(plane, at("main")))["properties"]["provisioningState"] == "Succeeded"
    assert "c" in gate.waiting


async def test_a_failure_is_told_its_dependents_are_left_out_and_the_rest_stays(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    document = template(
        identity("good"),
        identity("ba!d"),
        identity("after", dependsOn=["ba!d"]),
        identity("further", dependsOn=["after"]),
        identity("other", dependsOn=["good"]),
    )
    done = await deploy(plane, document)
    assert done["provisioningState"] == "Failed"
    assert done["error"]["code"] == "DeploymentFailed"
    assert done["error"]["target"] == at("main")
    (detail,) = done["error"]["details"]
    assert (detail["code"], detail["target"]) == ("InvalidResourceName", uai("ba!d"))
    assert "ba!d" in detail["message"]
    assert [await status(plane, uai(name)) for name in ("good", "other", "after", "further")] == [200, 200, 404, 404]
    states = {
        one["properties"]["targetResource"]["resourceName"]: (
            one["properties"]["provisioningState"],
            one["properties"]["statusCode"],
        )
        for one in (await plane.get(f"{at('main')}/operations", version=DEPLOY))["value"]
    }
    assert states == {"good": ("Succeeded", "Created"), "other": ("Succeeded", "Created"), "ba!d": ("Failed", "BadRequest")}
    assert "outputs" not in done


async def test_outputs_that_cannot_be_had_fail_the_deployment_and_keep_the_resources(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    done = await deploy(
        plane, template(identity("one"), outputs={"o": {"type": "string", "value": "[reference('one').nothing]"}})
    )
    assert done["provisioningState"] == "Failed"
    assert done["error"]["details"][0]["code"] == "DeploymentOutputEvaluationFailed"
    assert "available properties are" in done["error"]["details"][0]["details"][0]["message"]
    assert await status(plane, uai("one")) == 200


async def test_list_functions_are_actions_of_the_caller(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    listed = "listAssociatedResources(resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', 'one'), '2022-01-31-preview').totalCount"
    done = await deploy(plane, template(identity("one"), outputs={"o": {"type": "int", "value": f"[{listed}]"}}))
    assert done["outputs"] == {"o": {"type": "Int", "value": 0}}
    none = await deploy(
        plane,
        template(
            identity("one", tags={"k": "[listKeys(resourceId('Microsoft.Compute/virtualMachines', 'vm'), '2024-11-01').x]"})
        ),
    )
    assert none["error"]["details"][0]["code"] == "InvalidResourceType"


# Rights


async def test_nothing_is_deployed_when_some_part_may_not_be(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    document = template(identity("one"), grant(plane.people["nobody"]))
    reply = await plane.call("PUT", at("main"), asked(document), version=DEPLOY, by="contributor")
    assert code_of(reply) == (403, "InvalidTemplateDeployment")
    assert (
        f"object id '{plane.people['contributor']}' does not have permission to perform action 'Microsoft.Authorization/roleAssignments/write'"
        in reply.message
    )
    assert await status(plane, uai("one")) == 404
    assert code_of(await plane.call("PUT", at("main"), asked(template()), version=DEPLOY, by="reader")) == (
        403,
        "AuthorizationFailed",
    )
    assert code_of(await plane.call("PUT", at("main"), asked(template()), version=DEPLOY, by="stranger")) == (
        401,
        "InvalidAuthenticationTokenTenant",
    )
    events = [one for one in await plane.events() if one.operation.endswith("deployments/write")]
    assert [one.sub_status for one in events] == ["InvalidTemplateDeployment", "AuthorizationFailed"]


async def test_a_template_gives_no_rights_that_its_caller_lacks(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("treasure")
    await plane.person("operator", ("Virtual Machine Contributor", GROUP), ("Managed Identity Contributor", GROUP))
    chosen = {"type": "UserAssigned", "userAssignedIdentities": {uai("treasure"): {}}}
    done = await deploy(plane, template(machine("vm", identity=chosen)), by="operator")
    assert done["error"]["details"][0]["code"] == "LinkedAuthorizationFailed"
    assert await status(plane, vm("vm")) == 404
    other = f"{SUB}/resourceGroups/other"
    await plane.put(other, {"location": "westeurope"})
    reply = await plane.call(
        "PUT", at("main"), asked(template(nested("n", template(), resourceGroup="other"))), version=DEPLOY, by="operator"
    )
    assert code_of(reply) == (403, "InvalidTemplateDeployment")


async def test_another_tenant_s_subscription_is_out_of_reach(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    module = nested("n", template(), subscriptionId=FOREIGN, resourceGroup="theirs")
    reply = await plane.call("PUT", at("main"), asked(template(module)), version=DEPLOY)
    assert code_of(reply) == (403, "InvalidTemplateDeployment")
    assert f"at scope '/subscriptions/{FOREIGN}/resourceGroups/theirs/" in reply.message
    assert (await plane.events())[-1].sub_status == "InvalidTemplateDeployment"
    looked = f"[reference('/subscriptions/{FOREIGN}/resourceGroups/theirs', '2022-09-01', 'Full').location]"
    done = await deploy(plane, template(identity("one", tags={"t": looked})))
    assert done["error"]["details"][0]["code"] == "InvalidAuthenticationTokenTenant"


async def test_what_a_deployment_does_is_in_the_log_as_its_caller_s(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await deploy(plane, template(identity("one"), identity("b!d")), by="contributor")
    events = [one for one in await plane.events() if one.caller_name == "contributor"]
    assert {(one.operation, one.status) for one in events} == {
        ("Microsoft.Resources/deployments/write", EventStatus.ACCEPTED),
        ("Microsoft.Resources/deployments/write", EventStatus.FAILED),
        ("Microsoft.ManagedIdentity/userAssignedIdentities/write", EventStatus.SUCCEEDED),
        ("Microsoft.ManagedIdentity/userAssignedIdentities/write", EventStatus.FAILED),
    }
    assert {one.correlation_id for one in events} == {"d1000000-0000-4000-8000-000000000001"}
    assert len({one.operation_id for one in events}) == 3
    taken, *_, ended = (one for one in events if "deployments" in one.operation)
    assert (taken.operation_id, taken.sub_status) == (ended.operation_id, "Created")
    assert (ended.sub_status, ended.started_at) == ("DeploymentFailed", None)
    assert "InvalidResourceName" in str(ended.properties["statusMessage"]) or "BadRequest" in str(
        ended.properties["statusMessage"]
    )


async def test_a_deployment_that_succeeds_says_so_at_its_end(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await deploy(plane, template(identity("one")))
    told = [one.status for one in await plane.events() if one.operation == "Microsoft.Resources/deployments/write"]
    assert told == [EventStatus.ACCEPTED, EventStatus.SUCCEEDED]


async def test_secrets_are_nowhere(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    inner = template(
        machine("vm", properties={"osProfile": {"adminPassword": "[parameters('inside')]"}}),
        parameters={"inside": {"type": "securestring"}},
        outputs={"p": {"type": "securestring", "value": "[parameters('inside')]"}},
    )
    outer = template(machine("vm2", properties={"osProfile": {"adminPassword": "[parameters('secret')]"}}))
    document = template(
        nested("inner", inner, properties={"parameters": {"inside": {"value": "[parameters('secret')]"}}}),
        nested("outer", outer, inner=False),
        parameters={"secret": {"type": "securestring"}},
        outputs={"s": {"type": "securestring", "value": "[parameters('secret')]"}},
    )
    done = await deploy(plane, document, {"secret": "hunter2"})
    assert done["provisioningState"] == "Succeeded", done
    assert done["parameters"] == {"secret": {"type": "SecureString"}}
    assert done["outputs"] == {"s": {"type": "SecureString"}}
    for collection in (DEPLOYMENTS, DEPLOYMENT_OPERATIONS, RESOURCES):
        kept: Any = await plane.store.all(collection)
        assert kept
        assert "hunter2" not in repr(kept)
    assert "hunter2" not in repr(await plane.events())
    for url in (at("main"), at("inner"), at("outer")):
        assert "hunter2" not in json.dumps((await plane.call("POST", f"{url}/exportTemplate", version=DEPLOY)).body)


# What is refused ahead of deploying


@pytest.mark.parametrize(
    ("body", "status_", "code", "words"),
    [
        ({}, 400, "InvalidRequestContent", "properties.template"),
        (asked({"resources": []}), 400, "InvalidTemplate", "Required property '$schema' not found"),
        (asked(template(parameters={"p": {"type": "string"}})), 400, "InvalidTemplate", "The value for the template parameter 'p' at line '1' and column"),
        (asked(template(identity("[nosuch()]"))), 400, "InvalidTemplate", "The template function 'nosuch' is not valid"),
        (asked(template(identity("a", dependsOn=["b"]))), 400, "InvalidTemplate", "The resource 'b' is not defined in the template"),
        (asked(template(), mode="Total"), 400, "InvalidParameter", "must be 'Incremental' or 'Complete'"),
        ({"properties": {"mode": "Incremental", "templateLink": {"uri": "https://x.test"}}}, 400, "NotSupported", "links to templates"),
        ({"properties": {"mode": "Incremental", "template": template(), "onErrorDeployment": {"type": "LastSuccessful"}}}, 400, "InvalidOnErrorDeployment", "no deployment that can be used"),
        ({"properties": {"mode": "Incremental", "template": template(), "onErrorDeployment": {"type": "Any"}}}, 400, "InvalidParameter", "must be 'LastSuccessful'"),
        ({"properties": {"mode": "Incremental", "template": template(), "onErrorDeployment": {"type": "SpecificDeployment"}}}, 400, "InvalidParameter", "deploymentName"),
        ({"properties": {"mode": "Incremental", "template": template(), "onErrorDeployment": {"deploymentName": "x"}}}, 400, "InvalidParameter", "SpecificDeployment"),
        (asked(template({"type": "No.Such/type", "apiVersion": "2020-01-01", "name": "x"})), 404, "InvalidResourceNamespace", "No.Such"),
        (asked(template(identity("x", apiVersion="1999-01-01"))), 400, "NoRegisteredProviderFound", "1999-01-01"),
    ],
)  # fmt: skip
async def test_refusals_ahead_of_everything(open_plane: OpenPlane, body: object, status_: int, code: str, words: str) -> None:
    plane = await open_plane()
    for method, url in (("PUT", at("main")), ("POST", f"{at('main')}/validate"), ("POST", f"{at('main')}/whatIf")):
        reply = await plane.call(method, url, body, version=DEPLOY)
        assert code_of(reply) == (status_, code)
        assert words in reply.message
    assert await plane.store.all(DEPLOYMENTS) == ()


async def test_names_and_groups(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    assert (await plane.call("PUT", at("a" * 65), asked(template()), version=DEPLOY)).code == "InvalidResourceName"
    assert (
        await plane.call("PUT", at("main", f"{SUB}/resourceGroups/no"), asked(template()), version=DEPLOY)
    ).code == "ResourceGroupNotFound"


async def test_the_body_that_the_command_line_pastes_together(open_plane: OpenPlane) -> None:
    """control-plane.md section 1 point 2."""
    plane = await open_plane()
    text = json.dumps({**SCHEMA, "parameters": {"p": {"type": "string"}}, "resources": []}, indent=2).replace(
        '"resources"', '// none\n"resources"'
    )
    raw = b'{"properties": {"parameters": {"p": {"value": "x"}}, "mode": "Incremental", template:' + text.encode() + b"}}"
    assert (await plane.call("PUT", at("main"), version=DEPLOY, raw=raw)).status == 201
    assert (await ended(plane, at("main")))["properties"]["provisioningState"] == "Succeeded"
    missing = await plane.call("PUT", at("other"), version=DEPLOY, raw=raw.replace(b'"value": "x"', b'"value": null'))
    assert "'p' at line '5' and column" in missing.message
    broken = await plane.call("PUT", at("other"), version=DEPLOY, raw=raw.replace(b"// none", b"none"))
    assert code_of(broken) == (400, "InvalidRequestContent")
    assert "Line " in broken.message


async def test_validation_says_what_would_be_deployed_and_keeps_nothing(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    reply = await plane.call(
        "POST", f"{at('main')}/validate", asked(template(identity("one"), identity("no", condition=False))), version=DEPLOY
    )
    assert reply.status == 200
    assert reply.body["properties"]["validatedResources"] == [{"id": uai("one")}]
    assert reply.body["properties"]["provisioningState"] == "Succeeded"
    assert await plane.store.all(DEPLOYMENTS) == ()
    assert await status(plane, uai("one")) == 404
    denied = await plane.call("POST", f"{at('main')}/validate", asked(template(grant(HOME))), version=DEPLOY, by="contributor")
    assert code_of(denied) == (403, "InvalidTemplateDeployment")


async def test_many_resources(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    many = identity("[format('id-{0}', copyIndex())]", copy={"name": "all", "count": 300}, tags={"n": "[string(copyIndex())]"})
    done = await deploy(plane, template(many))
    assert (done["provisioningState"], len(done["outputResources"])) == ("Succeeded", 300)


def test_the_catalogue_tells_of_deployments() -> None:
    names = {one.name for provider in PROVIDERS for one in provider.types}
    assert "Microsoft.Resources/deployments" in names
    assert ORIGIN.management
