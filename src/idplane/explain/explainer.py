"""`Explainer`: why a request was refused, and whether one would be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from idplane.explain import (
    assertions,
    audiences,
    clients,
    endpoints,
    federations,
    hosts,
    machines,
    refused_access,
    secrets_kept,
    targets,
    tokens,
)
from idplane.explain.circumstances import what_was_asked, who_asked
from idplane.explain.findings import Case, Findings, Tools
from idplane.explain.grants import explain_access
from idplane.explain.inquiry import Inquiry
from idplane.explain.model import Explanation, Fact, Link, LinkKind, Question
from idplane.explain.sight import Sight
from idplane.explain.unread import as_told
from idplane.model.calls import Caller
from idplane.model.directory import PrincipalType
from idplane.model.failure import FailureKind
from idplane.model.profile import Profile
from idplane.model.refusals import Refusal
from idplane.ports.collections import PRINCIPALS
from idplane.ports.store import Reads
from idplane.ports.world import Clock
from idplane.rbac import AccessControl

__all__ = ["Explainer"]

_Analysis: TypeAlias = Callable[[Case], Awaitable[Findings]]

_K: Final = FailureKind
_BY_KIND: Final[Mapping[str, _Analysis]] = MappingProxyType(
    {
        kind.name: analysis
        for kind, analysis in (
            (_K.FORBIDDEN, refused_access.forbidden),
            (_K.LINKED_FORBIDDEN, refused_access.linked),
            # Resource Manager
            (_K.LOCKED, targets.locked),
            (_K.SUBSCRIPTION_DISABLED, targets.subscription_disabled),
            (_K.NOT_REGISTERED, targets.not_registered),
            (_K.GROUP_NOT_FOUND, targets.missing),
            (_K.PARENT_NOT_FOUND, targets.missing),
            (_K.RESOURCE_NOT_FOUND, targets.missing),
            (_K.PRECONDITION_FAILED, targets.precondition),
            (_K.LIMIT_EXCEEDED, targets.limit),
            (_K.THROTTLED, targets.throttled),
            # Vaults
            (_K.SECRET_DISABLED, secrets_kept.secret_disabled),
            (_K.SECRET_DELETED, secrets_kept.secret_deleted),
            (_K.SECRET_NOT_FOUND, secrets_kept.secret_missing),
            # Clients
            (_K.CLIENT_UNKNOWN, clients.unknown),
            (_K.CLIENT_DISABLED, clients.disabled),
            (_K.USER_DISABLED, clients.disabled),
            (_K.CLIENT_SECRET_EXPIRED, clients.secret_expired),
            (_K.CLIENT_SECRET_INVALID, clients.secret_invalid),
            (_K.CLIENT_CREDENTIAL_MISSING, clients.credential_missing),
            (_K.FEDERATION_NONE, federations.federation),
            (_K.FEDERATION_ISSUER, federations.federation),
            (_K.FEDERATION_AUDIENCE, federations.federation),
            (_K.FEDERATION_AUDIENCE_ID, federations.federation),
            (_K.FEDERATION_SUBJECT, federations.federation),
            (_K.FEDERATION_SUBJECT_CASE, federations.federation),
            (_K.FEDERATION_OWN_TOKEN, assertions.own_token),
            (_K.FEDERATION_SIGNATURE, assertions.signature),
            (_K.ISSUER_UNREACHABLE, assertions.issuer_unreachable),
            (_K.ASSERTION_TIME, assertions.time),
            (_K.ASSERTION_AUDIENCE, assertions.audience),
            (_K.ASSERTION_INVALID, assertions.invalid),
            (_K.ASSERTION_REPLAYED, assertions.replayed),
            # What tokens are for, and whether they count
            (_K.AUDIENCE_UNKNOWN, audiences.audience_unknown),
            (_K.SCOPE_INVALID, audiences.scope_invalid),
            (_K.TOKEN_AUDIENCE, tokens.audience),
            (_K.TOKEN_EXPIRED, tokens.expired),
            (_K.TOKEN_MISSING, tokens.missing),
            (_K.TOKEN_BINDING, tokens.binding),
            (_K.TOKEN_TENANT, tokens.tenant),
            (_K.TOKEN_REVOKED, tokens.revoked),
            # Hosts and their endpoints
            (_K.NOT_ENTITLED, hosts.not_entitled),
            (_K.IDENTITY_STOPPED, hosts.stopped),
            (_K.IDENTITY_NOT_FOUND, hosts.not_found),
            (_K.IDENTITY_AMBIGUOUS, hosts.ambiguous),
            (_K.METADATA_HEADER_MISSING, endpoints.header_missing),
            (_K.FORWARDED, endpoints.forwarded),
            (_K.FOREIGN_HOST, endpoints.foreign_host),
            (_K.ENDPOINT_SECRET, endpoints.secret),
            (_K.RESOURCE_PARAMETER_MISSING, endpoints.resource_missing),
            (_K.CALLER_UNPROVEN, endpoints.unproven),
            (_K.CALLER_NOT_BOUND, endpoints.not_bound),
            (_K.AGENT_BANNED, machines.not_served),
            (_K.AGENT_LOCKED, machines.not_served),
            (_K.AGENT_UNKNOWN, machines.unknown),
            (_K.HOST_NOT_BOUND, machines.not_bound),
        )
    }
)
"""What is said of each kind of refusal; of all others, what the caller was told."""


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
            stated=True,
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
