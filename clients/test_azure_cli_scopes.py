"""Management groups, locks, tags and deployments above subscriptions, as `az` sends them (control-plane.md sections 5.1 and 7.4)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clients.azure_cli_world import Az
from tests.stories.planes import Up

pytestmark = pytest.mark.xdist_group("azure-cli-scopes")

GROUPS = "/providers/Microsoft.Management/managementGroups"
UNREGISTERED = "--no-register"
"""Without it `az` waits ten seconds for a registration, each time."""


def group(az: Az, *arguments: str) -> object:
    return az("account", "management-group", *arguments)


def test_a_tree_of_management_groups(up: Up, az: Az) -> None:
    tenant, subscription = str(up.info["tenant_id"]), str(up.info["subscription_id"])
    assert group(az, "check-name-availability", "--name", "shops") == {"message": None, "nameAvailable": True, "reason": None}
    made = az("account", "management-group", "create", "--name", "shops", "--display-name", "Shops", UNREGISTERED)
    assert (made["name"], made["details"]["parent"]["name"]) == ("shops", tenant)
    az("account", "management-group", "create", "--name", "web", "--parent", "shops", UNREGISTERED)
    shown = az("account", "management-group", "show", "--name", "shops", "--expand", "--recurse", UNREGISTERED)
    assert [one["name"] for one in shown["children"]] == ["web"]
    assert az("account", "management-group", "update", "--name", "web", "--display-name", "The web")["displayName"] == "The web"
    assert az("account", "management-group", "list", UNREGISTERED, "--query", "[].name") == [tenant, "shops", "web"]

    group(az, "subscription", "add", "--name", "web", "--subscription", subscription)
    under = az("account", "management-group", "subscription", "show-sub-under-mg", "--name", "web")
    assert [one["name"] for one in under] == [subscription]
    entities = az("account", "management-group", "entities", "list", "--query", "[].name")
    assert entities == [tenant, "shops", "web", subscription]
    assert "(BadRequest)" in az.refused("account", "management-group", "delete", "--name", "web", UNREGISTERED)

    scope = f"{GROUPS}/shops"
    az("group", "create", "--name", "people", "--location", "westeurope")
    worker = az("identity", "create", "--resource-group", "people", "--name", "worker")["principalId"]
    assignee = ("--assignee-object-id", worker, "--assignee-principal-type", "ServicePrincipal")
    role = az("role", "assignment", "create", *assignee, "--role", "Reader", "--scope", scope)
    assert role["scope"] == scope
    inherited = az("role", "assignment", "list", "--scope", f"/subscriptions/{subscription}", "--include-inherited")
    assert scope in {one["scope"] for one in inherited}

    settings = ("account", "management-group", "hierarchy-settings")
    made = az(*settings, "create", "--name", tenant, "--default-management-group", f"{GROUPS}/shops")
    assert made["defaultManagementGroup"] == f"{GROUPS}/shops"
    assert az(*settings, "update", "--name", tenant, "--default-management-group", f"{GROUPS}/{tenant}")["name"] == "default"
    az(*settings, "delete", "--name", tenant, "--yes")

    group(az, "subscription", "remove", "--name", "web", "--subscription", subscription)
    for name in ("web", "shops"):
        group(az, "delete", "--name", name, UNREGISTERED)
    assert az("account", "management-group", "list", UNREGISTERED, "--query", "[].name") == [tenant]


def test_a_template_at_a_management_group(az: Az, tmp_path: Path) -> None:
    group(az, "create", "--name", "zone", UNREGISTERED)
    template = tmp_path / "zone.json"
    resource = {
        "type": "Microsoft.Management/managementGroups",
        "apiVersion": "2023-04-01",
        "scope": "/",
        "name": "inner",
        "properties": {"details": {"parent": {"id": "[managementGroup().id]"}}},
    }
    schema = "https://schema.management.azure.com/schemas/2019-08-01/managementGroupDeploymentTemplate.json#"
    outputs = {"group": {"type": "string", "value": "[managementGroup().name]"}}
    document = {"$schema": schema, "contentVersion": "1.0.0.0", "resources": [resource], "outputs": outputs}
    template.write_text(json.dumps(document))
    asked = ("--management-group-id", "zone", "--location", "westeurope", "--template-file", str(template))
    assert az("deployment", "mg", "validate", *asked)["properties"]["provisioningState"] == "Succeeded"
    foreseen = az("deployment", "mg", "what-if", *asked, "--no-pretty-print")
    assert [one["changeType"] for one in foreseen["changes"]] == ["Create"]
    made = az("deployment", "mg", "create", "--name", "main", *asked)
    assert made["properties"]["outputs"]["group"]["value"] == "zone"
    assert az("deployment", "mg", "list", "--management-group-id", "zone", "--query", "[].name") == ["main"]
    assert az("account", "management-group", "show", "--name", "inner", UNREGISTERED)["details"]["parent"]["name"] == "zone"
    az("deployment", "mg", "delete", "--management-group-id", "zone", "--name", "main")
    for name in ("inner", "zone"):
        group(az, "delete", "--name", name, UNREGISTERED)


def test_locks_keep_what_they_are_on(az: Az) -> None:
    az("group", "create", "--name", "locked", "--location", "westeurope")
    identity = az("identity", "create", "--resource-group", "locked", "--name", "one")
    named = ("--resource-group", "locked", "--resource-type", "Microsoft.ManagedIdentity/userAssignedIdentities")
    made = az("lock", "create", "--name", "keep", "--lock-type", "CanNotDelete", "--notes", "why", *named, "--resource", "one")
    assert (made["level"], made["notes"], made["id"].rpartition("/providers/")[0]) == ("CanNotDelete", "why", identity["id"])
    az("lock", "create", "--name", "group", "--lock-type", "ReadOnly", "--resource-group", "locked")
    assert sorted(az("lock", "list", "--resource-group", "locked", "--query", "[].name")) == ["group", "keep"]
    assert az("lock", "show", "--name", "group", "--resource-group", "locked")["level"] == "ReadOnly"
    assert "(ScopeLocked)" in az.refused("identity", "delete", "--ids", identity["id"])
    assert "(ScopeLocked)" in az.refused("group", "delete", "--name", "locked", "--yes")
    assert "(ScopeLocked)" in az.refused("identity", "create", "--resource-group", "locked", "--name", "two")
    assert (
        az("lock", "update", "--name", "group", "--resource-group", "locked", "--lock-type", "CanNotDelete")["level"]
        == "CanNotDelete"
    )
    az("identity", "create", "--resource-group", "locked", "--name", "two")
    az("lock", "delete", "--name", "group", "--resource-group", "locked")
    az("lock", "delete", "--ids", made["id"])
    assert az("lock", "list", "--resource-group", "locked") == []
    az("group", "delete", "--name", "locked", "--yes")


def test_tags_by_themselves(az: Az) -> None:
    scope = az("group", "create", "--name", "tagged", "--location", "westeurope")["id"]
    assert az("tag", "create", "--resource-id", scope, "--tags", "env=dev", "team=web")["properties"]["tags"] == {
        "env": "dev",
        "team": "web",
    }
    for operation, tags, expected in (
        ("Merge", "env=prod", {"env": "prod", "team": "web"}),
        ("Delete", "team=web", {"env": "prod"}),
        ("Replace", "a=b", {"a": "b"}),
    ):
        changed = az("tag", "update", "--resource-id", scope, "--operation", operation, "--tags", tags)
        assert changed["properties"]["tags"] == expected
    assert az("tag", "list", "--resource-id", scope)["properties"]["tags"] == {"a": "b"}
    assert "(InvalidTagNameCharacters)" in az.refused("tag", "create", "--resource-id", scope, "--tags", "a/b=c")
    az("tag", "delete", "--resource-id", scope, "--yes")
    assert az("group", "show", "--name", "tagged")["tags"] in (None, {})


def test_a_further_subscription_is_listed_until_it_is_cancelled(az: Az, tmp_path: Path) -> None:
    body = tmp_path / "alias.json"
    body.write_text(json.dumps({"properties": {"displayName": "Second", "workload": "DevTest"}}))
    alias = "/providers/Microsoft.Subscription/aliases/second?api-version=2021-10-01"
    made = az("rest", "--method", "put", "--url", alias, "--body", f"@{body}")["properties"]["subscriptionId"]
    assert made in az("account", "list", "--refresh", "--query", "[].id")
    az("group", "create", "--name", "there", "--location", "westeurope", "--subscription", "Second")
    act = f"/subscriptions/{made}/providers/Microsoft.Subscription/{{}}?api-version=2021-10-01"
    az("rest", "--method", "post", "--url", act.format("cancel"))
    assert made not in az("account", "list", "--refresh", "--query", "[].id")
    assert made in az("account", "list", "--all", "--query", "[].id")
    group_url = f"/subscriptions/{made}/resourceGroups/{{}}?api-version=2024-11-01"
    new = ("rest", "--method", "put", "--url", group_url.format("more"), "--body", '{"location": "westeurope"}')
    assert "ReadOnlyDisabledSubscription" in az.refused(*new)
    assert az("rest", "--method", "get", "--url", group_url.format("there"))["name"] == "there"
    az("rest", "--method", "post", "--url", act.format("enable"))
    assert az(*new)["name"] == "more"
