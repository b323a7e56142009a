"""The other direction: a bearer token that comes back becomes a `Caller`, or a failure that says why not.

The signature is checked once a token and remembered; everything that can change is asked for each time: lifetime, key, principal,
host binding. A revocation therefore counts at the first request after it was committed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from idplane.jose import UnverifiedToken, b64url_decode, numeric_date, parse, verify
from idplane.keys import PublicKeyInfo
from idplane.model.calls import Caller
from idplane.model.directory import Principal, PrincipalType, Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.refusals import Evidence
from idplane.model.resources import identity_assignment_key
from idplane.model.values import JsonObject
from idplane.ports.collections import CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS, SESSIONS, TENANTS
from idplane.ports.store import Store
from idplane.ports.world import Clock
from idplane.rbac import Groups
from idplane.sts.bounded import Bounded
from idplane.sts.claims import standing_of
from idplane.sts.held_roles import held_roles
from idplane.sts.public_clients import public_client

__all__ = ["PublishedKeys", "TokenAuthenticator"]

_REMEMBERED: Final = 4096
_FOLLOWS: Final = "cp1"
"""The capability of clients that follow claims challenges."""
_GRAPH: Final = "00000003-0000-0000-c000-000000000000"


class PublishedKeys(Protocol):
    """What the authenticator needs of the key ring."""

    async def refresh(self) -> None:
        """Follow what the change feed told of the keys; costs nothing when it told of none."""
        ...

    def public_key(self, kid: str, /) -> PublicKeyInfo | None:
        """The key of that id while tokens that it signed may live."""
        ...

    async def find(self, kid: str, /) -> PublicKeyInfo | None:
        """`public_key`, after another look at the store for a key that nobody here has heard of yet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    """Claims that a key of ours signed."""

    kid: str
    claims: JsonObject


class TokenAuthenticator:
    """Authenticates bearers of our own access tokens."""

    def __init__(
        self,
        *,
        store: Store,
        ring: PublishedKeys,
        clock: Clock,
        vouched: Callable[[bytes], Awaitable[bool]] | None = None,
    ) -> None:
        """`vouched` says whether an authority that counts has issued a certificate; without it, whatever is stored counts."""
        self._vouched = vouched
        self._store = store
        self._ring = ring
        self._clock = clock
        self._groups = Groups(store=store)
        self._remembered: Bounded[bytes, _Verified] = Bounded(_REMEMBERED)

    async def authenticate(self, token: str, audiences: Collection[str], certificate: bytes | None = None) -> Caller:
        """The caller that a token for one of `audiences` speaks for; `certificate` is the one that the client proved on its connection.

        Raises `Failure`: TOKEN_MISSING for an empty token, TOKEN_INVALID for anything that this plane did not sign, TOKEN_EXPIRED,
        TOKEN_AUDIENCE, TOKEN_BINDING for a token that is bound to another certificate than the connection's, and TOKEN_REVOKED when the
        principal is gone or disabled, its tokens were revoked, or its host has lost the identity. A revoked token of a client that
        follows claims challenges is told by the fact `follows`.
        """
        claims = await self._signed(token)
        try:
            tenant = await self._current(claims)
            _check_audience(claims, audiences)
            _check_binding(claims, certificate)
            return await self._standing(claims, tenant)
        except Failure as failure:
            failure.with_evidence(_shown(claims))
            raise

    async def inspect(self, token: str) -> Caller:
        """The caller that a token speaks for at whatever resource it is for; raises as `authenticate`.

        Whoever relies on a bound token checks itself whose connection it came over.
        """
        claims = await self._signed(token)
        return await self._standing(claims, await self._current(claims))

    async def _signed(self, token: str) -> JsonObject:
        """What a token says that this plane signed, whether it still counts or not."""
        if not token:
            raise Failure(FailureKind.TOKEN_MISSING, "there is no access token")
        await self._ring.refresh()
        return (await self._verified(token)).claims

    async def _current(self, claims: JsonObject) -> Tenant:
        _check_lifetime(claims, self._clock.now())
        return await self._check_issuer(claims)

    async def _standing(self, claims: JsonObject, tenant: Tenant) -> Caller:
        """Everything that the token rests on is still there."""
        try:
            await self._check_certificate(claims)
            principal = await self._principal(claims)
            _check_marks(claims, principal, tenant)
            if principal.type is PrincipalType.USER:
                await self._check_session(claims, principal, tenant)
            host = await self._bound_host(claims, principal)
            await self._check_roles(claims, principal)
        except Failure as failure:
            if failure.kind is FailureKind.TOKEN_REVOKED and _follows(claims):
                raise Failure(failure.kind, failure.detail, **failure.data, follows="true") from failure
            raise
        return _caller(claims, principal, host, await self._groups.of(principal.id))

    async def _verified(self, token: str) -> _Verified:
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        remembered = self._remembered.get(digest)
        if remembered is not None and self._ring.public_key(remembered.kid) is not None:
            return remembered
        unverified = parse(token)
        verified = _Verified(kid=await self._signer_of(unverified), claims=unverified.claims)
        self._remembered.put(digest, verified)
        return verified

    async def _signer_of(self, unverified: UnverifiedToken) -> str:
        kid = unverified.key_id
        key = await self._ring.find(kid) if kid is not None else None
        if kid is None or key is None:
            # The key may have been tainted a moment ago. What the token says is not proved, but nothing follows from it than a hint.
            follows = {"follows": "true"} if _follows(unverified.claims) else {}
            raise Failure(FailureKind.TOKEN_INVALID, "the token was signed by a key that is not ours", **follows)
        # The key says which algorithm it is for; the token has no say in it.
        if not verify(unverified, key.key, key.algorithm):
            raise Failure(FailureKind.TOKEN_INVALID, "the token's signature is not valid")
        return kid

    async def _check_issuer(self, claims: JsonObject) -> Tenant:
        tenant = await self._store.get(TENANTS, _text(claims, "tid"))
        if tenant is None or claims.get("iss") not in (tenant.value.issuer_v1, tenant.value.issuer_v2):
            raise Failure(FailureKind.TOKEN_INVALID, "the token's issuer is not one of this installation's tenants")
        return tenant.value

    async def _principal(self, claims: JsonObject) -> Principal:
        found = await self._store.get(PRINCIPALS, _text(claims, "oid"))
        if found is None:
            raise Failure(
                FailureKind.TOKEN_REVOKED, "the principal that the token was issued to no longer exists", check="principal"
            )
        principal = found.value
        client_id = _client_id(claims)
        rightful = principal.client_id == client_id if principal.type.is_client else claims.get("idtyp") == "user"
        if principal.tenant_id != claims.get("tid") or not rightful:
            raise Failure(FailureKind.TOKEN_INVALID, "the token does not name its principal consistently")
        if not principal.enabled:
            raise Failure(FailureKind.TOKEN_REVOKED, "the principal that the token was issued to is disabled", check="enabled")
        return principal

    async def _check_certificate(self, claims: JsonObject) -> None:
        """A bound token dies with its certificate."""
        thumbprint = _bound_to(claims)
        if thumbprint is None:
            return
        where = {"thumbprint": thumbprint.hex()}
        rows = (await self._store.page(CREDENTIALS, where=where, limit=1)).items
        if not rows or not (self._vouched is None or await self._vouched(rows[0].value.certificate or b"")):
            raise Failure(
                FailureKind.TOKEN_REVOKED, "the certificate that the token is bound to was revoked", check="certificate"
            )

    async def _check_session(self, claims: JsonObject, user: Principal, tenant: Tenant) -> None:
        """A user's token lives with its session, and with the client that it was issued to."""
        session = await self._store.get(SESSIONS, _text(claims, "sid"))
        if session is None or session.value.principal_id != user.id:
            raise Failure(FailureKind.TOKEN_REVOKED, "the sign-in that the token came of has been ended", check="session")
        try:
            await public_client(self._store, _client_id(claims), tenant)
        except Failure as failure:
            raise Failure(
                FailureKind.TOKEN_REVOKED, "the client that the token was issued to may not sign users in", check="client"
            ) from failure

    async def _bound_host(self, claims: JsonObject, principal: Principal) -> str | None:
        """The id key of the host that the token was issued to, which must still be assigned the identity."""
        named = claims.get("xms_mirid" if principal.system_assigned else "xms_az_rid")
        if not isinstance(named, str):
            return None
        host = named.lower()
        assignment = await self._store.get(IDENTITY_ASSIGNMENTS, identity_assignment_key(host, principal.id))
        # One that was taken away and given again is another assignment: tokens of the earlier one stay dead.
        if assignment is None or assignment.value.generation not in ("", standing_of(claims).generation):
            raise Failure(
                FailureKind.TOKEN_REVOKED,
                "the identity is no longer assigned to the host that the token was issued to",
                check="host",
                host=named,
            )
        return host

    async def _check_roles(self, claims: JsonObject, principal: Principal) -> None:
        """Roles in a token count as long as they are held. The only resource of the plane itself that has any is Graph."""
        roles = claims.get("roles")
        if isinstance(roles, list) and not {*roles} <= {*await held_roles(self._store, self._groups, principal, _GRAPH)}:
            raise Failure(
                FailureKind.TOKEN_REVOKED, "the token lists application roles that the principal no longer holds", check="roles"
            )


def _check_lifetime(claims: JsonObject, now: datetime) -> None:
    # The tokens are our own and none is made for later, so one from the future means that the clock was set back since.
    numeric_date(claims.get("nbf"))
    # Without leeway: the clock is the one that the token was dated by.
    if now >= numeric_date(claims.get("exp")):
        raise Failure(FailureKind.TOKEN_EXPIRED, "the token has expired")


def _bound_to(claims: JsonObject) -> bytes | None:
    """SHA-256 of the certificate that the token is bound to (RFC 8705 section 3.1); None for a bearer token."""
    bound_to = claims.get("cnf")
    if bound_to is None:
        return None
    named = bound_to.get("x5t#S256") if isinstance(bound_to, dict) else None
    if not isinstance(named, str):
        raise Failure(FailureKind.TOKEN_BINDING, "the token is bound to something that is no certificate")
    return b64url_decode(named)


def _check_binding(claims: JsonObject, certificate: bytes | None) -> None:
    """A bound token counts on connections of its certificate alone (RFC 8705 section 3)."""
    thumbprint = _bound_to(claims)
    if thumbprint is not None and (certificate is None or hashlib.sha256(certificate).digest() != thumbprint):
        raise Failure(FailureKind.TOKEN_BINDING, "the token is bound to a certificate that the connection does not show")


def _check_marks(claims: JsonObject, principal: Principal, tenant: Tenant) -> None:
    """A token that was issued ahead of a revocation carries another mark than the one that stands."""
    standing = standing_of(claims)
    if principal.tokens_mark not in ("", standing.principal):
        raise Failure(FailureKind.TOKEN_REVOKED, "the tokens of the principal were revoked", check="principal-tokens")
    if tenant.tokens_mark not in ("", standing.tenant):
        raise Failure(FailureKind.TOKEN_REVOKED, "the tokens of the tenant were revoked", check="tenant-tokens")


def _follows(claims: JsonObject) -> bool:
    """Whether the client can be told by a claims challenge: it said so (`xms_cc`), or had no way to say it, as on most hosts (MIE section 1.9)."""
    declared = claims.get("xms_cc")
    words = declared if isinstance(declared, list) else ()
    return "xms_mirid" in claims or any(isinstance(it, str) and it.lower() == _FOLLOWS for it in words)


def _check_audience(claims: JsonObject, audiences: Collection[str]) -> None:
    audience = _text(claims, "aud")
    if audience in audiences or _comparable(audience) in map(_comparable, audiences):
        return
    raise Failure(
        FailureKind.TOKEN_AUDIENCE, f"the token is for '{audience[:200]}', not for this resource", audience=audience[:200]
    )


def _comparable(audience: str) -> str:
    return audience.lower().removesuffix("/")


def _client_id(claims: JsonObject) -> str:
    return _text(claims, "appid" if "appid" in claims else "azp")


def _caller(claims: JsonObject, principal: Principal, host: str | None, groups: tuple[str, ...]) -> Caller:
    roles = claims.get("roles")
    return Caller(
        tenant_id=principal.tenant_id,
        principal_id=principal.id,
        client_id=_client_id(claims),
        display_name=principal.caller_name,
        token_id=_text(claims, "uti"),
        host=host,
        groups=groups,
        roles=tuple(it for it in roles if isinstance(it, str)) if isinstance(roles, list) else (),
        claims=claims,
    )


def _shown(claims: JsonObject) -> Evidence:
    """Whose token it is that does not count; what of it is no text is left out."""
    said = {name: value for name, value in claims.items() if isinstance(value, str)}
    return Evidence(
        proved=True,
        tenant_id=said.get("tid"),
        principal_id=said.get("oid"),
        client_id=said.get("appid", said.get("azp", "")),
        token_id=said.get("uti", ""),
        host=said.get("xms_az_rid"),
    )


def _text(claims: JsonObject, name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise Failure(FailureKind.TOKEN_INVALID, f"the token has no '{name}'")
    return value
