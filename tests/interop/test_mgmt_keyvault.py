from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.keyvault.models import (
    Sku,
    VaultCheckNameAvailabilityParameters,
    VaultCreateOrUpdateParameters,
    VaultPatchParameters,
    VaultPatchProperties,
    VaultProperties,
)
from tests.interop.mgmt import GROUP, client_of, credential_of, refusal

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane


@pytest.fixture
def client(idplane: LocalPlane) -> KeyVaultManagementClient:
    idplane.resource_group()
    return client_of(KeyVaultManagementClient, idplane)


def wanted(plane: LocalPlane, **properties: Any) -> VaultCreateOrUpdateParameters:
    sku = Sku(family="A", name="standard")
    return VaultCreateOrUpdateParameters(
        location="westeurope", tags={"a": "b"}, properties=VaultProperties(tenant_id=plane.tenant_id, sku=sku, **properties)
    )


def test_a_vault_s_life(idplane: LocalPlane, client: KeyVaultManagementClient) -> None:
    made = client.vaults.begin_create_or_update(GROUP, "stock-vault", wanted(idplane, access_policies=[])).result()
    assert (made.name, made.location, made.tags) == ("stock-vault", "westeurope", {"a": "b"})
    assert made.properties.vault_uri == f"https://stock-vault.{idplane.vault_domain}/"
    assert made.properties.enable_rbac_authorization is True
    assert made.properties.soft_delete_retention_in_days == 90
    assert made.properties.provisioning_state == "Succeeded"
    again = client.vaults.begin_create_or_update(GROUP, "stock-vault", wanted(idplane, enabled_for_deployment=True)).result()
    assert again.properties.enabled_for_deployment is True
    patch = VaultPatchParameters(tags={}, properties=VaultPatchProperties(enable_purge_protection=True))
    patched = client.vaults.update(GROUP, "stock-vault", patch)
    assert (patched.tags, patched.properties.enable_purge_protection) == ({}, True)
    assert client.vaults.get(GROUP, "STOCK-VAULT").id == made.id
    client.vaults.delete(GROUP, "stock-vault")
    client.vaults.delete(GROUP, "stock-vault")
    with pytest.raises(ResourceNotFoundError) as gone:
        client.vaults.get(GROUP, "stock-vault")
    assert refusal(gone) == (404, "ResourceNotFound")


def test_lists_and_paging(idplane: LocalPlane, client: KeyVaultManagementClient) -> None:
    for name in ("vault-one", "vault-two", "vault-three"):
        idplane.vault(name)
    idplane.vault("vault-four", group="other")
    assert {one.name for one in client.vaults.list_by_resource_group(GROUP)} == {"vault-one", "vault-two", "vault-three"}
    pages = [[one.name for one in page] for page in client.vaults.list_by_subscription(top=3).by_page()]
    assert [len(page) for page in pages] == [3, 1]
    assert {name for page in pages for name in page} == {"vault-one", "vault-two", "vault-three", "vault-four"}
    assert {one.name for one in client.vaults.list(top=1)} == {"vault-one", "vault-two", "vault-three", "vault-four"}


def test_names(idplane: LocalPlane, client: KeyVaultManagementClient) -> None:
    idplane.vault("stock-vault", group="other")
    answers = {
        name: client.vaults.check_name_availability(VaultCheckNameAvailabilityParameters(name=name))
        for name in ("free-vault", "Stock-Vault", "no_good")
    }
    assert {name: (one.name_available, one.reason) for name, one in answers.items()} == {
        "free-vault": (True, None),
        "Stock-Vault": (False, "AlreadyExists"),
        "no_good": (False, "AccountNameInvalid"),
    }
    with pytest.raises(ResourceExistsError) as taken:
        client.vaults.begin_create_or_update(GROUP, "stock-vault", wanted(idplane))
    assert refusal(taken) == (409, "VaultAlreadyExists")


def test_refusals(idplane: LocalPlane, client: KeyVaultManagementClient) -> None:
    policy = {"tenantId": idplane.tenant_id, "objectId": idplane.tenant_id, "permissions": {"secrets": ["get"]}}
    cases: list[tuple[str, VaultCreateOrUpdateParameters, tuple[int, str]]] = [
        ("ab", wanted(idplane), (400, "InvalidResourceName")),
        ("stock", wanted(idplane, enable_rbac_authorization=False), (400, "InvalidParameter")),
        ("stock", wanted(idplane, access_policies=[policy]), (400, "InvalidParameter")),
        ("stock", wanted(idplane, enable_soft_delete=False), (400, "InvalidParameter")),
        ("stock", wanted(idplane, soft_delete_retention_in_days=6), (400, "InvalidParameter")),
    ]
    for name, parameters, expected in cases:
        with pytest.raises(HttpResponseError) as refused:
            client.vaults.begin_create_or_update(GROUP, name, parameters)
        assert refusal(refused) == expected
    with pytest.raises(ResourceNotFoundError) as missing:
        client.vaults.begin_create_or_update("no-group", "stock", wanted(idplane))
    assert refusal(missing) == (404, "ResourceGroupNotFound")


def test_a_reader_cannot_write(idplane: LocalPlane, client: KeyVaultManagementClient) -> None:
    vault = idplane.vault("stock-vault")
    machine = idplane.virtual_machine("web")
    assert machine.identity is not None
    idplane.grant(machine.identity, "Key Vault Reader", vault)
    theirs = client_of(KeyVaultManagementClient, idplane, credential_of(idplane, machine))
    assert theirs.vaults.get(GROUP, "stock-vault").name == "stock-vault"
    with pytest.raises(HttpResponseError) as refused:
        theirs.vaults.delete(GROUP, "stock-vault")
    assert refusal(refused) == (403, "AuthorizationFailed")


def test_there_are_no_deleted_vaults(idplane: LocalPlane, client: KeyVaultManagementClient) -> None:
    idplane.delete(idplane.vault("stock-vault"))
    assert list(client.vaults.list_deleted()) == []
    with pytest.raises(ResourceNotFoundError):
        client.vaults.get_deleted("stock-vault", "westeurope")
