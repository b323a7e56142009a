"""Traffic of Microsoft.ManagedIdentity: azure-mgmt-msi where it speaks the version, requests by themselves for the others."""

from __future__ import annotations

from typing import Any

from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.msi.models import FederatedIdentityCredential, Identity, IdentityUpdate
from clients.sdk import fails
from clients.traffic import Wire

__all__ = ["identities"]

_OTHER_VERSIONS = ("2018-11-30", "2025-05-31-preview")
_ISSUER = "https://token.actions.githubusercontent.com"
_AUDIENCES = ["api://AzureADTokenExchange"]


def identities(wire: Wire) -> None:
    """Every operation of every version, served and refused."""
    group = f"{wire.subscription}/resourceGroups/msi"
    wire.good("PUT", group, "2021-04-01", {"location": "westeurope"})
    machine = f"{group}/providers/Microsoft.Compute/virtualMachines/vm"
    wire.good("PUT", machine, "2024-11-01", {"location": "westeurope", "identity": {"type": "SystemAssigned"}})
    _by_the_client(wire, machine)
    for version in _OTHER_VERSIONS:
        _by_itself(wire, group, machine, version)
    _federated(wire, f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/kept", "2025-05-31-preview")
    _refused(wire, group)


def _by_the_client(wire: Wire, machine: str) -> None:
    with wire.client(ManagedServiceIdentityClient) as client:
        client.user_assigned_identities.create_or_update("msi", "kept", Identity(location="West Europe", tags={"a": "b"}))
        client.user_assigned_identities.create_or_update("msi", "kept", Identity(location="westeurope"))
        client.user_assigned_identities.create_or_update(
            "msi", "gone", Identity(location="westeurope", isolation_scope="Regional")
        )
        client.user_assigned_identities.update("msi", "kept", IdentityUpdate(tags={"c": "d"}))
        client.user_assigned_identities.get("msi", "kept")
        assert len(list(client.user_assigned_identities.list_by_resource_group("msi"))) == 2
        assert len(list(client.user_assigned_identities.list_by_subscription(params={"$top": "1"}))) >= 2
        wanted = FederatedIdentityCredential(issuer=_ISSUER, subject="one", audiences=_AUDIENCES)
        credentials = client.federated_identity_credentials
        credentials.create_or_update("msi", "kept", "github", wanted)
        credentials.create_or_update("msi", "kept", "github", wanted)
        credentials.get("msi", "kept", "github")
        assert len(list(credentials.list("msi", "kept", top=1))) == 1
        for _ in range(2):  # what was there, and what was not
            credentials.delete("msi", "kept", "github")
            client.user_assigned_identities.delete("msi", "gone")
        client.system_assigned_identities.get_by_scope(machine)
        assert list(client.operations.list())
        fails(
            lambda: client.user_assigned_identities.get("msi", "gone"),
            lambda: client.user_assigned_identities.create_or_update("msi", "gone", Identity(location="")),
            lambda: client.user_assigned_identities.update("msi", "gone", IdentityUpdate(tags={})),
            lambda: client.user_assigned_identities.list_by_resource_group("nowhere").next(),
            lambda: client.system_assigned_identities.get_by_scope(wire.subscription),
            lambda: credentials.get("msi", "kept", "github"),
            lambda: credentials.delete("msi", "gone", "github"),
            lambda: credentials.list("msi", "gone").next(),
            lambda: credentials.create_or_update("msi", "gone", "github", wanted),
        )


def _by_itself(wire: Wire, group: str, machine: str, version: str) -> None:
    """The same life in another version."""
    one = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/v{version}"
    wire.good("PUT", one, version, {"location": "westeurope", "tags": {"a": "b"}})
    wire.good("PUT", one, version, {"location": "westeurope"})
    wire.good("PATCH", one, version, {"tags": {"c": "d"}})
    wire.good("GET", one, version)
    wire.good("DELETE", one, version)
    wire.good("DELETE", one, version)
    wire.refused((404, "ResourceNotFound"), "GET", one, version)
    if version != "2018-11-30":  # which forgot this list
        wire.good("GET", f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities", version)
    wire.good("GET", f"{wire.subscription}/providers/Microsoft.ManagedIdentity/userAssignedIdentities", version)
    wire.good("GET", f"{machine}/providers/Microsoft.ManagedIdentity/identities/default", version)
    wire.good("GET", "/providers/Microsoft.ManagedIdentity/operations", version)


def _federated(wire: Wire, identity: str, version: str) -> None:
    credentials = f"{identity}/federatedIdentityCredentials"
    exact = {"issuer": _ISSUER, "subject": "one", "audiences": _AUDIENCES}
    value = {"value": "claims['sub'] matches 'repo:contoso/*'", "languageVersion": 1}
    flexible = {"issuer": _ISSUER, "audiences": _AUDIENCES, "claimsMatchingExpression": value}
    for name, properties in (("exact", exact), ("flexible", flexible)):
        wire.good("PUT", f"{credentials}/{name}", version, {"properties": properties})
        wire.good("PUT", f"{credentials}/{name}", version, {"properties": properties})
        wire.good("GET", f"{credentials}/{name}", version)
    first: Any = wire.good("GET", credentials, version, **{"$top": "1"})
    assert "nextLink" in first
    for _ in range(2):
        wire.good("DELETE", f"{credentials}/exact", version)
    wire.refused((404, "ResourceNotFound"), "GET", f"{credentials}/exact", version)


def _refused(wire: Wire, group: str) -> None:
    """The refusals of control-plane.md section 7.1."""
    version = "2024-11-30"
    identities = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    wire.refused((409, "InvalidResourceLocation"), "PUT", f"{identities}/kept", version, {"location": "eastus"})
    credential = f"{identities}/kept/federatedIdentityCredentials"
    two = {"properties": {"issuer": _ISSUER, "subject": "x", "audiences": ["a", "b"]}}
    wire.refused((400, "InvalidParameter"), "PUT", f"{credential}/two", version, two)
    wire.good(
        "PUT", f"{credential}/first", version, {"properties": {"issuer": _ISSUER, "subject": "x", "audiences": _AUDIENCES}}
    )
    again = {"properties": {"issuer": _ISSUER, "subject": "x", "audiences": _AUDIENCES}}
    wire.refused((400, "BadRequest"), "PUT", f"{credential}/second", version, again)
