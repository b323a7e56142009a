"""Earlier deployments that are deployed again when a later one fails."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.providers.deploying import DEPLOY, asked, at, code_of, deploy, ended, identity, template
from tests.unit.providers.surface_plane import MSI, OpenPlane, Plane, uai

GOOD = template(identity("one", tags={"v": "[parameters('v')]"}), parameters={"v": {"type": "string"}})
BAD = template(
    identity("one", tags={"v": "2"}),
    identity("two", dependsOn=["one"], location="[reference('one').nosuch]"),
)


async def _failing(plane: Plane, **on_error: str) -> Any:
    body = asked(BAD)
    body["properties"]["onErrorDeployment"] = on_error
    made = await plane.call("PUT", at("later"), body, version=DEPLOY)
    assert made.status == 201, made.body
    assert made.body["properties"]["onErrorDeployment"]["deploymentName"]
    return (await ended(plane, at("later")))["properties"]


@pytest.mark.parametrize(
    ("on_error", "name", "value"),
    [
        ({"type": "LastSuccessful"}, "second", "1b"),
        ({"type": "specificDeployment", "deploymentName": "first"}, "first", "1a"),
    ],
)
async def test_an_earlier_deployment_is_deployed_again(
    open_plane: OpenPlane, on_error: dict[str, str], name: str, value: str
) -> None:
    plane = await open_plane()
    for number, one in enumerate(("first", "second")):
        await deploy(plane, GOOD, {"v": f"1{'ab'[number]}"}, name=one)
        plane.clock.advance(timedelta(seconds=1))
    shown = await _failing(plane, **on_error)
    assert shown["provisioningState"] == "Failed"
    assert (shown["onErrorDeployment"]["deploymentName"], shown["onErrorDeployment"]["provisioningState"]) == (
        name,
        "Succeeded",
    )
    assert (await plane.get(uai("one"), version=MSI))["tags"] == {"v": value}


async def test_what_succeeds_is_left_as_it_is(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await deploy(plane, GOOD, {"v": "1"}, name="first")
    body = asked(GOOD, {"v": "2"})
    body["properties"]["onErrorDeployment"] = {"type": "LastSuccessful"}
    await plane.call("PUT", at("later"), body, version=DEPLOY)
    shown = (await ended(plane, at("later")))["properties"]
    assert shown["onErrorDeployment"] == {"type": "LastSuccessful", "deploymentName": "first"}
    assert (await plane.get(uai("one"), version=MSI))["tags"] == {"v": "2"}


async def test_what_cannot_be_deployed_again(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    secret = template(parameters={"p": {"type": "securestring"}})
    await deploy(plane, secret, {"p": "x"}, name="secret")
    await deploy(plane, BAD, name="failed")
    for name in ("secret", "failed", "ghost", "later"):
        body = asked(GOOD, {"v": "1"})
        body["properties"]["onErrorDeployment"] = {"type": "SpecificDeployment", "deploymentName": name}
        for method, word in (("PUT", ""), ("POST", "/validate"), ("POST", "/whatIf")):
            reply = await plane.call(method, f"{at('later')}{word}", body, version=DEPLOY)
            assert code_of(reply) == (400, "InvalidOnErrorDeployment"), name


async def test_the_earlier_one_is_deployed_with_the_caller_s_rights(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    grant = {
        "type": "Microsoft.Authorization/roleAssignments",
        "apiVersion": "2022-04-01",
        "name": "[guid('x')]",
        "properties": {
            "roleDefinitionId": "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'acdd72a7-3385-48ef-bd42-f606fba81ae7')]",
            "principalId": plane.people["nobody"],
            "principalType": "ServicePrincipal",
        },
    }
    await deploy(plane, template(grant), name="first")
    body = asked(BAD)
    body["properties"]["onErrorDeployment"] = {"type": "LastSuccessful"}
    await plane.call("PUT", at("later"), body, by="contributor", version=DEPLOY)
    shown = (await ended(plane, at("later")))["properties"]["onErrorDeployment"]
    assert (shown["provisioningState"], shown["error"]["code"]) == ("Failed", "InvalidTemplateDeployment")
