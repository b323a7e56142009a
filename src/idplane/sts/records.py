"""The sign-in log's records: what an attempt had found when it ended, and how it ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from idplane.model.calls import Call
from idplane.model.directory import Credential, Principal, PrincipalType, ResourceApplication, Tenant
from idplane.model.events import ForeignToken, SignIn, UserSignIn
from idplane.model.failure import Failure
from idplane.model.redaction import without_secrets
from idplane.model.refusals import Evidence
from idplane.ports.store import Versioned
from idplane.sts.claims import TokenFacts
from idplane.sts.clients import AuthenticatedClient
from idplane.sts.entitlement import Entitlement
from idplane.sts.refusals import refusal_of, sentence
from idplane.sts.requests import DEVICE_CODE_GRANT, REFRESH_GRANT, TokenRequest

__all__ = ["Attempt", "evidence", "issued", "refused"]

_MAX_TEXT: Final = 1024
_MILLISECOND: Final = timedelta(milliseconds=1)
_OF_USERS: Final = frozenset({DEVICE_CODE_GRANT, REFRESH_GRANT})


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One attempt as it proceeds: each phase adds what it found, so that a refusal is recorded with everything known by then."""

    request: TokenRequest
    call: Call
    tenant: Tenant
    principal: Versioned[Principal] | None = None
    """Claimed; proved only if `client` is there."""
    client: AuthenticatedClient | None = None
    entitlement: Entitlement | None = None
    resource: str | None = None
    audience: ResourceApplication | None = None
    user: UserSignIn | None = None
    """When it is a user who signs in: through which client, and how."""

    def entitled(self, entitlement: Entitlement) -> None:
        """Phases 2 and 3 have passed."""
        self.principal, self.client, self.entitlement = entitlement.client.principal, entitlement.client, entitlement


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """How an attempt ended; a refusal unless a token says otherwise."""

    at: datetime
    error_code: int = 0
    failure_reason: str = ""
    token_id: str | None = None
    signing_key: str | None = None
    expires_at: datetime | None = None
    federated: ForeignToken | None = None


def issued(attempt: Attempt, facts: TokenFacts, signing_key: str, at: datetime) -> SignIn:
    """The record without which a token does not leave."""
    proof = attempt.client.federated if attempt.client else None
    outcome = _Outcome(
        at=at,
        token_id=facts.opaque.uti,
        signing_key=signing_key,
        expires_at=facts.expires_at,
        federated=proof.token if proof else None,
    )
    return _record(attempt, outcome)


def refused(attempt: Attempt, failure: Failure, at: datetime) -> SignIn:
    """The record of a refusal, with Entra's number and sentence for it."""
    outcome = _Outcome(
        at=at,
        error_code=refusal_of(failure.kind).code,
        failure_reason=without_secrets(sentence(failure))[:_MAX_TEXT],
        federated=_foreign_token(attempt, failure),
    )
    record = _record(attempt, outcome)
    # Who was refused may have put a token where a name belongs.
    return replace(
        record,
        client_id=without_secrets(record.client_id),
        resource=without_secrets(record.resource),
        user_agent=without_secrets(record.user_agent),
    )


def evidence(attempt: Attempt) -> Evidence:
    """What an attempt had found, for the record of its refusal. The caller is proved once its credential was good."""
    record = _record(attempt, _Outcome(at=attempt.call.received_at))
    return Evidence(
        proved=attempt.client is not None or attempt.user is not None,
        tenant_id=record.tenant_id,
        principal_id=record.principal_id,
        client_id=record.client_id,
        caller_name=record.principal_name,
        host=record.host,
        workload=record.workload,
        resource=record.resource or None,
        sign_in_id=record.id,
    )


def _foreign_token(attempt: Attempt, failure: Failure) -> ForeignToken | None:
    """What was shown, whether it was accepted before something else refused or was itself refused."""
    if attempt.client is not None:
        return attempt.client.federated.token if attempt.client.federated else None
    facts = failure.data
    if "issuer" not in facts:
        return None
    return ForeignToken(
        issuer=facts["issuer"],
        subject=facts.get("subject", ""),
        token_id=facts.get("token_id") or None,
        nearest=facts.get("nearest"),
        differs=facts.get("differs"),
    )


def _record(attempt: Attempt, outcome: _Outcome) -> SignIn:
    request, call = attempt.request, attempt.call
    principal = attempt.principal.value if attempt.principal else None
    managed = principal if principal and principal.type is PrincipalType.MANAGED_IDENTITY else None
    credential = attempt.client.credential.value if attempt.client else None
    host = attempt.entitlement.assignment.value.host if attempt.entitlement and attempt.entitlement.assignment else None
    return SignIn(
        id=call.request_id,
        at=outcome.at,
        tenant_id=attempt.tenant.id,
        client_id=principal.client_id if principal and principal.type.is_client else (request.client_id or "")[:_MAX_TEXT],
        principal_id=principal.id if principal else None,
        principal_name=principal.caller_name if principal else "",
        principal_type=(principal.type if principal else _claimed_type(request)).value,
        resource=(attempt.resource or request.audience or "")[:_MAX_TEXT],
        resource_name=attempt.audience.display_name if attempt.audience else "",
        resource_client_id=attempt.audience.client_id if attempt.audience else "",
        error_code=outcome.error_code,
        failure_reason=outcome.failure_reason,
        correlation_id=call.correlation_id,
        token_id=outcome.token_id,
        credential_kind=credential.kind.value if credential else "",
        credential_id=credential.id if credential else None,
        credential_thumbprint=credential.thumbprint if isinstance(credential, Credential) else None,
        milliseconds=max(0, (outcome.at - call.received_at) // _MILLISECOND),
        signing_key=outcome.signing_key,
        host=str(host) if host else None,
        identity=managed.resource_id if managed else None,
        system_assigned=managed.system_assigned if managed else False,
        expires_at=outcome.expires_at,
        client_address=call.client_address,
        user_agent=call.user_agent,
        workload=attempt.client.workload if attempt.client else None,
        federated=outcome.federated,
        user=attempt.user,
    )


def _claimed_type(request: TokenRequest) -> PrincipalType:
    """What the request would speak for, if it had proved it."""
    return PrincipalType.USER if request.grant_type in _OF_USERS else PrincipalType.APPLICATION
