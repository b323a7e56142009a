"""The law of the key ring, over random histories of turns, rotations and clocks that run forward, jump and are set back.

And with two replicas whose clocks are up to ten minutes apart, one of which may not have heard of the other: no token that lives by any clock is
refused, none of a tainted key is accepted, and no key is published for longer than that takes."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import jwt
import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.keys.keys_world import KeyWorld, a_key_world, verifies

from idplane.jose import Algorithm
from idplane.keys import KeyRing, SigningPermit
from idplane.keys.rotation import CLOCKS_APART, GRACE, UNHEARD
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


APART = int(CLOCKS_APART.total_seconds())
MOVES = ["turn", "rotate", "taint", "sign", "sign", "sign unheard", "pass", "pass"]
TWO_CLOCKS = st.lists(
    st.tuples(st.sampled_from(MOVES), st.booleans(), st.sampled_from([1 / 60, 0.3, 1, 2, 8, 10, 23.7, 24, 24.4])), max_size=25
)


@dataclass(kw_only=True)
class Apart:
    """Two replicas, with one true time; the second one's clock is ahead of the first one's, or behind it."""

    rings: tuple[KeyRing, KeyRing]
    readers: tuple[KeyRing, KeyRing]
    """Of the same clocks, which only verify."""
    clocks: tuple[FakeClock, FakeClock]
    tokens: list[tuple[str, str, datetime]] = field(default_factory=list)
    tainted: set[str] = field(default_factory=set)
    silent: list[timedelta] = field(default_factory=lambda: [timedelta(), timedelta()])
    """Since when each replica has heard nothing of the other."""

    async def do(self, act: str, at: int, hours: float) -> None:
        ring = self.rings[at]
        if act == "pass":
            self.passes(hours * HOUR)
            return
        if act == "sign unheard" and self.silent[at] <= UNHEARD:
            self.sign(at)
            return
        self.silent[at] = timedelta()
        match act:
            case "turn":
                await ring.turn()
            case "rotate":
                await ring.rotate()
            case "taint":
                await ring.read()
                self.tainted.add(kid := ring.keys[-1].id)
                await ring.taint(kid)
            case _:
                await ring.refresh()
                self.sign(at)

    def passes(self, by: timedelta) -> None:
        for clock in self.clocks:
            clock.advance(by)
        self.silent = [one + by for one in self.silent]

    def sign(self, at: int) -> None:
        expires = int((self.clocks[at].now() + PROFILE.managed_identity_token_lifetime).timestamp())
        signed = self.rings[at].sign(SigningPermit(claims={"exp": expires}, algorithm=Algorithm.ES256))
        self.tokens.append((signed.kid, signed.token, datetime.fromtimestamp(expires, tz=UTC)))

    async def check(self) -> None:
        """What any replica says that has heard of everything."""
        for reader, clock in zip(self.readers, self.clocks, strict=True):
            await reader.refresh()
            for kid, token, expires in self.tokens:
                assert not (kid in self.tainted and verifies(reader, token)), "a tainted key's token is accepted"
                assert kid in self.tainted or clock.now() >= expires or verifies(reader, token), "a living token is refused"

    async def ends(self) -> None:
        """Nothing is published for longer than that takes."""
        before = {key.id for key in self.readers[0].keys if key.state is KeyState.RETIRED}
        self.passes(PROFILE.managed_identity_token_lifetime + GRACE + CLOCKS_APART)
        for ring in self.rings:
            await ring.turn()
        assert not before & {key.id for key in self.rings[1].keys}


async def live_apart(acts: list[tuple[str, bool, float]], ahead: timedelta) -> None:
    async with a_key_world() as world:
        world.profile = PROFILE
        world.entropy = SeededEntropy("apart")
        clock = FakeClock(world.clock.now() + ahead)
        other = KeyWorld(store=world.store, clock=clock, custody=world.custody, profile=PROFILE)
        rings, readers = [(await world.ring(), await other.ring()) for _ in range(2)]
        both = Apart(rings=rings, readers=readers, clocks=(world.clock, other.clock))
        for act, at, hours in acts:
            await both.do(act, int(at), hours)
            rows = [row.value for row in await world.store.all(SIGNING_KEYS)]
            assert [row.state for row in rows].count(KeyState.ACTIVE) == 1
            await both.check()
        await both.ends()


# Signed by the one that is ahead and had not heard, just after the one behind had retired the key; forgotten by the one ahead, shown to the one behind.
WORST = [
    ("turn", True, 0.0),
    ("rotate", False, 0.0),
    ("pass", False, 1 / 60),
    ("sign unheard", True, 0.0),
    ("pass", False, 24 + 9.9 / 60),
    ("turn", True, 0.0),
]


@example(WORST, CLOCKS_APART)
@settings(max_examples=40, deadline=None)
@given(TWO_CLOCKS, st.integers(-APART, APART).map(lambda seconds: timedelta(seconds=seconds)))
def test_replicas_whose_clocks_are_apart_agree(acts: list[tuple[str, bool, float]], ahead: timedelta) -> None:
    asyncio.run(live_apart(acts, ahead))
