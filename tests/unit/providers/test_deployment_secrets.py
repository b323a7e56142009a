"""Secrets of vaults that templates write, and that deployments take as parameters."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.providers.deploying import DEPLOY, asked, at, code_of, deploy, ended, template
from tests.unit.providers.surface_plane import FOREIGN, GROUP, HOME, SUB, OpenPlane, Plane

from idplane.model.profile import AZURE, OPEN
from idplane.ports.collections import DEPLOYMENTS, SECRETS

KV = "2023-07-01"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/safe"
TEMPLATE = template(
    {
        "type": "Microsoft.Compute/virtualMachines",
        "apiVersion": "2024-11-01",
        "name": "vm",
        "location": "[resourceGroup().location]",
        "properties": {
            "osProfile": {"adminPassword": "[parameters('password')]"},
            "length": "[length(parameters('password'))]",
        },
    },
    parameters={"password": {"type": "secureString"}},
)


async def _vault(plane: Plane, *, enabled: bool = True, **secrets: str) -> None:
    properties = {
        "tenantId": HOME,
        "sku": {"family": "A", "name": "standard"},
        "enabledForTemplateDeployment": enabled,
    }
    await plane.put(VAULT, {"location": "westeurope", "properties": properties}, version=KV)
    for name, value in secrets.items():
        await plane.put(f"{VAULT}/secrets/{name}", {"properties": {"value": value}}, version=KV)


def _referring(secret: str = "db", vault: str = VAULT, **more: str) -> dict[str, Any]:
    body = asked(TEMPLATE)
    reference = {"keyVault": {"id": vault}, "secretName": secret, **more}
    body["properties"]["parameters"] = {"password": {"reference": reference}}
    return body


async def _versions(plane: Plane) -> int:
    return len(await plane.store.all(SECRETS))


# Writing


async def test_a_secret_is_written_and_never_shown(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _vault(plane)
    url = f"{VAULT}/secrets/Db"
    body = {"tags": {"a": "b"}, "properties": {"value": "hunter2", "contentType": "text", "attributes": {"exp": 1900000000}}}
    made = await plane.call("PUT", url, body, version=KV)
    assert made.status == 200
    properties = made.body["properties"]
    assert "value" not in properties
    assert properties["secretUri"] == "https://safe.vault.localhost:8443/secrets/Db"
    assert properties["secretUriWithVersion"].startswith(f"{properties['secretUri']}/")
    assert (properties["contentType"], properties["attributes"]["exp"], made.body["tags"]) == ("text", 1900000000, {"a": "b"})
    assert await plane.get(url.replace("Db", "DB"), version=KV) == made.body
    assert (await plane.get(f"{VAULT}/secrets", version=KV))["value"] == [made.body]
    assert b"hunter2" not in b"".join([one.value.sealed for one in await plane.store.all(SECRETS)])


async def test_the_same_value_again_is_the_same_version(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _vault(plane, db="one")
    first = await plane.get(f"{VAULT}/secrets/db", version=KV)
    await plane.put(f"{VAULT}/secrets/db", {"properties": {"value": "one"}}, version=KV)
    assert (await plane.get(f"{VAULT}/secrets/db", version=KV), await _versions(plane)) == (first, 1)
    disabled = {"properties": {"value": "one", "attributes": {"enabled": False}}}
    assert (await plane.put(f"{VAULT}/secrets/db", disabled, version=KV))["properties"]["attributes"]["enabled"] is False
    assert await _versions(plane) == 1
    await plane.put(f"{VAULT}/secrets/db", {"properties": {"value": "two"}}, version=KV)
    assert await _versions(plane) == 2
    assert len((await plane.get(f"{VAULT}/secrets", version=KV))["value"]) == 1


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("db", {}, 400),
        ("db", {"properties": {}}, 400),
        ("db", {"properties": {"value": 5}}, 400),
        ("db", {"properties": {"value": "x" * 25_601}}, 400),
        ("db", {"properties": {"value": "x", "attributes": {"exp": 10**18}}}, 400),
        ("not_a_name", {"properties": {"value": "x"}}, 400),
    ],
)
async def test_what_no_secret_can_be(open_plane: OpenPlane, name: str, body: object, status: int) -> None:
    plane = await open_plane()
    await _vault(plane)
    assert (await plane.call("PUT", f"{VAULT}/secrets/{name}", body, version=KV)).status == status
    assert await _versions(plane) == 0


async def test_no_vault_no_secret(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    reply = await plane.call("PUT", f"{VAULT}/secrets/db", {"properties": {"value": "x"}}, version=KV)
    assert code_of(reply) == (404, "ParentResourceNotFound")
    assert (await plane.call("GET", f"{VAULT}/secrets/db", version=KV)).status == 404
    assert (await plane.call("GET", f"{VAULT}/secrets", version=KV)).status == 404


async def test_readers_write_no_secret_and_nobody_deletes_one_here(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _vault(plane, db="x")
    reply = await plane.call("PUT", f"{VAULT}/secrets/db", {"properties": {"value": "y"}}, by="reader", version=KV)
    assert code_of(reply) == (403, "AuthorizationFailed")
    assert (await plane.call("DELETE", f"{VAULT}/secrets/db", version=KV)).status == 405


# Parameters


async def test_a_parameter_takes_a_secret_that_is_kept_nowhere(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _vault(plane, db="hunter2hunter2")
    made = await plane.call("PUT", at("main"), _referring(), version=DEPLOY)
    assert made.status == 201, made.body
    properties = (await ended(plane, at("main")))["properties"]
    assert (properties["provisioningState"], properties["parameters"]) == ("Succeeded", {"password": {"type": "SecureString"}})
    shown = await plane.get(f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm", version="2024-11-01")
    assert shown["properties"]["length"] == 14
    assert "hunter2" not in repr((await plane.store.all(DEPLOYMENTS), shown))


async def test_a_version_can_be_named(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _vault(plane, db="one")
    old = (await plane.get(f"{VAULT}/secrets/db", version=KV))["properties"]["secretUriWithVersion"].rpartition("/")[2]
    await plane.put(f"{VAULT}/secrets/db", {"properties": {"value": "longer"}}, version=KV)
    for more, length in (({"secretVersion": old}, 3), ({}, 6)):
        assert (await plane.call("PUT", at("main"), _referring(**more), version=DEPLOY)).status in (200, 201)
        await ended(plane, at("main"))
        shown = await plane.get(f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm", version="2024-11-01")
        assert shown["properties"]["length"] == length


_FAILED = "KeyVaultParameterReferenceSecretRetrieveFailed"
_REFUSED = "KeyVaultParameterReferenceAuthorizationFailed"


@pytest.mark.parametrize("word", ["", "/validate", "/whatIf"])
async def test_secrets_that_a_deployment_does_not_get(open_plane: OpenPlane, word: str) -> None:
    plane = await open_plane()
    await _vault(plane, db="x")
    await plane.put(f"{VAULT}/secrets/off", {"properties": {"value": "x", "attributes": {"enabled": False}}}, version=KV)
    await plane.person("machinist", ("Virtual Machine Contributor", GROUP))
    method = "POST" if word else "PUT"

    async def refused(body: dict[str, Any], by: str = "owner") -> tuple[int, str]:
        return code_of(await plane.call(method, f"{at('main')}{word}", body, by=by, version=DEPLOY))

    assert await refused(_referring("ghost")) == (400, _FAILED)
    assert await refused(_referring("off")) == (400, _FAILED)
    assert await refused(_referring(secretVersion="0" * 32)) == (400, _FAILED)
    assert await refused(_referring(), by="machinist") == (403, _REFUSED)
    assert await refused(_referring(vault=VAULT.replace("safe", "ghost"))) == (403, _REFUSED)
    assert await refused(_referring(vault=VAULT.replace(SUB, f"/subscriptions/{FOREIGN}"))) == (403, _REFUSED)
    assert await refused(_referring(vault="junk")) == (400, "InvalidResourceId")
    await _vault(plane, enabled=False)
    assert await refused(_referring()) == (400, _REFUSED)


async def test_only_secure_parameters_take_secrets(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _vault(plane, db="x")
    body = _referring()
    body["properties"]["template"] = {**TEMPLATE, "parameters": {"password": {"type": "string"}}}
    assert code_of(await plane.call("PUT", at("main"), body, version=DEPLOY)) == (400, "InvalidTemplate")


# Size


@pytest.mark.parametrize(("azure", "count", "fits"), [(True, 801, False), (False, 1000, True)])
async def test_how_many_resources_a_template_may_have(open_plane: OpenPlane, *, azure: bool, count: int, fits: bool) -> None:
    plane = await open_plane(profile=AZURE if azure else OPEN)
    many = {
        "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
        "apiVersion": "2023-01-31",
        "name": "[format('id-{0}', copyIndex())]",
        "location": "[resourceGroup().location]",
        "copy": {"name": "ids", "count": count},
    }
    if not fits:
        reply = await plane.call("PUT", at("main"), asked(template(many)), version=DEPLOY)
        assert code_of(reply) == (400, "InvalidTemplate")
        assert "exceeds the maximum of '800'" in reply.message
        single = {name: value for name, value in many.items() if name != "copy"}
        listed = [{**single, "name": f"id-{at_}"} for at_ in range(count)]
        reply = await plane.call("PUT", at("main"), asked(template(*listed)), version=DEPLOY)
        assert "Limit: '800' and actual: '801'" in reply.message
        return
    done = await deploy(plane, template(many))
    assert (done["provisioningState"], len(done["outputResources"])) == ("Succeeded", count)


async def test_a_template_reads_the_api_versions_of_a_type(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    known = {"type": "object", "value": "[providers('microsoft.compute', 'virtualMachines')]"}
    value = (await deploy(plane, template(outputs={"known": known})))["outputs"]["known"]["value"]
    assert (value["resourceType"], value["locations"]) == ("virtualMachines", ["westeurope"])
    assert "2024-11-01" in value["apiVersions"]
