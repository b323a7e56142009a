"""The keys of outside issuers: found by discovery, kept for a while, asked for by as few requests as will do.

    issuer -> {issuer}/.well-known/openid-configuration -> jwks_uri -> keys by `kid`

Only issuers that some federated credential names are ever asked (`federation` sees to it), so a stranger's token makes no request.
Neither does a flood of them: one fetch at a time for each issuer, keys are kept for an hour, a failure for half a minute, and a
`kid` that is not among the keys makes them fetched anew at most once a minute.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from idplane.jose import Algorithm, PublicKey, b64url_decode, is_acceptable_key
from idplane.model.failure import Failure, FailureKind
from idplane.ports.issuers import IssuerDocuments
from idplane.ports.world import Clock
from idplane.sts.bounded import Bounded

__all__ = ["FRESH_SECONDS", "ForeignKey", "IssuerKeys", "read_keys"]

FRESH_SECONDS: Final = 3600.0
"""How long keys are used without asking again."""
_STALE_SECONDS: Final = 6 * FRESH_SECONDS
"""How long they are used when asking again fails."""
_UNKNOWN_SECONDS: Final = 60.0
_FAILED_SECONDS: Final = 30.0
_NEVER: Final = float("-inf")
_ISSUERS: Final = 256
_MAX_KEYS: Final = 100
_MAX_COORDINATE: Final = 32
_MAX_RSA_BYTES: Final = 1024
_DISCOVERY: Final = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A public key with the algorithms that its owner lets it be used for."""

    key: PublicKey
    algorithms: tuple[Algorithm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the last fetch brought: keys, or why it failed. Times are the monotonic clock's."""

    keys: Mapping[str, ForeignKey]
    fetched_at: float
    problem: str | None = None
    failed_at: float = _NEVER


class IssuerKeys:
    """Every outside issuer's keys. Used from one event loop."""

    def __init__(self, *, documents: IssuerDocuments, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock
        self._known: Bounded[tuple[str, bool], _Known] = Bounded(_ISSUERS)
        self._under_way: dict[tuple[str, bool], asyncio.Task[_Known]] = {}

    async def key(self, issuer: str, kid: str, *, private: bool) -> ForeignKey | None:
        """The key, or None when the issuer does not publish it; raises `Failure(ISSUER_UNREACHABLE)` when it cannot be asked."""
        known = await self._current(issuer, private=private)
        found = known.keys.get(kid)
        if found is None and self._clock.monotonic() - max(known.fetched_at, known.failed_at) >= _UNKNOWN_SECONDS:
            found = (await self._fetch_once(issuer, private=private)).keys.get(kid)
        return found

    async def _current(self, issuer: str, *, private: bool) -> _Known:
        known = self._known.get((issuer, private))
        now = self._clock.monotonic()
        if known is not None and now - known.fetched_at < FRESH_SECONDS:
            return known
        if known is not None and known.problem is not None and now - known.failed_at < _FAILED_SECONDS:
            return _usable(known, now)
        return _usable(await self._fetch_once(issuer, private=private), now)

    async def _fetch_once(self, issuer: str, *, private: bool) -> _Known:
        """Whoever asks while a fetch is under way waits for that one; a client that gives up does not end it."""
        name = (issuer, private)
        task = self._under_way.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._fetch(issuer, private=private))
            self._under_way[name] = task
            task.add_done_callback(lambda _: self._under_way.pop(name, None))
        return await asyncio.shield(task)

    async def _fetch(self, issuer: str, *, private: bool) -> _Known:
        before = self._known.get((issuer, private))
        try:
            keys = await self._published(issuer, private=private)
        except Failure as failure:
            now = self._clock.monotonic()
            known = _Known(
                keys=before.keys if before else {},
                fetched_at=before.fetched_at if before else _NEVER,
                problem=failure.detail,
                failed_at=now,
            )
        else:
            known = _Known(keys=keys, fetched_at=self._clock.monotonic())
        self._known.put((issuer, private), known)
        return known

    async def _published(self, issuer: str, *, private: bool) -> Mapping[str, ForeignKey]:
        document = _object(await self._documents.fetch(issuer.removesuffix("/") + _DISCOVERY, private=private))
        if document.get("issuer") != issuer:
            raise _unusable("its discovery document is another issuer's")
        address = document.get("jwks_uri")
        if not isinstance(address, str):
            raise _unusable("its discovery document names no keys")
        # What the tenant said of an issuer holds for the host that it named, not for wherever that host points.
        return read_keys(await self._documents.fetch(address, private=private and _origin(address) == _origin(issuer)))


def read_keys(document: bytes) -> Mapping[str, ForeignKey]:
    """The signature keys of a JWK set (RFC 7517), by `kid`; raises `Failure(ISSUER_UNREACHABLE)` for anything but a set.

    Left out: keys without `kid`, two keys of one `kid`, keys for encryption, symmetric and unknown kinds, RSA below 2048 bits and
    curves other than P-256. Addresses and certificates in a key (`x5u`, `x5c`) are not looked at.
    """
    keys = _object(document).get("keys")
    if not isinstance(keys, list) or len(keys) > _MAX_KEYS:
        raise _unusable(f"its key document is no list of at most {_MAX_KEYS} keys")
    named = [(kid, jwk) for jwk in keys if isinstance(jwk, dict) and isinstance(kid := jwk.get("kid"), str) and kid]
    times = Counter(kid for kid, _ in named)
    read = {kid: _foreign_key(jwk) for kid, jwk in named if times[kid] == 1}
    return {kid: key for kid, key in read.items() if key is not None}


def _foreign_key(jwk: Mapping[str, object]) -> ForeignKey | None:
    if jwk.get("use", "sig") != "sig":
        return None
    try:
        key, suited = _public_key(jwk)
    except (Failure, ValueError, UnsupportedAlgorithm):
        return None
    algorithms = tuple(one for one in suited if jwk.get("alg", one.value) == one.value)
    return ForeignKey(key, algorithms) if algorithms and is_acceptable_key(key) else None


def _public_key(jwk: Mapping[str, object]) -> tuple[PublicKey, tuple[Algorithm, ...]]:
    match jwk.get("kty"), jwk.get("crv"):
        case "RSA", _:
            modulus, exponent = (_number(jwk.get(name), _MAX_RSA_BYTES) for name in ("n", "e"))
            return RSAPublicNumbers(exponent, modulus).public_key(), (Algorithm.RS256, Algorithm.PS256)
        case "EC", "P-256":
            x, y = (_number(jwk.get(name), _MAX_COORDINATE) for name in ("x", "y"))
            return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key(), (Algorithm.ES256,)
        case _:
            raise ValueError("a key of a kind that is not used here")


def _number(value: object, limit: int) -> int:
    raw = b64url_decode(value) if isinstance(value, str) else b""
    if not 0 < len(raw.lstrip(b"\0")) <= limit:
        raise ValueError("a number of a key is missing or too large")
    return int.from_bytes(raw)


def _usable(known: _Known, now: float) -> _Known:
    if known.problem is not None and now - known.fetched_at >= _STALE_SECONDS:
        raise Failure(FailureKind.ISSUER_UNREACHABLE, known.problem)
    return known


def _object(raw: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _unusable("a document of it is no JSON") from error
    if not isinstance(value, dict):
        raise _unusable("a document of it is no JSON object")
    return value


def _origin(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", url
    return parts.scheme.lower(), parts.netloc.lower()


def _unusable(why: str) -> Failure:
    return Failure(FailureKind.ISSUER_UNREACHABLE, f"the issuer cannot be used: {why}")
