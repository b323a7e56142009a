"""What the tree holds of a record: an entry of fixed length, whose hash is the leaf.

The entry stays when retention removes the record, and still says where the record stood, which one it was, when it happened, and what
its exact bytes hashed to. So what is gone for its age can be told from what somebody took.
"""

from __future__ import annotations

import enum
import hashlib
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from idplane.ports.collections import ACTIVITY, SIGN_INS, microseconds

__all__ = ["ENTRY_BYTES", "Entry", "Seal", "describe_record", "entry_for", "unpacked"]

_FORM: Final = struct.Struct(">BBqq16s32s")
ENTRY_BYTES: Final = _FORM.size
_NUMBERS: Final = {ACTIVITY.name: 1, SIGN_INS.name: 2}
_NAMES: Final = {number: name for name, number in _NUMBERS.items()}
_NO_ID: Final = bytes(16)
_GUID_LENGTH: Final = 36
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Seal(enum.IntEnum):
    """What the sequencer found of a record's seal, the proof that one of the installation's own processes wrote it."""

    HOLDS = 0
    MISSING = 1
    """Written before there were seals, by a program that knows none, or by somebody else."""
    BROKEN = 2
    """Not written like this by any process of the installation."""


class _Head(msgspec.Struct):
    id: str


class _DatedHead(_Head):
    at: datetime


_HEAD: Final = msgspec.json.Decoder(_Head)
_DATED_HEAD: Final = msgspec.json.Decoder(_DatedHead)


@dataclass(frozen=True, slots=True)
class Entry:
    """One leaf's content."""

    log: str
    seal: Seal
    position: int
    at: int
    """Microseconds since the epoch."""
    id: bytes
    """The record's id (a GUID); of any other id the first half of its SHA-256."""
    digest: bytes
    """SHA-256 of the stored document."""

    def packed(self) -> bytes:
        """The bytes whose leaf hash is in the tree: log, seal, position, time, id and digest, big-endian."""
        return _FORM.pack(_NUMBERS[self.log], self.seal, self.position, self.at, self.id, self.digest)

    def __str__(self) -> str:
        return describe_record(self.log, self.position, self.id, self.at)


def describe_record(log: str, position: int, identifier: bytes, at: int) -> str:
    """One record, for people: log, position, id and time."""
    try:
        time = (_EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except OverflowError:
        time = f"{at} us"
    return f"{log} {position} (id {uuid.UUID(bytes=identifier)}, {time})"


def entry_for(log: str, position: int, doc: bytes, seal: Seal, at: int | None = None) -> Entry:
    """The entry of a stored document. `at` is the row's column; without it, what the document says."""
    identifier, told = _NO_ID, at or 0
    try:
        if at is None:
            head = _DATED_HEAD.decode(doc)
            told = microseconds(head.at)
            identifier = _identifier(head.id)
        else:
            identifier = _identifier(_HEAD.decode(doc).id)
    except (msgspec.MsgspecError, ValueError, OverflowError):
        pass  # no record of ours; its seal says so, too
    return Entry(log, seal, position, told, identifier, hashlib.sha256(doc).digest())


def unpacked(entries: bytes) -> Iterator[Entry]:
    """The entries of a stretch; raises `ValueError` for bytes that are none."""
    if len(entries) % ENTRY_BYTES:
        raise ValueError("a stretch of entries is damaged")
    for number, seal, position, at, identifier, digest in _FORM.iter_unpack(entries):
        if number not in _NAMES or seal not in _SEALS:
            raise ValueError("an entry names no log or seal that there is")
        yield Entry(_NAMES[number], _SEALS[seal], position, at, identifier, digest)


_SEALS: Final = {one.value: one for one in Seal}


def _identifier(text: str) -> bytes:
    # As `uuid.UUID` reads it, at a fifth of the cost.
    try:
        found = bytes.fromhex(text.replace("-", "")) if len(text) == _GUID_LENGTH else b""
    except ValueError:
        found = b""
    return found if len(found) == len(_NO_ID) else hashlib.sha256(text.encode()).digest()[: len(_NO_ID)]
