"""Moves, exports and published templates, as `az` handles them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clients.azure_cli_world import Az

pytestmark = pytest.mark.xdist_group("azure-cli-moves")

QUICKSTARTS = Path(__file__).parents[1] / "tests" / "templates" / "quickstarts"
MACHINES = "Microsoft.Compute/virtualMachines"


def test_a_resource_moves_and_its_identity_with_it(az: Az) -> None:
    for name in ("source", "target"):
        az("group", "create", "--name", name, "--location", "westeurope")
    body = json.dumps({"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}})
    named = ("--resource-type", MACHINES, "--name", "vm")
    made = az("resource", "create", "--resource-group", "source", *named, "--is-full-object", "--properties", body)
    az("resource", "move", "--ids", made["id"], "--destination-group", "target")
    moved = az("resource", "show", "--resource-group", "target", *named)
    assert moved["identity"]["principalId"] == made["identity"]["principalId"]
    assert "ResourceNotFound" in az.refused("resource", "show", "--resource-group", "source", *named, code=3)
    identity = az("identity", "create", "--resource-group", "source", "--name", "fixed")
    refused = az.refused("resource", "move", "--ids", identity["id"], "--destination-group", "target")
    assert "ResourceMoveNotSupported" in refused


def test_a_group_is_exported_and_deployed_elsewhere(az: Az, tmp_path: Path) -> None:
    az("group", "create", "--name", "original", "--location", "westeurope")
    parameters = ("--parameters", f"@{QUICKSTARTS / 'scale-set-autoscale.parameters.json'}")
    template = str(QUICKSTARTS / "scale-set-autoscale.json")
    made = az("deployment", "group", "create", "--resource-group", "original", "--template-file", template, *parameters)
    assert made["properties"]["provisioningState"] == "Succeeded"
    exported = tmp_path / "exported.json"
    exported.write_text(json.dumps(az("group", "export", "--name", "original", "--include-parameter-default-value")))
    az("group", "create", "--name", "copy", "--location", "westeurope")
    copied = ("--resource-group", "copy", "--template-file", str(exported))
    assert az("deployment", "group", "create", *copied)["properties"]["provisioningState"] == "Succeeded"
    assert {one["changeType"] for one in az("deployment", "group", "what-if", *copied, "--no-pretty-print")["changes"]} == {
        "NoChange"
    }
    for name in ("original", "copy"):
        az("group", "delete", "--name", name, "--yes")
        assert az("group", "exists", "--name", name) is False


@pytest.mark.parametrize("name", ["container-app-registry", "function-app-storage", "script-with-identity"])
def test_a_published_template(az: Az, name: str) -> None:
    group = f"quick-{name}"
    az("group", "create", "--name", group, "--location", "westeurope")
    files = (
        "--template-file",
        str(QUICKSTARTS / f"{name}.json"),
        "--parameters",
        f"@{QUICKSTARTS / f'{name}.parameters.json'}",
    )
    for _ in range(2):
        made = az("deployment", "group", "create", "--resource-group", group, *files)
        assert made["properties"]["provisioningState"] == "Succeeded"
    scope = az("group", "show", "--name", group)["id"]
    roles = az("role", "assignment", "list", "--all", "--query", f"[?starts_with(scope, '{scope}')]")
    assert roles
    az("group", "delete", "--name", group, "--yes")
    assert az("role", "assignment", "list", "--all", "--query", f"[?starts_with(scope, '{scope}')]") == []
