"""The way to Azure's public names for a workload without a namespace: an HTTP CONNECT proxy of its own (RFC 9110 section 9.3.6).

`HTTPS_PROXY` is the one variable by which nearly every HTTP client can be told where a name leads. A tunnel to a public name ends at the
run's own TLS listener; any other tunnel goes where it says, as if it were not there. It carries bytes and looks into none of them.
Only who knows the run's secret may open one, so no other user of the machine can borrow it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import socket
from http import HTTPStatus

from idplane.model.azure import ISSUER_DOMAINS, PUBLIC_HOSTS, VAULT_DOMAIN

__all__ = ["Tunnel", "destination", "proxy_variables"]

_PUBLIC = frozenset(host for hosts in PUBLIC_HOSTS.values() for host in hosts)
_DOMAINS = frozenset((VAULT_DOMAIN, *ISSUER_DOMAINS))
_HTTPS = 443
_LARGEST_PORT = 65535
_MOST_HEAD = 8 * 1024
_HEAD_SECONDS = 10.0
_CONNECT_SECONDS = 20.0
_MOST_CONNECTIONS = 256
_CHUNK = 64 * 1024
_ANSWER = b"HTTP/1.1 200 Connection established\r\n\r\n"


class _Refused(Exception):  # noqa: N818 - becomes an answer, not an error
    def __init__(self, status: HTTPStatus, words: str, header: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.header = header


def destination(host: str, port: int, inside: tuple[str, int] | None) -> tuple[str, int]:
    """Where a tunnel to `host` leads: Azure's public names to `inside`, names below `localhost` to this machine, others to themselves.

    Without an `inside`, Azure's public names are others, too.
    """
    name = host.lower().rstrip(".")
    if inside is not None and port == _HTTPS and (name in _PUBLIC or name.partition(".")[2] in _DOMAINS):
        return inside
    if name == "localhost" or name.endswith(".localhost"):
        return "127.0.0.1", port
    return host, port


def proxy_variables(address: str, port: int, secret: str) -> dict[str, str]:
    """The variables by which programs find a tunnel that listens there."""
    proxy = f"http://run:{secret}@{address}:{port}"
    return {"HTTPS_PROXY": proxy, "https_proxy": proxy}


class Tunnel:
    """A proxy on one loopback socket, until `close`."""

    def __init__(self, *, inside: tuple[str, int] | None, secret: str) -> None:
        self._inside = inside
        self._expected = b"Basic " + base64.b64encode(f"run:{secret}".encode())
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, sock: socket.socket) -> None:
        """Accept on a bound socket."""
        self._server = await asyncio.start_server(self._accept, sock=sock, limit=_MOST_HEAD)

    async def close(self) -> None:
        """Stop accepting and cut every tunnel."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._open) >= _MOST_CONNECTIONS:
            writer.close()
            return
        self._open.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # Either side went away, or never said what it wanted; the other one sees the connection end.
        except asyncio.CancelledError:
            pass  # By `close`; nothing awaits this task but the stream protocol, which before Python 3.12 takes it for an error.
        finally:
            self._open.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        try:
            there = await self._connect(head)
        except _Refused as refused:
            writer.write(_refusal(refused))
            await writer.drain()
            return
        writer.write(_ANSWER)
        with contextlib.closing(there[1]):
            await asyncio.gather(_carry(reader, there[1]), _carry(there[0], writer))

    async def _connect(self, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._target(head)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                return await asyncio.open_connection(*destination(host, port, self._inside))
        except (OSError, TimeoutError) as error:
            raise _Refused(HTTPStatus.BAD_GATEWAY, f"{host}:{port} can't be reached") from error

    def _target(self, head: bytes) -> tuple[str, int]:
        request, *lines = head.decode("latin-1").split("\r\n")
        method, _, rest = request.partition(" ")
        if method != "CONNECT":
            raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "this proxy opens tunnels for https only", "Allow: CONNECT")
        given = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("proxy-authorization:")]
        if len(given) != 1 or not hmac.compare_digest(given[0].encode("latin-1"), self._expected):
            raise _Refused(
                HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, "the run's secret is missing or wrong", "Proxy-Authenticate: Basic"
            )
        host, _, port = rest.split(" ")[0].rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) <= _LARGEST_PORT:
            raise _Refused(HTTPStatus.BAD_REQUEST, "CONNECT names no host and port")
        return host.strip("[]"), int(port)


def _refusal(refused: _Refused) -> bytes:
    body = json.dumps({"error": {"code": refused.status.phrase.replace(" ", ""), "message": refused.words}}).encode()
    header = f"{refused.header}\r\n" if refused.header else ""
    head = (
        f"HTTP/1.1 {refused.status.value} {refused.status.phrase}\r\n{header}content-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, and pass the end on."""
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
