"""A PostgreSQL cluster in a temporary folder, for tests and benchmarks: reached by a Unix socket only, gone when they end."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cluster", "binaries", "cluster"]

_OWNER = "postgres"
"""PostgreSQL refuses to run as root; then it runs as its package's own user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that trusts whoever reaches its socket."""

    folder: Path
    binaries: Path
    settings: str

    def url(self, database: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://idplane@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._control("start", "-l", str(self.folder / "log"), "-o", f"-k {self.folder} -c listen_addresses='' {self.settings}")

    def stop(self) -> None:
        """Stop it as a crash would: without a word to its clients, and without writing anything down."""
        self._control("stop", "-m", "immediate")

    def _control(self, *arguments: str) -> None:
        _run(self.binaries, "pg_ctl", "-D", str(self.folder / "data"), "-w", *arguments)


def binaries() -> Path | None:
    """The folder of the newest server that Debian's package installed, None without one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda it: int(it.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def cluster(installed: Path, *, settings: str = "-c fsync=off") -> Iterator[Cluster]:
    """A running cluster; `settings` are the server's command-line options."""
    # A socket's path is at most 107 bytes long, so this is not below the test's own folder.
    folder = Path(tempfile.mkdtemp(prefix="idplane-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _OWNER)
        _run(installed, "initdb", "-D", str(folder / "data"), "-U", "idplane", "--auth=trust", "--no-sync", "-E", "UTF8")
        running = Cluster(folder=folder, binaries=installed, settings=settings)
        running.start()
        try:
            yield running
        finally:
            running.stop()
    finally:
        shutil.rmtree(folder)


def _run(installed: Path, program: str, *arguments: str) -> None:
    user = pwd.getpwnam(_OWNER).pw_uid if os.geteuid() == 0 else None
    command = [str(installed / program), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=user, cwd="/")  # noqa: S603 - our own arguments
