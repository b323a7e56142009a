"""Identities, federated credentials, and the resources that bear them, as `az` handles them (control-plane.md sections 5.2 to 5.4)."""

from __future__ import annotations

from typing import Any

import pytest
from clients.azure_cli_world import Az, new_group, new_identity, put
from tests.stories.planes import Up

pytestmark = pytest.mark.xdist_group("azure-cli-identities")

GROUP = "ids"
AUDIENCE = "api://AzureADTokenExchange"


@pytest.fixture(scope="module")
def group(up: Up) -> str:
    """The id of the module's group."""
    return new_group(up, GROUP)


def identity(az: Az, name: str, *options: str) -> Any:
    return az("identity", "create", "--name", name, "--resource-group", GROUP, *options)


def folded(identities: Any) -> dict[str, Any]:
    """A map of user-assigned identities by name."""
    return {key.rpartition("/")[2].lower(): value for key, value in identities.items()}


def test_identities(az: Az, group: str) -> None:
    one = identity(az, "One", "--tags", "a=b")
    assert one["id"] == f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/One"
    assert one["location"] == "westeurope"
    regional = identity(
        *(az, "two", "--location", "northeurope", "--isolation-scope", "Regional"),
        *("--resource-restriction", '{"providers":["Microsoft.Compute"]}'),
    )
    assert regional["isolationScope"] == "Regional"
    named = ("--name", "one", "--resource-group", GROUP)
    assert az("identity", "update", *named, "--tags", "c=d")["tags"] == {"a": "b", "c": "d"}
    assert az("identity", "show", *named)["principalId"] == one["principalId"]
    assert {"One", "two"} <= {one["name"] for one in az("identity", "list", "--resource-group", GROUP)}
    operations = az("identity", "list-operations", "--query", "[].name")
    assert "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action" in operations
    az("identity", "delete", "--name", "two", "--resource-group", GROUP)
    assert "ResourceNotFound" in az.refused("identity", "show", "--name", "two", "--resource-group", GROUP, code=3)


def test_federated_credentials(up: Up, az: Az, group: str) -> None:
    new_identity(up, group, "federated")
    below = ("--identity-name", "federated", "--resource-group", GROUP)
    trust = ("--issuer", "https://issuer.example", "--audiences", AUDIENCE)
    made = az("identity", "federated-credential", "create", "--name", "exact", *below, *trust, "--subject", "one")
    assert (made["subject"], made["audiences"]) == ("one", [AUDIENCE])
    expression = ("--cme-value", "claims['sub'] matches 'repo:*'", "--cme-version", "1")
    flexible = az("identity", "federated-credential", "create", "--name", "flexible", *below, *trust, *expression)
    assert flexible["claimsMatchingExpression"]["languageVersion"] == 1
    updated = az("identity", "federated-credential", "update", "--name", "exact", *below, *trust, "--subject", "two")
    assert updated["subject"] == "two"
    assert az("identity", "federated-credential", "show", "--name", "exact", *below)["subject"] == "two"
    twice = ("identity", "federated-credential", "create", "--name", "twice", *below, *trust, "--subject", "two")
    assert "already exists" in az.refused(*twice)
    assert len(az("identity", "federated-credential", "list", *below)) == 2
    az("identity", "federated-credential", "delete", "--name", "exact", *below, "--yes")
    assert az("identity", "federated-credential", "list", *below, "--query", "[].name") == ["flexible"]


def test_a_machine_from_an_image_with_identities(up: Up, az: Az, group: str) -> None:
    new_identity(up, group, "of-vm")
    made = az(
        *("vm", "create", "--name", "vm", "--resource-group", GROUP, "--image", "Ubuntu2204", "--size", "Standard_B1s"),
        *("--admin-username", "someone", "--generate-ssh-keys", "--assign-identity", "[system]", "of-vm"),
        *("--role", "Reader", "--scope", group),
    )
    assert made["powerState"] == "VM running"
    assert made["identity"]["systemAssignedIdentity"]
    assert list(folded(made["identity"]["userAssignedIdentities"])) == ["of-vm"]
    kinds = set(az("resource", "list", "--resource-group", GROUP, "--query", "[].type"))
    assert {"Microsoft.Network/networkInterfaces", "Microsoft.Network/publicIPAddresses"} <= kinds
    held = az("role", "assignment", "list", "--resource-group", GROUP, "--fill-principal-name", "false")
    assert [(one["principalId"], one["roleDefinitionName"]) for one in held] == [
        (made["identity"]["systemAssignedIdentity"], "Reader")
    ]
    [used] = az("identity", "list-resources", "--name", "of-vm", "--resource-group", GROUP)
    assert used["name"].lower() == "vm"
    assert "vm" in az("vm", "list", "--resource-group", GROUP, "--query", "[].name")
    statuses = az("vm", "get-instance-view", "--name", "vm", "--resource-group", GROUP)["instanceView"]["statuses"]
    assert [one["code"] for one in statuses] == ["ProvisioningState/succeeded", "PowerState/running"]
    az("vm", "delete", "--name", "vm", "--resource-group", GROUP, "--yes")
    gone = ("role", "assignment", "list", "--resource-group", GROUP, "--fill-principal-name", "false")
    assert az(*gone) == []


def test_a_machine_s_identities_one_at_a_time(up: Up, az: Az, group: str) -> None:
    first, second = new_identity(up, group, "first"), new_identity(up, group, "second")
    put(up, f"{group}/providers/Microsoft.Compute/virtualMachines/plain", "2024-11-01", {"location": "westeurope"})
    machine = ("--name", "plain", "--resource-group", GROUP)
    system = az("vm", "identity", "assign", *machine, "--role", "Reader", "--scope", group)
    assert system["systemAssignedIdentity"]
    both = az("vm", "identity", "assign", *machine, "--identities", "first", second["id"])
    assert set(folded(both["userAssignedIdentities"])) == {"first", "second"}
    assert both["systemAssignedIdentity"] == system["systemAssignedIdentity"]
    left = az("vm", "identity", "remove", *machine, "--identities", first["id"])
    assert (left["type"], list(folded(left["userAssignedIdentities"]))) == ("SystemAssigned, UserAssigned", ["second"])
    az("vm", "identity", "remove", *machine)
    shown = az("vm", "identity", "show", *machine)
    assert (shown["type"], shown.get("principalId")) == ("UserAssigned", None)
    again = az("vm", "identity", "assign", *machine, "--identities", "[system]")
    assert again["systemAssignedIdentity"] not in {None, system["systemAssignedIdentity"]}
    az("vm", "identity", "remove", *machine, "--identities", "[system]", "second")
    assert az("vm", "identity", "show", *machine) is None


def test_a_web_app_and_its_slot(up: Up, az: Az, group: str) -> None:
    used = new_identity(up, group, "of-webapp")["id"]
    az("appservice", "plan", "create", "--name", "plan", "--resource-group", GROUP, "--sku", "S1")
    site = ("--resource-group", GROUP, "--name", "site")
    made = az("webapp", "create", *site, "--plan", "plan", "--runtime", "PYTHON:3.12", "--assign-identity", "[system]")
    system = made["identity"]["principalId"]
    shown = az("webapp", "show", *site)
    assert (shown["siteConfig"]["linuxFxVersion"], shown["state"]) == ("PYTHON|3.12", "Running")
    both = az("webapp", "identity", "assign", *site, "--identities", "[system]", used, "--role", "Reader", "--scope", group)
    assert (both["principalId"], list(folded(both["userAssignedIdentities"]))) == (system, ["of-webapp"])
    left = az("webapp", "identity", "remove", *site)
    assert (left["type"], left["principalId"]) == ("UserAssigned", None)
    assert az("webapp", "identity", "remove", *site, "--identities", used) is None

    slot = (*site, "--slot", "staging")
    az("webapp", "deployment", "slot", "create", *slot)
    of_slot = az("webapp", "identity", "assign", *slot, "--identities", used, "[system]")
    assert of_slot["principalId"] not in {None, system}
    assert az("webapp", "identity", "show", *slot)["type"] == "SystemAssigned, UserAssigned"
    az("webapp", "identity", "remove", *slot, "--identities", "[system]", used)
    assert az("webapp", "identity", "show", *slot) is None
    assert az("webapp", "deployment", "slot", "list", *site, "--query", "[].name") == ["staging"]
    az("webapp", "delete", *site)
    assert az("webapp", "list", "--resource-group", GROUP) == []


def test_a_function_app_and_its_slot(up: Up, az: Az, group: str) -> None:
    used = new_identity(up, group, "of-function")["id"]
    az("storage", "account", "create", "--name", "idsstore", "--resource-group", GROUP)
    az("functionapp", "plan", "create", "--name", "functions", "--resource-group", GROUP, "--sku", "B1", "--is-linux")
    app = ("--resource-group", GROUP, "--name", "function")
    made = az(
        *("functionapp", "create", *app, "--plan", "functions", "--storage-account", "idsstore", "--assign-identity"),
        *("--runtime", "python", "--functions-version", "4"),
    )
    assert (made["kind"], made["identity"]["type"]) == ("functionapp,linux", "SystemAssigned")
    assert az("functionapp", "show", *app)["serverFarmId"] == f"{group}/providers/Microsoft.Web/serverfarms/functions"
    both = az("functionapp", "identity", "assign", *app, "--identities", used)
    assert (both["principalId"], list(folded(both["userAssignedIdentities"]))) == (
        made["identity"]["principalId"],
        ["of-function"],
    )
    slot = (*app, "--slot", "staging")
    az("functionapp", "deployment", "slot", "create", *slot)
    assert az("functionapp", "identity", "assign", *slot)["principalId"] not in {None, both["principalId"]}
    az("functionapp", "identity", "remove", *slot)
    assert az("functionapp", "identity", "show", *slot) is None
    az("functionapp", "delete", *app)


def test_what_clients_look_up(az: Az) -> None:
    assert az("vm", "list-skus", "--location", "westeurope", "--size", "Standard_B1s", "--query", "[].name") == ["Standard_B1s"]
    found = az("vm", "image", "list", "--all", "--publisher", "Canonical", "--location", "westeurope")
    assert "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:1.0.0" in [one["urn"] for one in found]
    wrong = ("vm", "image", "show", "--location", "westeurope", "--urn", "Nobody:nothing:none:latest")
    assert "Artifact: VMImage was not found" in az.refused(*wrong, code=3)
    assert "PYTHON|3.12" in az("webapp", "list-runtimes", "--os-type", "linux", "--query", "[].config")
    assert {"python", "node"} <= set(az("functionapp", "list-runtimes", "--os", "linux", "--query", "[].runtime"))
