"""Moves between groups and subscriptions: what follows, what goes, and who may not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.providers.moving import (
    FAR,
    OTHER,
    SECOND,
    SYSTEM,
    WEB,
    ask_to_move,
    certificate_row,
    moved_away,
    moved_id,
    open_moves,
    put_rows,
    role_assignment,
)
from tests.unit.providers.surface_plane import (
    COMPUTE,
    FOREIGN,
    GROUP,
    HOME,
    MSI,
    SUB,
    OpenPlane,
    Plane,
    Reply,
    uai,
    vm,
)

from idplane.directory.hosts import HostDirectory
from idplane.model.bindings import SYSTEM_ASSIGNED, Binding, ProcessRule
from idplane.model.directory import Agent, Credential, Principal
from idplane.model.failure import Failure, FailureKind
from idplane.model.federation import FederatedCredential, Trust
from idplane.model.ids import ResourceId
from idplane.model.resources import identity_assignment_key
from idplane.model.roles import DenyAssignment, Permission, RoleAssignment
from idplane.model.workload_issuers import issuer_of
from idplane.ports.collections import (
    AGENTS,
    BINDINGS,
    CREDENTIALS,
    DENY_ASSIGNMENTS,
    FEDERATED_CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
)
from idplane.ports.store import ABSENT, Batch, Put

# What a move does ----------------------------------------------------------------------------------------------------


async def _surrounded(plane: Plane, own: str, shared: str) -> tuple[str, RoleAssignment, RoleAssignment]:
    """Everything that can name the machine `vm`: a network card, and role assignments at it and of its identity, are told."""
    nic = f"{GROUP}/providers/Microsoft.Network/networkInterfaces/nic"
    await plane.put(nic, {"location": "westeurope", "properties": {"virtualMachine": {"id": vm("VM")}}}, version="2024-05-01")
    stored = await plane.store.get(RESOURCES, vm("vm").lower())
    assert stored is not None
    issuer = issuer_of(stored.value, HOME)
    assert issuer is not None
    now = plane.clock.now()
    trust = Trust(issuer=issuer, audiences=("api://AzureADTokenExchange",), subject=str(stored.value.id))
    await put_rows(
        plane, CREDENTIALS, certificate_row(plane, "k1", own, vm("vm")), certificate_row(plane, "k2", shared, vm("vm"))
    )
    binding = Binding(
        host=stored.value.id,
        name="web",
        processes=ProcessRule(user="www"),
        created_at=now,
        identities=(SYSTEM_ASSIGNED, uai("shared")),
    )
    await put_rows(plane, BINDINGS, binding)
    await put_rows(
        plane, FEDERATED_CREDENTIALS, FederatedCredential(id="f", principal_id=shared, name="own", trust=trust, created_at=now)
    )
    agent = Agent(id="a", display_name="a", certificate=b"", thumbprint="t", enrolled_at=now, hosts=("/x", vm("vm").lower()))
    await put_rows(plane, AGENTS, agent)
    at_it, elsewhere = role_assignment(plane, 1, plane.people["nobody"], vm("vm")), role_assignment(plane, 2, own, SUB)
    await put_rows(plane, ROLE_ASSIGNMENTS, at_it, elsewhere)
    return nic, at_it, elsewhere


@pytest.mark.parametrize("target", [OTHER, FAR])
async def test_everything_that_names_a_machine_follows_it(open_plane: OpenPlane, target: str) -> None:
    plane = await open_moves(open_plane)
    shared = (await plane.identity("shared"))["properties"]["principalId"]
    both = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {uai("shared"): {}}}
    machine = await plane.machine("vm", both)
    nic, at_it, elsewhere = await _surrounded(plane, machine["identity"]["principalId"], shared)
    before = {one.value.key: one.value for one in await plane.store.all(IDENTITY_ASSIGNMENTS)}

    await moved_away(plane, vm("vm"), nic, to=target)

    new = moved_id(vm("vm"), target)
    assert (await plane.call("GET", vm("vm"), version=COMPUTE)).status == 404
    shown = await plane.get(new, version=COMPUTE)
    assert (shown["id"], shown["identity"]) == (new, machine["identity"])
    assert shown["systemData"]["createdAt"] == machine["systemData"]["createdAt"]
    moved_nic = await plane.get(moved_id(nic, target), version="2024-05-01")
    assert moved_nic["properties"]["virtualMachine"]["id"] == moved_id(vm("VM"), target)
    own = machine["identity"]["principalId"]
    principal = await plane.store.get(PRINCIPALS, own)
    assert principal is not None
    assert (principal.value.resource_id, principal.value.alternative_names) == (new, ("isExplicit=False", new))
    assert (principal.value.client_id, principal.value.display_name) == (before[f"{vm('vm').lower()}|{own}"].client_id, "vm")
    after = [one.value for one in await plane.store.all(IDENTITY_ASSIGNMENTS)]
    assert {one.key for one in after} == {f"{new.lower()}|{own}", f"{new.lower()}|{shared}"}
    assert not {one.generation for one in after} & {one.generation for one in before.values()}
    assert {one.stopped for one in after} == {""}
    assert await plane.store.all(CREDENTIALS) == ()
    assert [(str(one.value.host), one.value.identities) for one in await plane.store.all(BINDINGS)] == [
        (new, (SYSTEM_ASSIGNED, uai("shared")))
    ]
    followed = (await plane.store.all(FEDERATED_CREDENTIALS))[0].value.trust
    there = await plane.store.get(RESOURCES, new.lower())
    assert there is not None
    assert (followed.issuer, followed.subject) == (issuer_of(there.value, HOME), new)
    assert (await plane.store.all(AGENTS))[0].value.hosts == ("/x", new.lower())
    left = {one.value.id for one in await plane.store.all(ROLE_ASSIGNMENTS)}
    assert at_it.id not in left
    assert elsewhere.id in left
    events = [(one.operation, one.resource_id) for one in (await plane.events())[-4:]]
    move = "Microsoft.Resources/subscriptions/resourceGroups/moveResources/action"
    assert (
        "Microsoft.Authorization/roleAssignments/delete",
        f"{vm('vm')}/providers/Microsoft.Authorization/roleAssignments/{at_it.id}",
    ) in events
    assert {(move, new), (move, moved_id(nic, target)), (move, GROUP)} <= set(events)
    # And back: what stood there once does not come to life again.
    await moved_away(plane, new, to=GROUP, group=target)
    again = [one.value for one in await plane.store.all(IDENTITY_ASSIGNMENTS)]
    assert {one.key for one in again} == set(before)
    assert not {one.generation for one in again} & {one.generation for one in before.values()}


async def test_children_move_with_their_parent_and_never_alone(open_plane: OpenPlane) -> None:
    plane = await open_moves(open_plane)
    site = f"{GROUP}/providers/Microsoft.Web/sites/shop"
    await plane.put(site, {"location": "westeurope"}, version=WEB)
    slot = await plane.put(f"{site}/slots/blue", {"location": "westeurope", "identity": SYSTEM}, version=WEB)
    alone = await ask_to_move(plane, f"{site}/slots/blue")
    assert (alone.status, "moves with its parent only" in alone.message) == (400, True)
    await moved_away(plane, site, to=FAR)
    shown = await plane.get(f"{moved_id(site, FAR)}/slots/blue", version=WEB)
    assert shown["identity"] == slot["identity"]
    principal = await plane.store.get(PRINCIPALS, slot["identity"]["principalId"])
    assert principal is not None
    assert principal.value.resource_id == f"{moved_id(site, FAR)}/slots/blue"
    assert (await plane.get(f"{GROUP}/resources"))["value"] == []
    assert len(await plane.store.all(PRINCIPALS)) == len(plane.people) + 1


async def test_a_scale_set_s_instances_are_revoked_with_it(open_plane: OpenPlane) -> None:
    plane = await open_moves(open_plane)
    fleet = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/fleet"
    body = {"location": "westeurope", "identity": SYSTEM, "sku": {"name": "Standard_D2s_v3", "capacity": 2}}
    own = (await plane.put(fleet, body, version=COMPUTE))["identity"]["principalId"]
    await put_rows(plane, CREDENTIALS, certificate_row(plane, "k", own, f"{fleet}/virtualMachines/0"))
    await put_rows(plane, CREDENTIALS, certificate_row(plane, "other", own, f"{fleet}-2"))
    await moved_away(plane, fleet)
    assert [one.value.id for one in await plane.store.all(CREDENTIALS)] == ["other"]
    assert len((await plane.get(f"{moved_id(fleet)}/virtualMachines", version=COMPUTE))["value"]) == 2


async def test_a_denial_moves_along(open_plane: OpenPlane) -> None:
    plane = await open_moves(open_plane)
    await plane.machine("vm")
    deny = DenyAssignment(
        id="d",
        tenant_id=HOME,
        name="d",
        scope=vm("vm"),
        permissions=(Permission(actions=("Microsoft.Compute/virtualMachines/start/action",)),),
        principals=(plane.people["owner"],),
        anchor=vm("vm").lower(),
    )
    await put_rows(plane, DENY_ASSIGNMENTS, deny)
    await moved_away(plane, vm("vm"))
    found = [(one.value.scope, one.value.anchor) for one in await plane.store.all(DENY_ASSIGNMENTS)]
    assert found == [(moved_id(vm("vm")), moved_id(vm("vm")).lower())]


@pytest.mark.parametrize(("azure", "target", "stopped"), [(True, FAR, True), (True, OTHER, False), (False, FAR, False)])
async def test_a_web_app_s_identity_stops_where_azure_s_does(
    open_plane: OpenPlane, *, azure: bool, target: str, stopped: bool
) -> None:
    plane = await open_moves(open_plane, azure=azure)
    await plane.identity("shared")
    site = f"{GROUP}/providers/Microsoft.Web/sites/shop"
    both = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {uai("shared"): {}}}
    made = await plane.put(site, {"location": "westeurope", "identity": both}, version=WEB)
    await moved_away(plane, site, to=target)
    new = moved_id(site, target)
    shown = await plane.get(new, version=WEB)
    assert shown["identity"] == made["identity"]
    rows = {one.value.identity is None: one.value.stopped for one in await plane.store.all(IDENTITY_ASSIGNMENTS)}
    assert (bool(rows[True]), bool(rows[False])) == (stopped, False)
    agent = Agent(id="a", display_name="a", certificate=b"", thumbprint="t", enrolled_at=plane.clock.now(), hosts=("*",))
    hosts = HostDirectory(store=plane.store, authority=_NoAuthority())
    await plane.store.commit(Batch.of(Put(collection=AGENTS, value=agent, expect=ABSENT)))
    with pytest.raises(Failure) as caught:
        await hosts.certify(agent, ResourceId.parse(new), made["identity"]["principalId"], b"")
    assert caught.value.kind is (FailureKind.IDENTITY_STOPPED if stopped else FailureKind.CSR_INVALID)
    if stopped:
        assert "Disable the system-assigned identity and enable it again" in caught.value.detail
    for block in ({"type": "UserAssigned", "userAssignedIdentities": {uai("shared"): {}}}, both):
        await plane.put(new, {"location": "westeurope", "identity": block}, version=WEB)
    assert {one.value.stopped for one in await plane.store.all(IDENTITY_ASSIGNMENTS)} == {""}


class _NoAuthority:
    def issue_identity(self, csr_der: bytes, principal: Principal, host_key: str, agent_id: str, /) -> Credential:
        del csr_der, principal, host_key, agent_id
        raise Failure(FailureKind.CSR_INVALID)

    issue_workload = issue_identity


# What cannot be moved ------------------------------------------------------------------------------------------------


async def test_user_assigned_identities_do_not_move(open_plane: OpenPlane) -> None:
    plane = await open_moves(open_plane)
    await plane.identity("shared")
    await plane.machine("vm")
    reply = await ask_to_move(plane, vm("vm"), uai("shared"))
    assert (reply.status, reply.code) == (409, "ResourceMoveNotSupported")
    assert reply.message == (
        "Resource move is not supported for resource types 'Microsoft.ManagedIdentity/userAssignedIdentities'."
    )
    assert (await plane.get(vm("vm"), version=COMPUTE))["id"] == vm("vm")
    assert (await plane.events())[-1].sub_status == "ResourceMoveNotSupported"


async def test_a_name_that_is_taken_at_the_target(open_plane: OpenPlane) -> None:
    plane = await open_moves(open_plane)
    await plane.machine("vm")
    await plane.put(moved_id(vm("VM")), {"location": "westeurope"}, version=COMPUTE)
    reply = await ask_to_move(plane, vm("vm"))
    assert (reply.status, reply.code) == (409, "ResourceMoveProviderValidationFailed")
    assert reply.body["error"]["target"] == vm("vm")


async def test_validation_tells_the_same_and_moves_nothing(open_plane: OpenPlane) -> None:
    plane = await open_moves(open_plane)
    await plane.machine("vm")
    await plane.identity("shared")
    fine = await ask_to_move(plane, vm("vm"), word="validateMoveResources")
    assert (fine.status, (await plane.call("GET", fine.headers["location"])).status) == (202, 204)
    assert (await plane.get(vm("vm"), version=COMPUTE))["id"] == vm("vm")
    refused = await ask_to_move(plane, uai("shared"), word="validateMoveResources")
    ended = await plane.call("GET", refused.headers["location"])
    assert (refused.status, ended.status, ended.code) == (202, 409, "ResourceMoveNotSupported")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "InvalidParameter"),
        ({"resources": [], "targetResourceGroup": OTHER}, 400, "InvalidParameter"),
        ({"resources": vm("vm"), "targetResourceGroup": OTHER}, 400, "InvalidParameter"),
        ({"resources": [1], "targetResourceGroup": OTHER}, 400, "InvalidParameter"),
        ({"resources": ["junk"], "targetResourceGroup": OTHER}, 400, "InvalidResourceId"),
        ({"resources": [vm("vm")], "targetResourceGroup": SUB}, 400, "InvalidParameter"),
        ({"resources": [vm("vm")], "targetResourceGroup": GROUP.upper().replace("SUBSCRIPTIONS", "subscriptions")}, 400, None),
        ({"resources": [vm("vm")], "targetResourceGroup": vm("vm")}, 400, "InvalidParameter"),
        ({"resources": [moved_id(vm("vm"))], "targetResourceGroup": OTHER}, 400, "InvalidParameter"),
        ({"resources": [GROUP], "targetResourceGroup": OTHER}, 400, "InvalidParameter"),
        ({"resources": [vm("ghost")], "targetResourceGroup": OTHER}, 404, "ResourceNotFound"),
        ({"resources": [vm("vm")], "targetResourceGroup": f"{SUB}/resourceGroups/nowhere"}, 404, "ResourceGroupNotFound"),
        (
            {"resources": [vm("vm")], "targetResourceGroup": f"/subscriptions/{'0' * 8}-{SECOND[9:]}/resourceGroups/x"},
            404,
            "SubscriptionNotFound",
        ),
        (
            {"resources": [vm("vm")], "targetResourceGroup": f"/subscriptions/{FOREIGN}/resourceGroups/x"},
            403,
            "LinkedAuthorizationFailed",
        ),
    ],
)
async def test_what_makes_no_sense(open_plane: OpenPlane, body: object, status: int, code: str | None) -> None:
    plane = await open_moves(open_plane)
    await plane.machine("vm")
    reply = await plane.call("POST", f"{GROUP}/moveResources", body)
    assert (reply.status, code or reply.code) == (status, reply.code), reply.body
    assert (await plane.get(vm("vm"), version=COMPUTE))["id"] == vm("vm")


async def test_azure_moves_at_most_800(open_plane: OpenPlane) -> None:
    for azure in (False, True):
        plane = await open_moves(open_plane, azure=azure)
        reply = await ask_to_move(plane, *(vm(f"v{at}") for at in range(801)))
        assert reply.status == (400 if azure else 404)


# Who may not ---------------------------------------------------------------------------------------------------------

_OWNS = ("Owner", OTHER)


@pytest.mark.parametrize(
    ("grants", "action"),
    [
        # Nothing at the target; or not what creating the machine there takes.
        ((("Owner", GROUP),), "resourceGroups/write"),
        ((("Owner", GROUP), ("Reader", OTHER)), "resourceGroups/write"),
        ((("Owner", GROUP), ("Virtual Machine Contributor", OTHER)), "resourceGroups/write"),
        # Whoever owns the target would come to own what he may only change here.
        ((("Contributor", GROUP), _OWNS), "roleAssignments/write"),
    ],
)
async def test_a_move_gains_nobody_rights(open_plane: OpenPlane, grants: tuple[tuple[str, str], ...], action: str) -> None:
    plane = await open_moves(open_plane)
    await plane.machine("vm", SYSTEM)
    await plane.person("mover", *grants)
    for word in ("moveResources", "validateMoveResources"):
        reply = await ask_to_move(plane, vm("vm"), by="mover", word=word)
        assert (reply.status, reply.code) == (403, "LinkedAuthorizationFailed")
        assert action in reply.message
        assert (await plane.events())[-1].sub_status == "LinkedAuthorizationFailed"
    assert (await plane.get(vm("vm"), version=COMPUTE))["id"] == vm("vm")


@pytest.mark.parametrize("grants", [(_OWNS,), (_OWNS, ("Reader", GROUP)), (_OWNS, ("Virtual Machine Contributor", GROUP))])
async def test_moving_out_takes_the_action_at_the_source(open_plane: OpenPlane, grants: tuple[tuple[str, str], ...]) -> None:
    plane = await open_moves(open_plane)
    await plane.machine("vm", SYSTEM)
    await plane.person("mover", *grants)
    reply = await ask_to_move(plane, vm("vm"), by="mover")
    assert (reply.status, reply.code) == (403, "AuthorizationFailed")
    assert "resourceGroups/moveResources/action" in reply.message


async def test_the_identities_on_it_must_be_the_mover_s_to_assign(open_plane: OpenPlane) -> None:
    plane = await open_moves(open_plane)
    await plane.put(f"{SUB}/resourceGroups/Ids", {"location": "westeurope"})
    shared = f"{SUB}/resourceGroups/Ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shared"
    await plane.put(shared, {"location": "westeurope"}, version=MSI)
    await plane.machine("vm", {"type": "UserAssigned", "userAssignedIdentities": {shared: {}}})
    await plane.person("mover", ("Contributor", GROUP), ("Contributor", OTHER))
    reply = await ask_to_move(plane, vm("vm"), by="mover")
    assert (reply.status, reply.code) == (403, "LinkedAuthorizationFailed")
    assert f"userAssignedIdentities/assign/action' on the linked scope(s) '{shared}'" in reply.message
    await plane.person("trusted", ("Contributor", GROUP), ("Contributor", OTHER), ("Managed Identity Operator", shared))
    await moved_away(plane, vm("vm"), by="trusted")


async def test_a_denial_at_the_source_cannot_be_walked_away_from(open_plane: OpenPlane) -> None:
    plane = await open_moves(open_plane)
    await plane.machine("vm")
    await plane.person("mover", ("Owner", SUB))
    deny = DenyAssignment(
        id="d",
        tenant_id=HOME,
        name="d",
        scope=GROUP,
        permissions=(Permission(actions=("Microsoft.Compute/virtualMachines/delete",)),),
        principals=(plane.people["mover"],),
    )
    await put_rows(plane, DENY_ASSIGNMENTS, deny)
    reply = await ask_to_move(plane, vm("vm"), by="mover")
    assert (reply.status, reply.code) == (403, "LinkedAuthorizationFailed")
    assert "virtualMachines/delete" in reply.message


async def test_data_that_is_not_the_mover_s_to_read_stays_out_of_his_reach(open_plane: OpenPlane) -> None:
    plane = await open_moves(open_plane)
    vault = f"{GROUP}/providers/Microsoft.KeyVault/vaults/safe"
    body = {"location": "westeurope", "properties": {"tenantId": HOME, "sku": {"family": "A", "name": "standard"}}}
    await plane.put(vault, body, version="2024-11-01")
    mover = await plane.person("mover", ("Contributor", GROUP), ("Contributor", OTHER))
    reads = replace(
        role_assignment(plane, 7, mover, OTHER), role_id="4633458b-17de-408a-b874-0445c86b69e6", anchor=OTHER.lower()
    )
    await put_rows(plane, ROLE_ASSIGNMENTS, reads)
    reply = await ask_to_move(plane, vault, by="mover")
    assert (reply.status, reply.code) == (403, "LinkedAuthorizationFailed")
    assert "Microsoft.KeyVault/vaults/secrets/" in reply.message
    await put_rows(plane, ROLE_ASSIGNMENTS, replace(reads, id=f"8{reads.id[1:]}", scope=GROUP, anchor=GROUP.lower()))
    await moved_away(plane, vault, by="mover")


async def test_a_move_meets_other_writers(open_plane: OpenPlane) -> None:
    """A child or a grant that comes in between is not left behind."""
    plane = await open_moves(open_plane)
    site = f"{GROUP}/providers/Microsoft.Web/sites/shop"
    await plane.put(site, {"location": "westeurope"}, version=WEB)
    replies = await _together(
        ask_to_move(plane, site),
        *(plane.call("PUT", f"{site}/slots/s{at}", {"location": "westeurope"}, version=WEB) for at in range(10, 14)),
    )
    assert replies[0].status == 202
    assert {one.status for one in replies[1:]} <= {200, 404}
    left = {
        one.value.id.resource_group for one in await plane.store.all(RESOURCES) if one.value.type.startswith("Microsoft.Web")
    }
    assert left == {"Depot"}


async def _together(*requests: Any) -> list[Reply]:
    return list(await asyncio.gather(*requests))


async def test_an_assignment_of_the_old_id_is_gone(open_plane: OpenPlane) -> None:
    plane = await open_moves(open_plane)
    own = (await plane.machine("vm", SYSTEM))["identity"]["principalId"]
    await moved_away(plane, vm("vm"))
    assert await plane.store.get(IDENTITY_ASSIGNMENTS, identity_assignment_key(vm("vm").lower(), own)) is None
    later = (await plane.machine("vm", SYSTEM))["identity"]["principalId"]
    assert later != own
