"""Roles, assignments, denials, locks and management groups, as `az` handles them (control-plane.md sections 5.1 and 5.5)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from clients.azure_cli_world import Az, own_az, signed_in
from tests.stories.planes import Up

pytestmark = pytest.mark.xdist_group("azure-cli-authorization")

GROUP = "guarded"
UNNAMED = ("--fill-principal-name", "false")


@pytest.fixture(scope="module")
def group(az: Az) -> str:
    """The id of the module's group."""
    made: str = az("group", "create", "--name", GROUP, "--location", "westeurope")["id"]
    return made


@pytest.fixture(scope="module")
def someone(az: Az, group: str) -> Any:
    """An identity to give roles to."""
    return az("identity", "create", "--name", "someone", "--resource-group", GROUP)


def test_role_definitions(up: Up, az: Az, tmp_path: Path) -> None:
    subscription = f"/subscriptions/{up.info['subscription_id']}"
    file = tmp_path / "role.json"
    name = "Operator of machines"
    role = {"Name": name, "Description": "starts", "AssignableScopes": [subscription]}
    file.write_text(json.dumps({**role, "Actions": ["Microsoft.Compute/virtualMachines/start/action"], "NotActions": []}))
    made = az("role", "definition", "create", "--role-definition", str(file))
    assert (made["roleName"], made["roleType"], made["assignableScopes"]) == (name, "CustomRole", [subscription])
    file.write_text(json.dumps({**role, "Actions": ["Microsoft.Compute/*/read"], "NotActions": []}))
    updated = az("role", "definition", "update", "--role-definition", str(file))
    assert updated["permissions"][0]["actions"] == ["Microsoft.Compute/*/read"]
    assert updated["name"] == made["name"]
    assert az("role", "definition", "list", "--custom-role-only", "--query", "[].roleName") == [name]
    [reader] = az("role", "definition", "list", "--name", "Reader")
    assert (reader["name"], reader["permissions"][0]["actions"]) == ("acdd72a7-3385-48ef-bd42-f606fba81ae7", ["*/read"])
    file.write_text(json.dumps({**role, "Name": "Nothing", "Actions": ["no action"]}))
    az.refused("role", "definition", "create", "--role-definition", str(file))
    az("role", "definition", "delete", "--name", name)
    assert az("role", "definition", "list", "--custom-role-only") == []


def test_role_assignments(up: Up, az: Az, group: str, someone: Any) -> None:
    subscription = f"/subscriptions/{up.info['subscription_id']}"
    assign = ("role", "assignment", "create")
    typed = ("--assignee-object-id", someone["principalId"], "--assignee-principal-type", "ServicePrincipal")
    first = az(*assign, *typed, "--role", "Reader", "--scope", group, "--description", "looks")
    assert (first["principalType"], first["scope"], first["description"]) == ("ServicePrincipal", group, "looks")
    again = az(*assign, *typed, "--role", "Reader", "--scope", group)
    assert again["id"] == first["id"], "an assignment that there is already is the one that is meant"
    by_name = az(*assign, "--assignee", someone["clientId"], "--role", "Contributor", "--scope", subscription)
    assert by_name["principalId"] == someone["principalId"]
    az(*assign, "--assignee-object-id", someone["principalId"], "--role", "Key Vault Reader", "--scope", group)

    [[name, role], _] = sorted(
        az("role", "assignment", "list", "--resource-group", GROUP, "--query", "[].[principalName, roleDefinitionName]"),
        key=lambda row: str(row[1]),
        reverse=True,
    )
    assert (name, role) == (someone["clientId"], "Reader")
    everywhere = az("role", "assignment", "list", "--all", "--assignee", someone["principalId"])
    assert {one["roleDefinitionName"] for one in everywhere} == {"Reader", "Contributor", "Key Vault Reader"}
    inherited = az("role", "assignment", "list", "--scope", group, "--include-inherited", *UNNAMED)
    assert {one["scope"] for one in inherited} >= {group, subscription}

    unknown = ("--assignee-object-id", "9b0e0f62-0000-4000-8000-000000000001", "--assignee-principal-type", "ServicePrincipal")
    assert "PrincipalNotFound" in az.refused(*assign, *unknown, "--role", "Reader", "--scope", group)
    assert "Role 'Nonsense' doesn't exist" in az.refused(*assign, *typed, "--role", "Nonsense", "--scope", group)

    az("role", "assignment", "delete", "--ids", first["id"])
    az("role", "assignment", "delete", "--assignee", someone["principalId"], "--role", "Key Vault Reader", "--scope", group)
    assert az("role", "assignment", "list", "--resource-group", GROUP, *UNNAMED) == []
    changes = az("role", "assignment", "list-changelogs")
    of_group = [(one["action"], one["roleName"]) for one in changes if one["scope"].lower() == group.lower()]
    assert sorted(of_group) == [
        ("Granted", "Key Vault Reader"),
        ("Granted", "Reader"),
        ("Revoked", "Key Vault Reader"),
        ("Revoked", "Reader"),
    ]


def test_a_condition_and_a_delegate(up: Up, az: Az, group: str, someone: Any, azure_cli: Path, tmp_path: Path) -> None:
    """A delegate who may give one role only, signed in by the secret that `create-for-rbac` made."""
    only_readers = (
        "((!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR (@Request[Microsoft.Authorization/"
        "roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {acdd72a7-3385-48ef-bd42-f606fba81ae7}))"
    )
    delegate = az("ad", "sp", "create-for-rbac", "--name", "delegate")
    given = az(
        *("role", "assignment", "create", "--assignee", delegate["appId"], "--scope", group),
        *("--role", "Role Based Access Control Administrator", "--condition", only_readers, "--condition-version", "2.0"),
    )
    assert given["condition"] == only_readers
    document = json.loads(up.cli("az", "--json", "setup").stdout)
    settings = {**document["variables"], "AZURE_CONFIG_DIR": str(tmp_path / "config")}
    plain = own_az(azure_cli, tmp_path)
    fresh = {name: value for name, value in settings.items() if name != "AZURE_CLOUD_NAME"}
    plain.within(**fresh)("cloud", "register", "--name", "idplane", "--endpoint-resource-manager", up.info["arm"])
    theirs = plain.within(**settings)
    who = ("--service-principal", "--username", delegate["appId"], "--tenant", delegate["tenant"])
    assert "AADSTS7000215" in theirs.refused("login", *who, "--password", "wrong")
    theirs("login", *who, "--password", delegate["password"])
    typed = ("--assignee-object-id", someone["principalId"], "--assignee-principal-type", "ServicePrincipal")
    assign = ("role", "assignment", "create", *typed, "--scope", group)
    assert theirs(*assign, "--role", "acdd72a7-3385-48ef-bd42-f606fba81ae7")["principalId"] == someone["principalId"]
    assert "AuthorizationFailed" in theirs.refused(*assign, "--role", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635")


def test_deny_assignments(az: Az, someone: Any) -> None:
    scope = az("group", "create", "--name", "denied", "--location", "westeurope")["id"]
    deny = ("role", "deny-assignment")
    kept = az(
        *(
            *deny,
            "create",
            "--name",
            "Nobody deletes",
            "--scope",
            scope,
            "--actions",
            "Microsoft.Resources/subscriptions/resourceGroups/delete",
        ),
        *("--exclude-principal-ids", someone["principalId"], "--exclude-principal-types", "ServicePrincipal"),
    )
    assert kept["denyAssignmentName"] == "Nobody deletes"
    assert az(*deny, "list", "--scope", scope, "--query", "[].denyAssignmentName") == ["Nobody deletes"]
    assert "DenyAssignmentAuthorizationFailed" in az.refused("group", "delete", "--name", "denied", "--yes")
    az(*deny, "delete", "--id", kept["id"], "--yes")
    assert az(*deny, "list", "--scope", scope) == []
    az("group", "delete", "--name", "denied", "--yes")


def test_locks(az: Az) -> None:
    az("group", "create", "--name", "locked", "--location", "westeurope")
    az("identity", "create", "--name", "one", "--resource-group", "locked")
    lock = ("--name", "keep", "--resource-group", "locked")
    assert az("lock", "create", *lock, "--lock-type", "CanNotDelete", "--notes", "mine")["level"] == "CanNotDelete"
    assert "ScopeLocked" in az.refused("group", "delete", "--name", "locked", "--yes")
    assert "ScopeLocked" in az.refused("identity", "delete", "--name", "one", "--resource-group", "locked")
    assert az("identity", "update", "--name", "one", "--resource-group", "locked", "--tags", "a=b")["tags"] == {"a": "b"}
    assert az("lock", "update", *lock, "--lock-type", "ReadOnly")["level"] == "ReadOnly"
    assert "ScopeLocked" in az.refused("identity", "create", "--name", "two", "--resource-group", "locked")
    assert az("lock", "show", *lock)["notes"] == "mine"
    assert az("lock", "list", "--resource-group", "locked", "--query", "[].name") == ["keep"]
    az("lock", "delete", *lock)
    az("group", "delete", "--name", "locked", "--yes")


def test_management_groups(up: Up, az: Az, someone: Any) -> None:
    made = az("account", "management-group", "create", "--name", "platform", "--display-name", "Platform")
    az("account", "management-group", "create", "--name", "stock", "--parent", "platform")
    az("account", "management-group", "subscription", "add", "--name", "stock", "--subscription", up.info["subscription_id"])
    typed = ("--assignee-object-id", someone["principalId"], "--assignee-principal-type", "ServicePrincipal")
    az("role", "assignment", "create", *typed, "--role", "Monitoring Reader", "--scope", made["id"])
    inherited = az("role", "assignment", "list", "--include-inherited", *UNNAMED)
    assert (made["id"], "Monitoring Reader") in [(one["scope"], one["roleDefinitionName"]) for one in inherited]
    shown = az("account", "management-group", "show", "--name", "platform", "--expand", "--recurse")
    assert [(child["name"], len(child["children"])) for child in shown["children"]] == [("stock", 1)]
    assert signed_in(az)["tid"] == shown["tenantId"]
