"""The data folder of an installation: private to its owner, used by one process at a time.

Every problem that a person can cause and mend here is one clear sentence (design section 11), never a stack trace.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["DataFolder", "DataFolderProblem", "sync_folder"]

_PID_BYTES = 32


class DataFolderProblem(Exception):  # noqa: N818 - it is what the person at the terminal reads
    """Why a data folder cannot be used; its text is one sentence for the person who asked."""


class DataFolder:
    """An open data folder, locked until `close` or the end of the process, however that comes.

    Holds `database`, `key_file` and whatever else the installation keeps; all are created readable by their owner only.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path) -> DataFolder:
        """Create the folder if needed and take its lock; raises `DataFolderProblem`."""
        path = path.expanduser().absolute()
        _make(path)
        return cls(path, _take_lock(path))

    @staticmethod
    def holder(path: Path) -> int | None:
        """The process that has the folder open, None when nobody has; reads only."""
        try:
            lock = os.open(path.expanduser() / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_pid(lock)
        except OSError:
            return None
        finally:
            os.close(lock)
        return None

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "idplane.sqlite"

    @property
    def key_file(self) -> Path:
        """The key-encryption key (`store.custody`)."""
        return self.path / "custody.key"

    def close(self) -> None:
        """Let the next process in."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def sync_folder(path: Path) -> None:
    """Make new names in a folder durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except FileExistsError as error:
        raise DataFolderProblem(f"the data folder {path} is a file: name a folder") from error
    except OSError as error:
        raise DataFolderProblem(f"the data folder {path} cannot be created: {_reason(error)}") from error
    if stat.S_IMODE(status.st_mode) & stat.S_IWOTH:
        raise DataFolderProblem(f"everybody may write to the data folder {path}: make it private with chmod 700")


def _take_lock(path: Path) -> int:
    try:
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataFolderProblem(f"the data folder {path} is not writable: {_reason(error)}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_pid(lock)
    except BlockingIOError as error:
        pid = _read_pid(lock)
        os.close(lock)
        who = f"process {pid}" if pid else "another process"
        raise DataFolderProblem(f"{who} is already running on the data folder {path}") from error
    except OSError as error:
        os.close(lock)
        raise DataFolderProblem(f"the data folder {path} cannot be locked: {_reason(error)}") from error
    return lock


def _write_pid(lock: int) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _read_pid(lock: int) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(os.pread(lock, _PID_BYTES, 0))
    return None


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
