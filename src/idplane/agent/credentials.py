"""The certificates of identities on this machine, with their keys.

A key is born here, lives in memory only and never leaves; the server sees a certificate request. One credential for each host and
identity; the successor is fetched when half its life is over, and it is gone when the identity is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from idplane.agent.flights import Flights
from idplane.agent.identities import HostDescription, HostedIdentity
from idplane.agent.plane import IssuedCertificate
from idplane.jose import Algorithm, Signer, b64url, certificate_thumbprint, make_csr, new_ec_key
from idplane.model.calls import Workload
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.ports.world import Clock, Entropy

__all__ = ["Assertion", "Credentials"]

_ASSERTION_LIFETIME = timedelta(minutes=15)
_ASSERTION_BACKDATE = timedelta(minutes=10)
"""Servers' clocks may be as far apart, in either direction, and any of them may get an assertion. It is worth nothing without this agent's own connection."""
_ASSERTION_REUSE = timedelta(minutes=5)
_MAX_ASSERTIONS = 64
_RETRY = timedelta(seconds=60)
_ATTEMPTS = 4

_Key: TypeAlias = tuple[str, str]
"""Resource id key of the host, object id of the principal."""
_Certify: TypeAlias = Callable[[ResourceId, str, bytes], Awaitable[IssuedCertificate]]


@dataclass(frozen=True, slots=True)
class Assertion:
    """A client assertion, and the credential whose key signed it."""

    text: str = field(repr=False)
    credential_id: str


@dataclass(slots=True, kw_only=True, eq=False)
class _Held:
    """A credential in use. The signer holds the private key; nothing else does."""

    id: str
    not_after: datetime
    renew_at: datetime
    signer: Signer = field(repr=False)
    assertions: dict[tuple[str, Workload], tuple[str, datetime]] = field(default_factory=dict, repr=False)
    """By audience and asker: the assertion and when it was made."""


class Credentials:
    """Makes client assertions, fetching certificates as needed. `certify` asks the server; it raises what the server refuses."""

    def __init__(self, *, certify: _Certify, clock: Clock, entropy: Entropy) -> None:
        self._certify = certify
        self._clock = clock
        self._entropy = entropy
        self._held: dict[_Key, _Held] = {}
        self._by_id: dict[str, _Key] = {}
        self._flights: Flights[_Key, _Held] = Flights(self._land)

    def __len__(self) -> int:
        return len(self._held)

    async def assertion(self, host: HostDescription, identity: HostedIdentity, workload: Workload) -> Assertion:
        """A client assertion for the token endpoint (RFC 7523), telling which workload asks.

        Signed at most every five minutes for one asker and reused in between. Raises what `certify` raises, and UNAVAILABLE if
        identity and certificate keep changing.
        """
        key = (host.id.key, identity.principal_id)
        for _ in range(_ATTEMPTS):
            held = self._usable(key)
            if held is not None:
                if held.renew_at <= self._clock.now():
                    held.renew_at = self._clock.now() + _RETRY
                    self._flights.begin(key, lambda: self._obtain(host, identity))
                return Assertion(self._signed(held, host, identity, workload), held.id)
            await self._flights.join(key, lambda: self._obtain(host, identity))
        raise Failure(FailureKind.UNAVAILABLE, "the identity's certificate changed while it was fetched")

    def drop(self, names: frozenset[str]) -> None:
        """Forget the credentials whose host and principal include all of `names`; what is being fetched for them, too."""
        self._flights.supersede(names.issubset)
        for key in [key for key in self._held if names.issubset(key)]:
            self._forget(key)

    def drop_credential(self, credential_id: str) -> str | None:
        """Forget a certificate that the server has deleted; the host's key if that was a revocation.

        While a successor is being fetched it is none: the server deletes the predecessor when it issues a successor.
        """
        key = self._by_id.get(credential_id)
        if key is None:
            return None
        self._forget(key)
        return None if self._flights.flying(key) else key[0]

    def refused(self, assertion: Assertion) -> None:
        """The token service refused this credential: the next assertion is made with another one."""
        key = self._by_id.get(assertion.credential_id)
        if key is not None:
            self._forget(key)

    async def close(self) -> None:
        """Forget every key and stop fetching."""
        await self._flights.close()
        self._held.clear()
        self._by_id.clear()

    def _usable(self, key: _Key) -> _Held | None:
        held = self._held.get(key)
        return held if held is not None and self._clock.now() < held.not_after else None

    async def _obtain(self, host: HostDescription, identity: HostedIdentity) -> _Held:
        private_key = new_ec_key()
        issued = await self._certify(host.id, identity.principal_id, make_csr(private_key, identity.client_id))
        thumbprint = b64url(bytes.fromhex(certificate_thumbprint(issued.certificate)))
        return _Held(
            id=issued.credential_id,
            not_after=issued.not_after,
            renew_at=issued.not_before + (issued.not_after - issued.not_before) / 2,
            signer=Signer(private_key, Algorithm.ES256, {"x5t#S256": thumbprint}),
        )

    def _land(self, key: _Key, held: _Held) -> None:
        self._forget(key)
        self._held[key] = held
        self._by_id[held.id] = key

    def _forget(self, key: _Key) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._by_id.pop(held.id, None)

    def _signed(self, held: _Held, host: HostDescription, identity: HostedIdentity, workload: Workload) -> str:
        now = self._clock.now()
        known = held.assertions.get((host.token_endpoint, workload))
        if known is not None and timedelta() <= now - known[1] < _ASSERTION_REUSE:
            return known[0]
        if len(held.assertions) >= _MAX_ASSERTIONS:
            held.assertions.clear()
        started = int((now - _ASSERTION_BACKDATE).timestamp())
        assertion = held.signer.sign(
            {
                "aud": host.token_endpoint,
                "iss": identity.client_id,
                "sub": identity.client_id,
                "iat": started,
                "nbf": started,
                "exp": int(min(now + _ASSERTION_LIFETIME, held.not_after).timestamp()),
                "jti": self._entropy.guid(),
                "workload": {name: value for name, value in asdict(workload).items() if value is not None},
            }
        )
        held.assertions[host.token_endpoint, workload] = (assertion, now)
        return assertion
