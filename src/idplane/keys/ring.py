"""The key ring: signs permits with the active key, publishes every key that a living token may need, and turns over in time.

`rotation` decides; this module makes keys, commits by compare-and-swap, and follows what other replicas commit. Losing such a
race is an outcome, not an error: the ring reads again and goes on from what the winner wrote.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import assert_never

from idplane.jose import Algorithm
from idplane.keys import rotation
from idplane.keys.material import Material, new_private_key, new_signing_key
from idplane.keys.permits import PublicKeyInfo, SignedToken, SigningPermit
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.model.profile import Profile
from idplane.model.values import JsonObject
from idplane.ports.collections import SIGNING_KEYS
from idplane.ports.store import ABSENT, Batch, Change, CommitRefused, Delete, Put, Store, Versioned
from idplane.ports.world import Clock, Entropy, KeyCustody

__all__ = ["KeyRing"]

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 10
"""Lost races in a row before we say that something else is wrong."""
_BEAT = timedelta(minutes=1)
"""The longest that the ring goes without looking at the clock and the store, whatever feed and schedule say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """One reading of the store, ready for use. Replaced as a whole."""

    records: Mapping[str, Versioned[SigningKey]] = field(default_factory=dict, repr=False)
    material: Mapping[str, Material] = field(default_factory=dict, repr=False)
    """Without tainted keys."""
    active: Material | None = None

    @property
    def keys(self) -> tuple[SigningKey, ...]:
        return tuple(record.value for record in self.records.values())


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
        self._custody = custody
        self._clock = clock
        self._entropy = entropy
        self._profile = profile
        self._algorithm = algorithm
        self._state = _State()
        self._signed_until: dict[str, float] = {}
        self._stale = asyncio.Event()
        self._reading = asyncio.Lock()
        self._turning = asyncio.Lock()
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
    ) -> KeyRing:
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
        return f"KeyRing({len(self._state.records)} keys)"

    # Using the keys: synchronous, from memory.

    def sign(self, permit: SigningPermit) -> SignedToken:
        """Spend the permit on a token signed with the active key.

        Raises `Failure(INTERNAL)` for a permit that was used before, asks for an algorithm that the active key is not of, or
        whose token would outlive the publication of its key; `Failure(UNAVAILABLE)` when no key is active.
        """
        claims = permit.spend()
        active = self._state.active
        if active is None:
            raise Failure(FailureKind.UNAVAILABLE, "no signing key is active")
        if active.info.algorithm is not permit.algorithm:
            raise Failure(FailureKind.INTERNAL, f"the active key does not sign {permit.algorithm.value}")
        self._note_expiry(active.info.kid, claims)
        return SignedToken(token=active.signers[permit.token_version].sign(claims), kid=active.info.kid)

    def public_key(self, kid: str) -> PublicKeyInfo | None:
        """The key to verify a token of ours with; None if it is unknown, forgotten or tainted."""
        material = self._state.material.get(kid)
        return material.info if material else None

    def jwks(self, *, issuer: str | None = None) -> JsonObject:
        """The JSON Web Key Set: public parts of prepared, active and retired keys. `issuer` is what Entra's v2 form adds to each."""
        extra = {} if issuer is None else {"issuer": issuer}
        return {"keys": [{**material.jwk, **extra} for material in self._state.material.values()]}

    @property
    def keys(self) -> tuple[SigningKey, ...]:
        """Every key with its state, oldest first, tainted ones included; for status pages."""
        return self._state.keys

    # Following the store.

    def apply(self, changes: Sequence[Change]) -> None:
        """Hear of commits, ours and other replicas': what is in memory may have been overtaken."""
        if any(change.collection == SIGNING_KEYS.name for change in changes):
            self._stale.set()

    async def refresh(self) -> None:
        """Read the keys again if the feed said that they changed; costs nothing otherwise."""
        if self._stale.is_set():
            await self._load()

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
        async with self._turning:
            await self._load()
            now = self._clock.now()
            for step in self._plan(now).steps:
                with suppress(CommitRefused):  # another replica took it; the reading below shows what it did
                    await self._store.commit(await self._batch(step, now))
            await self._load()
            return self._plan(self._clock.now()).due

    async def rotate(self) -> str:
        """Replace the active key at once; the id of the key that signs from now on.

        The prepared key takes over if there is one: verifiers elsewhere may know it already. Otherwise they meet a new id and
        fetch the key set again, which shows it from this moment.
        """
        async with self._turning:
            await self._load()
            before = self._active_id
            return await self._until(lambda: self._active_id not in {None, before}, self._replacement)

    async def taint(self, kid: str) -> None:
        """Verify nothing with this key ever again, and sign nothing: its private part is in the wrong hands.

        Another key becomes active in the same transaction if this one was. Raises `Failure(INVALID_PARAMETER)` for an unknown id.
        """
        async with self._turning:
            await self._load()
            if kid not in self._state.records:
                raise Failure(FailureKind.INVALID_PARAMETER, "no signing key has that id", name=kid)
            await self._until(lambda: kid not in self._state.material, lambda: self._tainting(kid))

    async def _until(self, done: Callable[[], bool], attempt: Callable[[], Awaitable[Batch]]) -> str:
        """Commit attempts until the goal is reached, by us or by whoever won the race."""
        for _ in range(_ATTEMPTS):
            with suppress(CommitRefused):
                await self._store.commit(await attempt())
            await self._load()
            if done() and self._active_id is not None:
                return self._active_id
        raise Failure(FailureKind.UNAVAILABLE, "the signing keys kept changing")

    async def _load(self) -> None:
        async with self._reading:
            self._stale.clear()
            records = await self._store.all(SIGNING_KEYS, where={"purpose": KeyPurpose.TOKEN.value})
            self._adopt(sorted(records, key=lambda record: (record.value.created_at, record.value.id)))

    def _adopt(self, records: Sequence[Versioned[SigningKey]]) -> None:
        known = self._state
        material: dict[str, Material] = {}
        for key in (record.value for record in records):
            if not key.tainted:
                same = key.id in known.material and known.records[key.id].value.certificate == key.certificate
                material[key.id] = known.material[key.id] if same else Material.of(key, self._custody)
        active = rotation.active_key(record.value for record in records)
        self._signed_until = {kid: until for kid, until in self._signed_until.items() if kid in material}
        self._state = _State(
            records={record.value.id: record for record in records},
            material=material,
            active=material[active.id] if active else None,
        )

    @property
    def _active_id(self) -> str | None:
        return self._state.active.info.kid if self._state.active else None

    def _plan(self, now: datetime) -> rotation.Plan:
        return rotation.plan(self._state.keys, now, self._profile, rotation.longest_token(self._profile))

    async def _batch(self, step: rotation.Step, now: datetime) -> Batch:
        """The step as a commit that fails if any key it rests on has moved."""
        match step:
            case rotation.Create(state=KeyState.PREPARED):
                # Rewriting the active key unchanged makes two replicas that prepare a successor at once collide.
                return self._rewritten_active() + await self._creation(KeyState.PREPARED, now)
            case rotation.Create() | rotation.Activate():
                takeover = await self._takeover(step, now)
                return self._retirement(now) + takeover
            case rotation.Correct(key_id=key_id):
                record = self._state.records[key_id]
                return _put(record, rotation.corrected(record.value, now))
            case rotation.Drop(key_id=key_id):
                return Batch.of(Delete(collection=SIGNING_KEYS, key=key_id, expect=self._state.records[key_id].version))
            case _:
                assert_never(step)

    async def _takeover(self, step: rotation.Create | rotation.Activate, now: datetime) -> Batch:
        """What makes a key active, once no other is."""
        if isinstance(step, rotation.Create):
            return await self._creation(KeyState.ACTIVE, now)
        record = self._state.records[step.key_id]
        return _put(record, rotation.activated(record.value, now))

    async def _creation(self, state: KeyState, now: datetime) -> Batch:
        # Made before the commit and off the loop: RSA takes 44 ms in the median, and nothing may wait for it.
        private_key = await asyncio.to_thread(new_private_key, self._algorithm)
        key = new_signing_key(private_key, self._algorithm, state, now, (self._custody, self._entropy))
        return Batch.of(Put(collection=SIGNING_KEYS, value=key, expect=ABSENT))

    async def _replacement(self) -> Batch:
        return await self._batch(rotation.replacement(self._state.keys), self._clock.now())

    async def _tainting(self, kid: str) -> Batch:
        now = self._clock.now()
        takeover = Batch()
        if kid == self._active_id:
            takeover = await self._takeover(rotation.replacement(self._state.keys), now)
        record = self._state.records[kid]
        return _put(record, self._retired(record.value, now, tainted=True)) + takeover

    def _retirement(self, now: datetime) -> Batch:
        active = rotation.active_key(self._state.keys)
        return _put(self._state.records[active.id], self._retired(active, now)) if active else Batch()

    def _rewritten_active(self) -> Batch:
        active = rotation.active_key(self._state.keys)
        return _put(self._state.records[active.id], active) if active else Batch()

    def _retired(self, key: SigningKey, now: datetime, *, tainted: bool = False) -> SigningKey:
        signed_until = self._signed_until.get(key.id)
        instant = None
        if signed_until is not None:
            instant = datetime.fromtimestamp(signed_until, tz=UTC) - rotation.longest_token(self._profile)
        return rotation.retired(key, now, signed_until=instant, tainted=tainted)

    def _note_expiry(self, kid: str, claims: JsonObject) -> None:
        """Remember how long the key's tokens live, by what they say: the clock may be set back before the key retires."""
        expiry = claims.get("exp")
        if isinstance(expiry, bool) or not isinstance(expiry, int | float):
            raise Failure(FailureKind.INTERNAL, "a token without an expiry cannot be signed")
        published_for = rotation.longest_token(self._profile) + rotation.GRACE
        if expiry - self._clock.now().timestamp() > published_for.total_seconds():
            raise Failure(FailureKind.INTERNAL, "a token cannot outlive the publication of its key")
        self._signed_until[kid] = max(expiry, self._signed_until.get(kid, 0))

    async def _wait_until(self, due: datetime) -> None:
        seconds = min(max((due - self._clock.now()).total_seconds(), 0.0), _BEAT.total_seconds())
        waits = [asyncio.ensure_future(self._stale.wait()), asyncio.ensure_future(self._clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _put(record: Versioned[SigningKey], value: SigningKey) -> Batch:
    return Batch.of(Put(collection=SIGNING_KEYS, value=value, expect=record.version))
