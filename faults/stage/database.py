"""A PostgreSQL server (Debian's) on a machine of its own, on a disk that is small enough to be filled."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from faults.stage.disk import Disk
from faults.stage.network import Network, Place
from faults.stage.programs import Program, StageError, eventually
from idplane.testing.postgres_cluster import binaries

__all__ = ["Database"]

_USER: Final = "idplane"
_NAME: Final = "plane"
_PORT: Final = 5432
_MEGABYTES: Final = 320
_START_SECONDS: Final = 60.0
_OTHER_USER: Final = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
_SETTINGS: Final = {
    "listen_addresses": "*",
    "fsync": "off",  # programs are killed here, never the machine
    "max_wal_size": "32MB",
    "min_wal_size": "4MB",
    "shared_buffers": "48MB",
    "max_connections": "60",
    "log_min_duration_statement": "-1",
    "log_line_prefix": "%m [%p] ",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A cluster with one database. Whoever comes over the network shows a password; this process needs none at the socket."""

    place: Place
    disk: Disk
    folder: Path
    server: Program
    password: str

    @classmethod
    def create(cls, place: Place, folder: Path, *, password: str, logs: Path) -> Database:
        """A new cluster on a new small disk at `folder`, running. Raises `StageError` where PostgreSQL is not installed."""
        installed = binaries()
        if installed is None:
            raise StageError("PostgreSQL (Debian's package postgresql) is not installed")
        disk = Disk.mount(folder, megabytes=_MEGABYTES)
        demoted = _demoted(folder)
        _make(installed, folder, demoted, password)
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [*demoted, str(installed / "postgres"), "-D", str(folder / "data"), "-k", str(folder), *options]
        server = Program(name="postgresql", place=place, command=command, log=logs / "postgresql.log")
        made = cls(place=place, disk=disk, folder=folder, server=server, password=password)
        made.start()
        made.sql(f"create database {_NAME}", database="postgres")
        return made

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self.place.address}:{_PORT}"

    @property
    def url(self) -> str:
        """Without the password."""
        return f"postgresql://{_USER}@{self.address}/{_NAME}"

    @property
    def passfile_line(self) -> str:
        """The password, as password files have it."""
        return f"{self.place.address}:{_PORT}:{_NAME}:{_USER}:{self.password}\n"

    def start(self) -> None:
        """Start it, and wait until it answers. One that was just killed may have to be started more than once."""
        self.server.start()
        eventually("PostgreSQL answers", self._answers_or_starts_again, seconds=_START_SECONDS)

    def _answers_or_starts_again(self) -> bool:
        if not self.server.is_running():
            self.server.start()
        return self.answers()

    def answers(self) -> bool:
        """Whether it answers a query now."""
        return self._psql("postgres", "select 1").returncode == 0

    def end(self, how: signal.Signals) -> None:
        """SIGINT is its fast shutdown, SIGQUIT its immediate one, SIGKILL no shutdown at all."""
        self.server.end(how)

    def sql(self, statement: str, *, database: str = _NAME) -> list[list[str]]:
        """Run a statement as the owner; rows of texts. Raises `StageError`."""
        done = self._psql(database, statement)
        if done.returncode != 0:
            raise StageError(f"SQL failed: {done.stderr.strip()}")
        return [line.split("\x1f") for line in done.stdout.splitlines() if line]

    def dump(self) -> str:
        """The whole database as SQL, with all data."""
        command = ["pg_dump", "-h", str(self.folder), "-U", _USER, _NAME]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def _psql(self, database: str, statement: str) -> subprocess.CompletedProcess[str]:
        command = ["psql", "-X", "-q", "-A", "-t", "-F", "\x1f", "-h", str(self.folder), "-U", _USER, "-c", statement, database]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def _demoted(folder: Path) -> Sequence[str]:
    """What makes a command another user's, since PostgreSQL refuses to run as root; `folder` becomes that user's."""
    count = int(Path("/proc/self/uid_map").read_text(encoding="ascii").split()[2])
    if count == 1:
        # A user namespace with one user: a further one, in which the same user has another number.
        return _OTHER_USER
    shutil.chown(folder, "postgres", "postgres")
    return ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--")


def _make(installed: Path, folder: Path, demoted: Sequence[str], password: str) -> None:
    secret = Path("/run/first-password")
    secret.write_text(password, encoding="ascii")
    secret.chmod(0o644)
    options = ["-U", _USER, f"--pwfile={secret}", "--auth-local=trust", "--auth-host=scram-sha-256"]
    command = [
        *demoted,
        str(installed / "initdb"),
        "-D",
        str(folder / "data"),
        *options,
        "-E",
        "UTF8",
        "--no-sync",
        "--wal-segsize=1",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")
    secret.unlink()
    with (folder / "data" / "pg_hba.conf").open("a", encoding="ascii") as file:
        file.write(f"host all all {Network.address}/16 scram-sha-256\n")
