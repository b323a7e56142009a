"""The law of the key ring, over random histories of turns, rotations and clocks that run forward, jump and are set back.

And with two replicas whose clocks are ten minutes apart: what one signs the other verifies, and none signs what is not published."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import jwt
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.keys.keys_world import KeyWorld, a_key_world, verifies

from idplane.jose import Algorithm
from idplane.keys import KeyRing, SigningPermit
from idplane.keys.rotation import GRACE
from idplane.model.keys import KeyState
from idplane.model.profile import OPEN, Profile
from idplane.ports.collections import SIGNING_KEYS
from idplane.testing.worlds import FakeClock, SeededEntropy

HOUR = timedelta(hours=1)
# Short lifetimes beside a long token, so that many keys live at once.
PROFILE: Profile = replace(
    OPEN, signing_key_lifetime=10 * HOUR, signing_key_lead=2 * HOUR, managed_identity_token_lifetime=24 * HOUR
)

PASSES = st.builds(lambda hours: ("pass", hours * HOUR), st.sampled_from([0.5, 1, 2, 8, 10, 24, 26, 24 * 400]))
SET_BACK = st.builds(lambda hours: ("set back", hours * HOUR), st.sampled_from([0.01, 1, 5, 30, 24 * 500]))
ACTS = st.sampled_from([("turn", None), ("turn", None), ("rotate", None), ("sign", None), ("sign", None), ("follow", None)])
HISTORIES = st.lists(PASSES | SET_BACK | ACTS, max_size=30)


@dataclass(kw_only=True)
class History:
    """What has happened, with every token that was ever signed."""

    clock: FakeClock
    ring: KeyRing
    follower: KeyRing
    latest: datetime
    """The furthest that the clock ever read: a token that was once dead owes nobody anything."""
    order: list[str] = field(default_factory=list)
    tokens: list[tuple[str, datetime]] = field(default_factory=list)

    async def do(self, act: str, by: timedelta | None) -> None:
        match act, by:
            case "pass", timedelta():
                self.clock.advance(by)
            case "set back", timedelta():
                self.clock.set(self.clock.now() - by)
            case "turn", _:
                await self.ring.turn()
            case "rotate", _:
                await self.ring.rotate()
            case "follow", _:
                await self.follower.refresh()
            case _:
                self.sign()
        self.latest = max(self.latest, self.clock.now())

    def sign(self) -> None:
        published = self.ring.jwks()
        expires = int((self.clock.now() + PROFILE.managed_identity_token_lifetime).timestamp())
        signed = self.ring.sign(SigningPermit(claims={"exp": expires}, algorithm=Algorithm.ES256))
        key_set = jwt.PyJWKSet.from_json(msgspec.json.encode(published).decode())
        jwt.decode(signed.token, key_set[signed.kid], algorithms=["ES256"], options={"verify_exp": False})
        self.tokens.append((signed.token, datetime.fromtimestamp(expires, tz=UTC)))
        if not self.order or self.order[-1] != signed.kid:
            self.order.append(signed.kid)

    async def check(self, world: KeyWorld) -> None:
        rows = [row.value for row in await world.store.all(SIGNING_KEYS)]
        assert [row.state for row in rows].count(KeyState.ACTIVE) == 1
        assert [row.state for row in rows].count(KeyState.PREPARED) <= 1
        assert len(self.order) == len(set(self.order)), "a key that had stopped signing signed again"
        for token, expires in self.tokens:
            if self.latest < expires + GRACE:
                assert verifies(self.ring, token)


async def live(acts: list[tuple[str, timedelta | None]]) -> None:
    async with a_key_world() as world:
        world.profile = PROFILE
        world.entropy = SeededEntropy("law")
        ring, follower = await world.ring(), await world.ring()
        history = History(clock=world.clock, ring=ring, follower=follower, latest=world.clock.now())
        history.sign()
        for act, by in acts:
            await history.do(act, by)
            await history.check(world)
        await follower.refresh()
        assert follower.jwks() == ring.jwks()


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_every_living_token_verifies_and_at_most_one_key_is_active(acts: list[tuple[str, timedelta | None]]) -> None:
    asyncio.run(live(acts))


OFF = timedelta(minutes=10)
TWO_CLOCKS = st.lists(
    st.tuples(st.sampled_from(["turn", "rotate", "sign", "pass"]), st.booleans(), st.sampled_from([0.1, 1, 2, 8, 10, 25])),
    max_size=25,
)


async def live_apart(acts: list[tuple[str, bool, float]], ahead: timedelta) -> None:
    """One true time; the second replica's clock is `ahead` of the first one's."""
    async with a_key_world() as world:
        world.profile = PROFILE
        world.entropy = SeededEntropy("apart")
        first = await world.ring()
        other = KeyWorld(store=world.store, clock=FakeClock(world.clock.now() + ahead), custody=world.custody, profile=PROFILE)
        rings, clocks = (first, await other.ring()), (world.clock, other.clock)
        tokens: list[tuple[str, datetime]] = []
        for act, second, hours in acts:
            ring, clock = rings[second], clocks[second]
            if act == "pass":
                for one in clocks:
                    one.advance(hours * HOUR)
            elif act == "sign":
                await ring.refresh()
                expires = int((clock.now() + PROFILE.managed_identity_token_lifetime).timestamp())
                signed = ring.sign(SigningPermit(claims={"exp": expires}, algorithm=Algorithm.ES256))
                await rings[not second].read()
                assert signed.kid in {key["kid"] for key in rings[not second].jwks()["keys"]}  # type: ignore[attr-defined]  # JSON
                tokens.append((signed.token, datetime.fromtimestamp(expires, tz=UTC)))
            else:
                await (ring.turn() if act == "turn" else ring.rotate())
            rows = [row.value for row in await world.store.all(SIGNING_KEYS)]
            assert [row.state for row in rows].count(KeyState.ACTIVE) == 1
            for reader, now in zip(rings, (one.now() for one in clocks), strict=True):
                await reader.refresh()
                assert all(verifies(reader, token) for token, expires in tokens if now < expires)


@settings(max_examples=40, deadline=None)
@given(TWO_CLOCKS, st.sampled_from([-OFF, OFF]))
def test_replicas_whose_clocks_are_apart_agree(acts: list[tuple[str, bool, float]], ahead: timedelta) -> None:
    asyncio.run(live_apart(acts, ahead))
