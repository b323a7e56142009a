"""Client authentication by another issuer's token: federated credentials (MIE sections 6.3 and 6.4).

    claims -> which credential matches -> the issuer's key -> signature -> times

Matching comes first and costs a lookup; only for an issuer that one of the client's own credentials names are keys fetched. A
refusal names the credential that came nearest, for the sign-in log. The token's `jti` is recorded and not single-use: projected
tokens are shown again and again until their file is renewed (MIE section 6.3).

A token of a host's own issuer (`projected`) is recognized without asking anyone. A token of one of this installation's own tenants is a managed identity that acts as the client. It is checked by the ring and by
the store, as any bearer token is, so an identity that was taken away proves nothing any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from idplane.jose import Algorithm, UnverifiedToken, verify
from idplane.model.calls import Caller
from idplane.model.directory import Principal, PrincipalType, Tenant
from idplane.model.events import ForeignToken
from idplane.model.expressions import parse_expression
from idplane.model.failure import Failure, FailureKind
from idplane.model.federation import FederatedCredential
from idplane.model.profile import Profile
from idplane.model.resources import identity_assignment_key
from idplane.model.values import JsonObject
from idplane.model.workload_issuers import issuer_named
from idplane.ports.collections import APPLICATIONS, FEDERATED_CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS, TENANTS
from idplane.ports.store import ABSENT, Batch, Require, Versioned
from idplane.sts.assertions import check_times
from idplane.sts.issuers import IssuerKeys
from idplane.sts.matching import differences
from idplane.sts.projected import ProjectedTokens
from idplane.sts.recent import Records

__all__ = [
    "EXCHANGE_ID",
    "EXCHANGE_URIS",
    "Federated",
    "Federation",
    "OwnTokens",
    "audiences_of",
    "is_foreign",
    "nearest",
    "trusts",
]

EXCHANGE_ID: Final = "fb60f99c-7a34-4190-8149-302f77469936"
"""The `aud` of managed identities' tokens for exchange; federated credentials name it by its URI."""
EXCHANGE_URIS: Final = frozenset(
    {"api://AzureADTokenExchange", "api://AzureADTokenExchangeUSGov", "api://AzureADTokenExchangeChina"}
)
_NEAR: Final = 100
_SHOWN: Final = 600
_TOLD: Final = 200


class OwnTokens(Protocol):
    """What is needed of the authenticator of our own tokens."""

    async def authenticate(self, token: str, audiences: frozenset[str], /) -> Caller:
        """The caller that the token speaks for; raises `Failure(TOKEN_*)`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Federated:
    """A proof by another issuer's token."""

    credential: Versioned[FederatedCredential]
    token: ForeignToken
    rests_on: Batch
    """What else must still be so when the token that is issued for it gets its record."""


def is_foreign(assertion: UnverifiedToken) -> bool:
    """Whether somebody else than the client issued the assertion: issuers are URLs, clients are GUIDs."""
    issuer = assertion.claims.get("iss")
    return isinstance(issuer, str) and "://" in issuer


class Federation:
    """Decides whether a foreign token proves a client."""

    def __init__(self, *, keys: IssuerKeys, own: OwnTokens, projected: ProjectedTokens, profile: Profile) -> None:
        self._keys = keys
        self._own = own
        self._projected = projected
        self._algorithms = tuple(map(Algorithm, profile.federated_algorithms))
        self._system_identities = profile.federated_system_identities

    async def authenticate(
        self, records: Records, assertion: UnverifiedToken, principal: Principal, tenant: Tenant, now: datetime
    ) -> Federated:
        """The proof, or a refusal that carries the token's `issuer`, `subject` and `token_id` beside its own facts.

        Raises `Failure`: FEDERATION_*, ASSERTION_INVALID, ASSERTION_TIME, ISSUER_UNREACHABLE.
        """
        shown = _shown(assertion.claims)
        try:
            own = await _is_own(records, shown.issuer)
            credential = await _matching(records, principal, assertion.claims, own=own)
            if own:
                rests_on = await self._prove_own(records, assertion.text)
            elif await _is_projected(records, shown.issuer):
                rests_on = await self._projected.prove(assertion, shown.issuer)
            else:
                rests_on = Batch()
                await self._prove_outside(assertion, shown.issuer, tenant, now)
        except Failure as failure:
            facts = {"issuer": shown.issuer, "subject": shown.subject, "token_id": shown.token_id or ""}
            raise Failure(failure.kind, failure.detail, **{**failure.data, **facts}) from failure
        return Federated(credential=credential, token=shown, rests_on=rests_on)

    async def _prove_outside(self, assertion: UnverifiedToken, issuer: str, tenant: Tenant, now: datetime) -> None:
        kid = assertion.key_id
        if not kid:
            raise _signature("the token names no key")
        if assertion.algorithm not in self._algorithms:
            raise _signature("the token's algorithm is not one that issuers may sign with")
        found = await self._keys.key(issuer, kid, private=issuer in tenant.private_issuers)
        if found is None:
            raise _signature("the key was not found")
        if not verify(assertion, found.key, *(one for one in found.algorithms if one in self._algorithms)):
            raise _signature("the signature does not fit the key")
        check_times(assertion.claims, now)

    async def _prove_own(self, records: Records, token: str) -> Batch:
        caller = await self._own_caller(token)
        subject = await records.get(PRINCIPALS, caller.principal_id)
        if subject is None or not self._may_act(subject.value):
            raise Failure(FailureKind.FEDERATION_OWN_TOKEN, "the token is not a managed identity's that may be a credential")
        required = Batch.of(Require(collection=PRINCIPALS, key=subject.value.id, expect=subject.version))
        if caller.host is not None:
            key = identity_assignment_key(caller.host, subject.value.id)
            assigned = await records.get(IDENTITY_ASSIGNMENTS, key)
            required += Batch.of(
                Require(collection=IDENTITY_ASSIGNMENTS, key=key, expect=assigned.version if assigned else ABSENT)
            )
        # Again, now that the versions are read: what holds after them is what the commit requires.
        await self._own_caller(token)
        return required

    async def _own_caller(self, token: str) -> Caller:
        try:
            return await self._own.authenticate(token, frozenset({EXCHANGE_ID}))
        except Failure as failure:
            if failure.kind is FailureKind.TOKEN_EXPIRED:
                raise Failure(FailureKind.ASSERTION_TIME, "client assertion is not within its valid time range") from failure
            raise _signature(failure.detail) from failure

    def _may_act(self, subject: Principal) -> bool:
        managed = subject.type is PrincipalType.MANAGED_IDENTITY
        return managed and subject.enabled and (self._system_identities or not subject.system_assigned)


async def _is_own(records: Records, issuer: str) -> bool:
    return any(issuer in (it.value.issuer_v1, it.value.issuer_v2) for it in await records.all(TENANTS))


async def _is_projected(records: Records, issuer: str) -> bool:
    """Whether it could only be a host of ours: one that is gone is asked for nowhere else."""
    named = issuer_named(issuer)
    return named is not None and await records.get(TENANTS, named.tenant_id) is not None


async def trusts(records: Records, principal: Principal) -> tuple[FederatedCredential, ...]:
    """The federated credentials that can prove a principal: its own and its application's, as many as are gone through for a nearest miss."""
    pages = [await records.page(FEDERATED_CREDENTIALS, where=one, limit=_NEAR) for one in await _owners(records, principal)]
    return tuple(row.value for page in pages for row in page.items)


async def _matching(records: Records, principal: Principal, claims: JsonObject, *, own: bool) -> Versioned[FederatedCredential]:
    owners = await _owners(records, principal)
    issuer = {"issuer": _shown(claims).issuer}
    same_issuer = [row for one in owners for row in await records.all(FEDERATED_CREDENTIALS, where={**one, **issuer})]
    audiences = audiences_of(claims, own=own)
    for row in same_issuer:
        if not differences(row.value, claims, audiences):
            return row
    others = same_issuer or [
        row for one in owners for row in (await records.page(FEDERATED_CREDENTIALS, where=one, limit=_NEAR)).items
    ]
    raise _nearest_miss([row.value for row in others], claims, audiences)


async def _owners(records: Records, principal: Principal) -> tuple[Mapping[str, str], ...]:
    """Whose credentials prove the principal: its own and its application's."""
    mine = {"principal_id": principal.id}
    if principal.type is not PrincipalType.APPLICATION:
        return (mine,)
    applications = await records.page(APPLICATIONS, where={"client_id": principal.client_id}, limit=1)
    return (*({"application_id": row.value.id} for row in applications.items), mine)


def nearest(
    credentials: Sequence[FederatedCredential], claims: JsonObject, audiences: frozenset[str]
) -> tuple[FederatedCredential, tuple[str, ...]] | None:
    """The credential with the fewest differences from a token, and these; of equals, the one whose issuer is right."""
    ranked = [(one, differences(one, claims, audiences)) for one in credentials]
    return min(ranked, key=lambda it: ("issuer" in it[1], len(it[1]), it[0].name), default=None)


def _nearest_miss(credentials: Sequence[FederatedCredential], claims: JsonObject, audiences: frozenset[str]) -> Failure:
    """The refusal in terms of the nearest credential."""
    named = _first_audience(claims)
    found = nearest(credentials, claims, audiences)
    if found is None:
        return Failure(FailureKind.FEDERATION_NONE, "the client has no federated credential", audience=named)
    one, differing = found
    return Failure(
        _kind(one, _shown(claims), differing),
        f"the token differs from the federated credential '{one.name}' in its {differing[0]}",
        audience=named,
        nearest=one.id,
        nearest_name=one.name,
        differs=differing[0],
        claims=_told(one, claims),
    )


def _told(nearest: FederatedCredential, claims: JsonObject) -> str:
    """What the token says of that which the nearest credential's expression asks for, as JSON: of the token, since nothing keeps it."""
    if nearest.trust.expression is None:
        return ""
    named = [one.claim for one in parse_expression(nearest.trust.expression.value)]
    return json.dumps({name: value[:_TOLD] for name in named if isinstance(value := claims.get(name), str)})


def _kind(nearest: FederatedCredential, shown: ForeignToken, differing: tuple[str, ...]) -> FailureKind:
    trust = nearest.trust
    match differing[0]:
        case "issuer":
            return FailureKind.FEDERATION_ISSUER
        case "audience":
            by_id = trust.audience.lower() == EXCHANGE_ID
            return FailureKind.FEDERATION_AUDIENCE_ID if by_id else FailureKind.FEDERATION_AUDIENCE
        case _:
            same_but_case = trust.subject is not None and trust.subject.lower() == shown.subject.lower()
            return FailureKind.FEDERATION_SUBJECT_CASE if same_but_case else FailureKind.FEDERATION_SUBJECT


def audiences_of(claims: JsonObject, *, own: bool) -> frozenset[str]:
    """What the token is for, in the words of federated credentials (MIE section 6.4)."""
    value = claims.get("aud")
    several = value if isinstance(value, list) else [value]
    found = frozenset(it for it in several if isinstance(it, str))
    if own:
        return EXCHANGE_URIS if found == {EXCHANGE_ID} else frozenset()
    return found


def _first_audience(claims: JsonObject) -> str:
    value = claims.get("aud")
    first = next(iter(value), "") if isinstance(value, list) else value
    return first[:_SHOWN] if isinstance(first, str) else ""


def _shown(claims: JsonObject) -> ForeignToken:
    texts = {name: value[:_SHOWN] for name in ("iss", "sub", "jti", "uti") if isinstance(value := claims.get(name), str)}
    return ForeignToken(
        issuer=texts.get("iss", ""), subject=texts.get("sub", ""), token_id=texts.get("jti") or texts.get("uti")
    )


def _signature(why: str) -> Failure:
    return Failure(FailureKind.FEDERATION_SIGNATURE, why, reason=f"{why[:1].upper()}{why[1:]}")
