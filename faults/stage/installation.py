"""A whole installation: database, two servers, balancer and any number of hosts, each on a machine of its own."""

from __future__ import annotations

import secrets
import signal
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Final

from faults.stage.agents import OWN_ADDRESSES, OWN_FOLDERS, Host
from faults.stage.balancer import BALANCER_ADDRESS, balancer
from faults.stage.collector import collecting
from faults.stage.database import Database
from faults.stage.network import Network, Place
from faults.stage.operator import Operator
from faults.stage.programs import Program, eventually
from faults.stage.readiness import Readiness
from faults.stage.servers import Server, hosts_lines

__all__ = ["VAULT", "Installation", "names"]

VAULT: Final = "shared"
_SERVERS: Final = {"server-1": 11, "server-2": 12}
_DATABASE: Final = 20
_FIRST_HOST: Final = 31
_UP_SECONDS: Final = 20.0
_GROUP: Final = {"location": "westeurope"}
_OFFICER: Final = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
_READER_OF_SECRETS: Final = "4633458b-17de-408a-b874-0445c86b69e6"


def names() -> str:
    """Lines of `/etc/hosts` that the room has to have."""
    return hosts_lines(BALANCER_ADDRESS, [VAULT])


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A running one. Everything that it writes is below `folder`."""

    folder: Path
    logs: Path
    network: Network
    collector: ThreadingHTTPServer
    readiness: Readiness
    database: Database
    balancer: Program
    balancer_place: Place
    servers: tuple[Server, ...]
    operator: Operator
    hosts: tuple[Host, ...]
    secret: str = field(repr=False)
    """The value of the secret `shared` in the vault, which every host may read."""

    @classmethod
    def open(cls, folder: Path, *, hosts: Sequence[str]) -> Installation:
        """Start everything, in a folder that exists and is empty. Raises `StageError`."""
        logs = folder / "logs"
        logs.mkdir()
        network = Network()
        collector = collecting(folder / "traces")
        database = Database.create(
            network.place("database", _DATABASE), folder / "database", password=secrets.token_urlsafe(24), logs=logs
        )
        servers = _started_servers(network, folder, database, logs)
        readiness = Readiness(servers=servers, file=logs / "readiness.log")
        readiness.start()
        place = network.place("balancer", int(BALANCER_ADDRESS.rpartition(".")[2]))
        front = balancer(place, folder, [one.backend for one in servers], logs=logs)
        front.start()
        eventually("both servers are balanced", lambda: _is_up(folder, servers), seconds=_UP_SECONDS, alive=front)
        operator = Operator.create(servers[0], folder / "operator")
        operator.call("PUT", operator.group, _GROUP)
        value = secrets.token_urlsafe(32)
        _make_vault(operator, value)
        places = [
            network.place(name, _FIRST_HOST + at, extra=OWN_ADDRESSES, folders=OWN_FOLDERS) for at, name in enumerate(hosts)
        ]
        made = tuple(Host.create(one, folder / one.name, operator=operator, logs=logs) for one in places)
        with ThreadPoolExecutor() as pool:
            list(pool.map(Host.start, made))
        for host in made:
            host.trust_own_tokens(operator)
            operator.grant(host.identity, _READER_OF_SECRETS, operator.group)
        return cls(
            folder=folder,
            logs=logs,
            network=network,
            collector=collector,
            readiness=readiness,
            database=database,
            balancer=front,
            balancer_place=place,
            servers=servers,
            operator=operator,
            hosts=made,
            secret=value,
        )

    def programs(self) -> Iterator[Program]:
        """All that runs."""
        yield from (self.database.server, self.balancer)
        yield from (one.program for one in self.servers)
        yield from (one.program for one in self.hosts)

    def idplane_programs(self) -> Iterator[Program]:
        """Those that are ours."""
        yield from (one.program for one in self.servers)
        yield from (one.program for one in self.hosts)

    def restart(self, server: Server) -> None:
        """Start a server that has ended, and wait until it has its share of connections."""
        server.start()
        eventually(f"{server.name} is balanced", lambda: self.is_balanced(server), seconds=_UP_SECONDS, alive=server.program)

    def is_balanced(self, server: Server) -> bool:
        """Whether the balancer sends connections to a server."""
        return _is_up(self.folder, [server])

    def close(self) -> list[str]:
        """End everything in order; a sentence for each program that did not end well. The first to go is who needs the others."""
        ended = [
            (one, one.stop()) for one in (*(host.program for host in self.hosts), *(server.program for server in self.servers))
        ]
        self.readiness.stop()
        self.balancer.end(signal.SIGTERM)
        self.database.end(signal.SIGINT)
        self.collector.shutdown()
        self.collector.server_close()
        self.network.close()
        return [f"{program.name} ended with {code}" for program, code in ended if code != 0]


def _started_servers(network: Network, folder: Path, database: Database, logs: Path) -> tuple[Server, ...]:
    places = [network.place(name, last) for name, last in _SERVERS.items()]
    addresses = [place.address for place in places]
    servers: list[Server] = []
    for place in places:
        custody = servers[0].custody if servers else None
        made = Server.create(place, folder / place.name, names=addresses, database=database, logs=logs, custody=custody)
        made.start()
        servers.append(made)
    return tuple(servers)


def _make_vault(operator: Operator, value: str) -> None:
    vault = f"{operator.group}/providers/Microsoft.KeyVault/vaults/{VAULT}"
    properties = {
        "tenantId": operator.plane["tenant_id"],
        "sku": {"family": "A", "name": "standard"},
        "enableRbacAuthorization": True,
    }
    operator.call("PUT", vault, {"location": "westeurope", "properties": properties})
    operator.grant(operator.object_id, _OFFICER, vault)
    operator.set_secret(VAULT, "shared", value)


def _is_up(folder: Path, servers: Sequence[Server]) -> bool:
    """Whether the balancer sends connections to each of these."""
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(folder / "haproxy.sock"))
            sock.sendall(b"show stat\n")
            sock.shutdown(socket.SHUT_WR)
            rows = [line.split(",") for line in sock.makefile().read().splitlines()]
    except OSError:
        return False
    # Of each row: proxy, server, then the status as column 17.
    states = {row[1]: row[17] for row in rows if len(row) > 17}
    return all(states.get(one.name, "").startswith("UP") for one in servers)
