"""The whole of a log against its tree: a database, or a bundle of one, with the keys that are trusted and checkpoints kept elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from idplane.audit.checkpoints import Checkpoint, KnownKeys, read_checkpoint
from idplane.audit.entries import ENTRY_BYTES, Entry, Seal, entry_for, unpacked
from idplane.audit.stored_tree import TreeDamaged, frontier_at
from idplane.audit.tree import EMPTY_ROOT
from idplane.audit.trims import trim_in
from idplane.audit.verification import Finding, Kind, Verifier, named
from idplane.jose.notes import NoteKey, NoteProblem
from idplane.ports.collections import ACTIVITY, LOGS
from idplane.ports.store import Log, StoredCheckpoint
from idplane.ports.tree import LogRow, LogTree

__all__ = ["LogReport", "check_bundle", "check_log"]

_AT_ONCE: Final = 2000
_EVER: Final = 1 << 62


@dataclass(slots=True)
class LogReport:
    """What was found. The log is sound when there are no findings."""

    findings: list[Finding] = field(default_factory=list)
    newest: Checkpoint | None = None
    size: int = 0
    """Records in the tree."""
    checked: int = 0
    removed: int = 0
    """By recorded trims."""
    unsealed: int = 0
    waiting: int = 0
    """Records that are not in the tree yet."""
    checkpoints: int = 0
    begin: int = 0
    """The first of the tree's records that was looked at."""


class LeafSource(Protocol):
    """Leaves in order, with their rows, as a bundle has them."""

    def leaves(self) -> Iterable[tuple[bytes, LogRow | None]]:
        """Packed entries, and the records that are still there."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """The stored checkpoints, in order."""
        ...


async def check_log(
    tree: LogTree,
    *,
    keys: Iterable[NoteKey],
    kept: Sequence[Checkpoint] = (),
    sealed: Callable[[str, bytes, str], bool] | None = None,
    tainted: Iterable[NoteKey] = (),
    newest: int | None = None,
) -> LogReport:
    """Verify everything in a database, which may be in use meanwhile.

    `sealed` checks seals of what is not in the tree yet. What only a `tainted` key signed is passed over: it proves nothing. `kept` are believed
    even so: whoever kept them knows since when.

    With `newest` only so many records are looked at, and those back to the checkpoint before them, of which ten minutes have one. What is before that
    counts as the stored tree has it, which must lead to what that checkpoint was signed over.
    """
    keys, tainted, before = tuple(keys), tuple(tainted), await tree.trims()
    report = await _check(tree, keys, kept, sealed, tainted, newest)
    if report.findings and before != await tree.trims():
        return await _check(tree, keys, kept, sealed, tainted, newest)  # a trim came in between
    return report


async def _check(
    tree: LogTree,
    keys: Iterable[NoteKey],
    kept: Sequence[Checkpoint],
    sealed: Callable[[str, bytes, str], bool] | None,
    tainted: Iterable[NoteKey],
    newest: int | None,
) -> LogReport:
    after = 0 if newest is None else await _number_before(tree, newest)
    stored = [one async for one in _stored(tree, after)]
    known = _learned((one.note for one in stored), KnownKeys(keys, tainted))
    report, expected = _signed([(one.note, one.size) for one in stored], known, kept)
    try:
        verifier = await _verifier(tree, expected, later=after > 0)
    except TreeDamaged as damage:
        report.findings.append(Finding(Kind.TREE, str(damage)))
        return report
    report.begin = verifier.size
    if report.newest is not None:
        await _walk(tree, verifier, report.newest)
    recorded = await _rest(tree, verifier, report, sealed)
    _finish(verifier, report, recorded)
    if verifier.repeated or verifier.unexplained:
        _explain(verifier, [entry async for entry in _entries_of(tree, verifier, report.begin)])
    report.findings += verifier.findings
    return report


def check_bundle(source: LeafSource, *, keys: Iterable[NoteKey], kept: Sequence[Checkpoint] = ()) -> LogReport:
    """Verify a bundle, without a database."""
    report, expected = _signed([(note, None) for note in source.notes], _learned(source.notes, KnownKeys(keys)), kept)
    allowed = _allowed(expected)
    verifier = Verifier(expected=expected, allowed=allowed, trims={})
    for packed, row in source.leaves():
        if verifier.broken:
            break
        try:
            (entry,) = unpacked(packed)
        except ValueError as error:
            report.findings.append(Finding(Kind.TREE, str(error)))
            break
        verifier.leaf(packed, entry, row)
    _finish(verifier, report, {})
    wanted = verifier.repeated | verifier.unexplained
    if wanted:
        read = (entry for packed, _ in source.leaves() for entry in unpacked(packed))
        _explain(verifier, [entry for entry in read if entry.digest in wanted])
    report.findings += verifier.findings
    return report


def _learned(notes: Iterable[str], known: KnownKeys) -> KnownKeys:
    """The keys, with what all the checkpoints say of keys: a later one tells which earlier ones count for nothing."""
    for note in notes:
        with suppress(NoteProblem):  # told by `_signed`
            known.trusted(read_checkpoint(note))
    return known


def _signed(
    notes: Iterable[tuple[str, int | None]], known: KnownKeys, kept: Sequence[Checkpoint]
) -> tuple[LogReport, list[Checkpoint]]:
    """The checkpoints that can be believed, of notes with their row's size; the report tells of the others."""
    report, expected = LogReport(), list[Checkpoint]()
    for number, (note, size) in enumerate(notes):
        try:
            one = read_checkpoint(note)
        except NoteProblem as problem:
            report.findings.append(Finding(Kind.CHECKPOINT, f"the checkpoint {number + 1} in the database: {problem}"))
            continue
        if known.trusted(one) is None:
            if not known.was_trusted(one):
                report.findings.append(Finding(Kind.CHECKPOINT, f"{named(one)} is not signed by a key of the log"))
            continue
        if size not in {None, one.size} or (report.newest and one.size < report.newest.size):
            report.findings.append(Finding(Kind.CHECKPOINT, f"{named(one)} stands in a place that is not its own"))
        report.newest = one
        expected.append(one)
    report.checkpoints = len(expected)
    newest = report.newest.size if report.newest else 0
    for one in kept:
        if known.trusted(one) is None and not known.was_trusted(one):
            report.findings.append(Finding(Kind.CHECKPOINT, f"kept elsewhere: {named(one)} is not signed by a key of the log"))
        elif one.size > newest:
            text = f"the tree has {newest} records, and {named(one)} is kept elsewhere: this is an older state of the log, or another log"
            report.findings.append(Finding(Kind.ROLLED_BACK, text))
        else:
            expected.append(one)
    return report, expected


def _allowed(expected: Sequence[Checkpoint]) -> Mapping[str, int]:
    """How far the logs were trimmed according to what is signed."""
    return {log.name: max((one.trimmed.get(log.name, 0) for one in expected), default=0) for log in LOGS}


async def _number_before(tree: LogTree, records: int) -> int:
    """The number before that of the last checkpoint with so many records behind it; 0 when there is none."""
    last = await tree.newest()
    low, high = 0, last.number if last is not None else 0
    while last is not None and low < high:
        middle = (low + high + 1) // 2
        found = await tree.checkpoints(middle - 1, 1)
        if found and found[0].size <= last.size - records:
            low = middle
        else:
            high = middle - 1
    return max(low - 1, 0)


async def _verifier(tree: LogTree, expected: Sequence[Checkpoint], *, later: bool) -> Verifier:
    """What leaves are handed to: all, or those behind the first of the checkpoints. Raises `TreeDamaged`."""
    begin, born = None, None
    if later and expected:
        begin = await frontier_at(tree, min(one.size for one in expected))
        with suppress(NoteProblem):
            born = read_checkpoint((await tree.checkpoints(0, 1))[0].note).at
    return Verifier(expected=expected, allowed=_allowed(expected), trims=await tree.trims(), begin=begin, born=born)


async def _stored(tree: LogTree, after: int) -> AsyncIterator[StoredCheckpoint]:
    while found := await tree.checkpoints(after, _AT_ONCE):
        for one in found:
            yield one
        after = found[-1].number


class _Rows:
    """The rows of one log, a stretch at a time."""

    def __init__(self, tree: LogTree, log: Log[object], after: int, until: int) -> None:
        self._tree, self._log, self._after, self._until = tree, log, after, until
        self._rows: deque[LogRow] = deque()
        self._more = True

    async def fill(self) -> None:
        """Have at least one row, if there is one."""
        if not self._rows and self._more:
            found = await self._tree.rows(self._log, self._after, self._until, _AT_ONCE)
            self._rows.extend(found)
            self._more = len(found) == _AT_ONCE
            self._after = found[-1].position if found else self._after

    def first(self) -> LogRow | None:
        return self._rows[0] if self._rows else None

    def take(self) -> LogRow:
        return self._rows.popleft()


async def _walk(tree: LogTree, verifier: Verifier, newest: Checkpoint) -> None:
    before = verifier.positions if verifier.size else {}
    rows = {log.name: _Rows(tree, log, before.get(log.name, -_EVER), newest.positions.get(log.name, 0)) for log in LOGS}
    while verifier.size < newest.size and not verifier.broken:
        stretch = await tree.entries(verifier.size, min(verifier.size + _AT_ONCE, newest.size), ENTRY_BYTES)
        if not stretch:
            verifier.findings.append(Finding(Kind.TREE, f"the tree's entries from {verifier.size} on are missing"))
            verifier.broken = True
            return
        try:
            await _stretch(tree, verifier, stretch, rows)
        except ValueError as error:
            verifier.findings.append(Finding(Kind.TREE, str(error)))
            verifier.broken = True
    if not verifier.broken:
        await _left_over(verifier, rows)


async def _stretch(tree: LogTree, verifier: Verifier, stretch: bytes, rows: Mapping[str, _Rows]) -> None:
    nodes = []
    for number, entry in enumerate(unpacked(stretch)):
        of_log = rows[entry.log]
        row = None
        while True:
            if of_log.first() is None:
                await of_log.fill()
            first = of_log.first()
            if first is None or first.position > entry.position:
                break
            row = of_log.take()
            if row.position == entry.position:
                break
            verifier.outside(entry.log, row)
            row = None
        nodes += verifier.leaf(stretch[number * ENTRY_BYTES : (number + 1) * ENTRY_BYTES], entry, row)
        if verifier.broken:
            return
    await _check_nodes(tree, verifier, nodes)


async def _check_nodes(tree: LogTree, verifier: Verifier, nodes: Sequence[tuple[int, int, bytes]]) -> None:
    for level in {level for level, _, _ in nodes}:
        expected = {number: hashed for one, number, hashed in nodes if one == level}
        stored = await tree.nodes(level, min(expected), max(expected) + 1)
        for number, hashed in expected.items():
            if stored.get(number) != hashed:
                verifier.findings.append(
                    Finding(Kind.TREE, f"the stored node {number} of level {level} is not what its leaves make")
                )


async def _left_over(verifier: Verifier, rows: Mapping[str, _Rows]) -> None:
    for log, of_log in rows.items():
        await of_log.fill()
        while of_log.first() is not None:
            verifier.outside(log, of_log.take())
            await of_log.fill()


async def _rest(
    tree: LogTree, verifier: Verifier, report: LogReport, sealed: Callable[[str, bytes, str], bool] | None
) -> Mapping[str, int]:
    """What is not in the tree yet: its seals are checked. Answers with the trims that it tells of."""
    recorded: dict[str, int] = {}
    for log in LOGS:
        after = report.newest.positions.get(log.name, 0) if report.newest else -_EVER
        while found := await tree.rows(log, after, _EVER, _AT_ONCE):
            report.waiting += len(found)
            after = found[-1].position
            for row in found if sealed is not None else ():
                holds = row.seal is not None and sealed is not None and sealed(log.name, row.doc, row.seal)
                if row.seal is not None and not holds:
                    entry = entry_for(log.name, row.position, row.doc, Seal.BROKEN)
                    text = f"{entry} was not written, or not like this, by this installation: its seal does not hold"
                    verifier.findings.append(Finding(Kind.INVENTED, text))
                trim = trim_in(row.doc) if holds and log.name == ACTIVITY.name else None
                if trim is not None:
                    recorded[trim.log] = max(recorded.get(trim.log, 0), trim.until)
    return recorded


def _finish(verifier: Verifier, report: LogReport, recorded: Mapping[str, int]) -> None:
    newest = report.newest
    if newest is not None and verifier.size < newest.size and not verifier.broken:
        verifier.findings.append(Finding(Kind.TREE, f"there are {verifier.size} entries, and {named(newest)} has more"))
    if newest is None and (report.waiting or verifier.size):
        report.findings.append(Finding(Kind.CHECKPOINT, "there is no checkpoint that can be believed"))
    if newest is not None and newest.size == 0 and newest.root != EMPTY_ROOT:
        report.findings.append(Finding(Kind.CHECKPOINT, f"{named(newest)} has the wrong root"))
    verifier.finish(recorded)
    report.size, report.checked = verifier.size, verifier.checked
    report.removed, report.unsealed = verifier.removed, verifier.unsealed


async def _entries_of(tree: LogTree, verifier: Verifier, begin: int) -> AsyncIterator[Entry]:
    """Look once more through the tree, for the few that matter."""
    wanted, at = verifier.repeated | verifier.unexplained, begin
    while at < verifier.size and (stretch := await tree.entries(at, min(at + _AT_ONCE, verifier.size), ENTRY_BYTES)):
        for entry in unpacked(stretch):
            if entry.digest in wanted:
                yield entry
        at += len(stretch) // ENTRY_BYTES


def _explain(verifier: Verifier, entries: Sequence[Entry]) -> None:
    verifier.explain({entry.digest: entry for entry in reversed(entries)})
    verifier.duplicates(entry for entry in entries if entry.digest in verifier.repeated)
