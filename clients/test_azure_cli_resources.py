"""Groups, generic resources, providers, tags and plain requests, as `az` sends them (control-plane.md section 5.1)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clients.azure_cli_world import Az, new_group
from tests.stories.planes import Up

pytestmark = pytest.mark.xdist_group("azure-cli-resources")

MACHINES = "Microsoft.Compute/virtualMachines"


def test_the_account_is_the_operators(up: Up, az: Az) -> None:
    shown = az("account", "show")
    assert (shown["tenantId"], shown["id"]) == (up.info["tenant_id"], up.info["subscription_id"])
    assert shown["user"] == {"name": up.info["operator_client_id"], "type": "servicePrincipal"}
    assert [one["id"] for one in az("account", "list", "--refresh")] == [shown["id"]]
    az("account", "set", "--subscription", shown["id"])
    assert "westeurope" in az("account", "list-locations", "--query", "[].name")
    token = az("account", "get-access-token", "--resource-type", "ms-graph")
    assert (token["tenant"], token["tokenType"]) == (up.info["tenant_id"], "Bearer")


def test_groups_come_and_go(az: Az) -> None:
    made = az("group", "create", "--name", "Groups", "--location", "westeurope", "--tags", "a=b")
    assert (made["name"], made["tags"], made["properties"]["provisioningState"]) == ("Groups", {"a": "b"}, "Succeeded")
    assert az("group", "update", "--name", "groups", "--set", "tags.x=y")["tags"] == {"a": "b", "x": "y"}
    assert az("group", "show", "--name", "GROUPS")["name"] == "Groups"
    assert az("group", "exists", "--name", "groups") is True
    assert "Groups" in az("group", "list", "--tag", "x=y", "--query", "[].name")
    az("group", "delete", "--name", "Groups", "--yes")
    assert az("group", "exists", "--name", "groups") is False
    assert "ResourceGroupNotFound" in az.refused("group", "show", "--name", "groups", code=3)


def test_generic_resources_of_any_type(up: Up, az: Az) -> None:
    new_group(up, "generic")
    named = ("--resource-group", "generic", "--resource-type", MACHINES, "--name", "One")
    made = az("resource", "create", *named, "--properties", json.dumps({"hardwareProfile": {"vmSize": "Standard_B1s"}}))
    assert (made["name"], made["location"]) == ("One", "westeurope")
    whole = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "tags": {"k": "v"}, "properties": {}}
    bearing = az(
        *("resource", "create", "--resource-group", "generic", "--resource-type", MACHINES, "--name", "two"),
        *("--is-full-object", "--properties", json.dumps(whole)),
    )
    assert bearing["identity"]["principalId"]
    assert sorted(az("resource", "list", "--resource-group", "generic", "--query", "[].name")) == ["One", "two"]
    assert len(az("resource", "list", "--resource-type", MACHINES)) == 2
    assert az("resource", "tag", *named, "--tags", "q=r")["tags"] == {"q": "r"}
    assert az("resource", "list", "--tag", "q=r", "--query", "[].name") == ["One"]
    shown = az("resource", "show", "--ids", made["id"].upper())
    assert (shown["id"], shown["tags"], shown["properties"]["hardwareProfile"]) == (
        made["id"],
        {"q": "r"},
        {"vmSize": "Standard_B1s"},
    )
    az("resource", "delete", *named)
    assert "ResourceNotFound" in az.refused("resource", "show", *named, code=3)
    wrong = ("--resource-group", "generic", "--resource-type", "Microsoft.Compute/nothing", "--name", "x", "--properties", "{}")
    az.refused("resource", "create", *wrong)


def test_plain_requests(up: Up, az: Az, tmp_path: Path) -> None:
    group = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/plain?api-version=2024-11-01"
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"location": "westeurope"}))
    assert az("rest", "--method", "put", "--url", group, "--body", f"@{body}")["name"] == "plain"
    assert az("rest", "--method", "get", "--url", f"{up.info['arm']}{group}")["location"] == "westeurope"
    assert az("rest", "--method", "delete", "--url", group) is None
    assert "ResourceGroupNotFound" in az.refused("rest", "--method", "get", "--url", group)


def test_providers(az: Az) -> None:
    az("provider", "register", "--namespace", "Microsoft.Compute", "--wait")
    shown = az("provider", "show", "--namespace", "microsoft.compute")
    assert shown["registrationState"] == "Registered"
    assert "virtualMachines" in [one["resourceType"] for one in shown["resourceTypes"]]
    assert {"Microsoft.ManagedIdentity", "Microsoft.Web"} <= set(az("provider", "list", "--query", "[].namespace"))
    assert "InvalidResourceNamespace" in az.refused("provider", "show", "--namespace", "Contoso.Nothing", code=3)
