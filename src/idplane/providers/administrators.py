"""No lock-out: somebody must stay able to assign roles at the tenant and in each of its subscriptions.

An administrator of a scope is an enabled principal that holds `roleAssignments/write` there without a condition, by itself or through a
group, and that no deny assignment keeps from it. A change is looked at as a whole, whatever it is: a role assignment that goes or
gets a condition, a role that loses the action, a deny assignment, a principal that is disabled or deleted with what it was (an
identity, a machine, a resource group), a member that leaves a group, a subscription that moves. It is refused when a scope had an
administrator before it and would have none after it.

Only who says `force=true` may lock himself out. All changes that could do so raise the version of one record, so that two of them at
once cannot each count on what the other takes away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from idplane.arm.scratch import ScratchStore
from idplane.model.directory import Principal, PrincipalType, Setting
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId
from idplane.model.roles import AccessCall, RoleAssignment, RoleDefinition
from idplane.ports.collections import (
    DENY_ASSIGNMENTS,
    MANAGEMENT_GROUPS,
    MEMBERSHIPS,
    PRINCIPALS,
    ROLE_ASSIGNMENTS,
    ROLE_DEFINITIONS,
    SETTINGS,
    SUBSCRIPTIONS,
)
from idplane.ports.store import ABSENT, Batch, CommitRefused, Delete, Operation, Put, Store
from idplane.rbac.builtin import BUILT_IN_ROLES
from idplane.rbac.decision import CompiledDeny
from idplane.rbac.groups import Groups
from idplane.rbac.places import Places
from idplane.rbac.rules import Rules

__all__ = ["keep_administrators"]

_WRITE = "Microsoft.Authorization/roleAssignments/write"
_TYPE = "Microsoft.Authorization/roleAssignments"
_ANY_NAME = "00000000-0000-0000-0000-000000000000"
_WATCHED = {
    one.name
    for one in (
        ROLE_ASSIGNMENTS,
        ROLE_DEFINITIONS,
        DENY_ASSIGNMENTS,
        PRINCIPALS,
        MEMBERSHIPS,
        SUBSCRIPTIONS,
        MANAGEMENT_GROUPS,
    )
}


async def keep_administrators(store: Store, batch: Batch, tenant_id: str) -> Batch:
    """Operations that keep what was judged true until the batch commits; raises `Failure(LAST_ADMINISTRATOR)`."""
    if not any(_watched(one) for one in batch.operations):
        return Batch()
    before = _State(store, tenant_id)
    try:
        threatened = await _threatened(before, batch)
        if not threatened or not await _judged(before, batch, threatened):
            return Batch()
    finally:
        before.groups.close()
    name = f"administration:{tenant_id}"
    turn = await store.get(SETTINGS, name)
    return Batch.of(
        Put(collection=SETTINGS, value=Setting(name=name, value=""), expect=ABSENT if turn is None else turn.version)
    )


async def _threatened(before: _State, batch: Batch) -> list[ResourceId]:
    weakened = await _weakened(before, batch)
    return await _protected(before, weakened) if weakened else []


async def _judged(before: _State, batch: Batch, threatened: Sequence[ResourceId]) -> bool:
    """Whether the change could be judged; raises `Failure(LAST_ADMINISTRATOR)`."""
    scratch = ScratchStore(before.store)
    try:
        await scratch.commit(batch)
    except CommitRefused:
        return False  # the real commit will be refused as well, and planned anew
    after = _State(scratch, before.tenant_id)
    for scope in threatened:
        if not await after.administered(scope) and await before.administered(scope):
            raise _refused(scope, batch)
    return True


def _watched(one: Operation) -> bool:
    """What can take something away: every change of what is there, and new deny assignments."""
    if not isinstance(one, Put | Delete) or one.collection.name not in _WATCHED:
        return False
    return isinstance(one, Delete) or one.expect is not ABSENT or one.collection.name == DENY_ASSIGNMENTS.name


def _refused(scope: ResourceId, batch: Batch) -> Failure:
    """In Azure's words where an assignment is deleted."""
    deleted = any(isinstance(one, Delete) and one.collection.name == ROLE_ASSIGNMENTS.name for one in batch.operations)
    words = "Cannot delete the last RBAC admin assignment" if deleted else "Cannot take away the last RBAC administrator"
    return Failure(
        FailureKind.LAST_ADMINISTRATOR,
        f"{words}: nobody could assign roles at scope '{scope}' any more. Add force=true to the query to do it all the same.",
        code="CannotDeleteLastRbacAdminAssignment",
        scope=str(scope),
    )


# What the directory would look like ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _State:
    """The store before a change, or as it would be after it."""

    store: Store
    tenant_id: str

    @cached_property
    def places(self) -> Places:
        return Places(self.store)

    @cached_property
    def groups(self) -> Groups:
        return Groups(store=self.store)

    async def gives(self, role_id: str) -> bool:
        """Whether a role holds the action."""
        built_in = BUILT_IN_ROLES.get(role_id)
        if built_in is not None:
            return role_id in _administering()
        found = await self.store.get(ROLE_DEFINITIONS, role_id)
        return found is not None and _holds(found.value)

    async def roles(self) -> tuple[str, ...]:
        """Every role that holds the action."""
        own = await self.store.all(ROLE_DEFINITIONS, where={"tenant_id": self.tenant_id})
        return (*_administering(), *(one.value.id for one in own if _holds(one.value)))

    async def administered(self, scope: ResourceId) -> bool:
        """Whether somebody can assign roles at a scope."""
        lineage = await self.places.lineage(scope)
        denies = [
            CompiledDeny.of(one.value)
            for key in lineage
            for one in await self.store.all(DENY_ASSIGNMENTS, where={"scope_key": key})
        ]
        target = (scope.extension(_TYPE, _ANY_NAME).key, *lineage)
        for role_id in await self.roles():
            for key in lineage:
                for one in await self.store.all(ROLE_ASSIGNMENTS, where={"scope_key": key, "role_id": role_id}):
                    if one.value.tenant_id == self.tenant_id and one.value.condition is None:
                        async for principal in self._meant(one.value.principal_id):
                            if await self._may(principal, target, denies):
                                return True
        return False

    async def _may(self, principal: Principal, target: tuple[str, ...], denies: Sequence[CompiledDeny]) -> bool:
        ids = frozenset((principal.id, *await self.groups.of(principal.id)))
        call = AccessCall(principal_ids=ids, action=_WRITE, data=False, scopes=target, tenant_id=self.tenant_id)
        return principal.enabled and not any(deny.covers(call) for deny in denies)

    async def _meant(self, principal_id: str) -> AsyncIterator[Principal]:
        """A principal that can act: itself, or for a group all that are in it."""
        waiting, seen = [principal_id], {principal_id}
        while waiting:
            found = await self.store.get(PRINCIPALS, waiting.pop())
            if found is None:
                continue
            if found.value.type is not PrincipalType.GROUP:
                yield found.value
                continue
            for one in await self.store.all(MEMBERSHIPS, where={"group_id": found.value.id}):
                if one.value.member_id not in seen:
                    seen.add(one.value.member_id)
                    waiting.append(one.value.member_id)


def _holds(role: RoleDefinition) -> bool:
    return Rules(role.permissions).hold(_WRITE, data=False)


def _administering() -> tuple[str, ...]:
    return tuple(role.id for role in BUILT_IN_ROLES.values() if _holds(role))


# What a change takes away -------------------------------------------------------------------------------------------


async def _weakened(before: _State, batch: Batch) -> set[ResourceId]:
    """The scopes at which a batch takes something from an administrator, if it was one."""
    found: set[ResourceId] = set()
    for one in batch.operations:
        if _watched(one):
            found.update(await _taken(before, one))
    return found


async def _taken(before: _State, one: Operation) -> set[ResourceId]:
    name = one.collection.name if isinstance(one, Put | Delete) else ""
    new = one.value if isinstance(one, Put) else None
    key = one.collection.key(one.value) if isinstance(one, Put) else one.key if isinstance(one, Delete) else ""
    store = before.store
    if name == ROLE_ASSIGNMENTS.name:
        assignment = await store.get(ROLE_ASSIGNMENTS, key)
        gone = assignment is not None and (new is None or getattr(new, "condition", None) is not None)
        return await _powers(before, [assignment.value]) if assignment is not None and gone else set()
    if name == ROLE_DEFINITIONS.name:
        return await _role_lost(before, key, new)
    if name == DENY_ASSIGNMENTS.name:
        return _newly_denied(new)
    if name == PRINCIPALS.name:
        return await _powers_of(before, key) if new is not None and not getattr(new, "enabled", True) else set()
    if name == MEMBERSHIPS.name:
        membership = await store.get(MEMBERSHIPS, key) if new is None else None
        return await _powers_of(before, membership.value.group_id) if membership is not None else set()
    return await _moved(before, name, key, new)


async def _role_lost(before: _State, role_id: str, new: object) -> set[ResourceId]:
    """A role that held the action and will not."""
    if (isinstance(new, RoleDefinition) and _holds(new)) or not await before.gives(role_id):
        return set()
    assigned = await before.store.all(ROLE_ASSIGNMENTS, where={"role_id": role_id})
    return await _powers(before, [one.value for one in assigned])


def _newly_denied(new: object) -> set[ResourceId]:
    """A deny assignment on the action: everything below its scope, too."""
    permissions = getattr(new, "permissions", ())
    scope = getattr(new, "scope", "")
    return {ResourceId.parse(scope)} if scope and Rules(permissions).hold(_WRITE, data=False) else set()


async def _moved(before: _State, name: str, key: str, new: object) -> set[ResourceId]:
    """A subscription or a management group under another parent inherits from others."""
    if name == SUBSCRIPTIONS.name:
        subscription = await before.store.get(SUBSCRIPTIONS, key)
        same = subscription is None or subscription.value.management_group == getattr(new, "management_group", None)
        return set() if same else {ResourceId(("subscriptions", key))}
    group = await before.store.get(MANAGEMENT_GROUPS, key)
    same = group is None or new is None or group.value.parent == getattr(new, "parent", None)
    return {ROOT} if not same else set()


async def _powers_of(before: _State, principal_id: str) -> set[ResourceId]:
    held: list[RoleAssignment] = []
    for one in (principal_id, *await before.groups.of(principal_id)):
        held += [found.value for found in await before.store.all(ROLE_ASSIGNMENTS, where={"principal_id": one})]
    return await _powers(before, held)


async def _powers(before: _State, assignments: Sequence[RoleAssignment]) -> set[ResourceId]:
    """Where these make an administrator of a tenant, a management group or a subscription."""
    found: set[ResourceId] = set()
    for one in assignments:
        scope = ResourceId.parse(one.scope)
        inside = scope.resource_group is not None or (scope.namespace is not None and not scope.is_management_group)
        if not inside and one.condition is None and await before.gives(one.role_id):
            found.add(scope)
    return found


async def _protected(before: _State, weakened: set[ResourceId]) -> list[ResourceId]:
    """The tenant and its subscriptions, as far as they lie at or below what was weakened."""
    keys = {scope.key for scope in weakened}
    subscriptions = await before.store.all(SUBSCRIPTIONS, where={"tenant_id": before.tenant_id})
    candidates = (ROOT, *(ResourceId(("subscriptions", one.value.id)) for one in subscriptions))
    return [one for one in candidates if not keys.isdisjoint(await before.places.lineage(one))]
