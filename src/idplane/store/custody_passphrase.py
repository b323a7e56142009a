"""Sealing at rest with a key that is derived from a passphrase (scrypt, RFC 7914).

The passphrase and the database are all that is needed: salt and cost stand in each seal. They are taken over from what was sealed
earlier, so that a start derives one key.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from idplane.ports.world import Entropy
from idplane.store.datafolder import DataFolderProblem
from idplane.store.sealed import KEY_BYTES, Envelope, Header, Kind, not_opened

__all__ = ["COST", "PassphraseWrapping", "passphrase_custody"]

COST: Final = 17
"""The exponent of scrypt's N: 128 MiB, and about a third of a second."""
_CHEAPEST: Final = 14
_DEAREST: Final = 20
"""What a seal may demand: whoever can write to the database must not be able to make us use a weak key, or gigabytes."""
_BLOCK: Final = 8
_LANES: Final = 1
_SALT: Final = 16
_NONCE: Final = 12
_ID: Final = 8
_DERIVED: Final = 8
"""Keys that are remembered, for as many salts."""
_SHORTEST: Final = 12
_CONTEXT: Final = b"idplane data key"


class PassphraseWrapping:
    """Wraps data keys with AES-256-GCM under the derived key: cost(1) salt(16) nonce(12) ciphertext+tag."""

    def __init__(self, passphrase: bytes, *, entropy: Entropy, cost: int = COST) -> None:
        """Raises `DataFolderProblem` for a passphrase that is shorter than twelve characters."""
        self._passphrase = passphrase.strip(b"\r\n")
        if len(self._passphrase) < _SHORTEST:
            raise DataFolderProblem(f"the passphrase is too short: it needs {_SHORTEST} characters")
        self._entropy = entropy
        self._cost = cost
        self._derived: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()

    def __repr__(self) -> str:
        return "PassphraseWrapping()"

    def wrap(self, data_key: bytes) -> Header:
        """The header under a fresh salt."""
        parameters = bytes([self._cost]) + self._entropy.bytes(_SALT)
        key, key_id = self._derive(parameters)
        nonce = self._entropy.bytes(_NONCE)
        sealed = AESGCM(key).encrypt(nonce, data_key, _CONTEXT + parameters)
        return Header(kind=Kind.PASSPHRASE, key_id=key_id, wrapped=parameters + nonce + sealed)

    def unwrap(self, header: Header) -> bytes:
        """The data key; raises `Failure(INTERNAL)` for another passphrase, or a cost beyond what is ever used."""
        parameters, rest = header.wrapped[: 1 + _SALT], header.wrapped[1 + _SALT :]
        if header.kind is not Kind.PASSPHRASE or len(rest) <= _NONCE or not _CHEAPEST <= parameters[0] <= _DEAREST:
            raise not_opened()
        key, key_id = self._derive(parameters)
        if key_id != header.key_id:
            raise not_opened()
        try:
            return AESGCM(key).decrypt(rest[:_NONCE], rest[_NONCE:], _CONTEXT + parameters)
        except InvalidTag as error:
            raise not_opened() from error

    def _derive(self, parameters: bytes) -> tuple[bytes, bytes]:
        known = self._derived.get(parameters)
        if known is None:
            scrypt = Scrypt(salt=parameters[1:], length=KEY_BYTES + _ID, n=1 << parameters[0], r=_BLOCK, p=_LANES)
            derived = scrypt.derive(self._passphrase)
            known = self._derived[parameters] = derived[:KEY_BYTES], derived[KEY_BYTES:]
            while len(self._derived) > _DERIVED:
                self._derived.popitem(last=False)
        return known


def passphrase_custody(passphrase: bytes, *, entropy: Entropy, like: bytes | None = None, cost: int = COST) -> Envelope:
    """A custody by this passphrase. `like` is something that it sealed earlier, if there is anything."""
    return Envelope(wrapping=PassphraseWrapping(passphrase, entropy=entropy, cost=cost), entropy=entropy, like=like)
