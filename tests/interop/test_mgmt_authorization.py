from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.authorization.v2022_04_01.models import Permission, RoleAssignmentCreateParameters, RoleDefinition
from tests.interop.mgmt import client_of, credential_of, refusal

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane

READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def client(idplane: LocalPlane) -> AuthorizationManagementClient:
    return client_of(AuthorizationManagementClient, idplane)


def wanted(principal: str, role: str = READER, **more: Any) -> RoleAssignmentCreateParameters:
    role_id = f"/providers/Microsoft.Authorization/roleDefinitions/{role}"
    return RoleAssignmentCreateParameters(role_definition_id=role_id, principal_id=principal, **more)


def custom(name: str, *scopes: str) -> RoleDefinition:
    permission = Permission(actions=["Microsoft.Compute/virtualMachines/*/read"], not_actions=[])
    return RoleDefinition(role_name=name, description="d", permissions=[permission], assignable_scopes=list(scopes))


# Role assignments


def test_an_assignment_s_life(idplane: LocalPlane, client: AuthorizationManagementClient) -> None:
    scope = idplane.resource_group()
    identity = idplane.user_assigned_identity("one")
    name = str(uuid.uuid4())
    made = client.role_assignments.create(scope, name, wanted(identity.principal_id, description="first"))
    assert (made.name, made.scope, made.principal_id) == (name, scope, identity.principal_id)
    # The client says "User" unless told otherwise; the answer tells the truth.
    assert made.principal_type == "ServicePrincipal"
    assert made.role_definition_id.endswith(f"/providers/Microsoft.Authorization/roleDefinitions/{READER}")
    assert made.created_on is not None
    assert client.role_assignments.get(scope, name).description == "first"
    changed = client.role_assignments.create(scope, name, wanted(identity.principal_id, description="second"))
    assert changed.description == "second"
    assert client.role_assignments.get_by_id(made.id).description == "second"
    assert client.role_assignments.delete(scope, name).name == name
    assert client.role_assignments.delete(scope, name) is None
    with pytest.raises(ResourceNotFoundError):
        client.role_assignments.get(scope, name)


def test_by_id(idplane: LocalPlane, client: AuthorizationManagementClient) -> None:
    identity = idplane.user_assigned_identity("one")
    identifier = f"{identity.id}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    made = client.role_assignments.create_by_id(identifier, wanted(identity.principal_id))
    assert made.id == identifier
    assert client.role_assignments.get_by_id(identifier).id == identifier
    assert client.role_assignments.delete_by_id(identifier).id == identifier


def test_lists(idplane: LocalPlane, client: AuthorizationManagementClient) -> None:
    machine = idplane.virtual_machine("web")
    identity = idplane.user_assigned_identity("one")
    group = idplane.resource_group()
    subscription = f"/subscriptions/{idplane.subscription_id}"
    ids = {scope: idplane.grant(identity, "Reader", scope) for scope in (subscription, group, machine.id)}

    def found(pages: Any) -> set[str]:
        return {one.id for one in pages if one.principal_id == identity.principal_id}

    listing = client.role_assignments
    assert found(listing.list_for_subscription()) == set(ids.values())
    assert found(listing.list_for_resource_group("tests")) == set(ids.values())
    assert found(listing.list_for_resource_group("tests", filter="atScope()")) == {ids[subscription], ids[group]}
    assert found(listing.list_for_resource("tests", "Microsoft.Compute", "virtualMachines", "web")) == set(ids.values())
    assert found(listing.list_for_scope(group, filter=f"principalId eq '{identity.principal_id}'")) == set(ids.values())
    only = list(listing.list_for_scope(subscription, filter=f"atScope() and assignedTo('{identity.principal_id}')"))
    assert [one.id for one in only] == [ids[subscription]]


def test_paging(idplane: LocalPlane, client: AuthorizationManagementClient) -> None:
    group = idplane.resource_group()
    made = {idplane.grant(idplane.user_assigned_identity(f"id-{number}"), "Reader", group) for number in range(5)}
    pages = [list(page) for page in client.role_assignments.list_for_scope(group, params={"$top": "2"}).by_page()]
    assert made <= {one.id for page in pages for one in page}
    assert max(len(page) for page in pages) == 2
    assert len(pages) >= 3


def test_refusals(idplane: LocalPlane, client: AuthorizationManagementClient) -> None:
    scope = idplane.resource_group()
    one, two = idplane.user_assigned_identity("one"), idplane.user_assigned_identity("two")
    name = str(uuid.uuid4())
    client.role_assignments.create(scope, name, wanted(one.principal_id))
    with pytest.raises(ResourceExistsError) as exists:
        client.role_assignments.create(scope, str(uuid.uuid4()), wanted(one.principal_id))
    assert refusal(exists) == (409, "RoleAssignmentExists")
    cases: list[tuple[str, str, RoleAssignmentCreateParameters, tuple[int, str]]] = [
        (scope, name, wanted(two.principal_id), (400, "RoleAssignmentUpdateNotPermitted")),
        (scope, str(uuid.uuid4()), wanted(MISSING), (400, "PrincipalNotFound")),
        (scope, str(uuid.uuid4()), wanted(two.principal_id, MISSING), (404, "RoleDefinitionDoesNotExist")),
        (scope, "no-guid", wanted(two.principal_id), (400, "InvalidRoleAssignmentId")),
        (f"{scope}x", str(uuid.uuid4()), wanted(two.principal_id), (404, "ResourceGroupNotFound")),
        (scope, str(uuid.uuid4()), wanted(two.principal_id, condition="x"), (400, "RoleAssignmentConditionInvalid")),
    ]
    for where, named, parameters, expected in cases:
        with pytest.raises(HttpResponseError) as refused:
            client.role_assignments.create(where, named, parameters)
        assert refusal(refused) == expected


def test_a_reader_cannot_write_and_a_contributor_cannot_grant(
    idplane: LocalPlane, client: AuthorizationManagementClient
) -> None:
    scope = idplane.resource_group()
    for role in ("Reader", "Contributor"):
        machine = idplane.virtual_machine(role)
        assert machine.identity is not None
        idplane.grant(machine.identity, role, scope)
        theirs = client_of(AuthorizationManagementClient, idplane, credential_of(idplane, machine))
        assert list(theirs.role_assignments.list_for_scope(scope))
        with pytest.raises(HttpResponseError) as refused:
            theirs.role_assignments.create(scope, str(uuid.uuid4()), wanted(machine.identity.principal_id, OWNER))
        assert refusal(refused) == (403, "AuthorizationFailed")
        assert machine.identity.principal_id in refused.value.message
        assert "Microsoft.Authorization/roleAssignments/write" in refused.value.message


def test_the_last_owner_stays(idplane: LocalPlane, client: AuthorizationManagementClient) -> None:
    owners = [one for one in client.role_assignments.list_for_scope("/") if one.role_definition_id.endswith(OWNER)]
    last, *others = sorted(owners, key=lambda one: one.principal_type != "ServicePrincipal")
    for other in others:
        client.role_assignments.delete_by_id(other.id)
    with pytest.raises(HttpResponseError) as refused:
        client.role_assignments.delete_by_id(last.id)
    assert refusal(refused) == (412, "CannotDeleteLastRbacAdminAssignment")
    for other in others:  # the plane is used again
        client.role_assignments.create("/", other.name, wanted(other.principal_id, OWNER))


# Role definitions


def test_built_in_roles(idplane: LocalPlane, client: AuthorizationManagementClient) -> None:
    scope = idplane.resource_group()
    (reader,) = client.role_definitions.list(scope, filter="roleName eq 'Reader'")
    assert reader.id == f"/subscriptions/{idplane.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/{READER}"
    assert (reader.role_type, reader.permissions[0].actions) == ("BuiltInRole", ["*/read"])
    assert client.role_definitions.get_by_id(reader.id).role_name == "Reader"
    assert client.role_definitions.get("/", READER).id == f"/providers/Microsoft.Authorization/roleDefinitions/{READER}"
    assert len(list(client.role_definitions.list(scope, filter="type eq 'BuiltInRole'"))) > 30


def test_a_custom_role_s_life(idplane: LocalPlane, client: AuthorizationManagementClient) -> None:
    scope, name = idplane.resource_group(), str(uuid.uuid4())
    machine = idplane.virtual_machine("web")
    assert machine.identity is not None
    made = client.role_definitions.create_or_update(scope, name, custom("Looker", scope))
    assert (made.role_type, made.role_name, made.assignable_scopes) == ("CustomRole", "Looker", [scope])
    renamed = client.role_definitions.create_or_update(scope, name, custom("Watcher", scope))
    assert [one.id for one in client.role_definitions.list(scope, filter="roleName eq 'Watcher'")] == [renamed.id]
    assigned = client.role_assignments.create(scope, str(uuid.uuid4()), wanted(machine.identity.principal_id, name))
    with pytest.raises(HttpResponseError) as refused:
        client.role_definitions.delete(scope, name)
    assert refusal(refused) == (400, "RoleDefinitionHasAssignments")
    client.role_assignments.delete_by_id(assigned.id)
    assert client.role_definitions.delete(scope, name).name == name
    assert client.role_definitions.delete(scope, name) is None


def test_roles_that_are_refused(idplane: LocalPlane, client: AuthorizationManagementClient) -> None:
    scope = idplane.resource_group()
    client.role_definitions.create_or_update(scope, str(uuid.uuid4()), custom("Looker", scope))
    cases: list[tuple[str, RoleDefinition, tuple[int, str]]] = [
        (str(uuid.uuid4()), custom("looker", scope), (409, "RoleDefinitionWithSameNameExists")),
        (str(uuid.uuid4()), custom("Other"), (400, "InvalidParameter")),
        (str(uuid.uuid4()), custom("Other", "/"), (400, "InvalidParameter")),
        (str(uuid.uuid4()), custom("Other", f"{scope}x"), (404, "ResourceGroupNotFound")),
        (READER, custom("Other", scope), (400, "InvalidRoleDefinition")),
        ("no-guid", custom("Other", scope), (400, "InvalidRoleDefinitionId")),
    ]
    for name, role, expected in cases:
        with pytest.raises(HttpResponseError) as refused:
            client.role_definitions.create_or_update(scope, name, role)
        assert refusal(refused) == expected


# Deny assignments and permissions


def test_there_are_no_deny_assignments(idplane: LocalPlane, client: AuthorizationManagementClient) -> None:
    scope = idplane.resource_group()
    assert list(client.deny_assignments.list()) == []
    assert list(client.deny_assignments.list_for_resource_group("tests", filter="atScope()")) == []
    assert list(client.deny_assignments.list_for_scope(scope)) == []
    with pytest.raises(ResourceNotFoundError):
        client.deny_assignments.get(scope, MISSING)


def test_permissions(idplane: LocalPlane) -> None:
    machine = idplane.virtual_machine("web")
    assert machine.identity is not None
    idplane.grant(machine.identity, "Reader", idplane.resource_group())
    theirs = client_of(AuthorizationManagementClient, idplane, credential_of(idplane, machine))
    assert [one.actions for one in theirs.permissions.list_for_resource_group("tests")] == [["*/read"]]
    on_machine = theirs.permissions.list_for_resource("tests", "Microsoft.Compute", "", "virtualMachines", "web")
    assert [one.actions for one in on_machine] == [["*/read"]]
