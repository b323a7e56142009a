"""Handshakes take turns: who says nothing holds none, who has hung up costs none, and nobody keeps one for long."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from tests.unit.keys.keys_world import a_key_world

from idplane.bootstrap.server import context_for
from idplane.web import door
from idplane.web.door import Behind, Door
from idplane.web.proxy_header import Client, Proxies


class _Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


@dataclass(kw_only=True)
class _Site:
    door: Door
    address: tuple[str, int]
    trust: ssl.SSLContext
    met: list[Client | None]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address)

    async def greeted(self) -> bytes:
        reader, writer = await asyncio.open_connection(*self.address, ssl=self.trust, server_hostname="localhost")
        try:
            return await reader.read()
        finally:
            writer.transport.abort()

    def hello(self) -> bytes:
        outgoing = ssl.MemoryBIO()
        tls = self.trust.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        return outgoing.read()


@asynccontextmanager
async def _site(*, most: int = 100) -> AsyncIterator[_Site]:
    met: list[Client | None] = []

    def meeting(client: Client | None) -> asyncio.Protocol:
        met.append(client)
        return _Greeter()

    async with a_key_world() as keys:
        tls = await keys.tls()
        with socket.create_server(("127.0.0.1", 0)) as sock:
            opened = Door(
                sock,
                context_for(tls.issue(["localhost"])),
                behind=Behind(proxies=Proxies(), most=most, handshake_seconds=30),
                meeting=meeting,
            )
            trust = ssl.create_default_context(cadata=tls.ca_pem.decode())
            yield _Site(door=opened, address=sock.getsockname(), trust=trust, met=met)
            await opened.abort()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - the sockets give no other sign
            await asyncio.sleep(0)


async def test_who_says_nothing_holds_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_HANDSHAKES", 1)
    async with _site() as site:
        silent = [await site.connect() for _ in range(20)]
        await _until(lambda: site.door.waiting == len(silent))
        assert await site.greeted() == b"hello"
        for _, writer in silent:
            writer.transport.abort()


async def test_who_stops_in_the_middle_loses_the_turn_and_not_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_HANDSHAKES", 1)
    monkeypatch.setattr(door, "_TURN_SECONDS", 0)
    async with _site() as site:
        reader, writer = await site.connect()
        hello = site.hello()
        writer.write(hello[:-1])
        await _until(lambda: len(site.met) == 1)
        assert await site.greeted() == b"hello"
        writer.write(hello[-1:])
        assert await reader.readexactly(1) == b"\x16"
        writer.transport.abort()


async def test_who_has_hung_up_costs_no_handshake() -> None:
    async with _site() as site:
        site.door._turns.working = 1000
        gone = [await site.connect() for _ in range(5)]
        for _, writer in gone:
            writer.write(site.hello())
        await _until(lambda: site.door._turns.waiting == len(gone))
        for _, writer in gone:
            writer.close()
            await writer.wait_closed()
        for _ in gone:
            site.door._turns.give_back()
        await _until(lambda: not site.door.waiting)
        assert not site.met
        site.door._turns.working = 0
        assert await site.greeted() == b"hello"


async def test_where_the_house_is_full_the_longest_silent_makes_room() -> None:
    async with _site(most=3) as site:
        silent = [await site.connect() for _ in range(3)]
        await _until(lambda: site.door.waiting == len(silent))
        assert await site.greeted() == b"hello"
        assert await silent[0][0].read() == b""
        silent[1][1].write(site.hello())
        assert await silent[1][0].readexactly(1) == b"\x16"
        for _, writer in silent:
            writer.transport.abort()


async def test_what_is_no_tls_ends_itself_alone() -> None:
    async with _site() as site:
        reader, writer = await site.connect()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with_alert = await reader.read()
        assert b"HTTP" not in with_alert
        writer.close()
        assert await site.greeted() == b"hello"
