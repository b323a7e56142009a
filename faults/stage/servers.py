"""The servers of an installation, each a machine with a process of `idplane server` and a folder of its own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from faults.stage.balancer import Backend
from faults.stage.clocks import WallClock
from faults.stage.database import Database
from faults.stage.network import Place
from faults.stage.programs import Program, eventually
from idplane.bootstrap.server_settings import example

__all__ = ["HEALTH_PORT", "PORT", "PUBLIC_NAME", "Server", "hosts_lines", "idplane"]

PUBLIC_NAME: Final = "id.example.net"
"""What the installation is called, which is the balancer."""
PORT: Final = 8443
HEALTH_PORT: Final = 9464
HAS_HEALTH: Final = "[health]" in example()
_START_SECONDS: Final = 60.0
_CUSTODY: Final = "custody.key"

_SETTINGS: Final = """\
[server]
public_url = "https://{public}"
names = {names}
data = "data"
listen = "0.0.0.0:{port}"

[database]
url = "{url}"
passfile = "pgpass"
connections = 6

[custody]
file = "{custody}"

{health_section}
[replica]
notice_seconds = 2.0
drain_seconds = 10.0
lease_seconds = 5.0
"""


def idplane(*arguments: str) -> list[str]:
    """The command, as it is installed beside this Python."""
    return [sys.executable, str(Path(sys.executable).with_name("idplane")), *arguments]


def hosts_lines(balancer: str, vaults: Sequence[str]) -> str:
    """Lines of `/etc/hosts`: the installation and its vaults are at the balancer."""
    return "".join(f"{balancer} {name}\n" for name in (PUBLIC_NAME, *(f"{vault}.vault.{PUBLIC_NAME}" for vault in vaults)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server. All of an installation have the same custody key, each in a file of its own."""

    name: str
    folder: Path
    place: Place
    program: Program
    clock: WallClock = field(repr=False)

    @classmethod
    def create(
        cls, place: Place, folder: Path, *, names: Sequence[str], database: Database, logs: Path, custody: Path | None
    ) -> Server:
        """Settings and folder of a server, not yet started; `custody` is another server's key file, None for the first of all.

        `names` are the addresses of all servers: the installation's authority has to be good for each of them.
        """
        folder.mkdir()
        (folder / "pgpass").touch(mode=0o600)
        (folder / "pgpass").write_text(database.passfile_line, encoding="ascii")
        if custody is not None:
            shutil.copy(custody, folder / _CUSTODY)
        own = json.dumps([f"{one}:{PORT}" for one in names])
        values = {"address": place.address, "port": PORT, "health": HEALTH_PORT, "url": database.url, "names": own}
        section = f'[health]\nlisten = "{place.address}:{HEALTH_PORT}"\n' if HAS_HEALTH else ""
        text = _SETTINGS.format(public=PUBLIC_NAME, custody=_CUSTODY, health_section=section, **values)
        (folder / "server.toml").write_text(text, encoding="ascii")
        clock = WallClock(file=folder / "clock")
        command = idplane("server", "--config", str(folder / "server.toml"))
        program = Program(name=place.name, place=place, command=command, log=logs / f"{place.name}.log", clock=clock)
        return cls(name=place.name, folder=folder, place=place, program=program, clock=clock)

    @property
    def backend(self) -> Backend:
        """As the balancer sees it."""
        return Backend(name=self.name, address=self.place.address, port=PORT, health_port=HEALTH_PORT if HAS_HEALTH else PORT)

    @property
    def custody(self) -> Path:
        """Its key file."""
        return self.folder / _CUSTODY

    @property
    def description(self) -> Mapping[str, Any]:
        """What it says of itself in its folder."""
        found: Mapping[str, Any] = json.loads((self.folder / "data" / "plane.json").read_bytes())
        return found

    def start(self) -> float:
        """Start it, and wait until it serves; the seconds that it took. Raises `StageError`."""
        self.program.start()
        return eventually(f"{self.name} serves", self._serves, seconds=_START_SECONDS, alive=self.program)

    def _serves(self) -> bool:
        # The process writes this file when it listens; a killed one leaves its own behind.
        try:
            return self.description.get("pid") == self._pid_inside()
        except (OSError, ValueError):
            return False

    def _pid_inside(self) -> int:
        return self.program.pid
