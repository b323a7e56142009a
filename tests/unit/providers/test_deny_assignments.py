"""Deny assignments over the API: who may write them, what they may say, and that they win."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.providers.granting import DENY, EVERYONE, GRANT, deny, deny_url, denying, grant, guid, refused
from tests.unit.providers.surface_plane import AWAY, COMPUTE, FOREIGN, GROUP, SUB, OpenPlane, Plane, vm

from idplane.model.directory import PrincipalType
from idplane.model.roles import DenyAssignment, Permission
from idplane.ports.collections import DENY_ASSIGNMENTS
from idplane.ports.store import ABSENT, Batch, Put

MACHINES = "Microsoft.Compute/virtualMachines/write"
LIST = "providers/Microsoft.Authorization/denyAssignments"


async def _opened(open_plane: OpenPlane) -> Plane:
    plane = await open_plane()
    await plane.person("admin", ("Owner", SUB))
    await plane.person("team", kind=PrincipalType.GROUP)
    return plane


def _but_owner(plane: Plane, *actions: str, **properties: Any) -> dict[str, Any]:
    return denying(*actions, but=(plane.people["owner"],), **properties)


# That they win


@pytest.mark.parametrize("scope", ["", SUB, GROUP, vm("blocked")])
async def test_a_deny_assignment_wins_over_owner_at_and_below_its_scope(open_plane: OpenPlane, scope: str) -> None:
    plane = await _opened(open_plane)
    await plane.machine("blocked")
    body = {"location": "westeurope"}
    assert (await plane.call("PUT", vm("blocked"), body, by="admin", version=COMPUTE)).status == 200
    assert (await deny(plane, _but_owner(plane, MACHINES), scope)).status == 201
    reply = await plane.call("PUT", vm("blocked"), body, by="admin", version=COMPUTE)
    await refused(plane, reply, 403, "DenyAssignmentAuthorizationFailed")
    assert f"with name 'no' and Id '{guid(0xD1)}' at scope '{scope or '/'}'" in reply.message
    assert (await plane.events())[-1].because == guid(0xD1)
    assert (await plane.call("PUT", vm("blocked"), body, version=COMPUTE)).status == 200, "the owner is excluded"
    assert (await plane.call("DELETE", deny_url(scope, 0xD1), version=DENY)).status == 200
    assert (await plane.call("PUT", vm("blocked"), body, by="admin", version=COMPUTE)).status == 200


async def test_one_principal_alone(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    assert (await deny(plane, denying("*/write", whom=plane.people["contributor"]), GROUP)).status == 201
    body = {"location": "westeurope"}
    await refused(
        plane,
        await plane.call("PUT", vm("x"), body, by="contributor", version=COMPUTE),
        403,
        "DenyAssignmentAuthorizationFailed",
    )
    assert (await plane.call("PUT", vm("x"), body, by="admin", version=COMPUTE)).status == 201


async def test_a_member_of_an_excluded_group_is_spared(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    await plane.person("nested", kind=PrincipalType.GROUP)
    await plane.joins("nested", "team")
    assert (await deny(plane, denying("*/write", but=(plane.people["team"],)), GROUP)).status == 201
    body = {"location": "westeurope"}
    assert (await plane.call("PUT", vm("x"), body, by="admin", version=COMPUTE)).status == 403
    await plane.joins("admin", "nested")
    assert (await plane.call("PUT", vm("x"), body, by="admin", version=COMPUTE)).status == 201


async def test_without_child_scopes_only_the_scope_itself_is_meant(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    body = _but_owner(plane, "Microsoft.Resources/subscriptions/resourceGroups/write", "*/delete", doNotApplyToChildScopes=True)
    await plane.machine("below")
    made = await deny(plane, body, GROUP)
    assert made.body["properties"]["doNotApplyToChildScopes"] is True
    assert (await plane.call("PUT", GROUP, {"location": "westeurope"}, by="admin")).status == 403
    assert (await plane.call("DELETE", vm("below"), by="admin", version=COMPUTE)).status == 200


async def test_who_is_denied_to_write_roles_cannot_undo_it(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    assert (
        await deny(plane, _but_owner(plane, "Microsoft.Authorization/*/write", "Microsoft.Authorization/*/delete"), SUB)
    ).status == 201
    for number, scope in ((1, SUB), (2, GROUP)):
        reply = await grant(plane, "nobody", "Reader", scope, number, by="admin")
        await refused(plane, reply, 403, "DenyAssignmentAuthorizationFailed")
    for method, body in (("DELETE", None), ("PUT", _but_owner(plane, "*/write"))):
        reply = await plane.call(method, deny_url(SUB, 0xD1), body, by="admin", version=DENY)
        await refused(plane, reply, 403, "DenyAssignmentAuthorizationFailed")


# Who may


@pytest.mark.parametrize("by", ["reader", "contributor", "nobody", "delegate"])
async def test_who_may_not_write_them(open_plane: OpenPlane, by: str) -> None:
    plane = await _opened(open_plane)
    await plane.person("delegate", ("Role Based Access Control Administrator", SUB))
    body = denying("*/write", whom=plane.people["admin"])
    await refused(plane, await deny(plane, body, GROUP, by=by), 403, "AuthorizationFailed")
    assert (await deny(plane, body, GROUP)).status == 201
    await refused(plane, await plane.call("DELETE", deny_url(GROUP, 0xD1), by=by, version=DENY), 403, "AuthorizationFailed")


async def test_above_ones_own_scope(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    await plane.person("local", ("User Access Administrator", GROUP))
    body = denying("*/write", whom=plane.people["admin"])
    await refused(plane, await deny(plane, body, SUB, by="local"), 403, "AuthorizationFailed")
    await refused(plane, await deny(plane, body, "", by="local"), 403, "AuthorizationFailed")
    assert (await deny(plane, body, GROUP, by="local")).status == 201


async def test_what_the_platform_protects_stays(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    protected = DenyAssignment(
        id=guid(0xD1),
        tenant_id=(await plane.get("/tenants"))["value"][0]["tenantId"],
        name="managed",
        scope=GROUP,
        permissions=(Permission(actions=("*/delete",)),),
        principals=(EVERYONE,),
        system_protected=True,
    )
    await plane.store.commit(Batch.of(Put(collection=DENY_ASSIGNMENTS, value=protected, expect=ABSENT)))
    await refused(
        plane, await plane.call("DELETE", deny_url(GROUP, 0xD1), version=DENY), 403, "DenyAssignmentAuthorizationFailed"
    )
    spared = replace(protected, exclude_principals=(plane.people["owner"],))
    await plane.store.commit(Batch.of(Put(collection=DENY_ASSIGNMENTS, value=spared, expect=1)))
    await refused(plane, await plane.call("DELETE", deny_url(GROUP, 0xD1), version=DENY), 409, "DenyAssignmentSystemProtected")
    await refused(plane, await deny(plane, _but_owner(plane, "*/write"), GROUP), 409, "DenyAssignmentSystemProtected")


# What they may say


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"denyAssignmentName": None}, "InvalidParameter"),
        ({"permissions": []}, "InvalidParameter"),
        ({"permissions": [{"notActions": ["*/read"]}]}, "InvalidParameter"),
        ({"permissions": [{"actions": ["*/read"]}]}, "DenyAssignmentReadAction"),
        ({"permissions": [{"actions": ["Microsoft.Compute/virtualMachines/READ"]}]}, "DenyAssignmentReadAction"),
        ({"permissions": [{"actions": ["*/write"], "dataActions": ["*"]}]}, "DenyAssignmentDataActions"),
        ({"permissions": [{"actions": ["*/write"], "notDataActions": ["*"]}]}, "DenyAssignmentDataActions"),
        ({"permissions": [{"actions": ["write"]}]}, "InvalidActionOrNotAction"),
        ({"permissions": [{"actions": ["Microsoft.Nothing/x/write"]}]}, "InvalidActionOrNotAction"),
        ({"permissions": [{"actions": ["*/write"], "condition": "x"}]}, "InvalidParameter"),
        ({"principals": []}, "InvalidParameter"),
        ({"principals": [{"id": "me", "type": "User"}]}, "InvalidParameter"),
        ({"principals": [{"id": EVERYONE, "type": "User"}]}, "InvalidParameter"),
        ({"principals": [{"id": guid(1), "type": "User"}]}, "PrincipalNotFound"),
        ({"principals": [{"id": EVERYONE, "type": "SystemDefined"}] * 2}, "InvalidParameter"),
        ({"excludePrincipals": []}, "DenyAssignmentExcludedPrincipalRequired"),
        ({"excludePrincipals": [{"id": EVERYONE, "type": "SystemDefined"}]}, "InvalidParameter"),
        ({"excludePrincipals": [{"id": guid(1), "type": "User"}]}, "PrincipalNotFound"),
        ({"isSystemProtected": True}, "InvalidParameter"),
        ({"condition": "x"}, "InvalidParameter"),
        ({"doNotApplyToChildScopes": "yes"}, "InvalidParameter"),
        ({"description": "x" * 2049}, "InvalidParameter"),
    ],
)
async def test_bodies_that_are_refused(open_plane: OpenPlane, change: dict[str, object], code: str) -> None:
    plane = await _opened(open_plane)
    body = _but_owner(plane, "*/write")
    body["properties"] |= change
    await refused(plane, await deny(plane, body, GROUP), 400, code)
    assert await plane.store.all(DENY_ASSIGNMENTS) == ()


async def test_neither_groups_nor_strangers_are_denied(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    reply = await deny(plane, denying("*/write", whom=plane.people["team"]), GROUP)
    await refused(plane, reply, 400, "DenyAssignmentPrincipalType")
    for body in (
        denying("*/write", whom=plane.people["stranger"]),
        denying("*/write", but=(plane.people["stranger"],)),
    ):
        await refused(plane, await deny(plane, body, GROUP), 400, "PrincipalNotFound")


@pytest.mark.parametrize("version", ["2022-04-01", "2018-07-01-preview"])
async def test_other_versions_only_read(open_plane: OpenPlane, version: str) -> None:
    plane = await _opened(open_plane)
    body = _but_owner(plane, "*/write")
    await refused(plane, await plane.call("PUT", deny_url(GROUP, 1), body, version=version), 405, "MethodNotAllowed")
    assert (await deny(plane, body, GROUP)).status == 201
    await refused(plane, await plane.call("DELETE", deny_url(GROUP, 0xD1), version=version), 405, "MethodNotAllowed")
    shown = await plane.get(deny_url(GROUP, 0xD1), version=version)
    assert "createdOn" not in shown["properties"]


async def test_names_are_guids_and_scopes_exist(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    body = _but_owner(plane, "*/write")
    reply = await plane.call("PUT", f"{GROUP}/{LIST}/mine", body, version=DENY)
    await refused(plane, reply, 400, "InvalidDenyAssignmentId")
    await refused(plane, await deny(plane, body, f"{SUB}/resourceGroups/none"), 404, "ResourceGroupNotFound")
    await refused(plane, await deny(plane, body, vm("none")), 404, "ResourceNotFound")


async def test_another_tenants_name_and_scope(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    theirs = DenyAssignment(
        id=guid(0xD1),
        tenant_id=AWAY,
        name="theirs",
        scope="/",
        permissions=(Permission(actions=("*",)),),
        principals=(EVERYONE,),
    )
    await plane.store.commit(Batch.of(Put(collection=DENY_ASSIGNMENTS, value=theirs, expect=ABSENT)))
    await refused(plane, await deny(plane, _but_owner(plane, "*/write"), SUB), 409, "Conflict")
    assert (await plane.call("GET", deny_url("", 0xD1), version=DENY)).status == 404
    assert (await plane.get(f"/{LIST}", version=DENY))["value"] == []
    reply = await deny(plane, _but_owner(plane, "*/write"), f"/subscriptions/{FOREIGN}", 2)
    assert (reply.status, reply.code) == (401, "InvalidAuthenticationTokenTenant")


# Changing, listing, going


async def test_an_update_changes_what_it_says(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    first = (await deny(plane, _but_owner(plane, "*/write"), GROUP)).body
    plane.clock.advance(60)
    again = await deny(plane, _but_owner(plane, "*/delete", denyAssignmentName="other"), GROUP.lower())
    assert again.status == 200
    assert again.body["properties"]["permissions"][0]["actions"] == ["*/delete"]
    assert again.body["properties"]["denyAssignmentName"] == "other"
    assert again.body["properties"]["createdOn"] == first["properties"]["createdOn"] != again.body["properties"]["updatedOn"]
    assert again.body["properties"]["denyAssignmentEffect"] == "enforced"
    assert again.body["id"] == first["id"]
    assert (await plane.call("PUT", vm("x"), {"location": "westeurope"}, by="admin", version=COMPUTE)).status == 201
    reply = await deny(plane, _but_owner(plane, "*/write"), SUB)
    await refused(plane, reply, 400, "DenyAssignmentUpdateNotPermitted")


async def test_lists_and_their_filters(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    await plane.machine("x")
    reader = plane.people["reader"]
    for number, scope in enumerate(("", SUB, GROUP, vm("x"))):
        body = _but_owner(plane, "Microsoft.Compute/*/delete", denyAssignmentName=f"at {number}")
        assert (await deny(plane, body, scope, number)).status == 201
    assert (await deny(plane, denying("Microsoft.Compute/*/delete", whom=reader), GROUP, 9)).status == 201

    async def listed(scope: str, text: str = "") -> set[str]:
        return {one["name"][-1] for one in (await plane.get(f"{scope}/{LIST}?$filter={text}", version=DENY))["value"]}

    assert await listed("") == {"0", "1", "2", "3", "9"}
    assert await listed(GROUP) == {"0", "1", "2", "3", "9"}
    assert await listed(SUB, "atScope()") == {"0", "1"}
    assert await listed(vm("x"), "atScope()") == {"0", "1", "2", "3", "9"}
    assert await listed(GROUP, "denyAssignmentName eq 'AT 2'") == {"2"}
    assert await listed(SUB, f"principalId eq '{reader}'") == {"9"}
    assert await listed(SUB, f"gdprExportPrincipalId eq '{plane.people['owner']}'") == {"0", "1", "2", "3"}
    exported = await plane.get(f"{SUB}/{LIST}?$filter=gdprExportPrincipalId eq '{reader}'", version=DENY)
    assert exported["value"][0]["properties"] == {"denyAssignmentName": "no", "description": ""}
    paged = await plane.get(f"{GROUP}/{LIST}?$top=2", version=DENY)
    assert len(paged["value"]) == 2
    assert "skiptoken" in paged["nextLink"]


async def test_they_go_with_their_scope(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    await plane.machine("x")
    for number, scope in ((1, GROUP), (2, vm("x")), (3, f"{vm('x')}/extensions/none"), (4, SUB)):
        body = _but_owner(plane, "Microsoft.Network/*/delete")
        assert (await deny(plane, body, scope, number)).status == 201
    assert (await plane.call("DELETE", GROUP)).status in (200, 202)
    assert [one.value.scope for one in await plane.store.all(DENY_ASSIGNMENTS)] == [SUB]
    await plane.put(GROUP, {"location": "westeurope"})
    await plane.machine("x")
    assert (await plane.call("GET", deny_url(vm("x"), 2), version=DENY)).status == 404


async def test_roles_are_read_against_a_deny_below(open_plane: OpenPlane) -> None:
    """A list of a subscription does not show what a deny assignment below keeps from the caller, nor does a wildcard."""
    plane = await _opened(open_plane)
    for name in ("seen", "hidden"):
        await plane.machine(name)
    stored = DenyAssignment(
        id=guid(0xD1),
        tenant_id=(await plane.get("/tenants"))["value"][0]["tenantId"],
        name="no",
        scope=vm("hidden"),
        permissions=(Permission(actions=("*",)),),
        principals=(plane.people["admin"],),
        anchor=vm("hidden").lower(),
    )
    await plane.store.commit(Batch.of(Put(collection=DENY_ASSIGNMENTS, value=stored, expect=ABSENT)))
    for path, version in (
        (f"{SUB}/providers/Microsoft.Compute/virtualMachines", COMPUTE),
        (f"{GROUP}/providers/Microsoft.Compute/virtualMachines", COMPUTE),
        (f"{SUB}/resources", "2022-12-01"),
        (f"{GROUP}/resources", "2022-12-01"),
    ):
        for by, names in (("admin", {"seen"}), ("owner", {"seen", "hidden"})):
            assert {one["name"] for one in (await plane.get(path, by=by, version=version))["value"]} == names
    assert (await plane.call("GET", vm("hidden"), by="admin", version=COMPUTE)).status == 403
    assert (await plane.call("GET", f"{GROUP}/{LIST}", by="reader", version=GRANT)).status == 200
