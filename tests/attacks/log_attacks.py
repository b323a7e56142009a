"""Every way to change a log behind the program's back, and what tells of it. Each database runs all of them."""

from __future__ import annotations

import re

import pytest
from tests.attacks.log_world import LogUnderAttack

from idplane.audit.entries import ENTRY_BYTES, Seal, entry_for, unpacked
from idplane.audit.tree import Frontier, leaf_hash

__all__ = ["LogAttacks"]


class LogAttacks:
    """The suite; a subclass has the fixture `attacked`."""

    async def test_an_edited_record_is_named(self, attacked: LogUnderAttack) -> None:
        position, doc = (await attacked.records())[50]
        await attacked.sql("update sign_ins set doc = ? where position = ?", doc.replace('"Ann"', '"Eve"'), position)
        said = await attacked.first()
        identifier = re.findall(r'"id":"([^"]+)"', doc)[0]
        assert said.startswith(f"altered: sign_ins {position} (id {identifier}, 2026-01-01T12:")
        assert "not what was recorded" in said

    @pytest.mark.parametrize(("column", "value"), [("principal_id", "eve"), ("error_code", 7), ("at", 5), ("token_id", None)])
    async def test_an_edited_column_is_named(self, attacked: LogUnderAttack, column: str, value: object) -> None:
        position = (await attacked.records())[10][0]
        await attacked.sql(f"update sign_ins set {column} = ? where position = ?", value, position)
        said = await attacked.first()
        assert said.startswith(f"altered: sign_ins {position} ")
        assert f"its column {column} " in said

    async def test_a_removed_record_is_named(self, attacked: LogUnderAttack) -> None:
        position, doc = (await attacked.records("activity_log"))[20]
        await attacked.sql("delete from activity_log where position = ?", position)
        identifier = re.findall(r'"id":"([^"]+)"', doc)[0]
        assert (await attacked.first()).startswith(f"missing: activity_log {position} (id {identifier}, 2026-01-01T12:")

    async def test_exchanged_records_are_named(self, attacked: LogUnderAttack) -> None:
        (one, first), (other, second) = (await attacked.records())[30], (await attacked.records())[90]
        await attacked.sql("update sign_ins set doc = ? where position = ?", second, one)
        await attacked.sql("update sign_ins set doc = ? where position = ?", first, other)
        said = await attacked.first()
        assert said.startswith(f"reordered: sign_ins {one} ")
        assert f"the tree has that record as sign_ins {other} " in said

    async def test_a_record_with_another_position_is_named(self, attacked: LogUnderAttack) -> None:
        position = (await attacked.records())[100][0]
        await attacked.sql("update sign_ins set position = ? where position = ?", -5, position)
        found = [str(one) for one in (await attacked.check()).findings]
        assert found[0].startswith("duplicated: sign_ins -5 ")
        assert any(one.startswith(f"missing: sign_ins {position} ") for one in found)

    async def test_a_record_put_among_old_ones_is_named(self, attacked: LogUnderAttack) -> None:
        position, doc = (await attacked.records())[40]
        await attacked.sql("delete from sign_ins where position = ?", position)
        await _copied(attacked, position + 1, doc.replace('"id":"', '"id":"0', 1), into=-3)
        said = await attacked.first()
        assert said.startswith("invented: sign_ins -3 ")
        assert "never was in the tree" in said

    async def test_a_new_record_without_a_seal_is_named_for_good(self, attacked: LogUnderAttack) -> None:
        # A day on: no older program is at work any more.
        await attacked.beat(2 * 86_400)
        position, doc = (await attacked.records())[-1]
        await _copied(attacked, position, doc.replace('"id":"', '"id":"0', 1), into=position + 1)
        await attacked.beat(601)
        said = await attacked.first()
        assert said.startswith(f"invented: sign_ins {position + 1} ")
        assert "has no seal" in said

    async def test_a_new_record_with_the_seal_of_another_is_named_for_good(self, attacked: LogUnderAttack) -> None:
        position, doc = (await attacked.records())[-1]
        await _copied(attacked, position, doc.replace('"Ann"', '"Eve"'), into=position + 1, sealed=True)
        assert "its seal does not hold" in await attacked.first()
        await attacked.beat()
        said = await attacked.first()
        assert said.startswith(f"invented: sign_ins {position + 1} ")
        assert "its seal does not hold" in said

    async def test_a_record_from_before_put_in_again_is_named(self, attacked: LogUnderAttack) -> None:
        position, doc = (await attacked.records())[5]
        last = (await attacked.records())[-1][0]
        await _copied(attacked, position, doc, into=last + 1, sealed=True)
        await attacked.beat()
        said = await attacked.first()
        assert said.startswith(f"duplicated: sign_ins {last + 1} ")
        assert f"is the same record as sign_ins {position} " in said

    async def test_changed_entries_are_told_from_changed_records(self, attacked: LogUnderAttack) -> None:
        start, entries = (await attacked.sql("select start, entries from log_entries order by start limit 1"))[0]
        changed = bytearray(entries)
        changed[70] ^= 1
        await attacked.sql("update log_entries set entries = ? where start = ?", bytes(changed), start)
        said = await attacked.first()
        assert said.startswith(("tree altered", "rewritten"))

    async def test_a_removed_stretch_of_entries_is_told(self, attacked: LogUnderAttack) -> None:
        start = (await attacked.sql("select max(start) from log_entries"))[0][0]
        await attacked.sql("delete from log_entries where start = ?", start)
        assert await attacked.first() == f"tree altered: the tree's entries from {start} on are missing"

    async def test_a_changed_node_is_told(self, attacked: LogUnderAttack) -> None:
        await attacked.sql("update log_nodes set hash = ? where level = 8 and number = 0", bytes(32))
        assert await attacked.first() == "tree altered: the stored node 0 of level 8 is not what its leaves make"

    async def test_record_and_tree_rewritten_together_are_told(self, attacked: LogUnderAttack) -> None:
        position = await _rewrite(attacked)
        report = await attacked.check()
        assert report.findings[0].kind.value == "rewritten"
        assert position

    async def test_a_changed_checkpoint_is_told(self, attacked: LogUnderAttack) -> None:
        number, note = (await attacked.sql("select number, note from log_checkpoints order by number desc limit 1"))[0]
        await attacked.sql("update log_checkpoints set note = ? where number = ?", note.replace("\n400\n", "\n399\n"), number)
        assert "is not signed by a key of the log" in await attacked.first()

    @pytest.mark.parametrize(("newest", "begin"), [(1, 300), (100, 300), (101, 100), (300, 100), (301, 0), (9000, 0)])
    async def test_a_glance_begins_at_a_checkpoint(self, attacked: LogUnderAttack, newest: int, begin: int) -> None:
        report = await attacked.glance(newest)
        assert (report.findings, report.begin, report.size, report.checked) == ([], begin, 400, 400 - begin)

    async def test_a_glance_names_an_edited_record_among_the_newest(self, attacked: LogUnderAttack) -> None:
        (old, first), (position, doc) = (await attacked.records())[10], (await attacked.records())[-1]
        await attacked.sql("update sign_ins set doc = ? where position = ?", first.replace('"Ann"', '"Eve"'), old)
        assert (await attacked.glance(100)).findings == [], "old ones are for the whole check"
        await attacked.sql("update sign_ins set doc = ? where position = ?", doc.replace('"Ann"', '"Eve"'), position)
        (found,) = (await attacked.glance(100)).findings
        assert str(found).startswith(f"altered: sign_ins {position} ")
        assert len((await attacked.glance(9000)).findings) == 2

    async def test_a_glance_names_a_removed_record_among_the_newest(self, attacked: LogUnderAttack) -> None:
        position = (await attacked.records("activity_log"))[-1][0]
        await attacked.sql("delete from activity_log where position = ?", position)
        (found,) = (await attacked.glance(1)).findings
        assert str(found).startswith(f"missing: activity_log {position} ")

    @pytest.mark.parametrize(
        ("statement", "said"),
        [
            ("update log_nodes set hash = entries from log_entries where level = 8 and number = 0 and start = 0", "rewritten"),
            ("delete from log_nodes where level = 8 and number = 0", "tree altered"),
            ("update log_checkpoints set note = replace(note, 'time 2026', 'time 2025') where size = 300", "is not signed"),
            ("delete from log_entries where start = 300", "tree altered"),
        ],
    )
    async def test_a_glance_holds_what_was_before_to_what_is_signed(
        self, attacked: LogUnderAttack, statement: str, said: str
    ) -> None:
        await attacked.sql(statement)
        assert any(said in str(one) for one in (await attacked.glance(50)).findings)

    async def test_a_glance_knows_how_old_the_tree_is(self, attacked: LogUnderAttack) -> None:
        """Records without a seal count for a day, from the first checkpoint and not from that where the look begins."""
        await attacked.beat(2 * 86_400)
        position, doc = (await attacked.records())[-1]
        await _copied(attacked, position, doc.replace('"id":"', '"id":"0', 1), into=position + 1)
        await attacked.beat(601)
        assert any("has no seal" in str(one) for one in (await attacked.glance(1)).findings)

    async def test_a_checkpoint_of_before_in_place_of_the_newest_is_told(self, attacked: LogUnderAttack) -> None:
        await _replay(attacked)
        found = [one.kind.value for one in (await attacked.check()).findings]
        assert "rolled back" in found

    async def test_everything_rolled_back_is_told_by_a_kept_checkpoint(self, attacked: LogUnderAttack) -> None:
        await _roll_back(attacked)
        report = await attacked.check()
        assert [one.kind.value for one in report.findings] == ["rolled back"]
        assert "an older state of the log" in report.findings[0].text
        attacked.kept.clear()
        assert not (await attacked.check()).findings

    async def test_everything_rolled_back_is_not_signed_by_who_saw_it(self, attacked: LogUnderAttack) -> None:
        notes = await attacked.sql("select count(*) from log_checkpoints")
        await _roll_back(attacked)
        await attacked.write(1)
        await attacked.beat()
        assert (attacked.keeping.watch.problem or "").startswith("the database was rolled back: it has 300 records")
        assert (await attacked.sql("select count(*) from log_checkpoints"))[0][0] < notes[0][0]
        with pytest.raises(Exception, match="rolled back"):
            await attacked.keeping.check()

    async def test_a_rewritten_past_is_not_signed_by_who_starts_anew(self, attacked: LogUnderAttack) -> None:
        await _rewrite(attacked)
        restarted = await attacked.restarted()
        await restarted.turn()
        assert "not the one that its newest checkpoint was signed over" in (restarted.watch.problem or "")

    async def test_a_tail_cut_off_within_the_last_checkpoint_is_named(self, attacked: LogUnderAttack) -> None:
        last = [one for one, _ in (await attacked.records())[-2:]]
        await attacked.sql("delete from sign_ins where position >= ?", last[0])
        assert (await attacked.first()).startswith(f"missing: sign_ins {last[0]} ")

    async def test_a_tail_cut_off_beyond_the_last_checkpoint_is_named_by_who_wrote_it(self, attacked: LogUnderAttack) -> None:
        await attacked.write(5)
        position = (await attacked.records())[-1][0]
        await attacked.sql("delete from sign_ins where position = ?", position)
        assert not (await attacked.check()).findings
        await attacked.beat()
        said = await attacked.first()
        assert said.startswith(f"missing: sign_ins {position} ")
        assert "behind the program's back" in (attacked.keeping.watch.problem or "")

    async def test_a_record_changed_before_it_was_in_the_tree_is_named(self, attacked: LogUnderAttack) -> None:
        await attacked.write(5)
        position, doc = (await attacked.records())[-1]
        await attacked.sql("update sign_ins set doc = ? where position = ?", doc.replace('"Ann"', '"Eve"'), position)
        await attacked.beat()
        assert (await attacked.first()).startswith(f"altered: sign_ins {position} ")

    async def test_so_is_one_whose_process_has_died(self, attacked: LogUnderAttack) -> None:
        await attacked.write(5)
        position, doc = (await attacked.records())[-1]
        await attacked.sql("update sign_ins set doc = ? where position = ?", doc.replace('"Ann"', '"Eve"'), position)
        await (await attacked.restarted()).turn()
        said = await attacked.first()
        assert said.startswith(f"invented: sign_ins {position} ")
        assert "its seal does not hold" in said

    async def test_another_process_tells_of_its_own_records_that_somebody_else_sequenced(
        self, attacked: LogUnderAttack
    ) -> None:
        await attacked.write(2)
        position = (await attacked.records())[-1][0]
        await attacked.sql("delete from sign_ins where position = ?", position)
        # Whatever the other process is, it takes over before the one that wrote.
        other = await attacked.restarted()
        await attacked.write(2)
        await other.turn()
        await attacked.beat()
        assert attacked.keeping.watch.problem is not None

    async def test_a_fork_is_told_by_whoever_kept_the_other_branch(self, attacked: LogUnderAttack) -> None:
        attacked.keep()
        await _roll_back(attacked)
        forked = await attacked.restarted()
        for count in (50, 60):
            await attacked.write(count)
            attacked.clock.advance(1)
            await forked.turn()
        kinds = [one.kind.value for one in (await attacked.check()).findings]
        assert kinds[0] == "rewritten"

    async def test_an_unrecorded_trim_is_told_from_a_missing_record(self, attacked: LogUnderAttack) -> None:
        position, _ = (await attacked.records())[10]
        at = (await attacked.sql("select at from sign_ins where position = ?", position))[0][0]
        await attacked.sql("insert into log_trims (log, until) values ('sign_ins', ?)", at + 1)
        await attacked.sql("delete from sign_ins where at <= ?", at)
        said = await attacked.first()
        assert said.startswith(f"trimmed without a record: sign_ins {position} ")


async def _copied(attacked: LogUnderAttack, position: int, doc: str, *, into: int, sealed: bool = False) -> None:
    """A row like another one, at a position of its own."""
    names = "at, tenant_id, principal_id, client_id, correlation_id, token_id, error_code"
    seal = "seal" if sealed else "null"
    await attacked.sql(
        f"insert into sign_ins (position, doc, seal, {names}) select ?, ?, {seal}, {names} from sign_ins where position = ?",
        into,
        doc,
        position,
    )


async def _rewrite(attacked: LogUnderAttack) -> int:
    """Change a record, its entry, and every node above it: all that needs no key."""
    start, entries = (await attacked.sql("select start, entries from log_entries order by start limit 1"))[0]
    packed = [entries[at : at + ENTRY_BYTES] for at in range(0, len(entries), ENTRY_BYTES)]
    number, entry = next((n, one) for n, one in enumerate(unpacked(bytes(entries))) if one.log == "sign_ins")
    doc = (await attacked.sql("select doc from sign_ins where position = ?", entry.position))[0][0].replace('"Ann"', '"Eve"')
    await attacked.sql("update sign_ins set doc = ? where position = ?", doc, entry.position)
    packed[number] = entry_for("sign_ins", entry.position, doc.encode(), Seal.HOLDS, entry.at).packed()
    await attacked.sql("update log_entries set entries = ? where start = ?", b"".join(packed), start)
    everything = b"".join(bytes(one[0]) for one in await attacked.sql("select entries from log_entries order by start"))
    tree = Frontier()
    for at in range(0, len(everything), ENTRY_BYTES):
        for level, node, hashed in tree.append(leaf_hash(everything[at : at + ENTRY_BYTES])):
            await attacked.sql("update log_nodes set hash = ? where level = ? and number = ?", hashed, level, node)
    return entry.position


async def _replay(attacked: LogUnderAttack) -> None:
    rows = await attacked.sql("select number, size, at, note from log_checkpoints order by number")
    (_, size, at, note), (newest, *_) = rows[1], rows[-1]
    await attacked.sql("update log_checkpoints set size = ?, at = ?, note = ? where number = ?", size, at, note, newest)


async def _roll_back(attacked: LogUnderAttack) -> None:
    """The whole database as it was at an earlier checkpoint, every table of the log."""
    rows = await attacked.sql("select number, size, note from log_checkpoints order by number")
    number, size, note = next(one for one in rows if one[1] == 300)
    await attacked.sql("delete from log_checkpoints where number > ?", number)
    await attacked.sql("delete from log_entries where start >= ?", size)
    await attacked.sql("delete from log_nodes where (number + 1) * 256 > ?", size)
    for log, position in re.findall(r"log (\w+) (\d+)", note):
        await attacked.sql(f"delete from {log} where position > ?", int(position))
