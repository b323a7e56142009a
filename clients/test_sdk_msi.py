"""azure-mgmt-msi against a live plane: pages, and every error that control-plane.md section 7.1 tells of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.msi.models import FederatedIdentityCredential, Identity, IdentityUpdate
from clients.sdk import LOCATION, SMALL, pages_of, refused, started
from clients.traffic import Wire

pytestmark = pytest.mark.xdist_group("sdk")
GROUP = "sdk-msi"


@pytest.fixture
def client(wire: Wire) -> Iterator[ManagedServiceIdentityClient]:
    started(wire, GROUP)
    with wire.client(ManagedServiceIdentityClient) as client:
        yield client


def trust(subject: str, *audiences: str) -> FederatedIdentityCredential:
    return FederatedIdentityCredential(
        issuer="https://issuer.test", subject=subject, audiences=list(audiences or ["api://AzureADTokenExchange"])
    )


def test_identities(client: ManagedServiceIdentityClient) -> None:
    identities = client.user_assigned_identities
    for number in range(6):
        identities.create_or_update(GROUP, f"id-{number}", Identity(location=LOCATION))
    assert identities.get(GROUP, "id-0").client_id
    assert identities.update(GROUP, "id-0", IdentityUpdate(tags={"a": "b"})).tags == {"a": "b"}
    assert [len(page) for page in pages_of(identities.list_by_resource_group(GROUP, params=SMALL))] == [2, 2, 2]
    assert len(pages_of(identities.list_by_subscription(params=SMALL), lambda one: one.id)) >= 3
    for number in range(6):
        identities.delete(GROUP, f"id-{number}")
    assert pages_of(identities.list_by_resource_group(GROUP)) == [[]]


def test_federated_credentials(client: ManagedServiceIdentityClient) -> None:
    client.user_assigned_identities.create_or_update(GROUP, "federated", Identity(location=LOCATION))
    credentials = client.federated_identity_credentials
    for number in range(5):
        credentials.create_or_update(GROUP, "federated", f"fic-{number}", trust(str(number)))
    assert credentials.create_or_update(GROUP, "federated", "fic-0", trust("changed")).subject == "changed"
    assert credentials.get(GROUP, "federated", "fic-0").subject == "changed"
    assert [len(page) for page in pages_of(credentials.list(GROUP, "federated", top=2))] == [2, 2, 1]
    credentials.delete(GROUP, "federated", "fic-0")
    assert len(list(credentials.list(GROUP, "federated"))) == 4


def test_errors(wire: Wire, client: ManagedServiceIdentityClient) -> None:
    identities, credentials = client.user_assigned_identities, client.federated_identity_credentials
    identities.create_or_update(GROUP, "errors", Identity(location=LOCATION))
    credentials.create_or_update(GROUP, "errors", "taken", trust("taken"))
    machine = f"{started(wire, GROUP)}/providers/Microsoft.Compute/virtualMachines/nobody"
    wire.good("PUT", machine, "2024-11-01", {"location": LOCATION, "identity": {"type": "SystemAssigned"}})
    stranger = wire.client(ManagedServiceIdentityClient, wire.token_of(machine))
    refused(
        ((404, "ResourceNotFound"), lambda: identities.get(GROUP, "absent")),
        ((404, "ResourceGroupNotFound"), lambda: identities.create_or_update("nowhere", "one", Identity(location=LOCATION))),
        ((400, "InvalidResourceName"), lambda: identities.create_or_update(GROUP, "-a", Identity(location=LOCATION))),
        ((400, "LocationRequired"), lambda: identities.create_or_update(GROUP, "here", Identity(location=""))),
        ((409, "InvalidResourceLocation"), lambda: identities.create_or_update(GROUP, "errors", Identity(location="eastus"))),
        ((400, "InvalidParameter"), lambda: credentials.create_or_update(GROUP, "errors", "two", trust("x", "a", "b"))),
        ((400, "BadRequest"), lambda: credentials.create_or_update(GROUP, "errors", "x", trust("x"))),
        ((400, "BadRequest"), lambda: credentials.create_or_update(GROUP, "errors", "again", trust("taken"))),
        ((404, "ParentResourceNotFound"), lambda: credentials.create_or_update(GROUP, "absent", "one", trust("x"))),
        ((404, "ResourceNotFound"), lambda: credentials.get(GROUP, "errors", "absent")),
        ((404, "ResourceNotFound"), lambda: client.system_assigned_identities.get_by_scope(wire.subscription)),
        ((403, "AuthorizationFailed"), lambda: stranger.user_assigned_identities.get(GROUP, "errors")),
        ((403, "AuthorizationFailed"), lambda: stranger.user_assigned_identities.list_by_resource_group(GROUP)),
    )
