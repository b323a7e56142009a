"""Tokens for workloads to show as their own proof: what a cluster projects into its pods (managed-identity-endpoints.md section 6.1).

Issued to agents for the resources that are bound to them, in the name of each resource's own issuer (`model.workload_issuers`), and
signed by the same keys as access tokens. Neither can be taken for the other: an access token's issuer is a tenant, and what is
checked here must name a resource that is still there and be for no other audience than the exchange.

Also the other direction: whether such a token that somebody shows was issued here. No document is fetched for that.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from idplane.jose import UnverifiedToken, numeric_date, verify
from idplane.keys import PublicKeyInfo, SignedToken, SigningPermit
from idplane.model.calls import Call, Workload
from idplane.model.directory import Principal, PrincipalType
from idplane.model.events import ForeignToken, SignIn
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.profile import Profile
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.model.workload_issuers import EXCHANGE_AUDIENCE, LONGEST, SHORTEST, USUAL, issuer_named, issuer_of, subject_of
from idplane.ports.collections import APPLICATIONS, FEDERATED_CREDENTIALS, PRINCIPALS, RESOURCES, SIGN_INS, SUBSCRIPTIONS
from idplane.ports.store import Append, Batch, CommitRefused, Require, Store, Versioned
from idplane.ports.world import Clock, Entropy
from idplane.sts.matching import differences

__all__ = ["Projected", "ProjectedTokens", "TokenKeys", "Wanted", "WorkloadIssuers"]

_ATTEMPTS: Final = 5


class TokenKeys(Protocol):
    """What is needed of the key ring; `keys.KeyRing` is one."""

    async def refresh(self) -> None:
        """Follow what the change feed told of the keys; costs nothing when it told of none."""
        ...

    def sign(self, permit: SigningPermit, /) -> SignedToken:
        """The signed token and the id of the key that signed."""
        ...

    async def find(self, kid: str, /) -> PublicKeyInfo | None:
        """The key of that id while tokens that it signed may live."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an agent asks for. Whether it is bound to the host is settled before."""

    host: ResourceId
    """The resource that bears the identities."""
    tenant_id: str
    account: str | None = None
    """`namespace/name` of a service account, on clusters."""
    seconds: int = USUAL
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Projected:
    """A token, and who takes it."""

    token: str = field(repr=False)
    issuer: str
    subject: str
    issued_at: datetime
    expires_at: datetime
    trusted_by: tuple[Principal, ...]
    """The clients of the host's tenant with a federated credential that it matches, identities first."""


class WorkloadIssuers:
    """Which issuers there are: as many as hosts, none of them stored."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def issuer(self, host: ResourceId, tenant_id: str) -> tuple[str, Versioned[Resource]]:
        """A host's issuer; raises `Failure` RESOURCE_NOT_FOUND, and INVALID_PARAMETER for a cluster that has none."""
        found = await self._store.get(RESOURCES, host.key)
        if found is None:
            raise Failure(FailureKind.RESOURCE_NOT_FOUND, f"there is no resource '{host}'", id=str(host))
        issuer = issuer_of(found.value, tenant_id)
        if issuer is None:
            raise Failure(
                FailureKind.INVALID_PARAMETER,
                f"the cluster '{host.name}' has no issuer of tokens: set properties.oidcIssuerProfile.enabled to true",
            )
        return issuer, found

    async def resource(self, issuer: str) -> Versioned[Resource] | None:
        """The resource whose issuer this is, to the letter; None if it is nobody's, or no longer anybody's."""
        named = issuer_named(issuer)
        if named is None:
            return None
        subscription = await self._store.get(SUBSCRIPTIONS, named.resource.subscription or "")
        found = await self._store.get(RESOURCES, named.resource.key)
        if found is None or subscription is None:
            return None
        return found if issuer_of(found.value, subscription.value.tenant_id) == issuer else None


class ProjectedTokens:
    """Issues workloads' own tokens, and recognizes them."""

    def __init__(self, *, store: Store, ring: TokenKeys, clock: Clock, entropy: Entropy, profile: Profile) -> None:
        self.issuers = WorkloadIssuers(store=store)
        self._store = store
        self._ring = ring
        self._clock = clock
        self._entropy = entropy
        self._longest = min(
            timedelta(seconds=LONGEST), max(profile.managed_identity_token_lifetime, profile.application_token_lifetime)
        )

    async def issue(self, wanted: Wanted, call: Call) -> Projected:
        """A token whose record in the sign-in log is durable.

        It lives as long as asked, but for what the bounds and the life of published keys allow. Raises `Failure` RESOURCE_NOT_FOUND,
        INVALID_PARAMETER, and UNAVAILABLE.
        """
        if not SHORTEST <= wanted.seconds <= LONGEST:
            raise Failure(FailureKind.INVALID_PARAMETER, f"a workload's token lives {SHORTEST} to {LONGEST} seconds")
        subject = subject_of(wanted.host, wanted.account)
        for _ in range(_ATTEMPTS):
            issuer, host = await self.issuers.issuer(wanted.host, wanted.tenant_id)
            now = self._clock.now().replace(microsecond=0)
            expires = now + min(timedelta(seconds=wanted.seconds), self._longest)
            claims = _claims(issuer, subject, (now, expires), self._entropy.guid())
            await self._ring.refresh()
            signed = self._ring.sign(SigningPermit(claims=claims, token_version=2))
            record = _record(wanted, call, claims, signed.kid, expires)
            required = Require(collection=RESOURCES, key=host.value.id.key, expect=host.version)
            with suppress(CommitRefused):
                await self._store.commit(Batch.of(required, Append(log=SIGN_INS, event=record)))
                return Projected(
                    token=signed.token,
                    issuer=issuer,
                    subject=subject,
                    issued_at=now,
                    expires_at=expires,
                    trusted_by=await self._trusting(claims, wanted.tenant_id),
                )
        raise Failure(FailureKind.UNAVAILABLE, "the host keeps changing; try again")

    async def prove(self, token: UnverifiedToken, issuer: str) -> Batch:
        """What must still be so for a token of one of these issuers to count when it gets its record.

        Raises `Failure` FEDERATION_SIGNATURE, ASSERTION_TIME, and ISSUER_UNREACHABLE when the issuer went with its resource.
        """
        await self._ring.refresh()
        key = await self._ring.find(token.key_id) if token.key_id else None
        if key is None or not verify(token, key.key, key.algorithm):
            why = "the key was not found" if key is None else "the signature does not fit the key"
            raise Failure(FailureKind.FEDERATION_SIGNATURE, why, reason=f"{why[0].upper()}{why[1:]}")
        # Without leeway: the clock is the one that the token was dated by.
        if self._clock.now() >= numeric_date(token.claims.get("exp")):
            raise Failure(FailureKind.ASSERTION_TIME, "client assertion is not within its valid time range: it has expired")
        host = await self.issuers.resource(issuer)
        if host is None:
            raise Failure(FailureKind.ISSUER_UNREACHABLE, "the issuer is gone with its resource, or was switched off")
        return Batch.of(Require(collection=RESOURCES, key=host.value.id.key, expect=host.version))

    async def _trusting(self, claims: JsonObject, tenant_id: str) -> tuple[Principal, ...]:
        rows = await self._store.all(FEDERATED_CREDENTIALS, where={"issuer": str(claims["iss"])})
        trusting = [it.value for it in rows if not differences(it.value, claims, frozenset((EXCHANGE_AUDIENCE,)))]
        ids = {it.principal_id for it in trusting if it.principal_id}
        found = [await self._store.get(PRINCIPALS, one) for one in ids]
        for owner in {it.application_id for it in trusting if it.application_id is not None}:
            application = await self._store.get(APPLICATIONS, owner)
            if application is not None:
                found += await self._store.all(PRINCIPALS, where={"client_id": application.value.client_id})
        mine = (row.value for row in found if row is not None and row.value.tenant_id == tenant_id)
        return tuple(sorted(mine, key=lambda it: (it.type is not PrincipalType.MANAGED_IDENTITY, it.display_name, it.id)))


def _claims(issuer: str, subject: str, times: tuple[datetime, datetime], token_id: str) -> JsonObject:
    """As Kubernetes writes them; what it says of pods is left out, since there are none."""
    issued, expires = (int(one.timestamp()) for one in times)
    claims: dict[str, object] = {
        "aud": [EXCHANGE_AUDIENCE],
        "exp": expires,
        "iat": issued,
        "iss": issuer,
        "jti": token_id,
    }
    kind, _, account = subject.partition("system:serviceaccount:")
    if not kind:
        namespace, _, name = account.partition(":")
        claims["kubernetes.io"] = {"namespace": namespace, "serviceaccount": {"name": name}}
    return {**claims, "nbf": issued, "sub": subject}


def _record(wanted: Wanted, call: Call, claims: JsonObject, signing_key: str, expires: datetime) -> SignIn:
    """The log has no column for an issuance without a client: the workload is the one who is named, and the token is its own."""
    token_id, subject = str(claims["jti"]), str(claims["sub"])
    return SignIn(
        id=call.request_id,
        at=call.received_at,
        tenant_id=wanted.tenant_id,
        client_id="",
        principal_id=None,
        principal_name=wanted.host.name if subject == str(wanted.host) else subject,
        principal_type=PrincipalType.APPLICATION.value,
        resource=EXCHANGE_AUDIENCE,
        resource_name="AzureADTokenExchange",
        error_code=0,
        failure_reason="",
        correlation_id=call.correlation_id,
        token_id=token_id,
        credential_kind="",
        signing_key=signing_key,
        host=str(wanted.host),
        expires_at=expires,
        client_address=call.client_address,
        user_agent=call.user_agent,
        workload=Workload(run_id=wanted.run_id) if wanted.run_id else None,
        federated=ForeignToken(issuer=str(claims["iss"]), subject=subject, token_id=token_id),
    )
