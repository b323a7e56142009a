"""What rules about processes need to know of this machine: users, groups, and which file a path or a process means. Blocks."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
import threading
from collections import OrderedDict
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

from idplane.agent.bindings import ProcessFacts

__all__ = ["MachineLookups"]

_MAX_FILE = 1024**3
_PIECE = 1024 * 1024
_MAX_DIGESTS = 256
_FileState: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, modified, changed, size."""


class MachineLookups:
    """Implements `bindings.Lookups`. Used by several threads."""

    def __init__(self) -> None:
        self._digests: OrderedDict[_FileState, str] = OrderedDict()
        self._lock = threading.Lock()

    def user(self, name: str) -> int | None:
        """A user's number."""
        try:
            return pwd.getpwnam(name).pw_uid
        except (KeyError, OSError, ValueError):
            return None

    def group(self, name: str) -> int | None:
        """A group's number."""
        try:
            return grp.getgrnam(name).gr_gid
        except (KeyError, OSError, ValueError):
            return None

    def file_at(self, path: str) -> tuple[int, int] | None:
        """The file at an absolute path, found folder by folder without following any link.

        A file that another one was mounted over is none: its path says nothing about what lies there now.
        """
        folders = path.split("/")
        if folders[0] or any(name in {"", ".", ".."} for name in folders[1:]):
            return None
        try:
            with ExitStack() as held:
                folder = _opened("/", os.O_DIRECTORY, None, held)
                for name in folders[1:-1]:
                    folder = _opened(name, os.O_DIRECTORY, folder, held)
                file = _opened(folders[-1], 0, folder, held)
                found = os.fstat(file)
                plain = stat.S_ISREG(found.st_mode) and _mount_of(file) == _mount_of(folder)
        except (OSError, ValueError, LookupError):
            return None
        return (found.st_dev, found.st_ino) if plain else None

    def digest(self, process: ProcessFacts) -> str | None:
        """SHA-256 of the file that a process executes, read through the process so that no path can lead elsewhere."""
        try:
            with Path(f"/proc/{process.pid}/exe").open("rb") as file:
                state = _state(file.fileno())
                if state[:2] != (process.executable.device, process.executable.inode) or state[4] > _MAX_FILE:
                    return None
                known = self._known(state)
                if known is not None:
                    return known
                digest = hashlib.sha256()
                while piece := file.read(_PIECE):
                    digest.update(piece)
                return self._kept(state, digest.hexdigest()) if _state(file.fileno()) == state else None
        except OSError:
            return None

    def _known(self, state: _FileState) -> str | None:
        with self._lock:
            return self._digests.get(state)

    def _kept(self, state: _FileState, digest: str) -> str:
        with self._lock:
            self._digests[state] = digest
            if len(self._digests) > _MAX_DIGESTS:
                self._digests.popitem(last=False)
        return digest


def _opened(name: str, flags: int, folder: int | None, held: ExitStack) -> int:
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    held.callback(os.close, descriptor)
    return descriptor


def _mount_of(descriptor: int) -> str:
    """The id of the mount that an open file lies on (proc_pid_fdinfo(5))."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
    return next(line for line in lines if line.startswith("mnt_id:"))


def _state(descriptor: int) -> _FileState:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
