"""azure-mgmt-keyvault and azure-keyvault-secrets against a live plane: pages, and what is refused (control-plane.md section 5.7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.keyvault.models import Sku, VaultCreateOrUpdateParameters, VaultPatchParameters, VaultProperties
from clients.sdk import LOCATION, pages_of, refused, started
from clients.traffic import Wire

pytestmark = pytest.mark.xdist_group("sdk")
GROUP = "sdk-vaults"


@pytest.fixture
def client(wire: Wire) -> Iterator[KeyVaultManagementClient]:
    started(wire, GROUP)
    with wire.client(KeyVaultManagementClient) as client:
        yield client


def vault(wire: Wire, **members: Any) -> VaultCreateOrUpdateParameters:
    sku = Sku(family="A", name="standard")
    properties = VaultProperties(**{"tenant_id": wire.tenant, "sku": sku, "enable_rbac_authorization": True, **members})
    return VaultCreateOrUpdateParameters(location=LOCATION, properties=properties)


def create(client: KeyVaultManagementClient, name: str, wanted: Any, group: str = GROUP) -> Any:
    return client.vaults.begin_create_or_update(group, name, wanted).result()


def test_vaults(wire: Wire, client: KeyVaultManagementClient) -> None:
    vaults = client.vaults
    for number in range(5):
        assert create(client, f"sdk-vault-{number}", vault(wire)).properties.vault_uri
    assert vaults.update(GROUP, "sdk-vault-0", VaultPatchParameters(tags={"a": "b"})).tags == {"a": "b"}
    assert vaults.get(GROUP, "sdk-vault-0").tags == {"a": "b"}
    assert [len(page) for page in pages_of(vaults.list_by_resource_group(GROUP, top=2))] == [2, 2, 1]
    assert len(pages_of(vaults.list_by_subscription(top=2))) >= 3
    for number in range(5):
        vaults.delete(GROUP, f"sdk-vault-{number}")
    assert pages_of(vaults.list_by_resource_group(GROUP)) == [[]]


def test_errors(wire: Wire, client: KeyVaultManagementClient) -> None:
    create(client, "sdk-vault-taken", vault(wire))
    machine = f"{started(wire, GROUP)}/providers/Microsoft.Compute/virtualMachines/nobody"
    wire.good("PUT", machine, "2024-11-01", {"location": LOCATION, "identity": {"type": "SystemAssigned"}})
    stranger = wire.client(KeyVaultManagementClient, wire.token_of(machine))
    started(wire, "sdk-vaults-2")
    refused(
        ((404, "ResourceNotFound"), lambda: client.vaults.get(GROUP, "sdk-absent")),
        ((404, "ResourceGroupNotFound"), lambda: create(client, "sdk-vault-new", vault(wire), "nowhere")),
        ((409, "VaultAlreadyExists"), lambda: create(client, "sdk-vault-taken", vault(wire), "sdk-vaults-2")),
        ((400, "InvalidResourceName"), lambda: create(client, "0", vault(wire))),
        ((403, "AuthorizationFailed"), lambda: stranger.vaults.get(GROUP, "sdk-vault-taken")),
        ((403, "AuthorizationFailed"), lambda: create(stranger, "sdk-vault-new", vault(wire))),
    )
