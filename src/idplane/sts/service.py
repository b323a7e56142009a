"""Issuing access tokens: the shared phases, in their one order (design section 5).

1. tenant                 the path names it, or nothing is logged and the request is refused
2. client authentication  `clients`
3. entitlement            `entitlement`
4. audience               the grant reads it, the directory knows it
5. claims                 `claims`, pure
6. permit and signature   one permit, one signature
7. record                 the sign-in is durable, together with the requirement that 1 to 3 still hold
8. answer

For a user, phases 2 and 3 are one: what a grant of `user_grants` shows proves the user and the session, and the client proves nothing.

A refusal in phases 2 to 4 is recorded too, and counted where strangers cause too many (`arm.sparing`). If a record cannot be written, the failure to write it is the answer: no durable
record, no token.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from idplane.arm.sparing import Sparing
from idplane.keys import SigningPermit
from idplane.model.calls import Call
from idplane.model.directory import Credential, CredentialKind, Principal, PrincipalType, ResourceApplication, Tenant
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.profile import Profile
from idplane.model.values import JsonObject
from idplane.ports.collections import SIGN_INS
from idplane.ports.issuers import IssuerDocuments
from idplane.ports.store import Append, Batch, CommitRefused, Store, Versioned
from idplane.ports.telemetry import NO_TELEMETRY, SIGN, TOKENS_ISSUED, TOKENS_REFUSED, Telemetry
from idplane.ports.world import Clock, Entropy
from idplane.rbac import Groups
from idplane.sts.claims import BACKDATED, Opaque, Standing, TokenFacts, access_claims
from idplane.sts.clients import AuthenticatedClient, ClientAuthentication
from idplane.sts.entitlement import entitle
from idplane.sts.federation import Federation, OwnTokens
from idplane.sts.grants import GRANTS, USER_GRANTS, Grant, grant_named
from idplane.sts.held_roles import held_roles
from idplane.sts.issuers import IssuerKeys
from idplane.sts.projected import ProjectedTokens, TokenKeys
from idplane.sts.recent import RecentReads, Records
from idplane.sts.records import Attempt, evidence, issued, refused
from idplane.sts.remembered import Decision, Remembered
from idplane.sts.requests import DEVICE_CODE_GRANT, Endpoint, IssuedToken, TokenRequest, UserReply
from idplane.sts.scopes import declared_capabilities
from idplane.sts.spent import replayed, spending
from idplane.sts.tenants import ANY_TENANT, find_tenant
from idplane.sts.user_claims import UserFacts, id_claims, user_access_claims
from idplane.sts.user_grants import Asked, SignedIn, UserGrants
from idplane.sts.user_replies import client_info, granted_scope
from idplane.sts.user_scopes import granted_names

__all__ = ["AudienceLookup", "TokenService", "is_recorded"]

_ATTEMPTS: Final = 5
_OF_OUR_AUTHORITY: Final = frozenset({CredentialKind.IDENTITY_CERTIFICATE, CredentialKind.WORKLOAD_CERTIFICATE})


async def _vouched_for(_certificate_der: bytes) -> bool:
    """Where there is no authority to ask."""
    return True


_NOT_RECORDED: Final = frozenset({Category.INTERNAL, Category.UNAVAILABLE})
_NO_ATTEMPT: Final = frozenset({FailureKind.DEVICE_CODE_PENDING, FailureKind.DEVICE_CODE_SLOW_DOWN})
"""Polls for what nobody has decided yet."""


def is_recorded(kind: FailureKind) -> bool:
    """Whether a refusal is an attempt to sign in, once it is known in which tenant."""
    return kind.category not in _NOT_RECORDED and kind not in _NO_ATTEMPT


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
    spent: Batch
    """That the client's assertion is used by this token, if it may be used only once."""


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
        telemetry: Telemetry = NO_TELEMETRY,
        vouched: Callable[[bytes], Awaitable[bool]] = _vouched_for,
    ) -> None:
        """`vouched` says whether an authority that counts has issued an identity's certificate."""
        self._vouched = vouched
        self._telemetry = telemetry
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
        self._users = UserGrants(store=store, entropy=entropy)
        self._recent = RecentReads(store)
        self._groups = Groups(store=store)
        self._remembered = Remembered()
        self._sparing = Sparing(clock)

    async def issue(self, request: TokenRequest, call: Call) -> IssuedToken:
        """A token whose sign-in record is durable, or a `Failure` that says in which phase it ended.

        Kinds: TENANT_NOT_FOUND, MISSING_PARAMETER, INVALID_PARAMETER, GRANT_UNSUPPORTED, CLIENT_*, ASSERTION_*, FEDERATION_*,
        ISSUER_UNREACHABLE, NOT_ENTITLED,
        SCOPE_INVALID, AUDIENCE_UNKNOWN; for users DEVICE_CODE_*, REFRESH_TOKEN_*, USER_* and PASSWORD_GRANT; UNAVAILABLE, STORAGE_FULL
        and INTERNAL for what is not the client's doing.
        """
        try:
            token = await self._issue(request, call)
        except Failure as failure:
            self._telemetry.count(TOKENS_REFUSED, reason=failure.kind.name.lower())
            raise
        self._telemetry.count(TOKENS_ISSUED, grant=_proof(request))
        return token

    async def _issue(self, request: TokenRequest, call: Call) -> IssuedToken:
        if request.grant_type in USER_GRANTS:
            return await self._issue_to_user(request, call)
        if request.tenant.lower() in ANY_TENANT:
            grant_named(request.grant_type, self._grants)  # whoever sends a password is told so, whatever the tenant
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

    async def client(self, request: TokenRequest, call: Call) -> Principal:
        """The client that a request proves to come from, for endpoints beside the token endpoints; raises as `issue` does of a client."""
        tenant = (await find_tenant(self._store, request.tenant)).value
        principal = await self._clients.principal(self._store, request, tenant)
        client = await self._clients.authenticate(self._store, request, tenant, principal, self._clock.now())
        await entitle(self._store, client, call)
        async with self._recorded(Attempt(request=request, call=call, tenant=tenant, principal=principal, client=client)):
            await self._spend(client)
        return client.principal.value

    async def _spend(self, client: AuthenticatedClient) -> None:
        """Use an assertion up that led to no token."""
        spent = await spending(self._store, client, "")
        try:
            if spent:
                await self._store.commit(spent)
        except CommitRefused as conflict:
            raise replayed() from conflict

    async def _by_memory(self, request: TokenRequest, call: Call) -> IssuedToken | None:
        """A token by a decision that was made before, if there is one and it still holds (`remembered`)."""
        decision = self._remembered.recall(request, call, self._clock.now())
        if decision is None or not await self._is_vouched_for(decision.entitlement.client):
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
        async with self._recorded(attempt):
            return await self._decide(self._store, attempt, tenant)

    @asynccontextmanager
    async def _recorded(self, attempt: Attempt | None) -> AsyncIterator[None]:
        """What is refused inside is in the log, together with what the refusal costs, before it is told."""
        try:
            yield
        except Failure as failure:
            if attempt is not None and is_recorded(failure.kind):
                cost = await self._cost(attempt, failure)
                # Who has proved nothing must not be able to fill the log: what goes beyond is counted (`Failure.on_record`).
                if cost or attempt.client is not None or self._sparing.has_room(attempt.call):
                    record = Batch.of(Append(log=SIGN_INS, event=refused(attempt, failure, self._clock.now())))
                    await self._store.commit(cost + record)
                    failure.on_record = True
                failure.with_evidence(evidence(attempt))
            raise

    async def _cost(self, attempt: Attempt, failure: Failure) -> Batch:
        reused = failure.kind is FailureKind.REFRESH_TOKEN_REUSED
        return await self._users.reused(attempt.request, self._clock.now()) if reused else Batch()

    async def _decide(self, records: Records, attempt: Attempt, tenant: Versioned[Tenant]) -> _Authorized:
        request = attempt.request
        grant = grant_named(request.grant_type, self._grants)
        attempt.principal = await self._clients.principal(records, request, tenant.value)
        attempt.client = await self._clients.authenticate(records, request, tenant.value, attempt.principal, self._clock.now())
        if not await self._is_vouched_for(attempt.client):
            words = "the authority that issued the certificate which the client assertion names counts for nothing any more"
            raise Failure(FailureKind.ASSERTION_INVALID, words)
        entitlement = await entitle(records, attempt.client, attempt.call)
        attempt.entitled(entitlement)
        return await self._aimed(attempt, grant, Decision.of(tenant, entitlement))

    async def _is_vouched_for(self, client: AuthenticatedClient) -> bool:
        """Whether the certificate of an identity still has an authority behind it; other credentials need none."""
        credential = client.credential.value
        if not isinstance(credential, Credential) or credential.kind not in _OF_OUR_AUTHORITY:
            return True
        return credential.certificate is not None and await self._vouched(credential.certificate)

    async def _aimed(self, attempt: Attempt, grant: Grant, decision: Decision) -> _Authorized:
        """Phase 4."""
        attempt.resource = grant.resource(attempt.request)
        attempt.audience = await self._audiences.resolve(attempt.resource, tenant_id=attempt.tenant.id)
        return _Authorized(
            decision=decision,
            audience=attempt.audience,
            resource=attempt.resource,
            capabilities=declared_capabilities(attempt.request.claims),
            spent=await spending(self._store, decision.entitlement.client, attempt.audience.client_id),
        )

    async def _mint(self, authorized: _Authorized, attempt: Attempt) -> IssuedToken:
        """Phases 5 to 8; raises `CommitRefused` when the decision no longer holds."""
        now = self._clock.now()
        principal = authorized.decision.entitlement.client.principal.value
        roles = await held_roles(self._store, self._groups, principal, authorized.audience.roles_resource)
        facts = replace(self._facts(authorized, now), roles=roles)
        return await self._signed(facts, access_claims(facts), attempt, authorized.decision.requirements + authorized.spent)

    async def _signed(self, facts: TokenFacts, claims: JsonObject, attempt: Attempt, requirements: Batch) -> IssuedToken:
        """Phases 6 to 8; raises `CommitRefused` when the requirements no longer hold."""
        await self._ring.refresh()
        with self._telemetry.span(SIGN, purpose="token"):
            signed = self._ring.sign(SigningPermit(claims=claims, token_version=facts.audience.token_version))
        record = issued(attempt, facts, signed.kid, self._clock.now())
        await self._store.commit(requirements + Batch.of(Append(log=SIGN_INS, event=record)))
        return IssuedToken(
            access_token=signed.token,
            token_id=facts.opaque.uti,
            resource=facts.resource,
            not_before=facts.issued_at - BACKDATED,
            expires_at=facts.expires_at,
            expires_in=int((facts.expires_at - facts.issued_at).total_seconds()) - 1,
        )

    def _facts(self, authorized: _Authorized, now: datetime) -> TokenFacts:
        entitlement = authorized.decision.entitlement
        principal = entitlement.client.principal.value
        issued_at = now.replace(microsecond=0)
        assignment = entitlement.assignment.value if entitlement.assignment else None
        tenant = authorized.decision.tenant.value
        credential = entitlement.client.credential.value
        ends = issued_at + self._lifetime(principal)
        bound_to = None
        if isinstance(credential, Credential) and credential.kind is CredentialKind.WORKLOAD_CERTIFICATE:
            bound_to, ends = credential.certificate, min(ends, credential.not_after)
        return TokenFacts(
            tenant=tenant,
            principal=principal,
            host=assignment.host if assignment else None,
            by_secret=entitlement.client.credential.value.kind is CredentialKind.SECRET,
            audience=authorized.audience,
            resource=authorized.resource,
            capabilities=authorized.capabilities,
            opaque=Opaque.fresh(self._entropy, Standing.of(principal, tenant, assignment)),
            issued_at=issued_at,
            expires_at=ends,
            bound_to=bound_to,
        )

    def _lifetime(self, principal: Principal) -> timedelta:
        if principal.type is PrincipalType.MANAGED_IDENTITY:
            return self._profile.managed_identity_token_lifetime
        return self._profile.application_token_lifetime

    # Users ------------------------------------------------------------------------------------------------------------

    async def _issue_to_user(self, request: TokenRequest, call: Call) -> IssuedToken:
        if request.endpoint is not Endpoint.V2:
            raise Failure(
                FailureKind.GRANT_UNSUPPORTED, "users' grants are at the v2.0 endpoint", grant_type=request.grant_type or ""
            )
        for _ in range(_ATTEMPTS):
            with suppress(CommitRefused):
                tenant = await self._users.tenant(request)
                attempt = Attempt(request=request, call=call, tenant=tenant.value) if tenant is not None else None
                async with self._recorded(attempt):
                    asked = Asked(request=request, tenant=tenant, attempt=attempt, now=self._clock.now())
                    signed_in, facts, user = await self._decide_user(asked)
                # What a grant proves leads to a tenant, so that there is an attempt by now.
                assert attempt is not None
                return await self._mint_for_user(signed_in, facts, user, attempt)
        raise Failure(FailureKind.UNAVAILABLE, "the user's records keep changing; try again")

    async def _decide_user(self, asked: Asked) -> tuple[SignedIn, TokenFacts, UserFacts]:
        """Phases 2 to 4, and what the claims are made of."""
        signed_in = await self._users.prove(asked)
        attempt, resource = asked.attempt, signed_in.scope.resource
        if attempt is not None:
            attempt.user, attempt.resource = signed_in.as_logged, resource
        audience = await self._audiences.resolve(resource, tenant_id=signed_in.tenant.value.id)
        if attempt is not None:
            attempt.audience = audience
        issued_at = asked.now.replace(microsecond=0)
        facts = TokenFacts(
            tenant=signed_in.tenant.value,
            principal=signed_in.user.value,
            host=None,
            by_secret=False,
            audience=audience,
            resource=resource,
            capabilities=declared_capabilities(asked.request.claims),
            opaque=Opaque.fresh(self._entropy, Standing.of(signed_in.user.value, signed_in.tenant.value)),
            issued_at=issued_at,
            expires_at=issued_at + self._profile.application_token_lifetime,
            roles=await held_roles(self._store, self._groups, signed_in.user.value, audience.client_id),
        )
        names = granted_names(signed_in.scope, audience)
        return signed_in, facts, UserFacts(client_id=signed_in.client.id, session_id=signed_in.session.id, names=names)

    async def _mint_for_user(self, signed_in: SignedIn, facts: TokenFacts, user: UserFacts, attempt: Attempt) -> IssuedToken:
        token = await self._signed(facts, user_access_claims(facts, user), attempt, signed_in.requirements)
        identity = SigningPermit(claims=id_claims(facts, user), token_version=2) if signed_in.scope.identity else None
        reply = UserReply(
            scope=granted_scope(signed_in.scope, user.names),
            refresh_token=signed_in.refresh_token,
            id_token=self._ring.sign(identity).token if identity else None,
            client_info=client_info(facts) if attempt.request.client_info else None,
        )
        return replace(token, user=reply)


def _proof(request: TokenRequest) -> str:
    """How the client proved itself, in the words of `TOKENS_ISSUED`."""
    if request.grant_type in USER_GRANTS:
        return "device_code" if request.grant_type == DEVICE_CODE_GRANT else "refresh_token"
    return "client_secret" if request.client_secret is not None else "client_assertion"
