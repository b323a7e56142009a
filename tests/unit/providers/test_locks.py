from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest
from tests.unit.providers.management_world import CONTRIBUTOR, GROUP, READER, ROLES, SUB, TENANT, World, guid, open_world

from idplane.arm.requests import ManagementResponse
from idplane.model.events import EventStatus
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import AZURE
from idplane.ports.collections import ACTIVITY, LOCKS, RESOURCES
from idplane.providers import PROVIDERS

VERSION = "2016-09-01"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/stock"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"
TRUST = f"{IDENTITY}/federatedIdentityCredentials/github"
VAULT_BODY = {"location": "westeurope", "properties": {"tenantId": TENANT, "sku": {"family": "A", "name": "standard"}}}
TRUST_BODY = {"properties": {"issuer": "https://issuer.test", "subject": "s", "audiences": ["api://AzureADTokenExchange"]}}
KEEPER = 0x77
RESOURCES_VERSION = "2021-04-01"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    opened = await open_world(*PROVIDERS)
    yield opened
    await opened.store.close()


def lock_id(scope: str, name: str = "keep") -> str:
    return f"{scope}/providers/Microsoft.Authorization/locks/{name}"


async def lock(world: World, scope: str, level: str = "CanNotDelete", name: str = "keep", **also: object) -> ManagementResponse:
    return await world.call("PUT", lock_id(scope, name), {"properties": {"level": level, **also}}, version=VERSION)


async def unlock(world: World, scope: str, name: str = "keep") -> ManagementResponse:
    return await world.call("DELETE", lock_id(scope, name), version=VERSION)


async def make(world: World, identifier: str = VAULT) -> ManagementResponse:
    bodies = {VAULT: (VAULT_BODY, "2023-07-01"), TRUST: (TRUST_BODY, "2024-11-30")}
    body, version = bodies.get(identifier, ({"location": "westeurope"}, "2024-11-30"))
    return await world.call("PUT", identifier, body, version=version)


def delete(world: World, identifier: str) -> Awaitable[ManagementResponse]:
    versions = {VAULT: "2023-07-01", GROUP: RESOURCES_VERSION}
    return world.call("DELETE", identifier, version=versions.get(identifier, "2024-11-30"))


def grant(world: World, number: int, scope: str, principal: str) -> Awaitable[ManagementResponse]:
    role = f"/providers/Microsoft.Authorization/roleDefinitions/{ROLES['Reader']}"
    url = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{guid(number)}"
    return world.call("PUT", url, {"properties": {"roleDefinitionId": role, "principalId": principal}})


async def refused(call: Awaitable[ManagementResponse]) -> Failure:
    with pytest.raises(Failure) as caught:
        await call
    return caught.value


# The locks themselves -------------------------------------------------------------------------------------------------


async def test_a_lock_is_made_changed_shown_and_removed(world: World) -> None:
    made = await lock(world, GROUP, notes="ask first", owners=[{"applicationId": guid(7)}])
    assert (made.status, made.body) == (
        201,
        {
            "id": lock_id(GROUP),
            "type": "Microsoft.Authorization/locks",
            "name": "keep",
            "properties": {"level": "CanNotDelete", "notes": "ask first", "owners": [{"applicationId": guid(7)}]},
        },
    )
    changed = await lock(world, GROUP.upper().replace("/SUBSCRIPTIONS", "/subscriptions"), "readonly")
    assert changed.status == 200
    assert (await world.get(lock_id(GROUP), version=VERSION))["properties"] == {"level": "ReadOnly"}
    assert "systemData" in await world.get(lock_id(GROUP), version="2020-05-01")
    assert (await unlock(world, GROUP)).status == 200
    assert (await unlock(world, GROUP)).status == 204
    assert (await refused(world.call("GET", lock_id(GROUP)))).kind is FailureKind.API_VERSION_NOT_REGISTERED
    assert (await refused(world.call("GET", lock_id(GROUP), version=VERSION))).kind is FailureKind.RESOURCE_NOT_FOUND


async def test_lists_hold_what_is_above_and_below_unless_asked_for_the_scope_alone(world: World) -> None:
    await make(world)
    for scope, name in ((SUB, "all"), (GROUP, "group"), (VAULT, "vault"), (f"{VAULT}/secrets/one", "secret")):
        await lock(world, scope, name=name)

    async def names(scope: str, query: str = "") -> list[str]:
        items, _ = await world.everything(f"{scope}/providers/Microsoft.Authorization/locks{query}", version=VERSION)
        return sorted(one["name"] for one in items)

    assert await names(SUB) == ["all", "group", "secret", "vault"]
    assert await names(GROUP) == ["all", "group", "secret", "vault"]
    assert await names(GROUP, "?$filter=atScope()") == ["all", "group"]
    assert await names(VAULT, "?$filter=atScope()") == ["all", "group", "vault"]
    assert await names(SUB, "?$filter=atScope()") == ["all"]
    assert (
        await refused(world.call("GET", f"{SUB}/providers/Microsoft.Authorization/locks?$filter=level eq 'x'", version=VERSION))
    ).kind is (FailureKind.INVALID_FILTER)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"properties": {}},
        {"properties": {"level": "NotSpecified"}},
        {"properties": {"level": 1}},
        {"properties": {"level": "ReadOnly", "notes": "n" * 513}},
        {"properties": {"level": "ReadOnly", "owners": ["me"]}},
    ],
)
async def test_what_is_no_lock_is_refused(world: World, body: object) -> None:
    failure = await refused(world.call("PUT", lock_id(GROUP), body, version=VERSION))
    assert failure.kind is FailureKind.INVALID_PARAMETER
    assert not await world.store.all(LOCKS)


@pytest.mark.parametrize(
    "scope", [f"{SUB}/resourceGroups/none", VAULT, "", "/providers/Microsoft.Management/managementGroups/none"]
)
async def test_only_what_exists_in_a_subscription_can_be_locked(world: World, scope: str) -> None:
    await world.grant(0xE1, "Owner", "/", READER)
    call = world.call("PUT", lock_id(scope), {"properties": {"level": "ReadOnly"}}, version=VERSION, caller=READER)
    assert (await refused(call)).kind.category.value == 404


async def test_locking_takes_the_right_to_manage_access(world: World) -> None:
    keeper = await world.principal(KEEPER)
    await world.grant(0xE1, "User Access Administrator", GROUP, keeper)
    for caller in (READER, CONTRIBUTOR):
        call = world.call("PUT", lock_id(GROUP), {"properties": {"level": "ReadOnly"}}, version=VERSION, caller=caller)
        assert (await refused(call)).kind is FailureKind.FORBIDDEN
    made = await world.call("PUT", lock_id(GROUP), {"properties": {"level": "ReadOnly"}}, version=VERSION, caller=keeper)
    assert made.status == 201
    assert (
        await refused(world.call("DELETE", lock_id(GROUP), version=VERSION, caller=CONTRIBUTOR))
    ).kind is FailureKind.FORBIDDEN
    assert (await world.call("DELETE", lock_id(GROUP), version=VERSION, caller=keeper)).status == 200


async def test_a_scope_has_twenty_locks_at_most_where_azure_says_so() -> None:
    world = await open_world(*PROVIDERS, profile=AZURE)
    for number in range(20):
        await lock(world, GROUP, name=f"lock-{number}")
    failure = await refused(lock(world, GROUP, name="one-more"))
    assert failure.kind is FailureKind.LIMIT_EXCEEDED
    assert (await lock(world, GROUP, name="lock-1")).status == 200
    await world.store.close()


# What they do ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [SUB, GROUP, VAULT])
@pytest.mark.parametrize("level", ["CanNotDelete", "ReadOnly"])
async def test_what_is_locked_or_lies_in_it_cannot_be_deleted(world: World, scope: str, level: str) -> None:
    await make(world)
    await lock(world, scope, level)
    failure = await refused(delete(world, VAULT))
    assert failure.kind is FailureKind.LOCKED
    assert dict(failure.data) == {"scope": VAULT, "operation": "delete", "locks": scope}
    assert (await refused(delete(world, GROUP))).data["locks"] == scope
    await unlock(world, scope)
    assert (await delete(world, VAULT)).status == 200


async def test_a_lock_against_deleting_lets_everything_else_pass(world: World) -> None:
    machine = await world.principal(0x10)
    await make(world)
    await lock(world, GROUP)
    assert (await make(world)).status == 200
    assert (await make(world, IDENTITY)).status == 201
    assert (await make(world, TRUST)).status == 201
    assert (await grant(world, 0x100, VAULT, machine)).status == 201


async def test_a_lock_against_deleting_keeps_role_assignments(world: World) -> None:
    machine = await world.principal(0x10)
    await make(world)
    made = (await grant(world, 0x100, VAULT, machine)).body
    assert isinstance(made, dict)
    for scope in (VAULT, GROUP, SUB):
        await lock(world, scope)
        assert (await refused(world.call("DELETE", str(made["id"])))).kind is FailureKind.LOCKED
        await unlock(world, scope)
    assert (await world.call("DELETE", str(made["id"]))).status == 200


async def test_a_read_only_lock_leaves_what_a_reader_may_do(world: World) -> None:
    machine = await world.principal(0x10)
    await make(world)
    await make(world, IDENTITY)
    await lock(world, GROUP, "ReadOnly")
    writes = [
        make(world),
        make(world, f"{IDENTITY}2"),
        make(world, TRUST),
        grant(world, 0x100, VAULT, machine),
        world.call("PATCH", VAULT, {"tags": {"a": "b"}}, version="2023-07-01"),
        world.call("PUT", GROUP, {"location": "westeurope"}, version=RESOURCES_VERSION),
        world.call("POST", f"{IDENTITY}/listAssociatedResources", version="2022-01-31-preview"),
    ]
    for write in writes:
        failure = await refused(write)
        assert failure.kind is FailureKind.LOCKED
        assert (failure.data["operation"], failure.data["locks"]) == ("write", GROUP)
    assert (await world.call("GET", VAULT, version="2023-07-01")).status == 200
    assert (
        await world.call("PUT", f"{SUB}/resourceGroups/O", {"location": "westeurope"}, version=RESOURCES_VERSION)
    ).status == 201
    assert (await lock(world, VAULT, name="another")).status == 201


async def test_a_locked_child_keeps_its_parents(world: World) -> None:
    await make(world, IDENTITY)
    await make(world, TRUST)
    await lock(world, TRUST)
    for identifier in (GROUP, IDENTITY, TRUST):
        failure = await refused(delete(world, identifier))
        assert (failure.kind, failure.data["locks"]) == (FailureKind.LOCKED, TRUST)
    assert (await make(world, IDENTITY)).status == 200


async def test_a_lock_beside_does_not_count(world: World) -> None:
    await make(world)
    await world.resource(f"{GROUP}2")
    await lock(world, f"{GROUP}2", "ReadOnly")
    assert (await delete(world, VAULT)).status == 200
    assert (await delete(world, GROUP)).status == 202


async def test_what_is_not_there_is_refused_for_its_lock_first(world: World) -> None:
    await lock(world, GROUP)
    assert (await refused(delete(world, VAULT))).kind is FailureKind.LOCKED
    assert (await refused(world.call("DELETE", VAULT, version="2023-07-01", caller=READER))).kind is FailureKind.FORBIDDEN


async def test_the_refusal_is_in_the_log(world: World) -> None:
    await lock(world, GROUP)
    await refused(delete(world, GROUP))
    event = (await world.store.read_log(ACTIVITY, limit=1))[0].event
    assert (event.http_status, event.sub_status, event.status) == (409, "LOCKED", EventStatus.FAILED)


@pytest.mark.parametrize(
    ("scope", "level", "allowed"),
    [
        (VAULT, "CanNotDelete", False),
        (f"{VAULT}/secrets/one", "CanNotDelete", False),
        (GROUP, "CanNotDelete", False),
        (GROUP, "ReadOnly", False),
        (f"{GROUP}2", "ReadOnly", False),
        (f"{GROUP}2", "CanNotDelete", True),
    ],
)
async def test_nothing_is_moved_out_from_under_its_lock(world: World, scope: str, level: str, *, allowed: bool) -> None:
    await make(world)
    await world.resource(f"{GROUP}2")
    await lock(world, scope, level)
    body = {"resources": [VAULT], "targetResourceGroup": f"{GROUP}2"}

    def move(word: str) -> Awaitable[ManagementResponse]:
        return world.call("POST", f"{GROUP}/{word}", body, version=RESOURCES_VERSION)

    if allowed:
        assert (await move("moveResources")).status == 202
        return
    assert (await refused(move("moveResources"))).kind is FailureKind.LOCKED
    assert await world.store.get(RESOURCES, VAULT.lower()) is not None
    await unlock(world, scope)
    assert (await move("moveResources")).status == 202


# Races ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delete_first", [True, False])
async def test_a_lock_and_a_delete_at_once_have_one_winner(world: World, *, delete_first: bool) -> None:
    async def outcome(call: Awaitable[ManagementResponse]) -> int:
        try:
            return (await call).status
        except Failure as failure:
            return failure.kind.category.value

    for _ in range(10):
        await make(world)
        calls = [outcome(delete(world, VAULT)), outcome(lock(world, VAULT))]
        outcomes = await asyncio.gather(*(calls if delete_first else reversed(calls)))
        deleted, locked = outcomes if delete_first else reversed(outcomes)
        there = await world.store.get(RESOURCES, VAULT.lower()) is not None
        assert (deleted, locked, there) in {(200, 404, False), (409, 201, True)}
        await unlock(world, VAULT)


async def test_many_writes_at_once_do_not_hinder_each_other(world: World) -> None:
    made = await asyncio.gather(*(make(world, f"{IDENTITY}{number}") for number in range(40)))
    assert [one.status for one in made] == [201] * 40


async def test_changes_of_locks_hinder_neither_one_another_nor_other_writes(world: World) -> None:
    """As a template does that locks each of its resources: what meets a change of locks looks again, however often."""
    await make(world)
    calls = [lock(world, GROUP, name=f"lock-{number}") for number in range(60)]
    writes = [make(world, f"{IDENTITY}{number}") for number in range(20)]
    done = await asyncio.gather(*calls, *writes)
    assert {one.status for one in done} == {201}
    gone = await asyncio.gather(*(unlock(world, GROUP, f"lock-{number}") for number in range(60)))
    assert {one.status for one in gone} == {200}
    assert (await delete(world, VAULT)).status == 200
