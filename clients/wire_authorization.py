"""Traffic of Microsoft.Authorization: azure-mgmt-authorization, and requests by themselves for what it does not know."""

from __future__ import annotations

import uuid

from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.authorization.v2022_04_01.models import Permission, RoleAssignmentCreateParameters, RoleDefinition
from clients.sdk import fails, refused
from clients.traffic import Wire

__all__ = ["authorization"]

_VERSION = "2022-04-01"
_READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
_NOBODY = "00000000-0000-4000-8000-000000000009"


def authorization(wire: Wire) -> None:
    """Every operation, served and refused."""
    group = f"{wire.subscription}/resourceGroups/rbac"
    wire.good("PUT", group, "2021-04-01", {"location": "westeurope"})
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"
    principal = wire.good("PUT", identity, "2024-11-30", {"location": "westeurope"})["properties"]["principalId"]
    with wire.client(AuthorizationManagementClient) as client:
        _assignments(wire, client, principal, identity)
        _definitions(wire, client, group, principal)
        _denies(wire, client, identity, principal)
        _permissions(client, identity)
        assert list(client.provider_operations_metadata.list())
        assert client.provider_operations_metadata.get("Microsoft.Compute").resource_types
        fails(lambda: client.provider_operations_metadata.get("Microsoft.Nowhere"))
    operations = "/providers/Microsoft.Authorization/providerOperations"
    wire.good("GET", f"{operations}/Microsoft.KeyVault", _VERSION, **{"$expand": "resourceTypes"})


def _assignments(wire: Wire, client: AuthorizationManagementClient, principal: str, identity: str) -> None:
    group = identity.partition("/providers/")[0]
    assignments = client.role_assignments
    definition = f"/providers/Microsoft.Authorization/roleDefinitions/{_READER}"
    wanted = RoleAssignmentCreateParameters(role_definition_id=definition, principal_id=principal)
    name, other = str(uuid.uuid4()), str(uuid.uuid4())
    made = assignments.create(group, name, wanted)
    assignments.create(group, name, wanted)
    assignments.get(group, name)
    assignments.get_by_id(made.id)
    assignments.create_by_id(f"{identity}/providers/Microsoft.Authorization/roleAssignments/{other}", wanted)
    assert list(assignments.list_for_subscription())
    assert list(assignments.list_for_subscription(filter=f"principalId eq '{principal}'"))
    assert list(assignments.list_for_resource_group("rbac", filter="atScope()"))
    assert list(assignments.list_for_resource("rbac", "Microsoft.ManagedIdentity", "userAssignedIdentities", "one"))
    assert list(assignments.list_for_scope(identity, filter=f"assignedTo('{principal}')"))
    refused(
        ((409, "RoleAssignmentExists"), lambda: assignments.create(group, str(uuid.uuid4()), wanted)),
        ((400, "PrincipalNotFound"), lambda: assignments.create(group, str(uuid.uuid4()), _with(definition, _NOBODY))),
        ((400, "RoleAssignmentUpdateNotPermitted"), lambda: assignments.create(identity, name, wanted)),
    )
    for _ in range(2):
        assignments.delete(group, name)
        assignments.delete_by_id(f"{identity}/providers/Microsoft.Authorization/roleAssignments/{other}")
    fails(
        lambda: assignments.get(group, name),
        lambda: assignments.get_by_id(made.id),
        lambda: assignments.list_for_resource_group("nowhere").next(),
        lambda: assignments.list_for_subscription(filter="nonsense").next(),
    )


def _with(definition: str, principal: str) -> RoleAssignmentCreateParameters:
    return RoleAssignmentCreateParameters(role_definition_id=definition, principal_id=principal)


def _definitions(wire: Wire, client: AuthorizationManagementClient, group: str, principal: str) -> None:
    definitions = client.role_definitions
    permission = Permission(actions=["Microsoft.Compute/*/read"], not_actions=[], data_actions=[], not_data_actions=[])
    wanted = RoleDefinition(role_name="Looker", description="d", permissions=[permission], assignable_scopes=[group])
    name = str(uuid.uuid4())
    made = definitions.create_or_update(group, name, wanted)
    definitions.create_or_update(group, name, wanted)
    definitions.get(group, name)
    definitions.get_by_id(made.id)
    wire.good("GET", made.id, _VERSION, disambiguation_dummy="")
    assert list(definitions.list(group))
    assert list(definitions.list(group, filter="roleName eq 'Looker'"))
    assert list(definitions.list(group, filter="type eq 'CustomRole'"))
    held = client.role_assignments.create(group, str(uuid.uuid4()), _with(made.id, principal))
    fails(
        lambda: definitions.delete(group, name),
        lambda: definitions.create_or_update(group, str(uuid.uuid4()), wanted),
        lambda: definitions.get(group, _NOBODY),
        lambda: definitions.list(group, filter="nonsense").next(),
        lambda: definitions.delete(group, _READER),
    )
    client.role_assignments.delete_by_id(held.id)
    for _ in range(2):
        definitions.delete(group, name)


def _denies(wire: Wire, client: AuthorizationManagementClient, identity: str, principal: str) -> None:
    group = identity.partition("/providers/")[0]
    denies = client.deny_assignments
    one = f"{group}/providers/Microsoft.Authorization/denyAssignments/{uuid.uuid4()}"
    everyone = {"id": "00000000-0000-0000-0000-000000000000", "type": "SystemDefined"}
    properties = {
        "denyAssignmentName": "No deletion",
        "permissions": [{"actions": ["Microsoft.Compute/*/delete"], "notActions": [], "dataActions": [], "notDataActions": []}],
        "principals": [everyone],
        "excludePrincipals": [{"id": principal, "type": "ServicePrincipal"}],
        "scope": group,
    }
    wire.good("PUT", one, "2024-07-01-preview", {"properties": properties})
    denies.get(group, one.rpartition("/")[2])
    denies.get_by_id(one)
    list(denies.list())
    list(denies.list_for_resource_group("rbac"))
    list(denies.list_for_resource("rbac", "Microsoft.ManagedIdentity", "", "userAssignedIdentities", "one"))
    list(denies.list_for_scope(identity, filter="atScope()"))
    missing = f"{group}/providers/Microsoft.Authorization/denyAssignments/{_NOBODY}"
    fails(
        lambda: denies.get(group, _NOBODY),
        lambda: denies.get_by_id(missing),
        lambda: denies.list_for_resource_group("nowhere").next(),
    )


def _permissions(client: AuthorizationManagementClient, identity: str) -> None:
    assert list(client.permissions.list_for_resource_group("rbac"))
    assert list(client.permissions.list_for_resource("rbac", "Microsoft.ManagedIdentity", "", "userAssignedIdentities", "one"))
    fails(lambda: client.permissions.list_for_resource_group("nowhere").next())
