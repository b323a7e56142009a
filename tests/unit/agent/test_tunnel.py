"""The way to Azure's names without a namespace: who may use it, and where it leads."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest

from idplane.agent.tunnel import Tunnel, destination

INSIDE = ("127.0.0.1", 44301)
SECRET = "a-secret"
RIGHT = base64.b64encode(f"run:{SECRET}".encode()).decode()
Ask: TypeAlias = Callable[[bytes], Awaitable[bytes]]


@pytest.mark.parametrize(
    ("host", "port", "there"),
    [
        ("management.azure.com", 443, INSIDE),
        ("LOGIN.microsoftonline.com.", 443, INSIDE),
        ("stock.vault.azure.net", 443, INSIDE),
        ("westeurope.oic.prod-aks.azure.com", 443, INSIDE),
        ("oic.prod-aks.azure.com", 443, ("oic.prod-aks.azure.com", 443)),
        ("vault.azure.net.example", 443, ("vault.azure.net.example", 443)),
        ("evilvault.azure.net", 443, ("evilvault.azure.net", 443)),
        ("management.azure.com", 8443, ("management.azure.com", 8443)),
        ("stock.vault.localhost", 8443, ("127.0.0.1", 8443)),
        ("localhost", 8443, ("127.0.0.1", 8443)),
        ("example.com", 443, ("example.com", 443)),
    ],
)
def test_only_azures_public_names_lead_inside(host: str, port: int, there: tuple[str, int]) -> None:
    assert destination(host, port, INSIDE) == there


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A server that says back what it hears, in capitals."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data.upper())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def ask(echo: int) -> AsyncIterator[Ask]:
    """Send bytes to a tunnel whose inside is the echo, and read to the end."""
    tunnel = Tunnel(inside=("127.0.0.1", echo), secret=SECRET)
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    await tunnel.start(sock)

    async def exchange(data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(data)
        if writer.can_write_eof():
            writer.write_eof()
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        return answer

    yield exchange
    await tunnel.close()


def connect(target: str, *headers: str) -> bytes:
    return "\r\n".join([f"CONNECT {target} HTTP/1.1", *headers, "", ""]).encode()


async def test_bytes_go_both_ways_once_the_secret_is_known(ask: Ask) -> None:
    answer = await ask(connect("stock.vault.azure.net:443", f"Proxy-Authorization: Basic {RIGHT}") + b"hello")
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\nHELLO"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (connect("stock.vault.azure.net:443"), b"407"),
        (connect("stock.vault.azure.net:443", "Proxy-Authorization: Basic cnVuOndyb25n"), b"407"),
        (connect("a.b:443", f"Proxy-Authorization: Basic {RIGHT}", "Proxy-Authorization: Basic x"), b"407"),
        (b"GET http://169.254.169.254/ HTTP/1.1\r\n\r\n", b"405"),
        (connect("nothing", f"Proxy-Authorization: Basic {RIGHT}"), b"400"),
        (connect("a.b:0", f"Proxy-Authorization: Basic {RIGHT}"), b"400"),
        (connect("a.b:99999999999", f"Proxy-Authorization: Basic {RIGHT}"), b"400"),
        (connect("a.b:\u0663", f"Proxy-Authorization: Basic {RIGHT}"), b"400"),
        (connect("127.0.0.1:1", f"Proxy-Authorization: Basic {RIGHT}"), b"502"),
    ],
)
async def test_what_is_refused(ask: Ask, request_bytes: bytes, status: bytes) -> None:
    answer = await ask(request_bytes)
    assert answer.split()[1] == status
    assert b'"error"' in answer
    assert SECRET.encode() not in answer


async def test_a_head_without_end_is_dropped(ask: Ask) -> None:
    assert await ask(b"CONNECT " + b"a" * 20_000) == b""


async def test_closing_cuts_what_is_open(echo: int) -> None:
    tunnel = Tunnel(inside=("127.0.0.1", echo), secret=SECRET)
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    await tunnel.start(sock)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(connect("stock.vault.azure.net:443", f"Proxy-Authorization: Basic {RIGHT}"))
    await reader.readuntil(b"\r\n\r\n")

    await tunnel.close()

    assert await reader.read() == b""
    writer.close()
