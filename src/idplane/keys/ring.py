"""The key ring: signs permits with the active key, publishes every key that a living token may need, and turns over in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from idplane.jose import Algorithm
from idplane.keys import rotation
from idplane.keys.material import EVENT, Material, token_line
from idplane.keys.moves import Moves
from idplane.keys.permits import PublicKeyInfo, SignedToken, SigningPermit
from idplane.keys.succession import Succession
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import SigningKey
from idplane.model.profile import Profile
from idplane.model.values import JsonObject
from idplane.ports.store import Change, Store
from idplane.ports.world import Clock, Entropy, KeyCustody

__all__ = ["KeyRing"]

_LOG = logging.getLogger(__name__)
_BEAT = timedelta(minutes=1)
"""The longest that the ring goes without looking at the clock and the store, whatever feed and schedule say."""
_KID_LENGTH: Final = 27
"""Of a SHA-1 thumbprint in base64url."""


class KeyRing:
    """The token-signing keys of an installation, shared by its replicas through the store.

    The invariants: at most one key is active; no key signs before it is published; every key is published until the last token
    that it signed has died, unless it is tainted. Has a lifetime: `open`, then `run` as a task (or `turn` by hand), then `close`.
    """

    def __init__(
        self,
        *,
        store: Store,
        custody: KeyCustody,
        clock: Clock,
        entropy: Entropy,
        profile: Profile,
        algorithm: Algorithm = Algorithm.RS256,
    ) -> None:
        self._store = store
        self._clock = clock
        self._profile = profile
        self._signed_until: dict[str, float] = {}
        self._moves = Moves(
            line=token_line(profile, algorithm, custody, entropy), custody=custody, signed_until=self._last_signed
        )
        self._line: Succession[Material] = Succession(
            moves=self._moves, prepare=lambda key: Material.of(key, custody), store=store, clock=clock, changed=self._forget
        )
        self._unsubscribe: Callable[[], None] | None = None

    @classmethod
    async def open(
        cls,
        *,
        store: Store,
        custody: KeyCustody,
        clock: Clock,
        entropy: Entropy,
        profile: Profile,
        algorithm: Algorithm = Algorithm.RS256,
    ) -> Self:
        """A ring that is ready to sign, following the store's feed; the very first one makes the first key.

        New keys are for `algorithm`; clients of Entra force RS256. Raises `Failure(INTERNAL)` if the stored keys cannot be unsealed.
        """
        ring = cls(store=store, custody=custody, clock=clock, entropy=entropy, profile=profile, algorithm=algorithm)
        ring._unsubscribe = store.subscribe(ring.apply)
        try:
            await ring.turn()
        except BaseException:
            ring.close()
            raise
        return ring

    def close(self) -> None:
        """Stop following the feed."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def __repr__(self) -> str:
        return f"KeyRing({len(self._line.reading.records)} keys)"

    # Using the keys: synchronous, from memory.

    def sign(self, permit: SigningPermit) -> SignedToken:
        """Spend the permit on a token signed with the active key.

        Raises `Failure(INTERNAL)` for a permit that was used before, asks for an algorithm that the active key is not of, or
        whose token would outlive the longest, for which its key is published; `Failure(UNAVAILABLE)` when no key is active.
        """
        claims = permit.spend()
        active = self._line.reading.active
        if active is None:
            raise Failure(FailureKind.UNAVAILABLE, "no signing key is active")
        if active.info.algorithm is not permit.algorithm:
            raise Failure(FailureKind.INTERNAL, f"the active key does not sign {permit.algorithm.value}")
        self._note_expiry(active.info.kid, claims)
        return SignedToken(token=active.signers[permit.token_version].sign(claims), kid=active.info.kid)

    def sign_event(self, claims: JsonObject) -> str:
        """A security event token (RFC 8417) signed with the active key, in the moment in which it is handed over.

        Its type and the lack of an expiry keep it from being taken for an access token. Raises `Failure(UNAVAILABLE)` when no key is active.
        """
        active = self._line.reading.active
        if active is None:
            raise Failure(FailureKind.UNAVAILABLE, "no signing key is active")
        if "exp" in claims:
            raise Failure(FailureKind.INTERNAL, "a security event does not expire")
        return active.signers[EVENT].sign(claims)

    def public_key(self, kid: str) -> PublicKeyInfo | None:
        """The key to verify a token of ours with; None if it is unknown, forgotten or tainted."""
        material = self._line.reading.material.get(kid)
        return material.info if material else None

    async def find(self, kid: str) -> PublicKeyInfo | None:
        """`public_key`, after another look at the store for one that this process has not read of yet.

        Another replica signs with a new key from the moment of its commit, and the feed takes its time. However many ask for keys that
        nobody has, the store is read once at a time.
        """
        if self.public_key(kid) is None and len(kid) == _KID_LENGTH and kid not in self._line.reading.records:
            await self._line.read()
        return self.public_key(kid)

    def jwks(self, *, issuer: str | None = None) -> JsonObject:
        """The JSON Web Key Set: public parts of prepared, active and retired keys. `issuer` is what Entra's v2 form adds to each."""
        extra = {} if issuer is None else {"issuer": issuer}
        return {"keys": [{**material.jwk, **extra} for material in self._line.reading.material.values()]}

    @property
    def keys(self) -> tuple[SigningKey, ...]:
        """Every key with its state, oldest first, tainted ones included; for status pages."""
        return self._line.reading.keys

    # Following the store.

    def apply(self, changes: Sequence[Change]) -> None:
        """Hear of commits, ours and other replicas': what is in memory may have been overtaken."""
        self._line.apply(changes)

    async def refresh(self) -> None:
        """Read the keys again if the feed said that they changed; costs nothing otherwise."""
        await self._line.refresh()

    async def read(self) -> None:
        """Read the keys again whatever the feed said, for what is published: a key that signs anywhere is in every key set.

        While the store is away nobody signs with a new key, so that what is known is published on.
        """
        try:
            await self._line.read()
        except Failure as failure:
            if failure.kind is not FailureKind.UNAVAILABLE:
                raise

    async def run(self) -> None:
        """Turn whenever a step is due or the feed tells of a change, until cancelled. A store that fails is tried again."""
        while True:
            due = self._clock.now() + _BEAT
            try:
                due = await self.turn()
            except Failure as failure:
                _LOG.warning("signing keys could not be turned over: %s", failure)
            await self._wait_until(due)

    # Moving the keys.

    async def turn(self) -> datetime:
        """One pass: read the keys, take the steps that are due now (at most one that makes or moves a key), say when the next is."""
        return await self._line.turn()

    async def rotate(self) -> str:
        """Replace the active key at once; the id of the key that signs from now on.

        The prepared key takes over if there is one: verifiers elsewhere may know it already. Otherwise they meet a new id and
        fetch the key set again, which shows it from this moment.
        """
        return await self._line.rotate()

    async def taint(self, kid: str) -> None:
        """Verify nothing with this key ever again, and sign nothing: its private part is in the wrong hands.

        Another key becomes active in the same transaction if this one was. Raises `Failure(INVALID_PARAMETER)` for an unknown id.
        """
        await self._line.taint(kid)

    def _forget(self) -> None:
        self._signed_until = {kid: until for kid, until in self._signed_until.items() if kid in self._line.reading.material}

    def _last_signed(self, key: SigningKey) -> datetime | None:
        until = self._signed_until.get(key.id)
        if until is None:
            return None
        return datetime.fromtimestamp(until, tz=UTC) - rotation.longest_token(self._profile)

    def _note_expiry(self, kid: str, claims: JsonObject) -> None:
        """Remember how long the key's tokens live, by what they say: the clock may be set back before the key retires."""
        expiry = claims.get("exp")
        if isinstance(expiry, bool) or not isinstance(expiry, int | float):
            raise Failure(FailureKind.INTERNAL, "a token without an expiry cannot be signed")
        longest = rotation.longest_token(self._profile) + rotation.SLACK
        if expiry - self._clock.now().timestamp() > longest.total_seconds():
            raise Failure(FailureKind.INTERNAL, "a token cannot outlive the publication of its key")
        self._signed_until[kid] = max(expiry, self._signed_until.get(kid, 0))

    async def _wait_until(self, due: datetime) -> None:
        seconds = min(max((due - self._clock.now()).total_seconds(), 0.0), _BEAT.total_seconds())
        waits = [asyncio.ensure_future(self._line.stale.wait()), asyncio.ensure_future(self._clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
