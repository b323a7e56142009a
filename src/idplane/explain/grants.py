"""Why somebody may not do something somewhere: every role and deny assignment, one by one.

The decision is asked of `rbac` again, which tells what it made of each rule (`AccessControl.trace`); nothing here decides by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from idplane.explain.commands import assignment_link, deny_link
from idplane.explain.findings import Findings, Tools
from idplane.explain.inquiry import Inquiry
from idplane.explain.model import Clause, Step, StepKind, Verdict
from idplane.explain.near import Near, nearest_grant
from idplane.explain.remedies import remedies
from idplane.explain.roles import why_not
from idplane.explain.sight import Sight
from idplane.model.attributes import AttributeValue
from idplane.model.roles import DenyAssignment, Reason, RoleAssignment, RoleDefinition
from idplane.rbac import EVERYONE, Judgement, Reach, Trace
from idplane.rbac.conditions import Made, comparisons

__all__ = ["explain_access"]

_DENIES: Final = {
    Reach.NOT_HERE: "stands above, and does not apply to what lies below",
    Reach.FOREIGN: "is another tenant's",
    Reach.EXCLUDED: "excludes the caller",
    Reach.NOT_NAMED: "names others",
    Reach.OTHER_ACTIONS: "denies other actions",
}
_UNTOLD: Final = "a rule that you may not see"
_UNSHOWN: Final = "not shown"
_TARGET: Final = "@resource["
"""How comparisons name attributes of what exists; what they come to tells of it."""


async def explain_access(inquiry: Inquiry, sight: Sight, tools: Tools) -> Findings:
    """Every rule that was considered, the one that decided, what came nearest, and what would help."""
    ids = await tools.access.principal_ids(inquiry.principal_id)
    trace = await tools.access.trace(
        ids, inquiry.action, inquiry.scope, data=inquiry.data, attributes=inquiry.attributes, at=inquiry.at
    )
    considered = await _considered(inquiry, trace, sight, tools)
    decided = _decided(inquiry, trace, considered)
    near = Near() if trace.decision.allowed else await nearest_grant(inquiry, trace, considered, sight, tools)
    return Findings(
        summary=_summary(inquiry, trace, decided),
        decided=decided,
        considered=(*considered, decided) if decided not in considered else considered,
        nearest=near.step,
        fixes=() if trace.decision.allowed else await remedies(inquiry, trace, near, sight, tools),
        together=trace.decision.reason is Reason.DENY_ASSIGNMENT,
        allowed=trace.decision.allowed,
    )


async def _considered(inquiry: Inquiry, trace: Trace, sight: Sight, tools: Tools) -> tuple[Step, ...]:
    steps: list[Step] = []
    told = inquiry.stated or await sight.reads(inquiry.scope)
    for deny, reach in trace.denies:
        if await sight.of_deny(deny):
            steps.append(_deny_step(inquiry, deny, reach))
        elif reach is not Reach.FOREIGN:  # other tenants' rules are not even counted
            sight.hidden += 1
    for one, judgement in trace.assignments:
        if await sight.of_assignment(one):
            steps.append(await _assignment_step(inquiry, trace, one, judgement, tools, told=told))
        elif judgement is not Judgement.FOREIGN:
            sight.hidden += 1
    return tuple(steps)


def _deny_step(inquiry: Inquiry, deny: DenyAssignment, reach: Reach) -> Step:
    covers = reach is Reach.COVERS
    whom = "everyone" if EVERYONE in deny.principals else inquiry.name
    return Step(
        kind=StepKind.DENY_ASSIGNMENT,
        verdict=Verdict.REFUSES if covers else Verdict.PASSES,
        name=deny.name,
        why=f"denies {inquiry.action} to {whom}, whatever roles say" if covers else _DENIES[reach],
        id=deny.id,
        scope=deny.scope,
        link=deny_link(deny),
    )


async def _assignment_step(
    inquiry: Inquiry, trace: Trace, one: RoleAssignment, judgement: Judgement, tools: Tools, *, told: bool
) -> Step:
    """A role assignment and what it says; `told` is whether the viewer may know what conditions found in the target."""
    role = await tools.access.definition(one.tenant_id, one.role_id)
    verdict = {Judgement.GRANTS: Verdict.ALLOWS, Judgement.UNMET: Verdict.MISSES}.get(judgement, Verdict.PASSES)
    clauses = _clauses(trace, one.condition, told=told) if judgement is Judgement.UNMET and one.condition is not None else ()
    why = _said(inquiry, role, judgement, clauses)
    through = "" if one.principal_id == inquiry.principal_id else f" (through the group {one.principal_id})"
    return Step(
        kind=StepKind.ROLE_ASSIGNMENT,
        verdict=verdict,
        name=role.name if role is not None else one.role_id,
        why=why + through,
        id=one.id,
        scope=one.scope,
        clauses=clauses,
        link=assignment_link(one),
    )


def _said(inquiry: Inquiry, role: RoleDefinition | None, judgement: Judgement, clauses: Sequence[Clause]) -> str:
    match judgement:
        case Judgement.GRANTS:
            return "holds the action"
        case Judgement.UNMET:
            return f"holds the action, under a condition that is not met: {_unmet(clauses)}"
        case Judgement.LACKS:
            return "does not hold the action" if role is None else why_not(role, inquiry.action, data=inquiry.data)
        case Judgement.ROLE_GONE:
            return "gives nothing: its role does not exist any more"
        case Judgement.FOREIGN:
            return "is another tenant's"


def _clauses(trace: Trace, condition: str, *, told: bool) -> tuple[Clause, ...]:
    return tuple(_clause(one, told=told or _TARGET not in one.text.lower()) for one in comparisons(trace.call, condition))


def _clause(made: Made, *, told: bool) -> Clause:
    sides = (_values(made.left), _values(made.right)) if told else (_UNSHOWN, _UNSHOWN)
    return Clause(text=made.text, holds=made.holds, left=sides[0], right=sides[1])


def _values(values: Sequence[AttributeValue] | None) -> str:
    if values is None:
        return "absent"
    return ", ".join(f"'{one}'" if isinstance(one, str) else str(one).lower() for one in values)


def _unmet(clauses: Sequence[Clause]) -> str:
    """The comparisons that do not hold, with what stood on either side."""
    failed = [one for one in clauses if one.holds is not True] or [*clauses]
    told = [
        f"'{one.text}' {'is false' if one.holds is False else 'cannot be told'}: {one.left or 'nothing'} against {one.right or 'nothing'}"
        for one in failed[:3]
    ]
    return "; ".join(told) or "it cannot be read"


def _decided(inquiry: Inquiry, trace: Trace, considered: Sequence[Step]) -> Step:
    decision = trace.decision
    if decision.because is not None:
        found = next((one for one in considered if one.id == decision.because), None)
        return found or _untold(decision.reason)
    steps = [one for one in considered if one.kind is StepKind.ROLE_ASSIGNMENT]
    if decision.reason is Reason.NO_ASSIGNMENT:
        name = "no role assignment"
        why = f"no role is assigned to {inquiry.name}, or to a group that it is in, there or above"
    else:
        name = "no role that holds the action"
        many = f"none of the {len(steps)} roles" if len(steps) > 1 else "no role"
        why = f"{many} that {inquiry.name} has there or above holds it"
    return Step(kind=StepKind.ABSENCE, verdict=Verdict.REFUSES, name=name, why=why, scope=str(inquiry.scope))


def _untold(reason: Reason) -> Step:
    kind = StepKind.DENY_ASSIGNMENT if reason is Reason.DENY_ASSIGNMENT else StepKind.ROLE_ASSIGNMENT
    verdict = Verdict.ALLOWS if reason is Reason.GRANTED else Verdict.REFUSES
    return Step(kind=kind, verdict=verdict, name=_UNTOLD, why="decides it")


def _summary(inquiry: Inquiry, trace: Trace, decided: Step) -> str:
    does = f"do the {inquiry.kind} '{inquiry.action}' at '{inquiry.scope}'"
    match trace.decision.reason:
        case Reason.GRANTED:
            return f"{inquiry.name} may {does}: the role '{decided.name}' holds it."
        case Reason.DENY_ASSIGNMENT:
            return f"{inquiry.name} may not {does}: the deny assignment '{decided.name}' forbids it, whatever roles say."
        case Reason.CONDITION:
            return f"{inquiry.name} may not {does}: the role '{decided.name}' holds it under a condition that the request does not meet."
        case Reason.NOT_IN_ROLES:
            return f"{inquiry.name} may not {does}: {decided.why}."
        case Reason.NO_ASSIGNMENT:
            return f"{inquiry.name} may not {does}: {decided.why}."
