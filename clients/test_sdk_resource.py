"""azure-mgmt-resource and -resource-locks against a live plane: pages, and every error that control-plane.md section 7.4 tells of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from azure.mgmt.resource.locks import ManagementLockClient
from azure.mgmt.resource.locks.models import ManagementLockObject
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.resources.models import GenericResource, ResourceGroup, ResourceGroupPatchable
from clients.sdk import LOCATION, SMALL, pages_of, refused, started
from clients.traffic import Wire

pytestmark = pytest.mark.xdist_group("sdk")
GROUP = "sdk-resources"
NETWORK = "2024-05-01"


@pytest.fixture
def client(wire: Wire) -> Iterator[ResourceManagementClient]:
    with wire.client(ResourceManagementClient) as client:
        yield client


def network(wire: Wire, name: str, group: str = GROUP) -> str:
    return f"{wire.subscription}/resourceGroups/{group}/providers/Microsoft.Network/virtualNetworks/{name}"


def test_groups(client: ResourceManagementClient) -> None:
    groups = client.resource_groups
    for number in range(5):
        groups.create_or_update(f"paged-{number}", ResourceGroup(location=LOCATION, tags={"paged": "yes"}))
    assert groups.update("paged-0", ResourceGroupPatchable(tags={"paged": "yes", "more": "1"})).tags == {
        "paged": "yes",
        "more": "1",
    }
    assert len(pages_of(groups.list(top=2))) >= 3
    filtered = pages_of(groups.list(filter="tagName eq 'paged'", top=2))
    assert sorted(name for page in filtered for name in page) == [f"paged-{number}" for number in range(5)]
    for number in range(5):
        groups.begin_delete(f"paged-{number}").result()
    assert not groups.check_existence("paged-0")


def test_resources(wire: Wire, client: ResourceManagementClient) -> None:
    started(wire, GROUP)
    every = client.resources
    for number in range(5):
        every.begin_create_or_update_by_id(
            network(wire, f"net-{number}"), GenericResource(location=LOCATION), api_version=NETWORK
        ).result()
    changed = every.begin_update_by_id(network(wire, "net-0"), GenericResource(tags={"a": "b"}), api_version=NETWORK).result()
    assert changed.tags == {"a": "b"}
    assert every.get_by_id(network(wire, "net-0"), api_version=NETWORK).tags == {"a": "b"}
    assert len(pages_of(every.list_by_resource_group(GROUP, top=2))) >= 3
    assert len(pages_of(every.list(params=SMALL), lambda one: one.id)) >= 3
    for number in range(5):
        every.begin_delete_by_id(network(wire, f"net-{number}"), api_version=NETWORK).result()
    assert pages_of(every.list_by_resource_group(GROUP)) == [[]]


def test_errors(wire: Wire, client: ResourceManagementClient) -> None:
    started(wire, GROUP)
    groups, every = client.resource_groups, client.resources
    tomorrow = wire.client(ResourceManagementClient, api_version="tomorrow")
    body = GenericResource(location=LOCATION)
    absent = f"{wire.subscription}/resourceGroups/{GROUP}/providers/Microsoft.Nowhere/things/one"
    unknown = f"{wire.subscription}/resourceGroups/{GROUP}/providers/Microsoft.Network/things/one"
    with wire.client(ManagementLockClient) as locks:
        locks.management_locks.create_or_update_at_resource_group_level(
            GROUP, "kept", ManagementLockObject(level="CanNotDelete", notes="kept")
        )
        refused(
            ((409, "ScopeLocked"), lambda: groups.begin_delete(GROUP)),
            ((404, "ResourceGroupNotFound"), lambda: groups.get("nowhere")),
            ((404, "ResourceGroupNotFound"), lambda: every.list_by_resource_group("nowhere")),
            ((404, "ResourceNotFound"), lambda: every.get_by_id(network(wire, "absent"), api_version=NETWORK)),
            ((404, "InvalidResourceNamespace"), lambda: every.get_by_id(absent, api_version=NETWORK)),
            ((404, "InvalidResourceType"), lambda: every.get_by_id(unknown, api_version=NETWORK)),
            ((400, "NoRegisteredProviderFound"), lambda: every.get_by_id(network(wire, "x"), api_version="1999-01-01")),
            ((400, "MissingApiVersionParameter"), lambda: every.get_by_id(network(wire, "x"), api_version="")),
            ((400, "InvalidApiVersionParameter"), lambda: tomorrow.resource_groups.get(GROUP)),
            (
                (400, "LocationRequired"),
                lambda: every.begin_create_or_update_by_id(network(wire, "x"), GenericResource(), api_version=NETWORK),
            ),
            ((400, "InvalidResourceName"), lambda: groups.create_or_update("ends.", ResourceGroup(location=LOCATION))),
            ((409, "InvalidResourceLocation"), lambda: groups.create_or_update(GROUP, ResourceGroup(location="eastus"))),
            ((400, "InvalidFilterInQueryString"), lambda: every.list(filter="nonsense")),
            (
                (404, "ResourceGroupNotFound"),
                lambda: every.begin_create_or_update_by_id(network(wire, "x", "nowhere"), body, api_version=NETWORK),
            ),
        )
        locks.management_locks.delete_at_resource_group_level(GROUP, "kept")
    groups.begin_delete(GROUP).result()
    assert not groups.check_existence(GROUP)
