"""A listener behind balancers: who asks is who the header names, ahead of TLS; strangers' headers end, and nobody waits for slow ones."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.keys.keys_world import a_key_world

from idplane.bootstrap.server import context_for
from idplane.keys import TlsAuthority
from idplane.web import door
from idplane.web.proxy_header import Proxies
from idplane.web.serving import Listener

BALANCER, STRANGER = "127.0.0.2", "127.0.0.3"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def header(address: str = "192.0.2.7", *, command: int = 0x21) -> bytes:
    body = socket.inet_aton(address) + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 40000, 8443)
    return b"\r\n\r\n\x00\r\nQUIT\n" + struct.pack("!BBH", command, 0x11, len(body)) + body


class _Who:
    """Answers with the address that asks."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert callable(receive)
        body = scope["client"][0].encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})

    def refuse(self, *_: Any) -> Any:
        raise AssertionError("nothing here is refused")


class _Site:
    def __init__(self, listener: Listener, address: tuple[str, int], authority: TlsAuthority) -> None:
        self.listener = listener
        self.address = address
        self.authority = authority
        self.trust = ssl.create_default_context(cadata=authority.ca_pem.decode())

    async def connect(self, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address, local_addr=(source, 0))

    async def ask(self, source: str, ahead: bytes = b"", *, times: int = 1) -> str:
        """Who the server takes us for, asked through TLS behind some bytes."""
        reader, writer = await self.connect(source)
        try:
            writer.write(ahead)
            await writer.drain()
            await writer.start_tls(self.trust, server_hostname="localhost")
            seen = set()
            for _ in range(times):
                writer.write(REQUEST)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                seen.add((await reader.readexactly(length)).decode())
            (one,) = seen
            return one
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serving(*, most: int | None = None) -> AsyncIterator[_Site]:
    async with a_key_world() as keys:
        tls = await keys.tls()
        listener = Listener(_Who(), most=most, proxies=Proxies.parse([BALANCER]))
        with socket.create_server(("127.0.0.1", 0)) as sock:
            await listener.listen(sock, context_for(tls.issue(["localhost"])))
            yield _Site(listener, sock.getsockname(), tls)
            await listener.close()


@pytest.fixture
async def site() -> AsyncIterator[_Site]:
    async with serving() as made:
        yield made


REFUSED = (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)


async def _ended(reader: asyncio.StreamReader) -> bytes:
    """What came until the server hung up."""
    async with asyncio.timeout(30):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


class TestWhoAsks:
    async def test_behind_a_balancer_who_it_names(self, site: _Site) -> None:
        assert await site.ask(BALANCER, header("192.0.2.7"), times=3) == "192.0.2.7"
        assert await site.ask(BALANCER, b"PROXY TCP4 192.0.2.8 10.0.0.1 1 2\r\n") == "192.0.2.8"

    async def test_its_own_questions_are_its_own(self, site: _Site) -> None:
        assert await site.ask(BALANCER, header(command=0x20)) == BALANCER

    async def test_without_one_whoever_connects(self, site: _Site) -> None:
        assert await site.ask(STRANGER) == STRANGER

    async def test_a_header_and_a_hello_in_one_packet(self, site: _Site) -> None:
        """And so does one that comes byte by byte."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = site.trust.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        for pieces in ([header() + hello], [bytes([one]) for one in header()] + [hello]):
            reader, writer = await site.connect(BALANCER)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            assert (await reader.readexactly(1)) == b"\x16"
            writer.transport.abort()


class TestRefusals:
    @pytest.mark.parametrize("ahead", [header(), header(command=0x20), b"PROXY TCP4 192.0.2.8 10.0.0.1 1 2\r\n"])
    async def test_a_stranger_s_header(self, site: _Site, ahead: bytes) -> None:
        with pytest.raises(REFUSED):
            await site.ask(STRANGER, ahead)
        assert await site.ask(STRANGER) == STRANGER

    async def test_a_stranger_s_header_behind_a_balancer_s(self, site: _Site) -> None:
        with pytest.raises(REFUSED):
            await site.ask(BALANCER, header() + header("10.9.9.9"))

    @pytest.mark.parametrize("ahead", [b"", b"\r\n\r\n\x00\r\nQUIT\n\x21\x12\x00\x00", b"PROXY nonsense\r\n"])
    async def test_a_balancer_without_a_header(self, site: _Site, ahead: bytes, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(3):
            with pytest.raises(REFUSED):
                await site.ask(BALANCER, ahead)
        (told,) = caplog.records
        assert (told.levelno, BALANCER in told.message) == (logging.WARNING, True)

    async def test_one_that_only_looks_is_nobody_s_mistake(self, site: _Site, caplog: pytest.LogCaptureFixture) -> None:
        reader, writer = await site.connect(BALANCER)
        writer.close()
        assert await _ended(reader) == b""
        assert await site.ask(BALANCER, header()) == "192.0.2.7"
        assert not caplog.records

    @pytest.mark.parametrize("sent", [b"", header()[:5], header()[:-1], b"PROXY TCP4 192"])
    async def test_one_that_is_slow(self, site: _Site, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(door, "_HEADER_SECONDS", 0)
        reader, writer = await site.connect(BALANCER)
        writer.write(sent)
        assert await _ended(reader) == b""
        writer.close()

    async def test_nobody_waits_for_one_that_is_slow(self, site: _Site) -> None:
        slow = [await site.connect(BALANCER) for _ in range(20)]
        assert await site.ask(BALANCER, header()) == "192.0.2.7"
        assert await site.ask(STRANGER) == STRANGER
        for _, writer in slow:
            writer.transport.abort()


class TestListener:
    async def test_no_more_are_met_at_a_time_than_have_places(self) -> None:
        async with serving(most=2) as site:
            first, second = await site.connect(BALANCER), await site.connect(BALANCER)
            asking = asyncio.ensure_future(site.ask(STRANGER))
            (the_door,) = site.listener._doors
            async with asyncio.timeout(30):
                while the_door.waiting < 2:  # noqa: ASYNC110 - the sockets give no other sign
                    await asyncio.sleep(0)
            assert not asking.done()
            first[1].transport.abort()
            assert await asking == STRANGER
            second[1].transport.abort()

    async def test_another_context_is_met_by_whoever_comes_next(self, site: _Site) -> None:
        async with a_key_world() as elsewhere:
            other = await elsewhere.tls()
            await site.listener.change(context_for(other.issue(["localhost"])))
            with pytest.raises(ssl.SSLCertVerificationError):
                await site.ask(BALANCER, header())
            site.trust = ssl.create_default_context(cadata=other.ca_pem.decode())
            assert await site.ask(BALANCER, header()) == "192.0.2.7"

    async def test_who_was_accepted_is_still_served_when_it_finishes(self, site: _Site) -> None:
        reader, writer = await site.connect(BALANCER)
        (the_door,) = site.listener._doors
        async with asyncio.timeout(30):
            while not the_door.waiting:  # noqa: ASYNC110 - the sockets give no other sign
                await asyncio.sleep(0)
        finishing = asyncio.ensure_future(site.listener.finish(30))
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await site.connect(STRANGER)
        writer.write(header())
        await writer.start_tls(site.trust, server_hostname="localhost")
        writer.write(REQUEST)
        assert (await reader.read()).endswith(b"192.0.2.7")
        await finishing
        writer.close()

    async def test_closing_ends_what_has_not_begun(self, site: _Site) -> None:
        reader, writer = await site.connect(BALANCER)
        await site.listener.close()
        assert await _ended(reader) == b""
        writer.close()
