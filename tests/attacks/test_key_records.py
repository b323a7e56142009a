"""A key's record that is changed behind the API, by whoever has the database and not the custody."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.keys.keys_world import KeyWorld, a_key_world, verifies

from idplane.keys import KeyRing
from idplane.keys.sealing import marked
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.ports.collections import SIGNING_KEYS
from idplane.ports.store import ANY, Batch, Delete, Put
from idplane.testing.worlds import MemoryCustody, SeededEntropy


@pytest.fixture
async def key_world() -> AsyncIterator[KeyWorld]:
    async with a_key_world() as world:
        yield world


async def changed(world: KeyWorld, key: SigningKey) -> None:
    """As a statement in SQL would."""
    await world.store.commit(Batch.of(Put(collection=SIGNING_KEYS, value=key, expect=ANY)))


async def retired_ring(world: KeyWorld) -> tuple[KeyRing, SigningKey, SigningKey]:
    """A ring, its retired key and its active key."""
    ring = await world.ring()
    world.clock.advance(timedelta(minutes=1))
    await ring.rotate()
    retired, active = ring.keys
    return ring, retired, active


Edit = Callable[[SigningKey], SigningKey]
EDITS: dict[str, Edit] = {
    "retired made active": lambda key: replace(key, state=KeyState.ACTIVE, retired_at=None),
    "retired made a successor": lambda key: replace(key, state=KeyState.PREPARED, retired_at=None, activated_at=None),
    "kept for longer": lambda key: replace(key, retired_at=key.created_at + timedelta(days=9999)),
    "made older": lambda key: replace(key, created_at=key.created_at - timedelta(days=1)),
    "another algorithm": lambda key: replace(key, algorithm="RS256"),
    "another anchor": lambda key: replace(key, anchor=key.certificate),
    "without its mark": lambda key: replace(key, mark=b""),
    "with a mark of another custody": lambda key: marked(key, MemoryCustody(SeededEntropy("another"))),
    "with a mark for something else": lambda key: replace(key, mark=key.sealed),
    "with a damaged seal": lambda key: replace(key, mark=key.mark[:-1] + bytes([key.mark[-1] ^ 1])),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
async def test_no_member_can_be_changed(key_world: KeyWorld, edit: Edit, caplog: pytest.LogCaptureFixture) -> None:
    ring, retired, active = await retired_ring(key_world)
    await changed(key_world, replace(active, state=KeyState.RETIRED) if edit(retired).state is KeyState.ACTIVE else active)
    await changed(key_world, edit(retired))
    await ring.refresh()
    assert ring.public_key(retired.id) is None
    assert "changed behind the program's back" in caplog.text
    with pytest.raises(Failure) as caught:
        await key_world.ring()
    assert caught.value.kind is FailureKind.INTERNAL, "a program that starts over it says so"


async def test_nothing_that_moves_makes_a_change_good(key_world: KeyWorld) -> None:
    """A stolen key that is made a successor in SQL does not sign when its turn comes."""
    ring, retired, _ = await retired_ring(key_world)
    await changed(key_world, EDITS["retired made a successor"](retired))
    for _ in range(3):
        key_world.clock.advance(key_world.profile.signing_key_lifetime)
        await ring.turn()
        assert ring.sign(key_world.permit()).kid != retired.id
    await ring.rotate()
    assert ring.sign(key_world.permit()).kid != retired.id
    assert ring.public_key(retired.id) is None


async def test_a_cleared_taint_brings_nothing_back(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    signed = ring.sign(key_world.permit())
    whole = ring.keys[0]
    await ring.taint(signed.kid)
    row = await key_world.store.get(SIGNING_KEYS, signed.kid)
    assert row is not None
    for planted in (
        replace(row.value, tainted=False),
        replace(row.value, tainted=False, mark=b""),
        replace(row.value, tainted=False, sealed=whole.sealed),
        whole,  # the very row of before: an older backup of it
        replace(whole, state=KeyState.RETIRED, retired_at=key_world.clock.now()),
    ):
        # The database admits one active key.
        await changed(key_world, replace(planted, state=KeyState.PREPARED) if planted is whole else planted)
        await ring.refresh()
        assert not verifies(ring, signed.token)
        await ring.turn()
        assert ring.sign(key_world.permit()).kid != signed.kid


async def test_taint_in_the_database_is_heard_and_survived(key_world: KeyWorld) -> None:
    """It is not ours, but to believe it costs a rotation and not to believe it may cost more."""
    ring = await key_world.ring()
    first = ring.sign(key_world.permit())
    await changed(key_world, replace(ring.keys[0], tainted=True))
    await ring.turn()
    assert not verifies(ring, first.token)
    assert ring.sign(key_world.permit()).kid != first.kid


async def test_an_active_key_that_was_changed_signs_nothing_until_somebody_taints_it(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    key = ring.keys[0]
    await changed(key_world, EDITS["made older"](key))
    await ring.turn()
    with pytest.raises(Failure) as caught:
        ring.sign(key_world.permit())
    assert caught.value.kind is FailureKind.UNAVAILABLE
    await ring.taint(key.id)
    assert ring.sign(key_world.permit()).kid != key.id
    assert [one.tainted for one in ring.keys] == [True, False]


async def test_keys_do_not_change_places(key_world: KeyWorld) -> None:
    """Neither between two keys nor between two purposes."""
    ring = await key_world.ring()
    credentials = await key_world.credentials()
    await ring.rotate()
    first, second = ring.keys
    authority = credentials.keys[0]
    for planted in (
        replace(first, sealed=second.sealed),
        replace(first, mark=second.mark),
        replace(first, certificate=second.certificate),
        marked(replace(authority, purpose=KeyPurpose.TOKEN, state=KeyState.RETIRED), MemoryCustody(SeededEntropy("x"))),
        replace(authority, purpose=KeyPurpose.TOKEN, state=KeyState.RETIRED),
    ):
        await changed(key_world, planted)
        with pytest.raises(Failure):
            await key_world.ring()
        await key_world.store.commit(Batch.of(Delete(collection=SIGNING_KEYS, key=planted.id)))
        await changed(key_world, first)
        await changed(key_world, authority)
    assert (await key_world.ring()).keys == ring.keys


async def test_another_custody_opens_nothing_and_changes_nothing(key_world: KeyWorld) -> None:
    ring = await key_world.ring()
    await key_world.credentials()
    before = await key_world.store.all(SIGNING_KEYS)
    key_world.custody = MemoryCustody(SeededEntropy("another custody"))
    for opened in (key_world.ring, key_world.credentials):
        with pytest.raises(Failure) as caught:
            await opened()
        assert caught.value.kind is FailureKind.INTERNAL
    assert await key_world.store.all(SIGNING_KEYS) == before
    assert ring.sign(key_world.permit()).token
