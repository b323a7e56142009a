"""Signed notes: a text, and below it lines with signatures (C2SP signed-note; what Go's checksum database signs its tree with).

    a text that ends in a newline
                                            an empty line
    — key name base64(4 bytes of key hash, signature)

Only Ed25519 is dealt in. A verifier key is `name+hash+base64(type, public key)`; its hash covers name, type and key, so that a signature
line says which key made it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["MAX_NOTE", "NoteKey", "NoteProblem", "SignedNote", "read_note", "sign_note"]

MAX_NOTE: Final = 64 * 1024
"""Longest note that is read."""
_ED25519: Final = 1
_HASH_BYTES: Final = 4
_KEY_BYTES: Final = 32
_MOST_SIGNATURES: Final = 64
_SIGNATURE: Final = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_CONTROLS: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


class NoteProblem(ValueError):  # noqa: N818 - its text is what a person reads
    """Why a note or a verifier key is none, or proves nothing; its text is one sentence."""


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A key that signatures are checked with. Two are equal when name and key are."""

    name: str
    public: bytes

    @classmethod
    def of(cls, name: str, key: Ed25519PublicKey) -> NoteKey:
        """The verifier key of this name."""
        return cls(name, key.public_bytes(Encoding.Raw, PublicFormat.Raw))

    @classmethod
    def parse(cls, text: str) -> NoteKey:
        """Read a verifier key; raises `NoteProblem`."""
        # The name may hold anything but spaces and plus signs; base64 may hold plus signs.
        name, _, rest = text.strip().partition("+")
        told, _, encoded = rest.partition("+")
        try:
            key = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise NoteProblem("this is not a verifier key: name+hash+key") from error
        if not name or re.search(r"\s", name) or len(key) != _KEY_BYTES + 1 or key[0] != _ED25519:
            raise NoteProblem("this is not a verifier key of kind Ed25519: name+hash+key")
        found = cls(name, key[1:])
        if found.hash.hex() != told.lower():
            raise NoteProblem("the verifier key's hash does not fit its name and key")
        return found

    @property
    def hash(self) -> bytes:
        """What signature lines name the key by, besides its name."""
        return hashlib.sha256(f"{self.name}\n".encode() + bytes([_ED25519]) + self.public).digest()[:_HASH_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.hash.hex()}+{base64.b64encode(bytes([_ED25519]) + self.public).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedNote:
    """A note whose form was checked; whose signatures hold is asked with `signed_by`."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]
    """Key name, key hash, signature."""

    def signed_by(self, keys: Iterable[NoteKey]) -> NoteKey | None:
        """The first of the keys that signed the text; None if none did."""
        for key in keys:
            for name, hashed, signature in self.signatures:
                if name == key.name and hashed == key.hash and _holds(key, self.text, signature):
                    return key
        return None


def sign_note(text: str, keys: Iterable[tuple[NoteKey, Ed25519PrivateKey]]) -> str:
    """The text, which must end in a newline, with a signature line for each key."""
    lines = (
        f"\u2014 {key.name} {base64.b64encode(key.hash + private.sign(text.encode())).decode()}\n" for key, private in keys
    )
    return f"{text}\n{''.join(lines)}"


def read_note(note: str) -> SignedNote:
    """Take a note apart; raises `NoteProblem` for what is none."""
    if len(note) > MAX_NOTE or _CONTROLS.search(note):
        raise NoteProblem("this is not a signed note")
    head, separator, tail = note.rpartition("\n\n")
    lines = tail.split("\n")
    if not separator or lines.pop() or not 1 <= len(lines) <= _MOST_SIGNATURES:
        raise NoteProblem("this is not a signed note: there are no signatures below an empty line")
    return SignedNote(text=f"{head}\n", signatures=tuple(_signature(line) for line in lines))


def _signature(line: str) -> tuple[str, bytes, bytes]:
    found = _SIGNATURE.fullmatch(line)
    try:
        signed = base64.b64decode(found[2], validate=True) if found else b""
    except (binascii.Error, ValueError):
        signed = b""
    if found is None or len(signed) <= _HASH_BYTES:
        raise NoteProblem("this is not a signed note: a signature line is malformed")
    return found[1], signed[:_HASH_BYTES], signed[_HASH_BYTES:]


def _holds(key: NoteKey, text: str, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True
