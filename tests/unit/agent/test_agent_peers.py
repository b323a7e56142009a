"""What a handler learns about the connection that a request came over."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from dataclasses import dataclass, field

import pytest
from tests.unit.agent.agent_world import Client, get, settle

from idplane.agent.listening import ServedSocket
from idplane.agent.protocol import Connection, Peer, Request
from idplane.agent.replies import Reply
from idplane.bootstrap.server import context_for
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.keys import RunAuthority
from idplane.model.failure import Failure
from idplane.testing.worlds import FakeClock


@dataclass
class Recorder:
    """A handler that answers everything and keeps the peers."""

    peers: list[Peer] = field(default_factory=list)

    def answer(self, request: Request, /) -> Reply:
        assert request.peer is not None
        self.peers.append(request.peer)
        return Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", b"")

    def refuse(self, failure: Failure, peer: Peer | None = None, /) -> Reply:
        assert failure.detail
        assert peer is not None
        return Reply(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n", b"")

    def tidy(self) -> None: ...

    def close(self) -> None: ...


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Both sides of a TLS listener for `localhost`."""
    authority = RunAuthority.create(SystemClock(), SystemEntropy(), domains=["localhost"])
    return context_for(authority.issue(["localhost"])), ssl.create_default_context(cadata=authority.ca_pem.decode())


@pytest.mark.parametrize("secure", [False, True])
async def test_requests_of_a_connection_share_a_peer_that_names_its_socket(*, secure: bool) -> None:
    handler = Recorder()
    ours, theirs = contexts() if secure else (None, None)
    served = await ServedSocket.start(socket.create_server(("127.0.0.1", 0)), handler, FakeClock(), tls=ours)
    names = []
    for _ in range(2):
        client = Client(
            *await asyncio.open_connection(*served.address, ssl=theirs, server_hostname="localhost" if secure else None)
        )
        for _ in range(2):
            await client.send(get("/"))
            assert (await client.response()).status == 200
        names.append(client.writer.get_extra_info("sockname"))
        assert handler.peers[-1].transport_socket.getpeername() == names[-1]
        assert not handler.peers[-1].closed
        await client.close()
    first, again, second, _ = handler.peers
    assert first is again
    assert first is not second
    await served.close()
    await settle()
    assert first.closed
    assert second.closed


async def come_and_go(address: tuple[str, int], raw: bytes) -> None:
    client = Client(*await asyncio.open_connection(*address))
    await client.send(raw)
    client.writer.write_eof()
    await client.reader.read()
    await client.close()


@pytest.mark.parametrize(
    "raw", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"nonsense\r\n\r\n", get("/")], ids=range(4)
)
@pytest.mark.parametrize("secure", [False, True])
async def test_connections_that_are_gone_do_not_wait_for_the_garbage_collector(raw: bytes, *, secure: bool) -> None:
    """It comes by rarely, and a flood would fill the memory meanwhile: a quarter of a megabyte each with TLS."""
    ours = contexts()[0] if secure else None
    served = await ServedSocket.start(socket.create_server(("127.0.0.1", 0)), Recorder(), FakeClock(), tls=ours)
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            await come_and_go(served.address, raw)
        await settle()
        kept = [type(it) for it in gc.get_objects() if isinstance(it, Connection | SSLProtocol)]
    finally:
        gc.enable()
    assert kept == []
    await served.close()
