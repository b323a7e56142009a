"""A whole log in one file, to be verified without its database: checkpoints, and each leaf with its record's exact text.

JSON, one value on each line: first `{"form", "checkpoints"}`, then for each leaf, in the tree's order, `[entry, doc]`: base64 of the
entry, and the record's text, or null where retention has removed it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from idplane.audit.checkpoints import Checkpoint, read_checkpoint
from idplane.audit.entries import ENTRY_BYTES, Entry, unpacked
from idplane.ports.collections import LOGS
from idplane.ports.tree import LogRow, LogTree

__all__ = ["Bundle", "BundleProblem", "bundle_lines"]

_FORM: Final = "idplane log bundle 1"
_AT_ONCE: Final = 1000
_LONGEST: Final = 16 * 1024 * 1024
_LOGS: Final = {log.name: log for log in LOGS}


class BundleProblem(Exception):  # noqa: N818 - its text is what a person reads
    """Why a file is no bundle; one sentence."""


class _Head(msgspec.Struct):
    form: str
    checkpoints: list[str]


_LEAF: Final = msgspec.json.Decoder(tuple[str, str | None])


async def bundle_lines(tree: LogTree) -> AsyncIterator[bytes]:
    """The lines of a bundle, up to the newest checkpoint."""
    notes, after = list[str](), 0
    while found := await tree.checkpoints(after, _AT_ONCE):
        notes += [one.note for one in found]
        after = found[-1].number
    yield msgspec.json.encode({"form": _FORM, "checkpoints": notes}) + b"\n"
    newest: Checkpoint | None = read_checkpoint(notes[-1]) if notes else None
    at, size = 0, newest.size if newest else 0
    while at < size and (stretch := await tree.entries(at, min(at + _AT_ONCE, size), ENTRY_BYTES)):
        entries = list(unpacked(stretch))
        docs = await _docs(tree, entries)
        for number, entry in enumerate(entries):
            packed = base64.b64encode(stretch[number * ENTRY_BYTES : (number + 1) * ENTRY_BYTES]).decode()
            yield msgspec.json.encode((packed, docs.get((entry.log, entry.position)))) + b"\n"
        at += len(entries)


async def _docs(tree: LogTree, entries: Sequence[Entry]) -> dict[tuple[str, int], str]:
    """The texts of the records of a stretch that are still there."""
    found: dict[tuple[str, int], str] = {}
    for name, log in _LOGS.items():
        positions = [entry.position for entry in entries if entry.log == name]
        after, last = (min(positions) - 1, max(positions)) if positions else (0, 0)
        while positions and (rows := await tree.rows(log, after, last, _AT_ONCE)):
            found |= {(name, row.position): row.doc.decode() for row in rows}
            after = rows[-1].position
    return found


class Bundle:
    """A bundle in a file; `audit.log_check.check_bundle` verifies it. Nothing in it is believed."""

    def __init__(self, path: Path) -> None:
        """Raises `BundleProblem` for a file that is none."""
        self._path = path
        try:
            with path.open("rb") as file:
                head = msgspec.json.decode(file.readline(_LONGEST * 16), type=_Head)
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise BundleProblem(f"{path} can't be read as a bundle of idplane's log") from error
        if head.form != _FORM:
            raise BundleProblem(f"{path} can't be read as a bundle of idplane's log")
        self.notes: Sequence[str] = head.checkpoints

    def leaves(self) -> Iterator[tuple[bytes, LogRow | None]]:
        """Packed entries and records, in the file's order. Raises `BundleProblem` for a line that is none."""
        with self._path.open("rb") as file:
            file.readline(_LONGEST * 16)
            number = 1
            while line := file.readline(_LONGEST):
                number += 1
                try:
                    packed, doc = _LEAF.decode(line)
                    entry = base64.b64decode(packed, validate=True)
                except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
                    raise BundleProblem(f"{self._path}: line {number} is damaged") from error
                yield entry, None if doc is None else LogRow(0, doc.encode(), None, ())
