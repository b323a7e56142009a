"""After an authority's end: nobody gets in by what it issued, by an open connection or by a session of before. Real OpenSSL clients."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.attacks.table import met_by

from idplane.bootstrap.plane import EMBEDDED_AGENT, Plane
from idplane.bootstrap.world import SystemClock, SystemEntropy, World
from idplane.jose import Algorithm, Signer, certificate_thumbprint, make_csr, new_ec_key
from idplane.model.directory import Agent
from idplane.model.profile import OPEN
from idplane.ports.collections import ACTIVITY, AGENTS
from idplane.ports.store import ANY, Batch, Order, Put
from idplane.testing.worlds import FakeClock, MemoryCustody, memory_store
from idplane.web.serving import Listener

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
AGENT = "far-away"


@dataclass(kw_only=True)
class Site:
    """A plane that listens, and an agent elsewhere."""

    plane: Plane
    listener: Listener
    port: int
    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_ec_key)
    certificate: bytes = b""

    async def enroll(self) -> None:
        server = self.plane.server
        self.key = key = new_ec_key()
        self.certificate = server.credentials.issue_agent(make_csr(key, AGENT), AGENT)
        now = server.world.clock.now()
        thumbprint = certificate_thumbprint(self.certificate)
        agent = Agent(
            id=AGENT, display_name=AGENT, certificate=self.certificate, thumbprint=thumbprint, enrolled_at=now, hosts=("*",)
        )
        await server.world.store.commit(Batch.of(Put(collection=AGENTS, value=agent, expect=ANY)))
        pem = x509.load_der_x509_certificate(self.certificate).public_bytes(Encoding.PEM)
        (self.folder / "agent.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem)

    def client(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.plane.server.tls.ca_pem.decode())
        context.maximum_version = version
        context.load_cert_chain(self.folder / "agent.pem")
        return context

    def connect(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port))
        try:
            return context.wrap_socket(plain, server_hostname="localhost", session=session)
        except OSError:
            plain.close()
            raise

    def visit(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> tuple[int, bytes]:
        """The status that the agent gets on a connection of its own (0 when TLS does not let it in), and what the server showed."""
        try:
            with self.connect(context, session) as connection:
                assert not connection.session_reused
                return self.ask(connection), connection.getpeercert(binary_form=True) or b""
        except (OSError, IndexError):
            return 0, b""

    def ask(self, connection: ssl.SSLSocket) -> int:
        """The status that the agent gets."""
        now = int(self.plane.server.world.clock.now().timestamp())
        x5t = base64.urlsafe_b64encode(bytes.fromhex(certificate_thumbprint(self.certificate))).rstrip(b"=").decode()
        claims = {
            "iss": AGENT,
            "sub": AGENT,
            "aud": "idplane-agent",
            "iat": now,
            "exp": now + 60,
            "jti": SystemEntropy().guid(),
        }
        proof = Signer(self.key, Algorithm.ES256, {"x5t#S256": x5t}).sign(claims)
        head = f"GET /agent/v1/changes HTTP/1.1\r\nHost: localhost:{self.port}\r\nAuthorization: Bearer {proof}\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = connection.recv(65536)
            if not more:
                break
            answer += more
        return int(answer.split(b" ", 2)[1])


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    store = await memory_store()
    world = World(clock=SystemClock(), entropy=SystemEntropy(), store=store, custody=MemoryCustody(), profile=OPEN)
    plane = await Plane.open(world)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        listener = await plane.server.listen(sock)
        made = Site(plane=plane, listener=listener, port=port, folder=tmp_path)
        await made.enroll()
        yield made
        await listener.close()
    await plane.close()
    await store.close()


async def taint(site: Site) -> None:
    credentials = site.plane.server.credentials
    held = next(key.id for key in credentials.keys if not key.tainted)
    await credentials.taint(held)


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_open_connection_is_worth_nothing_at_the_next_request(site: Site, version: ssl.TLSVersion) -> None:
    connection = await asyncio.to_thread(site.connect, site.client(version))
    assert await asyncio.to_thread(site.ask, connection) == 200
    await taint(site)
    assert await asyncio.to_thread(site.ask, connection) == 401
    connection.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_session_of_before_gets_nobody_in(site: Site, version: ssl.TLSVersion) -> None:
    context = site.client(version)
    connection = await asyncio.to_thread(site.connect, context)
    assert await asyncio.to_thread(site.ask, connection) == 200
    session = connection.session
    connection.close()
    await taint(site)
    assert (await asyncio.to_thread(site.visit, context, session))[0] == 401
    await site.plane.server.refused.turn()
    (record,) = await site.plane.server.world.store.read_log(ACTIVITY, order=Order.NEWEST_FIRST, limit=1)
    await site.plane.server.certificates.turn()
    # Now the handshake is refused, or what TLS 1.3 has in its place after it.
    assert (await asyncio.to_thread(site.visit, context, session))[0] == 0
    met_by(
        "resumption",
        answer=f"{record.event.http_status} {record.event.sub_status}, then no handshake",
        record=f"activity log, counted: {record.event.operation.partition('/')[2]}",
    )


async def test_listeners_follow_and_drop_no_connection(site: Site) -> None:
    """Those who connect while the context changes are served, by the one or the other."""
    context = site.client(ssl.TLSVersion.TLSv1_3)
    before = await asyncio.to_thread(site.connect, context)
    shown = before.getpeercert(binary_form=True)

    asking = [asyncio.create_task(asyncio.to_thread(site.visit, context)) for _ in range(10)]
    await site.plane.server.tls.rotate()
    await site.plane.server.credentials.rotate()
    context.load_verify_locations(cadata=site.plane.server.tls.ca_pem.decode())
    await site.plane.server.certificates.turn()
    assert [status for status, _ in await asyncio.gather(*asking)] == [200] * 10
    status, now_shown = await asyncio.to_thread(site.visit, context)
    assert (status, await asyncio.to_thread(site.ask, before)) == (200, 200)
    assert now_shown != shown
    before.close()


async def test_a_new_leaf_is_shown_before_the_old_one_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    server = site.plane.server
    context = site.client(ssl.TLSVersion.TLSv1_3)
    _, first = await asyncio.to_thread(site.visit, context)
    await server.certificates.turn()
    assert (await asyncio.to_thread(site.visit, context))[1] == first
    monkeypatch.setattr(server.certificates, "_clock", FakeClock(server.world.clock.now() + timedelta(days=300)))
    await server.certificates.turn()
    assert (await asyncio.to_thread(site.visit, context))[1] != first


async def test_what_clients_need_is_published_when_it_changes(site: Site) -> None:
    server = site.plane.server
    told: list[bytes] = []
    server.certificates.publish = told.append
    await server.certificates.turn()
    await server.certificates.turn()
    await server.tls.rotate()
    await server.certificates.turn()
    assert [len(x509.load_pem_x509_certificates(pem)) for pem in told] == [1, 2]


async def test_the_agent_in_the_process_goes_on(site: Site) -> None:
    server = site.plane.server
    first = await server.world.store.get(AGENTS, EMBEDDED_AGENT)
    await site.plane.renew()
    assert await server.world.store.get(AGENTS, EMBEDDED_AGENT) == first
    await taint(site)
    await site.plane.renew()
    after = await server.world.store.get(AGENTS, EMBEDDED_AGENT)
    assert first is not None
    assert after is not None
    assert after.value.thumbprint != first.value.thumbprint
    assert server.credentials.is_current(after.value.certificate)
