"""A refusal for want of a right, explained by what holds now and by what held then."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from idplane.directory.audiences import GRAPH
from idplane.directory.first_party import GRAPH_ROLES
from idplane.explain.authority import directory_administrators
from idplane.explain.commands import graph
from idplane.explain.findings import Case, Findings
from idplane.explain.grants import explain_access
from idplane.explain.inquiry import Inquiry, attributes_of
from idplane.explain.model import Fix, Step, StepKind, Verdict
from idplane.explain.sight import parsed
from idplane.explain.unread import as_told
from idplane.model.directory import PrincipalType
from idplane.model.ids import ResourceId
from idplane.model.roles import Reason
from idplane.ports.collections import PRINCIPALS, ROLE_ASSIGNMENTS

__all__ = ["forbidden", "linked"]

_THEN: Final = {
    Reason.DENY_ASSIGNMENT: "a deny assignment forbade it",
    Reason.NO_ASSIGNMENT: "no role was assigned to it there or above",
    Reason.NOT_IN_ROLES: "none of its roles there or above held the action",
    Reason.CONDITION: "its role held the action under a condition that was not met",
}


async def forbidden(case: Case) -> Findings:
    """The action that was asked for, at the scope that was named."""
    one = case.refusal
    scope = parsed(one.scope)
    if one.principal_id is not None and case.fact("roles"):
        return await _roles(case, one.principal_id)
    if one.principal_id is None or one.action is None or scope is None:
        return as_told(case)
    return await _access(case, one.principal_id, one.action, scope)


async def _roles(case: Case, principal_id: str) -> Findings:
    """Graph asks for one of its application roles, in the token."""
    enough = case.fact("roles").split(", ")
    least = min(enough, key=lambda it: ("Write" in it, it.startswith("Directory."), it))
    role = next((one for one in GRAPH_ROLES if one.value == least), None)
    decided = Step(
        kind=StepKind.ABSENCE,
        verdict=Verdict.REFUSES,
        name="no application role of Microsoft Graph",
        why=f"the token of {case.who} holds none of the roles that allow it: {', '.join(enough)}",
    )
    where = {"tenant_id": case.sight.viewer.tenant_id, "client_id": GRAPH.client_id}
    page = await case.tools.store.page(PRINCIPALS, where=where, limit=1)
    found = await case.tools.store.get(PRINCIPALS, principal_id)
    fixes: tuple[Fix, ...] = (
        Fix(text=f"Give {case.who} the application role '{least}' of Microsoft Graph, and get a new token"),
    )
    if role is not None and page.items and found is not None:
        entities = "servicePrincipals" if found.value.type.is_client else "users"
        body = {"principalId": principal_id, "resourceId": page.items[0].value.id, "appRoleId": role.id}
        request = graph("POST", f"/{entities}/{principal_id}/appRoleAssignments", body)
        who = await directory_administrators(case.sight, case.tools)
        fixes = (Fix(text=fixes[0].text, request=request, who_may=who),)
    summary = f"{decided.why[0].upper()}{decided.why[1:]}."
    return Findings(summary=summary, decided=decided, considered=(decided,), fixes=fixes)


async def linked(case: Case) -> Findings:
    """What the request refers to, such as an identity that is to be assigned, takes a right of its own."""
    action, scope = case.fact("linked_action"), parsed(case.fact("linked_scope"))
    principal_id = case.refusal.principal_id or case.fact("oid")
    if not action or scope is None or not principal_id:
        return as_told(case)
    found = await _access(case, principal_id, action, scope, linked=True)
    if found.allowed or found.now is not None:
        return found
    words = f"{case.who} may do '{case.fact('action')}' itself, but that refers to '{scope}', which takes a right of its own: {found.summary}"
    return replace(found, summary=words)


async def _access(case: Case, principal_id: str, action: str, scope: ResourceId, *, linked: bool = False) -> Findings:
    one = case.refusal
    inquiry = Inquiry(
        principal_id=principal_id,
        name=case.who,
        principal_type=await _type(case, principal_id),
        action=action,
        scope=scope,
        data=one.data and not linked,
        attributes=attributes_of({} if linked else one.attributes),
        at=one.at,
    )
    found = await explain_access(inquiry, case.sight, case.tools)
    present = await explain_access(replace(inquiry, at=None), case.sight, case.tools) if not found.allowed else found
    if not found.allowed and not present.allowed:
        return _compared(case, found)
    return await _settled(case, inquiry, present)


def _compared(case: Case, found: Findings) -> Findings:
    """The same refusal, or another one by now."""
    then = case.refusal.because
    changed = then is not None and found.decided.id is not None and then != found.decided.id
    return replace(found, now="Since then something else has come to refuse it, which is explained here.") if changed else found


async def _settled(case: Case, inquiry: Inquiry, present: Findings) -> Findings:
    """What was refused, and would be allowed now."""
    reason = next((one for one in Reason if one.value == case.refusal.reason), None)
    why = _THEN.get(reason, "it had no right to do it") if reason is not None else "it had no right to do it"
    decided = Step(kind=StepKind.ABSENCE, verdict=Verdict.REFUSES, name="what held then", why=why, scope=str(inquiry.scope))
    return replace(
        present,
        summary=f"{inquiry.name} might not do the {inquiry.kind} '{inquiry.action}' at '{inquiry.scope}': {why}.",
        decided=decided,
        considered=(*present.considered, decided),
        allowed=False,
        now=f"It would be allowed now: {await _since(case, present)}",
    )


async def _since(case: Case, present: Findings) -> str:
    granting = next((one for one in present.considered if one.verdict is Verdict.ALLOWS), None)
    if granting is None or granting.id is None:
        return "something has changed since then."
    found = await case.tools.store.get(ROLE_ASSIGNMENTS, granting.id)
    newer = found is not None and max(found.value.created_at, found.value.changed_at) >= case.refusal.at
    return (
        f"since then the role '{granting.name}' was given at '{granting.scope}'."
        if newer
        else f"the role '{granting.name}' holds it."
    )


async def _type(case: Case, principal_id: str) -> str:
    found = await case.tools.store.get(PRINCIPALS, principal_id)
    return (PrincipalType.APPLICATION if found is None else found.value.type).rbac_type
