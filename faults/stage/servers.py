"""The servers of an installation, each a machine with a process of `idplane server` and a folder of its own."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

from faults.stage.balancer import BALANCER_ADDRESS, Backend
from faults.stage.clocks import WallClock
from faults.stage.collector import ENDPOINT
from faults.stage.database import Database
from faults.stage.network import Place
from faults.stage.programs import Program, eventually

__all__ = ["HEALTH_PORT", "PORT", "PUBLIC_NAME", "Server", "difference_at", "hosts_lines", "idplane", "told_at"]

PUBLIC_NAME: Final = "id.example.net"
"""What the installation is called, which is the balancer."""
PORT: Final = 8443
HEALTH_PORT: Final = 9464
_START_SECONDS: Final = 60.0
_CUSTODY: Final = "custody.key"

_SETTINGS: Final = """\
[server]
public_url = "https://{public}"
names = {names}
proxies = ["{proxy}"]
data = "data"
listen = "0.0.0.0:{port}"

[database]
url = "{url}"
passfile = "pgpass"
connections = 6

[custody]
file = "{custody}"

[health]
listen = "{address}:{health}"

[log]
format = "json"
level = "debug"
requests = true

[tracing]
endpoint = "{collector}"
ratio = 0.2
[replica]
notice_seconds = 4.0
drain_seconds = 4.0
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
        values["proxy"] = BALANCER_ADDRESS
        text = _SETTINGS.format(public=PUBLIC_NAME, custody=_CUSTODY, collector=ENDPOINT, **values)
        (folder / "server.toml").write_text(text, encoding="ascii")
        clock = WallClock(file=folder / "clock")
        command = idplane("server", "--config", str(folder / "server.toml"))
        program = Program(name=place.name, place=place, command=command, log=logs / f"{place.name}.log", clock=clock)
        return cls(name=place.name, folder=folder, place=place, program=program, clock=clock)

    @property
    def backend(self) -> Backend:
        """As the balancer sees it."""
        return Backend(name=self.name, address=self.place.address, port=PORT, health_port=HEALTH_PORT)

    @property
    def custody(self) -> Path:
        """Its key file."""
        return self.folder / _CUSTODY

    @property
    def description(self) -> Mapping[str, Any]:
        """What it says of itself in its folder."""
        found: Mapping[str, Any] = json.loads((self.folder / "data" / "plane.json").read_bytes())
        return found

    def clock_difference(self) -> float:
        """How far its wall clock is ahead of ours, by the date of an answer."""
        return difference_at(self.place, f"https://{self.place.address}:{PORT}/common/discovery/v2.0/keys")

    def metrics(self) -> bytes:
        """What it tells Prometheus."""
        return told_at(self.place, f"http://{self.place.address}:{HEALTH_PORT}/metrics")

    def start(self) -> float:
        """Start it, and wait until it serves; the seconds that it took. Raises `StageError`."""
        self.program.start()
        return eventually(f"{self.name} serves", self._serves, seconds=_START_SECONDS, alive=self.program)

    def _serves(self) -> bool:
        # The process writes this file when it listens; a killed one leaves its own behind.
        try:
            return self.description.get("pid") == self.program.pid
        except (OSError, ValueError):
            return False


def difference_at(place: Place, url: str) -> float:
    """Seconds that the date of an answer is ahead of ours; asked on the machine itself. Raises `CalledProcessError`."""
    script = (
        "import ssl, sys, urllib.request as u, urllib.error as e\n"
        "try: answer = u.urlopen(sys.argv[1], timeout=10, context=ssl._create_unverified_context())\n"
        "except e.HTTPError as error: answer = error\n"
        "print(answer.headers['date'])"
    )
    date = parsedate_to_datetime(place.run(sys.executable, "-c", script, url).strip())
    return date.timestamp() - time.time()


def told_at(place: Place, url: str) -> bytes:
    """What a private listener answers, asked on its own machine. Raises `CalledProcessError`."""
    script = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())"
    return place.run(sys.executable, "-c", script, url).encode()
