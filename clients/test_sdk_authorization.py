"""azure-mgmt-authorization against a live plane: pages, and every error that control-plane.md section 7.3 tells of."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.authorization.v2022_04_01.models import Permission, RoleAssignmentCreateParameters, RoleDefinition
from clients.sdk import SMALL, pages_of, refused, started
from clients.traffic import Wire

pytestmark = pytest.mark.xdist_group("sdk")
GROUP = "sdk-rbac"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
NOBODY = "00000000-0000-4000-8000-000000000009"


@pytest.fixture
def group(wire: Wire) -> str:
    return started(wire, GROUP)


@pytest.fixture
def client(wire: Wire) -> Iterator[AuthorizationManagementClient]:
    with wire.client(AuthorizationManagementClient) as client:
        yield client


def principal(wire: Wire, group: str, name: str) -> str:
    path = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    made: str = wire.good("PUT", path, "2024-11-30", {"location": "westeurope"})["properties"]["principalId"]
    return made


def wanted(holder: str, role: str = READER, description: str | None = None) -> RoleAssignmentCreateParameters:
    definition = role if role.startswith("/") else f"/providers/Microsoft.Authorization/roleDefinitions/{role}"
    return RoleAssignmentCreateParameters(role_definition_id=definition, principal_id=holder, description=description)


def custom(name: str, scope: str, action: str = "Microsoft.Compute/*/read") -> RoleDefinition:
    permission = Permission(actions=[action], not_actions=[])
    return RoleDefinition(role_name=name, description="d", permissions=[permission], assignable_scopes=[scope])


def test_assignments(wire: Wire, client: AuthorizationManagementClient, group: str) -> None:
    assignments = client.role_assignments
    holders = [principal(wire, group, f"holder-{number}") for number in range(6)]
    names = [str(uuid.uuid4()) for _ in holders]
    for name, holder in zip(names, holders, strict=True):
        assignments.create(group, name, wanted(holder))
    assert assignments.create(group, names[0], wanted(holders[0], description="why")).description == "why"
    assert assignments.get(group, names[0]).principal_id == holders[0]
    narrow = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/holder-0"
    assert len(pages_of(assignments.list_for_scope(narrow, params=SMALL))) >= 3
    assert len(pages_of(assignments.list_for_resource_group(GROUP, params=SMALL))) >= 3
    assert len(pages_of(assignments.list_for_subscription(params=SMALL))) >= 3
    for name in names:
        assignments.delete(group, name)
    assert not {one.name for one in assignments.list_for_resource_group(GROUP)} & set(names)


def test_definitions(client: AuthorizationManagementClient, group: str) -> None:
    definitions = client.role_definitions
    names = [str(uuid.uuid4()) for _ in range(5)]
    for number, name in enumerate(names):
        definitions.create_or_update(group, name, custom(f"Paged {number}", group))
    assert definitions.create_or_update(group, names[0], custom("Renamed", group)).role_name == "Renamed"
    assert definitions.get(group, names[0]).role_type == "CustomRole"
    pages = pages_of(definitions.list(group, filter="type eq 'CustomRole'", params=SMALL))
    assert len(pages) >= 3
    assert {name for page in pages for name in page}.issuperset(names)
    for name in names:
        definitions.delete(group, name)
    assert not {one.name for one in definitions.list(group)} & set(names)


def test_errors(wire: Wire, client: AuthorizationManagementClient, group: str) -> None:
    assignments, definitions = client.role_assignments, client.role_definitions
    holder, name, role = principal(wire, group, "held"), str(uuid.uuid4()), str(uuid.uuid4())
    assignments.create(group, name, wanted(holder))
    made = definitions.create_or_update(group, role, custom("In use", group))
    assignments.create(group, str(uuid.uuid4()), wanted(holder, made.id))
    machine = f"{group}/providers/Microsoft.Compute/virtualMachines/nobody"
    wire.good("PUT", machine, "2024-11-01", {"location": "westeurope", "identity": {"type": "SystemAssigned"}})
    stranger = wire.client(AuthorizationManagementClient, wire.token_of(machine))
    refused(
        ((409, "RoleAssignmentExists"), lambda: assignments.create(group, str(uuid.uuid4()), wanted(holder))),
        ((400, "RoleAssignmentUpdateNotPermitted"), lambda: assignments.create(group, name, wanted(holder, OWNER))),
        ((400, "RoleAssignmentUpdateNotPermitted"), lambda: assignments.create(wire.subscription, name, wanted(holder))),
        ((400, "PrincipalNotFound"), lambda: assignments.create(group, str(uuid.uuid4()), wanted(NOBODY))),
        ((404, "RoleDefinitionDoesNotExist"), lambda: assignments.create(group, str(uuid.uuid4()), wanted(holder, NOBODY))),
        ((400, "InvalidRoleDefinitionId"), lambda: assignments.create(group, str(uuid.uuid4()), wanted(holder, "/nonsense"))),
        ((404, "ResourceGroupNotFound"), lambda: assignments.list_for_resource_group("nowhere")),
        ((400, "InvalidFilterInQueryString"), lambda: assignments.list_for_subscription(filter="nonsense")),
        ((400, "RoleDefinitionHasAssignments"), lambda: definitions.delete(group, role)),
        (
            (409, "RoleDefinitionWithSameNameExists"),
            lambda: definitions.create_or_update(group, NOBODY, custom("In use", group)),
        ),
        (
            (403, "AuthorizationFailed"),
            lambda: stranger.role_assignments.create(group, str(uuid.uuid4()), wanted(holder, OWNER)),
        ),
        ((403, "AuthorizationFailed"), lambda: stranger.role_definitions.create_or_update(group, NOBODY, custom("Up", group))),
        ((403, "AuthorizationFailed"), lambda: stranger.role_assignments.delete(group, name)),
    )
