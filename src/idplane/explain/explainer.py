"""`Explainer`: why a request was refused, and whether one would be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from idplane.explain.circumstances import what_was_asked, who_asked
from idplane.explain.findings import Case, Findings, Tools
from idplane.explain.grants import explain_access
from idplane.explain.inquiry import Inquiry
from idplane.explain.model import Explanation, Fact, Link, LinkKind, Question
from idplane.explain.refused_access import forbidden, linked
from idplane.explain.sight import Sight
from idplane.explain.unread import as_told
from idplane.model.calls import Caller
from idplane.model.directory import PrincipalType
from idplane.model.profile import Profile
from idplane.model.refusals import Refusal
from idplane.ports.collections import PRINCIPALS
from idplane.ports.store import Reads
from idplane.ports.world import Clock
from idplane.rbac import AccessControl

__all__ = ["Explainer"]

_Analysis: TypeAlias = Callable[[Case], Awaitable[Findings]]

_BY_KIND: Final[Mapping[str, _Analysis]] = MappingProxyType({"FORBIDDEN": forbidden, "LINKED_FORBIDDEN": linked})


class Explainer:
    """Explains to one viewer at a time, reduced to what that one may know (`sight`). Holds no state."""

    def __init__(self, *, store: Reads, access: AccessControl, clock: Clock, profile: Profile) -> None:
        self._tools = Tools(store=store, access=access, clock=clock, profile=profile)

    async def explain(self, refusal: Refusal, viewer: Caller) -> Explanation:
        """Why it was refused. Whether the viewer may hear of the refusal at all is for whoever asks to settle."""
        case = Case(refusal=refusal, sight=self._sight(viewer), tools=self._tools)
        analysis = _BY_KIND.get(refusal.kind)
        findings = as_told(case) if analysis is None else await analysis(case)
        return Explanation(
            refusal_id=refusal.id,
            at=refusal.at,
            allowed=False,
            summary=findings.summary,
            who=await who_asked(case),
            what=(*what_was_asked(case), *findings.what),
            decided=findings.decided,
            considered=findings.considered,
            nearest=findings.nearest,
            fixes=findings.fixes,
            together=findings.together,
            now=findings.now,
            hidden=case.sight.hidden,
        )

    async def ask(self, question: Question, viewer: Caller) -> Explanation:
        """Whether a principal could do something, and why. Whether the viewer may ask about it is for whoever asks to settle."""
        sight = self._sight(viewer)
        found = await self._tools.store.get(PRINCIPALS, question.principal_id)
        name = await sight.name(question.principal_id)
        kind = PrincipalType.APPLICATION if found is None else found.value.type
        inquiry = Inquiry(
            principal_id=question.principal_id,
            name=name,
            principal_type=kind.rbac_type,
            action=question.action,
            scope=question.scope,
            data=question.data,
            attributes=question.attributes,
        )
        findings = await explain_access(inquiry, sight, self._tools)
        return Explanation(
            refusal_id=None,
            at=None,
            allowed=findings.allowed,
            summary=findings.summary,
            who=(Fact(label="principal", value=name, link=Link(kind=LinkKind.PRINCIPAL, ref=question.principal_id)),),
            what=(
                Fact(label="data action" if question.data else "action", value=question.action),
                Fact(label="scope", value=str(question.scope), link=Link(kind=LinkKind.SCOPE, ref=str(question.scope))),
            ),
            decided=findings.decided,
            considered=findings.considered,
            nearest=findings.nearest,
            fixes=findings.fixes,
            together=findings.together,
            hidden=sight.hidden,
        )

    def _sight(self, viewer: Caller) -> Sight:
        return Sight(viewer=viewer, access=self._tools.access, store=self._tools.store)
