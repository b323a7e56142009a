"""Checkpoints: what the log was at a moment, signed (C2SP tlog-checkpoint).

    idplane.log/<tenant>                    the log's name, which is its key's
    1234                                    how many records
    <base64>                                the tree's root
    time 2026-01-01T12:00:00.000000Z
    log sign_ins 1200 1700000000000000      the last position of a log in the tree, and before when it was trimmed (0: never)
    key <verifier key>                      the key that signs from here on, in the checkpoint that introduces it; the one before signs it, too
    tainted <verifier key>                  a key that counts no more, in a checkpoint that it has no part in

A successor of a tainted key is introduced by nobody: it vouches alone for the tree so far, and whoever verifies has to be given it by hand.
Whoever has the tainted key could introduce anybody.

Lines that a program does not know are kept as they are.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from idplane.audit.tree import HASH_BYTES
from idplane.jose.notes import NoteKey, NoteProblem, read_note

__all__ = ["KEY_LINE", "Checkpoint", "KnownKeys", "checkpoint_text", "notes_in", "read_checkpoint"]

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_TIME: Final = "time "
KEY_LINE: Final = "key "
_TAINTED: Final = "tainted "
_LOG: Final = "log "
_LOG_LINE: Final = re.compile(r"log ([a-z_]{1,40}) (\d{1,18}) (\d{1,18})", re.ASCII)
_FORM: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_LEAST_LINES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose form was checked. `KnownKeys.trusted` says whether it can be believed."""

    origin: str
    size: int
    root: bytes
    at: datetime
    positions: Mapping[str, int]
    """The last position of each log that is in the tree."""
    trimmed: Mapping[str, int]
    """Records of each log that happened before this may have been removed: microseconds since the epoch."""
    introduces: NoteKey | None
    tainted: tuple[NoteKey, ...]
    note: str
    """The signed text, as it was read."""


def checkpoint_text(
    head: tuple[str, int, bytes],
    at: datetime,
    *,
    positions: Mapping[str, int],
    trimmed: Mapping[str, int],
    introduces: NoteKey | None = None,
    tainted: Iterable[NoteKey] = (),
) -> str:
    """What is signed; `head` is origin, size and root."""
    origin, size, root = head
    lines = [origin, str(size), base64.b64encode(root).decode(), f"{_TIME}{at.astimezone(UTC).strftime(_FORM)}"]
    lines += (f"{_LOG}{log} {position} {trimmed.get(log, 0)}" for log, position in sorted(positions.items()))
    if introduces is not None:
        lines.append(f"{KEY_LINE}{introduces}")
    lines += (f"{_TAINTED}{one}" for one in tainted)
    return "".join(f"{line}\n" for line in lines)


def read_checkpoint(note: str) -> Checkpoint:
    """Take a checkpoint apart; raises `NoteProblem`. Signatures are not checked here."""
    lines = read_note(note).text.split("\n")[:-1]
    if len(lines) < _LEAST_LINES or not lines[0] or not _SIZE.fullmatch(lines[1]):
        raise NoteProblem("this is not a checkpoint of a log")
    try:
        root = base64.b64decode(lines[2], validate=True)
        at = datetime.strptime(next(_lines(lines, _TIME), ""), _FORM).replace(tzinfo=UTC)
    except (binascii.Error, ValueError) as error:
        raise NoteProblem("this is not a checkpoint of idplane's log") from error
    if len(root) != HASH_BYTES:
        raise NoteProblem("this is not a checkpoint of idplane's log")
    key = next(_lines(lines, KEY_LINE), None)
    logs = [found for line in lines[3:] if (found := _LOG_LINE.fullmatch(line))]
    return Checkpoint(
        origin=lines[0],
        size=int(lines[1]),
        root=root,
        at=at,
        positions={found[1]: int(found[2]) for found in logs},
        trimmed={found[1]: int(found[3]) for found in logs},
        introduces=NoteKey.parse(key) if key else None,
        tainted=tuple(NoteKey.parse(one) for one in _lines(lines, _TAINTED)),
        note=note,
    )


def _lines(lines: Sequence[str], start: str) -> Iterator[str]:
    return (line.removeprefix(start) for line in lines[3:] if line.startswith(start))


def notes_in(text: str) -> list[str]:
    """The notes in a file that may hold several, one below the other with empty lines between them."""
    found, current = [], ""
    for line in text.replace("\r\n", "\n").splitlines(keepends=True):
        if "\n\n\u2014 " in current and not line.startswith("\u2014 "):
            found.append(current)
            current = ""
            if not line.strip():
                continue
        current += line
    return [*found, current] if current.strip() else found


class KnownKeys:
    """The keys that may have signed a log's checkpoints: those that one begins with, and those that they introduced.

    A key speaks of those before it only, and for the one that it introduces. So whoever has an old key can neither take a newer one down nor
    bring in one that could, and what a tainted key brought in goes with it.
    """

    def __init__(self, keys: Iterable[NoteKey], tainted: Iterable[NoteKey] = ()) -> None:
        """`keys` are from the newest to the oldest."""
        self.tainted = set(tainted)
        """Keys that are known to count for nothing."""
        self._keys = [one for one in keys if one not in self.tainted]
        self._by: dict[NoteKey, NoteKey] = {}
        """Who introduced the keys that were introduced."""

    def trusted(self, checkpoint: Checkpoint) -> NoteKey | None:
        """The key that signed it, None if none that is known did. What it says of keys is known from then on."""
        key = read_note(checkpoint.note).signed_by(one for one in self._keys if one.name == checkpoint.origin)
        if key is None:
            return None
        new = checkpoint.introduces
        if new is not None and new.name == checkpoint.origin and new not in self._keys and new not in self.tainted:
            self._keys.insert(self._keys.index(key), new)
            self._by[new] = key
        for one in checkpoint.tainted:
            self._drop(one, key)
        return key

    def was_trusted(self, checkpoint: Checkpoint) -> bool:
        """Whether a key signed it that is tainted by now. It proves nothing by itself."""
        lost = (one for one in self.tainted if one.name == checkpoint.origin)
        return read_note(checkpoint.note).signed_by(lost) is not None

    def _drop(self, tainted: NoteKey, speaker: NoteKey) -> None:
        rank = self._keys.index(speaker)
        if tainted not in self._keys and rank == 0:
            self.tainted.add(tainted)
        if tainted not in self._keys[rank + 1 :]:
            return
        line = {speaker}
        while (before := self._by.get(speaker)) is not None:
            line.add(before)
            speaker = before
        gone = {tainted}
        for one in reversed(self._keys):  # the oldest first: those that were introduced come behind who did it
            if self._by.get(one) in gone and one not in line:
                gone.add(one)
        self._keys = [one for one in self._keys if one not in gone]
        self.tainted |= gone
