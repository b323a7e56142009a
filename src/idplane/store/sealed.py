"""The form of sealed values, and the one way in which they are sealed, whatever keeps the key.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce for each seal. Two formats, told apart by their first byte; evolution rule:
another format gets another first byte, and old seals stay readable.

    1   nonce(12)  ciphertext+tag                                                      associated data: context
    2   kind(1)  key id(8)  length(2)  wrapped data key  nonce(12)  ciphertext+tag     associated data: all before the nonce, context

Format 2 names the key-encryption key, so that several can be in use while values move from one to the next. A key that must not be
asked for every value (a token's, one that is derived from a passphrase) wraps a data key, which each seal carries along.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from idplane.model.failure import Failure, FailureKind
from idplane.ports.world import Entropy

__all__ = ["FIRST", "KEY_BYTES", "DirectKey", "Envelope", "Header", "Kind", "Wrapping", "header_of", "key_of", "not_opened"]

KEY_BYTES: Final = 32
FIRST: Final = b"\x01"
_SECOND: Final = b"\x02"
_NONCE: Final = 12
_ID: Final = 8
_FIXED: Final = 1 + 1 + _ID + 2
_REMEMBERED: Final = 64
"""Data keys in memory: one for each process that ever sealed, mostly one."""


class Kind(Enum):
    """What keeps a key-encryption key; the second byte of a seal of format 2."""

    FILE = b"F"
    PASSPHRASE = b"P"
    PKCS11 = b"H"
    MEMORY = b"M"

    @property
    def word(self) -> str:
        """As people write it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a seal of format 2 says of its key. Nothing in it is secret, and nothing is to be trusted before the seal was opened."""

    kind: Kind
    key_id: bytes
    wrapped: bytes = field(default=b"", repr=False)

    def encoded(self) -> bytes:
        """As it stands in front of a seal."""
        return _SECOND + self.kind.value + self.key_id + len(self.wrapped).to_bytes(2) + self.wrapped

    @property
    def name(self) -> str:
        """The key's id, for people."""
        return f"{self.kind.word}-{self.key_id.hex()}"


class Wrapping(Protocol):
    """A key-encryption key that is used through something slow or far: it wraps data keys."""

    def wrap(self, data_key: bytes) -> Header:
        """The header of what that data key will seal; raises `Failure(UNAVAILABLE)`."""
        ...

    def unwrap(self, header: Header) -> bytes:
        """The data key; raises `Failure(INTERNAL)` for what this key did not wrap, `Failure(UNAVAILABLE)` when it cannot be asked."""
        ...


def header_of(sealed: bytes) -> Header | None:
    """The header of a seal of format 2; None for other bytes."""
    if len(sealed) < _FIXED or sealed[:1] != _SECOND:
        return None
    length = int.from_bytes(sealed[_FIXED - 2 : _FIXED])
    wrapped = sealed[_FIXED : _FIXED + length]
    try:
        kind = Kind(sealed[1:2])
    except ValueError:
        return None
    return Header(kind=kind, key_id=sealed[2 : 2 + _ID], wrapped=wrapped) if len(wrapped) == length else None


def key_of(sealed: bytes) -> str:
    """The id of the key-encryption key that a value was sealed with, as its seal says."""
    header = header_of(sealed)
    if header is not None:
        return header.name
    return "file-1" if sealed[:1] == FIRST else "unknown"


def not_opened() -> Failure:
    """The one refusal, whatever is wrong with a seal."""
    return Failure(FailureKind.INTERNAL, "a sealed value could not be opened")


class _HoldsNoKeys:
    """The part of a custody that keeps no keys of others."""

    def new_authority_key(self) -> ec.EllipticCurvePrivateKey | None:
        """None: whoever wants a key makes it, and has it sealed."""
        return None

    def authority_key(self, reference: bytes, /) -> ec.EllipticCurvePrivateKey:
        """Raises `Failure(INTERNAL)`: the key is in another custody."""
        del reference
        raise not_opened()


class DirectKey(_HoldsNoKeys):
    """A `ports.world.KeyCustody` whose key is in this process and seals the values themselves."""

    def __init__(self, *, key: bytes, kind: Kind, entropy: Entropy, first_format: bool = False) -> None:
        """With `first_format` it seals and opens format 1, as installations do whose key file says so."""
        self._cipher = AESGCM(key)
        self._entropy = entropy
        # Names the key and tells nothing of it.
        name = hmac.digest(key, b"idplane key id", hashlib.sha256)[:_ID]
        self._header = None if first_format else Header(kind=kind, key_id=name)
        self._prefix = FIRST if self._header is None else self._header.encoded()

    @property
    def key_id(self) -> str:
        """The id of the key, for people."""
        return key_of(self._prefix)

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt and authenticate, bound to `context`."""
        nonce = self._entropy.bytes(_NONCE)
        return self._prefix + nonce + self._cipher.encrypt(nonce, plaintext, self._bound(context))

    def unseal(self, sealed: bytes, *, context: str) -> bytes:
        """The plaintext; raises `Failure(INTERNAL)` when the format, seal, context or key is not the right one."""
        start = len(self._prefix)
        nonce = sealed[start : start + _NONCE]
        try:
            if not sealed.startswith(self._prefix) or len(nonce) != _NONCE:
                raise InvalidTag
            return self._cipher.decrypt(nonce, sealed[start + _NONCE :], self._bound(context))
        except InvalidTag as error:
            raise not_opened() from error

    def knows(self, sealed: bytes, /) -> bool:
        """Whether the seal names this key; all keys of the first format have one name."""
        return sealed.startswith(self._prefix)

    def _bound(self, context: str) -> bytes:
        return context.encode() if self._header is None else self._prefix + context.encode()


class Envelope(_HoldsNoKeys):
    """A `ports.world.KeyCustody` whose key wraps data keys: it is asked once for each data key, and not for every value."""

    def __init__(self, *, wrapping: Wrapping, entropy: Entropy, like: bytes | None = None) -> None:
        """`like` is something sealed earlier: its data key is used on, if this custody can open it. Raises as `Wrapping` does.

        The data key that seals is opened or made at once, so that a wrong passphrase or an absent token shows at the start.
        """
        self._wrapping = wrapping
        self._entropy = entropy
        self._ciphers: OrderedDict[Header, AESGCM] = OrderedDict()
        self._header = self._earlier(like) or self._fresh()

    @property
    def key_id(self) -> str:
        """The id of the key that seals now, for people."""
        return self._header.name

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt and authenticate, bound to `context`."""
        nonce, prefix = self._entropy.bytes(_NONCE), self._header.encoded()
        return prefix + nonce + self._cipher(self._header).encrypt(nonce, plaintext, prefix + context.encode())

    def unseal(self, sealed: bytes, *, context: str) -> bytes:
        """The plaintext; raises `Failure(INTERNAL)` if the seal does not hold, `Failure(UNAVAILABLE)` if the key cannot be asked."""
        header = header_of(sealed)
        if header is None:
            raise not_opened()
        prefix = header.encoded()
        nonce = sealed[len(prefix) : len(prefix) + _NONCE]
        try:
            if len(nonce) != _NONCE:
                raise InvalidTag
            return self._cipher(header).decrypt(nonce, sealed[len(prefix) + _NONCE :], prefix + context.encode())
        except InvalidTag as error:
            raise not_opened() from error

    def knows(self, sealed: bytes, /) -> bool:
        """Whether its data key is in memory."""
        return header_of(sealed) in self._ciphers

    def _cipher(self, header: Header) -> AESGCM:
        cipher = self._ciphers.get(header)
        if cipher is None:
            cipher = AESGCM(self._wrapping.unwrap(header))
            self._remember(header, cipher)
        self._ciphers.move_to_end(header)
        return cipher

    def _remember(self, header: Header, cipher: AESGCM) -> None:
        self._ciphers[header] = cipher
        while len(self._ciphers) > _REMEMBERED:
            self._ciphers.popitem(last=False)

    def _earlier(self, like: bytes | None) -> Header | None:
        header = header_of(like) if like else None
        if header is None:
            return None
        try:
            self._cipher(header)
        except Failure as failure:
            if failure.kind is FailureKind.INTERNAL:
                return None
            raise
        return header

    def _fresh(self) -> Header:
        data_key = self._entropy.bytes(KEY_BYTES)
        header = self._wrapping.wrap(data_key)
        self._remember(header, AESGCM(data_key))
        return header
