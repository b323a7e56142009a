"""A real server over TLS and a remote agent's way to it, in one event loop; the clock stands still until it is moved."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from idplane.agent.host import AgentIdentity
from idplane.agent.remote import ClientCertificate, HttpsUpstream, ServerAddress
from idplane.bootstrap.server import Server
from idplane.bootstrap.world import SystemEntropy, World
from idplane.jose import certificate_thumbprint, make_csr, new_ec_key
from idplane.model.directory import Agent
from idplane.model.profile import AZURE_UNHURRIED
from idplane.ports.collections import AGENTS
from idplane.ports.store import ANY, Batch, Put
from idplane.testing.worlds import FakeClock, MemoryCustody, memory_store
from idplane.web.serving import Listener

AGENT_ID = "11111111-aaaa-4aaa-8aaa-111111111111"


@dataclass
class ServedWorld:
    server: Server
    listener: Listener
    port: int
    clock: FakeClock

    @property
    def address(self) -> ServerAddress:
        return ServerAddress(host="localhost", port=self.port)

    def upstream(self, *, authority: bytes | None = None, servers: tuple[ServerAddress, ...] | None = None) -> HttpsUpstream:
        found = self.server.tls.ca_pem if authority is None else authority
        return HttpsUpstream(
            servers=servers or (self.address,), authority=lambda: found, clock=self.clock, entropy=SystemEntropy()
        )

    async def enrolled(self, *hosts: str, agent_id: str = AGENT_ID) -> tuple[AgentIdentity, ClientCertificate]:
        """An agent as an enrollment would leave it."""
        key = new_ec_key()
        certificate = self.server.credentials.issue_agent(make_csr(key, agent_id), agent_id)
        record = Agent(
            id=agent_id,
            display_name=agent_id,
            certificate=certificate,
            thumbprint=certificate_thumbprint(certificate),
            enrolled_at=self.clock.now(),
            hosts=hosts,
        )
        await self.server.world.store.commit(Batch.of(Put(collection=AGENTS, value=record, expect=ANY)))
        identity = AgentIdentity(agent_id=agent_id, private_key=key, certificate=certificate)
        return identity, presented(key, certificate, b"")


def presented(key: ec.EllipticCurvePrivateKey, certificate: bytes, chain: bytes) -> ClientCertificate:
    leaf = x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)
    return ClientCertificate(
        key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), chain_pem=leaf + chain
    )


@asynccontextmanager
async def served() -> AsyncIterator[ServedWorld]:
    """A server that listens. Its clock starts at the real time, since TLS libraries ask no other."""
    clock = FakeClock(datetime.now(UTC))
    store = await memory_store(clock)
    world = World(clock=clock, entropy=SystemEntropy(), store=store, custody=MemoryCustody(), profile=AZURE_UNHURRIED)
    server = await Server.open(world)
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    listener = await server.listen(sock)
    try:
        yield ServedWorld(server=server, listener=listener, port=port, clock=clock)
    finally:
        await listener.close()
        await server.close()
        await store.close()
        await asyncio.sleep(0)
