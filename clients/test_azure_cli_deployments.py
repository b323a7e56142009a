"""Templates, the activity log and vaults, as `az` handles them (control-plane.md section 5.7)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from clients.azure_cli_world import Az, new_group, signed_in
from tests.stories.planes import Up

pytestmark = pytest.mark.xdist_group("azure-cli-deployments")

GROUP = "deployed"
SCHEMA = "https://schema.management.azure.com/schemas"
IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
IN_GROUP = """{
  // The CLI pastes this text into its request as it is.
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0",
  "parameters": { "name": { "type": "string" }, "tag": { "type": "string", "defaultValue": "one" } },
  "resources": [
    {
      "type": "Microsoft.ManagedIdentity/userAssignedIdentities", "apiVersion": "2024-11-30",
      "name": "[parameters('name')]", "location": "[resourceGroup().location]", "tags": { "tag": "[parameters('tag')]" }
    }
  ],
  "outputs": {
    "principal": { "type": "string", "value": "[reference(resourceId('Microsoft.ManagedIdentity/userAssignedIdentities',
      parameters('name'))).principalId]" }
  }
}"""
IN_SUBSCRIPTION = {
    "$schema": f"{SCHEMA}/2018-05-01/subscriptionDeploymentTemplate.json#",
    "contentVersion": "1.0.0.0",
    "resources": [
        {"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2024-11-01", "name": "made", "location": "westeurope"}
    ],
}
BROKEN = {
    "$schema": f"{SCHEMA}/2019-04-01/deploymentTemplate.json#",
    "contentVersion": "1.0.0.0",
    "resources": [
        {"type": IDENTITIES, "apiVersion": "2024-11-30", "name": "good", "location": "westeurope"},
        {
            "type": "Microsoft.Compute/virtualMachines",
            "apiVersion": "2024-11-01",
            "name": "bad",
            "location": "westeurope",
            "dependsOn": [f"[resourceId('{IDENTITIES}', 'good')]"],
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {f"[resourceId('{IDENTITIES}', 'absent')]": {}}},
        },
    ],
}


@pytest.fixture(scope="module")
def group(up: Up) -> str:
    """The id of the module's group."""
    return new_group(up, GROUP)


def written(folder: Path, name: str, content: Any) -> str:
    file = folder / f"{name}.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


def test_a_deployment_in_a_group(az: Az, group: str, tmp_path: Path) -> None:
    template = written(tmp_path, "first", IN_GROUP)
    given = ("--resource-group", GROUP, "--template-file", template, "--parameters", "name=app")
    assert az("deployment", "group", "validate", *given)["properties"]["provisioningState"] == "Succeeded"
    [new] = (az("deployment", "group", "what-if", *given, "--no-pretty-print"))["changes"]
    assert (new["changeType"], new["resourceId"]) == ("Create", f"{group}/providers/{IDENTITIES}/app")
    done = az("deployment", "group", "create", *given)
    assert (done["name"], done["properties"]["provisioningState"]) == ("first", "Succeeded")
    made = az("identity", "show", "--name", "app", "--resource-group", GROUP)
    assert done["properties"]["outputs"]["principal"]["value"] == made["principalId"]
    [same] = az("deployment", "group", "what-if", *given, "--no-pretty-print")["changes"]
    assert same["changeType"] == "NoChange"
    [changed] = az("deployment", "group", "what-if", *given, "tag=two", "--no-pretty-print")["changes"]
    assert (changed["changeType"], changed["delta"][0]["path"]) == ("Modify", "tags.tag")

    named = ("--resource-group", GROUP, "--name", "first")
    assert az("deployment", "group", "list", "--resource-group", GROUP, "--query", "[].name") == ["first"]
    assert az("deployment", "group", "show", *named)["properties"]["parameters"]["name"]["value"] == "app"
    operations = az("deployment", "operation", "group", "list", *named)
    assert {one["properties"]["provisioningState"] for one in operations} == {"Succeeded"}
    assert "app" in [(one["properties"]["targetResource"] or {}).get("resourceName") for one in operations]
    assert az("deployment", "group", "export", *named)["contentVersion"] == "1.0.0.0"
    az("deployment", "group", "delete", *named)
    assert "DeploymentNotFound" in az.refused("deployment", "group", "show", *named, code=3)


def test_a_failed_deployment_says_what_and_why(az: Az, group: str, tmp_path: Path) -> None:
    template = written(tmp_path, "broken", BROKEN)
    said = az.refused("deployment", "group", "create", "--resource-group", GROUP, "--template-file", template)
    assert "LinkedAuthorizationFailed" in said
    assert "absent" in said
    assert az("identity", "show", "--name", "good", "--resource-group", GROUP)["name"] == "good"
    malformed = written(tmp_path, "malformed", IN_GROUP.replace("parameters('name')", "nothing('name')"))
    given = ("--resource-group", GROUP, "--template-file", malformed, "--parameters", "name=app")
    assert "InvalidTemplate" in az.refused("deployment", "group", "validate", *given)


def test_a_deployment_in_the_subscription(az: Az, tmp_path: Path) -> None:
    given = ("--location", "westeurope", "--template-file", written(tmp_path, "wide", IN_SUBSCRIPTION))
    assert az("deployment", "sub", "validate", *given)["properties"]["provisioningState"] == "Succeeded"
    [new] = az("deployment", "sub", "what-if", *given, "--no-pretty-print")["changes"]
    assert new["changeType"] == "Create"
    assert az("deployment", "sub", "create", *given)["properties"]["provisioningState"] == "Succeeded"
    assert az("group", "exists", "--name", "made") is True
    assert "wide" in az("deployment", "sub", "list", "--query", "[].name")
    assert len(az("deployment", "operation", "sub", "list", "--name", "wide")) >= 1
    az("deployment", "sub", "delete", "--name", "wide")
    assert "DeploymentNotFound" in az.refused("deployment", "sub", "show", "--name", "wide", code=3)


def test_the_activity_log(up: Up, az: Az) -> None:
    operator = up.info["operator_client_id"]
    new_group(up, "logged")
    identity = az("identity", "create", "--name", "logged", "--resource-group", "logged")["id"]
    az("identity", "delete", "--ids", identity)
    log = ("monitor", "activity-log", "list")
    written_and_deleted = az(*log, "--resource-id", identity, "--offset", "1h")
    actions = {one["operationName"]["value"].rpartition("/")[2] for one in written_and_deleted}
    assert actions == {"write", "delete"}
    [claimed] = {one["claims"]["appid"] for one in written_and_deleted}
    assert claimed == operator
    in_group = az(*log, "--resource-group", "logged", "--status", "Succeeded", "--query", "[].resourceGroupName")
    assert set(in_group) == {"logged"}
    correlated = written_and_deleted[0]["correlationId"]
    assert {one["correlationId"] for one in az(*log, "--correlation-id", correlated)} == {correlated}
    caller = written_and_deleted[0]["caller"]
    assert len(az(*log, "--caller", caller, "--resource-id", identity)) == len(written_and_deleted)
    picked = az(*log, "--resource-id", identity, "--select", "operationName", "status")
    assert all(one["operationName"] for one in picked)


def test_secrets_of_a_vault(az: Az, group: str) -> None:
    vault = az("keyvault", "create", "--name", "stockvault", "--resource-group", GROUP)
    assert vault["properties"]["enableRbacAuthorization"] is True
    named = ("--vault-name", "stockvault", "--name", "password")
    assert "ForbiddenByRbac" in az.refused("keyvault", "secret", "set", *named, "--value", "opensesame")
    az(
        *("role", "assignment", "create", "--assignee-object-id", signed_in(az)["oid"]),
        *("--assignee-principal-type", "ServicePrincipal", "--role", "Key Vault Secrets Officer", "--scope", vault["id"]),
    )
    made = az("keyvault", "secret", "set", *named, "--value", "opensesame")
    assert made["id"].startswith(f"{vault['properties']['vaultUri']}secrets/password/")
    assert az("keyvault", "secret", "show", *named)["value"] == "opensesame"
    assert az("keyvault", "secret", "show", "--id", made["id"])["value"] == "opensesame"
    assert az("keyvault", "secret", "list", "--vault-name", "stockvault", "--query", "[].name") == ["password"]
    az("keyvault", "secret", "delete", *named)
    assert "SecretNotFound" in az.refused("keyvault", "secret", "show", *named, code=3)
    assert az("keyvault", "list", "--query", "[].name") == ["stockvault"]
    az("keyvault", "delete", "--name", "stockvault")
