"""A token that an issuer of OpenID Connect gave to this machine: a Kubernetes node's pod, a GitHub Actions job, anything else's.

    evidence: {"token": "eyJ..."}

Proves that the machine holds a token that its issuer made for this API, which is worth as much as the issuer's care. It is a bearer token, so
it counts once. Its claims are the facts: `issuer`, `subject`, and every other text by its name, nested ones by their path, such as
`kubernetes.io/pod/name`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

from idplane.directory.evidence import Evidence, Presented, refused, text
from idplane.jose import MAX_TOKEN_LENGTH, Algorithm, PublicKey, UnverifiedToken, numeric_date, parse, verify
from idplane.model.enrollments import Facts, SpentProof, Trust, sorted_facts
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject
from idplane.ports.collections import TENANTS
from idplane.ports.store import Reads

__all__ = ["ForeignKeys", "OidcReader", "private_issuers"]

_LEEWAY: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(hours=24)
"""From a token's issue to its end: what counts once must be remembered for as long."""
_DEPTH: Final = 3
_MAX_FACT: Final = 1024
_TIMES: Final = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "issuer", "subject"})


class _Key(Protocol):
    @property
    def key(self) -> PublicKey: ...

    @property
    def algorithms(self) -> tuple[Algorithm, ...]: ...


class ForeignKeys(Protocol):
    """The keys of outside issuers; `sts.issuers.IssuerKeys` is one."""

    async def key(self, issuer: str, kid: str, *, private: bool) -> _Key | None:
        """The key, or None when the issuer does not publish it; raises `Failure(ISSUER_UNREACHABLE)`."""
        ...


class OidcReader:
    """Reads tokens. Only issuers that an enrollment names are ever asked for their keys."""

    def __init__(self, *, keys: ForeignKeys, algorithms: tuple[str, ...], is_private: Callable[[str], Awaitable[bool]]) -> None:
        """`is_private` tells whether an issuer's documents may come from where the tenant alone can reach."""
        self._keys = keys
        self._algorithms = tuple(map(Algorithm, algorithms))
        self._is_private = is_private

    async def __call__(self, evidence: Evidence) -> Presented:
        """The facts that a token claims; raises `Failure(ENROLLMENT_REFUSED)`."""
        try:
            token = parse(text(evidence.members, "token", limit=MAX_TOKEN_LENGTH).strip())
            expires = _check_times(token.claims, evidence.now)
        except Failure as failure:
            if failure.kind is FailureKind.ENROLLMENT_REFUSED:
                raise
            raise refused("the token can't be read") from failure
        issuer, subject = token.claims.get("iss"), token.claims.get("sub")
        if not isinstance(issuer, str) or not isinstance(subject, str) or len(issuer) > _MAX_FACT or len(subject) > _MAX_FACT:
            raise refused("the token names no issuer or no subject")
        facts = sorted_facts((("issuer", issuer), ("subject", subject), *_claims(token.claims)))

        async def check(trust: Trust) -> Facts:
            await self._check(token, issuer, trust, evidence)
            return facts

        return Presented(facts=facts, check=check, spent=(SpentProof(id=f"oidc|{_once(token, issuer)}", expires_at=expires),))

    async def _check(self, token: UnverifiedToken, issuer: str, trust: Trust, evidence: Evidence) -> None:
        if trust.issuer != issuer:
            raise _untrusted("another issuer made it")
        if (trust.audience or evidence.audience) not in _audiences(token.claims):
            raise _untrusted("it is for another audience")
        if not token.key_id or token.algorithm not in self._algorithms:
            raise _untrusted("it names no key, or an algorithm that issuers may not sign with")
        try:
            found = await self._keys.key(issuer, token.key_id, private=await self._is_private(issuer))
        except Failure as failure:
            if failure.kind is not FailureKind.ISSUER_UNREACHABLE:
                raise
            raise _untrusted(f"its issuer can't be asked for its keys: {failure.detail}") from failure
        if found is None or not verify(token, found.key, *(one for one in found.algorithms if one in self._algorithms)):
            raise _untrusted("its signature is not its issuer's")


def private_issuers(store: Reads, tenant_id: str) -> Callable[[str], Awaitable[bool]]:
    """Whether a tenant has named an issuer as one whose documents may come from addresses that are not public."""

    async def is_private(issuer: str) -> bool:
        tenant = await store.get(TENANTS, tenant_id)
        return tenant is not None and issuer in tenant.value.private_issuers

    return is_private


def _untrusted(reason: str) -> Failure:
    return refused("the token is not one that the enrollment trusts", reason=reason)


def _check_times(claims: JsonObject, now: datetime) -> datetime:
    """When it expires; raises `Failure` for a token without its times, outside them, or that lives too long."""
    issued, expires = numeric_date(claims.get("iat")), numeric_date(claims.get("exp"))
    starts = numeric_date(claims["nbf"]) if "nbf" in claims else issued
    if expires - issued > _LONGEST:
        raise refused(f"the token is valid for longer than {_LONGEST.total_seconds() / 3600:.0f} hours")
    if now >= expires:
        raise refused("the token has expired")
    if now < max(issued, starts) - _LEEWAY:
        raise refused("the token is not valid yet")
    return expires


def _audiences(claims: JsonObject) -> tuple[object, ...]:
    value = claims.get("aud")
    return tuple(value) if isinstance(value, list) else (value,)


def _once(token: UnverifiedToken, issuer: str) -> str:
    """What a token is remembered by: its own id, or its content. Never its signature, of which there may be several that fit."""
    own = token.claims.get("jti")
    name = f"jti\0{issuer}\0{own}".encode("utf-8", "surrogatepass") if isinstance(own, str) and own else token.signing_input
    return hashlib.sha256(name).hexdigest()


def _claims(claims: Mapping[str, object], path: str = "", depth: int = 1) -> Iterator[tuple[str, str]]:
    for name, value in claims.items():
        if depth == 1 and name in _TIMES:
            continue
        at = f"{path}/{name}" if path else name
        if isinstance(value, Mapping):
            if depth < _DEPTH:
                yield from _claims(value, at, depth + 1)
        elif isinstance(value, str | int) and len(str(value)) <= _MAX_FACT and len(at) <= _MAX_FACT:
            yield at, str(value).lower() if isinstance(value, bool) else str(value)
