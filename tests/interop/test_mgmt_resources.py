from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.resources.models import GenericResource, ResourceGroup, ResourceGroupPatchable, Sku
from tests.interop.mgmt import GROUP, client_of, credential_of, refusal

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane

VERSION = "2024-11-30"


@pytest.fixture
def client(idplane: LocalPlane) -> ResourceManagementClient:
    return client_of(ResourceManagementClient, idplane)


def test_a_group_s_life(idplane: LocalPlane, client: ResourceManagementClient) -> None:
    groups = client.resource_groups
    assert groups.check_existence("web") is False
    made = groups.create_or_update("Web", ResourceGroup(location="West Europe", tags={"a": "b"}))
    assert made.id == f"/subscriptions/{idplane.subscription_id}/resourceGroups/Web"
    assert (made.name, made.location, made.tags) == ("Web", "westeurope", {"a": "b"})
    assert groups.check_existence("WEB") is True
    assert groups.update("web", ResourceGroupPatchable(tags={"c": "d"})).tags == {"c": "d"}
    assert groups.get("web").tags == {"c": "d"}
    groups.begin_delete("web").result()
    assert groups.check_existence("web") is False
    with pytest.raises(ResourceNotFoundError) as gone:
        groups.get("web")
    assert refusal(gone) == (404, "ResourceGroupNotFound")
    with pytest.raises(ResourceNotFoundError):
        groups.begin_delete("web").result()


def test_deleting_a_group_deletes_all_that_is_in_it(idplane: LocalPlane, client: ResourceManagementClient) -> None:
    machine = idplane.virtual_machine("web", group="doomed")
    identity = idplane.user_assigned_identity("one", group="doomed")
    idplane.vault("doomed-vault", group="doomed")
    assert machine.identity is not None
    subscription = f"/subscriptions/{idplane.subscription_id}"
    idplane.grant(machine.identity, "Reader", subscription)
    idplane.grant(identity, "Reader", machine.id)
    client.resource_groups.begin_delete("doomed").result()
    assert list(client.resources.list(filter="resourceGroup eq 'doomed'")) == []
    assignments = client_of(AuthorizationManagementClient, idplane).role_assignments
    gone = {machine.identity.principal_id, identity.principal_id}
    assert not [one for one in assignments.list_for_subscription() if one.principal_id in gone]


def test_groups_are_listed_in_pages(idplane: LocalPlane, client: ResourceManagementClient) -> None:
    for number in range(5):
        idplane.resource_group(f"group-{number}")
    pages = [[one.name for one in page] for page in client.resource_groups.list(top=2).by_page()]
    assert [name for page in pages for name in page] == [f"group-{number}" for number in range(5)]
    assert max(len(page) for page in pages) == 2


def test_group_names_that_are_refused(client: ResourceManagementClient) -> None:
    with pytest.raises(HttpResponseError) as named:
        client.resource_groups.create_or_update("bad.", ResourceGroup(location="westeurope"))
    assert refusal(named)[0] == 400
    client.resource_groups.create_or_update("web", ResourceGroup(location="westeurope"))
    with pytest.raises(HttpResponseError) as moved:
        client.resource_groups.create_or_update("web", ResourceGroup(location="eastus"))
    assert refusal(moved)[0] == 409


def test_generic_resources(idplane: LocalPlane, client: ResourceManagementClient) -> None:
    identifier = f"{idplane.resource_group()}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"
    assert client.resources.check_existence_by_id(identifier, api_version=VERSION) is False
    made = client.resources.begin_create_or_update_by_id(
        identifier, api_version=VERSION, parameters=GenericResource(location="westeurope", tags={"a": "b"})
    ).result()
    assert made.id == identifier
    assert client.resources.check_existence_by_id(identifier, api_version=VERSION) is True
    assert (client.resources.get_by_id(identifier, api_version=VERSION).properties or {})["principalId"]
    # The client's long form with an empty parent path has two slashes in a row.
    long_form = client.resources.get(
        GROUP, "Microsoft.ManagedIdentity", "", "userAssignedIdentities", "one", api_version=VERSION
    )
    assert long_form.id == identifier
    client.resources.begin_delete_by_id(identifier, api_version=VERSION).result()
    with pytest.raises(ResourceNotFoundError):
        client.resources.get_by_id(identifier, api_version=VERSION)


def test_lists_of_all_resources(idplane: LocalPlane, client: ResourceManagementClient) -> None:
    machine = idplane.virtual_machine("web")
    identity = idplane.user_assigned_identity("one", group="other")
    assert {one.id for one in client.resources.list()} == {machine.id, identity.id}
    assert [one.id for one in client.resources.list_by_resource_group(GROUP)] == [machine.id]
    by_type = client.resources.list(filter="resourceType eq 'Microsoft.ManagedIdentity/userAssignedIdentities'")
    assert [one.id for one in by_type] == [identity.id]
    pages = [list(page) for page in client.resources.list(top=1).by_page()]
    assert len([one for page in pages for one in page]) == 2


def test_providers(client: ResourceManagementClient) -> None:
    compute = client.providers.get("Microsoft.Compute")
    assert compute.registration_state == "Registered"
    assert "virtualMachines" in {one.resource_type for one in compute.resource_types or ()}
    namespaces = {one.namespace for one in client.providers.list()}
    assert namespaces >= {"Microsoft.Authorization", "Microsoft.KeyVault", "Microsoft.ManagedIdentity", "Microsoft.Insights"}
    assert client.providers.register("Microsoft.KeyVault").namespace == "Microsoft.KeyVault"
    with pytest.raises(HttpResponseError):
        client.providers.get("Microsoft.Nothing")


def test_api_versions_that_are_refused(idplane: LocalPlane, client: ResourceManagementClient) -> None:
    identifier = f"{idplane.resource_group()}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"
    for version in ("1999-01-01", "latest"):
        with pytest.raises(HttpResponseError) as refused:
            client.resources.get_by_id(identifier, api_version=version)
        assert refusal(refused)[0] == 400


def test_a_reader_of_one_group_sees_that_group(idplane: LocalPlane) -> None:
    idplane.resource_group("other")
    machine = idplane.virtual_machine("web")
    assert machine.identity is not None
    idplane.grant(machine.identity, "Reader", idplane.resource_group())
    theirs = client_of(ResourceManagementClient, idplane, credential_of(idplane, machine))
    assert [one.name for one in theirs.resource_groups.list()] == [GROUP]
    assert [one.id for one in theirs.resources.list()] == [machine.id]
    with pytest.raises(HttpResponseError) as refused:
        theirs.resource_groups.get("other")
    assert refusal(refused) == (403, "AuthorizationFailed")
    with pytest.raises(HttpResponseError) as missing:
        theirs.resource_groups.get("never-was")
    assert refusal(missing) == (403, "AuthorizationFailed")


@pytest.mark.parametrize(
    ("kind", "name", "version", "body"),
    [
        ("Microsoft.Web/serverfarms", "plan", "2023-12-01", GenericResource(location="westeurope", sku=Sku(name="F1"))),
        ("Microsoft.Web/sites", "site", "2023-12-01", GenericResource(location="westeurope", kind="app")),
        ("Microsoft.Network/virtualNetworks", "net", "2024-05-01", GenericResource(location="westeurope")),
        ("Microsoft.OperationalInsights/workspaces", "log", "2022-10-01", GenericResource(location="westeurope")),
        (
            "Microsoft.Storage/storageAccounts",
            "generic4x",
            "2023-05-01",
            GenericResource(location="westeurope", kind="StorageV2"),
        ),
    ],
)
def test_generic_resources_of_any_type(
    idplane: LocalPlane, client: ResourceManagementClient, kind: str, name: str, version: str, body: GenericResource
) -> None:
    """Put, patched, seen and deleted, by id and in the long form."""
    namespace, _, path = kind.partition("/")
    place = (GROUP, namespace, "", path, name)
    identifier = f"{idplane.resource_group()}/providers/{kind}/{name}"
    assert client.resources.check_existence(*place, api_version=version) is False
    client.resources.begin_create_or_update(*place, api_version=version, parameters=body).result()
    assert client.resources.check_existence(*place, api_version=version) is True
    assert client.resources.get(*place, api_version=version).id == identifier
    patched = client.resources.begin_update(*place, api_version=version, parameters=GenericResource(tags={"a": "b"})).result()
    assert patched.tags == {"a": "b"}
    by_id = client.resources.begin_update_by_id(
        identifier, api_version=version, parameters=GenericResource(tags={"c": "d"})
    ).result()
    assert (by_id.tags, by_id.kind) == ({"c": "d"}, patched.kind)
    [listed] = client.resources.list(
        filter="tagName eq 'C' and tagValue eq 'd'", expand="createdTime,changedTime,provisioningState"
    )
    assert (listed.id, listed.provisioning_state) == (identifier, "Succeeded")
    assert listed.created_time is not None
    assert listed.changed_time is not None
    assert listed.created_time <= listed.changed_time
    client.resources.begin_delete(*place, api_version=version).result()
    assert client.resources.check_existence_by_id(identifier, api_version=version) is False


def test_a_group_s_template(idplane: LocalPlane, client: ResourceManagementClient) -> None:
    idplane.virtual_machine("web")
    body = {"resources": ["*"], "options": "SkipAllParameterizations"}
    exported = client.resource_groups.begin_export_template(GROUP, body).result()
    assert exported.error is None
    assert exported.template is not None
    assert [one["name"] for one in exported.template["resources"]] == ["web"]
