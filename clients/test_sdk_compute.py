"""azure-mgmt-compute against a live plane: pages, and every error that control-plane.md section 7.2 tells of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.compute.models import UserAssignedIdentitiesValue, VirtualMachine, VirtualMachineIdentity, VirtualMachineUpdate
from clients.sdk import LOCATION, SMALL, pages_of, refused, started
from clients.traffic import Wire

pytestmark = pytest.mark.xdist_group("sdk")
GROUP = "sdk-compute"
WRITER = "9980e02c-c2be-4d73-94e8-173b1dc7cf3c"


@pytest.fixture
def client(wire: Wire) -> Iterator[ComputeManagementClient]:
    started(wire, GROUP)
    with wire.client(ComputeManagementClient) as client:
        yield client


def machine(kind: str = "SystemAssigned", *identities: str) -> VirtualMachine:
    values = {one: UserAssignedIdentitiesValue() for one in identities} or None
    return VirtualMachine(location=LOCATION, identity=VirtualMachineIdentity(type=kind, user_assigned_identities=values))


def create(client: ComputeManagementClient, name: str, wanted: VirtualMachine, group: str = GROUP) -> Any:
    return client.virtual_machines.begin_create_or_update(group, name, wanted).result()


def test_machines(client: ComputeManagementClient) -> None:
    machines = client.virtual_machines
    for number in range(5):
        assert create(client, f"vm-{number}", machine()).identity.principal_id
    assert machines.begin_update(GROUP, "vm-0", VirtualMachineUpdate(tags={"a": "b"})).result().tags == {"a": "b"}
    assert machines.get(GROUP, "vm-0", expand="instanceView").instance_view.statuses
    assert [len(page) for page in pages_of(machines.list(GROUP, params=SMALL))] == [2, 2, 1]
    assert len(pages_of(machines.list_all(params=SMALL), lambda one: one.id)) >= 3
    for number in range(5):
        machines.begin_delete(GROUP, f"vm-{number}").result()
    assert pages_of(machines.list(GROUP)) == [[]]


def test_errors(wire: Wire, client: ComputeManagementClient) -> None:
    group = started(wire, GROUP)
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"
    wire.good("PUT", identity, "2024-11-30", {"location": LOCATION})
    holder = create(client, "writer", machine()).identity.principal_id
    role = f"{wire.subscription}/providers/Microsoft.Authorization/roleDefinitions/{WRITER}"
    grant = {"properties": {"roleDefinitionId": role, "principalId": holder}}
    name = "5d4d0000-0000-4000-8000-000000000001"
    wire.good("PUT", f"{group}/providers/Microsoft.Authorization/roleAssignments/{name}", "2022-04-01", grant)
    token = wire.token_of(f"{group}/providers/Microsoft.Compute/virtualMachines/writer")
    writer = wire.client(ComputeManagementClient, token)
    assert create(writer, "written", machine()).name == "written"
    started(wire, "sdk-compute-2")
    absent = f"{identity}-absent"
    refused(
        ((403, "LinkedAuthorizationFailed"), lambda: create(writer, "other", machine("UserAssigned", identity))),
        ((403, "LinkedAuthorizationFailed"), lambda: create(client, "other", machine("UserAssigned", absent))),
        ((400, "InvalidParameter"), lambda: create(client, "other", machine("UserAssigned", "/no/identity"))),
        ((400, "InvalidParameter"), lambda: create(client, "other", machine("SystemAssigned", identity))),
        ((400, "InvalidParameter"), lambda: create(client, "other", machine("Unheard"))),
        ((403, "AuthorizationFailed"), lambda: create(writer, "other", machine(), "sdk-compute-2")),
        ((403, "AuthorizationFailed"), lambda: writer.virtual_machines.list("sdk-compute-2")),
        ((404, "ResourceNotFound"), lambda: client.virtual_machines.get(GROUP, "absent")),
        ((404, "ResourceGroupNotFound"), lambda: create(client, "other", machine(), "nowhere")),
        (
            (404, "ResourceNotFound"),
            lambda: client.virtual_machines.begin_update(GROUP, "absent", VirtualMachineUpdate(tags={})),
        ),
    )
