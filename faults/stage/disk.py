"""A small disk that can be filled to the last byte and freed again."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Disk"]

_BLOCKS = (1 << 20, 1 << 14, 1 << 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """An in-memory file system of a fixed size."""

    path: Path

    @classmethod
    def mount(cls, path: Path, *, megabytes: int) -> Disk:
        """Make one at `path`. It is gone with the mount namespace."""
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "small", str(path)], check=True)
        return cls(path=path)

    @contextmanager
    def filled(self) -> Iterator[None]:
        """No byte is free when this begins; what others free meanwhile, `top_up` takes."""
        ballast = self.path / "ballast"
        try:
            self.top_up()
            yield
        finally:
            ballast.unlink(missing_ok=True)

    def top_up(self) -> None:
        """Take all that is free."""
        with (self.path / "ballast").open("ab", buffering=0) as file:
            for size in _BLOCKS:
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def free_bytes(self) -> int:
        """What is left."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize
