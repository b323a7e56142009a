"""What a fleet runs against: a database that counts its queries, one `idplane server`, and the operator."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from faults.stage.programs import Sample, StageError, sample
from idplane.agent.remote import HttpsUpstream, ServerAddress
from idplane.bootstrap.operator import OperatorKey
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.model.failure import Failure
from idplane.testing.postgres_cluster import Cluster, binaries, cluster

__all__ = ["Operator", "Plant", "Usage"]

_IDPLANE: Final = [sys.executable, "-c", "from idplane.cli.main import main; main()"]
_MANAGEMENT: Final = "https://management.azure.com"
_SETTINGS: Final = (
    "-c fsync=on -c max_connections=60 -c shared_preload_libraries=pg_stat_statements -c pg_stat_statements.track=top"
)
_START_SECONDS: Final = 30.0
_ATTEMPTS: Final = 3
_VERSIONS: Final = {
    "Microsoft.Compute": "2024-11-01",
    "Microsoft.ManagedIdentity": "2024-11-30",
    "Idplane.Workloads": "2026-11-01",
    "Idplane.Authority": "2026-11-01",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What server and database have used up to a moment."""

    at: float
    server: float
    """Seconds of processor time."""
    database: float
    queries: int
    held: Sample


@dataclass(kw_only=True)
class Plant:
    """A running database and server, until the context ends."""

    folder: Path
    running: Cluster
    port: int
    process: subprocess.Popen[str] | None = None
    operator_folder: Path = field(init=False)

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Plant]:
        """A new installation below an empty folder. Raises `StageError` where PostgreSQL is not installed."""
        installed = binaries()
        if installed is None:
            raise StageError("PostgreSQL (Debian's package postgresql) is not installed")
        with cluster(installed, settings=_SETTINGS) as running, socket.create_server(("127.0.0.1", 0)) as sock:
            plant = cls(folder=folder, running=running, port=sock.getsockname()[1])
            sock.close()
            plant.sql("create extension pg_stat_statements")
            plant._configure()
            try:
                plant.start()
                plant._let_in()
                yield plant
            finally:
                plant.stop(signal.SIGKILL)

    @property
    def url(self) -> str:
        """Of the server."""
        return f"https://localhost:{self.port}"

    @property
    def authority(self) -> bytes:
        """The CA behind the server's certificate."""
        return (self.operator_folder / "ca.pem").read_bytes()

    def start(self) -> float:
        """Start the server; the seconds until it says that it serves."""
        began = time.monotonic()
        command = [*_IDPLANE, "server", "--config", str(self.folder / "server.toml"), "--json"]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise StageError(f"the server did not start: {(self.folder / 'server.log').read_text()[-2000:]}")
        return time.monotonic() - began

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the server."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(_START_SECONDS)
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    def sql(self, text: str) -> str:
        """What a statement prints."""
        command = [str(self.running.binaries / "psql"), "-qAt", "-v", "ON_ERROR_STOP=1"]
        command += ["-d", self.running.url("postgres"), "-c", f"/* fleet */ {text}"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def usage(self) -> Usage:
        """Now."""
        assert self.process is not None
        held = sample(self.process.pid)
        if held is None:
            raise StageError("the server has ended")
        calls = self.sql("select coalesce(sum(calls), 0) from pg_stat_statements where query not like '%fleet%'")
        return Usage(
            at=time.monotonic(),
            server=_cpu(self.process.pid),
            database=_cpu_of_all(self._postmaster()),
            queries=int(calls),
            held=held,
        )

    def statements(self) -> Counter[str]:
        """How often each statement was asked since the last `forget_statements`."""
        said = self.sql(
            "select coalesce(json_agg(json_build_array(regexp_replace(query, '\\s+', ' ', 'g'), calls)), '[]') from pg_stat_statements"
            " where query not like '%fleet%'"
        )
        asked = Counter[str]()
        for statement, calls in json.loads(said):
            asked[statement] += calls
        return asked

    def feed_end(self) -> int:
        """The position of the last change."""
        return int(self.sql("select position from feed_end"))

    def forget_statements(self) -> None:
        """Count from zero again."""
        self.sql("select pg_stat_statements_reset()")

    def _configure(self) -> None:
        (self.folder / "server.toml").write_text(
            f'[server]\npublic_url = "{self.url}"\nlisten = "127.0.0.1:{self.port}"\ndata = "data"\n'
            f'[database]\nurl = "{self.running.url("postgres")}"\n[custody]\nfile = "custody.key"\n'
            "[replica]\nnotice_seconds = 0.2\ndrain_seconds = 5\n"
        )

    def _let_in(self) -> None:
        self.operator_folder = self.folder / "operator"
        command = ["admin", "operator", "--config", str(self.folder / "server.toml"), "--out", str(self.operator_folder)]
        subprocess.run([*_IDPLANE, *command], check=True, capture_output=True)

    def _postmaster(self) -> int:
        return int((self.running.folder / "data" / "postmaster.pid").read_text().split()[0])


class Operator:
    """The operator's calls to Resource Manager, over a few kept connections."""

    def __init__(self, plant: Plant) -> None:
        folder = plant.operator_folder
        self._plane = json.loads((folder / "plane.json").read_bytes())
        self._key = OperatorKey.from_pem((folder / "operator.pem").read_bytes())
        authority = plant.authority
        self._upstream = HttpsUpstream(
            servers=[ServerAddress.parse(plant.url)], authority=lambda: authority, clock=SystemClock(), entropy=SystemEntropy()
        )
        self._token = ""

    @property
    def group(self) -> str:
        """The resource group that everything is in."""
        return f"/subscriptions/{self._plane['subscription_id']}/resourceGroups/fleet"

    async def sign_in(self) -> None:
        """Get a token, which is good for an hour."""
        path = f"/{self._plane['tenant_id']}/oauth2/v2.0/token"
        form = self._key.token_request(
            client_id=self._plane["operator_client_id"],
            token_endpoint=self._plane["authority"] + path,
            resource=_MANAGEMENT,
            clock=SystemClock(),
            entropy=SystemEntropy(),
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await self._upstream.send("POST", path, headers, urlencode(form).encode())
        self._token = json.loads(answer.body)["access_token"]

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """A call that succeeds; its body. Raises `StageError`."""
        provider = path.rpartition("/providers/")[2].split("/")[0]
        target = f"{path}?api-version={_VERSIONS.get(provider, '2024-11-01')}"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        content = b"" if body is None else json.dumps(body).encode()
        for last in range(_ATTEMPTS - 1, -1, -1):
            try:
                answer = await self._upstream.send(method, target, headers, content)
            except Failure:
                if not last:
                    raise
                await asyncio.sleep(0.2)
                continue
            if answer.status >= 300:
                raise StageError(f"{method} {path}: {answer.status} {answer.body[:500]!r}")
            return json.loads(answer.body) if answer.body else None
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        """Hang up."""
        await self._upstream.close()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _cpu_of_all(pid: int) -> float:
    """Of a process and its children, of those that have ended as well."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ended = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    used = ended + _cpu(pid)
    for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # ended since
            used += _cpu(int(one))
    return used
