"""The decision: pure, synchronous, and the same for every caller of it (control-plane.md section 9).

1. A deny assignment that covers the call wins over everything, an Owner's role included.
2. Otherwise one role assignment, at the target or a scope above it, to the caller or one of its groups, whose role holds the
   action and whose condition, if it has one, the call meets, is enough. Assignments add up; none takes away.

Inheritance follows the scopes that the call lists (the target's id and its ancestors, whole path segments, lower case), never a
comparison of text prefixes.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from idplane.model.roles import AccessCall, Decision, DenyAssignment, Reason, RoleAssignment, RoleDefinition
from idplane.rbac.conditions import meets
from idplane.rbac.rules import Rules

__all__ = ["EVERYONE", "ByScope", "CompiledDeny", "Judgement", "Reach", "by_scope", "decide", "decide_indexed", "judge"]

EVERYONE = "00000000-0000-0000-0000-000000000000"
"""The principal id by which a deny assignment names all principals."""

ByScope: TypeAlias = Mapping[str, Sequence[RoleAssignment]]
"""One principal's assignments under the scope keys where they stand, each in order of id."""


class Judgement(enum.Enum):
    """What one role assignment at or above the target says of a call."""

    GRANTS = "grants"
    UNMET = "unmet"
    """Its role holds the action; its condition is not met."""
    LACKS = "lacks"
    """Its role does not hold the action."""
    ROLE_GONE = "role-gone"
    FOREIGN = "foreign"
    """It is another tenant's."""


class Reach(enum.Enum):
    """Whether a deny assignment covers a call, and by what it does not."""

    COVERS = "covers"
    NOT_HERE = "not-here"
    """It stands elsewhere, or above and does not apply to what lies below."""
    FOREIGN = "foreign"
    EXCLUDED = "excluded"
    NOT_NAMED = "not-named"
    OTHER_ACTIONS = "other-actions"


@dataclass(frozen=True, slots=True)
class CompiledDeny:
    """A deny assignment with its permissions ready to be asked."""

    assignment: DenyAssignment
    rules: Rules

    @classmethod
    def of(cls, assignment: DenyAssignment) -> CompiledDeny:
        """Compile one."""
        return cls(assignment, Rules(assignment.permissions))

    def covers(self, call: AccessCall) -> bool:
        """Whether it refuses the call."""
        return self.reach(call) is Reach.COVERS

    def reach(self, call: AccessCall) -> Reach:
        """Whether it refuses the call, and why not. The scope must be one of the call's; `by scope chain` loading does not replace this check."""
        deny = self.assignment
        if deny.scope_key not in call.scopes[: 1 if deny.do_not_apply_to_child_scopes else None]:
            return Reach.NOT_HERE
        if _foreign(deny.tenant_id, call):
            return Reach.FOREIGN
        if not call.principal_ids.isdisjoint(deny.exclude_principals):
            return Reach.EXCLUDED
        if EVERYONE not in deny.principals and call.principal_ids.isdisjoint(deny.principals):
            return Reach.NOT_NAMED
        return Reach.COVERS if self.rules.hold(call.action, data=call.data) else Reach.OTHER_ACTIONS


def by_scope(assignments: Iterable[RoleAssignment]) -> ByScope:
    """The index of one principal's assignments."""
    index: defaultdict[str, list[RoleAssignment]] = defaultdict(list)
    for assignment in sorted(assignments, key=lambda it: it.id):
        index[assignment.scope_key].append(assignment)
    return dict(index)


def decide(
    call: AccessCall,
    assignments: Iterable[RoleAssignment],
    denies: Iterable[DenyAssignment],
    definitions: Callable[[str], RoleDefinition | None],
) -> Decision:
    """Decide a call over assignments of any principals; the readable form of `decide_indexed`, for callers that keep no index.

    `definitions` finds a role by its GUID; an assignment whose role is gone grants nothing.
    """
    index = by_scope(one for one in assignments if one.principal_id in call.principal_ids)

    def rules(role_id: str) -> Rules | None:
        definition = definitions(role_id)
        return None if definition is None else Rules(definition.permissions)

    return decide_indexed(call, (index,), [CompiledDeny.of(deny) for deny in denies], rules)


def decide_indexed(
    call: AccessCall,
    indexes: Iterable[ByScope],
    denies: Sequence[CompiledDeny],
    rules: Callable[[str], Rules | None],
) -> Decision:
    """Decide a call from the indexes of the caller's principal ids, one for each.

    The same assignments give the same answer in any order: the assignment named in `because` is the one nearest to the target,
    and of several there the one with the smallest id. `considered` is filled for refusals only.
    """
    denying = [deny.assignment for deny in denies if deny.covers(call)] if denies else ()
    if denying:
        first = min(denying, key=lambda it: (call.scopes.index(it.scope_key), it.id))
        return Decision(allowed=False, reason=Reason.DENY_ASSIGNMENT, because=first.id)
    return _granted(call, tuple(filter(None, indexes)), rules)


def _granted(call: AccessCall, indexes: Sequence[ByScope], rules: Callable[[str], Rules | None]) -> Decision:
    if not indexes:
        return _NO_ASSIGNMENT
    considered: list[str] = []
    unmet: str | None = None
    for scope in call.scopes:
        granting: list[str] = []
        conditional: list[str] = []
        for index in indexes:
            # The loop that every check runs, mostly to find nothing: a default would cost an iteration each time.
            if (here := index.get(scope)) is not None:
                for assignment in here:
                    verdict = judge(assignment, call, rules)
                    if verdict is Judgement.GRANTS:
                        granting.append(assignment.id)
                    elif verdict is Judgement.UNMET:
                        conditional.append(assignment.id)
                    else:
                        considered.append(assignment.id)
        if granting:
            return Decision(allowed=True, reason=Reason.GRANTED, because=min(granting))
        if conditional:
            considered += conditional
            unmet = unmet or min(conditional)
    if not considered:
        return _NO_ASSIGNMENT
    reason = Reason.NOT_IN_ROLES if unmet is None else Reason.CONDITION
    return Decision(allowed=False, reason=reason, because=unmet, considered=tuple(sorted(considered)))


_NO_ASSIGNMENT = Decision(allowed=False, reason=Reason.NO_ASSIGNMENT)


def judge(assignment: RoleAssignment, call: AccessCall, rules: Callable[[str], Rules | None]) -> Judgement:
    """What an assignment that stands at or above the call's target, for one of its principals, says of the call."""
    if _foreign(assignment.tenant_id, call):
        return Judgement.FOREIGN
    role = rules(assignment.role_id)
    if role is None:
        return Judgement.ROLE_GONE
    if not role.hold(call.action, data=call.data):
        return Judgement.LACKS
    if assignment.condition is None or meets(call, assignment.condition):
        return Judgement.GRANTS
    return Judgement.UNMET


def _foreign(tenant_id: str, call: AccessCall) -> bool:
    """Whether the target is known to lie in another tenant: `/` is the top of every tenant, and means only its own."""
    return call.tenant_id is not None and tenant_id != call.tenant_id
