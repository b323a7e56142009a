"""Moves as Azure's own clients make them, and what becomes of the tokens and secrets of what is moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import CredentialUnavailableError, ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient
from azure.mgmt.resource.resources import ResourceManagementClient
from tests.interop.mgmt import GROUP, client_of, refusal

from idplane.jose import parse
from idplane.model.directory import Subscription
from idplane.model.profile import AZURE
from idplane.ports.collections import SUBSCRIPTIONS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.testing.local import LocalPlane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from idplane.testing.local import VirtualMachine

SECOND = "5b5b5b5b-0000-4000-8000-000000000002"
SCOPE = "https://management.azure.com/.default"


@pytest.fixture
def resources(idplane: LocalPlane) -> ResourceManagementClient:
    idplane.resource_group()
    idplane.resource_group("depot")
    return client_of(ResourceManagementClient, idplane)


def _mirid(token: str) -> str:
    return str(parse(token).claims["xms_mirid"]).replace("/resourcegroups/", "/resourceGroups/")


def test_a_machine_s_tokens_are_those_of_where_it_is(
    idplane: LocalPlane, resources: ResourceManagementClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = idplane.virtual_machine("stock-vm")
    for name, value in idplane.environment(machine).items():
        monkeypatch.setenv(name, value)
    assert _mirid(ManagedIdentityCredential().get_token(SCOPE).token) == machine.id
    target = idplane.resource_group("depot")
    body = {"resources": [machine.id], "targetResourceGroup": target}
    resources.resources.begin_validate_move_resources(GROUP, body).result()
    resources.resources.begin_move_resources(GROUP, body).result()
    moved = machine.id.replace(f"/{GROUP}/", "/depot/")
    assert [one.id for one in resources.resources.list_by_resource_group("depot")] == [moved]
    # What runs under the old id has no identity any more; what is started under the new one has the same identity as before.
    with pytest.raises((ClientAuthenticationError, CredentialUnavailableError)):
        ManagedIdentityCredential().get_token(SCOPE)
    for name, value in idplane.environment(moved).items():
        monkeypatch.setenv(name, value)
    token = ManagedIdentityCredential().get_token(SCOPE).token
    assert machine.identity is not None
    assert (_mirid(token), parse(token).claims["oid"]) == (moved, machine.identity.principal_id)


def test_a_vault_takes_its_secrets_along(
    idplane: LocalPlane, resources: ResourceManagementClient, run_as: Callable[[VirtualMachine], None]
) -> None:
    vault = idplane.vault("move-safe", password="correct horse")
    reader = idplane.virtual_machine("reader")
    assert reader.identity is not None
    run_as(reader)
    body = {"resources": [vault], "targetResourceGroup": idplane.resource_group("depot")}
    resources.resources.begin_move_resources(GROUP, body).result()
    idplane.grant(reader.identity, "Key Vault Secrets User", vault.replace(f"/{GROUP}/", "/depot/"))
    with SecretClient(idplane.vault_url("move-safe"), ManagedIdentityCredential()) as client:
        assert client.get_secret("password").value == "correct horse"


def test_a_refused_move_says_why(idplane: LocalPlane, resources: ResourceManagementClient) -> None:
    identity = idplane.user_assigned_identity("shared")
    assert identity.id is not None
    body = {"resources": [identity.id], "targetResourceGroup": idplane.resource_group("depot")}
    for begin in (resources.resources.begin_move_resources, resources.resources.begin_validate_move_resources):
        with pytest.raises(HttpResponseError) as caught:
            begin(GROUP, body).result()
        assert refusal(caught) == (409, "ResourceMoveNotSupported")


@pytest.fixture(scope="module")
def strict() -> Iterator[LocalPlane]:
    plane = LocalPlane(profile=AZURE)
    yield plane
    plane.close()


def test_in_profile_azure_a_web_app_s_identity_says_that_it_stopped(
    strict: LocalPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = strict.run(strict.store.all(SUBSCRIPTIONS))[0].value
    second = Subscription(id=SECOND, tenant_id=home.tenant_id, display_name="second")
    strict.run(strict.store.commit(Batch.of(Put(collection=SUBSCRIPTIONS, value=second, expect=ABSENT))))
    target = f"/subscriptions/{SECOND}/resourceGroups/far"
    strict.call("PUT", target, {"location": "westeurope"})
    site = f"{strict.resource_group()}/providers/Microsoft.Web/sites/shop"
    block = {"location": "westeurope", "identity": {"type": "SystemAssigned"}}
    strict.call("PUT", site, block)
    body = {"resources": [site], "targetResourceGroup": target}
    client_of(ResourceManagementClient, strict).resources.begin_move_resources(GROUP, body).result()
    moved = f"{target}/providers/Microsoft.Web/sites/shop"
    for name, value in strict.environment(moved).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClientAuthenticationError, match="Disable the system-assigned identity and enable it again"):
        ManagedIdentityCredential().get_token(SCOPE)
    strict.call("PUT", moved, {"location": "westeurope", "identity": {"type": "None"}})
    strict.call("PUT", moved, block)
    assert _mirid(ManagedIdentityCredential().get_token(SCOPE).token) == moved
