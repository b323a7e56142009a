"""The key that signs the log's checkpoints, and what is derived from it: the seals of records.

One Ed25519 key is active. A successor is introduced by a checkpoint that both sign, so whoever trusts the first key can follow to the
newest. Every process of an installation seals the records that it appends: with the database alone nobody can write one that would pass
for its own.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from idplane.jose.notes import NoteKey, sign_note
from idplane.keys.certificates import Validity, key_id, name_of, new_serial
from idplane.keys.sealing import check_mark, marked, private_context
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.ports.collections import LOGS, SIGNING_KEYS
from idplane.ports.store import ABSENT, Batch, CommitRefused, Put, Store, Versioned
from idplane.ports.world import Clock, Entropy, KeyCustody

__all__ = ["LogKey", "LogKeys", "log_keys_of", "tainted_keys_of"]

_ALGORITHM: Final = "EdDSA"
_LIFETIME: Final = timedelta(days=50 * 365)
_SEAL_BYTES: Final = 16
_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKey:
    """One key, ready for use."""

    note: NoteKey
    private: Ed25519PrivateKey = field(repr=False)
    _seals: Mapping[str, hashlib.blake2b] = field(repr=False)
    """By log: a keyed BLAKE2b (RFC 7693) that waits for a document. A third of what HMAC costs for each token."""

    @classmethod
    def of(cls, origin: str, private: Ed25519PrivateKey) -> LogKey:
        """The key as the log of this name uses it."""
        raw = private.private_bytes_raw()
        secret = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"idplane log seal 1").derive(raw)
        seals = {log.name: hashlib.blake2b(f"{log.name}\n".encode(), key=secret, digest_size=_SEAL_BYTES) for log in LOGS}
        return cls(note=NoteKey.of(origin, private.public_key()), private=private, _seals=seals)

    def seal(self, log: str, doc: bytes) -> str:
        """The proof that a record was appended by a process that has the key."""
        made = self._seals[log].copy()
        made.update(doc)
        return binascii.b2a_base64(made.digest(), newline=False).decode("ascii")


class LogKeys:
    """The log's keys in the store. Make one with `open`; `turn` follows what other replicas did."""

    def __init__(self, *, origin: str, store: Store, custody: KeyCustody, clock: Clock, entropy: Entropy) -> None:
        self.origin = origin
        self._store = store
        self._custody = custody
        self._clock = clock
        self._entropy = entropy
        self._keys: tuple[LogKey, ...] = ()
        self._tainted: tuple[NoteKey, ...] = ()
        self._read: tuple[tuple[str, int], ...] = ()

    @classmethod
    async def open(cls, *, origin: str, store: Store, custody: KeyCustody, clock: Clock, entropy: Entropy) -> LogKeys:
        """The keys of the log of this name; the very first process makes the first one.

        Raises `Failure(INTERNAL)` if a stored key cannot be unsealed.
        """
        keys = cls(origin=origin, store=store, custody=custody, clock=clock, entropy=entropy)
        await keys.turn()
        return keys

    @property
    def active(self) -> LogKey:
        """The key that signs."""
        return self._keys[0]

    @property
    def notes(self) -> tuple[NoteKey, ...]:
        """Every key that may have signed, the active one first. Tainted ones are not among them."""
        return tuple(one.note for one in self._keys)

    def sign(self, text: str) -> str:
        """The text as a note signed with the active key."""
        return sign_note(text, [(self.active.note, self.active.private)])

    def sign_introduction(self, text: str, successor: LogKey) -> str:
        """The text as a note signed with the active key and with its successor."""
        return sign_note(text, [(one.note, one.private) for one in (self.active, successor)])

    def seal(self, log: str, doc: str) -> str:
        """The proof that is stored beside a record."""
        return self.active.seal(log, doc.encode())

    def sealed(self, log: str, doc: bytes, seal: str) -> bool:
        """Whether a record's seal is of one of the keys."""
        return any(hmac.compare_digest(one.seal(log, doc), seal) for one in self._keys)

    @property
    def tainted(self) -> tuple[NoteKey, ...]:
        """Keys that others may have: what they signed is no proof of anything."""
        return self._tainted

    async def turn(self) -> None:
        """Follow what the store has, and make a key when there is none to sign with; raises as `open` does."""
        for _ in range(_ATTEMPTS):
            found = await self._stored()
            self._follow(found)
            active = next((one for one in found if one.value.state is KeyState.ACTIVE), None)
            if active is not None and not active.value.tainted:
                return
            with suppress(CommitRefused):  # another replica was first: take what it made
                await self._store.commit(self._creation(active, Ed25519PrivateKey.generate()))
        raise Failure(FailureKind.UNAVAILABLE, "the log's key keeps changing")

    def _follow(self, found: Sequence[Versioned[SigningKey]]) -> None:
        read = tuple((one.value.id, one.version) for one in found)
        if read != self._read:
            records = [one.value for one in found]
            # Processes seal with the key that they know until they have heard of another.
            self._keys = log_keys_of(records, origin=self.origin, custody=self._custody) or self._keys
            self._tainted = tainted_keys_of(records, origin=self.origin)
            self._read = read

    async def successor(self) -> tuple[LogKey, Batch]:
        """A new key, and what makes it the active one; commit it along with the checkpoint that introduces it."""
        await self.turn()
        current = next((one for one in await self._stored() if one.value.state is KeyState.ACTIVE), None)
        private = Ed25519PrivateKey.generate()
        return LogKey.of(self.origin, private), self._creation(current, private)

    async def _stored(self) -> Sequence[Versioned[SigningKey]]:
        return await self._store.all(SIGNING_KEYS, where={"purpose": KeyPurpose.LOG.value})

    def _creation(self, current: Versioned[SigningKey] | None, private: Ed25519PrivateKey) -> Batch:
        now = self._clock.now()
        certificate = _certificate(private, now, self._entropy)
        kid = key_id(certificate)
        der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        made = SigningKey(
            id=kid,
            purpose=KeyPurpose.LOG,
            algorithm=_ALGORITHM,
            state=KeyState.ACTIVE,
            certificate=certificate,
            sealed=self._custody.seal(der, context=private_context(kid)),
            created_at=now,
            activated_at=now,
        )
        retired = Batch()
        if current is not None:
            was = marked(replace(current.value, state=KeyState.RETIRED, retired_at=now), self._custody)
            retired = Batch.of(Put(collection=SIGNING_KEYS, value=was, expect=current.version))
        return retired + Batch.of(Put(collection=SIGNING_KEYS, value=marked(made, self._custody), expect=ABSENT))


def log_keys_of(records: Iterable[SigningKey], *, origin: str, custody: KeyCustody) -> tuple[LogKey, ...]:
    """The keys of a log that are not tainted: the active one first, then from the newest to the oldest. Raises `Failure(INTERNAL)`."""
    newest_first = sorted((one for one in records if not one.tainted), key=lambda one: one.created_at, reverse=True)
    ordered = sorted(newest_first, key=lambda one: one.state is not KeyState.ACTIVE)
    return tuple(LogKey.of(origin, _private(one, custody)) for one in ordered)


def tainted_keys_of(records: Iterable[SigningKey], *, origin: str) -> tuple[NoteKey, ...]:
    """The keys of a log that others may have, too."""
    return tuple(NoteKey.of(origin, _public(one)) for one in records if one.tainted)


def _certificate(private: Ed25519PrivateKey, now: datetime, entropy: Entropy) -> bytes:
    """Nobody checks it: keys of every purpose are kept with one, and named by it."""
    validity = Validity.starting(now, _LIFETIME, backdate=timedelta(days=1))
    subject = name_of("log")
    builder = x509.CertificateBuilder(subject, subject, private.public_key(), new_serial(entropy))
    builder = builder.not_valid_before(validity.not_before).not_valid_after(validity.not_after)
    return builder.sign(private, None).public_bytes(Encoding.DER)


def _private(key: SigningKey, custody: KeyCustody) -> Ed25519PrivateKey:
    """As with every key, the seal is what makes the public part trustworthy."""
    check_mark(key, custody)
    try:
        private = load_der_private_key(custody.unseal(key.sealed, context=private_context(key.id)), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Failure(FailureKind.INTERNAL, "a stored key of the log cannot be read") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise Failure(FailureKind.INTERNAL, "a stored key of the log is of another kind")
    if key_id(key.certificate) != key.id or private.public_key() != _public(key):
        raise Failure(FailureKind.INTERNAL, "a stored key of the log does not belong to its certificate")
    return private


def _public(key: SigningKey) -> Ed25519PublicKey:
    try:
        public = x509.load_der_x509_certificate(key.certificate).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Failure(FailureKind.INTERNAL, "a stored key of the log cannot be read") from error
    if not isinstance(public, Ed25519PublicKey):
        raise Failure(FailureKind.INTERNAL, "a stored key of the log is of another kind")
    return public
