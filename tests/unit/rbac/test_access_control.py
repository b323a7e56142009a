"""`AccessControl` over the real store: what it loads, what it keeps, and that nothing it keeps outlives a commit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from idplane.model.calls import Caller
from idplane.model.directory import Principal, PrincipalType, Subscription, Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId
from idplane.model.roles import DenyAssignment, Permission, Reason, RoleAssignment, RoleDefinition
from idplane.ports.collections import DENY_ASSIGNMENTS, PRINCIPALS, ROLE_ASSIGNMENTS, ROLE_DEFINITIONS, SUBSCRIPTIONS, TENANTS
from idplane.ports.store import ABSENT, ANY, Batch, Delete, Put, Store
from idplane.rbac import BUILT_IN_ROLES, EVERYONE, AccessControl
from idplane.rbac.cache import FeedCache
from idplane.testing.worlds import memory_store

_THEN = datetime(2026, 1, 1, tzinfo=UTC)
_HOME, _OTHER = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
_WORKER, _TEAM = "aaaaaaaa-0000-0000-0000-000000000001", "aaaaaaaa-0000-0000-0000-000000000002"
_SUBSCRIPTION = ResourceId.parse("/subscriptions/33333333-3333-3333-3333-333333333333")
_FOREIGN = ResourceId.parse("/subscriptions/44444444-4444-4444-4444-444444444444")
_GROUP = _SUBSCRIPTION.child("resourceGroups", "rg")
_READ, _WRITE = "Microsoft.Compute/virtualMachines/read", "Microsoft.Compute/virtualMachines/write"
_ROLES = {role.name: role.id for role in BUILT_IN_ROLES.values()}
_CUSTOM = "cccccccc-0000-0000-0000-000000000001"
_ONLY = frozenset({_WORKER})


@dataclass
class _World:
    store: Store
    access: AccessControl

    async def write(self, *operations: object) -> None:
        await self.store.commit(Batch.of(*operations))

    async def grant(self, role: str, scope: ResourceId = _SUBSCRIPTION, *, name: str = "a1", principal: str = _WORKER) -> None:
        await self.write(Put(collection=ROLE_ASSIGNMENTS, value=_grant(role, scope, name, principal), expect=ANY))

    async def allowed(self, action: str = _READ, scope: ResourceId = _GROUP, ids: frozenset[str] = _ONLY) -> bool:
        return (await self.access.check(ids, action, scope)).allowed


def _grant(role: str, scope: ResourceId, name: str = "a1", principal: str = _WORKER) -> RoleAssignment:
    return RoleAssignment(
        id=name,
        tenant_id=_HOME,
        scope=str(scope),
        role_id=_ROLES.get(role, role),
        principal_id=principal,
        principal_type="ServicePrincipal",
        created_at=_THEN,
        changed_at=_THEN,
    )


def _custom(*actions: str, tenant: str = _HOME, scopes: tuple[str, ...] = ("/",), name: str = "Custom") -> RoleDefinition:
    return RoleDefinition(
        id=_CUSTOM,
        tenant_id=tenant,
        name=name,
        description="",
        built_in=False,
        permissions=(Permission(actions=actions),),
        assignable_scopes=scopes,
    )


def _deny(scope: ResourceId) -> DenyAssignment:
    return DenyAssignment(
        id="d1", tenant_id=_HOME, name="d", scope=str(scope), permissions=(Permission(actions=("*",)),), principals=(EVERYONE,)
    )


def _tenant(identifier: str) -> Tenant:
    return Tenant(id=identifier, display_name="T", domain=f"{identifier}.test", issuer_v1="i", issuer_v2="j", created_at=_THEN)


def _principal(identifier: str, kind: PrincipalType) -> Principal:
    return Principal(id=identifier, tenant_id=_HOME, client_id=identifier, display_name="w", type=kind, created_at=_THEN)


@pytest.fixture
async def world() -> AsyncIterator[_World]:
    store = await memory_store()
    subscriptions = ((_SUBSCRIPTION, _HOME), (_FOREIGN, _OTHER))
    await store.commit(
        Batch.of(
            *(Put(collection=TENANTS, value=_tenant(one), expect=ABSENT) for one in (_HOME, _OTHER)),
            *(
                Put(
                    collection=SUBSCRIPTIONS, value=Subscription(id=one.name, tenant_id=tenant, display_name="s"), expect=ABSENT
                )
                for one, tenant in subscriptions
            ),
            Put(collection=PRINCIPALS, value=_principal(_WORKER, PrincipalType.MANAGED_IDENTITY), expect=ABSENT),
            Put(collection=PRINCIPALS, value=_principal(_TEAM, PrincipalType.GROUP), expect=ABSENT),
        )
    )
    access = AccessControl(store=store)
    yield _World(store, access)
    access.close()
    await store.close()


# Nothing kept outlives a commit


async def test_a_new_assignment_counts_at_once_and_a_removed_one_no_more(world: _World) -> None:
    for _ in range(3):
        assert not await world.allowed()
        await world.grant("Reader")
        assert await world.allowed()
        await world.write(Delete(collection=ROLE_ASSIGNMENTS, key="a1"))


async def test_a_changed_assignment_counts_at_once(world: _World) -> None:
    await world.grant("Contributor")
    assert await world.allowed(_WRITE)
    await world.write(
        Put(collection=ROLE_ASSIGNMENTS, value=replace(_grant("Contributor", _SUBSCRIPTION), condition="x"), expect=ANY)
    )
    assert not await world.allowed(_WRITE)


async def test_a_new_deny_assignment_counts_at_once_and_a_removed_one_no_more(world: _World) -> None:
    await world.grant("Owner")
    for scope in (ROOT, _SUBSCRIPTION, _GROUP):
        assert await world.allowed()
        await world.write(Put(collection=DENY_ASSIGNMENTS, value=_deny(scope), expect=ABSENT))
        decision = await world.access.check(_ONLY, _READ, _GROUP)
        assert (decision.reason, decision.because) == (Reason.DENY_ASSIGNMENT, "d1")
        await world.write(Delete(collection=DENY_ASSIGNMENTS, key="d1"))


async def test_a_changed_custom_role_counts_at_once(world: _World) -> None:
    await world.write(Put(collection=ROLE_DEFINITIONS, value=_custom("*/read"), expect=ABSENT))
    await world.grant(_CUSTOM)
    assert await world.allowed(_READ)
    assert not await world.allowed(_WRITE)
    await world.write(Put(collection=ROLE_DEFINITIONS, value=_custom("*/write"), expect=ANY))
    assert not await world.allowed(_READ)
    assert await world.allowed(_WRITE)
    await world.write(Delete(collection=ROLE_DEFINITIONS, key=_CUSTOM))
    assert not await world.allowed(_WRITE)


async def test_a_role_made_after_its_assignment_was_read_counts_at_once(world: _World) -> None:
    await world.grant(_CUSTOM)
    assert not await world.allowed()
    await world.write(Put(collection=ROLE_DEFINITIONS, value=_custom("*"), expect=ABSENT))
    assert await world.allowed()


async def test_a_subscription_that_changes_tenants_takes_no_access_along(world: _World) -> None:
    await world.grant("Owner")
    assert await world.allowed()
    moved = Subscription(id=_SUBSCRIPTION.name, tenant_id=_OTHER, display_name="s")
    await world.write(Put(collection=SUBSCRIPTIONS, value=moved, expect=ANY))
    assert not await world.allowed()


async def test_after_close_it_hears_of_nothing(world: _World) -> None:
    assert not await world.allowed()
    world.access.close()
    await world.grant("Owner")
    assert not await world.allowed()


# What counts


async def test_a_groups_assignment_counts_for_its_members(world: _World) -> None:
    await world.grant("Reader", principal=_TEAM)
    assert not await world.allowed()
    assert await world.allowed(ids=frozenset({_WORKER, _TEAM}))


async def test_the_top_of_one_tenant_is_not_the_top_of_another(world: _World) -> None:
    await world.grant("Owner", ROOT)
    assert await world.allowed(scope=_SUBSCRIPTION)
    assert await world.allowed(scope=ROOT)
    assert not await world.allowed(scope=_FOREIGN)
    assert await world.access.permissions(_ONLY, _FOREIGN) == ()


async def test_another_tenants_custom_role_gives_nothing(world: _World) -> None:
    await world.write(Put(collection=ROLE_DEFINITIONS, value=_custom("*", tenant=_OTHER), expect=ABSENT))
    await world.grant(_CUSTOM)
    assert not await world.allowed()
    assert await world.access.definition(_HOME, _CUSTOM) is None
    assert await world.access.definition(_OTHER, _CUSTOM) is not None


async def test_a_stored_role_cannot_take_a_built_in_roles_place(world: _World) -> None:
    reader = _ROLES["Reader"]
    await world.write(Put(collection=ROLE_DEFINITIONS, value=replace(_custom("*"), id=reader), expect=ABSENT))
    await world.grant("Reader")
    assert not await world.allowed(_WRITE)
    assert await world.access.definition(_HOME, reader) == BUILT_IN_ROLES[reader]


# What it tells


async def test_require_gives_the_decision(world: _World) -> None:
    await world.grant("Reader")
    decision = await world.access.require(_caller(), _READ, _GROUP)
    assert decision.because == "a1"


def _caller(*groups: str) -> Caller:
    return Caller(
        tenant_id=_HOME, principal_id=_WORKER, client_id="client", display_name="stock-vm", token_id="t", groups=tuple(groups)
    )


async def test_require_refuses_with_what_the_texts_need(world: _World) -> None:
    await world.grant("Reader")
    with pytest.raises(Failure) as caught:
        await world.access.require(_caller(), _WRITE, _GROUP)
    assert caught.value.kind is FailureKind.FORBIDDEN
    assert dict(caught.value.data) == {
        "name": "stock-vm",
        "client_id": "client",
        "oid": _WORKER,
        "action": _WRITE,
        "scope": str(_GROUP),
        "reason": "not-in-roles",
        "because": "",
    }


async def test_require_names_the_deny_assignment(world: _World) -> None:
    await world.write(Put(collection=DENY_ASSIGNMENTS, value=_deny(_SUBSCRIPTION), expect=ABSENT))
    with pytest.raises(Failure) as caught:
        await world.access.require(_caller(_TEAM), _READ, _GROUP)
    assert (caught.value.data["reason"], caught.value.data["because"]) == ("deny-assignment", "d1")


async def test_permissions_are_the_callers_nearest_first_and_each_once(world: _World) -> None:
    reader, owner = BUILT_IN_ROLES[_ROLES["Reader"]].permissions, BUILT_IN_ROLES[_ROLES["Owner"]].permissions
    assert await world.access.permissions(_ONLY, _GROUP) == ()
    await world.grant("Reader", _SUBSCRIPTION)
    await world.grant("Reader", ROOT, name="a2")
    await world.grant("Owner", _GROUP, name="a3", principal=_TEAM)
    await world.grant("Gone", _GROUP, name="a4")
    conditional = replace(_grant("Contributor", _GROUP, "a5"), condition="x")
    await world.write(Put(collection=ROLE_ASSIGNMENTS, value=conditional, expect=ABSENT))
    contributor = BUILT_IN_ROLES[_ROLES["Contributor"]].permissions
    assert await world.access.permissions(_ONLY, _GROUP) == (replace(contributor[0], condition="x"), *reader)
    assert await world.access.permissions(frozenset({_WORKER, _TEAM}), _GROUP) == (
        *owner,
        replace(contributor[0], condition="x"),
        *reader,
    )


async def test_definitions_by_id_in_any_case(world: _World) -> None:
    role = await world.access.definition(_HOME, _ROLES["Owner"].upper())
    assert role is not None
    assert role.name == "Owner"
    assert await world.access.definition(_HOME, "unknown") is None


def test_the_built_in_roles_are_whole() -> None:
    assert len(BUILT_IN_ROLES) == len(set(BUILT_IN_ROLES)) == 48
    assert repr(BUILT_IN_ROLES) == "BUILT_IN_ROLES"
    for key, role in BUILT_IN_ROLES.items():
        assert (role.id, role.built_in, role.tenant_id) == (key, True, None)
        assert key == key.lower()
        assert role.permissions
        assert role.assignable_scopes == ("/",)


# The cache


async def test_what_is_kept_is_not_loaded_again_until_dropped() -> None:
    loads: list[str] = []

    async def load(key: str) -> str:
        loads.append(key)
        return key.upper()

    cache: FeedCache[str] = FeedCache(limit=2)
    for key in ("a", "a", "b", "a"):
        assert await cache.get(key, load) == key.upper()
    assert loads == ["a", "b"]
    cache.drop("a")
    await cache.get("a", load)
    assert loads == ["a", "b", "a"]
    await cache.get("c", load)  # the oldest goes: b
    await cache.get("a", load)
    await cache.get("b", load)
    assert loads == ["a", "b", "a", "c", "b"]


@pytest.mark.parametrize("whole", [False, True])
async def test_what_changes_while_it_is_loaded_is_not_kept(*, whole: bool) -> None:
    cache: FeedCache[int] = FeedCache(limit=10)
    loads = 0

    async def load(_key: str) -> int:
        nonlocal loads
        loads += 1
        if loads == 1:
            cache.clear() if whole else cache.drop("k")
        return loads

    assert [await cache.get("k", load) for _ in range(3)] == [1, 2, 2]


async def test_a_failed_load_leaves_no_trace() -> None:
    cache: FeedCache[int] = FeedCache(limit=10)

    async def fail(_key: str) -> int:
        raise Failure(FailureKind.UNAVAILABLE)

    async def load(_key: str) -> int:
        return 7

    with pytest.raises(Failure):
        await cache.get("k", fail)
    assert await cache.get("k", load) == 7
