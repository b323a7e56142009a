"""What attestors read: small files that somebody else put there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from idplane.model.failure import Failure, FailureKind

__all__ = ["read_private", "read_small", "required_path"]

_MOST = 64 * 1024


def required_path(argument: str, method: str) -> Path:
    """The file that an argument names; raises `ValueError`."""
    if not argument:
        raise ValueError(f"'--join {method}' needs a file: {method}:FILE")
    return Path(argument)


def read_small(path: Path) -> bytes:
    """At most 64 KiB; raises `Failure(UNAVAILABLE)` when it can't be read or is larger."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
    except OSError as error:
        raise Failure(FailureKind.UNAVAILABLE, f"{path} can't be read: {error.strerror}") from error
    if len(content) > _MOST:
        raise Failure(FailureKind.UNAVAILABLE, f"{path} is larger than {_MOST} bytes")
    return content


def read_private(path: Path) -> bytes:
    """As `read_small`, for a secret: refused when others than its owner may read it."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - the file's own mode, links followed, as `open` does
    except OSError as error:
        raise Failure(FailureKind.UNAVAILABLE, f"{path} can't be read: {error.strerror}") from error
    if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
        raise Failure(FailureKind.UNAVAILABLE, f"{path} can be read or written by everybody on this machine")
    return read_small(path)
