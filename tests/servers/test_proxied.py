"""Behind a real balancer that speaks the PROXY protocol: TLS and clients' certificates go through it, and addresses are the clients'."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.attacks.joining import Answer, JoinWorld, Machine, join_world
from tests.needed import postgres, program
from tests.servers.server_world import Installation, balancer, free_port, haproxy, psql
from tests.unit.directory.hosts_world import VM

from idplane.bootstrap.world import SystemClock
from idplane.model.directory import AgentState
from idplane.testing.postgres_cluster import Cluster
from idplane.testing.worlds import FakeClock
from idplane.web.origins import Origins
from idplane.web.proxy_header import Proxies

pytestmark = pytest.mark.wide

BALANCER, HERE, THERE, STRANGER = "127.0.0.1", "127.0.0.31", "127.0.0.32", "127.0.0.33"


class _Balanced(JoinWorld):
    """The first server of a world, asked over TLS through HAProxy; each machine has an address and shows its certificate."""

    port: int
    folder: Path
    keys: dict[bytes, bytes]

    def context(self, certificate: bytes | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.servers[0].tls.ca_pem.decode())
        if certificate is not None:
            pem = self.folder / "client.pem"
            pem.write_bytes(self.keys[certificate] + ssl.DER_cert_to_PEM_cert(certificate).encode())
            context.load_cert_chain(pem)
        return context

    def knows(self, machine: Machine) -> None:
        self.keys[machine.certificate] = machine.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    async def send(  # noqa: PLR0913 - as the method that it replaces
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        replica: int = 0,
        address: str = HERE,
        certificate: bytes | None = None,
        host: str = "localhost",
        connected_at: float | None = None,
    ) -> Answer:
        assert replica == 0
        assert connected_at is None
        content = b"" if body is None else json.dumps(body).encode()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.context(certificate), server_hostname="localhost", local_addr=(address, 0)
        )
        lines = {
            "Host": host,
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in {**lines, "Connection": "close"}.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        received = await reader.read()
        writer.close()
        top, _, rest = received.partition(b"\r\n\r\n")
        return Answer(int(top.split()[1]), json.loads(rest))


@asynccontextmanager
async def _balanced(folder: Path, version: str) -> AsyncIterator[_Balanced]:
    # TLS judges certificates by the machine's clock.
    async with join_world(clock=FakeClock(SystemClock().now())) as made:
        world = _Balanced(made.store, made.clock, made.entropy, made.servers, made.system, made.shared)
        world.port, world.folder, world.keys = free_port(), folder, {}
        with socket.create_server(("127.0.0.1", 0)) as sock:
            listener = await world.servers[0].listen(sock, origins=Origins.local(443), proxies=Proxies.parse([BALANCER]))
            server = f"server one 127.0.0.1:{sock.getsockname()[1]} {version} check inter 50ms"
            with haproxy(folder, world.port, server):
                yield world
            await listener.close()


@pytest.mark.parametrize("version", ["send-proxy-v2", "send-proxy", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
async def test_a_clone_is_locked_and_both_addresses_are_told(tmp_path: Path, version: str) -> None:
    async with _balanced(tmp_path, version) as world:
        machine = await world.joined(address=HERE)
        world.knows(machine)
        copy = machine.copied(THERE)
        machine.accept(await machine.renew())
        world.knows(machine)
        assert (await machine.host()).status == 200
        assert (await copy.host()).code == (403, "AGENT_LOCKED")
        record = await machine.record()
        assert record is not None
        assert record.state is AgentState.LOCKED
        assert record.addresses == (THERE, HERE)
        assert HERE in record.state_because
        assert THERE in record.state_because
        event = await world.last_event()
        assert (event.properties["shownFrom"], event.properties["renewedFrom"]) == (THERE, HERE)
        assert event.client_address == THERE


async def test_another_s_certificate_proves_nothing_through_it_either(tmp_path: Path) -> None:
    async with _balanced(tmp_path, "send-proxy-v2") as world:
        machine, other = await world.joined(address=HERE), await world.joined(address=THERE, name="other")
        world.knows(machine)
        world.knows(other)
        assert (await machine.host()).status == 200
        body = {"Authorization": f"Bearer {machine.proof()}"}
        path = f"/agent/v1/host?id={VM}"
        assert (await world.send("GET", path, None, body, certificate=other.certificate)).status == 401
        assert (await world.send("GET", path, None, body)).status == 401


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with postgres() as running:
        yield running


@contextmanager
def _proxied(cluster: Cluster, folder: Path) -> Iterator[Installation]:
    servers = Installation.create(folder, cluster)
    servers.server = f'proxies = ["{BALANCER}"]'
    try:
        servers.start("one", "two")
        with balancer(folder, servers, "one", "two", options="send-proxy-v2"):
            yield servers
    finally:
        servers.stop_all()


def test_servers_log_who_asked_and_believe_no_stranger(cluster: Cluster, tmp_path: Path) -> None:
    with _proxied(cluster, tmp_path) as servers:
        for source in (HERE, THERE):
            with closing(servers.client(source=source)) as client:
                assert client.token()[0] == 200
        with closing(servers.client(servers.ports["one"], source=STRANGER)) as client:
            assert client.token()[0] == 200
        logged = psql(cluster, urlsplit(servers.url).path[1:], "select doc from sign_ins")
        seen = {json.loads(line)["client_address"] for line in logged.splitlines()}
        assert seen == {HERE, THERE, STRANGER}
        _assert_not_believed(servers)
        for name in ("one", "two"):
            assert servers.stop(name) == 0
        assert "PROXY" not in servers.logs()


def _assert_not_believed(servers: Installation) -> None:
    claimed = b"PROXY TCP4 192.0.2.66 127.0.0.1 1 2\r\n"
    for source, ahead in ((STRANGER, claimed), (STRANGER, claimed * 2)):
        with socket.create_connection(("127.0.0.1", servers.ports["one"]), source_address=(source, 0)) as sock:
            sock.sendall(ahead)
            context = ssl.create_default_context(cafile=servers.operator() / "ca.pem")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(sock, server_hostname="localhost")


@program("openssl")
def test_a_balancer_that_does_not_speak_it_is_told_of(cluster: Cluster, tmp_path: Path) -> None:
    servers = Installation.create(tmp_path, cluster)
    servers.server = f'proxies = ["{BALANCER}"]'
    try:
        servers.start("one")
        with balancer(tmp_path, servers, "one"):
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{servers.public_port}"]
            answer: Any = subprocess.run(command, check=False, capture_output=True, input=b"")
            assert answer.returncode != 0
        assert "127.0.0.1, one of the [server] proxies, has no PROXY header" in servers.logs()
    finally:
        servers.stop_all()
