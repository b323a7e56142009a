"""Bindings under Azure's generic resource client, which knows nothing of them but their id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.resources.models import GenericResource
from tests.interop.mgmt import GROUP, client_of, credential_of, refusal

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane

VERSION = "2026-11-01"
TYPE = "Idplane.Workloads/bindings"


@pytest.fixture
def client(idplane: LocalPlane) -> ResourceManagementClient:
    return client_of(ResourceManagementClient, idplane)


def wanted(**processes: object) -> GenericResource:
    return GenericResource(properties={"processes": processes})


def test_a_binding_s_life(idplane: LocalPlane, client: ResourceManagementClient) -> None:
    identifier = f"{idplane.virtual_machine('stock-vm').id}/providers/{TYPE}/tracker"
    resources = client.resources
    assert resources.check_existence_by_id(identifier, api_version=VERSION) is False
    made = resources.begin_create_or_update_by_id(
        identifier, wanted(user="tracker", systemdUnit="tracker.service"), api_version=VERSION
    ).result()
    assert (made.id, made.name, made.type) == (identifier, "tracker", TYPE)
    assert resources.check_existence_by_id(identifier, api_version=VERSION) is True
    read = resources.get_by_id(identifier, api_version=VERSION)
    assert read.properties == {
        "processes": {"user": "tracker", "systemdUnit": "tracker.service"},
        "provisioningState": "Succeeded",
    }
    # What was read goes back whole, with the members that only servers write.
    assert read.properties is not None
    read.properties["processes"]["user"] = 1000
    again = resources.begin_create_or_update_by_id(identifier, read, api_version=VERSION).result()
    assert (again.properties or {})["processes"]["user"] == 1000
    resources.begin_delete_by_id(identifier, api_version=VERSION).result()
    with pytest.raises(ResourceNotFoundError) as gone:
        resources.get_by_id(identifier, api_version=VERSION)
    assert refusal(gone) == (404, "ResourceNotFound")


def test_the_long_form_of_an_id(idplane: LocalPlane, client: ResourceManagementClient) -> None:
    machine = idplane.virtual_machine("stock-vm")
    idplane.bind(machine, "tracker", run=True)
    parent = "virtualMachines/stock-vm/providers/Idplane.Workloads"
    found = client.resources.get(GROUP, "Microsoft.Compute", parent, "bindings", "tracker", api_version=VERSION)
    assert found.id == f"{machine.id}/providers/{TYPE}/tracker"


def test_refusals_in_resource_manager_s_words(idplane: LocalPlane, client: ResourceManagementClient) -> None:
    machine, identity = idplane.virtual_machine("stock-vm"), idplane.user_assigned_identity("shared")
    for host, body, code in (
        (machine.id, wanted(usr="tracker"), "InvalidParameter"),
        (machine.id, wanted(), "InvalidParameter"),
        (identity.id, wanted(user="tracker"), "BindingScopeInvalid"),
    ):
        with pytest.raises(HttpResponseError) as refused:
            client.resources.begin_create_or_update_by_id(f"{host}/providers/{TYPE}/x", body, api_version=VERSION).result()
        assert refusal(refused) == (400, code)


def test_a_machine_may_not_unbind_itself(idplane: LocalPlane) -> None:
    machine = idplane.virtual_machine("stock-vm")
    assert machine.identity is not None
    theirs = client_of(ResourceManagementClient, idplane, credential_of(idplane, machine))
    idplane.grant(machine.identity, "Contributor", machine.id)
    token = theirs.resources.get_by_id(machine.id, api_version="2024-11-01")
    assert token.name == "stock-vm"
    binding = idplane.bind(machine, "tracker", user="tracker")
    for attempt in (
        lambda: theirs.resources.begin_delete_by_id(binding, api_version=VERSION).result(),
        lambda: theirs.resources.begin_create_or_update_by_id(
            f"{machine.id}/providers/{TYPE}/mine", wanted(run=True), api_version=VERSION
        ).result(),
    ):
        with pytest.raises(HttpResponseError) as refused:
            attempt()
        assert refusal(refused) == (403, "AuthorizationFailed")
        assert "Microsoft.Authorization/roleAssignments/write" in str(refused.value)


def test_the_provider_is_told_of(client: ResourceManagementClient) -> None:
    provider = client.providers.get("Idplane.Workloads")
    assert {one.resource_type: one.api_versions for one in provider.resource_types or ()}["bindings"] == [VERSION]


def test_a_host_s_deletion_takes_its_bindings(idplane: LocalPlane, client: ResourceManagementClient) -> None:
    machine = idplane.virtual_machine("stock-vm", group="doomed")
    binding = idplane.bind(machine, "tracker", user="tracker")
    client.resource_groups.begin_delete("doomed").result()
    again = idplane.virtual_machine("stock-vm", group="doomed")
    assert again.id == machine.id
    with pytest.raises(ResourceNotFoundError):
        client.resources.get_by_id(binding, api_version=VERSION)
