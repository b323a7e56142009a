import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import jwt
import msgspec
import pytest
from tests.unit.keys.keys_world import KeyWorld, a_key_world, verifies

from idplane.jose import Algorithm, new_ec_key, parse, private_key_der
from idplane.keys import KeyRing, SigningPermit
from idplane.keys.material import new_signing_key
from idplane.keys.rotation import GRACE, SLACK
from idplane.keys.sealing import marked, unsealed_private_key
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.model.profile import OPEN
from idplane.ports.collections import SIGNING_KEYS
from idplane.ports.store import ABSENT, ANY, Batch, Delete, Put, Store
from idplane.testing.worlds import MemoryCustody, SeededEntropy

LIFETIME, LEAD = OPEN.signing_key_lifetime, OPEN.signing_key_lead
LONGEST = OPEN.managed_identity_token_lifetime


@pytest.fixture
async def key_world() -> AsyncIterator[KeyWorld]:
    async with a_key_world() as world:
        yield world


def states(ring: KeyRing) -> list[KeyState]:
    return [key.state for key in ring.keys]


def active(ring: KeyRing) -> str:
    (one,) = [key.id for key in ring.keys if key.state is KeyState.ACTIVE]
    return one


def published(ring: KeyRing) -> list[str]:
    keys = ring.jwks()["keys"]
    assert isinstance(keys, list)
    return [key["kid"] for key in keys]


async def test_the_first_start_makes_one_active_rsa_key(key_world: KeyWorld) -> None:
    ring = await key_world.ring(Algorithm.RS256)
    (key,) = ring.keys
    assert (key.state, key.algorithm, key.activated_at) == (KeyState.ACTIVE, "RS256", key_world.clock.now())
    assert key.id == base64.urlsafe_b64encode(hashlib.sha1(key.certificate).digest()).decode().rstrip("=")
    again = await key_world.ring(Algorithm.RS256)
    assert again.keys == ring.keys


async def test_headers_have_entras_two_forms(key_world: KeyWorld) -> None:
    ring = await key_world.ring(Algorithm.RS256)
    kid = active(ring)
    one = ring.sign(key_world.permit(algorithm=Algorithm.RS256, token_version=1))
    two = ring.sign(key_world.permit(algorithm=Algorithm.RS256, token_version=2))
    assert list(parse(one.token).header.items()) == [("typ", "JWT"), ("alg", "RS256"), ("x5t", kid), ("kid", kid)]
    assert list(parse(two.token).header.items()) == [("typ", "JWT"), ("alg", "RS256"), ("kid", kid)]
    assert one.kid == two.kid == kid
    assert verifies(ring, one.token)
    assert verifies(ring, two.token)


@pytest.mark.parametrize("algorithm", [Algorithm.RS256, Algorithm.ES256])
async def test_other_libraries_verify_with_the_key_set(key_world: KeyWorld, algorithm: Algorithm) -> None:
    ring = await key_world.ring(algorithm)
    signed = ring.sign(key_world.permit(algorithm=algorithm))
    key_set = jwt.PyJWKSet.from_json(msgspec.json.encode(ring.jwks()).decode())
    claims = jwt.decode(signed.token, key_set[signed.kid], algorithms=[algorithm.value], options={"verify_exp": False})
    assert claims["sub"] == "someone"


async def test_the_key_set_has_entras_members_and_nothing_private(key_world: KeyWorld) -> None:
    ring = await key_world.ring(Algorithm.RS256)
    keys = ring.jwks(issuer="https://issuer/")["keys"]
    assert isinstance(keys, list)
    (key,) = keys
    assert list(key) == ["kty", "use", "kid", "x5t", "n", "e", "x5c", "issuer"]
    assert (key["kty"], key["use"], key["e"], key["x5t"], key["issuer"]) == (
        "RSA",
        "sig",
        "AQAB",
        key["kid"],
        "https://issuer/",
    )
    assert base64.b64decode(key["x5c"][0], validate=True) == ring.keys[0].certificate
    assert "issuer" not in str(ring.jwks())


async def test_keys_rotate_twice_on_schedule(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    seen = [active(ring)]
    for _ in range(2):
        key_world.clock.set(await ring.turn())
        await ring.turn()
        assert states(ring) == [KeyState.ACTIVE, KeyState.PREPARED]
        key_world.clock.set(await ring.turn())
        last = ring.sign(key_world.permit())
        await ring.turn()
        assert states(ring) == [KeyState.RETIRED, KeyState.ACTIVE]
        assert verifies(ring, last.token)
        assert ring.sign(key_world.permit()).kid != last.kid
        seen.append(active(ring))
        key_world.clock.set(await ring.turn())
        await ring.turn()
        assert states(ring) == [KeyState.ACTIVE]
    assert len(set(seen)) == 3


async def test_the_next_step_is_announced(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    start = key_world.clock.now()
    assert await ring.turn() == start + LIFETIME - LEAD
    key_world.clock.set(start + LIFETIME - LEAD)
    assert await ring.turn() == start + LIFETIME
    key_world.clock.set(start + LIFETIME)
    assert await ring.turn() == start + LIFETIME + LONGEST + GRACE


async def test_nothing_is_forgotten_before_its_last_token_is_dead(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    first = active(ring)
    last = ring.sign(key_world.permit()).token
    await ring.rotate()
    key_world.clock.advance(LONGEST + GRACE - timedelta(seconds=1))
    await ring.turn()
    assert first in published(ring)
    assert verifies(ring, last)
    key_world.clock.advance(1)
    await ring.turn()
    assert first not in published(ring)
    assert await key_world.store.get(SIGNING_KEYS, first) is None


async def test_a_jump_forward_moves_one_key_a_turn_and_signs_with_published_keys_only(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    first = active(ring)
    key_world.clock.advance(timedelta(days=4000))
    await ring.turn()
    assert active(ring) == first
    for _ in range(3):
        assert await ring.turn() == key_world.clock.now() + LEAD
        assert states(ring) == [KeyState.ACTIVE, KeyState.PREPARED]


async def test_a_clock_set_back_deactivates_nothing_and_rotation_goes_on_from_there(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    key_world.clock.advance(LIFETIME)
    await ring.turn()
    key_world.clock.advance(LEAD)
    await ring.turn()
    second = active(ring)
    key_world.clock.set(key_world.clock.now() - timedelta(days=3650))
    await ring.turn()
    assert active(ring) == second
    assert await ring.turn() <= key_world.clock.now() + LIFETIME
    key_world.clock.advance(LIFETIME)
    await ring.turn()
    key_world.clock.advance(LEAD)
    await ring.turn()
    assert active(ring) != second


async def test_emergency_rotation_is_immediate(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    old = ring.sign(key_world.permit())
    new_id = await ring.rotate()
    assert new_id == active(ring) != old.kid
    assert ring.sign(key_world.permit()).kid == new_id
    assert set(published(ring)) == {old.kid, new_id}
    assert verifies(ring, old.token)


async def test_emergency_rotation_prefers_the_published_successor(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    key_world.clock.advance(LIFETIME - LEAD)
    await ring.turn()
    (prepared,) = [key.id for key in ring.keys if key.state is KeyState.PREPARED]
    assert await ring.rotate() == prepared


async def test_a_tainted_active_key_is_replaced_and_verifies_nothing(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    forged = ring.sign(key_world.permit())
    await ring.taint(forged.kid)
    assert not verifies(ring, forged.token)
    assert forged.kid not in published(ring)
    assert ring.sign(key_world.permit()).kid != forged.kid
    assert {key.id: (key.state, key.tainted) for key in ring.keys}[forged.kid] == (KeyState.RETIRED, True)
    await ring.taint(forged.kid)
    assert not verifies(await key_world.ring(), forged.token)


async def test_retired_and_prepared_keys_can_be_tainted(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    old = ring.sign(key_world.permit())
    current = await ring.rotate()
    await ring.taint(old.kid)
    assert not verifies(ring, old.token)
    key_world.clock.advance(LIFETIME - LEAD)
    await ring.turn()
    (prepared,) = [key.id for key in ring.keys if key.state is KeyState.PREPARED]
    await ring.taint(prepared)
    assert published(ring) == [current]
    assert await ring.rotate() not in {prepared, current}


async def test_a_tainted_successor_never_takes_over(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    key_world.clock.advance(LIFETIME - LEAD)
    await ring.turn()
    (prepared,) = [key.id for key in ring.keys if key.state is KeyState.PREPARED]
    await ring.taint(prepared)
    await ring.taint(active(ring))
    assert active(ring) != prepared


async def test_an_unknown_key_cannot_be_tainted(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    with pytest.raises(Failure) as caught:
        await ring.taint("unknown")
    assert caught.value.kind is FailureKind.INVALID_PARAMETER
    assert ring.public_key("unknown") is None


# Permits


def refusal(ring: KeyRing, permit: SigningPermit) -> FailureKind:
    with pytest.raises(Failure) as caught:
        ring.sign(permit)
    return caught.value.kind


async def test_a_permit_signs_once(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    permit = key_world.permit()
    ring.sign(permit)
    assert refusal(ring, permit) is FailureKind.INTERNAL


async def test_permits_that_do_not_fit_are_refused(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    for permit in (
        key_world.permit(algorithm=Algorithm.RS256),
        key_world.permit(LONGEST + SLACK + timedelta(seconds=2)),
        SigningPermit(claims={}, algorithm=Algorithm.ES256),
        SigningPermit(claims={"exp": True}, algorithm=Algorithm.ES256),
        SigningPermit(claims={"exp": "1767268800"}, algorithm=Algorithm.ES256),
    ):
        assert refusal(ring, permit) is FailureKind.INTERNAL


@pytest.mark.parametrize("version", [0, 3, -1])
def test_there_are_two_token_versions(version: int) -> None:
    with pytest.raises(ValueError, match="version"):
        SigningPermit(claims={}, token_version=version)


async def test_a_ring_without_keys_is_unavailable(key_world: KeyWorld) -> None:
    ring = KeyRing(
        store=key_world.store,
        custody=key_world.custody,
        clock=key_world.clock,
        entropy=key_world.entropy,
        profile=OPEN,
    )
    assert refusal(ring, key_world.permit()) is FailureKind.UNAVAILABLE


# Replicas


async def test_replicas_that_start_together_share_one_key(key_world: KeyWorld) -> None:
    rings = await asyncio.gather(*(key_world.ring() for _ in range(5)))
    assert len({active(ring) for ring in rings}) == 1
    assert len(await key_world.store.all(SIGNING_KEYS)) == 1


async def test_replicas_that_turn_together_take_each_step_once(key_world: KeyWorld) -> None:
    rings = [await key_world.ring() for _ in range(4)]
    for after in (LIFETIME - LEAD, LEAD):
        key_world.clock.advance(after)
        await asyncio.gather(*(ring.turn() for ring in rings))
    assert [states(ring) for ring in rings] == [[KeyState.RETIRED, KeyState.ACTIVE]] * 4


async def test_an_emergency_rotation_on_two_replicas_at_once_ends_well(key_world: KeyWorld) -> None:
    one, two = await key_world.ring(), await key_world.ring()
    before = active(one)
    await asyncio.gather(one.rotate(), two.rotate())
    await one.refresh()
    await two.refresh()
    assert active(one) == active(two) != before


async def test_another_replicas_rotation_is_followed(key_world: KeyWorld) -> None:
    one, two = await key_world.ring(), await key_world.ring()
    await one.rotate()
    signed = one.sign(key_world.permit())
    assert not verifies(two, signed.token)
    await two.refresh()
    assert verifies(two, signed.token)
    assert two.sign(key_world.permit()).kid == signed.kid
    await one.taint(signed.kid)
    await two.refresh()
    assert not verifies(two, signed.token)


async def test_other_collections_do_not_make_the_ring_read(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    changes = await key_world.store.changes(0)
    ring.apply([replace(change, collection="principals") for change in changes])
    assert not ring._line.stale.is_set()
    ring.apply(changes)
    assert ring._line.stale.is_set()


async def test_a_closed_ring_no_longer_listens(key_world: KeyWorld) -> None:
    one, two = await key_world.ring(), await key_world.ring()
    two.close()
    two.close()
    await one.rotate()
    assert not two._line.stale.is_set()


async def test_a_running_ring_turns_when_it_is_time_and_when_another_rotates(key_world: KeyWorld) -> None:
    ring, other = await key_world.ring(), await key_world.ring()
    task = asyncio.create_task(ring.run())
    try:
        committed = asyncio.Event()
        key_world.store.subscribe(lambda _: committed.set())
        key_world.clock.advance(LIFETIME - LEAD)
        async with asyncio.timeout(10):
            await committed.wait()
            new = await other.rotate()
            while ring.public_key(new) is None or active(ring) != new:
                await asyncio.wait([asyncio.ensure_future(ring._line.stale.wait())], timeout=0.001)
    finally:
        task.cancel()
    assert states(ring) == [KeyState.RETIRED, KeyState.ACTIVE]


class AwayCustody(MemoryCustody):
    """A custody that can be away, as a token can."""

    away = False

    def unseal(self, sealed: bytes, *, context: str) -> bytes:
        if self.away:
            raise Failure(FailureKind.UNAVAILABLE, "the token is away")
        return super().unseal(sealed, context=context)


async def test_a_custody_that_is_away_does_not_stop_a_running_ring(
    key_world: KeyWorld, caplog: pytest.LogCaptureFixture
) -> None:
    key_world.custody = custody = AwayCustody()
    ring, other = await key_world.ring(), await key_world.ring()
    task = asyncio.create_task(ring.run())
    try:
        custody.away = True
        key = ring.keys[0]
        changed = replace(key, created_at=key.created_at - timedelta(seconds=1))
        await key_world.store.commit(Batch.of(Put(collection=SIGNING_KEYS, value=marked(changed, custody), expect=ANY)))
        async with asyncio.timeout(10):
            while not caplog.records:
                await asyncio.wait([task], timeout=0.001)
        custody.away = False
        assert not task.done()
        await other.rotate()
        async with asyncio.timeout(10):
            while active(ring) != active(other):
                await asyncio.wait([task], timeout=0.001)
        assert not task.done()
    finally:
        task.cancel()
    assert "could not be turned over" in caplog.text


# What is stored, and what shows


async def test_private_keys_are_nowhere_in_the_store(key_world: KeyWorld) -> None:
    ring = await key_world.ring(Algorithm.RS256)
    await key_world.credentials()
    await key_world.tls()
    await ring.rotate()
    rows = [row.value for row in await key_world.store.all(SIGNING_KEYS)]
    assert {row.purpose for row in rows} == set(KeyPurpose) - {KeyPurpose.LOG}
    for row in rows:
        private = unsealed_private_key(row, key_world.custody)
        whole = msgspec.json.encode(row) + row.sealed + row.certificate + (row.anchor or b"")
        for part in private_parts(private_key_der(private)):
            assert part not in whole
            assert base64.b64encode(part)[4:-4] not in whole


def private_parts(der: bytes) -> list[bytes]:
    """Every run of 16 bytes in the middle third of a private key, where its secret numbers are."""
    third = len(der) // 3
    return [der[at : at + 24] for at in range(third, 2 * third, 24)] if len(der) > 300 else [der[36:68]]


async def test_nothing_shows_key_material(key_world: KeyWorld) -> None:
    ring = await key_world.ring(Algorithm.RS256)
    permit = SigningPermit(claims={"exp": 1, "secret": "swordfish"})
    signed = ring.sign(key_world.permit(algorithm=Algorithm.RS256))
    sealed = ring.keys[0].sealed
    shown = " ".join(
        repr(one)
        for one in (ring, ring.keys, ring._line.reading, ring._line.reading.active, permit, signed, ring.public_key(signed.kid))
    )
    assert signed.token not in shown
    assert "swordfish" not in shown
    assert repr(sealed)[2:20] not in shown
    assert "openssl" not in shown.lower()


def foreign_key(key: SigningKey, custody: MemoryCustody) -> SigningKey:
    made = new_signing_key(new_ec_key(), Algorithm.ES256, KeyState.RETIRED, key.created_at, (custody, SeededEntropy("foe")))
    return replace(made, retired_at=key.created_at)


async def test_keys_written_into_the_database_by_others_are_not_trusted(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    own = ring.keys[0]
    foreign = foreign_key(own, MemoryCustody(SeededEntropy("another custody")))
    ours = foreign_key(own, key_world.custody)
    for planted in (
        foreign,
        replace(foreign, sealed=own.sealed),
        replace(own, id=foreign.id, certificate=foreign.certificate, state=KeyState.RETIRED),
        replace(ours, id="another id"),
        replace(ours, certificate=own.certificate),
        replace(ours, sealed=bytes(40)),
    ):
        await key_world.store.commit(Batch.of(Put(collection=SIGNING_KEYS, value=planted, expect=ABSENT)))
        with pytest.raises(Failure) as caught:
            await key_world.ring()
        assert caught.value.kind is FailureKind.INTERNAL
        await key_world.store.commit(Batch.of(Delete(collection=SIGNING_KEYS, key=planted.id)))
    assert (await key_world.ring()).keys == ring.keys


# Keys that others have made


async def test_a_key_that_signs_elsewhere_is_found_before_the_feed_tells_of_it(key_world: KeyWorld) -> None:
    one, two = await key_world.ring(), await key_world.ring()
    two.close()  # hears nothing any more
    await one.rotate()
    signed = one.sign(key_world.permit())
    assert two.public_key(signed.kid) is None
    assert await two.find(signed.kid) is not None
    await one.rotate()
    assert active(two) == signed.kid
    await two.read()
    assert two.jwks() == one.jwks()


class CountingStore:
    """The store, and how often it was read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reads = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def all(self, *arguments: object, **options: object) -> object:
        self.reads += 1
        await asyncio.sleep(0)
        return await self._store.all(*arguments, **options)  # type: ignore[arg-type]  # passed on


async def test_a_flood_of_made_up_keys_reads_the_store_once_at_a_time(key_world: KeyWorld) -> None:
    key_world.store = store = CountingStore(key_world.store)  # type: ignore[assignment]  # a store, but for mypy
    ring = await key_world.ring()
    store.reads = 0
    found = await asyncio.gather(*(ring.find(f"{number:027d}") for number in range(1000)))
    assert set(found) == {None}
    assert store.reads <= 2
    store.reads = 0
    for made_up in ("", "x", "k" * 26, "k" * 28, "k" * 4096):
        assert await ring.find(made_up) is None
    assert store.reads == 0
    tainted = active(ring)
    await ring.taint(tainted)
    store.reads = 0
    assert await ring.find(tainted) is None
    assert store.reads == 0, "what is known to be tainted is not asked for again"
