"""The log's keys: one introduces the next, what follows a tainted key vouches alone, and nobody who has an old one gets further by it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.audit.log_world import TENANT, active, check, checkpoints, later, opened, rotate, rotation, stored, taint, write

from idplane.audit.bundle import Bundle, bundle_lines
from idplane.audit.checkpoints import KEY_LINE, Checkpoint, KnownKeys, checkpoint_text, read_checkpoint
from idplane.audit.entries import ENTRY_BYTES, Seal, unpacked
from idplane.audit.log_check import LogReport, check_bundle, check_log
from idplane.bootstrap.log_keeping import LogKeeping, log_origin
from idplane.bootstrap.world import World
from idplane.jose.notes import NoteKey
from idplane.keys.log_keys import LogKey
from idplane.keys.sealing import marked
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyState
from idplane.ports.collections import SIGNING_KEYS
from idplane.ports.store import Batch, CommitRefused, Extend, Put, StoredCheckpoint

YEAR = 366 * 86_400.0


def newest(keeping: LogKeeping) -> Checkpoint:
    assert keeping.watch.newest is not None
    return keeping.watch.newest


async def spoken(world: World) -> Checkpoint:
    """The last checkpoint that speaks of keys."""
    return read_checkpoint((await world.store.tree.naming(KEY_LINE))[-1].note)


def of(keeping: LogKeeping) -> LogKey:
    """The active key, as a thief has it."""
    return keeping.keys.active


def forged(keeping: LogKeeping, thief: LogKey, **says: object) -> Checkpoint:
    """What somebody with a key signs over the tree as it is, at the end of all times."""
    now = newest(keeping)
    head = (now.origin, now.size, now.root)
    text = checkpoint_text(head, now.at, positions=now.positions, trimmed=now.trimmed, **says)  # type: ignore[arg-type]  # the tests say what fits
    return read_checkpoint(keeping.keys.sign(text, [thief]))


async def bundled(keeping: LogKeeping, keys: list[NoteKey], kept: list[Checkpoint] | None = None) -> LogReport:
    """What somebody finds who has nothing but a bundle and keys."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        path.write_bytes(b"".join([line async for line in bundle_lines(keeping.world.store.tree)]))
        return check_bundle(Bundle(path), keys=keys, kept=kept or [])


async def test_a_successor_is_introduced(world: World, keeping: LogKeeping) -> None:
    await write(world, 3)
    await keeping.turn()
    (first,) = keeping.keys.notes
    await rotate(keeping)
    assert keeping.keys.notes[0] != first
    assert len(keeping.keys.notes) == 2
    await write(world, 3)
    await keeping.turn()
    later(world, 700)
    await keeping.turn()
    # Who knows the first key alone can follow.
    report = await check_log(world.store.tree, keys=[first])
    assert (report.findings, report.size, report.checkpoints) == ([], 6, 4)
    assert (await bundled(keeping, [first])).findings == []
    # And who knows the last one alone is told what signed before, and nothing else.
    stranger = await check_log(world.store.tree, keys=[keeping.keys.notes[0]])
    assert "is not signed by a key of the log" in str(stranger.findings[0])


async def test_seals_of_the_key_before_still_hold(world: World, keeping: LogKeeping) -> None:
    other = await opened(world)
    await rotate(other)
    world.store.seal_logs(keeping)  # it has not heard of the new key yet
    await write(world, 2)
    await other.turn()
    assert (await check(other)).findings == []


async def test_what_follows_a_tainted_key_vouches_alone_for_the_log_so_far(world: World, keeping: LogKeeping) -> None:
    await write(world, 5)
    await keeping.turn()
    (first,), before = keeping.keys.notes, newest(keeping)
    await taint(keeping)
    (second,) = keeping.keys.notes
    vouched = await spoken(world)
    assert (vouched.introduces, vouched.tainted, vouched.root) == (second, (first,), before.root)
    assert newest(keeping).root == before.root
    assert KnownKeys([first]).trusted(vouched) is None, "whoever has the tainted key could introduce anybody"
    await write(world, 2)
    await keeping.turn()
    report = await check(keeping)
    assert (report.findings, report.size, report.checkpoints) == ([], 7, 2)
    assert (await bundled(keeping, [second])).findings == []
    assert (await bundled(keeping, [second, first])).findings == []
    assert (await bundled(keeping, [first])).findings != []


async def test_what_was_kept_elsewhere_still_counts_after_a_taint(world: World, keeping: LogKeeping) -> None:
    await write(world, 5)
    await keeping.turn()
    kept = newest(keeping)
    await taint(keeping)
    tree, keys, tainted = world.store.tree, keeping.keys.notes, keeping.keys.tainted
    assert (await check_log(tree, keys=keys, kept=[kept], tainted=tainted)).findings == []
    wrong = replace(kept, root=bytes(32))
    assert "rewritten" in str((await check_log(tree, keys=keys, kept=[wrong], tainted=tainted)).findings[0])
    assert "rolled back" in str((await check_log(tree, keys=keys, kept=[replace(kept, size=99)], tainted=tainted)).findings[0])


async def test_a_checkpoint_of_a_tainted_key_alone_stops_everybody(world: World, keeping: LogKeeping) -> None:
    other = await opened(world)
    await write(world, 5)
    await keeping.turn()
    thief = of(keeping)
    await taint(keeping)
    await put(world, forged(keeping, thief))
    for one in (keeping, other, await opened(world)):
        await one.turn()
        assert one.watch.problem is not None
        assert "by a tainted key only" in one.watch.problem
    assert len(await checkpoints(world)) == 4, "and nothing is signed on top of it"


async def put(world: World, checkpoint: Checkpoint) -> None:
    """As somebody writes it who has the database."""
    last = (await checkpoints(world))[-1]
    point = StoredCheckpoint(last.number + 1, checkpoint.size, last.at, checkpoint.note)
    await world.store.commit(Batch.of(Extend(start=checkpoint.size, entries=b"", nodes=(), checkpoint=point)))


async def test_a_retired_key_may_be_tainted_and_the_active_one_goes_on(world: World, keeping: LogKeeping) -> None:
    await write(world, 2)
    await keeping.turn()
    (first,), thief, kid = keeping.keys.notes, of(keeping), await active(world)
    await rotate(keeping)
    second = keeping.keys.notes[0]
    await taint(keeping, kid)
    assert keeping.keys.notes == (second,)
    assert (await spoken(world)).tainted == (first,)
    await write(world, 2)
    await keeping.turn()
    assert (await check(keeping)).findings == []
    # The introduction was signed by both, so it counts, and leads nobody back to the first.
    known = KnownKeys([second, first])
    for one in await checkpoints(world):
        known.trusted(read_checkpoint(one.note))
    assert known.tainted == {first}
    assert known.trusted(forged(keeping, thief)) is None
    # Who was not told of anything follows the introduction, and hears of the end of the key that led there.
    assert (await bundled(keeping, [first])).findings == []


async def test_every_process_follows_and_signs_with_the_new_key(world: World, keeping: LogKeeping) -> None:
    other = await opened(world)
    await other.turn()
    for move in (rotate, taint):
        before = of(other)
        world.store.seal_logs(other)
        await move(keeping)
        await write(world, 2)  # the other one has not heard
        await keeping.turn()
        await other.turn()
        assert of(other).note == of(keeping).note != before.note
        await write(world, 3)
        await other.turn()
        await keeping.turn()
        assert newest(keeping).note == newest(other).note
    size = newest(other).size
    assert {one.seal for one in unpacked(await world.store.tree.entries(0, size, ENTRY_BYTES))} == {Seal.HOLDS}
    assert (await check(keeping)).findings == []


async def test_a_tainted_keys_seals_count_for_a_moment_only(world: World, keeping: LogKeeping) -> None:
    thief = of(keeping)
    await taint(keeping)
    assert keeping.keys.sealed("sign_ins", b"{}", thief.seal("sign_ins", b"{}"))
    later(world, 61)
    assert not keeping.keys.sealed("sign_ins", b"{}", thief.seal("sign_ins", b"{}"))


async def test_who_has_not_heard_of_a_move_signs_nothing_over_it(world: World, keeping: LogKeeping) -> None:
    """A duty that was about to sign with the key of before is refused, and the introduction stays."""
    other = await opened(world)
    await other.turn()
    later(world, 700)
    await write(world, 2)
    late = await sequenced_late(other)
    await rotate(keeping)
    with pytest.raises(CommitRefused):
        await world.store.commit(late)
    await other.turn()
    assert [read_checkpoint(one.note).introduces is not None for one in await checkpoints(world)].count(True) == 1
    assert (await check(keeping)).findings == []


async def sequenced_late(keeping: LogKeeping) -> Batch:
    """What a duty would commit now."""
    await keeping.watch.follow()
    return Batch.of(keeping.sequencer._extension(await keeping.sequencer._next(keeping.watch.newest), keeping.watch.newest))


async def test_a_move_that_comes_late_is_refused_whole(world: World, keeping: LogKeeping) -> None:
    other = await opened(world)
    late = await rotation(keeping)
    await write(world, 2)
    await other.turn()
    with pytest.raises(CommitRefused):
        await world.store.commit(late)
    assert len(await stored(world)) == 1
    await rotate(keeping)
    assert (await check(keeping)).findings == []


async def test_a_log_that_cannot_be_trusted_is_not_signed_but_a_stolen_key_can_be_ended(
    world: World, keeping: LogKeeping
) -> None:
    await write(world, 2)
    await keeping.turn()
    await put(world, forged(keeping, evil_key()))
    await keeping.turn()
    with pytest.raises(Failure) as caught:
        await rotation(keeping)
    assert caught.value.kind is FailureKind.UNAVAILABLE
    before = await checkpoints(world)
    await taint(keeping)
    assert await checkpoints(world) == before
    assert sorted((one.value.tainted, one.value.state.value) for one in (await stored(world)).values()) == [
        (False, "active"),
        (True, "retired"),
    ]
    assert keeping.watch.problem is not None


async def test_a_key_is_followed_by_another_once_a_year(world: World, keeping: LogKeeping) -> None:
    await write(world, 2)
    await keeping.turn()
    (first,) = keeping.keys.notes
    for _ in range(3):
        later(world, YEAR)
        for _ in range(3):
            await keeping.turn()
    assert len(keeping.keys.notes) == 4
    assert keeping.keys.notes[-1] == first, "none is forgotten: what it signed is kept"
    assert (await check_log(world.store.tree, keys=[first])).findings == []


async def test_a_clock_that_was_wrong_moves_one_key(world: World, keeping: LogKeeping) -> None:
    for by in (50 * YEAR, -50 * YEAR, YEAR / 2):
        later(world, by)
        for _ in range(4):
            await keeping.turn()
    assert len(keeping.keys.notes) == 2
    later(world, YEAR)
    for _ in range(4):
        await keeping.turn()
    assert len(keeping.keys.notes) == 3


async def test_whom_a_process_saw_tainted_it_never_takes_back(world: World, keeping: LogKeeping) -> None:
    kid = await active(world)
    whole = (await stored(world))[kid].value
    thief = of(keeping)
    await taint(keeping)
    record = (await stored(world))[kid]
    back = replace(whole, state=KeyState.RETIRED, retired_at=world.clock.now())
    await world.store.commit(Batch.of(Put(collection=SIGNING_KEYS, value=marked(back, world.custody), expect=record.version)))
    await keeping.keys.turn()
    assert thief.note not in keeping.keys.notes
    assert thief.note in keeping.keys.tainted


# What somebody tries who has an old key, against whoever verifies elsewhere.


async def test_an_old_key_takes_no_newer_one_down(world: World, keeping: LogKeeping) -> None:
    await keeping.turn()
    thief = of(keeping)
    await rotate(keeping)
    first, second = thief.note, of(keeping).note
    known = KnownKeys([second, first])
    assert known.trusted(forged(keeping, thief, tainted=[second])) == first
    assert known.tainted == set()
    assert known.trusted(newest(keeping)) == second


async def test_nor_does_one_that_it_introduces(world: World, keeping: LogKeeping) -> None:
    await keeping.turn()
    thief = of(keeping)
    await rotate(keeping)
    first, second = thief.note, of(keeping).note
    evil = evil_key()
    known = KnownKeys([second, first])
    known.trusted(forged(keeping, thief, introduces=evil.note))
    assert known.trusted(forged(keeping, evil, tainted=[second])) == evil.note
    assert known.trusted(newest(keeping)) == second
    # Once the old key is known to be tainted, all that it brought in goes with it.
    await taint(keeping, next(kid for kid, one in (await stored(world)).items() if one.value.state is KeyState.RETIRED))
    known.trusted(await spoken(world))
    assert known.tainted == {first, evil.note}
    assert known.trusted(forged(keeping, evil)) is None
    assert known.trusted(forged(keeping, evil, introduces=first)) is None


def evil_key() -> LogKey:
    return LogKey.of(log_origin(TENANT), Ed25519PrivateKey.generate())


async def test_a_key_cannot_speak_of_itself(world: World, keeping: LogKeeping) -> None:
    await keeping.turn()
    known = KnownKeys(keeping.keys.notes)
    assert known.trusted(forged(keeping, of(keeping), tainted=keeping.keys.notes)) == of(keeping).note
    assert known.tainted == set()
