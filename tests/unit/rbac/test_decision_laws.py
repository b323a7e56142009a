"""What holds for every world: the laws of the decision, and the index against a naive scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from idplane.model.ids import ResourceId
from idplane.model.roles import AccessCall, Decision, DenyAssignment, Permission, Reason, RoleAssignment, RoleDefinition
from idplane.rbac.decision import EVERYONE, CompiledDeny, by_scope, decide, decide_indexed
from idplane.rbac.patterns import ActionPattern
from idplane.rbac.rules import Rules

_THEN = datetime(2026, 1, 1, tzinfo=UTC)
_PRINCIPALS = ("p1", "p2", "p3")
_SCOPES = (
    "/",
    "/subscriptions/1",
    "/subscriptions/10",
    "/subscriptions/1/resourceGroups/rg",
    "/subscriptions/1/resourceGroups/rg2",
    "/subscriptions/1/resourceGroups/rg/providers/A.B/things/t",
    "/subscriptions/1/resourceGroups/rg/providers/A.B/things/t/parts/p",
    "/subscriptions/1/resourceGroups/rg/providers/A.B/things/t2",
)
_ACTIONS = ("A.B/things/read", "A.B/things/write", "A.B/things/parts/read", "A.B/things/run/action")
_PATTERNS = ("*", "*/read", "A.B/*", "A.B/things/*/read", "A.B/things/write", "*/action", "X.Y/*")


_blocks = st.builds(
    Permission,
    actions=st.lists(st.sampled_from(_PATTERNS), max_size=2).map(tuple),
    not_actions=st.lists(st.sampled_from(_PATTERNS), max_size=1).map(tuple),
    data_actions=st.lists(st.sampled_from(_PATTERNS), max_size=2).map(tuple),
    not_data_actions=st.lists(st.sampled_from(_PATTERNS), max_size=1).map(tuple),
)
_permissions = st.lists(_blocks, max_size=2).map(tuple)
_calls = st.builds(
    lambda principals, action, data, scope: AccessCall(
        principal_ids=frozenset(principals), action=action, data=data, scopes=_lineage(scope)
    ),
    st.sets(st.sampled_from(_PRINCIPALS)),
    st.sampled_from(_ACTIONS),
    st.booleans(),
    st.sampled_from(_SCOPES),
)


def _lineage(scope: str) -> tuple[str, ...]:
    return tuple(one.key for one in ResourceId.parse(scope).lineage())


@st.composite
def _assignments(draw: st.DrawFn, *, max_size: int = 8) -> list[RoleAssignment]:
    parts = st.tuples(
        st.sampled_from(_PRINCIPALS), st.sampled_from(_SCOPES), st.sampled_from("rst"), st.sampled_from([None, None, None, "c"])
    )
    chosen = draw(st.lists(parts, max_size=max_size))
    ids = draw(st.permutations(range(len(chosen))))
    return [
        _assignment(f"a{at}", principal, scope, role, condition)
        for at, (principal, scope, role, condition) in zip(ids, chosen, strict=True)
    ]


def _assignment(name: str, principal: str, scope: str, role: str, condition: str | None = None) -> RoleAssignment:
    return RoleAssignment(
        id=name,
        tenant_id="t",
        scope=scope,
        role_id=role,
        principal_id=principal,
        principal_type="ServicePrincipal",
        created_at=_THEN,
        changed_at=_THEN,
        condition=condition,
    )


@st.composite
def _denies(draw: st.DrawFn) -> list[DenyAssignment]:
    principals = st.lists(st.sampled_from((*_PRINCIPALS, EVERYONE)), max_size=2).map(tuple)
    one = st.builds(
        DenyAssignment,
        id=st.sampled_from(["d1", "d2", "d3"]),
        tenant_id=st.just("t"),
        name=st.just(""),
        scope=st.sampled_from(_SCOPES),
        permissions=_permissions,
        principals=principals,
        exclude_principals=st.lists(st.sampled_from(_PRINCIPALS), max_size=1).map(tuple),
        do_not_apply_to_child_scopes=st.booleans(),
    )
    return draw(st.lists(one, max_size=3, unique_by=lambda it: it.id))


@st.composite
def _roles(draw: st.DrawFn) -> dict[str, RoleDefinition]:
    return {
        name: RoleDefinition(
            id=name,
            tenant_id="t",
            name=name,
            description="",
            built_in=False,
            permissions=draw(_permissions),
            assignable_scopes=("/",),
        )
        for name in "rs"  # "t" stays a role that does not exist
    }


def _naive_holds(permissions: Sequence[Permission], call: AccessCall) -> bool:
    def listed(patterns: tuple[str, ...]) -> bool:
        return any(ActionPattern(pattern).matches(call.action.lower()) for pattern in patterns)

    return any(
        listed(one.data_actions) and not listed(one.not_data_actions)
        if call.data
        else listed(one.actions) and not listed(one.not_actions)
        for one in permissions
    )


def _naive_allows(
    call: AccessCall, assignments: list[RoleAssignment], denies: list[DenyAssignment], roles: dict[str, RoleDefinition]
) -> bool:
    """A scan over everything, written from the rules and not from the index."""
    target = ResourceId.parse(call.scopes[0])
    for deny in denies:
        scope = ResourceId.parse(deny.scope)
        here = target == scope if deny.do_not_apply_to_child_scopes else target.is_within(scope)
        named = EVERYONE in deny.principals or any(one in call.principal_ids for one in deny.principals)
        spared = any(one in call.principal_ids for one in deny.exclude_principals)
        if here and named and not spared and _naive_holds(deny.permissions, call):
            return False
    return any(
        one.principal_id in call.principal_ids
        and target.is_within(ResourceId.parse(one.scope))
        and one.condition is None
        and one.role_id in roles
        and _naive_holds(roles[one.role_id].permissions, call)
        for one in assignments
    )


@settings(max_examples=100)
@given(_calls, _assignments(), _denies(), _roles())
def test_the_decision_equals_a_naive_scan(
    call: AccessCall, assignments: list[RoleAssignment], denies: list[DenyAssignment], roles: dict[str, RoleDefinition]
) -> None:
    decision = decide(call, assignments, denies, roles.get)
    assert decision.allowed is _naive_allows(call, assignments, denies, roles)
    _explains_itself(decision, call, assignments, denies)


def _explains_itself(
    decision: Decision, call: AccessCall, assignments: list[RoleAssignment], denies: list[DenyAssignment]
) -> None:
    assert decision.allowed is (decision.reason is Reason.GRANTED)
    above = [one for one in assignments if one.principal_id in call.principal_ids and one.scope_key in call.scopes]
    match decision.reason:
        case Reason.GRANTED:
            assert decision.because in {one.id for one in above}
        case Reason.DENY_ASSIGNMENT:
            assert decision.because in {one.id for one in denies}
        case Reason.NOT_IN_ROLES:
            assert decision.considered == tuple(sorted(one.id for one in above))
        case Reason.NO_ASSIGNMENT:
            assert not above


@given(_calls, _assignments(), _denies(), _roles(), st.data())
def test_order_does_not_matter(
    call: AccessCall,
    assignments: list[RoleAssignment],
    denies: list[DenyAssignment],
    roles: dict[str, RoleDefinition],
    data: st.DataObject,
) -> None:
    before = decide(call, assignments, denies, roles.get)
    shuffled, turned = data.draw(st.permutations(assignments)), data.draw(st.permutations(denies))
    assert decide(call, shuffled, turned, roles.get) == before


@given(_calls, _assignments(), _assignments(max_size=2), _denies(), _roles())
def test_more_assignments_never_remove_access(
    call: AccessCall,
    assignments: list[RoleAssignment],
    more: list[RoleAssignment],
    denies: list[DenyAssignment],
    roles: dict[str, RoleDefinition],
) -> None:
    if decide(call, assignments, denies, roles.get).allowed:
        renamed = [replace(one, id=f"m{one.id}") for one in more]
        assert decide(call, [*assignments, *renamed], denies, roles.get).allowed


@given(_calls, _assignments(), _denies(), _roles())
def test_deny_assignments_never_add_access(
    call: AccessCall, assignments: list[RoleAssignment], denies: list[DenyAssignment], roles: dict[str, RoleDefinition]
) -> None:
    if not decide(call, assignments, [], roles.get).allowed:
        assert not decide(call, assignments, denies, roles.get).allowed


@given(_calls, _assignments(), _denies(), _roles())
def test_case_never_matters(
    call: AccessCall, assignments: list[RoleAssignment], denies: list[DenyAssignment], roles: dict[str, RoleDefinition]
) -> None:
    shouted = [replace(one, scope=one.scope.upper()) for one in assignments]
    before = decide(call, assignments, denies, roles.get)
    assert decide(replace(call, action=call.action.upper()), shouted, denies, roles.get) == before


@given(_calls, _assignments(), _roles())
def test_what_an_ancestor_grants_holds_below_it(
    call: AccessCall, assignments: list[RoleAssignment], roles: dict[str, RoleDefinition]
) -> None:
    for scope in _SCOPES:
        if call.scopes[0] in (lineage := _lineage(scope)) and decide(call, assignments, [], roles.get).allowed:
            assert decide(replace(call, scopes=lineage), assignments, [], roles.get).allowed


@given(_calls, _assignments(), _denies(), _roles())
def test_one_index_for_each_principal_decides_alike(
    call: AccessCall, assignments: list[RoleAssignment], denies: list[DenyAssignment], roles: dict[str, RoleDefinition]
) -> None:
    rules = {name: Rules(role.permissions) for name, role in roles.items()}
    indexes = [by_scope(one for one in assignments if one.principal_id == principal) for principal in call.principal_ids]
    split = decide_indexed(call, indexes, [CompiledDeny.of(one) for one in denies], rules.get)
    assert split == decide(call, assignments, denies, roles.get)


@given(_calls, _assignments(), _denies(), _roles())
def test_another_tenants_target_is_out_of_reach(
    call: AccessCall, assignments: list[RoleAssignment], denies: list[DenyAssignment], roles: dict[str, RoleDefinition]
) -> None:
    assert not decide(replace(call, tenant_id="other"), assignments, denies, roles.get).allowed
    home = decide(replace(call, tenant_id="t"), assignments, denies, roles.get)
    assert home == decide(call, assignments, denies, roles.get)
