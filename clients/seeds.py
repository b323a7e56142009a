"""Something of every described kind on a plane, and what made-up requests can name of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clients.traffic import AUDIENCE

if TYPE_CHECKING:
    from tests.stories.planes import Up

__all__ = ["Seeds", "sow"]

_READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
_GUID = "5eed0000-0000-4000-8000-000000000001"
_NETWORK = "2021-05-01"
_GENERIC = tuple(f"Resources_{word}" for word in ("CheckExistence", "CreateOrUpdate", "Delete", "Get", "Update"))
"""Operations whose api-version is that of the type."""
_MANAGEMENT_GROUP = "/providers/Microsoft.Management/managementGroups/seed"
_MANAGED = "AtManagementGroupScope"
_SINCE = "eventTimestamp ge '2020-01-01T00:00:00Z'"
_TEMPLATE = {
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
    "contentVersion": "1.0.0.0",
    "resources": [],
    "outputs": {"told": {"type": "string", "value": "x"}},
}
_DEPLOYMENT = {"properties": {"mode": "Incremental", "template": _TEMPLATE}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """What there is."""

    token: str
    places: Mapping[str, tuple[str, ...]]
    """Values of path parameters, by their names: with a slash ahead where a parameter is a whole path, behind the word of its
    operations where it is theirs alone, and ahead of the end of their names likewise."""
    bodies: Mapping[str, Mapping[str, Any]]
    """Members that make sense, by the start of an operation's name."""
    queries: Mapping[str, Mapping[str, str]]
    """Parameters that make sense, by the start of an operation's name."""


class _Sower:
    def __init__(self, up: Up) -> None:
        self.up = up
        self.token = up.operator_token(AUDIENCE)

    def put(self, path: str, version: str, **body: Any) -> Any:
        status, answer = self.up.arm("PUT", f"{path}?api-version={version}", body, token=self.token)
        assert status < 300, (path, answer)
        return answer

    def get(self, path: str, version: str) -> Any:
        return self.up.arm("GET", f"{path}?api-version={version}", token=self.token)[1]


def sow(up: Up) -> Seeds:
    """Make everything that is not there (any more)."""
    sower = _Sower(up)
    subscription = f"/subscriptions/{up.info['subscription_id']}"
    group = f"{subscription}/resourceGroups/seed"
    sower.put(group, "2021-04-01", location="westeurope", tags={"seed": "seed"})
    sower.put(f"{subscription}/resourceGroups/other", "2021-04-01", location="westeurope")
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/seed"
    principal = sower.put(identity, "2024-11-30", location="westeurope")["properties"]["principalId"]
    trust = {"issuer": "https://issuer.test", "subject": "seed", "audiences": ["api://AzureADTokenExchange"]}
    sower.put(f"{identity}/federatedIdentityCredentials/seed", "2024-11-30", properties=trust)
    machine = f"{group}/providers/Microsoft.Compute/virtualMachines/seed"
    sower.put(machine, "2024-11-01", location="westeurope", identity={"type": "SystemAssigned"})
    network = f"{group}/providers/Microsoft.Network/virtualNetworks/seed"
    stays = f"{group}/providers/Microsoft.Network/virtualNetworks/stays"
    for one in (network, stays):
        sower.put(one, _NETWORK, location="westeurope")
    role = {"roleDefinitionId": f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{_READER}"}
    assignment = f"{group}/providers/Microsoft.Authorization/roleAssignments/{_GUID}"
    sower.put(assignment, "2022-04-01", properties={**role, "principalId": principal})
    custom = {
        "roleName": "Seed",
        "description": "",
        "type": "CustomRole",
        "assignableScopes": [group],
        "permissions": [{"actions": ["*/read"], "notActions": []}],
    }
    sower.put(f"{group}/providers/Microsoft.Authorization/roleDefinitions/{_GUID}", "2022-04-01", properties=custom)
    sower.put(_MANAGEMENT_GROUP, "2020-05-01", properties={"displayName": "seed"})
    operations = _deployments(sower, subscription, group)
    sower.put(f"{subscription}/tagNames/seed", "2021-04-01")
    sower.put(f"{subscription}/tagNames/seed/tagValues/seed", "2021-04-01")
    denies = f"{group}/providers/Microsoft.Authorization/denyAssignments/{_GUID}"
    denied = {
        "denyAssignmentName": "Seed",
        "permissions": [{"actions": ["Microsoft.Batch/*/delete"], "notActions": []}],
        "principals": [{"id": "00000000-0000-0000-0000-000000000000", "type": "SystemDefined"}],
        "excludePrincipals": [{"id": principal, "type": "ServicePrincipal"}],
    }
    sower.put(denies, "2024-07-01-preview", properties=denied)
    return Seeds(
        token=sower.token,
        places={
            "subscriptionId": (up.info["subscription_id"],),
            "resourceGroupName": ("seed",),
            "sourceResourceGroupName": ("seed",),
            "groupId": ("seed",),
            "resourceName": ("seed", "seed", "new"),
            "federatedIdentityCredentialResourceName": ("seed", "seed", "new"),
            "resourceProviderNamespace": ("Microsoft.Network",),
            "Providers resourceProviderNamespace": ("Microsoft.Logic",),
            "DeploymentOperations /scope": (group.strip("/"),),
            "Deployments /scope": (group.strip("/"),),
            "SystemAssignedIdentities /scope": (machine.strip("/"),),
            "parentResourcePath": ("",),
            "resourceType": ("virtualNetworks",),
            "/scope": tuple(one.strip("/") for one in (group, group, machine, subscription)),
            "/resourceId": tuple(one.strip("/") for one in (network,)),
            "roleAssignmentName": (_GUID,),
            "/roleAssignmentId": (assignment.strip("/"),),
            "denyAssignmentId": (_GUID,),
            "/denyAssignmentId": (denies.strip("/"),),
            "roleDefinitionId": (_GUID, _READER),
            "deploymentName": ("seed", "seed", "new"),
            **operations,
            "tagName": ("seed", "seed", "new"),
            "tagValue": ("seed", "new"),
        },
        bodies={
            "UserAssignedIdentities_": {"location": "westeurope", "tags": {"seed": "seed"}},
            "FederatedIdentityCredentials_": {"properties": trust},
            "RoleAssignments_": {"properties": {**role, "principalId": principal}},
            "RoleDefinitions_": {"properties": custom},
            "ResourceGroups_ExportTemplate": {"resources": ["*"]},
            "ResourceGroups_": {"location": "westeurope", "tags": {"seed": "seed"}},
            "Resources_MoveResources": _move(subscription, network),
            "Resources_ValidateMoveResources": _move(subscription, stays),
            "Resources_": {"location": "westeurope", "tags": {"seed": "seed"}, "identity": None},
            **{
                f"Deployments_{word}At{place}": {**_DEPLOYMENT, "location": "westeurope"}
                for word in ("CreateOrUpdate", "Validate", "WhatIf")
                for place in ("Subscription", "Tenant", "ManagementGroup")
            },
            "Deployments_": _DEPLOYMENT,
            "Tags_": {"properties": {"tags": {"seed": "seed"}}},
            "Subscriptions_CheckZonePeers": {"location": "westeurope", "subscriptionIds": [up.info["subscription_id"]]},
            "checkResourceName": {"name": "seed", "type": "Microsoft.Web/sites"},
        },
        queries={
            "ActivityLogs_": {"$filter": _SINCE},
            "TenantActivityLogs_": {"$filter": _SINCE},
            **{one: {"api-version": _NETWORK} for one in _GENERIC},
        },
    )


def _deployments(sower: _Sower, subscription: str, group: str) -> dict[str, tuple[str, ...]]:
    """One at each scope, with outputs for an operation of its own; the ids of these, as places."""
    found: dict[str, tuple[str, ...]] = {}
    for place, scope in (
        ("", group),
        ("AtSubscriptionScope", subscription),
        ("AtTenantScope", ""),
        (_MANAGED, _MANAGEMENT_GROUP),
    ):
        deployment = f"{scope}/providers/Microsoft.Resources/deployments/seed"
        more = {} if scope == group else {"location": "westeurope"}
        sower.put(deployment, "2021-04-01", **_DEPLOYMENT, **more)
        while not (operations := sower.get(f"{deployment}/operations", "2021-04-01")["value"]):
            """Until it has begun."""
        found[f"operationId{place}"] = (str(operations[0]["operationId"]),)
    return found


def _move(subscription: str, resource: str) -> dict[str, Any]:
    return {"resources": [resource], "targetResourceGroup": f"{subscription}/resourceGroups/other"}
