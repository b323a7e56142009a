"""Sealing at rest with a key that only a file beside the database holds, and with several keys at once while values move."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from idplane.model.failure import Failure, FailureKind, os_reason
from idplane.ports.world import Entropy, KeyCustody
from idplane.store.datafolder import DataFolderProblem, sync_folder
from idplane.store.sealed import KEY_BYTES, DirectKey, Kind, key_of, not_opened

__all__ = ["Custodies", "FileCustody", "read_private"]

_FIRST_HEADER = b"idplane key-encryption key 1\n"
_HEADER = b"idplane key-encryption key 2\n"
_LARGEST = 4096


class FileCustody(DirectKey):
    """A `ports.world.KeyCustody` whose key is in a file that only its owner can read. Make one with `open`.

    A file's first line says in which format its key seals (`store.sealed`): what a program of an earlier version made, such a program
    must be able to go on reading.
    """

    @classmethod
    def open(cls, path: Path, *, entropy: Entropy, create: bool = True) -> FileCustody:
        """Read the key file, or create it with a new key; raises `DataFolderProblem` for one that is damaged or that others can read."""
        try:
            if create and not path.exists():
                _create(path, entropy)
            key, first = _read(path)
            return cls(key=key, kind=Kind.FILE, entropy=entropy, first_format=first)
        except OSError as error:
            raise DataFolderProblem(f"the key file {path} cannot be used: {os_reason(error)}") from error

    def __repr__(self) -> str:
        return "FileCustody()"


class Custodies:
    """A `ports.world.KeyCustody` of several keys: the first one seals, and each opens what it sealed."""

    def __init__(self, first: KeyCustody, further: Sequence[KeyCustody]) -> None:
        self._first = first
        self._all = (first, *further)

    def __repr__(self) -> str:
        return f"Custodies({self._first!r}, and {len(self._all) - 1} more)"

    @property
    def key_id(self) -> str:
        """The id of the key that seals now."""
        return self._first.key_id

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt and authenticate with the first key."""
        return self._first.seal(plaintext, context=context)

    def unseal(self, sealed: bytes, *, context: str) -> bytes:
        """The plaintext, by whichever key sealed it; raises `Failure(INTERNAL)` if none did, `Failure(UNAVAILABLE)` if one cannot be asked."""
        named = key_of(sealed)
        # Nobody else can open what one knows. Else the key that the seal names comes first; a passphrase's has another name for each salt.
        for custody in [one for one in self._all if one.knows(sealed)] or sorted(self._all, key=lambda it: it.key_id != named):
            try:
                return custody.unseal(sealed, context=context)
            except Failure as failure:
                if failure.kind is not FailureKind.INTERNAL:
                    raise
        raise not_opened()

    def knows(self, sealed: bytes, /) -> bool:
        """Whether one of them does."""
        return any(one.knows(sealed) for one in self._all)

    def new_authority_key(self) -> ec.EllipticCurvePrivateKey | None:
        """The first custody's."""
        return self._first.new_authority_key()

    def authority_key(self, reference: bytes, /) -> ec.EllipticCurvePrivateKey:
        """The key, from whichever custody holds it; raises `Failure(INTERNAL)` if none does, `Failure(UNAVAILABLE)` if one cannot be asked."""
        refusal = not_opened()
        for custody in self._all:
            try:
                return custody.authority_key(reference)
            except Failure as failure:
                if failure.kind is not FailureKind.INTERNAL:
                    refusal = failure
        raise refusal


def read_private(path: Path, what: str) -> bytes:
    """A file that holds a secret; raises `DataFolderProblem` when others can read it, belongs to somebody else, or is too large.

    `what` names it in the refusal: "key file".
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(file, "rb") as source:
            status = os.fstat(source.fileno())
            content = source.read(_LARGEST + 1)
    except OSError as error:
        raise DataFolderProblem(f"the {what} {path} cannot be used: {os_reason(error)}") from error
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise DataFolderProblem(f"others can read the {what} {path}: make it private with chmod 600")
    if status.st_uid not in {os.geteuid(), 0}:
        raise DataFolderProblem(f"the {what} {path} belongs to another user")
    if len(content) > _LARGEST:
        raise DataFolderProblem(f"the {what} {path} is too large: it may have {_LARGEST} bytes")
    return content


def _create(path: Path, entropy: Entropy) -> None:
    """Write the whole file under another name first: a key file is complete from the moment that it exists, or never exists."""
    draft = path.with_name(f"{path.name}.{entropy.guid()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(_HEADER + base64.b64encode(entropy.bytes(KEY_BYTES)) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        # Unlike a rename, a link never replaces: of two processes that start at once, both use the first one's key.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    sync_folder(path.parent)


def _read(path: Path) -> tuple[bytes, bool]:
    """The key, and whether it seals in the first format."""
    text = read_private(path, "key file")
    first = text.startswith(_FIRST_HEADER)
    header = _FIRST_HEADER if first else _HEADER
    try:
        key = base64.b64decode(text.removeprefix(header).strip(), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(header) or len(key) != KEY_BYTES:
        raise DataFolderProblem(
            f"the key file {path} is damaged: restore it from a backup, the database is of no use without it"
        )
    return key, first
