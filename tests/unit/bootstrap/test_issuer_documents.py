"""Fetching what a stranger points at: bounded, to public addresses only, and never further than the first answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from idplane.bootstrap.issuer_documents import HttpIssuerDocuments, is_public
from idplane.model.failure import Failure, FailureKind


@asynccontextmanager
async def serving(
    answer: bytes, *, then: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None
) -> AsyncIterator[str]:
    """A server on this machine that answers everything with these bytes."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        try:
            await writer.drain()
            if then is not None:
                await then(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def refused(url: str, *, private: bool = True, seconds: float = 5.0) -> str:
    with pytest.raises(Failure) as caught:
        await HttpIssuerDocuments(seconds=seconds).fetch(url, private=private)
    assert caught.value.kind is FailureKind.ISSUER_UNREACHABLE
    return caught.value.detail


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n{}",
    ],
)
async def test_a_document(answer: bytes) -> None:
    async with serving(answer) as url:
        assert await HttpIssuerDocuments().fetch(f"{url}/x?y=z", private=True) == b"{}"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: https://issuer.example/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n" + b" " * 65537,
        b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 200_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
    ],
)
async def test_answers_that_are_none(answer: bytes) -> None:
    async with serving(answer) as url:
        assert (await refused(url)).startswith("the issuer cannot be used: it")


async def test_who_never_ends_is_left() -> None:
    left = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"1\r\n \r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            left.set()

    async with serving(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", then=drip) as url:
        assert "did not answer within" in await refused(url, seconds=0.2)
        await left.wait()


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.0.1/",
        "https://100.64.0.1/",
        "https://169.254.169.254/metadata",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://127.1/",
        "http://8.8.8.8/",
    ],
)
async def test_addresses_that_are_not_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def connected(*_: Any, **__: Any) -> Any:
        raise AssertionError("no connection may be opened")

    monkeypatch.setattr(asyncio, "open_connection", connected)
    assert "not public" in (why := await refused(url, private=False)) or "not https" in why or "no connection" in why


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.example/",
        "file:///etc/passwd",
        "https://",
        "https://u:p@x.example/",
        "https://x.example:0/",
        "//x",
        "https://x\n/",
        "https://x y/",
        "https://x.example:99999/",
        "https://é.example/",
        "https://x.example/" + "x" * 3000,
    ],
)
async def test_addresses_that_are_none(url: str) -> None:
    assert "an address of it is not" in await refused(url)


async def test_one_private_address_among_public_ones_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(*_: Any, **__: Any) -> Any:
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, ("93.184.215.14", 443)), (*kind, ("10.0.0.1", 443))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    assert "not public" in await refused("https://rebinding.example/", private=False)


async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert "no connection" in await refused(f"http://127.0.0.1:{port}/")


def test_public_addresses() -> None:
    assert is_public("93.184.215.14")
    assert is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")
    assert not is_public("fe80::1%eth0")
    assert not is_public("nonsense")
