"""What came nearest to allowing something: a role one scope away, one that a group has, one that lacks a single action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from idplane.explain.authority import assignments_at
from idplane.explain.commands import assignment_link
from idplane.explain.findings import Tools
from idplane.explain.inquiry import Inquiry
from idplane.explain.model import Step, StepKind, Verdict
from idplane.explain.roles import rules_of
from idplane.explain.sight import Sight, parsed
from idplane.model.ids import ResourceId
from idplane.model.roles import Reason, RoleAssignment, RoleDefinition
from idplane.rbac import Trace

__all__ = ["Near", "nearest_grant"]

_GROUP: Final = "Group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """The nearest miss, as far as there is one."""

    step: Step | None = None
    elsewhere: RoleAssignment | None = None
    """When it is an assignment that stands elsewhere."""
    role: RoleDefinition | None = None
    """Of that assignment, or of the group's."""
    group: RoleAssignment | None = None
    """When it is an assignment to a group that the principal is not in."""


async def nearest_grant(inquiry: Inquiry, trace: Trace, considered: Sequence[Step], sight: Sight, tools: Tools) -> Near:
    """A condition that was not met, else a group's role, else the same role one scope away, else a role that lacks the action."""
    unmet = next((one for one in considered if one.verdict is Verdict.MISSES), None)
    if unmet is not None or trace.decision.reason is Reason.DENY_ASSIGNMENT:
        allowing = next((one for one in considered if one.verdict is Verdict.ALLOWS), None)
        return Near(step=unmet or allowing)
    return (
        await _one_scope_away(inquiry, trace, sight, tools)
        or await _by_group(inquiry, trace, sight, tools)
        or Near(step=next((one for one in considered if one.kind is StepKind.ROLE_ASSIGNMENT), None))
    )


async def _one_scope_away(inquiry: Inquiry, trace: Trace, sight: Sight, tools: Tools) -> Near | None:
    found: list[tuple[int, str, RoleAssignment, RoleDefinition, str]] = []
    for one in trace.elsewhere:
        role, at = await _holder(inquiry, one, tools), parsed(one.scope)
        if role is None or at is None or trace.call.tenant_id not in {None, one.tenant_id}:
            continue
        if await sight.of_assignment(one):
            distance, relation = _relation(inquiry.scope, at)
            found.append((distance, one.id, one, role, relation))
        else:
            sight.hidden += 1
    if not found:
        return None
    _, _, one, role, relation = min(found, key=lambda it: it[:2])
    why = f"holds the action, but stands at '{one.scope}': {relation}"
    return Near(step=_step(one, role, why), elsewhere=one, role=role)


async def _by_group(inquiry: Inquiry, trace: Trace, sight: Sight, tools: Tools) -> Near | None:
    for key in trace.call.scopes:
        for one in await assignments_at(tools, key):
            if one.principal_type != _GROUP or one.principal_id in trace.call.principal_ids or one.condition is not None:
                continue
            role = await _holder(inquiry, one, tools)
            if role is not None and await sight.of_assignment(one):
                group = await sight.name(one.principal_id)
                why = f"holds the action, and is assigned to the group '{group}', which {inquiry.name} is not in"
                return Near(step=_step(one, role, why), group=one, role=role)
    return None


async def _holder(inquiry: Inquiry, one: RoleAssignment, tools: Tools) -> RoleDefinition | None:
    """The assignment's role, if it holds the action."""
    role = await tools.access.definition(one.tenant_id, one.role_id)
    holds = role is not None and rules_of(role.permissions).hold(inquiry.action, data=inquiry.data)
    return role if holds else None


def _relation(target: ResourceId, other: ResourceId) -> tuple[int, str]:
    """How far a scope is from the one that was asked for, and what it is to it."""
    if other.is_within(target):
        return 1, "below what was asked for"
    if other.parent == target.parent:
        return 2, "a sibling of what was asked for"
    if other.management_group is not None:
        return 6, "a management group that does not contain what was asked for"
    if other.subscription != target.subscription:
        return 5, "in another subscription"
    if (other.resource_group or "").lower() != (target.resource_group or "").lower():
        return 4, "another resource group"
    return 3, "another resource of the same group"


def _step(one: RoleAssignment, role: RoleDefinition, why: str) -> Step:
    return Step(
        kind=StepKind.ROLE_ASSIGNMENT,
        verdict=Verdict.MISSES,
        name=role.name,
        why=why,
        id=one.id,
        scope=one.scope,
        link=assignment_link(one),
    )
