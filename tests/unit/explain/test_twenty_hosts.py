"""Refusals at hosts' own endpoints, of vaults and of Resource Manager, each by a real request: explained, mended, and then none any more."""

from __future__ import annotations

from typing import Any

from tests.unit.explain.explain_world import ARM, VAULT, ExplainWorld, Reply

from idplane.explain.model import StepKind
from idplane.model.dialects import Dialect

_FOR_ARM = {"resource": ARM}


# Endpoints ----------------------------------------------------------------------------------------------------------------


def test_without_the_header_that_shows_intent(world: ExplainWorld) -> None:
    machine = world.plane.virtual_machine("stock-vm")
    refused = world.endpoint(machine, Dialect.IMDS, _FOR_ARM, {})
    told = world.explain(refused.id)
    assert told.fixes[0].text == "Send the header 'Metadata: true' with the request"
    assert ("host", machine.id.lower()) in [(one.label, one.value.lower()) for one in told.who]
    assert "user" in [one.label for one in told.who]
    assert world.endpoint(machine, Dialect.IMDS, _FOR_ARM, {"Metadata": "true"}).ok


def test_with_the_wrong_secret(world: ExplainWorld) -> None:
    site = world.plane.resource("Microsoft.Web/sites", "shop")
    refused = world.endpoint(site, Dialect.APP_SERVICE, _FOR_ARM, {"X-IDENTITY-HEADER": "guessed"})
    told = world.explain(refused.id)
    assert told.decided.why == "the secret that the request shows is not the one that opens this endpoint"
    assert "IDENTITY_HEADER" in told.fixes[0].text
    assert world.endpoint(site, Dialect.APP_SERVICE, _FOR_ARM).ok


def test_through_a_proxy(world: ExplainWorld) -> None:
    machine = world.plane.virtual_machine("stock-vm")
    refused = world.endpoint(machine, Dialect.IMDS, _FOR_ARM, {"Metadata": "true", "X-Forwarded-For": "10.0.0.1"})
    assert "NO_PROXY" in world.explain(refused.id).fixes[0].text
    assert world.endpoint(machine, Dialect.IMDS, _FOR_ARM).ok


def test_a_process_that_no_binding_admits(world: ExplainWorld) -> None:
    machine = world.plane.virtual_machine("stock-vm")
    world.plane.bind(machine, "tracker", user="nobody", systemdUnit="tracker.service")
    world.plane.bind(machine, "import", user="nobody")
    refused = world.endpoint(machine, Dialect.IMDS, _FOR_ARM)
    assert refused.status == 403
    told = world.mend(refused.id)
    assert [(one.name, one.kind) for one in told.considered][:2] == [
        ("import", StepKind.BINDING),
        ("tracker", StepKind.BINDING),
    ]
    assert told.nearest is not None
    assert told.nearest.name == "import"
    assert told.nearest.why.startswith("its user is 'nobody', the process's is '")
    assert [one.why.endswith("its systemd unit is 'tracker.service', the process has none") for one in told.considered[:2]] == [
        False,
        True,
    ]
    assert told.fixes[0].who_may is not None
    assert told.fixes[0].who_may.roles == ("Owner",)
    assert told.fixes[0].command is not None
    assert told.fixes[0].command.startswith(f"idplane binding add {machine.id} from-refusal --")
    assert world.endpoint(machine, Dialect.IMDS, _FOR_ARM).ok


def test_an_identity_that_the_host_does_not_have(world: ExplainWorld) -> None:
    identity = world.plane.user_assigned_identity("batch")
    machine = world.plane.virtual_machine("stock-vm")
    asked = {**_FOR_ARM, "client_id": identity.client_id}
    refused = world.endpoint(machine, Dialect.IMDS, asked)
    told = world.mend(refused.id)
    assert told.fixes[0].text == "Assign the identity batch to stock-vm"
    assert told.fixes[0].command is not None
    assert told.fixes[0].command.startswith("idplane az vm identity assign --resource-group tests --name stock-vm ")
    assert world.endpoint(machine, Dialect.IMDS, asked).ok
    assert world.endpoint(machine, Dialect.IMDS, _FOR_ARM).ok


def test_a_client_id_with_a_slip_at_the_endpoint(world: ExplainWorld) -> None:
    machine = world.plane.virtual_machine("stock-vm")
    assert machine.identity is not None
    right = machine.identity.client_id
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    told = world.explain(world.endpoint(machine, Dialect.IMDS, {**_FOR_ARM, "client_id": wrong}).id)
    assert told.nearest is not None
    assert told.nearest.id == right
    assert right in told.fixes[0].text
    assert world.endpoint(machine, Dialect.IMDS, {**_FOR_ARM, "client_id": right}).ok


def test_a_host_without_an_identity(world: ExplainWorld) -> None:
    machine = world.plane.virtual_machine("stock-vm", system=False)
    refused = world.endpoint(machine, Dialect.IMDS, _FOR_ARM)
    told = world.mend(refused.id)
    assert told.fixes[0].text == "Enable the system-assigned identity of stock-vm"
    assert world.endpoint(machine, Dialect.IMDS, _FOR_ARM).ok


def test_several_identities_and_none_named(world: ExplainWorld) -> None:
    several = [world.plane.user_assigned_identity(name) for name in ("one", "two")]
    machine = world.plane.virtual_machine("stock-vm", system=False, identities=several)
    told = world.explain(world.endpoint(machine, Dialect.IMDS, _FOR_ARM).id)
    assert {one.id for one in told.considered if one.id} == {one.client_id for one in several}
    assert several[1].client_id in told.fixes[0].text
    assert world.endpoint(machine, Dialect.IMDS, {**_FOR_ARM, "client_id": several[1].client_id}).ok


def test_a_resource_that_nobody_knows_at_the_endpoint(world: ExplainWorld) -> None:
    """The id is the token service's, which the host's endpoint hands on."""
    machine = world.plane.virtual_machine("stock-vm")
    told = world.explain(world.endpoint(machine, Dialect.IMDS, {"resource": "https://valt.azure.net"}).id)
    assert told.fixes[0].text == f"Ask for a token for '{VAULT}' instead"
    assert ("executable" in [one.label for one in told.who], told.who[0].value) == (True, "stock-vm")


def test_an_identity_that_a_move_stopped(world: ExplainWorld) -> None:
    """As in Azure: it works again when it has been disabled and enabled, as another identity."""
    site = world.plane.resource("Microsoft.Web/sites", "shop", group="before")
    before, scope = world.plane.resource_group("before"), world.plane.subscription("second")
    after = f"{scope}/resourceGroups/after"
    world.plane.call("PUT", after, {"location": "westeurope"})
    world.plane.call("POST", f"{before}/moveResources", {"resources": [site.id], "targetResourceGroup": after})
    moved = f"{after}/providers/Microsoft.Web/sites/shop"
    refused = world.endpoint(moved, Dialect.APP_SERVICE, _FOR_ARM)
    assert not refused.ok
    told = world.mend(refused.id)
    assert told.together
    assert [one.text.partition(" ")[0] for one in told.fixes] == ["Disable", "Enable"]
    assert world.endpoint(moved, Dialect.APP_SERVICE, _FOR_ARM).ok
    assert world.explain(refused.id).now == "It works again now."


# Resource Manager -----------------------------------------------------------------------------------------------------------


def test_a_lock(world: ExplainWorld) -> None:
    machine = world.plane.virtual_machine("stock-vm", group="locked")
    group = world.plane.resource_group("locked")
    body = {"properties": {"level": "CanNotDelete", "notes": "ask the owners"}}
    world.plane.call("PUT", f"{group}/providers/Microsoft.Authorization/locks/keep", body, api_version="2020-05-01")
    refused = _as_owner(world, "DELETE", f"{machine.id}?api-version=2024-11-01")
    assert refused.status == 409
    told = world.mend(refused.id)
    assert (told.decided.kind, told.decided.name) == (StepKind.LOCK, "keep")
    assert told.decided.why.endswith("above it: ask the owners")
    assert _as_owner(world, "DELETE", f"{machine.id}?api-version=2024-11-01").ok


def test_a_namespace_that_is_not_registered(world: ExplainWorld) -> None:
    group = world.plane.resource_group()
    scope = f"/subscriptions/{world.plane.subscription_id}"
    world.plane.call("POST", f"{scope}/providers/Microsoft.ManagedIdentity/unregister", api_version="2022-12-01")
    path = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/batch?api-version=2024-11-30"
    refused = _as_owner(world, "PUT", path, {"location": "westeurope"})
    assert refused.status == 409
    told = world.mend(refused.id)
    assert told.fixes[0].text == "Register Microsoft.ManagedIdentity in the subscription"
    assert _as_owner(world, "PUT", path, {"location": "westeurope"}).ok


def test_a_subscription_that_is_disabled(world: ExplainWorld) -> None:
    scope = world.plane.subscription("second")
    world.plane.call("POST", f"{scope}/providers/Microsoft.Subscription/cancel", api_version="2021-10-01")
    path = f"{scope}/resourceGroups/new?api-version=2024-11-01"
    refused = _as_owner(world, "PUT", path, {"location": "westeurope"})
    assert refused.status == 409
    assert world.mend(refused.id).fixes[0].text == "Enable the subscription"
    assert _as_owner(world, "PUT", path, {"location": "westeurope"}).ok


def test_a_resource_in_another_group(world: ExplainWorld) -> None:
    machine = world.plane.virtual_machine("stock-vm", group="there")
    group = world.plane.resource_group("here")
    wrong = f"{group}/providers/Microsoft.Compute/virtualMachines/stock-vm"
    refused = _as_owner(world, "GET", f"{wrong}?api-version=2024-11-01")
    assert refused.status == 404
    told = world.explain(refused.id)
    assert told.nearest is not None
    assert told.nearest.scope == machine.id
    assert told.fixes[0].text == f"Ask for '{machine.id}'"
    assert _as_owner(world, "GET", f"{machine.id}?api-version=2024-11-01").ok


# Vaults -------------------------------------------------------------------------------------------------------------------------


def test_a_secret_that_is_disabled(world: ExplainWorld) -> None:
    world.plane.vault("one", db="hello")
    _in_vault(world, "PATCH", "/secrets/db/", {"attributes": {"enabled": False}})
    refused = _in_vault(world, "GET", "/secrets/db")
    assert refused.status == 403
    told = world.mend(refused.id)
    assert (told.decided.kind, told.decided.name) == (StepKind.SECRET, "db")
    assert _in_vault(world, "GET", "/secrets/db").body["value"] == "hello"


def test_a_secret_that_was_deleted(world: ExplainWorld) -> None:
    world.plane.vault("one", db="hello")
    assert _in_vault(world, "DELETE", "/secrets/db").ok
    refused = _in_vault(world, "GET", "/secrets/db")
    assert refused.status == 404
    told = world.mend(refused.id)
    assert "and can be recovered" in told.decided.why
    assert _in_vault(world, "GET", "/secrets/db").body["value"] == "hello"


def test_a_name_that_a_deleted_secret_holds(world: ExplainWorld) -> None:
    world.plane.vault("one", db="hello")
    assert _in_vault(world, "DELETE", "/secrets/db").ok
    refused = _in_vault(world, "PUT", "/secrets/db", {"value": "new"})
    assert refused.status == 409
    assert world.mend(refused.id).fixes[0].text == "Recover the secret 'db'"
    assert _in_vault(world, "PUT", "/secrets/db", {"value": "new"}).ok


def test_a_secret_with_a_slip(world: ExplainWorld) -> None:
    world.plane.vault("one", database="hello")
    told = world.explain(_in_vault(world, "GET", "/secrets/databse").id)
    assert told.fixes[0].text == "Ask for the secret 'database'"
    assert _in_vault(world, "GET", "/secrets/database").ok


def _as_owner(world: ExplainWorld, method: str, path: str, body: Any = None) -> Reply:
    return world.send(method, path, body, token=world.plane.operator_token(ARM)["access_token"])


def _in_vault(world: ExplainWorld, method: str, path: str, body: Any = None) -> Reply:
    token = world.plane.operator_token(VAULT)["access_token"]
    return world.send(method, f"{path}?api-version=7.4", body, token=token, vault="one")
