"""A record with the proof that it is in the log, as one JSON document that whoever has the log's key can check by itself."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from idplane.audit.checkpoints import Checkpoint, KnownKeys, read_checkpoint
from idplane.audit.entries import ENTRY_BYTES, Entry, Seal, entry_for, unpacked
from idplane.audit.stored_tree import TreeDamaged, inclusion_proof
from idplane.audit.tree import leaf_hash, root_from_inclusion
from idplane.audit.verification import named
from idplane.jose.notes import NoteKey, NoteProblem
from idplane.model.values import JsonObject
from idplane.ports.collections import LOGS
from idplane.ports.tree import LogRow, LogTree

__all__ = ["ProofProblem", "check_proof", "prove"]

_FORM: Final = "idplane log proof 1"
_AT_ONCE: Final = 4096


class ProofProblem(Exception):  # noqa: N818 - its text is what a person reads
    """Why there is no proof, or why it proves nothing; one sentence."""


class _Proof(msgspec.Struct, forbid_unknown_fields=True):
    form: str
    index: int
    entry: str
    """Base64 of what is hashed to the leaf."""
    doc: str | None
    """The record's exact text, if it is still there."""
    hashes: list[str]
    checkpoint: str


async def prove(tree: LogTree, record: str, checkpoint: Checkpoint) -> JsonObject:
    """The proof that a record is in the log that a checkpoint was signed over. `record` is its id, or `sign_ins:17`.

    Raises `ProofProblem` when there is none.
    """
    row, log = await _found(tree, record)
    index, entry = await _indexed(tree, log, row, checkpoint)
    try:
        hashes = await inclusion_proof(tree, index, checkpoint.size)
    except TreeDamaged as damaged:
        raise ProofProblem(f"there is no proof: {damaged}") from damaged
    return {
        "form": _FORM,
        "index": index,
        "entry": base64.b64encode(entry.packed()).decode(),
        "doc": row.doc.decode(),
        "hashes": [base64.b64encode(one).decode() for one in hashes],
        "checkpoint": checkpoint.note,
    }


def check_proof(text: bytes, *, keys: Iterable[NoteKey], kept: Iterable[Checkpoint] = ()) -> tuple[Entry, Checkpoint]:
    """What a proof proves: the record's entry, and the checkpoint that covers it. Raises `ProofProblem`.

    With checkpoints kept elsewhere, the proof's own must be one of them; their signatures are checked as well.
    """
    try:
        proof = msgspec.json.decode(text, type=_Proof)
        packed, hashes = _bytes(proof.entry), [_bytes(one) for one in proof.hashes]
        (entry,) = unpacked(packed)
        checkpoint = read_checkpoint(proof.checkpoint)
        if proof.form != _FORM:
            raise ProofProblem("this is not a proof of idplane's log")
        root = root_from_inclusion(leaf_hash(packed), proof.index, checkpoint.size, hashes)
    except NoteProblem as problem:
        raise ProofProblem(f"the proof's checkpoint: {problem}") from problem
    except (msgspec.MsgspecError, ValueError) as error:
        raise ProofProblem("this is not a proof of idplane's log, or it was changed") from error
    known = KnownKeys(keys)
    if known.trusted(checkpoint) is None:
        raise ProofProblem(f"{named(checkpoint)} is not signed by a key of the log")
    if root != checkpoint.root:
        raise ProofProblem(f"the record is not in the log that {named(checkpoint)} was signed over")
    if proof.doc is not None and _differs(entry, proof.doc.encode()):
        raise ProofProblem("the record's text is not the one that is in the log")
    kept = list(kept)
    if kept and all((one.size, one.root, one.origin) != (checkpoint.size, root, checkpoint.origin) for one in kept):
        raise ProofProblem(f"{named(checkpoint)} is none of those that were kept")
    return entry, checkpoint


def _differs(entry: Entry, doc: bytes) -> bool:
    return hashlib.sha256(doc).digest() != entry.digest


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error


async def _found(tree: LogTree, record: str) -> tuple[LogRow, str]:
    name, _, position = record.rpartition(":")
    if name and name not in {log.name for log in LOGS}:
        raise ProofProblem(f"there is no log '{name[:40]}': it is activity_log or sign_ins")
    for log in LOGS:
        row = await tree.row(log, position) if name in {"", log.name} and (name or not position.isdecimal()) else None
        if row is not None:
            return row, log.name
    raise ProofProblem(f"there is no record '{record[:60]}': name it by its id, or like sign_ins:17")


async def _indexed(tree: LogTree, log: str, row: LogRow, checkpoint: Checkpoint) -> tuple[int, Entry]:
    """Where the record is in the tree, which is looked through from its end: people ask for recent ones."""
    end = checkpoint.size
    while end > 0:
        begin = max(end - _AT_ONCE, 0)
        stretch = await tree.entries(begin, end, ENTRY_BYTES)
        for number, entry in enumerate(unpacked(stretch)):
            if (entry.log, entry.position) == (log, row.position):
                if _differs(entry, row.doc):
                    raise ProofProblem(f"{entry} was altered: the log has it otherwise (idplane log verify)")
                return begin + number, entry
        end = begin
    asked = entry_for(log, row.position, row.doc, Seal.MISSING)
    raise ProofProblem(f"{asked} is not in the log that {named(checkpoint)} was signed over")
