"""Rules for client assertions (RFC 7523 section 3), tolerant exactly where real clients are sloppy (MIE section 6.3). Pure.

| Member | Rule |
|---|---|
| `alg` | RS256, PS256 or ES256, whichever suits the credential's key; nothing else |
| `x5t#S256`, `x5t` | names the credential; any base64 flavour, and no relation to the algorithm; `x5c` is not read |
| `iss`, `sub` | both the client id |
| `aud` | the token endpoint, the tenant's authority or its issuer, under the name that the client sees; one value |
| `exp` | required, not past, at most an hour ahead |
| `nbf`, `iat` | optional, not in the future; fractions of seconds are fine |
| times | numbers, or digits in a text: MSAL.NET writes `"nbf":"1790000000"` |
| `jti` | single-use where the application says so (`spent`): msal4j and others send one assertion until its ten minutes are over |
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from idplane.jose import Algorithm, PublicKey, UnverifiedToken, b64url_decode, numeric_date, verify
from idplane.model.calls import Workload
from idplane.model.directory import Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = [
    "LEEWAY",
    "accepted_audiences",
    "certificate_sha1",
    "check_claims",
    "check_signature",
    "check_times",
    "expiry_of",
    "key_thumbprints",
    "workload_of",
]

LEEWAY: Final = timedelta(minutes=5)
"""How far a client's clock may be off; the only tolerance in time."""

_MAX_TOLD: Final = 300
_MAX_LIFETIME: Final = timedelta(hours=1)
_SHA256_BYTES: Final = 32
_SHA1_BYTES: Final = 20
_MAX_TEXT: Final = 512
_DIGITS: Final = re.compile("[0-9]{1,12}")
# Each path that a client may take for "the authority" it talks to, below the tenant's own segment.
_AUDIENCE_PATHS: Final = ("", "/v2.0", "/oauth2/token", "/oauth2/v2.0/token")


def key_thumbprints(header: JsonObject) -> tuple[str | None, str | None]:
    """The hex SHA-256 and SHA-1 thumbprints of the certificate that the header names, each None if it is not there.

    Raises `Failure(ASSERTION_INVALID)` when neither is there or one of them is no thumbprint.
    """
    sha256 = _thumbprint(header.get("x5t#S256"), _SHA256_BYTES)
    sha1 = _thumbprint(header.get("x5t"), _SHA1_BYTES)
    if sha256 is None and sha1 is None:
        raise Failure(FailureKind.ASSERTION_INVALID, "the client assertion's header names no certificate (x5t#S256 or x5t)")
    return sha256, sha1


def certificate_sha1(der: bytes) -> str:
    """Hex SHA-1 of a certificate's DER: a name that older clients look it up by, which proves nothing."""
    return hashlib.sha1(der, usedforsecurity=False).hexdigest()


def check_signature(assertion: UnverifiedToken, key: PublicKey) -> None:
    """Raises `Failure(ASSERTION_INVALID)` unless the key made the signature, whichever of the algorithms that suit it was used."""
    if not verify(assertion, key, Algorithm.RS256, Algorithm.PS256, Algorithm.ES256):
        raise Failure(
            FailureKind.ASSERTION_INVALID, "the client assertion's signature is not valid for the certificate it names"
        )


@functools.lru_cache(maxsize=256)
def accepted_audiences(tenant: Tenant, authority: str) -> frozenset[str]:
    """Every `aud` under which a client may mean this tenant's token endpoint, in the form that `check_claims` compares."""
    names = (tenant.id, tenant.domain)
    urls = (f"{authority}/{name}{path}" for name in names for path in _AUDIENCE_PATHS)
    return frozenset(map(_comparable, (*urls, tenant.issuer_v1, tenant.issuer_v2)))


def check_claims(claims: JsonObject, *, client_id: str, audiences: frozenset[str], now: datetime) -> None:
    """The claims of an assertion whose signature holds.

    Raises `Failure(ASSERTION_TIME)`, `Failure(ASSERTION_AUDIENCE)`, or `Failure(ASSERTION_INVALID)` for anything else.
    """
    for name in ("iss", "sub"):
        value = claims.get(name)
        if not isinstance(value, str) or value.lower() != client_id:
            raise Failure(FailureKind.ASSERTION_INVALID, f"the client assertion's '{name}' is not the client id")
    if check_times(_with_times_as_numbers(claims), now) > now + _MAX_LIFETIME + LEEWAY:
        raise Failure(FailureKind.ASSERTION_TIME, "the client assertion is valid for more than an hour from now")
    audience = claims.get("aud")
    if _single(audience) not in audiences:
        words = "the client assertion's audience is not this tenant's token endpoint"
        raise Failure(
            FailureKind.ASSERTION_AUDIENCE, words, audience=str(audience)[:_MAX_TOLD], expected=min(audiences, default="")
        )


def workload_of(claims: JsonObject) -> Workload | None:
    """What the agent proved about the asking process, from its claim `workload`; facts of another type are left out."""
    facts = claims.get("workload")
    if not isinstance(facts, dict):
        return None
    return Workload(
        pid=_number(facts.get("pid")),
        uid=_number(facts.get("uid")),
        gid=_number(facts.get("gid")),
        executable=_text(facts.get("executable")),
        cgroup=_text(facts.get("cgroup")),
        systemd_unit=_text(facts.get("systemd_unit")),
        container=_text(facts.get("container")),
        run_id=_text(facts.get("run_id")),
        binding=_text(facts.get("binding")),
    )


def check_times(claims: JsonObject, now: datetime) -> datetime:
    """When the assertion expires; raises `Failure(ASSERTION_TIME)` or, for what is no time, `Failure(ASSERTION_INVALID)`."""
    expires = _time(claims, "exp")
    if expires is None:
        raise Failure(FailureKind.ASSERTION_INVALID, "the client assertion has no 'exp'")
    starts = [at for at in (_time(claims, "nbf"), _time(claims, "iat")) if at is not None]
    if now >= expires + LEEWAY or any(now < at - LEEWAY for at in starts):
        raise Failure(FailureKind.ASSERTION_TIME, _time_detail(now, starts, expires))
    return expires


def expiry_of(claims: JsonObject) -> datetime:
    """When an assertion expires whose claims were checked."""
    expires = _time(_with_times_as_numbers(claims), "exp")
    assert expires is not None  # `check_claims` requires it
    return expires


def _with_times_as_numbers(claims: JsonObject) -> JsonObject:
    """`claims` with each time that is written as digits in a text as the number; for clients' own assertions alone."""
    written = {name: claims.get(name) for name in ("exp", "nbf", "iat")}
    digits = {name: int(value) for name, value in written.items() if isinstance(value, str) and _DIGITS.fullmatch(value)}
    return {**claims, **digits}


def _time_detail(now: datetime, starts: Iterable[datetime], expires: datetime) -> str:
    valid_from = max(starts, default=None)
    return (
        f"client assertion is not within its valid time range. Current time: {_shown(now)}, "
        f"assertion valid from {_shown(valid_from) if valid_from else 'any time'}, expiry time of assertion {_shown(expires)}"
    )


def _shown(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(claims: JsonObject, name: str) -> datetime | None:
    if name not in claims:
        return None
    try:
        return numeric_date(claims[name])
    except Failure as failure:
        raise Failure(FailureKind.ASSERTION_INVALID, f"the client assertion's '{name}' is not a time") from failure


def _single(audience: object) -> str | None:
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    return _comparable(audience) if isinstance(audience, str) else None


def _comparable(audience: str) -> str:
    return audience.lower().rstrip("/")


def _thumbprint(value: object, length: int) -> str | None:
    if value is None:
        return None
    refused = Failure(FailureKind.ASSERTION_INVALID, "the client assertion's header holds a malformed certificate thumbprint")
    if not isinstance(value, str):
        raise refused
    try:
        decoded = b64url_decode(value)
    except Failure as failure:
        raise refused from failure
    if len(decoded) != length:
        raise refused
    return decoded.hex()


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32 else None


def _text(value: object) -> str | None:
    return value[:_MAX_TEXT] if isinstance(value, str) else None
