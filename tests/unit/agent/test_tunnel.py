"""The way to Azure's names without a namespace: who may use it, and where it leads."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeAlias

import pytest

from idplane.agent.peers import Process
from idplane.agent.tunnel import Tunnel, destination
from idplane.agent.tunnels import Tunnels
from idplane.model.failure import Failure, FailureKind
from idplane.testing.worlds import SeededEntropy

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


async def test_closing_cuts_what_is_open_without_an_error(echo: int) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    tunnel = Tunnel(inside=("127.0.0.1", echo), secret=SECRET)
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    await tunnel.start(sock)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"CONNECT management.azure.com:443 HTTP/1.1\r\nProxy-Authorization: Basic {RIGHT}\r\n\r\n".encode())
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await tunnel.close()
        assert await reader.read() == b""
    writer.close()
    assert complaints == []


# Tunnels of processes


async def test_a_tunnel_ends_with_its_process_and_only_with_its_own() -> None:
    tunnels = Tunnels(entropy=SeededEntropy())
    # A pipe's end is readable when the other one goes, as a pidfd is when its process does.
    (one, first), (other, second) = os.pipe(), os.pipe()
    opened = [await tunnels.open(Process(pid=0, descriptor=descriptor)) for descriptor in (one, other)]
    assert opened[0]["HTTPS_PROXY"] != opened[1]["HTTPS_PROXY"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(opened[0]))
    os.close(first)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    assert [await accepts(one) for one in opened] == [False, True]
    await tunnels.close()
    assert not await accepts(opened[1])
    os.close(second)


async def test_a_tunnel_of_a_process_leads_azures_names_where_they_are() -> None:
    assert destination("management.azure.com", 443, None) == ("management.azure.com", 443)
    assert destination("stock.vault.localhost", 8443, None) == ("127.0.0.1", 8443)


async def test_tunnels_are_bounded_and_a_refused_one_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idplane.agent.tunnels._MOST", 1)
    tunnels = Tunnels(entropy=SeededEntropy())
    await tunnels.open(Process(pid=os.getpid(), descriptor=os.pidfd_open(os.getpid())))
    refused = os.pidfd_open(os.getpid())
    with pytest.raises(Failure) as failure:
        await tunnels.open(Process(pid=os.getpid(), descriptor=refused))
    assert failure.value.kind is FailureKind.LIMIT_EXCEEDED
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(refused)
    await tunnels.close()


def port_of(variables: Mapping[str, str]) -> int:
    return int(variables["HTTPS_PROXY"].rpartition(":")[2])


async def accepts(variables: Mapping[str, str]) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(variables))
    except OSError:
        return False
    writer.close()
    return True
