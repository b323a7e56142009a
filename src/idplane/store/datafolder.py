"""The data folder of an installation: private to its owner, used by one process at a time.

Every problem that a person can cause and mend here is one clear sentence (design section 11), never a stack trace.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from idplane.model.failure import os_reason
from idplane.ports.folder_lock import lock_folder

__all__ = ["DataFolder", "DataFolderProblem", "sync_folder"]


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
        return cls(path, lock_folder(path, what="data folder", problem=DataFolderProblem))

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
        raise DataFolderProblem(f"the data folder {path} cannot be created: {os_reason(error)}") from error
    if stat.S_IMODE(status.st_mode) & stat.S_IWOTH:
        raise DataFolderProblem(f"everybody may write to the data folder {path}: make it private with chmod 700")
