"""Identities of host resources: given, taken away and refused, each with everything that hangs on them."""

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.providers.surface_plane import COMPUTE, CORE, GROUP, MSI, ROLES, SUB, OpenPlane, Plane, uai, vm

from idplane.model.directory import Credential, CredentialKind
from idplane.model.ids import ResourceId
from idplane.ports.collections import CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS, ROLE_ASSIGNMENTS
from idplane.ports.store import ABSENT, Batch, Put

_ASSIGNMENTS = "providers/Microsoft.Authorization/roleAssignments"
_SYSTEM = {"type": "SystemAssigned"}


def _user(*names: str) -> dict[str, Any]:
    return {"type": "UserAssigned", "userAssignedIdentities": {uai(name): {} for name in names}}


async def _patch(plane: Plane, name: str, identity: object, *, by: str = "owner") -> Any:
    return await plane.call("PATCH", vm(name), {"identity": identity}, by=by, version=COMPUTE)


async def _grant(plane: Plane, number: int, principal: str, scope: str = GROUP) -> None:
    role = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{ROLES['Reader']}"
    body = {"properties": {"roleDefinitionId": role, "principalId": principal, "principalType": "ServicePrincipal"}}
    name = f"aaaaaaaa-0000-4000-8000-{number:012x}"
    assert (await plane.call("PUT", f"{scope}/{_ASSIGNMENTS}/{name}", body, version="2022-04-01")).status == 201


async def _certify(plane: Plane, identifier: str, principal: str, host: str) -> None:
    now = plane.clock.now()
    credential = Credential(
        id=identifier,
        principal_id=principal,
        client_id="c",
        kind=CredentialKind.IDENTITY_CERTIFICATE,
        not_before=now,
        not_after=now + timedelta(days=1),
        host=ResourceId.parse(vm(host)).key,
    )
    await plane.store.commit(Batch.of(Put(collection=CREDENTIALS, value=credential, expect=ABSENT)))


async def _rows(plane: Plane, host: str) -> set[str]:
    rows = await plane.store.all(IDENTITY_ASSIGNMENTS, where={"host_key": ResourceId.parse(vm(host)).key})
    return {row.value.principal_id for row in rows}


async def test_enabling_makes_a_principal_named_like_the_resource(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    identity = (await plane.machine("stock-vm", _SYSTEM))["identity"]
    assert set(identity) == {"type", "principalId", "tenantId"}
    principal = await plane.store.get(PRINCIPALS, identity["principalId"])
    assert principal is not None
    assert principal.value.display_name == "stock-vm"
    assert principal.value.alternative_names == ("isExplicit=False", vm("stock-vm"))
    assert await _rows(plane, "stock-vm") == {identity["principalId"]}
    default = await plane.get(f"{vm('stock-vm')}/providers/Microsoft.ManagedIdentity/identities/default", version=MSI)
    assert default["properties"]["principalId"] == identity["principalId"]
    assert default["properties"]["clientId"] == principal.value.client_id


async def test_disabling_removes_all_that_hung_on_it_and_enabling_again_gives_another(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    first = (await plane.machine("one", _SYSTEM))["identity"]["principalId"]
    await _grant(plane, 1, first)
    await _certify(plane, "k1", first, "one")
    off = await _patch(plane, "one", {"type": "None"})
    assert "identity" not in off.body
    assert await plane.store.get(PRINCIPALS, first) is None
    assert await plane.store.get(CREDENTIALS, "k1") is None
    assert await plane.store.all(ROLE_ASSIGNMENTS, where={"principal_id": first}) == ()
    assert await _rows(plane, "one") == set()
    again = (await _patch(plane, "one", _SYSTEM)).body["identity"]["principalId"]
    assert again != first
    missing = await plane.call("GET", f"{vm('two')}/providers/Microsoft.ManagedIdentity/identities/default", version=MSI)
    assert missing.status == 404


async def test_an_identity_that_is_not_enabled_is_not_found(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.machine("one")
    for url in (vm("one"), GROUP, SUB):
        reply = await plane.call("GET", f"{url}/providers/Microsoft.ManagedIdentity/identities/default", version=MSI)
        assert reply.status == 404
    other = await plane.call("GET", f"{vm('one')}/providers/Microsoft.ManagedIdentity/identities/other", version=MSI)
    assert (other.status, other.code) == (404, "ResourceNotFound")


async def test_ten_machines_share_one_identity_and_one_of_them_loses_it(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    shared = (await plane.identity("front"))["properties"]["principalId"]
    for at in range(10):
        machine = await plane.machine(f"front-{at}", _user("front"))
        assert machine["identity"]["userAssignedIdentities"][uai("front")]["principalId"] == shared
    await _certify(plane, "k3", shared, "front-3")
    await _certify(plane, "k4", shared, "front-4")
    await _patch(plane, "front-3", {"type": "None", "userAssignedIdentities": None})
    assert await _rows(plane, "front-3") == set()
    assert await plane.store.get(CREDENTIALS, "k3") is None
    assert await plane.store.get(CREDENTIALS, "k4") is not None
    assert await _rows(plane, "front-4") == {shared}
    listed = await plane.call("POST", f"{uai('front')}/listAssociatedResources?$top=4", version="2022-01-31-preview")
    assert listed.body["totalCount"] == 9
    assert [one["name"] for one in listed.body["value"]] == ["front-0", "front-1", "front-2", "front-4"]
    rest = await plane.get(listed.body["nextLink"])
    assert [one["name"] for one in rest["value"]] == ["front-5", "front-6", "front-7", "front-8"]
    assert rest["value"][0]["type"] == "microsoft.compute/virtualmachines"


async def test_the_cli_drops_only_the_system_identity_and_puts_by_omission(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("one")
    await plane.identity("two")
    both = {**_user("one", "two"), "type": "SystemAssigned,UserAssigned"}
    machine = await plane.machine("vm", both)
    assert machine["identity"]["type"] == "SystemAssigned, UserAssigned"
    dropped = (await _patch(plane, "vm", {"userAssignedIdentities": None, "type": "UserAssigned"})).body["identity"]
    assert (dropped["type"], set(dropped["userAssignedIdentities"])) == ("UserAssigned", {uai("one"), uai("two")})
    assert "principalId" not in dropped
    kept = {"type": "UserAssigned", "userAssignedIdentities": {uai("two").lower(): {}}}
    put = await plane.machine("vm", kept)
    assert set(put["identity"]["userAssignedIdentities"]) == {uai("two")}
    untouched = await plane.call("PUT", vm("vm"), {"location": "westeurope"}, version=COMPUTE)
    assert untouched.body["identity"] == put["identity"]
    assert len(await _rows(plane, "vm")) == 1


async def test_assigning_needs_the_right_on_the_identity_too(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("one")
    await plane.machine("vm")
    await plane.person("machinist", ("Virtual Machine Contributor", GROUP))
    await plane.person("operator", ("Virtual Machine Contributor", GROUP), ("Managed Identity Operator", uai("one")))
    for method, body in (("PATCH", {"identity": _user("one")}), ("PUT", {"location": "westeurope", "identity": _user("one")})):
        refused = await plane.call(method, vm("vm"), body, by="machinist", version=COMPUTE)
        assert (refused.status, refused.code) == (403, "LinkedAuthorizationFailed")
        assert "has permission to perform action 'Microsoft.Compute/virtualMachines/write'" in refused.message
        assert (
            f"'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action' on the linked scope(s) '{uai('one')}'"
            in refused.message
        )
        created = await plane.call(method, vm("new"), body, by="machinist", version=COMPUTE)
        assert created.status in (403, 404)
    assert "identity" not in await plane.get(vm("vm"), version=COMPUTE)
    assert await _rows(plane, "vm") == set()
    assert (await plane.events())[-1].sub_status in ("LinkedAuthorizationFailed", "ResourceNotFound")
    assert (await _patch(plane, "vm", _user("one"), by="operator")).status == 200
    # What is assigned already may be sent again, and taken away, without the right on it.
    assert (await _patch(plane, "vm", {**_user("one"), "type": "SystemAssigned,UserAssigned"}, by="machinist")).status == 200
    assert (await _patch(plane, "vm", {"type": "None"}, by="machinist")).status == 200
    assert (await _patch(plane, "vm", _user("one"), by="machinist")).status == 403


async def test_what_does_not_exist_cannot_be_told_from_what_is_forbidden(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.machine("vm")
    for by in ("owner", "contributor"):
        refused = await _patch(plane, "vm", _user("ghost"), by=by)
        assert (refused.status, refused.code) == (403, "LinkedAuthorizationFailed")
    foreign = uai("one").replace(SUB, "/subscriptions/b1000000-0000-4000-8000-000000000002")
    for identifier in (foreign, uai("one").replace("/Stock/", "/Gone/")):
        refused = await _patch(plane, "vm", {"type": "UserAssigned", "userAssignedIdentities": {identifier: {}}})
        assert (refused.status, refused.code) == (403, "LinkedAuthorizationFailed")
    malformed = await _patch(plane, "vm", {"type": "UserAssigned", "userAssignedIdentities": {"junk": {}}})
    assert (malformed.status, malformed.code, malformed.body["error"]["target"]) == (
        400,
        "InvalidParameter",
        "resourceIdentity.identityIds",
    )


async def test_a_refused_identity_change_leaves_no_half(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("one")
    before = len(await plane.store.all(PRINCIPALS))
    body = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {uai("one"): {}, uai("ghost"): {}}}
    refused = await plane.call("PUT", vm("vm"), {"location": "westeurope", "identity": body}, version=COMPUTE)
    assert refused.status == 403
    assert (await plane.call("GET", vm("vm"), version=COMPUTE)).status == 404
    assert len(await plane.store.all(PRINCIPALS)) == before


async def test_a_deleted_identity_leaves_a_reference_that_leads_nowhere(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    old = (await plane.identity("one"))["properties"]["principalId"]
    await plane.machine("vm", _user("one"))
    await _grant(plane, 1, old)
    await _certify(plane, "k1", old, "vm")
    assert (await plane.call("DELETE", uai("one"), version=MSI)).status == 200
    assert (await plane.call("DELETE", uai("one"), version=MSI)).status == 204
    assert await plane.store.get(PRINCIPALS, old) is None
    assert await plane.store.get(CREDENTIALS, "k1") is None
    assert await plane.store.all(ROLE_ASSIGNMENTS, where={"principal_id": old}) == ()
    assert await _rows(plane, "vm") == set()
    machine = await plane.get(vm("vm"), version=COMPUTE)
    assert machine["identity"]["userAssignedIdentities"][uai("one")]["principalId"] == old
    # Repeated unchanged it is tolerated, also when an identity of that name lives again: the reference stays what it was.
    new = (await plane.identity("one"))["properties"]["principalId"]
    assert new != old
    again = await plane.call("PUT", vm("vm"), {"location": "westeurope", "identity": machine["identity"]}, version=COMPUTE)
    assert again.status == 200
    assert again.body["identity"]["userAssignedIdentities"][uai("one")]["principalId"] == old
    assert await _rows(plane, "vm") == set()
    # Only taking it off and assigning it again leads to the new one.
    await _patch(plane, "vm", {"type": "None"})
    mended = await _patch(plane, "vm", _user("one"))
    assert mended.body["identity"]["userAssignedIdentities"][uai("one")]["principalId"] == new
    assert await _rows(plane, "vm") == {new}


@pytest.mark.parametrize("whole_group", [False, True])
async def test_deleting_a_machine_takes_everything_with_it(open_plane: OpenPlane, *, whole_group: bool) -> None:
    plane = await open_plane()
    shared = (await plane.identity("shared"))["properties"]["principalId"]
    both = {**_user("shared"), "type": "SystemAssigned, UserAssigned"}
    own = (await plane.machine("vm", both))["identity"]["principalId"]
    await _grant(plane, 1, own, GROUP)
    await _grant(plane, 2, own, SUB)
    await _grant(plane, 3, plane.people["nobody"], vm("vm"))
    await _certify(plane, "own", own, "vm")
    await _certify(plane, "shared", shared, "vm")
    reply = await plane.call("DELETE", GROUP if whole_group else vm("vm"), version=CORE if whole_group else COMPUTE)
    assert (reply.status, reply.body) == (202 if whole_group else 200, None)
    assert await plane.store.get(PRINCIPALS, own) is None
    assert await plane.store.all(CREDENTIALS) == ()
    assert await plane.store.all(ROLE_ASSIGNMENTS, where={"principal_id": own}) == ()
    assert await plane.store.all(ROLE_ASSIGNMENTS, where={"principal_id": plane.people["nobody"]}) == ()
    assert await plane.store.all(IDENTITY_ASSIGNMENTS) == ()
    assert (await plane.store.get(PRINCIPALS, shared) is None) == whole_group
    assert (
        await plane.call("GET", f"{vm('vm')}/providers/Microsoft.ManagedIdentity/identities/default", version=MSI)
    ).status == 404


async def test_a_machine_made_again_is_another_to_everyone(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    first = await plane.machine("vm", _SYSTEM)
    await plane.call("DELETE", vm("vm"), version=COMPUTE)
    second = await plane.machine("vm", _SYSTEM)
    assert first["identity"]["principalId"] != second["identity"]["principalId"]
    assert first["properties"]["vmId"] != second["properties"]["vmId"]


async def test_regional_and_restricted_identities_stay_where_they_may_be(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    version = "2025-05-31-preview"
    settings = {"isolationScope": "regional", "assignmentRestrictions": {"providers": ["microsoft.compute/virtualmachines"]}}
    await plane.put(uai("near"), {"location": "westeurope", "properties": settings}, version=version)
    await plane.put(
        uai("other"),
        {"location": "westeurope", "properties": {"assignmentRestrictions": {"providers": ["Microsoft.Web"]}}},
        version=version,
    )
    far = await plane.call("PUT", vm("far"), {"location": "eastus", "identity": _user("near")}, version=COMPUTE)
    assert (far.status, far.code) == (400, "InvalidParameter")
    assert (
        await plane.call("PUT", vm("here"), {"location": "westeurope", "identity": _user("near")}, version=COMPUTE)
    ).status == 201
    assert (await _patch(plane, "here", _user("other"))).status == 400


async def test_the_oldest_version_lists_ids(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("one")
    body = {"location": "westeurope", "identity": {"type": "UserAssigned", "identityIds": [uai("one")]}}
    made = await plane.put(vm("vm"), body, version="2017-12-01")
    assert made["identity"] == {"type": "UserAssigned", "identityIds": [uai("one")]}
    assert set((await plane.get(vm("vm"), version=COMPUTE))["identity"]["userAssignedIdentities"]) == {uai("one")}
