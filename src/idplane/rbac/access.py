"""`AccessControl`: the pure decision over what the store holds, with what it read kept until the change feed speaks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from idplane.model.attributes import NO_ATTRIBUTES, Attributes
from idplane.model.calls import Caller
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.refusals import evidence_of
from idplane.model.roles import AccessCall, Decision, DenyAssignment, Permission, Reason, RoleAssignment, RoleDefinition
from idplane.ports.collections import DENY_ASSIGNMENTS, PRINCIPALS, ROLE_ASSIGNMENTS, ROLE_DEFINITIONS
from idplane.ports.store import Change, Store
from idplane.ports.telemetry import DECISION, NO_TELEMETRY, Telemetry
from idplane.ports.world import Clock
from idplane.rbac.builtin import BUILT_IN_ROLES
from idplane.rbac.cache import FeedCache
from idplane.rbac.decision import ByScope, CompiledDeny, Judgement, Reach, by_scope, decide_indexed, judge
from idplane.rbac.groups import Groups
from idplane.rbac.places import Places, along
from idplane.rbac.rules import Rules

__all__ = ["AccessControl", "Trace"]

_PRINCIPALS_KEPT = 20_000
_SCOPES_KEPT = 20_000
_ROLES_KEPT = 5_000


@dataclass(frozen=True, slots=True)
class _Held:
    """What one principal is assigned."""

    index: ByScope
    custom_roles: frozenset[tuple[str, str]]
    """Tenant and role of the assignments whose role is not built in."""
    tenant_id: str | None
    """The principal's own; None for one that does not exist."""
    special: bool
    """Whether a decision needs more than the index: custom roles, or the time for a condition."""


@dataclass(frozen=True, slots=True)
class _Role:
    definition: RoleDefinition
    rules: Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A decision with everything that it looked at."""

    call: AccessCall
    decision: Decision
    denies: tuple[tuple[DenyAssignment, Reach], ...]
    """The deny assignments at the target and above it, and whether each covers the call."""
    assignments: tuple[tuple[RoleAssignment, Judgement], ...]
    """The caller's role assignments at the target and above it, nearest first."""
    elsewhere: tuple[RoleAssignment, ...]
    """The caller's other assignments, which decided nothing."""


class AccessControl:
    """Answers whether a caller may do something somewhere.

    Assignments are kept per principal, deny assignments per scope, custom roles per role, each until a commit touches it: the
    store calls its listeners before it acknowledges a commit, so a check that starts after a commit in this process sees it.
    Reads that the store cannot serve raise `Failure(UNAVAILABLE)`: nothing is ever decided from less than what was asked for.

    The clock is for conditions that look at the time; without one the time is absent, and they are not met.
    """

    def __init__(self, *, store: Store, clock: Clock | None = None, telemetry: Telemetry = NO_TELEMETRY) -> None:
        self._store = store
        self._telemetry = telemetry
        self._clock = clock
        self._principals: FeedCache[_Held] = FeedCache(limit=_PRINCIPALS_KEPT)
        self._denies: FeedCache[tuple[CompiledDeny, ...]] = FeedCache(limit=_SCOPES_KEPT)
        self._custom: FeedCache[_Role | None] = FeedCache(limit=_ROLES_KEPT)
        self._places = Places(store)
        self._groups = Groups(store=store)
        self._built_in: dict[str, Rules] = {}
        self._unsubscribe = store.subscribe(self._on_changes)

    def close(self) -> None:
        """Stop listening to the store."""
        self._unsubscribe()
        self._groups.close()

    async def check(
        self,
        caller_ids: frozenset[str],
        action: str,
        scope: ResourceId,
        *,
        data: bool = False,
        attributes: Attributes | None = None,
    ) -> Decision:
        """Decide whether any of these principal ids may do `action` (a data action with `data`) at `scope`.

        `attributes` are for conditions; those that are not given are absent.
        """
        with self._telemetry.span(DECISION, data=data) as span:
            decision = await self._decide(caller_ids, action, scope, data=data, attributes=attributes)
            span.set(allowed=decision.allowed)
        return decision

    async def _decide(
        self, caller_ids: frozenset[str], action: str, scope: ResourceId, *, data: bool, attributes: Attributes | None
    ) -> Decision:
        call, held, denies = await self._world(caller_ids, action, scope, data=data, attributes=attributes)
        return decide_indexed(call, [one.index for one in held], denies, await self._role_rules(held))

    async def trace(
        self,
        caller_ids: frozenset[str],
        action: str,
        scope: ResourceId,
        *,
        data: bool = False,
        attributes: Attributes | None = None,
        at: datetime | None = None,
    ) -> Trace:
        """`check` with everything that it looked at: the same call, records and functions. `at` is for conditions, instead of now."""
        call, held, denies = await self._world(caller_ids, action, scope, data=data, attributes=attributes)
        if at is not None:
            call = replace(call, at=at)
        rules = await self._role_rules(held)
        return Trace(
            call=call,
            decision=decide_indexed(call, [one.index for one in held], denies, rules),
            denies=tuple((one.assignment, one.reach(call)) for one in denies),
            assignments=tuple((one, judge(one, call, rules)) for one in _along(call.scopes, held)),
            elsewhere=tuple(
                one for each in held for key, found in each.index.items() if key not in call.scopes for one in found
            ),
        )

    async def _world(
        self, caller_ids: frozenset[str], action: str, scope: ResourceId, *, data: bool, attributes: Attributes | None
    ) -> tuple[AccessCall, Sequence[_Held], Sequence[CompiledDeny]]:
        """All that decides a call, but for the roles."""
        held = await self._principals.get_all(caller_ids, self._load_principal)
        special = any(one.special for one in held)
        place = await self._places.of(scope)
        call = AccessCall(
            principal_ids=caller_ids,
            action=action,
            data=data,
            scopes=along(scope, place),
            # `/` is the top of every tenant: the caller's is meant.
            tenant_id=place.tenant_id or next((one.tenant_id for one in held if one.tenant_id is not None), None),
            attributes=attributes or NO_ATTRIBUTES,
            at=self._clock.now() if special and self._clock is not None else None,
        )
        denies = [*itertools.chain.from_iterable(await self._denies.get_all(call.scopes, self._load_denies))]
        return call, held, denies

    async def _role_rules(self, held: Sequence[_Held]) -> Callable[[str], Rules | None]:
        """The rules of every role that is held."""
        special = [one for one in held if one.special]
        if not special:
            return self._rules
        custom = await self._custom_rules(special)
        return lambda role_id: custom.get(role_id) or self._rules(role_id)

    async def require(
        self,
        caller: Caller,
        action: str,
        scope: ResourceId,
        *,
        data: bool = False,
        attributes: Attributes | None = None,
    ) -> Decision:
        """The decision that allows the call; raises `Failure(FORBIDDEN)` when there is none.

        The failure's facts are what Azure's texts are made of: `name`, `client_id`, `oid`, `action`, `scope`, `reason` (a
        `Reason` value), `because` (the deny assignment, or the role assignment whose condition is not met) and `deny_name` and
        `deny_scope` of the deny assignment.
        """
        decision = await self.check(caller.principal_ids, action, scope, data=data, attributes=attributes)
        if decision.allowed:
            return decision
        raise Failure(
            FailureKind.FORBIDDEN,
            f"'{caller.display_name}' may not perform '{action}' over '{scope}'",
            name=caller.display_name,
            client_id=caller.client_id,
            oid=caller.principal_id,
            action=action,
            scope=str(scope),
            reason=decision.reason.value,
            because=decision.because or "",
            **await self._denial(decision),
        ).with_evidence(
            evidence_of(caller, action=action, scope=str(scope), data=data, attributes=attributes, decision=decision)
        )

    async def _denial(self, decision: Decision) -> Mapping[str, str]:
        """What a refusal tells of the deny assignment that decided it."""
        if decision.reason is not Reason.DENY_ASSIGNMENT or decision.because is None:
            return {}
        deny = await self._store.get(DENY_ASSIGNMENTS, decision.because)
        return {} if deny is None else {"deny_name": deny.value.name, "deny_scope": deny.value.scope}

    async def denied_below(self, scope: ResourceId) -> bool:
        """Whether deny assignments stand somewhere below a scope, so that being let in there does not settle what lies below."""
        under = None if not scope.segments else ("scope_key", scope.key)
        page = await self._store.page(DENY_ASSIGNMENTS, under=under, limit=2)
        return any(one.value.scope_key != scope.key for one in page.items) or page.after is not None

    async def lineage(self, scope: ResourceId) -> tuple[str, ...]:
        """The keys of a scope and of all from which it inherits, nearest first: management groups included, the tenant last."""
        return await self._places.lineage(scope)

    async def principal_ids(self, principal_id: str) -> frozenset[str]:
        """Everything that assignments may name to mean a principal: itself, and the groups that it is in through whatever others."""
        return frozenset((principal_id, *await self._groups.of(principal_id)))

    async def definition(self, tenant_id: str, role_id: str) -> RoleDefinition | None:
        """A role that exists in the tenant, built-in or its own, by its GUID in any case."""
        key = role_id.lower()
        built_in = BUILT_IN_ROLES.get(key)
        if built_in is not None:
            return built_in
        role = await self._custom.get(key, self._load_role)
        return role.definition if role is not None and role.definition.tenant_id == tenant_id else None

    async def permissions(self, caller_ids: frozenset[str], scope: ResourceId) -> tuple[Permission, ...]:
        """The permission blocks that these principals hold at a scope, nearest assignments first, each block once.

        As with Azure's permissions operation, deny assignments are not taken off. What is held under a condition says so.
        """
        place = await self._places.of(scope)
        held = await self._principals.get_all(caller_ids, self._load_principal)
        found: dict[Permission, None] = {}
        for assignment in _along(along(scope, place), held):
            if place.tenant_id in {None, assignment.tenant_id}:
                role = await self.definition(assignment.tenant_id, assignment.role_id)
                blocks = role.permissions if role else ()
                if assignment.condition is not None:
                    blocks = tuple(replace(one, condition=assignment.condition) for one in blocks)
                found.update(dict.fromkeys(blocks))
        return tuple(found)

    def _rules(self, role_id: str) -> Rules | None:
        rules = self._built_in.get(role_id)
        if rules is None and (definition := BUILT_IN_ROLES.get(role_id)) is not None:
            rules = self._built_in[role_id] = Rules(definition.permissions)
        return rules

    async def _custom_rules(self, held: Iterable[_Held]) -> Mapping[str, Rules]:
        rules: dict[str, Rules] = {}
        for tenant_id, role_id in itertools.chain.from_iterable(one.custom_roles for one in held):
            role = await self._custom.get(role_id, self._load_role)
            if role is not None and role.definition.tenant_id == tenant_id:
                rules[role_id] = role.rules
        return rules

    async def _load_principal(self, principal_id: str) -> _Held:
        stored = await self._store.all(ROLE_ASSIGNMENTS, where={"principal_id": principal_id})
        assignments = [one.value for one in stored]
        custom = frozenset((one.tenant_id, one.role_id) for one in assignments if one.role_id not in BUILT_IN_ROLES)
        special = bool(custom) or any(one.condition is not None for one in assignments)
        principal = await self._store.get(PRINCIPALS, principal_id)
        return _Held(by_scope(assignments), custom, None if principal is None else principal.value.tenant_id, special)

    async def _load_denies(self, scope_key: str) -> tuple[CompiledDeny, ...]:
        stored = await self._store.all(DENY_ASSIGNMENTS, where={"scope_key": scope_key})
        return tuple(CompiledDeny.of(one.value) for one in stored)

    async def _load_role(self, role_id: str) -> _Role | None:
        stored = await self._store.get(ROLE_DEFINITIONS, role_id)
        return None if stored is None else _Role(stored.value, Rules(stored.value.permissions))

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.collection in (ROLE_ASSIGNMENTS.name, PRINCIPALS.name):
                # A change that does not say whose assignment it was may have been anyone's.
                self._principals.clear() if change.subject is None else self._principals.drop(change.subject)
            elif change.collection == DENY_ASSIGNMENTS.name:
                # The subject is the scope where it stands or stood.
                self._denies.clear() if change.subject is None else self._denies.drop(change.subject)
            elif change.collection == ROLE_DEFINITIONS.name:
                self._custom.drop(change.key)
        self._places.hear(changes)


def _along(lineage: Sequence[str], held: Sequence[_Held]) -> list[RoleAssignment]:
    """The assignments at a scope and above it, nearest first."""
    found: list[RoleAssignment] = []
    for key in lineage:
        here = itertools.chain.from_iterable(principal.index.get(key, ()) for principal in held)
        found.extend(sorted(here, key=lambda it: it.id))
    return found
