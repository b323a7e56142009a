"""The duty: in order, once, signed; whoever else has it, whatever was there before, and whatever the clock does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.audit.log_world import TENANT, check, checkpoints, later, opened, write

from idplane.audit.checkpoints import read_checkpoint
from idplane.audit.entries import ENTRY_BYTES, Seal, entry_for, unpacked
from idplane.audit.retention import LogRetention
from idplane.audit.stored_tree import TreeDamaged, consistency_proof, inclusion_proof, root_at
from idplane.audit.tree import leaf_hash, root_from_consistency, root_from_inclusion
from idplane.audit.trims import trim_event, trim_in
from idplane.bootstrap.log_keeping import LogKeeping
from idplane.bootstrap.world import World
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import AZURE
from idplane.ports.store import Batch, CommitRefused, Extend
from idplane.store.codec import encode
from idplane.testing import store_samples as sample
from idplane.testing.worlds import memory_store


async def test_an_empty_log_is_signed_at_once(world: World, keeping: LogKeeping) -> None:
    due = await keeping.turn()
    assert due == world.clock.now() + timedelta(seconds=1)
    newest = keeping.watch.newest
    assert newest is not None
    assert (newest.origin, newest.size, newest.positions) == (f"idplane.log/{TENANT}", 0, {"activity_log": 0, "sign_ins": 0})
    assert (await check(keeping)).findings == []


async def test_nothing_is_signed_while_nothing_happens_but_every_ten_minutes(world: World, keeping: LogKeeping) -> None:
    await keeping.turn()
    first = keeping.checkpoint
    for _ in range(9):
        later(world, 60)
        await keeping.turn()
    assert keeping.checkpoint == first
    later(world, 60)
    await keeping.turn()
    assert keeping.checkpoint != first
    later(world, -3000)  # the clock was wrong, and is set right
    second = keeping.checkpoint
    await keeping.turn()
    assert keeping.checkpoint != second


async def test_the_store_keeps_one_checkpoint_for_ten_minutes(world: World, keeping: LogKeeping) -> None:
    for _ in range(25):
        await write(world)
        await keeping.turn()
        later(world, 60)
    assert [one.number for one in await checkpoints(world)] == [1, 2, 3]
    assert [one.size for one in await checkpoints(world)] == [10, 20, 25]


async def test_records_go_in_by_log_and_position(world: World, keeping: LogKeeping) -> None:
    await write(world, 700)
    await keeping.turn()
    entries = list(unpacked(await world.store.tree.entries(0, 700, ENTRY_BYTES)))
    for log in ("activity_log", "sign_ins"):
        positions = [one.position for one in entries if one.log == log]
        assert positions == list(range(1, len(positions) + 1))
    assert {one.seal for one in entries} == {Seal.HOLDS}
    report = await check(keeping)
    assert (report.findings, report.size, report.checked, report.waiting) == ([], 700, 700, 0)


async def test_a_history_without_seals_is_taken_as_it_is(world: World) -> None:
    await write(world, 1200)
    keeping = await opened(world)
    await keeping.turn()
    await write(world, 10)
    await keeping.turn()
    report = await check(keeping)
    assert (report.findings, report.size, report.unsealed) == ([], 1210, 1200)
    later(world, 3 * 86_400)
    await keeping.turn()
    assert (await check(keeping)).findings == []


async def test_two_that_sequence_at_once_do_it_once(world: World, keeping: LogKeeping) -> None:
    await keeping.turn()
    other = await opened(world)
    await other.turn()
    for _ in range(5):
        await write(world, 7)
        await keeping.turn()
        await write(world, 7)
        await other.turn()
        later(world, 400)
    assert (await check(keeping)).size == 70
    await keeping.turn()
    assert keeping.checkpoint == other.checkpoint


async def test_a_frozen_one_adds_nothing(world: World, keeping: LogKeeping) -> None:
    await keeping.turn()
    await write(world, 3)
    taken = await keeping.sequencer._next(keeping.watch.newest)
    extension = keeping.sequencer._extension(taken, keeping.watch.newest)
    other = await opened(world)
    await other.turn()
    with pytest.raises(CommitRefused):
        await world.store.commit(Batch.of(extension))
    later(world, 3600)
    await write(world)
    await other.turn()
    again = replace(extension, entries=b"", nodes=())
    with pytest.raises(CommitRefused):
        await world.store.commit(Batch.of(again))
    await keeping.turn()
    assert (await check(keeping)).findings == []


async def test_a_process_goes_on_where_another_stopped(world: World, keeping: LogKeeping) -> None:
    await write(world, 300)
    await keeping.turn()
    await write(world, 5)
    restarted = await opened(world)
    await restarted.turn()
    assert restarted.watch.newest is not None
    assert (restarted.watch.newest.size, restarted.watch.problem) == (305, None)
    assert (await check(restarted)).findings == []


async def test_the_database_takes_nothing_back(world: World, keeping: LogKeeping) -> None:
    await write(world, 300)
    await keeping.turn()
    stored = await world.store.tree.newest()
    assert stored is not None
    for size in (299, 0):
        point = replace(stored, size=size)
        with pytest.raises(CommitRefused):
            await world.store.commit(Batch.of(Extend(start=300, entries=b"", nodes=(), checkpoint=point)))
    for follows in (replace(stored, number=2), replace(stored, note="another"), replace(stored, number=0)):
        point = replace(stored, number=stored.number + 1)
        with pytest.raises(CommitRefused):
            await world.store.commit(Batch.of(Extend(start=300, entries=b"", nodes=(), checkpoint=point, follows=follows)))
    assert await world.store.tree.newest() == stored


async def test_the_file_is_held_against_the_database_at_the_next_start(world: World, tmp_path: Path) -> None:
    file = tmp_path / "log.checkpoint"
    keeping = await opened(world, file)
    await write(world, 3)
    await keeping.turn()
    assert file.read_text() == keeping.checkpoint
    elsewhere = replace(world, store=await memory_store())
    rolled = await opened(elsewhere, file)
    await write(elsewhere, 1)
    await rolled.turn()
    assert "rolled back: it has 0 records" in (rolled.watch.problem or "")
    assert file.read_text() == keeping.checkpoint
    assert (await elsewhere.store.tree.newest()) is None
    await elsewhere.store.close()


async def test_another_past_of_the_same_length_is_no_past(world: World, tmp_path: Path) -> None:
    file = tmp_path / "log.checkpoint"
    await write(world, 3)
    keeping = await opened(world, file)
    await keeping.turn()
    elsewhere = replace(world, store=await memory_store())
    other = await opened(elsewhere)
    await write(elsewhere, 5)
    await other.turn()
    started = await opened(elsewhere, file)
    await started.turn()
    assert "was rewritten" in (started.watch.problem or "")
    await elsewhere.store.close()


@pytest.mark.parametrize("content", [b"", b"nothing of ours", b"\xff\xfe"])
async def test_a_file_that_holds_no_checkpoint_is_written_anew(
    world: World, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "log.checkpoint"
    file.write_bytes(content)
    keeping = await opened(world, file)
    await keeping.turn()
    assert file.read_text() == keeping.checkpoint


async def test_a_problem_goes_with_its_cause(world: World, keeping: LogKeeping, caplog: pytest.LogCaptureFixture) -> None:
    await keeping.turn()
    newest = keeping.watch.newest
    assert newest is not None
    keeping.watch.newest = replace(newest, size=7)
    keeping.watch.stored = None
    await keeping.turn()
    await keeping.turn()
    assert keeping.watch.problem is not None
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) == 1
    keeping.watch.newest = newest
    await keeping.turn()
    assert keeping.watch.problem is None


async def test_proofs_from_the_store(world: World, keeping: LogKeeping) -> None:
    await write(world, 600)
    await keeping.turn()
    tree = world.store.tree
    packed = await tree.entries(0, 600, ENTRY_BYTES)
    leaves = [leaf_hash(packed[at : at + ENTRY_BYTES]) for at in range(0, len(packed), ENTRY_BYTES)]
    root = await root_at(tree, 600)
    for index in (0, 255, 256, 511, 512, 599):
        proof = await inclusion_proof(tree, index, 600)
        assert root_from_inclusion(leaves[index], index, 600, proof) == root
    for first in (1, 256, 257, 511, 512, 600):
        earlier = await root_at(tree, first)
        assert root_from_consistency(first, 600, earlier, await consistency_proof(tree, first, 600)) == (earlier, root)
    with pytest.raises(TreeDamaged, match="entry 600 is missing"):
        await root_at(tree, 601)
    with pytest.raises(TreeDamaged, match="node 2 of level 8 is missing"):
        await root_at(tree, 768)
    assert len(await keeping.consistency(100, 600)) > 0
    with pytest.raises(Failure) as caught:
        await keeping.consistency(100, 601)
    assert caught.value.kind is FailureKind.INVALID_PARAMETER


async def test_what_retention_removes_is_told_from_what_others_remove(world: World, keeping: LogKeeping) -> None:
    await write(world, 40)
    await keeping.turn()
    later(world, 100 * 86_400)
    await write(world, 8)
    await keeping.turn()
    retention = LogRetention(store=world.store, profile=AZURE, record=keeping.trimmed)
    await retention.turn(world.clock.now())
    # Told before its record is in the tree, too.
    report = await check(keeping)
    assert (report.findings, report.removed) == ([], 0)
    await keeping.turn()
    report = await check(keeping)
    assert (report.findings, report.removed, report.size) == ([], 40, 50)
    newest = keeping.watch.newest
    assert newest is not None
    assert all(until > 0 for until in newest.trimmed.values())
    await retention.turn(world.clock.now())
    await keeping.turn()
    assert (await check(keeping)).size == 50


def test_only_trims_are_trims() -> None:
    event = trim_event(event_id="1", at=sample.NOW, tenant_id=TENANT, log="sign_ins", until=5)
    doc = encode(event).encode()
    found = trim_in(doc)
    assert found is not None
    assert (found.log, found.until) == ("sign_ins", 5)
    assert trim_in(encode(sample.activity("1")).encode()) is None
    assert trim_in(doc.replace(b'"until":"5"', b'"until":"x"')) is None
    assert trim_in(encode(replace(event, operation="other", sub_status="Idplane.Security/logs/trim/action")).encode()) is None


@pytest.mark.parametrize("doc", [b"", b"{}", b"nonsense", b'{"id":1,"at":"2026-01-01T00:00:00Z"}', b'{"id":"x"}', b"\xff"])
def test_what_is_no_record_has_an_entry_all_the_same(doc: bytes) -> None:
    entry = entry_for("sign_ins", 3, doc, Seal.BROKEN, 7)
    assert entry == next(unpacked(entry.packed()))
    assert "sign_ins 3 " in str(entry)


@pytest.mark.parametrize("packed", [b"x", bytes(ENTRY_BYTES), b"\x02\x09" + bytes(ENTRY_BYTES - 2)])
def test_bytes_that_are_no_entries(packed: bytes) -> None:
    with pytest.raises(ValueError, match="entr"):
        list(unpacked(packed))


async def test_checkpoints_tell_what_the_tree_has(keeping: LogKeeping, world: World) -> None:
    await write(world, 9)
    await keeping.turn()
    assert keeping.checkpoint is not None
    shown = read_checkpoint(keeping.checkpoint)
    assert shown.root == await root_at(world.store.tree, 9)
    assert shown.positions == {"activity_log": 3, "sign_ins": 6}
