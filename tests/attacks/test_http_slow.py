"""Clients that take their time: none holds a place, a descriptor or memory for longer than it is given, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator

import pytest
from azure.identity import ManagedIdentityCredential
from tests.unit.agent.agent_world import AgentWorld, Client, get, settle, token_target

from idplane.agent.host import Dialect
from idplane.agent.protocol import Limits
from idplane.bootstrap.server import context_for
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.keys import RunAuthority

TOKEN = get(token_target())
HEAD = "POST /metadata/identity/oauth2/token HTTP/1.1\r\nHost: 169.254.169.254\r\n"
CHUNKED = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
SWEEP = 5.0
"""Seconds until the next look at who is slow."""


@pytest.fixture
async def world() -> AsyncIterator[AgentWorld]:
    world = AgentWorld.make()
    yield world
    await world.close()


async def assert_served(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """azure-identity, as it is, gets a token."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://{address[0]}:{address[1]}")
    with ManagedIdentityCredential() as credential:
        token = await asyncio.to_thread(credential.get_token, "https://management.azure.com//.default")
    assert token.token.count(".") == 2


async def ended(client: Client) -> None:
    """The other side ends the connection, whatever it says before."""
    async with asyncio.timeout(60):  # hanging is how this would fail
        try:
            while await client.reader.read(65536):
                pass
        except ConnectionError:
            return


async def pass_time(world: AgentWorld, seconds: float) -> None:
    world.clock.advance(seconds)
    await settle()


BEGINNINGS = {
    "nothing at all": (b"", Limits.IDLE),
    "empty lines": (b"\r\n\r\n\r\n", Limits.IDLE),
    "the first letter": (b"G", Limits.REQUEST),
    "half a target": (b"GET /metadata/iden", Limits.REQUEST),
    "half a header": (TOKEN[:-10], Limits.REQUEST),
    "a head without its last byte": (TOKEN[:-1], Limits.REQUEST),
    "a good request and the next one's start": (TOKEN + TOKEN[:20], Limits.REQUEST),
    "half a body": (f"{HEAD}Content-Length: 100\r\n\r\nresource=".encode(), Limits.REQUEST),
    "a body after permission": (f"{HEAD}Expect: 100-continue\r\nContent-Length: 100\r\n\r\n".encode(), Limits.REQUEST),
    "a chunk size": (CHUNKED + b"5", Limits.REQUEST),
    "half a chunk": (CHUNKED + b"5\r\nre", Limits.REQUEST),
    "a body without its last chunk": (CHUNKED + b"5\r\nresou\r\n", Limits.REQUEST),
    "half a trailer": (CHUNKED + b"0\r\nX: y", Limits.REQUEST),
    "garbage, then nothing": (b"hello\r\n\r\n", Limits.LINGER),
}


@pytest.mark.parametrize("case", BEGINNINGS)
async def test_who_begins_and_does_not_go_on(world: AgentWorld, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, limit = BEGINNINGS[case]
    address = await world.imds()
    await assert_served(address, monkeypatch)  # what is good below is answered from memory, at once
    slow = [await world.connect(address) for _ in range(20)]
    for client in slow:
        await client.send(raw)
    await assert_served(address, monkeypatch)
    await pass_time(world, limit - 1)
    await assert_served(address, monkeypatch)
    await pass_time(world, 1 + SWEEP)
    for client in slow:
        await ended(client)
    await assert_served(address, monkeypatch)


TRICKLES = {
    "a request": TOKEN,
    "a long header": b"GET / HTTP/1.1\r\nX: " + b"y" * 100,
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20,
    "a body": f"{HEAD}Content-Length: 100\r\n\r\n".encode() + b"x" * 100,
    "chunks": CHUNKED + b"1\r\nx\r\n" * 20,
}


@pytest.mark.parametrize("case", TRICKLES)
async def test_a_byte_a_second(world: AgentWorld, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress does not buy time: a request has ten seconds from its first byte to its last."""
    address = await world.imds()
    client = await world.connect(address)
    gone = asyncio.ensure_future(ended(client))
    for sent in range(40):
        client.writer.write(TRICKLES[case][sent : sent + 1])
        await pass_time(world, 1)
        await asyncio.sleep(0)
        if gone.done():
            break
    await gone
    await assert_served(address, monkeypatch)


async def test_empty_lines_do_not_keep_a_connection_open(world: AgentWorld) -> None:
    client = await world.connect(await world.imds())
    gone = asyncio.ensure_future(ended(client))
    for _ in range(20):
        client.writer.write(b"\r\n")
        await pass_time(world, Limits.IDLE / 10)
        if gone.done():
            break
    await gone


ENDLESS = {
    "a target": (b"GET /", b"a"),
    "a header's name": (b"GET / HTTP/1.1\r\nX", b"X"),
    "a header's value": (b"GET / HTTP/1.1\r\nX: ", b"y"),
    "headers": (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
    "a body": (f"{HEAD}Content-Length: 9999999999\r\n\r\n".encode(), b"x"),
    "a chunk": (CHUNKED + b"ffffffff\r\n", b"x"),
    "chunks": (CHUNKED, b"1\r\nx\r\n"),
    "a chunk size": (CHUNKED, b"0"),
    "a chunk's extension": (CHUNKED + b"5;", b"x"),
    "a chunk's quoted extension": (CHUNKED + b'5;x="', b"x"),
    "a trailer's name": (CHUNKED + b"0\r\n", b"X"),
    "a trailer's value": (CHUNKED + b"0\r\nX: ", b"y"),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n"),
    "garbage after a refusal": (b"hello\r\n\r\n", b"x"),
}


@pytest.mark.parametrize("case", ENDLESS)
async def test_what_never_ends_is_cut_off_without_waiting(
    world: AgentWorld, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No time passes here: the bound is one of bytes."""
    beginning, more = ENDLESS[case]
    address = await world.imds()
    client = await world.connect(address)
    await client.send(beginning)
    sent = 0
    try:
        while sent < 64 * 1024 * 1024:
            await client.send(more * (65536 // len(more)))
            sent += 65536
    except ConnectionError:
        pass
    assert sent < 64 * 1024 * 1024
    await ended(client)
    await assert_served(address, monkeypatch)


@pytest.mark.parametrize("raw", [TOKEN * 20, TOKEN, b"nonsense\r\n\r\n"], ids=["many requests", "one request", "garbage"])
async def test_who_never_reads_its_answers(world: AgentWorld, raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    address = await world.imds()
    await assert_served(address, monkeypatch)
    deaf = [await world.connect(address) for _ in range(5)]
    for client in deaf:
        for _ in range(200):  # the reader takes in 128 KiB by itself, and then no more
            client.writer.write(raw)
        await settle()
    await assert_served(address, monkeypatch)
    for _ in range(4):
        await pass_time(world, Limits.IDLE)
    for client in deaf:
        await ended(client)
    await assert_served(address, monkeypatch)


async def test_who_goes_away_while_it_waits_is_missed(world: AgentWorld) -> None:
    """Its place is free at once, not when the server has answered."""
    world.server.gate = asyncio.Event()
    address = await world.imds()
    clients = [await world.connect(address) for _ in range(10)]
    for client in clients:
        await client.send(TOKEN)
    await settle()
    [listening] = world.agent._listening
    assert len(listening._room) == 10
    for client in clients:
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
    async with asyncio.timeout(60):
        while len(listening._room):  # noqa: ASYNC110 - what happens outside this process' loop gives no sign
            await asyncio.sleep(0)
    world.server.gate.set()
    assert (await world.ask(address, TOKEN)).status == 200
    assert world.server.token_requests == 1


def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = RunAuthority.create(SystemClock(), SystemEntropy(), domains=["localhost"])
    return context_for(authority.issue(["localhost"])), ssl.create_default_context(cadata=authority.ca_pem.decode())


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)
FABRIC = get(
    "/metadata/identity/oauth2/token?api-version=2019-07-01-preview&resource=https://management.azure.com/",
    "Host: localhost",
    "Secret: 0123456789abcdef",
)


@pytest.mark.parametrize("raw", [b"", b"\x16", HELLO], ids=["nothing", "one byte", "half a hello"])
async def test_a_handshake_is_a_place_taken(world: AgentWorld, raw: bytes) -> None:
    """As many as there are places begin one and never end it: the next client gets in, and the others are gone in time."""
    ours, theirs = tls()
    address = await world.open(Dialect.SERVICE_FABRIC, tls=ours)
    half = [await world.connect(address) for _ in range(128)]
    for client in half:
        client.writer.write(raw)
    for _ in range(3):
        client = await world.connect(address, theirs)
        for _ in range(2):
            await client.send(FABRIC.replace(b"localhost", f"localhost:{address[1]}".encode()))
            assert (await client.response()).status == 200
    for client in half[:3]:
        await ended(client)
    await pass_time(world, Limits.HANDSHAKE + SWEEP)
    for client in half[3:]:
        await ended(client)


async def test_clients_that_leave_in_the_middle_of_tls_leave_no_trace(
    world: AgentWorld, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = tls()
    address = await world.open(Dialect.SERVICE_FABRIC, tls=ours)
    request = FABRIC.replace(b"localhost", f"localhost:{address[1]}".encode())
    world.server.gate = asyncio.Event()
    for raw in (b"", HELLO, b"GET / HTTP/1.1\r\n\r\n"):
        client = await world.connect(address)
        await client.send(raw)
        client.writer.transport.abort()
    for leave in ("abort", "close"):
        client = await world.connect(address, theirs)
        await client.send(request)
        await settle()
        getattr(client.writer.transport, leave)()
    world.server.gate.set()
    client = await world.connect(address, theirs)
    await client.send(request)
    assert (await client.response()).status == 200
    assert not caplog.records
