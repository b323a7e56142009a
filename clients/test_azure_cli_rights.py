"""Conditions that change, roles of one's own and the last administrator, as `az` handles them (control-plane.md sections 5.5, 7.3)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from clients.azure_cli_world import Az, signed_in

pytestmark = pytest.mark.xdist_group("azure-cli-rights")

GROUP = "rights"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
CONDITION = (
    "((!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR "
    f"(@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {{{READER}}}))"
)
PLAIN = ("--fill-principal-name", "false")


@pytest.fixture(scope="module")
def group(az: Az) -> str:
    """The id of the module's group."""
    made: str = az("group", "create", "--name", GROUP, "--location", "westeurope")["id"]
    return made


def identity(az: Az, name: str) -> Any:
    return az("identity", "create", "--name", name, "--resource-group", GROUP)


def assigning(principal: str, role: str, scope: str) -> tuple[str, ...]:
    whom = ("--assignee-object-id", principal, "--assignee-principal-type", "ServicePrincipal")
    return ("role", "assignment", "create", *whom, "--role", role, "--scope", scope)


def test_a_role_under_a_condition(az: Az, group: str) -> None:
    delegate = identity(az, "delegate")["principalId"]
    role = "Role Based Access Control Administrator"
    made = az(
        *assigning(delegate, role, group),
        "--condition",
        CONDITION,
        "--condition-version",
        "2.0",
        "--description",
        "readers only",
    )
    assert (made["condition"], made["conditionVersion"]) == (CONDITION, "2.0")
    again = az(*assigning(delegate, role, group), "--condition", CONDITION, "--condition-version", "2.0")
    assert again["name"] == made["name"]
    shown = az("role", "assignment", "list", "--resource-group", GROUP, *PLAIN)
    assert [one["condition"] for one in shown] == [CONDITION]
    changed = {**made, "condition": "", "conditionVersion": "", "description": "all roles"}
    updated = az("role", "assignment", "update", "--role-assignment", json.dumps(changed))
    assert (updated.get("condition"), updated["description"]) == (None, "all roles")
    broken = az.refused(*assigning(identity(az, "other")["principalId"], role, group), "--condition", CONDITION[:-1])
    assert "The given role assignment condition is invalid" in broken


def test_a_role_of_ones_own(az: Az, group: str) -> None:
    role = {
        "Name": "Restarter",
        "Description": "d",
        "Actions": ["Microsoft.Compute/virtualMachines/restart/action"],
        "AssignableScopes": [group],
    }
    made = az("role", "definition", "create", "--role-definition", json.dumps(role))
    assert made["roleType"] == "CustomRole"
    wrong = {**role, "Name": "Wrong", "Actions": ["Microsoft.Compute/virtualMachines/restart"]}
    assert "InvalidActionOrNotAction" in az.refused("role", "definition", "create", "--role-definition", json.dumps(wrong))
    worker = identity(az, "worker")["principalId"]
    az(*assigning(worker, "Restarter", group))
    named = ("--name", "Restarter", "--scope", group)
    assert "RoleDefinitionHasAssignments" in az.refused("role", "definition", "delete", *named)
    az("role", "assignment", "delete", "--assignee", worker, "--resource-group", GROUP)
    az("role", "definition", "delete", *named)
    assert az("role", "definition", "list", *named) == []


def test_the_last_administrator(az: Az, group: str) -> None:
    subscription = group.split("/resourceGroups/", maxsplit=1)[0]
    keeper = identity(az, "keeper")["principalId"]
    az(*assigning(keeper, "Owner", subscription))
    me = signed_in(az)["oid"]
    held = az("role", "assignment", "list", "--scope", "/", *PLAIN)
    for one in held:
        if one["principalId"] != me:
            az("role", "assignment", "delete", "--ids", one["id"])
    [last] = [one for one in held if one["principalId"] == me]
    assert "CannotDeleteLastRbacAdminAssignment" in az.refused("role", "assignment", "delete", "--ids", last["id"])
    uri = f"{last['id']}?api-version=2022-04-01"
    forced = az("rest", "--method", "delete", "--uri", uri, "--uri-parameters", "force=true")
    assert forced["name"] == last["name"]
    assert "AuthorizationFailed" in az.refused("role", "assignment", "list", "--scope", "/", *PLAIN)
