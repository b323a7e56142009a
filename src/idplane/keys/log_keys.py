"""The key that signs the log's checkpoints, and what is derived from it: the seals of records.

One Ed25519 key is active. A successor is introduced by a checkpoint that both sign, so whoever trusts the first key can follow to the
newest. What follows a tainted key vouches alone for the log so far. Every process of an installation seals the records that it appends: with the database alone nobody can write one that would pass
for its own.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
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
from idplane.keys import rotation
from idplane.keys.certificates import Validity, key_id, name_of, new_serial
from idplane.keys.moves import Line, Moves, Records, read_line
from idplane.keys.rotation import GRACE, Pace
from idplane.keys.sealing import check_mark, private_context
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.ports.collections import LOGS, SIGNING_KEYS
from idplane.ports.store import Batch, Change, CommitRefused, Store
from idplane.ports.world import Clock, Entropy, KeyCustody

__all__ = ["LogKey", "LogKeys", "log_keys_of", "log_line", "tainted_keys_of"]

_ALGORITHM: Final = "EdDSA"
_LIFETIME: Final = timedelta(days=50 * 365)
_SEAL_BYTES: Final = 16
_ATTEMPTS: Final = 5
_LATE_SECONDS: Final = 60.0
"""How long seals of a tainted key count in a process that had it: servers that have heard nothing for that long append nothing."""
_PACE: Final = Pace(lifetime=timedelta(days=365), lead=timedelta(), outlived=None)


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
        self._moves = Moves(line=log_line(custody, entropy), custody=custody)
        self._keys: tuple[LogKey, ...] = ()
        self._tainted: tuple[NoteKey, ...] = ()
        self._late: tuple[tuple[float, LogKey], ...] = ()
        self._read: tuple[tuple[str, int], ...] = ()
        self._looked: datetime | None = None
        self._due: datetime | None = None
        self._stale = False
        self.close = store.subscribe(self._apply)

    @classmethod
    async def open(cls, *, origin: str, store: Store, custody: KeyCustody, clock: Clock, entropy: Entropy) -> LogKeys:
        """The keys of the log of this name; the very first process makes the first one.

        Raises `Failure(INTERNAL)` if a stored key cannot be unsealed.
        """
        keys = cls(origin=origin, store=store, custody=custody, clock=clock, entropy=entropy)
        try:
            await keys.turn()
        except BaseException:
            keys.close()
            raise
        return keys

    @property
    def active(self) -> LogKey:
        """The key that signs."""
        return self._keys[0]

    @property
    def notes(self) -> tuple[NoteKey, ...]:
        """Every key that may have signed, the active one first. Tainted ones are not among them."""
        return tuple(one.note for one in self._keys)

    def sign(self, text: str, keys: Iterable[LogKey] | None = None) -> str:
        """The text as a note signed with the active key, or with these."""
        return sign_note(text, [(one.note, one.private) for one in ([self.active] if keys is None else keys)])

    def ready(self, record: SigningKey) -> LogKey:
        """A key of which there is a record only; raises `Failure(INTERNAL)` for one that is not intact."""
        return LogKey.of(self.origin, _private(record, self._custody))

    def seal(self, log: str, doc: str) -> str:
        """The proof that is stored beside a record."""
        return self.active.seal(log, doc.encode())

    def sealed(self, log: str, doc: bytes, seal: str) -> bool:
        """Whether a record's seal is of one of the keys.

        That of a tainted one counts for a moment: other processes seal with it until they have heard, and what they wrote is not in the tree yet.
        """
        now = self._clock.monotonic()
        late = (one for until, one in self._late if now < until)
        return any(hmac.compare_digest(one.seal(log, doc), seal) for one in (*self._keys, *late))

    @property
    def tainted(self) -> tuple[NoteKey, ...]:
        """Keys that others may have: what they signed is no proof of anything."""
        return self._tainted

    def _apply(self, changes: Sequence[Change]) -> None:
        self._stale = self._stale or any(change.collection == SIGNING_KEYS.name for change in changes)

    async def refresh(self) -> None:
        """`turn`, if the feed said that keys changed; costs nothing otherwise."""
        if self._stale:
            await self.turn()

    async def turn(self) -> None:
        """Follow what the store has, and make a key when there is none to sign with; raises as `open` does."""
        for _ in range(_ATTEMPTS):
            records = await self._stored()
            if rotation.active_key(one.value for one in records.values()) is not None:
                return
            first = await self._moves.step(rotation.Create(state=KeyState.ACTIVE), records, self._clock.now())
            with suppress(CommitRefused):  # another replica was first: take what it made
                await self._store.commit(first)
        raise Failure(FailureKind.UNAVAILABLE, "the log's key keeps changing")

    async def change_due(self) -> Batch | None:
        """What moves a key, if one is due to move. Commit it with the checkpoint that it needs. None costs a look at the store in each hour."""
        now = self._clock.now()
        if self._due is not None and self._looked is not None and self._looked <= now < min(self._due, self._looked + GRACE):
            return None
        records = await self._stored()
        plan = self._moves.plan([one.value for one in records.values()], now)
        self._looked, self._due = now, plan.due
        return await self._moves.step(plan.steps[0], records, now) if plan.steps else None

    async def _stored(self) -> Records:
        self._stale = False
        try:
            records = await read_line(self._store, KeyPurpose.LOG)
        except BaseException:
            self._stale = True
            raise
        read = tuple((kid, one.version) for kid, one in records.items())
        if read != self._read:
            self._follow([one.value for one in records.values()])
            self._read, self._due = read, None
        return records

    def _follow(self, records: Sequence[SigningKey]) -> None:
        before = self._keys
        # Whom this process has seen tainted, no change of the record makes good again.
        tainted = dict.fromkeys((*tainted_keys_of(records, origin=self.origin), *self._tainted))
        found = log_keys_of(records, origin=self.origin, custody=self._custody)
        # Processes seal with the key that they know until they have heard of another.
        self._keys = tuple(one for one in found if one.note not in tainted) or self._keys
        self._tainted = tuple(tainted)
        until = self._clock.monotonic() + _LATE_SECONDS
        self._late = (*self._late, *((until, one) for one in before if one.note in tainted))


def log_line(custody: KeyCustody, entropy: Entropy) -> Line:
    """The line of the log's keys: none of them is ever forgotten, since what they signed is kept for good."""

    def make(state: KeyState, now: datetime, _: SigningKey | None) -> SigningKey:
        return _new_key(state, now, custody, entropy)

    return Line(purpose=KeyPurpose.LOG, pace=_PACE, make=make)


def _new_key(state: KeyState, now: datetime, custody: KeyCustody, entropy: Entropy) -> SigningKey:
    private = Ed25519PrivateKey.generate()
    certificate = _certificate(private, now, entropy)
    kid = key_id(certificate)
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return SigningKey(
        id=kid,
        purpose=KeyPurpose.LOG,
        algorithm=_ALGORITHM,
        state=state,
        certificate=certificate,
        sealed=custody.seal(der, context=private_context(kid)),
        created_at=now,
        activated_at=now if state is KeyState.ACTIVE else None,
    )


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
