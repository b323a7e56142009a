"""Applications, service principals, groups and users, as `az ad` handles them over Microsoft Graph (control-plane.md section 5.6)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clients.azure_cli_world import Az, new_group, new_identity
from tests.stories.planes import Up

pytestmark = pytest.mark.xdist_group("azure-cli-directory")

MANAGED = "servicePrincipalType eq 'ManagedIdentity'"


def test_an_application_and_its_federated_credentials(az: Az, tmp_path: Path) -> None:
    made = az("ad", "app", "create", "--display-name", "pipeline")
    assert az("ad", "app", "list", "--display-name", "pipe", "--query", "[].appId") == [made["appId"]]
    az("ad", "app", "update", "--id", made["appId"], "--set", "displayName=renamed")
    assert az("ad", "app", "show", "--id", made["appId"])["displayName"] == "renamed"
    trust = {
        "name": "main",
        "issuer": "https://issuer.example",
        "subject": "repo:one",
        "audiences": ["api://AzureADTokenExchange"],
    }
    file = tmp_path / "trust.json"
    file.write_text(json.dumps(trust))
    below = ("--id", made["appId"])
    credential = ("ad", "app", "federated-credential")
    assert az(*credential, "create", *below, "--parameters", str(file))["subject"] == "repo:one"
    file.write_text(json.dumps({**trust, "subject": "repo:two"}))
    az(*credential, "update", *below, "--federated-credential-id", "main", "--parameters", str(file))
    assert az(*credential, "show", *below, "--federated-credential-id", "main")["subject"] == "repo:two"
    assert az(*credential, "list", *below, "--query", "[].name") == ["main"]
    az(*credential, "delete", *below, "--federated-credential-id", "main")
    assert az(*credential, "list", *below) == []

    principal = az("ad", "sp", "create", "--id", made["appId"])
    assert (principal["appId"], principal["servicePrincipalType"]) == (made["appId"], "Application")
    az("ad", "sp", "delete", "--id", principal["id"])
    az("ad", "app", "delete", "--id", made["appId"])
    assert az("ad", "app", "list", "--display-name", "renamed") == []
    az.refused("ad", "app", "show", "--id", made["appId"], code=3)


def test_managed_identities_among_service_principals(up: Up, az: Az) -> None:
    made = new_identity(up, new_group(up, "principals"), "named")
    [found] = az("ad", "sp", "list", "--filter", MANAGED)
    assert (found["id"], found["appId"], found["displayName"]) == (made["principalId"], made["clientId"], "named")
    assert found["alternativeNames"] == ["isExplicit=True", made["id"]]
    assert az("ad", "sp", "list", "--display-name", "named", "--query", "[].id") == [made["principalId"]]
    for name in (made["clientId"], made["principalId"]):
        assert az("ad", "sp", "show", "--id", name)["id"] == made["principalId"]
    az.refused("ad", "sp", "delete", "--id", made["principalId"])
    az("identity", "delete", "--name", "named", "--resource-group", "principals")
    assert az("ad", "sp", "list", "--filter", MANAGED) == []


def test_groups_and_users(az: Az) -> None:
    admin = az("ad", "user", "list")[0]
    made = az("ad", "group", "create", "--display-name", "readers", "--mail-nickname", "readers")
    assert az("ad", "group", "list", "--query", "[].displayName") == ["readers"]
    az("ad", "group", "member", "add", "--group", "readers", "--member-id", admin["id"])
    check = ("ad", "group", "member", "check", "--group", "readers", "--member-id", admin["id"])
    assert az(*check)["value"] is True
    assert az("ad", "group", "member", "list", "--group", made["id"], "--query", "[].id") == [admin["id"]]
    assert az("ad", "user", "get-member-groups", "--id", admin["id"], "--query", "[].displayName") == ["readers"]
    az("ad", "group", "member", "remove", "--group", "readers", "--member-id", admin["id"])
    assert az(*check)["value"] is False
    assert az("ad", "user", "show", "--id", admin["userPrincipalName"])["id"] == admin["id"]
    # Applications are nobody's self.
    assert "/me request is only valid with delegated authentication flow" in az.refused("ad", "signed-in-user", "show")
    az("ad", "group", "delete", "--group", "readers")
    assert az("ad", "group", "list") == []


def test_a_group_gives_its_members_its_roles(up: Up, az: Az) -> None:
    scope = new_group(up, "shared")
    group = az("ad", "group", "create", "--display-name", "team", "--mail-nickname", "team")["id"]
    member = new_identity(up, scope, "member")
    az("ad", "group", "member", "add", "--group", group, "--member-id", member["principalId"])
    given = az("role", "assignment", "create", "--assignee", group, "--role", "Reader", "--scope", scope)
    assert given["principalType"] == "Group"
    held = az(
        *("role", "assignment", "list", "--scope", scope, "--include-groups"),
        *("--assignee", member["principalId"], "--query", "[].principalName"),
    )
    assert held == ["team"]
