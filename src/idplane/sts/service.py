"""Issuing access tokens: the shared phases, in their one order (design section 5).

1. tenant                 the path names it, or nothing is logged and the request is refused
2. client authentication  `clients`
3. entitlement            `entitlement`
4. audience               the grant reads it, the directory knows it
5. claims                 `claims`, pure
6. permit and signature   one permit, one signature
7. record                 the sign-in is durable, together with the requirement that 1 to 3 still hold
8. answer

A refusal in phases 2 to 4 is recorded too. If a record cannot be written, the failure to write it is the answer: no durable
record, no token.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from idplane.keys import SigningPermit
from idplane.model.calls import Call
from idplane.model.directory import CredentialKind, Principal, PrincipalType, ResourceApplication, Tenant
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.profile import Profile
from idplane.ports.collections import SIGN_INS
from idplane.ports.issuers import IssuerDocuments
from idplane.ports.store import Append, Batch, CommitRefused, Store, Versioned
from idplane.ports.world import Clock, Entropy
from idplane.sts.claims import BACKDATED, Opaque, TokenFacts, access_claims
from idplane.sts.clients import ClientAuthentication
from idplane.sts.entitlement import entitle
from idplane.sts.federation import Federation, OwnTokens
from idplane.sts.grants import GRANTS, Grant, grant_named
from idplane.sts.issuers import IssuerKeys
from idplane.sts.projected import ProjectedTokens, TokenKeys
from idplane.sts.recent import RecentReads, Records
from idplane.sts.records import Attempt, issued, refused
from idplane.sts.remembered import Decision, Remembered
from idplane.sts.requests import IssuedToken, TokenRequest
from idplane.sts.scopes import declared_capabilities
from idplane.sts.tenants import find_tenant

__all__ = ["AudienceLookup", "TokenService"]

_ATTEMPTS: Final = 5
_NOT_RECORDED: Final = frozenset({Category.INTERNAL, Category.UNAVAILABLE})


class AudienceLookup(Protocol):
    """What the service needs of the directory."""

    async def resolve(self, resource: str, *, tenant_id: str) -> ResourceApplication:
        """The application that a resource string names; raises `Failure(AUDIENCE_UNKNOWN)`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authorized:
    """The outcome of the phases that may refuse."""

    decision: Decision
    audience: ResourceApplication
    resource: str
    capabilities: tuple[str, ...]


class TokenService:
    """Issues access tokens. Holds no state of its own beyond what it can prove again: parsed keys and decisions it may try again."""

    def __init__(  # noqa: PLR0913 - its whole world, spelled out
        self,
        *,
        store: Store,
        ring: TokenKeys,
        audiences: AudienceLookup,
        clock: Clock,
        entropy: Entropy,
        profile: Profile,
        authenticator: OwnTokens,
        documents: IssuerDocuments,
        grants: Mapping[str, Grant] = GRANTS,
    ) -> None:
        self._store = store
        self._ring = ring
        self._audiences = audiences
        self._clock = clock
        self._entropy = entropy
        self._profile = profile
        self._grants = grants
        keys = IssuerKeys(documents=documents, clock=clock)
        self.projected: Final = ProjectedTokens(store=store, ring=ring, clock=clock, entropy=entropy, profile=profile)
        federation = Federation(keys=keys, own=authenticator, projected=self.projected, profile=profile)
        self._clients = ClientAuthentication(federation=federation)
        self._recent = RecentReads(store)
        self._remembered = Remembered()

    async def issue(self, request: TokenRequest, call: Call) -> IssuedToken:
        """A token whose sign-in record is durable, or a `Failure` that says in which phase it ended.

        Kinds: TENANT_NOT_FOUND, MISSING_PARAMETER, INVALID_PARAMETER, GRANT_UNSUPPORTED, CLIENT_*, ASSERTION_*, FEDERATION_*,
        ISSUER_UNREACHABLE, NOT_ENTITLED,
        SCOPE_INVALID, AUDIENCE_UNKNOWN; UNAVAILABLE, STORAGE_FULL and INTERNAL for what is not the client's doing.
        """
        token = await self._by_memory(request, call) or await self._by_recent_records(request, call)
        if token is not None:
            return token
        for _ in range(_ATTEMPTS):
            tenant = await find_tenant(self._store, request.tenant)
            attempt = Attempt(request=request, call=call, tenant=tenant.value)
            authorized = await self._authorize(attempt, tenant)
            # Refused means that something which the decision rests on changed before the record was durable: decide anew.
            with suppress(CommitRefused):
                token = await self._mint(authorized, attempt)
                self._remembered.keep(request, authorized.decision)
                return token
        raise Failure(FailureKind.UNAVAILABLE, "the client's records keep changing; try again")

    async def _by_memory(self, request: TokenRequest, call: Call) -> IssuedToken | None:
        """A token by a decision that was made before, if there is one and it still holds (`remembered`)."""
        decision = self._remembered.recall(request, self._clock.now())
        if decision is None:
            return None
        attempt = Attempt(request=request, call=call, tenant=decision.tenant.value)
        attempt.entitled(decision.entitlement)
        try:
            grant = grant_named(request.grant_type, self._grants)
            authorized = await self._aimed(attempt, grant, decision)
        except Failure:
            return None  # a refusal is never told from memory: by what the store says, it may be another one
        with suppress(CommitRefused):
            return await self._mint(authorized, attempt)
        self._remembered.forget(request)
        return None

    async def _by_recent_records(self, request: TokenRequest, call: Call) -> IssuedToken | None:
        """A token by records that were read before (`recent`). Anything but a token only means that the store must be asked."""
        try:
            tenant = await find_tenant(self._recent, request.tenant)
            attempt = Attempt(request=request, call=call, tenant=tenant.value)
            authorized = await self._decide(self._recent, attempt, tenant)
        except Failure:
            return None
        with suppress(CommitRefused):
            token = await self._mint(authorized, attempt)
            self._remembered.keep(request, authorized.decision)
            return token
        return None

    async def _authorize(self, attempt: Attempt, tenant: Versioned[Tenant]) -> _Authorized:
        """Phases 2 to 4; a refusal is in the log before it is raised."""
        try:
            return await self._decide(self._store, attempt, tenant)
        except Failure as failure:
            if failure.kind.category not in _NOT_RECORDED:
                await self._store.commit(Batch.of(Append(log=SIGN_INS, event=refused(attempt, failure, self._clock.now()))))
            raise

    async def _decide(self, records: Records, attempt: Attempt, tenant: Versioned[Tenant]) -> _Authorized:
        request = attempt.request
        grant = grant_named(request.grant_type, self._grants)
        attempt.principal = await self._clients.principal(records, request, tenant.value)
        attempt.client = await self._clients.authenticate(records, request, tenant.value, attempt.principal, self._clock.now())
        entitlement = await entitle(records, attempt.client)
        attempt.entitled(entitlement)
        return await self._aimed(attempt, grant, Decision.of(tenant, entitlement))

    async def _aimed(self, attempt: Attempt, grant: Grant, decision: Decision) -> _Authorized:
        """Phase 4."""
        attempt.resource = grant.resource(attempt.request)
        attempt.audience = await self._audiences.resolve(attempt.resource, tenant_id=attempt.tenant.id)
        return _Authorized(
            decision=decision,
            audience=attempt.audience,
            resource=attempt.resource,
            capabilities=declared_capabilities(attempt.request.claims),
        )

    async def _mint(self, authorized: _Authorized, attempt: Attempt) -> IssuedToken:
        """Phases 5 to 8; raises `CommitRefused` when the decision no longer holds."""
        now = self._clock.now()
        facts = self._facts(authorized, now)
        permit = SigningPermit(claims=access_claims(facts), token_version=authorized.audience.token_version)
        await self._ring.refresh()
        signed = self._ring.sign(permit)
        record = issued(attempt, facts, signed.kid, now)
        await self._store.commit(authorized.decision.requirements + Batch.of(Append(log=SIGN_INS, event=record)))
        return IssuedToken(
            access_token=signed.token,
            token_id=facts.opaque.uti,
            resource=authorized.resource,
            not_before=facts.issued_at - BACKDATED,
            expires_at=facts.expires_at,
            expires_in=int((facts.expires_at - facts.issued_at).total_seconds()) - 1,
        )

    def _facts(self, authorized: _Authorized, now: datetime) -> TokenFacts:
        entitlement = authorized.decision.entitlement
        principal = entitlement.client.principal.value
        issued_at = now.replace(microsecond=0)
        assignment = entitlement.assignment.value if entitlement.assignment else None
        return TokenFacts(
            tenant=authorized.decision.tenant.value,
            principal=principal,
            host=assignment.host if assignment else None,
            by_secret=entitlement.client.credential.value.kind is CredentialKind.SECRET,
            audience=authorized.audience,
            resource=authorized.resource,
            capabilities=authorized.capabilities,
            opaque=Opaque.fresh(self._entropy, assignment.generation if assignment else ""),
            issued_at=issued_at,
            expires_at=issued_at + self._lifetime(principal),
            roles=principal.roles_for(authorized.audience.roles_resource),
        )

    def _lifetime(self, principal: Principal) -> timedelta:
        if principal.type is PrincipalType.MANAGED_IDENTITY:
            return self._profile.managed_identity_token_lifetime
        return self._profile.application_token_lifetime
