"""A folder that one process at a time uses: a file in it that is locked until its descriptor is closed, or the process ends, however that comes.

Servers and agents keep their own folders so, and neither imports the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

from idplane.model.failure import os_reason

__all__ = ["lock_folder"]

_LOCK: Final = "lock"
_PID_BYTES: Final = 32


def lock_folder(path: Path, *, what: str, problem: type[Exception]) -> int:
    """The descriptor of the lock. Raises `problem`, in one sentence for the person who asked; `what` says which folder it is."""
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise problem(f"the {what} {path} is not writable: {os_reason(error)}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        pid = _pid(lock)
        os.close(lock)
        who = f"process {pid}" if pid else "another process"
        raise problem(f"{who} is already running on the {what} {path}") from error
    except OSError as error:
        os.close(lock)
        raise problem(f"the {what} {path} cannot be locked: {os_reason(error)}") from error
    return lock


def _pid(lock: int) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(os.pread(lock, _PID_BYTES, 0))
    return None
