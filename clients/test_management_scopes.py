"""Azure's own clients for management groups, locks, tags and deployments above subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.authorization.v2022_04_01.models import RoleAssignmentCreateParameters
from azure.mgmt.managementgroups import ManagementGroupsMgmtClient
from azure.mgmt.managementgroups.models import (
    CheckNameAvailabilityRequest,
    CreateManagementGroupDetails,
    CreateManagementGroupProperties,
    CreateManagementGroupRequest,
    CreateOrUpdateSettingsProperties,
    CreateOrUpdateSettingsRequest,
    CreateParentGroupInfo,
    PatchManagementGroupRequest,
)
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.msi.models import Identity
from azure.mgmt.resource.locks import ManagementLockClient
from azure.mgmt.resource.locks.models import ManagementLockObject, ManagementLockOwner
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.resources.models import Tags, TagsPatchResource, TagsResource
from tests.interop.mgmt import client_of, refusal

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane

READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


@pytest.fixture
def groups(idplane: LocalPlane) -> ManagementGroupsMgmtClient:
    return ManagementGroupsMgmtClient(
        idplane.credential, **idplane.client, connection_verify=str(idplane.ca_file), retry_total=0
    )


@pytest.fixture
def locks(idplane: LocalPlane) -> ManagementLockClient:
    return client_of(ManagementLockClient, idplane)


@pytest.fixture
def resources(idplane: LocalPlane) -> ResourceManagementClient:
    return client_of(ResourceManagementClient, idplane)


def make(client: ManagementGroupsMgmtClient, name: str, parent: str | None = None) -> Any:
    details = CreateManagementGroupDetails(parent=CreateParentGroupInfo(id=parent)) if parent else None
    properties = CreateManagementGroupProperties(display_name=f"The {name}", details=details)
    return client.management_groups.begin_create_or_update(name, CreateManagementGroupRequest(properties=properties)).result()


# Management groups ----------------------------------------------------------------------------------------------------


def test_a_group_s_life(idplane: LocalPlane, groups: ManagementGroupsMgmtClient) -> None:
    made = make(groups, "shops")
    assert (made.name, made.properties.display_name, made.properties.tenant_id) == ("shops", "The shops", idplane.tenant_id)
    assert made.properties.details.parent.name == idplane.tenant_id
    web = make(groups, "web", made.id)
    assert web.properties.details.parent.id == made.id
    patched = groups.management_groups.update("web", PatchManagementGroupRequest(display_name="Web shops"))
    assert patched.properties.display_name == "Web shops"
    tree = groups.management_groups.get(idplane.tenant_id, expand="children", recurse=True)
    (child, _) = tree.properties.children
    assert (child.name, [one.name for one in child.children]) == ("shops", ["web"])
    assert [one.name for one in groups.management_groups.list()] == [idplane.tenant_id, "shops", "web"]
    assert [one.name for one in groups.management_groups.get_descendants("shops", top=1)] == ["web"]
    with pytest.raises(HttpResponseError) as refused:
        groups.management_groups.begin_delete("shops").result()
    assert refusal(refused) == (400, "BadRequest")
    for name in ("web", "shops"):
        groups.management_groups.begin_delete(name).result()
    with pytest.raises(ResourceNotFoundError) as gone:
        groups.management_groups.get("shops")
    assert refusal(gone) == (404, "NotFound")


def test_names_of_groups(groups: ManagementGroupsMgmtClient) -> None:
    make(groups, "shops")
    for name, reason in (("shops", "AlreadyExists"), ("a b", "Invalid"), ("free", None)):
        found = groups.check_name_availability(
            CheckNameAvailabilityRequest(name=name, type="Microsoft.Management/managementGroups")
        )
        assert (found.name_available, found.reason) == (reason is None, reason)


def test_subscriptions_come_and_go_and_roles_with_them(idplane: LocalPlane, groups: ManagementGroupsMgmtClient) -> None:
    shops = make(groups, "shops").id
    machine = idplane.virtual_machine("vm")
    assert machine.identity is not None
    roles = client_of(AuthorizationManagementClient, idplane).role_assignments
    parameters = RoleAssignmentCreateParameters(
        role_definition_id=f"/providers/Microsoft.Authorization/roleDefinitions/{READER}",
        principal_id=machine.identity.principal_id,
        principal_type="ServicePrincipal",
    )
    assigned = roles.create(shops, "00000000-0000-4000-8000-00000000abcd", parameters)
    assert (assigned.scope, assigned.id) == (
        shops,
        f"{shops}/providers/Microsoft.Authorization/roleAssignments/{assigned.name}",
    )
    scope = f"/subscriptions/{idplane.subscription_id}"

    def inherited() -> list[str]:
        held = roles.list_for_scope(scope, filter="atScope()")
        return [one.scope for one in held if one.principal_id == machine.identity.principal_id]  # type: ignore[union-attr]  # asserted above

    assert inherited() == []
    placed = groups.management_group_subscriptions.create("shops", idplane.subscription_id)
    assert (placed.properties.parent.id, placed.properties.state) == (shops, "Active")
    assert inherited() == [shops]
    under = groups.management_group_subscriptions.get_subscriptions_under_management_group("shops")
    assert [one.name for one in under] == [idplane.subscription_id]
    assert (
        groups.management_group_subscriptions.get_subscription("shops", idplane.subscription_id).name == idplane.subscription_id
    )
    entities = {one.name: one.properties for one in groups.entities.list()}
    assert entities[idplane.subscription_id].parent_name_chain == [idplane.tenant_id, "shops"]
    groups.management_group_subscriptions.delete("shops", idplane.subscription_id)
    assert inherited() == []


def test_settings_of_the_hierarchy(idplane: LocalPlane, groups: ManagementGroupsMgmtClient) -> None:
    home = make(groups, "home").id
    properties = CreateOrUpdateSettingsProperties(require_authorization_for_group_creation=True, default_management_group=home)
    wanted = CreateOrUpdateSettingsRequest(properties=properties)
    made = groups.hierarchy_settings.create_or_update(idplane.tenant_id, wanted)
    assert (made.properties.default_management_group, made.properties.require_authorization_for_group_creation) == (home, True)
    assert [one.name for one in groups.hierarchy_settings.list(idplane.tenant_id).value] == ["default"]
    second = idplane.subscription("second").rpartition("/")[2]
    assert groups.management_group_subscriptions.get_subscription("home", second).name == second
    groups.hierarchy_settings.delete(idplane.tenant_id)
    with pytest.raises(ResourceNotFoundError):
        groups.hierarchy_settings.get(idplane.tenant_id)


# Locks ----------------------------------------------------------------------------------------------------------------


def test_a_lock_s_life_on_each_kind_of_scope(idplane: LocalPlane, locks: ManagementLockClient) -> None:
    vm = idplane.virtual_machine("vm").id
    api = locks.management_locks
    lock = ManagementLockObject(level="CanNotDelete", notes="why", owners=[ManagementLockOwner(application_id="a")])
    at_subscription = api.create_or_update_at_subscription_level("all", lock)
    at_group = api.create_or_update_at_resource_group_level("tests", "group", lock)
    at_resource = api.create_or_update_at_resource_level(
        "tests", "Microsoft.Compute", "", "virtualMachines", "vm", "machine", lock
    )
    assert (at_group.level, at_group.notes, at_group.owners[0].application_id) == ("CanNotDelete", "why", "a")
    assert at_resource.id == f"{vm}/providers/Microsoft.Authorization/locks/machine"
    by_scope = api.create_or_update_by_scope(vm, "second", ManagementLockObject(level="ReadOnly"))
    assert api.get_by_scope(vm, "second").id == by_scope.id
    assert at_subscription.system_data.created_by_type == "Application"
    assert {one.name for one in api.list_at_subscription_level()} == {"all", "group", "machine", "second"}
    assert {one.name for one in api.list_at_resource_group_level("tests", filter="atScope()")} == {"all", "group"}
    listed = api.list_at_resource_level("tests", "Microsoft.Compute", "", "virtualMachines", "vm")
    assert {one.name for one in listed} == {"all", "group", "machine", "second"}
    with pytest.raises(ResourceExistsError) as refused:
        client_of(ResourceManagementClient, idplane).resource_groups.begin_delete("tests").result()
    assert refusal(refused) == (409, "ScopeLocked")
    api.delete_by_scope(vm, "second")
    api.delete_at_resource_level("tests", "Microsoft.Compute", "", "virtualMachines", "vm", "machine")
    api.delete_at_resource_group_level("tests", "group")
    api.delete_at_subscription_level("all")
    api.delete_at_subscription_level("all")
    client_of(ResourceManagementClient, idplane).resource_groups.begin_delete("tests").result()


def test_a_read_only_scope_says_which_lock_it_is(idplane: LocalPlane, locks: ManagementLockClient) -> None:
    group = idplane.resource_group("web")
    locks.management_locks.create_or_update_by_scope(group, "keep", ManagementLockObject(level="ReadOnly"))
    identities = client_of(ManagedServiceIdentityClient, idplane).user_assigned_identities
    with pytest.raises(ResourceExistsError) as refused:
        identities.create_or_update("web", "one", Identity(location="westeurope"))
    assert refusal(refused) == (409, "ScopeLocked")
    identifier = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"
    assert refused.value.error is not None
    assert refused.value.error.message == (
        f"The scope '{identifier}' cannot perform write operation because following scope(s) are locked: '{group}'. Please remove "
        "the lock and try again."
    )


def test_locks_in_three_pages(idplane: LocalPlane, locks: ManagementLockClient) -> None:
    groups = [idplane.resource_group(f"group-{number}") for number in range(11)]
    for group in groups:
        for name in range(20):
            locks.management_locks.create_or_update_by_scope(group, f"lock-{name}", ManagementLockObject(level="CanNotDelete"))
    pages = list(locks.management_locks.list_at_subscription_level().by_page())
    names = [(one.id) for page in pages for one in page]
    assert (len(names), len(set(names)), len(pages) >= 3) == (220, 220, True)
    with pytest.raises(HttpResponseError) as refused:
        locks.management_locks.create_or_update_by_scope(groups[0], "more", ManagementLockObject(level="CanNotDelete"))
    assert refusal(refused) == (400, "LockLimitExceeded")


# Tags -----------------------------------------------------------------------------------------------------------------


def test_tags_by_themselves(idplane: LocalPlane, resources: ResourceManagementClient) -> None:
    scope = idplane.virtual_machine("vm").id

    def tagged(**tags: str) -> Tags:
        return Tags(tags=tags)

    made: Any = resources.tags.begin_create_or_update_at_scope(scope, TagsResource(properties=tagged(env="dev", team="web")))
    assert made.result().properties.tags == {"env": "dev", "team": "web"}
    patch = TagsPatchResource(operation="Delete", properties=tagged(team="web"))
    assert resources.tags.begin_update_at_scope(scope, patch).result().properties.tags == {"env": "dev"}
    assert resources.tags.get_at_scope(scope).properties.tags == {"env": "dev"}
    resources.tags.begin_delete_at_scope(scope).result()
    assert resources.tags.get_at_scope(scope).properties.tags == {}
    broken = TagsResource(properties=Tags(tags={"a/b": "c"}))
    with pytest.raises(HttpResponseError) as refused:
        resources.tags.begin_create_or_update_at_scope(scope, broken).result()
    assert refusal(refused) == (400, "InvalidTagNameCharacters")
