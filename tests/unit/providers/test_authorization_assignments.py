from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.providers.management_world import (
    CONTRIBUTOR,
    GROUP,
    OTHER_SUBSCRIPTION,
    OWNER,
    READER,
    ROLES,
    SUB,
    TENANT,
    World,
    guid,
    open_world,
)

from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import AZURE
from idplane.ports.collections import ACTIVITY, ROLE_ASSIGNMENTS, ROLE_DEFINITIONS
from idplane.providers.authorization import AUTHORIZATION

VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/Stock"
TYPE = "providers/Microsoft.Authorization/roleAssignments"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    opened = await open_world(AUTHORIZATION)
    yield opened
    await opened.store.close()


def at(scope: str, number: int) -> str:
    return f"{scope}/{TYPE}/{guid(number)}"


def wanted(principal: str, role: str = "Reader", **properties: object) -> dict[str, Any]:
    role_id = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{ROLES.get(role, role)}"
    return {"properties": {"roleDefinitionId": role_id, "principalId": principal, **properties}}


async def names(world: World, url: str, **options: Any) -> set[str]:
    return {one["name"] for one in (await world.everything(url, **options))[0]}


# Creating


async def test_a_role_takes_effect_with_the_answer(world: World) -> None:
    machine = await world.principal(0x10)
    with pytest.raises(Failure) as refused:
        await world.get(f"{GROUP}/{TYPE}", caller=machine)
    assert refused.value.kind is FailureKind.FORBIDDEN
    answer = await world.call("PUT", at(GROUP, 0x100), wanted(machine))
    assert answer.status == 201
    assert await world.get(f"{GROUP}/{TYPE}", caller=machine)


async def test_the_answer_shows_what_was_made(world: World) -> None:
    machine = await world.principal(0x10)
    body = await world.put(at(GROUP.lower(), 0x100), wanted(machine.upper(), description="for the web"))
    assert body["id"] == f"{GROUP.lower().replace('resourcegroups', 'resourceGroups')}/{TYPE}/{guid(0x100)}"
    assert (body["name"], body["type"]) == (guid(0x100), "Microsoft.Authorization/roleAssignments")
    properties = body["properties"]
    assert properties["principalId"] == machine
    assert properties["roleDefinitionId"].endswith(f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{ROLES['Reader']}")
    assert properties["createdBy"] == properties["updatedBy"] == OWNER
    assert properties["createdOn"].startswith("2026-01-01T12:00:00")
    assert properties["description"] == "for the web"
    assert properties["condition"] is None
    assert await world.get(at(GROUP, 0x100)) == body


@pytest.mark.parametrize("sent", [None, "User", "Group", "ServicePrincipal", "user"])
async def test_the_principal_type_is_the_real_one_whatever_was_sent(world: World, sent: str | None) -> None:
    machine = await world.principal(0x10)
    body = await world.put(at(GROUP, 0x100), wanted(machine, principalType=sent))
    assert body["properties"]["principalType"] == "ServicePrincipal"


async def test_a_group_is_a_group(world: World) -> None:
    group = await world.principal(0x11, group=True)
    body = await world.put(at(GROUP, 0x100), wanted(group))
    assert body["properties"]["principalType"] == "Group"


@pytest.mark.parametrize("scope", ["", SUB, GROUP, VM, f"{VM}/extensions/agent"])
async def test_every_kind_of_scope(world: World, scope: str) -> None:
    await world.resource(VM)
    await world.grant(0xF9, "Owner", "/", OWNER)
    machine = await world.principal(0x10)
    body = await world.put(at(scope, 0x100), wanted(machine))
    assert body["properties"]["scope"] == (scope or "/")
    assert body["id"] == at(scope, 0x100)
    assert (await world.get(at(scope, 0x100)))["name"] == guid(0x100)


@pytest.mark.parametrize(
    ("scope", "kind"),
    [
        (f"{SUB}/resourceGroups/none", FailureKind.GROUP_NOT_FOUND),
        (VM, FailureKind.RESOURCE_NOT_FOUND),
        (f"{VM}/extensions/agent", FailureKind.RESOURCE_NOT_FOUND),
        (f"{SUB}/providers/Microsoft.Authorization/policyAssignments/x", FailureKind.RESOURCE_NOT_FOUND),
        ("/providers/Microsoft.Management/managementGroups/top", FailureKind.RESOURCE_NOT_FOUND),
        (f"/subscriptions/{guid(0x77)}", FailureKind.SUBSCRIPTION_NOT_FOUND),
        (f"/subscriptions/{OTHER_SUBSCRIPTION}", FailureKind.TOKEN_TENANT),
    ],
)
async def test_scopes_that_are_not_there(world: World, scope: str, kind: FailureKind) -> None:
    await world.grant(0xF9, "Owner", "/", OWNER)
    machine = await world.principal(0x10)
    for method, url, body in (("PUT", at(scope, 0x100), wanted(machine)), ("GET", f"{scope}/{TYPE}", None)):
        with pytest.raises(Failure) as refused:
            await world.call(method, url, body)
        assert refused.value.kind is kind


@pytest.mark.parametrize("caller", [READER, CONTRIBUTOR])
async def test_only_who_may_write_assignments_grants(world: World, caller: str) -> None:
    machine = await world.principal(0x10)
    for target in (machine, caller):
        with pytest.raises(Failure) as refused:
            await world.put(at(GROUP, 0x100), wanted(target, "Owner"), caller=caller)
        assert refused.value.kind is FailureKind.FORBIDDEN
        assert refused.value.data["action"] == "Microsoft.Authorization/roleAssignments/write"
    events = await world.store.read_log(ACTIVITY)
    assert [one.event.status.value for one in events] == ["Failed", "Failed"]


async def test_a_grant_reaches_no_further_than_the_granter(world: World) -> None:
    admin, machine = await world.principal(0x10), await world.principal(0x11)
    await world.grant(0x90, "User Access Administrator", GROUP, admin)
    await world.put(at(GROUP, 0x100), wanted(machine), caller=admin)
    with pytest.raises(Failure) as refused:
        await world.put(at(SUB, 0x101), wanted(machine), caller=admin)
    assert refused.value.kind is FailureKind.FORBIDDEN


def broken(**properties: object) -> dict[str, Any]:
    body = wanted(guid(0x10))
    body["properties"] |= properties
    return body


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        ({}, FailureKind.INVALID_PARAMETER, None),
        ({"properties": []}, FailureKind.INVALID_PARAMETER, None),
        (broken(roleDefinitionId=None), FailureKind.INVALID_PARAMETER, None),
        (broken(roleDefinitionId=ROLES["Reader"]), FailureKind.INVALID_PARAMETER, "InvalidRoleDefinitionId"),
        (
            broken(roleDefinitionId="/providers/Microsoft.Authorization/roleDefinitions/Reader"),
            FailureKind.INVALID_PARAMETER,
            "InvalidRoleDefinitionId",
        ),
        (
            broken(roleDefinitionId=f"/providers/Microsoft.Authorization/roleDefinitions/{guid(0x66)}"),
            FailureKind.ROLE_DEFINITION_NOT_FOUND,
            None,
        ),
        (broken(principalId="me"), FailureKind.INVALID_PARAMETER, "InvalidPrincipalId"),
        (broken(principalId=7), FailureKind.INVALID_PARAMETER, None),
        (broken(principalId=guid(0x66)), FailureKind.PRINCIPAL_NOT_FOUND, None),
        (broken(principalId=guid(0x66), principalType="ServicePrincipal"), FailureKind.PRINCIPAL_NOT_FOUND, None),
        (broken(principalType="Robot"), FailureKind.PRINCIPAL_TYPE, None),
        (broken(description="x" * 2049), FailureKind.INVALID_PARAMETER, None),
        (broken(condition="(!(ActionMatches{'a'})"), FailureKind.INVALID_PARAMETER, "RoleAssignmentConditionInvalid"),
        (broken(condition=" ", conditionVersion="2.0"), FailureKind.INVALID_PARAMETER, "RoleAssignmentConditionInvalid"),
        (
            broken(condition="!(ActionMatches{'a'})", conditionVersion="1.0"),
            FailureKind.INVALID_PARAMETER,
            "RoleAssignmentConditionInvalid",
        ),
        (
            broken(condition="!(ActionMatches{'" + "\u00e9" * 4096 + "'})"),
            FailureKind.INVALID_PARAMETER,
            "RoleAssignmentConditionInvalid",
        ),
        (broken(condition="!" * 9000), FailureKind.INVALID_PARAMETER, None),
        (broken(condition=7), FailureKind.INVALID_PARAMETER, None),
    ],
)
async def test_bodies_that_are_refused(world: World, body: object, kind: FailureKind, code: str | None) -> None:
    await world.principal(0x10)
    with pytest.raises(Failure) as refused:
        await world.put(at(GROUP, 0x100), body)
    assert refused.value.kind is kind
    assert refused.value.data.get("code") == code
    assert await world.store.get(ROLE_ASSIGNMENTS, guid(0x100)) is None


async def test_names_are_guids(world: World) -> None:
    machine = await world.principal(0x10)
    with pytest.raises(Failure) as refused:
        await world.put(f"{GROUP}/{TYPE}/mine", wanted(machine))
    assert refused.value.data["code"] == "InvalidRoleAssignmentId"


async def test_the_missing_principal_is_told_in_the_words_that_the_cli_looks_for(world: World) -> None:
    with pytest.raises(Failure, match=f" does not exist in the directory {TENANT}"):
        await world.put(at(GROUP, 0x100), wanted(guid(0x66)))


async def test_principals_of_another_tenant_do_not_exist(world: World) -> None:
    with pytest.raises(Failure) as refused:
        await world.put(at(GROUP, 0x100), wanted(guid(9)))
    assert refused.value.kind is FailureKind.PRINCIPAL_NOT_FOUND


# Repeating and changing


async def test_the_same_put_twice_is_fine(world: World) -> None:
    machine = await world.principal(0x10)
    first = await world.put(at(GROUP, 0x100), wanted(machine))
    again = await world.call("PUT", at(GROUP.upper().replace("/SUBSCRIPTIONS", "/subscriptions"), 0x100), wanted(machine))
    assert (again.status, again.body) == (200, first)


async def test_the_description_can_change(world: World) -> None:
    machine = await world.principal(0x10)
    first = await world.put(at(GROUP, 0x100), wanted(machine))
    world.clock.advance(60)
    changed = await world.put(at(GROUP, 0x100), wanted(machine, description="new"))
    assert changed["properties"]["description"] == "new"
    assert changed["properties"]["createdOn"] == first["properties"]["createdOn"]
    assert changed["properties"]["updatedOn"] != first["properties"]["updatedOn"]


async def test_principal_role_and_scope_cannot_change(world: World) -> None:
    machine, other = await world.principal(0x10), await world.principal(0x11)
    await world.put(at(GROUP, 0x100), wanted(machine))
    for url, body in (
        (at(GROUP, 0x100), wanted(other)),
        (at(GROUP, 0x100), wanted(machine, "Contributor")),
        (at(SUB, 0x100), wanted(machine)),
    ):
        with pytest.raises(Failure) as refused:
            await world.put(url, body)
        assert refused.value.kind is FailureKind.ROLE_ASSIGNMENT_UPDATE


async def test_the_same_grant_under_another_name(world: World) -> None:
    machine = await world.principal(0x10)
    await world.put(at(GROUP, 0x100), wanted(machine))
    with pytest.raises(Failure) as refused:
        await world.put(at(GROUP.lower(), 0x101), wanted(machine))
    assert refused.value.kind is FailureKind.ROLE_ASSIGNMENT_EXISTS
    await world.put(at(SUB, 0x102), wanted(machine))


# Custom roles


async def custom(world: World, number: int, scope: str) -> str:
    body = {"properties": {"roleName": f"role-{number}", "permissions": [{"actions": ["*/read"]}], "assignableScopes": [scope]}}
    await world.put(f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{guid(number)}", body)
    return guid(number)


async def test_a_custom_role_is_assigned_where_it_says(world: World) -> None:
    machine, role = await world.principal(0x10), await custom(world, 0x200, GROUP)
    await world.put(at(GROUP, 0x100), wanted(machine, role))
    with pytest.raises(Failure) as refused:
        await world.put(at(SUB, 0x101), wanted(machine, role))
    assert refused.value.data["code"] == "RoleAssignmentScopeNotAssignableToRoleDefinition"


async def test_assigning_a_custom_role_makes_a_delete_decided_before_it_start_again(world: World) -> None:
    machine, role = await world.principal(0x10), await custom(world, 0x200, GROUP)
    before = await world.store.get(ROLE_DEFINITIONS, role)
    await world.put(at(GROUP, 0x100), wanted(machine, role))
    after = await world.store.get(ROLE_DEFINITIONS, role)
    assert before is not None
    assert after is not None
    assert (after.value, after.version) == (before.value, before.version + 1)


# Limits


async def test_the_profile_limits_a_subscription() -> None:
    world = await open_world(AUTHORIZATION, profile=replace(AZURE, role_assignments_per_subscription=5))
    machines = [await world.principal(0x10 + at) for at in range(3)]
    await world.put(at(GROUP, 0x100), wanted(machines[0]))
    await world.put(at(SUB, 0x101), wanted(machines[1]))
    with pytest.raises(Failure) as refused:
        await world.put(at(GROUP, 0x102), wanted(machines[2]))
    assert refused.value.kind is FailureKind.LIMIT_EXCEEDED
    assert refused.value.data["code"] == "RoleAssignmentLimitExceeded"
    await world.store.close()


# Listing


@pytest.fixture
async def spread(world: World) -> World:
    """One machine with a role at every level, and a neighbour beside the group."""
    await world.resource(VM)
    await world.resource(f"{SUB}/resourceGroups/Web2")
    machine, other = await world.principal(0x10), await world.principal(0x11)
    await world.grant(0x1, "Reader", "/", machine)
    await world.grant(0x2, "Reader", SUB, machine)
    await world.grant(0x3, "Reader", GROUP, machine)
    await world.grant(0x4, "Reader", VM, machine)
    await world.grant(0x5, "Reader", f"{SUB}/resourceGroups/Web2", other)
    await world.grant(0x6, "Reader", "/", guid(9), tenant=guid(0xA2))
    return world


SEEDED = {guid(0xF1), guid(0xF2), guid(0xF3)}


@pytest.mark.parametrize(
    ("scope", "query", "expected"),
    [
        (GROUP, "", {guid(one) for one in (1, 2, 3, 4)} | SEEDED),
        (SUB, "", {guid(one) for one in (1, 2, 3, 4, 5)} | SEEDED),
        (GROUP, "?$filter=", {guid(one) for one in (1, 2, 3, 4)} | SEEDED),
        (GROUP, "?$filter=atScope()", {guid(one) for one in (1, 2, 3)} | SEEDED),
        (SUB, "?$filter=atScope()", {guid(one) for one in (1, 2)} | SEEDED),
        (VM, "?$filter=ATSCOPE()", {guid(one) for one in (1, 2, 3, 4)} | SEEDED),
        (GROUP, f"?$filter=principalId eq '{guid(0x10)}'", {guid(one) for one in (1, 2, 3, 4)}),
        (GROUP, f"?$filter=principalId eq {guid(0x10)}", {guid(one) for one in (1, 2, 3, 4)}),
        (GROUP, f"?$filter=assignedTo('{guid(0x10)}')", {guid(one) for one in (1, 2, 3, 4)}),
        (GROUP, f"?$filter=atScope() and assignedTo('{guid(0x10)}')", {guid(one) for one in (1, 2, 3)}),
        (GROUP, f"?$filter=atScope() and principalId eq '{guid(0x11)}'", set()),
        (f"{SUB}/resourceGroups/Web2", f"?$filter=principalId eq '{guid(0x11)}'", {guid(5)}),
    ],
)
async def test_what_a_list_holds(spread: World, scope: str, query: str, expected: set[str]) -> None:
    assert await names(spread, f"{scope}/{TYPE}{query}") == expected


async def test_the_tenant_s_list_stays_in_the_tenant(spread: World) -> None:
    await spread.grant(0x7, "Owner", "/", OWNER)
    assert await names(spread, f"/{TYPE}") == {guid(one) for one in (1, 2, 3, 4, 5, 7)} | SEEDED


async def test_what_is_inherited_names_its_role_where_it_is_listed(spread: World) -> None:
    await spread.grant(0x7, "Owner", "/", OWNER)
    for scope, prefix in ((VM, SUB), (GROUP, SUB), (SUB, SUB), ("", "")):
        listed = (await spread.get(f"{scope}/{TYPE}?$filter=principalId eq '{guid(0x10)}'"))["value"]
        roles = {one["properties"]["scope"]: one["properties"]["roleDefinitionId"] for one in listed}
        assert roles["/"] == f"{prefix}/providers/Microsoft.Authorization/roleDefinitions/{ROLES['Reader']}"
        assert roles[SUB].startswith(f"{SUB}/providers/")


@pytest.mark.parametrize("top", [1, 2, 3, 7])
@pytest.mark.parametrize("query", ["", "&$filter=atScope()", f"&$filter=principalId eq '{guid(0x10)}'"])
async def test_pages_hold_everything_once(spread: World, top: int, query: str) -> None:
    whole, _ = await spread.everything(f"{GROUP}/{TYPE}?{query}")
    paged, pages = await spread.everything(f"{GROUP}/{TYPE}?$top={top}{query}")
    assert [one["name"] for one in paged] == [one["name"] for one in whole]
    assert pages >= len(whole) / top


@pytest.mark.parametrize(
    "text",
    [
        "principalId ne 'x'",
        "atScope('x')",
        "assignedTo()",
        "roleName eq 'Reader'",
        "atScope() or atScope()",
        "atScope() and",
        "atScope() atScope()",
        "principalId eq 'a' and principalId eq 'b'",
        "principalId eq 'a",
        "(",
        "principalId eq",
        " and ".join(["atScope()"] * 17),
    ],
)
async def test_filters_that_are_refused(world: World, text: str) -> None:
    with pytest.raises(Failure) as refused:
        await world.get(f"{GROUP}/{TYPE}?$filter={text}")
    assert refused.value.kind is FailureKind.INVALID_FILTER


@pytest.mark.parametrize("token", ["OTl8", "eHw", "LTF8", "MTExMTExMTExMTExMTExfA"])
async def test_cursors_that_are_not_ours(world: World, token: str) -> None:
    with pytest.raises(Failure) as refused:
        await world.get(f"{GROUP}/{TYPE}?$skiptoken={token}")
    assert refused.value.kind is FailureKind.INVALID_PARAMETER


# Deleting


async def test_a_deleted_grant_is_gone_with_the_answer(world: World) -> None:
    machine = await world.principal(0x10)
    made = await world.put(at(GROUP, 0x100), wanted(machine))
    answer = await world.call("DELETE", at(GROUP, 0x100))
    assert (answer.status, answer.body) == (200, made)
    with pytest.raises(Failure):
        await world.get(f"{GROUP}/{TYPE}", caller=machine)
    assert (await world.call("DELETE", at(GROUP, 0x100))).status == 204


async def test_an_assignment_is_found_at_its_own_scope_only(world: World) -> None:
    machine = await world.principal(0x10)
    await world.put(at(GROUP, 0x100), wanted(machine))
    assert (await world.call("DELETE", at(SUB, 0x100))).status == 204
    with pytest.raises(Failure) as refused:
        await world.get(at(SUB, 0x100))
    assert refused.value.kind is FailureKind.RESOURCE_NOT_FOUND
    assert await world.get(at(GROUP, 0x100))


async def test_the_last_owner_stays(world: World) -> None:
    with pytest.raises(Failure) as refused:
        await world.call("DELETE", at(SUB, 0xF1))
    assert refused.value.kind is FailureKind.LAST_ADMINISTRATOR
    assert refused.value.data["code"] == "CannotDeleteLastRbacAdminAssignment"
    await world.grant(0xF9, "Owner", "/", OWNER)
    assert (await world.call("DELETE", at(SUB, 0xF1))).status == 200
    with pytest.raises(Failure):
        await world.call("DELETE", at("", 0xF9))


@pytest.mark.parametrize("caller", [READER, CONTRIBUTOR])
async def test_only_who_may_delete_assignments_takes(world: World, caller: str) -> None:
    with pytest.raises(Failure) as refused:
        await world.call("DELETE", at(SUB, 0xF2), caller=caller)
    assert refused.value.kind is FailureKind.FORBIDDEN


@pytest.mark.parametrize(
    "version", ["2015-07-01", "2018-01-01-preview", "2020-04-01-preview", "2020-10-01-preview", "2022-04-01"]
)
async def test_api_versions(world: World, version: str) -> None:
    assert await world.get(f"{GROUP}/{TYPE}", version=version)


async def test_an_unknown_api_version(world: World) -> None:
    with pytest.raises(Failure):
        await world.get(f"{GROUP}/{TYPE}", version="1999-01-01")
