"""Servers as processes over a PostgreSQL cluster, and a balancer before them."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.needed import missing

from idplane.bootstrap.operator import OperatorKey
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.testing.postgres_cluster import Cluster

__all__ = ["IDPLANE", "Installation", "Keeping", "balancer", "free_port", "haproxy", "psql"]

IDPLANE = [sys.executable, "-c", "from idplane.cli.main import main; main()"]
_SECONDS = 30.0
_numbers = itertools.count()


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def psql(running: Cluster, database: str, text: str) -> str:
    """What a statement prints."""
    command = [str(running.binaries / "psql"), "-qAt", "-v", "ON_ERROR_STOP=1", "-d", running.url(database), "-c", text]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass
class Installation:
    """Settings of servers that share a database, in a folder; and those of them that run."""

    folder: Path
    url: str
    public_port: int
    replica: str = "notice_seconds = 0.5\ndrain_seconds = 10"
    more: str = ""
    server: str = ""
    """Further lines of `[server]`."""
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    programs: dict[str, tuple[tuple[str, ...], Mapping[str, str]]] = field(default_factory=dict)
    """Servers that are another version: what runs their commands, and its environment."""

    @classmethod
    def create(cls, folder: Path, running: Cluster) -> Installation:
        """One with a new database."""
        name = f"servers{next(_numbers)}"
        psql(running, "postgres", f"create database {name}")
        return cls(folder=folder, url=running.url(name), public_port=free_port())

    def config(self, name: str) -> Path:
        """The settings file of a server, written now."""
        port = self.ports.setdefault(name, free_port())
        path = self.folder / f"{name}.toml"
        path.write_text(
            f"""[server]
public_url = "https://localhost:{self.public_port}"
listen = "127.0.0.1:{port}"
data = "{name}"
{self.server}
[database]
url = "{self.url}"
[custody]
file = "custody.key"
[replica]
{self.replica}
{self.more}
"""
        )
        return path

    def launch(self, name: str) -> subprocess.Popen[str]:
        """Start a server, without waiting."""
        program, environment = self.programs.get(name, (tuple(IDPLANE), None))
        command = [*program, "server", "--config", str(self.config(name)), "--json"]
        log = (self.folder / f"{name}.log").open("a")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        log.close()
        self.processes[name] = process
        return process

    def start(self, *names: str) -> None:
        """Start servers at once, and wait until each says that it is ready."""
        for one in [self.launch(name) for name in names]:
            assert one.stdout is not None
            line = one.stdout.readline()
            assert line, self.logs()
            assert json.loads(line)["ready"] is True

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        """End a server; its exit code."""
        process = self.processes.pop(name)
        process.send_signal(number)
        code = process.wait(_SECONDS)
        assert process.stdout is not None
        process.stdout.close()
        return code

    def stop_all(self) -> None:
        """End those that still run."""
        for name in list(self.processes):
            self.processes[name].send_signal(signal.SIGCONT)
            self.stop(name, signal.SIGKILL)

    def logs(self) -> str:
        """What the servers wrote to standard error."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def operator(self) -> Path:
        """A folder to act as the operator from."""
        out = self.folder / "operator"
        if not out.exists():
            command = [*IDPLANE, "admin", "operator", "--config", str(self.config("admin")), "--out", str(out)]
            subprocess.run(command, check=True, capture_output=True)
        return out

    def client(self, port: int | None = None, source: str | None = None) -> Keeping:
        """A client with a connection that it keeps, at a port or at the balancer, from an address of this machine."""
        return Keeping(self.operator(), port or self.public_port, source)


class Keeping:
    """An HTTP client that keeps its connection as long as the server does, and never asks twice."""

    def __init__(self, folder: Path, port: int, source: str | None = None) -> None:
        self.plane = json.loads((folder / "plane.json").read_text())
        self._key = OperatorKey.from_pem((folder / "operator.pem").read_bytes())
        context = ssl.create_default_context(cafile=folder / "ca.pem")
        own = (source, 0) if source else None
        self._connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=_SECONDS, source_address=own)
        self._host = f"localhost:{self.plane['arm'].rpartition(':')[2]}"
        self.closed = 0
        """How often the server said that an answer was its connection's last."""

    def ask(
        self,
        method: str,
        path: str,
        *,
        form: Mapping[str, str] | None = None,
        document: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON body."""
        body = None if form is None else urlencode(form)
        sent = {"Host": self._host, **(headers or {})}
        if form is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        elif document is not None:
            body = json.dumps(document)
            sent["Content-Type"] = "application/json"
        self._connection.request(method, path, body=body, headers=sent)
        response = self._connection.getresponse()
        content = response.read()
        self.closed += response.getheader("connection") == "close"
        return response.status, json.loads(content or b"{}")

    def token(self, resource: str = "https://management.azure.com") -> tuple[int, dict[str, Any]]:
        """The token endpoint's answer."""
        path = f"/{self.plane['tenant_id']}/oauth2/v2.0/token"
        form = self._key.token_request(
            client_id=self.plane["operator_client_id"],
            token_endpoint=self.plane["authority"] + path,
            resource=resource,
            clock=SystemClock(),
            entropy=SystemEntropy(),
        )
        return self.ask("POST", path, form=form)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@contextmanager
def balancer(folder: Path, installation: Installation, *names: str, options: str = "") -> Iterator[None]:
    """HAProxy at the public port, before some servers."""
    servers = (f"server {name} 127.0.0.1:{installation.ports[name]} {options}" for name in names)
    with haproxy(folder, installation.public_port, *servers):
        yield


@contextmanager
def haproxy(folder: Path, port: int, *servers: str) -> Iterator[None]:
    """HAProxy at a port, passing TCP on to servers, which are lines of its settings."""
    program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        missing("HAProxy is not installed (Debian: apt-get install haproxy)")
    lines = "\n".join(f"  {server}" for server in servers)
    config = folder / "haproxy.cfg"
    config.write_text(
        f"""global
  maxconn 1000
defaults
  mode tcp
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  retries 3
  option redispatch 1
  default-server check inter 100ms fall 1 rise 1
frontend public
  bind 127.0.0.1:{port}
  default_backend servers
backend servers
  balance roundrobin
{lines}
"""
    )
    with subprocess.Popen([program, "-db", "-f", str(config)], stderr=subprocess.DEVNULL) as process:
        try:
            _await_listener(port)
            yield
        finally:
            process.kill()


def _await_listener(port: int) -> None:
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            threading.Event().wait(0.02)
        else:
            return
    pytest.fail(f"nobody listens at port {port}")
