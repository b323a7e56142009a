"""Sealing at rest with a key that only a file beside the database holds.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce for each seal and the context as associated data. A seal is a format byte,
the nonce, and the ciphertext with its tag. Evolution rule: another format gets another first byte; old seals stay readable.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from idplane.model.failure import Failure, FailureKind
from idplane.ports.world import Entropy
from idplane.store.datafolder import DataFolderProblem, sync_folder

__all__ = ["FileCustody"]

_FORMAT = b"\x01"
_NONCE = 12
_KEY = 32
_HEADER = b"idplane key-encryption key 1\n"


class FileCustody:
    """A `ports.world.KeyCustody` whose key is in a file that only its owner can read. Make one with `open`."""

    def __init__(self, *, key: bytes, entropy: Entropy) -> None:
        self._cipher = AESGCM(key)
        self._entropy = entropy

    @classmethod
    def open(cls, path: Path, *, entropy: Entropy) -> FileCustody:
        """Read the key file, or create it with a new key; raises `DataFolderProblem` for one that is damaged or that others can read."""
        try:
            if not path.exists():
                _create(path, entropy)
            return cls(key=_read(path), entropy=entropy)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise DataFolderProblem(f"the key file {path} cannot be used: {reason}") from error

    def __repr__(self) -> str:
        return "FileCustody()"

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt and authenticate, bound to `context`."""
        nonce = self._entropy.bytes(_NONCE)
        return _FORMAT + nonce + self._cipher.encrypt(nonce, plaintext, context.encode())

    def unseal(self, sealed: bytes, *, context: str) -> bytes:
        """The plaintext; raises `Failure(INTERNAL)` when the format, seal, context or key is not the right one."""
        nonce = sealed[1 : 1 + _NONCE]
        try:
            if sealed[:1] != _FORMAT or len(nonce) != _NONCE:
                raise InvalidTag
            return self._cipher.decrypt(nonce, sealed[1 + _NONCE :], context.encode())
        except InvalidTag as error:
            raise Failure(FailureKind.INTERNAL, "a sealed value could not be opened") from error


def _create(path: Path, entropy: Entropy) -> None:
    """Write the whole file under another name first: a key file is complete from the moment that it exists, or never exists."""
    draft = path.with_name(f"{path.name}.{entropy.guid()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(_HEADER + base64.b64encode(entropy.bytes(_KEY)) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        # Unlike a rename, a link never replaces: of two processes that start at once, both use the first one's key.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    sync_folder(path.parent)


def _read(path: Path) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as source:
        status = os.fstat(source.fileno())
        text = source.read(1024)
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise DataFolderProblem(f"others can read the key file {path}: make it private with chmod 600")
    if status.st_uid not in {os.geteuid(), 0}:
        raise DataFolderProblem(f"the key file {path} belongs to another user")
    try:
        key = base64.b64decode(text.removeprefix(_HEADER).strip(), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(_HEADER) or len(key) != _KEY:
        raise DataFolderProblem(
            f"the key file {path} is damaged: restore it from a backup, the database is of no use without it"
        )
    return key
