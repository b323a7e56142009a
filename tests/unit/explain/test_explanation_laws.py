"""What holds of explanations in every world: they say what is decided, and tell nobody of rules that he could not read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from idplane.explain.documents import explanation_document
from idplane.explain.explainer import Explainer
from idplane.explain.model import Explanation, Question, StepKind, Verdict
from idplane.model.calls import Caller
from idplane.model.directory import Membership, Principal, PrincipalType, Subscription, Tenant
from idplane.model.ids import ResourceId
from idplane.model.profile import OPEN
from idplane.model.roles import AccessCall, DenyAssignment, Permission, Reason, RoleAssignment, RoleDefinition
from idplane.ports.collections import (
    DENY_ASSIGNMENTS,
    MEMBERSHIPS,
    PRINCIPALS,
    ROLE_ASSIGNMENTS,
    ROLE_DEFINITIONS,
    SUBSCRIPTIONS,
    TENANTS,
)
from idplane.ports.store import ABSENT, Batch, Put
from idplane.rbac import BUILT_IN_ROLES, EVERYONE, AccessControl, decide
from idplane.testing.worlds import FakeClock, memory_store

_THEN = datetime(2026, 1, 1, tzinfo=UTC)
_TENANT = "a0000000-0000-4000-8000-000000000001"
_SUBSCRIPTION = "b0000000-0000-4000-8000-000000000001"
_SUB = f"/subscriptions/{_SUBSCRIPTION}"
_SCOPES = (
    "/",
    _SUB,
    f"{_SUB}/resourceGroups/near-group",
    f"{_SUB}/resourceGroups/far-group",
    f"{_SUB}/resourceGroups/near-group/providers/A.B/things/near-thing",
    f"{_SUB}/resourceGroups/near-group/providers/A.B/things/other-thing",
)
_TARGET = _SCOPES[4]
_WHO = {name: f"c0000000-0000-4000-8000-{at:012x}" for at, name in enumerate(("asker", "team", "boss", "viewer"))}
_ROLES = {name: f"d0000000-0000-4000-8000-{at:012x}" for at, name in enumerate(("role-x", "role-y", "role-z"))}
_READER = next(one.id for one in BUILT_IN_ROLES.values() if one.name == "Reader")
_ACTIONS = ("A.B/things/read", "A.B/things/write", "A.B/things/run/action")
_PATTERNS = ("*", "*/read", "A.B/*", "A.B/things/write", "X.Y/*")
_CONDITIONS = (None, None, "@Environment[isPrivateLink] BoolEquals false", "@Environment[isPrivateLink] BoolEquals true")


@dataclass(frozen=True, slots=True)
class Drawn:
    assignments: Sequence[RoleAssignment]
    denies: Sequence[DenyAssignment]
    roles: dict[str, RoleDefinition]
    action: str
    data: bool
    in_team: bool

    def role(self, role_id: str) -> RoleDefinition | None:
        return self.roles.get(role_id) or BUILT_IN_ROLES.get(role_id)

    def call(self, who: frozenset[str], action: str, scope: str, *, data: bool = False) -> AccessCall:
        keys = tuple(one.key for one in ResourceId.parse(scope).lineage())
        return AccessCall(principal_ids=who, action=action, data=data, scopes=keys, tenant_id=_TENANT, at=_THEN)

    def may(self, who: frozenset[str], action: str, scope: str, *, data: bool = False) -> bool:
        return decide(self.call(who, action, scope, data=data), self.assignments, self.denies, self.role).allowed

    @property
    def asker(self) -> frozenset[str]:
        return frozenset({_WHO["asker"], _WHO["team"]} if self.in_team else {_WHO["asker"]})


_patterns = st.lists(st.sampled_from(_PATTERNS), max_size=2).map(tuple)
_blocks = st.builds(Permission, actions=_patterns, not_actions=_patterns, data_actions=_patterns)


@st.composite
def _worlds(draw: st.DrawFn) -> Drawn:
    roles = {
        role_id: RoleDefinition(
            id=role_id,
            tenant_id=_TENANT,
            name=f"named-{name}",
            description="",
            built_in=False,
            permissions=(draw(_blocks),),
            assignable_scopes=("/",),
        )
        for name, role_id in _ROLES.items()
    }
    drawn = st.tuples(
        st.sampled_from([*_WHO]),
        st.sampled_from(_SCOPES),
        st.sampled_from([*_ROLES.values(), _READER]),
        st.sampled_from(_CONDITIONS),
    )
    chosen = draw(st.lists(drawn, max_size=8, unique_by=lambda it: it[:3]))
    assignments = [
        RoleAssignment(
            id=f"e0000000-0000-4000-8000-{at:012x}",
            tenant_id=_TENANT,
            scope=scope,
            role_id=role,
            principal_id=_WHO[who],
            principal_type="Group" if who == "team" else "ServicePrincipal",
            created_at=_THEN,
            changed_at=_THEN,
            condition=condition,
            condition_version=None if condition is None else "2.0",
        )
        for at, (who, scope, role, condition) in enumerate(chosen)
    ]
    denied = st.tuples(st.sampled_from([*_WHO.values(), EVERYONE]), st.sampled_from(_SCOPES), _blocks, st.booleans())
    denies = [
        DenyAssignment(
            id=f"f0000000-0000-4000-8000-{at:012x}",
            tenant_id=_TENANT,
            name=f"denial-{at}",
            scope=scope,
            permissions=(block,),
            principals=(who,),
            exclude_principals=(_WHO["boss"],),
            do_not_apply_to_child_scopes=here,
        )
        for at, (who, scope, block, here) in enumerate(draw(st.lists(denied, max_size=2)))
    ]
    return Drawn(assignments, denies, roles, draw(st.sampled_from(_ACTIONS)), draw(st.booleans()), draw(st.booleans()))


async def _explained(drawn: Drawn, *viewers: str) -> list[Explanation]:
    clock = FakeClock(_THEN)
    store = await memory_store(clock)
    access = AccessControl(store=store, clock=clock)
    try:
        tenant = Tenant(
            id=_TENANT, display_name="t", domain="t.example", issuer_v1="https://1", issuer_v2="https://2", created_at=_THEN
        )
        subscription = Subscription(id=_SUBSCRIPTION, tenant_id=_TENANT, display_name="s")
        people = [_principal(name, identifier) for name, identifier in _WHO.items()]
        membership = [Membership(group_id=_WHO["team"], member_id=_WHO["asker"])] if drawn.in_team else []
        pairs = (
            (TENANTS, [tenant]),
            (SUBSCRIPTIONS, [subscription]),
            (PRINCIPALS, people),
            (MEMBERSHIPS, membership),
            (ROLE_DEFINITIONS, [*drawn.roles.values()]),
            (ROLE_ASSIGNMENTS, drawn.assignments),
            (DENY_ASSIGNMENTS, drawn.denies),
        )
        puts = [Put(collection=collection, value=one, expect=ABSENT) for collection, many in pairs for one in many]
        await store.commit(Batch.of(*puts))
        explainer = Explainer(store=store, access=access, clock=clock, profile=OPEN)
        question = Question(principal_id=_WHO["asker"], action=drawn.action, scope=ResourceId.parse(_TARGET), data=drawn.data)
        return [await explainer.ask(question, await _caller(access, one)) for one in viewers]
    finally:
        access.close()
        await store.close()


def _principal(name: str, identifier: str) -> Principal:
    kind = PrincipalType.GROUP if name == "team" else PrincipalType.APPLICATION
    return Principal(
        id=identifier, tenant_id=_TENANT, client_id=identifier, display_name=f"called-{name}", type=kind, created_at=_THEN
    )


async def _caller(access: AccessControl, name: str) -> Caller:
    groups = await access.principal_ids(_WHO[name]) - {_WHO[name]}
    return Caller(
        tenant_id=_TENANT,
        principal_id=_WHO[name],
        client_id=_WHO[name],
        display_name=name,
        token_id="",
        groups=tuple(sorted(groups)),
    )


@settings(max_examples=40, deadline=None)
@given(_worlds())
def test_an_explanation_says_what_is_decided(drawn: Drawn) -> None:
    call = drawn.call(drawn.asker, drawn.action, _TARGET, data=drawn.data)
    decision = decide(call, drawn.assignments, drawn.denies, drawn.role)
    for told in asyncio.run(_explained(drawn, "asker", "viewer")):
        assert told.allowed is decision.allowed
        assert told.decided in told.considered
        assert told.decided.verdict in ({Verdict.ALLOWS} if decision.allowed else {Verdict.REFUSES, Verdict.MISSES})
        if decision.because is None:
            assert told.decided.kind is StepKind.ABSENCE
        else:
            assert told.decided.id in {decision.because, None}
            denied = decision.reason is Reason.DENY_ASSIGNMENT
            assert told.decided.kind is (StepKind.DENY_ASSIGNMENT if denied else StepKind.ROLE_ASSIGNMENT)
        assert bool(told.fixes) <= (not told.allowed)


@settings(max_examples=40, deadline=None)
@given(_worlds())
def test_nobody_is_told_of_rules_that_he_could_not_read(drawn: Drawn) -> None:
    viewers = {"asker": drawn.asker, "viewer": frozenset({_WHO["viewer"]})}
    for (name, who), told in zip(viewers.items(), asyncio.run(_explained(drawn, *viewers)), strict=True):
        text = json.dumps(explanation_document(told))
        for one in drawn.assignments:
            if one.principal_id not in who and not drawn.may(who, "Microsoft.Authorization/roleAssignments/read", one.scope):
                assert one.id not in text
        for deny in drawn.denies:
            meant = not who.isdisjoint(deny.principals) or EVERYONE in deny.principals
            if not meant and not drawn.may(who, "Microsoft.Authorization/denyAssignments/read", deny.scope):
                assert deny.id not in text
                assert deny.name not in text
        administers = drawn.may(who, "Microsoft.Authorization/roleAssignments/write", "/")
        for other, identifier in _WHO.items():
            if identifier not in who and not administers:
                assert f"called-{other}" not in text
        # Of what lies elsewhere nothing is said but where the viewer's own roles stand, or where it may read assignments.
        own = {one.scope for one in drawn.assignments if one.principal_id in who}
        for scope in (_SCOPES[3], _SCOPES[5]):
            if scope not in own and not drawn.may(who, "Microsoft.Authorization/roleAssignments/read", scope):
                assert scope not in text, name
