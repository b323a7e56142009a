"""The files behind Arc's challenges: made for one answer, readable by their owner only, gone when used or after a moment.

A file proves nothing by where it is: what a caller shows must be the very text that this process wrote, kept in memory and forgotten
with its first use. So files that others put into the folder are no keys, and links that wait in it are never followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from idplane.model.dialects import KEY_FOLDER
from idplane.model.failure import Failure, FailureKind
from idplane.ports.world import Clock, Entropy

__all__ = ["ArcKeys", "key_folder"]

_LIFE_SECONDS = 30.0
_MOST_OPEN = 64
_KEY_BYTES = 48
_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    owner: Hashable
    until: float


class ArcKeys:
    """The open challenges of one listener. Lives until `close`; the folder's descriptor stays its caller's."""

    def __init__(self, *, folder: int, clock: Clock, entropy: Entropy) -> None:
        self._folder = folder
        self._clock = clock
        self._entropy = entropy
        # By the digest of their content, so that looking one up takes the same time whatever was shown.
        self._open: dict[bytes, _Key] = {}

    def challenge(self, owner: Hashable) -> dict[str, str]:
        """A new file for whoever asks, as `{"realm": path}`; raises `Failure(UNAVAILABLE)` when the folder takes none.

        When there are too many, the oldest of whoever has most of them ends, so that a flood of challenges ends only its own.
        """
        self.expire()
        if len(self._open) >= _MOST_OPEN:
            [(crowd, _)] = Counter(key.owner for key in self._open.values()).most_common(1)
            self._remove(next(digest for digest, key in self._open.items() if key.owner == crowd))
        content = self._entropy.bytes(_KEY_BYTES).hex()
        name = self._write(content.encode())
        self._open[_digest(content.encode())] = _Key(name, owner, self._clock.monotonic() + _LIFE_SECONDS)
        return {"realm": f"{KEY_FOLDER}/{name}"}

    def redeem(self, content: bytes) -> bool:
        """Whether this is the content of an open challenge, which it ends."""
        digest = _digest(content)
        key = self._open.get(digest)
        if key is None:
            return False
        self._remove(digest)
        return self._clock.monotonic() < key.until

    def expire(self) -> None:
        """End the challenges whose time is over."""
        now = self._clock.monotonic()
        for digest in [digest for digest, key in self._open.items() if key.until <= now]:
            self._remove(digest)

    def close(self) -> None:
        """End every challenge."""
        for digest in tuple(self._open):
            self._remove(digest)

    def _write(self, content: bytes) -> str:
        for _ in range(_ATTEMPTS):
            name = f"{self._entropy.guid()}.key"
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with os.fdopen(os.open(name, flags, 0o400, dir_fd=self._folder), "wb") as file:
                    file.write(content)
            except FileExistsError:
                continue
            except OSError as error:
                raise Failure(FailureKind.UNAVAILABLE, "No key file can be made") from error
            return name
        raise Failure(FailureKind.UNAVAILABLE, "No key file can be made")

    def _remove(self, digest: bytes) -> None:
        key = self._open.pop(digest)
        with contextlib.suppress(OSError):  # its owner may have removed it, or the whole folder
            os.unlink(key.name, dir_fd=self._folder)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


@contextmanager
def key_folder(path: Path = Path(KEY_FOLDER)) -> Iterator[int]:
    """A descriptor of this machine's own folder, made if it can be; raises `Failure(UNAVAILABLE)` in words for a person.

    It must be ours and nobody else's to write to: on a machine that Arc really manages, it is not.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
        descriptor = os.open(path, flags)
    except OSError as error:
        raise _no_folder(path, error.strerror or "") from error
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise _no_folder(path, "others may write to it")
        yield descriptor
    finally:
        os.close(descriptor)


def _no_folder(path: Path, reason: str) -> Failure:
    return Failure(
        FailureKind.UNAVAILABLE,
        f"without a namespace, Arc's dialect needs the folder {path}, which this plane can't provide ({reason}): "
        "use idplane run --isolation namespace, another --dialect, or a plane that runs as root",
    )
