from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.compute.models import (
    UserAssignedIdentitiesValue,
    VirtualMachine,
    VirtualMachineIdentity,
    VirtualMachineUpdate,
)
from tests.interop.mgmt import GROUP, client_of, credential_of, refusal

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane, ManagedIdentity

BOTH = "SystemAssigned, UserAssigned"


@pytest.fixture
def client(idplane: LocalPlane) -> ComputeManagementClient:
    idplane.resource_group()
    return client_of(ComputeManagementClient, idplane)


def block(kind: str, *identities: ManagedIdentity) -> VirtualMachineIdentity:
    values = {identity.id: UserAssignedIdentitiesValue() for identity in identities}
    return VirtualMachineIdentity(type=kind, user_assigned_identities=values or None)


def machine(kind: str, *identities: ManagedIdentity) -> VirtualMachine:
    return VirtualMachine(location="westeurope", tags={"a": "b"}, identity=block(kind, *identities))


def create(client: ComputeManagementClient, name: str, wanted: VirtualMachine) -> Any:
    return client.virtual_machines.begin_create_or_update(GROUP, name, wanted).result()


def update(client: ComputeManagementClient, name: str, identity: VirtualMachineIdentity | dict[str, Any]) -> Any:
    change = (
        VirtualMachineUpdate({"identity": identity}) if isinstance(identity, dict) else VirtualMachineUpdate(identity=identity)
    )
    return client.virtual_machines.begin_update(GROUP, name, change).result()


def test_a_machine_s_life(idplane: LocalPlane, client: ComputeManagementClient) -> None:
    made = create(client, "Stock", machine("SystemAssigned"))
    assert made.id == f"{idplane.resource_group()}/providers/Microsoft.Compute/virtualMachines/Stock"
    assert (made.location, made.tags, made.provisioning_state) == ("westeurope", {"a": "b"}, "Succeeded")
    assert (made.identity.type, made.identity.tenant_id) == ("SystemAssigned", idplane.tenant_id)
    assert made.identity.principal_id
    again = create(client, "stock", machine("SystemAssigned"))
    assert (again.id, again.identity.principal_id) == (made.id, made.identity.principal_id)
    shown = client.virtual_machines.get(GROUP, "stock", expand="instanceView")
    assert "PowerState/running" in {status.code for status in shown.instance_view.statuses}
    assert client.virtual_machines.instance_view(GROUP, "stock").statuses
    client.virtual_machines.begin_deallocate(GROUP, "stock").result()
    stopped = client.virtual_machines.instance_view(GROUP, "stock").statuses or []
    assert "PowerState/deallocated" in {status.code for status in stopped}
    client.virtual_machines.begin_delete(GROUP, "stock").result()
    client.virtual_machines.begin_delete(GROUP, "stock").result()
    with pytest.raises(ResourceNotFoundError) as gone:
        client.virtual_machines.get(GROUP, "stock")
    assert refusal(gone) == (404, "ResourceNotFound")


def test_lists_and_paging(idplane: LocalPlane, client: ComputeManagementClient) -> None:
    for number in range(5):
        idplane.virtual_machine(f"vm-{number}", system=False)
    idplane.virtual_machine("elsewhere", system=False, group="other")
    assert [one.name for one in client.virtual_machines.list(GROUP)] == [f"vm-{number}" for number in range(5)]
    pages = [list(page) for page in client.virtual_machines.list_all(params={"$top": "4"}).by_page()]
    assert [len(page) for page in pages] == [4, 2]


def test_identities_are_added_and_taken_by_patch(idplane: LocalPlane, client: ComputeManagementClient) -> None:
    one, two = idplane.user_assigned_identity("one"), idplane.user_assigned_identity("two")
    create(client, "web", machine("UserAssigned", one))
    both = update(client, "web", block("SystemAssigned,UserAssigned", two)).identity
    assert both.type == BOTH
    assert {key.lower() for key in both.user_assigned_identities} == {one.id.lower(), two.id.lower()}
    assert {value.client_id for value in both.user_assigned_identities.values()} == {one.client_id, two.client_id}
    less = update(
        client,
        "web",
        {"type": BOTH, "userAssignedIdentities": {one.id.upper().replace("/SUBSCRIPTIONS", "/subscriptions"): None}},
    )
    assert list(less.identity.user_assigned_identities) == [two.id]
    assert less.identity.principal_id == both.principal_id
    user = update(client, "web", {"type": "UserAssigned", "userAssignedIdentities": None}).identity
    assert (user.type, user.principal_id, list(user.user_assigned_identities)) == ("UserAssigned", None, [two.id])
    system = update(client, "web", block("SystemAssigned")).identity
    assert (system.type, system.user_assigned_identities) == ("SystemAssigned", None)
    assert system.principal_id not in {None, both.principal_id}
    assert update(client, "web", block("None")).identity is None


def test_a_put_states_the_whole(idplane: LocalPlane, client: ComputeManagementClient) -> None:
    one, two = idplane.user_assigned_identity("one"), idplane.user_assigned_identity("two")
    create(client, "web", machine(BOTH, one, two))
    left = create(client, "web", machine("UserAssigned", two)).identity
    assert (left.type, left.principal_id, list(left.user_assigned_identities)) == ("UserAssigned", None, [two.id])


def test_ten_machines_one_identity(idplane: LocalPlane, client: ComputeManagementClient) -> None:
    shared = idplane.user_assigned_identity("shared")
    for number in range(10):
        create(client, f"front-{number}", machine("UserAssigned", shared))
    blocks: list[Any] = [one.identity for one in client.virtual_machines.list(GROUP)]
    assert {value.principal_id for one in blocks for value in one.user_assigned_identities.values()} == {shared.principal_id}
    update(client, "front-3", block("None"))
    holding = [one.name for one in client.virtual_machines.list(GROUP) if one.identity is not None]
    assert holding == [f"front-{number}" for number in range(10) if number != 3]


def test_deleting_a_machine_takes_its_role_assignments(idplane: LocalPlane, client: ComputeManagementClient) -> None:
    web = idplane.virtual_machine("web")
    other = idplane.user_assigned_identity("other")
    assert web.identity is not None
    group = idplane.resource_group()
    idplane.grant(web.identity, "Reader", group)
    idplane.grant(other, "Reader", web.id)
    client.virtual_machines.begin_delete(GROUP, "web").result()
    assignments = client_of(AuthorizationManagementClient, idplane).role_assignments
    gone = {web.identity.principal_id, other.principal_id}
    assert not [one for one in assignments.list_for_subscription() if one.principal_id in gone]


def test_assigning_needs_the_permission_on_the_identity(idplane: LocalPlane) -> None:
    group = idplane.resource_group("web")
    shared = idplane.user_assigned_identity("shared", group="identities")
    deployer = idplane.virtual_machine("deployer")
    assert deployer.identity is not None
    idplane.grant(deployer.identity, "Virtual Machine Contributor", group)
    theirs = client_of(ComputeManagementClient, idplane, credential_of(idplane, deployer))
    theirs.virtual_machines.begin_create_or_update("web", "vm", machine("SystemAssigned")).result()
    change = VirtualMachineUpdate(identity=block("UserAssigned", shared))
    attempts: tuple[Callable[[], object], ...] = (
        lambda: theirs.virtual_machines.begin_create_or_update("web", "vm", machine("UserAssigned", shared)),
        lambda: theirs.virtual_machines.begin_update("web", "vm", change),
    )
    for attempt in attempts:
        with pytest.raises(HttpResponseError) as refused:
            attempt()
        assert refusal(refused) == (403, "LinkedAuthorizationFailed")
        assert "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action" in refused.value.message
    idplane.grant(deployer.identity, "Managed Identity Operator", shared.id)
    assigned = theirs.virtual_machines.begin_create_or_update("web", "vm", machine("UserAssigned", shared)).result()
    assert assigned.identity is not None
    assert list(assigned.identity.user_assigned_identities or {}) == [shared.id]


def test_a_reader_cannot_write(idplane: LocalPlane) -> None:
    reader = idplane.virtual_machine("reader")
    assert reader.identity is not None
    idplane.grant(reader.identity, "Reader", idplane.resource_group())
    theirs = client_of(ComputeManagementClient, idplane, credential_of(idplane, reader))
    assert [one.name for one in theirs.virtual_machines.list(GROUP)] == ["reader"]
    for attempt in (
        lambda: theirs.virtual_machines.begin_create_or_update(GROUP, "new", machine("SystemAssigned")),
        lambda: theirs.virtual_machines.begin_update(GROUP, "reader", VirtualMachineUpdate(tags={})),
        lambda: theirs.virtual_machines.begin_delete(GROUP, "reader"),
        lambda: theirs.virtual_machines.begin_deallocate(GROUP, "reader"),
    ):
        with pytest.raises(HttpResponseError) as refused:
            attempt()
        assert refusal(refused) == (403, "AuthorizationFailed")


def test_identity_blocks_that_are_refused(idplane: LocalPlane, client: ComputeManagementClient) -> None:
    one = idplane.user_assigned_identity("one")
    missing = idplane.user_assigned_identity("two")
    idplane.delete(missing.id)
    cases: list[tuple[VirtualMachineIdentity, tuple[int, str]]] = [
        (block("Robot"), (400, "InvalidParameter")),
        (block("SystemAssigned", one), (400, "InvalidParameter")),
        (block("UserAssigned"), (400, "InvalidParameter")),
        (block("UserAssigned", missing), (403, "LinkedAuthorizationFailed")),
        (
            VirtualMachineIdentity(type="UserAssigned", user_assigned_identities={"one": UserAssignedIdentitiesValue()}),
            (400, "InvalidParameter"),
        ),
    ]
    for wanted, expected in cases:
        with pytest.raises(HttpResponseError) as refused:
            create(client, "web", VirtualMachine(location="westeurope", identity=wanted))
        assert refusal(refused) == expected
    with pytest.raises(ResourceNotFoundError):
        client.virtual_machines.get(GROUP, "web")
