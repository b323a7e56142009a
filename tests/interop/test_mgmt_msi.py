from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.msi.v2024_11_30.models import FederatedIdentityCredential, Identity, IdentityUpdate
from tests.interop.mgmt import GROUP, client_of, credential_of, refusal

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane


@pytest.fixture
def client(idplane: LocalPlane) -> ManagedServiceIdentityClient:
    idplane.resource_group()
    return client_of(ManagedServiceIdentityClient, idplane)


def test_an_identity_s_life(idplane: LocalPlane, client: ManagedServiceIdentityClient) -> None:
    identities = client.user_assigned_identities
    made = identities.create_or_update(GROUP, "Stock", Identity(location="West Europe", tags={"a": "b"}))
    assert made.id == f"{idplane.resource_group()}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Stock"
    assert (made.name, made.location, made.tags, made.tenant_id) == ("Stock", "westeurope", {"a": "b"}, idplane.tenant_id)
    assert made.principal_id
    assert made.client_id
    assert made.principal_id != made.client_id
    again = identities.create_or_update(GROUP, "stock", Identity(location="westeurope"))
    assert (again.id, again.principal_id, again.client_id) == (made.id, made.principal_id, made.client_id)
    assert identities.update(GROUP, "stock", IdentityUpdate(tags={"c": "d"})).tags == {"c": "d"}
    assert identities.get(GROUP, "STOCK").principal_id == made.principal_id
    identities.delete(GROUP, "stock")
    identities.delete(GROUP, "stock")
    with pytest.raises(ResourceNotFoundError) as gone:
        identities.get(GROUP, "stock")
    assert refusal(gone) == (404, "ResourceNotFound")
    reborn = identities.create_or_update(GROUP, "Stock", Identity(location="westeurope"))
    assert reborn.principal_id != made.principal_id


def test_lists_and_paging(idplane: LocalPlane, client: ManagedServiceIdentityClient) -> None:
    for number in range(5):
        idplane.user_assigned_identity(f"id-{number}")
    idplane.user_assigned_identity("elsewhere", group="other")
    identities = client.user_assigned_identities
    assert [one.name for one in identities.list_by_resource_group(GROUP)] == [f"id-{number}" for number in range(5)]
    pages = [[one.name for one in page] for page in identities.list_by_subscription(params={"$top": "4"}).by_page()]
    assert [len(page) for page in pages] == [4, 2]
    assert len({name for page in pages for name in page}) == 6


def test_the_system_assigned_identity_of_a_machine(idplane: LocalPlane, client: ManagedServiceIdentityClient) -> None:
    machine = idplane.virtual_machine("web")
    assert machine.identity is not None
    found = client.system_assigned_identities.get_by_scope(machine.id)
    assert (found.principal_id, found.tenant_id) == (machine.identity.principal_id, idplane.tenant_id)
    assert found.client_id
    bare = idplane.virtual_machine("bare", system=False)
    with pytest.raises(ResourceNotFoundError):
        client.system_assigned_identities.get_by_scope(bare.id)


def test_operations(client: ManagedServiceIdentityClient) -> None:
    names = {one.name for one in client.operations.list()}
    assert "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action" in names


def test_refusals(idplane: LocalPlane, client: ManagedServiceIdentityClient) -> None:
    cases: list[tuple[str, str, Identity, tuple[int, str]]] = [
        (GROUP, "ab", Identity(location="westeurope"), (400, "InvalidResourceName")),
        (GROUP, "-stock", Identity(location="westeurope"), (400, "InvalidResourceName")),
        (GROUP, "stock", Identity(location=""), (400, "LocationRequired")),
        ("no-group", "stock", Identity(location="westeurope"), (404, "ResourceGroupNotFound")),
    ]
    for group, name, parameters, expected in cases:
        with pytest.raises(HttpResponseError) as refused:
            client.user_assigned_identities.create_or_update(group, name, parameters)
        assert refusal(refused) == expected
    idplane.user_assigned_identity("stock")
    with pytest.raises(HttpResponseError) as moved:
        client.user_assigned_identities.create_or_update(GROUP, "stock", Identity(location="eastus"))
    assert refusal(moved) == (409, "InvalidResourceLocation")


def test_an_operator_cannot_write_and_a_contributor_can(idplane: LocalPlane, client: ManagedServiceIdentityClient) -> None:
    machine = idplane.virtual_machine("web")
    assert machine.identity is not None
    theirs = client_of(ManagedServiceIdentityClient, idplane, credential_of(idplane, machine))
    idplane.grant(machine.identity, "Managed Identity Operator", idplane.resource_group())
    assert list(theirs.user_assigned_identities.list_by_resource_group(GROUP)) == []
    with pytest.raises(HttpResponseError) as refused:
        theirs.user_assigned_identities.create_or_update(GROUP, "stock", Identity(location="westeurope"))
    assert refusal(refused) == (403, "AuthorizationFailed")
    idplane.grant(machine.identity, "Managed Identity Contributor", idplane.resource_group())
    assert theirs.user_assigned_identities.create_or_update(GROUP, "stock", Identity(location="westeurope")).principal_id


def test_federated_credentials(idplane: LocalPlane, client: ManagedServiceIdentityClient) -> None:
    idplane.user_assigned_identity("stock")
    credentials = client.federated_identity_credentials
    wanted = FederatedIdentityCredential(
        issuer="https://token.actions.githubusercontent.com",
        subject="repo:contoso/stock:environment:production",
        audiences=["api://AzureADTokenExchange"],
    )
    made = credentials.create_or_update(GROUP, "stock", "github", wanted)
    assert (made.name, made.issuer, made.subject, made.audiences) == (
        "github",
        wanted.issuer,
        wanted.subject,
        wanted.audiences,
    )
    wanted.subject = "repo:contoso/stock:ref:refs/heads/main"
    assert credentials.create_or_update(GROUP, "stock", "github", wanted).subject == wanted.subject
    with pytest.raises(HttpResponseError) as twice:
        credentials.create_or_update(GROUP, "stock", "again", wanted)
    assert twice.value.status_code == 400
    assert "Issuer and subject combination already exists for this Managed Identity." in str(twice.value)
    for number in range(19):
        wanted.subject = str(number)
        credentials.create_or_update(GROUP, "stock", f"fic-{number}", wanted)
    wanted.subject = "one too many"
    with pytest.raises(HttpResponseError) as full:
        credentials.create_or_update(GROUP, "stock", "one-too-many", wanted)
    assert full.value.status_code == 400
    assert len(list(credentials.list(GROUP, "stock", top=7))) == 20
    assert credentials.get(GROUP, "stock", "github").id == made.id
    credentials.delete(GROUP, "stock", "github")
    credentials.delete(GROUP, "stock", "github")
    with pytest.raises(ResourceNotFoundError):
        credentials.get(GROUP, "stock", "github")
