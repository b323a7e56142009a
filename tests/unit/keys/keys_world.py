"""A world for key rings and authorities: real store, fake clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from idplane.jose import Algorithm, UnverifiedToken, parse, verify
from idplane.keys import CredentialAuthority, KeyRing, SigningPermit, TlsAuthority
from idplane.model.profile import OPEN, Profile
from idplane.ports.store import Store
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store


@dataclass(kw_only=True)
class KeyWorld:
    """Everything that replicas of one installation share."""

    store: Store
    clock: FakeClock
    custody: MemoryCustody = field(default_factory=MemoryCustody)
    entropy: SeededEntropy = field(default_factory=SeededEntropy)
    profile: Profile = OPEN

    async def ring(self, algorithm: Algorithm = Algorithm.ES256) -> KeyRing:
        """A replica's ring; P-256 because hundreds of keys are made."""
        return await KeyRing.open(
            store=self.store,
            custody=self.custody,
            clock=self.clock,
            entropy=self.entropy,
            profile=self.profile,
            algorithm=algorithm,
        )

    async def credentials(self) -> CredentialAuthority:
        return await CredentialAuthority.open(
            store=self.store, custody=self.custody, clock=self.clock, entropy=self.entropy, profile=self.profile
        )

    async def tls(self, *hosts: str) -> TlsAuthority:
        return await TlsAuthority.open(
            store=self.store, custody=self.custody, clock=self.clock, entropy=self.entropy, hosts=hosts
        )

    def permit(self, lifetime: timedelta | None = None, **changes: object) -> SigningPermit:
        seconds = (self.profile.managed_identity_token_lifetime if lifetime is None else lifetime).total_seconds()
        claims = {"sub": "someone", "exp": int(self.clock.now().timestamp() + seconds)}
        return SigningPermit(claims=claims, **{"algorithm": Algorithm.ES256, **changes})  # type: ignore[arg-type]  # the tests pass what fits


@asynccontextmanager
async def a_key_world() -> AsyncIterator[KeyWorld]:
    clock = FakeClock()
    store = await memory_store(clock)
    try:
        yield KeyWorld(store=store, clock=clock)
    finally:
        await store.close()


def verifies(ring: KeyRing, token: str) -> bool:
    """What the token authenticator asks."""
    unverified: UnverifiedToken = parse(token)
    info = ring.public_key(unverified.key_id or "")
    return info is not None and verify(unverified, info.key, info.algorithm)
