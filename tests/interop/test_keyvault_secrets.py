"""azure-keyvault-secrets, unmodified: in this process against the vault's own name, and inside a run against production's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError, ServiceRequestError
from azure.identity import ManagedIdentityCredential
from azure.identity.aio import ManagedIdentityCredential as AioManagedIdentityCredential
from azure.keyvault.secrets import SecretClient
from azure.keyvault.secrets.aio import SecretClient as AioSecretClient
from tests.interop import secrets_tour
from tests.stories.planes import Up
from tests.stories.workloads import Owner, Workload, require_namespaces

from idplane.testing.local import LocalPlane, VirtualMachine

RunAs = Callable[[VirtualMachine | str], None]


def worker(plane: LocalPlane, role: str | None, **secrets: str) -> VirtualMachine:
    """A machine with a role at the vault `stock`."""
    machine = plane.virtual_machine("vm")
    assert machine.identity is not None
    vault = plane.vault("stock", **secrets)
    if role is not None:
        plane.grant(machine.identity, role, vault)
    return machine


def test_the_synchronous_client(idplane: LocalPlane, run_as: RunAs) -> None:
    run_as(worker(idplane, "Key Vault Secrets Officer"))
    with SecretClient(idplane.vault_url("stock"), ManagedIdentityCredential()) as client:
        secrets_tour.tour(client)


async def test_the_asynchronous_client(idplane: LocalPlane, run_as: RunAs) -> None:
    run_as(worker(idplane, "Key Vault Secrets Officer"))
    async with (
        AioManagedIdentityCredential() as credential,
        AioSecretClient(idplane.vault_url("stock"), credential) as client,
    ):
        await secrets_tour.aio_tour(client)


def test_a_user_of_secrets_reads_them_and_nothing_else(idplane: LocalPlane, run_as: RunAs) -> None:
    run_as(worker(idplane, "Key Vault Secrets User", db="hunter2"))
    with SecretClient(idplane.vault_url("stock"), ManagedIdentityCredential()) as client:
        assert client.get_secret("db").value == "hunter2"
        for attempt in (
            lambda: client.set_secret("db", "x"),
            lambda: client.update_secret_properties("db", enabled=False),
            lambda: client.begin_delete_secret("db"),
            lambda: client.begin_recover_deleted_secret("db"),
            lambda: client.purge_deleted_secret("db"),
        ):
            with pytest.raises(HttpResponseError) as refusal:
                attempt()
            assert secrets_tour.code_of(refusal) == (403, "Forbidden")
            assert "Assignment: (not found)" in (refusal.value.message or "")
        assert client.get_secret("db").value == "hunter2"


def test_a_role_that_only_manages_the_vault_reads_no_secret(idplane: LocalPlane, run_as: RunAs) -> None:
    run_as(worker(idplane, "Contributor", db="hunter2"))
    with SecretClient(idplane.vault_url("stock"), ManagedIdentityCredential()) as client:
        with pytest.raises(HttpResponseError) as refusal:
            client.get_secret("db")
        assert secrets_tour.code_of(refusal) == (403, "Forbidden")


def test_an_address_that_is_no_vaults_is_sent_no_token(idplane: LocalPlane, run_as: RunAs) -> None:
    run_as(worker(idplane, "Key Vault Secrets User", db="hunter2"))
    with SecretClient(idplane.url, ManagedIdentityCredential()) as client, pytest.raises(ResourceNotFoundError):
        client.get_secret("db")
    assert not [event for event in idplane.sign_ins() if event.principal_name == "vm"]


def test_a_vault_that_is_not_there(idplane: LocalPlane, run_as: RunAs) -> None:
    run_as(worker(idplane, None))
    with SecretClient(idplane.vault_url("nowhere"), ManagedIdentityCredential()) as client:
        with pytest.raises(HttpResponseError) as refusal:
            client.get_secret("db")
        assert secrets_tour.code_of(refusal) == (404, "VaultNotFound")


def test_without_an_identity_there_is_no_token(idplane: LocalPlane, run_as: RunAs) -> None:
    idplane.vault("stock", db="hunter2")
    run_as(idplane.virtual_machine("vm", system=False))
    with (
        SecretClient(idplane.vault_url("stock"), ManagedIdentityCredential()) as client,
        pytest.raises(ClientAuthenticationError),
    ):
        client.get_secret("db")


def test_without_the_planes_authority_nothing_is_sent(
    idplane: LocalPlane, run_as: RunAs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_as(worker(idplane, "Key Vault Secrets User", db="hunter2"))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("SSL_CERT_FILE")
    with (
        SecretClient(idplane.vault_url("stock"), ManagedIdentityCredential(), retry_total=0) as client,
        pytest.raises(ServiceRequestError, match="certificate"),
    ):
        client.get_secret("db")


def test_both_clients_inside_a_run_with_productions_address(tmp_path: Path) -> None:
    require_namespaces()
    up = Up(tmp_path / "data")
    try:
        owner = Owner(up)
        machine = owner.machine("stock-vm")
        vault = owner.vault("contoso-stock")
        owner.grant(machine["identity"]["principalId"], "Key Vault Secrets Officer", vault)
        command = [sys.executable, secrets_tour.__file__, "https://contoso-stock.vault.azure.net"]
        with Workload(up.data, "stock-vm", command) as program:
            assert program.hear() == "the tour is over"
    finally:
        up.stop()
