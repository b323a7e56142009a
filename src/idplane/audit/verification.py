"""Holding a log's records to its tree, and the tree to everything that was ever signed over it. Pure: whoever reads them hands in leaves.

What a checkpoint was signed over decides. Between two checkpoints a record and its entry may differ: if the entries lead to the signed
root, the record was changed; if the records do, the tree was; if neither, both were.
"""

from __future__ import annotations

import enum
import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import msgspec

from idplane.audit.checkpoints import Checkpoint
from idplane.audit.entries import Entry, Seal, describe_record, entry_for
from idplane.audit.tree import EMPTY_ROOT, Frontier, leaf_hash
from idplane.ports.collections import LOGS
from idplane.ports.tree import LogRow

__all__ = ["UNSEALED_FOR", "Finding", "Kind", "Verifier", "named"]

UNSEALED_FOR: Final = timedelta(days=1)
"""How long after the first checkpoint records without a seal are taken for those of an older program, which a rolling upgrade may leave at work."""
_MOST_FINDINGS: Final = 20
_LOGS: Final = {log.name: log for log in LOGS}
_DECODERS: Final = {log.name: msgspec.json.Decoder(log.type) for log in LOGS}


class Kind(enum.Enum):
    """What is wrong."""

    ALTERED = "altered"
    MISSING = "missing"
    REORDERED = "reordered"
    DUPLICATED = "duplicated"
    INVENTED = "invented"
    TRIMMED = "trimmed without a record"
    TREE = "tree altered"
    CHECKPOINT = "checkpoint invalid"
    ROLLED_BACK = "rolled back"
    REWRITTEN = "rewritten"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, in one sentence."""

    kind: Kind
    text: str
    digest: bytes | None = None
    """Of the document that stands where it should not."""
    place: tuple[str, int] | None = None

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.text}"


class _Seen:
    """Which digests may have come before: sure when it says no, and wrong in one of 400 when it says yes (a Bloom filter of two bytes each)."""

    def __init__(self, size: int) -> None:
        self._bits = bytearray(2 * size + 8)

    def add(self, digest: bytes) -> bool:
        """Whether it may have been added before; adds it."""
        bits, count = self._bits, len(self._bits) * 8
        at, step, seen = int.from_bytes(digest[:8]), int.from_bytes(digest[8:16]) | 1, True
        for _ in range(4):
            byte, bit = divmod(at % count, 8)
            if not bits[byte] >> bit & 1:
                seen = False
                bits[byte] |= 1 << bit
            at += step
        return seen


@dataclass(slots=True)
class _Segment:
    """What was seen since the last signed root."""

    begin: int
    findings: list[Finding] = field(default_factory=list)
    by_records: Frontier | None = None
    """The tree as the records would have it, from the first that differs from its entry."""


class Verifier:
    """Takes the leaves in order, each with the row that stands at its position, and says what is wrong."""

    def __init__(
        self,
        *,
        expected: Iterable[Checkpoint],
        allowed: Mapping[str, int],
        trims: Mapping[str, int],
        begin: Frontier | None = None,
        born: datetime | None = None,
    ) -> None:
        """`expected` are checkpoints whose signatures hold, stored ones and those kept elsewhere.

        Records may be missing when they happened before `allowed` (a recorded trim). `trims` is what the table says, which anybody with the
        database can write. Leaves come from `begin` on, which is the tree of the first of `expected`; without it, from the first one on.
        `born` is when the tree's first checkpoint was made, if that is none of `expected`.
        """
        self._expected = sorted(expected, key=lambda one: (one.size, one.at))
        self._settled = _settled_size(self._expected, born)
        self._allowed, self._trims = allowed, trims
        self._frontier = begin or Frontier()
        self._seen = _Seen(self._expected[-1].size - self._frontier.size if self._expected else 0)
        self._segment = _Segment(0)
        self._ends: dict[str, int] = dict(self._expected[0].positions) if begin is not None else {}
        self._unrecorded: dict[str, Entry] = {}
        self._next = 0
        self.findings: list[Finding] = []
        self.repeated: set[bytes] = set()
        """Digests that the tree may have twice; `duplicates` has to look."""
        self.checked = self.removed = self.unsealed = 0
        """Records that were compared; that retention removed; that have no seal and need none."""
        self.broken = False
        """The tree does not lead to a signed root: what comes after says nothing."""
        self._check_roots()

    @property
    def size(self) -> int:
        """Leaves so far."""
        return self._frontier.size

    @property
    def positions(self) -> Mapping[str, int]:
        """The last position of each log so far."""
        return self._ends

    def leaf(self, packed: bytes, entry: Entry, row: LogRow | None) -> list[tuple[int, int, bytes]]:
        """The next leaf, and the row at its position if there is one. Answers with the nodes that it completes and a store keeps."""
        segment, found = self._segment, self._compared(entry, row)
        if entry.position <= self._ends.get(entry.log, 0):
            segment.findings.append(Finding(Kind.REORDERED, f"the tree has {entry} behind a later record"))
        if found is not None:
            segment.findings.append(found)
            if segment.by_records is None:
                segment.by_records = self._frontier.copy()
        if self._seen.add(entry.digest):
            self.repeated.add(entry.digest)
        self._ends[entry.log] = entry.position
        if segment.by_records is not None:
            told = (
                packed if row is None else entry_for(entry.log, entry.position, row.doc, entry.seal, _at(row, entry)).packed()
            )
            segment.by_records.append(leaf_hash(told))
        nodes = self._frontier.append(leaf_hash(packed))
        self._check_roots()
        return nodes

    def outside(self, log: str, row: LogRow) -> None:
        """A row among those that the tree covers, with a position that the tree does not know."""
        text = f"{_described(log, row)} is in the database, and never was in the tree"
        self._segment.findings.append(Finding(Kind.INVENTED, text, hashlib.sha256(row.doc).digest()))

    def finish(self, recorded: Mapping[str, int]) -> None:
        """No more leaves. `recorded` are trims that records tell of which are not in the tree yet."""
        self.findings += self._segment.findings
        self._segment = _Segment(self.size)
        for log, entry in self._unrecorded.items():
            if entry.at >= max(self._allowed.get(log, 0), recorded.get(log, 0)):
                text = f"{entry} was removed as by a trim, and no record tells of one"
                self.findings.append(Finding(Kind.TRIMMED, text, place=(log, entry.position)))
        del self.findings[_MOST_FINDINGS:]

    def _compared(self, entry: Entry, row: LogRow | None) -> Finding | None:
        sealing = self._sealing(entry)
        if row is None:
            return sealing or self._missing(entry)
        self.checked += 1
        if hashlib.sha256(row.doc).digest() != entry.digest:
            return _replaced(entry, row)
        return sealing or _columns(entry, row)

    def _sealing(self, entry: Entry) -> Finding | None:
        if entry.seal is Seal.BROKEN:
            return Finding(
                Kind.INVENTED, f"{entry} was not written, or not like this, by this installation: its seal does not hold"
            )
        if entry.seal is Seal.MISSING:
            if self._settled is not None and self.size >= self._settled:
                return Finding(Kind.INVENTED, f"{entry} was not written by this installation: it has no seal")
            self.unsealed += 1
        return None

    def _missing(self, entry: Entry) -> Finding | None:
        if entry.at < self._allowed.get(entry.log, 0):
            self.removed += 1
            return None
        if entry.at < self._trims.get(entry.log, 0):
            latest = self._unrecorded.get(entry.log)
            if latest is None or latest.at < entry.at:
                self._unrecorded[entry.log] = entry
            return None
        return Finding(Kind.MISSING, f"{entry} is not in the database", entry.digest, (entry.log, entry.position))

    def _check_roots(self) -> None:
        """Hold the tree to every checkpoint of its present size."""
        while self._next < len(self._expected) and self._expected[self._next].size == self.size and not self.broken:
            self._check_root(self._expected[self._next])
            self._next += 1

    def _check_root(self, checkpoint: Checkpoint) -> None:
        segment = self._segment
        fits = (self._frontier.root() if self.size else EMPTY_ROOT) == checkpoint.root
        if fits and any(self._ends.get(log, 0) != position for log, position in checkpoint.positions.items()):
            segment.findings.append(Finding(Kind.CHECKPOINT, f"{named(checkpoint)} names other positions than its tree has"))
        if not fits:
            self.broken = True
            segment.findings = [self._blame(checkpoint, segment)]
        self.findings += segment.findings
        self._segment = _Segment(self.size)

    def _blame(self, checkpoint: Checkpoint, segment: _Segment) -> Finding:
        first = segment.findings[0] if segment.findings else None
        if first is not None and segment.by_records is not None and segment.by_records.root() == checkpoint.root:
            return Finding(
                Kind.TREE,
                f"the records are what {named(checkpoint)} was signed over, but the tree's entries were altered; first: {first.text}",
            )
        where = f"between its records {segment.begin} and {self.size}"
        if first is not None:
            return Finding(Kind.REWRITTEN, f"the tree is not what {named(checkpoint)} was signed over, {where}; first: {first}")
        return Finding(Kind.REWRITTEN, f"tree and records are not what {named(checkpoint)} was signed over, {where}")

    def duplicates(self, entries: Iterable[Entry]) -> None:
        """Tell of records that the tree has twice: `entries` are all of those in `repeated`, in order."""
        first: dict[bytes, Entry] = {}
        for entry in entries:
            earlier = first.setdefault(entry.digest, entry)
            if earlier is not entry:
                self.findings.append(Finding(Kind.DUPLICATED, f"{entry} is the same record as {earlier}"))

    def explain(self, known: Mapping[bytes, Entry]) -> None:
        """Tell records that stand elsewhere, or twice, from altered ones: `known` are the tree's entries of the findings' digests."""
        self.findings = [_explained(one, known) for one in self.findings]

    @property
    def unexplained(self) -> frozenset[bytes]:
        """Digests of documents that stand where they should not."""
        return frozenset(one.digest for one in self.findings if one.digest is not None and one.kind is not Kind.MISSING)


def named(checkpoint: Checkpoint) -> str:
    """A checkpoint, for people."""
    return f"the checkpoint of {checkpoint.at.isoformat()} over {checkpoint.size} records"


def _settled_size(expected: Sequence[Checkpoint], born: datetime | None) -> int | None:
    """From which leaf on every record must have a seal; None while the tree is too young."""
    if not expected:
        return None
    first = min((*(one.at for one in expected), *([born] if born else [])))
    return min((one.size for one in expected if one.at >= first + UNSEALED_FOR), default=None)


def _at(row: LogRow, entry: Entry) -> int:
    return entry.at if not row.columns else _number(row.columns[list(_LOGS[entry.log].columns).index("at")])


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _described(log: str, row: LogRow) -> str:
    return str(entry_for(log, row.position, row.doc, Seal.MISSING))


def _replaced(entry: Entry, row: LogRow) -> Finding:
    stands = entry_for(entry.log, entry.position, row.doc, Seal.MISSING)
    if stands.id == entry.id:
        return Finding(Kind.ALTERED, f"{entry} is not what was recorded", stands.digest, (entry.log, entry.position))
    text = f"{entry} was replaced: id {uuid.UUID(bytes=stands.id)} stands in its place"
    return Finding(Kind.ALTERED, text, stands.digest, (entry.log, entry.position))


def _columns(entry: Entry, row: LogRow) -> Finding | None:
    """Columns repeat what the document says: whoever searches by one must not be told something else."""
    if not row.columns:
        return None
    try:
        event = _DECODERS[entry.log].decode(row.doc)
    except (msgspec.MsgspecError, ValueError):
        return None  # its bytes are what was recorded
    for (name, get), value in zip(_LOGS[entry.log].columns.items(), row.columns, strict=True):
        if get(event) != value:
            return Finding(Kind.ALTERED, f"{entry}: its column {name} does not say what the record says")
    return None


def _explained(finding: Finding, known: Mapping[bytes, Entry]) -> Finding:
    entry = known.get(finding.digest) if finding.digest else None
    if entry is None or finding.kind not in {Kind.ALTERED, Kind.INVENTED}:
        return finding
    kind = Kind.REORDERED if finding.kind is Kind.ALTERED else Kind.DUPLICATED
    return Finding(
        kind, f"{finding.text}; the tree has that record as {describe_record(entry.log, entry.position, entry.id, entry.at)}"
    )
