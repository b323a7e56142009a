from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.providers.management_world import (
    CONTRIBUTOR,
    GROUP,
    OTHER_TENANT,
    OWNER,
    READER,
    ROLES,
    SUB,
    SUBSCRIPTION,
    World,
    guid,
    open_world,
)

from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import AZURE
from idplane.model.roles import DenyAssignment, Permission, RoleDefinition
from idplane.ports.collections import DENY_ASSIGNMENTS, ROLE_ASSIGNMENTS, ROLE_DEFINITIONS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.providers.authorization import AUTHORIZATION
from idplane.rbac.builtin import BUILT_IN_ROLES

TYPE = "providers/Microsoft.Authorization/roleDefinitions"
EVERYONE = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    opened = await open_world(AUTHORIZATION)
    await opened.resource(f"{SUB}/resourceGroups/Data")
    yield opened
    await opened.store.close()


def at(scope: str, number: int) -> str:
    return f"{scope}/{TYPE}/{guid(number)}"


def role(name: str = "Restarter", *scopes: str, **properties: object) -> dict[str, Any]:
    return {
        "properties": {
            "roleName": name,
            "description": "may restart",
            "permissions": [{"actions": ["Microsoft.Compute/virtualMachines/restart/action"], "notActions": []}],
            "assignableScopes": list(scopes or (GROUP,)),
            **properties,
        }
    }


async def names(world: World, url: str, **options: Any) -> set[str]:
    return {one["properties"]["roleName"] for one in (await world.everything(url, **options))[0]}


# Built-in roles


@pytest.mark.parametrize(
    ("scope", "prefix"), [("", ""), (SUB, SUB), (GROUP, SUB), (f"{GROUP}/providers/Microsoft.Web/sites/a", SUB)]
)
async def test_ids_are_scoped_to_the_request(world: World, scope: str, prefix: str) -> None:
    await world.grant(0xF9, "Owner", "/", OWNER)
    body = await world.get(f"{scope}/{TYPE}/{ROLES['Reader'].upper()}")
    assert body["id"] == f"{prefix}/{TYPE}/{ROLES['Reader']}"
    assert body["type"] == "Microsoft.Authorization/roleDefinitions"
    assert body["properties"]["type"] == "BuiltInRole"
    assert body["properties"]["assignableScopes"] == ["/"]
    assert body["properties"]["permissions"] == [
        {"actions": ["*/read"], "notActions": [], "dataActions": [], "notDataActions": []}
    ]


@pytest.mark.parametrize(
    "query", ["roleName eq 'Key Vault Secrets User'", "roleName eq 'key vault secrets user' and type eq 'BuiltInRole'"]
)
async def test_a_role_is_found_by_name(world: World, query: str) -> None:
    found, _ = await world.everything(f"{GROUP}/{TYPE}?$filter={query}")
    assert [one["name"] for one in found] == [ROLES["Key Vault Secrets User"]]


async def test_all_built_in_roles_are_listed(world: World) -> None:
    assert await names(world, f"{SUB}/{TYPE}") == {one.name for one in BUILT_IN_ROLES.values()}


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_built_in_roles_cannot_change(world: World, method: str) -> None:
    with pytest.raises(Failure) as refused:
        await world.call(method, f"{GROUP}/{TYPE}/{ROLES['Reader']}", role() if method == "PUT" else None)
    assert refused.value.kind is FailureKind.ROLE_DEFINITION_INVALID


# Custom roles


async def test_making_and_changing_both_answer_201(world: World) -> None:
    made = await world.call("PUT", at(GROUP, 0x200), role())
    changed = await world.call("PUT", at(GROUP, 0x200), role("Starter"))
    assert (made.status, changed.status) == (201, 201)
    body = await world.get(at(GROUP, 0x200))
    assert body == changed.body
    assert body["properties"] == {
        "roleName": "Starter",
        "type": "CustomRole",
        "description": "may restart",
        "assignableScopes": [GROUP],
        "permissions": [
            {
                "actions": ["Microsoft.Compute/virtualMachines/restart/action"],
                "notActions": [],
                "dataActions": [],
                "notDataActions": [],
            }
        ],
    }


async def test_the_server_decides_the_type(world: World) -> None:
    body = await world.put(at(GROUP, 0x200), role(type="BuiltInRole"))
    assert body["properties"]["type"] == "CustomRole"


async def test_newer_versions_tell_when_and_by_whom(world: World) -> None:
    await world.put(at(GROUP, 0x200), role())
    world.clock.advance(60)
    body = await world.put(at(GROUP, 0x200), role("Starter"), version="2022-05-01-preview")
    assert body["properties"]["createdOn"].startswith("2026-01-01T12:00:00")
    assert body["properties"]["updatedOn"].startswith("2026-01-01T12:01:00")
    assert body["properties"]["createdBy"] == OWNER


async def test_a_role_gives_what_it_says_and_a_change_counts_at_once(world: World) -> None:
    machine = await world.principal(0x10)
    read = "Microsoft.Authorization/roleAssignments/read"
    await world.put(at(GROUP, 0x200), role(permissions=[{"actions": [read]}]))
    await world.grant(0x100, guid(0x200), GROUP, machine)
    url = f"{GROUP}/providers/Microsoft.Authorization/roleAssignments"
    assert await world.get(url, caller=machine)
    await world.put(at(GROUP, 0x200), role(permissions=[{"actions": ["*"], "notActions": [read]}]))
    with pytest.raises(Failure) as refused:
        await world.get(url, caller=machine)
    assert refused.value.kind is FailureKind.FORBIDDEN


@pytest.mark.parametrize(
    "change",
    [
        {"roleName": None},
        {"roleName": " "},
        {"roleName": 5},
        {"roleName": "x" * 513},
        {"description": "x" * 2049},
        {"permissions": None},
        {"permissions": []},
        {"permissions": {}},
        {"permissions": ["*"]},
        {"permissions": [{"actions": "*"}]},
        {"permissions": [{"actions": [""]}]},
        {"permissions": [{"actions": [None]}]},
        {"permissions": [{"dataActions": [{}]}]},
        {"permissions": [{"actions": ["*"], "condition": "x"}]},
        {"assignableScopes": None},
        {"assignableScopes": []},
        {"assignableScopes": "/"},
        {"assignableScopes": ["/"]},
        {"assignableScopes": [f"{GROUP}/providers/Microsoft.Web/sites/a"]},
        {"assignableScopes": [f"/providers/Microsoft.Management/managementGroups/{name}" for name in ("one", "two")]},
        {"assignableScopes": [7]},
    ],
)
async def test_bodies_that_are_refused(world: World, change: dict[str, object]) -> None:
    body = {"properties": role()["properties"] | change}
    with pytest.raises(Failure) as refused:
        await world.put(at(GROUP, 0x200), body)
    assert refused.value.kind is FailureKind.INVALID_PARAMETER
    assert await world.store.get(ROLE_DEFINITIONS, guid(0x200)) is None


@pytest.mark.parametrize(
    ("scope", "kind"),
    [
        (f"{SUB}/resourceGroups/none", FailureKind.GROUP_NOT_FOUND),
        (f"/subscriptions/{guid(0x77)}", FailureKind.FORBIDDEN),
        (f"/subscriptions/{guid(0x52)}", FailureKind.FORBIDDEN),
        ("nonsense", FailureKind.INVALID_RESOURCE_ID),
    ],
)
async def test_assignable_scopes_exist_and_are_the_caller_s(world: World, scope: str, kind: FailureKind) -> None:
    with pytest.raises(Failure) as refused:
        await world.put(at(GROUP, 0x200), role("Restarter", GROUP, scope))
    assert refused.value.kind is kind


@pytest.mark.parametrize("scope", [f"/subscriptions/{guid(0x77)}", f"/subscriptions/{guid(0x52)}"])
async def test_not_even_the_tenant_s_owner_names_other_subscriptions(world: World, scope: str) -> None:
    await world.grant(0xF9, "Owner", "/", OWNER)
    with pytest.raises(Failure) as refused:
        await world.put(at(GROUP, 0x200), role("Restarter", scope))
    assert refused.value.kind in {FailureKind.SUBSCRIPTION_NOT_FOUND, FailureKind.FORBIDDEN}


async def test_names_are_guids(world: World) -> None:
    with pytest.raises(Failure) as refused:
        await world.put(f"{GROUP}/{TYPE}/restarter", role())
    assert refused.value.data["code"] == "InvalidRoleDefinitionId"


@pytest.mark.parametrize("name", ["Restarter", "RESTARTER", "Reader", "reader"])
async def test_role_names_are_unique(world: World, name: str) -> None:
    await world.put(at(GROUP, 0x200), role())
    with pytest.raises(Failure) as refused:
        await world.put(at(GROUP, 0x201), role(name))
    assert refused.value.kind is FailureKind.ROLE_NAME_EXISTS


async def test_every_assignable_scope_needs_the_permission(world: World) -> None:
    admin = await world.principal(0x10)
    await world.grant(0x90, "Owner", GROUP, admin)
    data = f"{SUB}/resourceGroups/Data"
    await world.put(at(GROUP, 0x200), role(), caller=admin)
    for scopes in ((GROUP, data), (data,), (SUB,)):
        with pytest.raises(Failure) as refused:
            await world.put(at(GROUP, 0x200), role("Restarter", *scopes), caller=admin)
        assert refused.value.kind is FailureKind.FORBIDDEN
        assert refused.value.data["scope"] in {data, SUB}


async def test_a_role_that_reaches_further_than_the_caller_is_not_the_caller_s_to_change(world: World) -> None:
    admin = await world.principal(0x10)
    await world.grant(0x90, "Owner", GROUP, admin)
    await world.put(at(GROUP, 0x200), role("Restarter", GROUP, f"{SUB}/resourceGroups/Data"))
    for method, body in (("PUT", role("Restarter", GROUP)), ("DELETE", None)):
        with pytest.raises(Failure) as refused:
            await world.call(method, at(GROUP, 0x200), body, caller=admin)
        assert refused.value.kind is FailureKind.FORBIDDEN


@pytest.mark.parametrize("caller", [READER, CONTRIBUTOR])
async def test_only_who_may_write_definitions_writes(world: World, caller: str) -> None:
    with pytest.raises(Failure) as refused:
        await world.put(at(GROUP, 0x200), role(), caller=caller)
    assert refused.value.kind is FailureKind.FORBIDDEN


async def test_the_profile_limits_custom_roles() -> None:
    world = await open_world(AUTHORIZATION, profile=replace(AZURE, custom_roles_per_tenant=1))
    await world.put(at(GROUP, 0x200), role())
    await world.put(at(GROUP, 0x200), role("Again"))
    with pytest.raises(Failure) as refused:
        await world.put(at(GROUP, 0x201), role("Other"))
    assert refused.value.kind is FailureKind.LIMIT_EXCEEDED
    await world.store.close()


# Where custom roles show


async def test_a_custom_role_is_listed_where_it_can_be_assigned(world: World) -> None:
    await world.put(at(GROUP, 0x200), role("of the group", GROUP))
    await world.put(at(SUB, 0x201), role("of the subscription", SUB))
    vm = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/a"
    await world.resource(vm)
    only = "?$filter=type eq 'CustomRole'"
    assert await names(world, f"{GROUP}/{TYPE}{only}") == {"of the group", "of the subscription"}
    assert await names(world, f"{vm}/{TYPE}{only}") == {"of the group", "of the subscription"}
    assert await names(world, f"{SUB}/{TYPE}{only}") == {"of the subscription"}
    assert await names(world, f"{SUB}/{TYPE}{only} and atScopeAndBelow()") == {"of the group", "of the subscription"}
    assert await names(world, f"{SUB}/resourceGroups/Data/{TYPE}{only}") == {"of the subscription"}


async def test_a_custom_role_is_found_by_id_at_above_and_below_its_scopes_only(world: World) -> None:
    await world.put(at(GROUP, 0x200), role("of the group", GROUP))
    assert (await world.get(at(SUB, 0x200)))["id"] == at(SUB, 0x200)
    with pytest.raises(Failure) as refused:
        await world.get(at(f"{SUB}/resourceGroups/Data", 0x200))
    assert refused.value.kind is FailureKind.RESOURCE_NOT_FOUND


async def test_pages_hold_everything_once(world: World) -> None:
    for number in range(5):
        await world.put(at(GROUP, 0x200 + number), role(f"role {number}"))
    whole, _ = await world.everything(f"{GROUP}/{TYPE}")
    paged, pages = await world.everything(f"{GROUP}/{TYPE}?$top=2")
    assert whole == paged
    assert pages == 3


async def test_another_tenant_s_roles_do_not_show_and_its_ids_are_taken(world: World) -> None:
    stored = RoleDefinition(
        id=guid(0x300),
        tenant_id=OTHER_TENANT,
        name="theirs",
        description="",
        built_in=False,
        permissions=(),
        assignable_scopes=(GROUP,),
    )
    await world.add(ROLE_DEFINITIONS, stored)
    assert "theirs" not in await names(world, f"{GROUP}/{TYPE}")
    for method, body in (("GET", None), ("PUT", role())):
        with pytest.raises(Failure):
            await world.call(method, at(GROUP, 0x300), body)
    assert (await world.call("DELETE", at(GROUP, 0x300))).status == 204
    assert await world.store.get(ROLE_DEFINITIONS, guid(0x300))


@pytest.mark.parametrize(
    "text",
    ["roleName ne 'x'", "type eq 'Any'", "atScope()", "atScopeAndBelow('x')", "roleName", "x'y' eq 1", "roleName eq 'a' or 1"],
)
async def test_filters_that_are_refused(world: World, text: str) -> None:
    with pytest.raises(Failure) as refused:
        await world.get(f"{GROUP}/{TYPE}?$filter={text}")
    assert refused.value.kind is FailureKind.INVALID_FILTER


# Deleting


async def test_a_role_is_deleted_once(world: World) -> None:
    made = await world.put(at(GROUP, 0x200), role())
    answer = await world.call("DELETE", at(SUB, 0x200))
    assert answer.status == 200
    assert answer.body == {**made, "id": at(SUB, 0x200)}
    assert (await world.call("DELETE", at(SUB, 0x200))).status == 204


async def test_a_role_in_use_stays(world: World) -> None:
    await world.put(at(GROUP, 0x200), role())
    machine = await world.principal(0x10)
    assigned = await world.grant(0x100, guid(0x200), GROUP, machine)
    with pytest.raises(Failure) as refused:
        await world.call("DELETE", at(GROUP, 0x200))
    assert refused.value.kind is FailureKind.ROLE_DEFINITION_IN_USE
    with pytest.raises(Failure) as refused:
        await world.put(at(GROUP, 0x200), role("Restarter", f"{SUB}/resourceGroups/Data"))
    assert refused.value.kind is FailureKind.ROLE_DEFINITION_IN_USE
    await world.put(at(GROUP, 0x200), role("Restarter", SUB))
    assert await world.store.get(ROLE_ASSIGNMENTS, assigned)


# Deny assignments


@pytest.fixture
async def denied(world: World) -> World:
    machine = await world.principal(0x10)
    for number, scope, principals in ((1, SUB, (EVERYONE,)), (2, GROUP, (machine, guid(0x99)))):
        deny = DenyAssignment(
            id=guid(0x400 + number),
            tenant_id=guid(0xA1),
            name=f"deny {number}",
            scope=scope,
            permissions=(Permission(actions=("Microsoft.Storage/*",)),),
            principals=principals,
            exclude_principals=(OWNER,),
            system_protected=True,
        )
        await world.store.commit(Batch.of(Put(collection=DENY_ASSIGNMENTS, value=deny, expect=ABSENT)))
    return world


DENY = "providers/Microsoft.Authorization/denyAssignments"


async def test_a_deny_assignment_is_read(denied: World) -> None:
    body = await denied.get(f"{GROUP}/{DENY}/{guid(0x402)}", caller=READER)
    assert body["id"] == f"{GROUP}/{DENY}/{guid(0x402)}"
    assert body["properties"]["denyAssignmentName"] == "deny 2"
    assert body["properties"]["principals"] == [
        {"id": guid(0x10), "type": "ServicePrincipal"},
        {"id": guid(0x99), "type": "Unknown"},
    ]
    assert body["properties"]["excludePrincipals"] == [{"id": OWNER, "type": "ServicePrincipal"}]
    everyone = await denied.get(f"{SUB}/{DENY}/{guid(0x401)}")
    assert everyone["properties"]["principals"] == [{"id": EVERYONE, "type": "SystemDefined"}]
    assert everyone["properties"]["isSystemProtected"] is True


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{SUB}/{DENY}", {1, 2}),
        (f"{GROUP}/{DENY}", {1, 2}),
        (f"{SUB}/resourceGroups/Data/{DENY}", {1}),
        (f"{SUB}/{DENY}?$filter=atScope()", {1}),
        (f"{GROUP}/{DENY}?$filter=denyAssignmentName eq 'DENY 2'", {2}),
        (f"{GROUP}/{DENY}?$filter=principalId eq '{guid(0x10)}'", {2}),
        (f"{GROUP}/{DENY}?$filter=principalId eq '{OWNER}'", set()),
        (f"{GROUP}/{DENY}?$filter=gdprExportPrincipalId eq '{OWNER}'", {1, 2}),
        (f"{GROUP}/{DENY}?$filter=atScope() and gdprExportPrincipalId eq '{OWNER}'&$top=1", {1, 2}),
    ],
)
async def test_what_a_list_of_denies_holds(denied: World, url: str, expected: set[int]) -> None:
    assert {one["name"] for one in (await denied.everything(url))[0]} == {guid(0x400 + one) for one in expected}


async def test_deny_assignments_are_read_only(denied: World) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        with pytest.raises(Failure) as refused:
            await denied.call(method, f"{GROUP}/{DENY}/{guid(0x402)}", {})
        assert refused.value.kind is FailureKind.METHOD_NOT_ALLOWED
    for url in (f"{SUB}/{DENY}/{guid(0x402)}", f"{GROUP}/{DENY}/x"):
        with pytest.raises(Failure) as refused:
            await denied.get(url)
        assert refused.value.kind is FailureKind.RESOURCE_NOT_FOUND
    with pytest.raises(Failure) as refused:
        await denied.get(f"{GROUP}/{DENY}?$filter=atScope('x')")
    assert refused.value.kind is FailureKind.INVALID_FILTER


# The caller's own permissions


async def test_permissions_are_the_caller_s(world: World) -> None:
    url = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/web/providers/Microsoft.Authorization/permissions"
    body = await world.get(url, caller=READER)
    assert body["value"] == [{"actions": ["*/read"], "notActions": [], "dataActions": [], "notDataActions": []}]
    with pytest.raises(Failure) as refused:
        await world.get(url, caller=await world.principal(0x10))
    assert refused.value.kind is FailureKind.FORBIDDEN


async def test_permissions_of_a_resource_under_the_sdk_s_empty_parent_path(world: World) -> None:
    vm = f"{GROUP}/providers/Microsoft.Compute//virtualMachines/a"
    await world.resource(vm)
    body = await world.get(f"{vm}/providers/Microsoft.Authorization/permissions", caller=CONTRIBUTOR)
    assert body["value"][0]["actions"] == ["*"]
    with pytest.raises(Failure) as refused:
        await world.get(f"{vm}b/providers/Microsoft.Authorization/permissions")
    assert refused.value.kind is FailureKind.RESOURCE_NOT_FOUND


async def test_the_operations_list(world: World) -> None:
    body = await world.get("/providers/Microsoft.Authorization/operations")
    assert "Microsoft.Authorization/roleAssignments/write" in {one["name"] for one in body["value"]}
