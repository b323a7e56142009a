"""The HTTPS way to the servers: outbound mutual TLS, a few connections that are kept, and whichever server can be reached.

Any number of servers may be named, and each name may have several addresses; all lead to the same installation, and they are tried in
random order. The server's certificate must hold the name that was asked for, under the authority that this agent was given, which is
read again for each connection, so that a successor counts at once. No TLS session is ever resumed: each connection proves both sides anew.
The long poll has a connection of its own, so that it never waits behind a request and no request behind it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from idplane.agent.exchange import Answer, Exchange, unavailable
from idplane.agent.upstream import ABSENT, BUSY, UpstreamResponse
from idplane.ports.world import Clock, Entropy

__all__ = ["ClientCertificate", "HttpsUpstream", "ServerAddress", "server_context"]

_CHANGES: Final = "/agent/v1/changes"
_ANSWER_SECONDS: Final = 15.0
_POLL_GRACE_SECONDS: Final = 5.0
"""How much later than it said the answer to a long poll may come."""
_CONNECT_SECONDS: Final = 3.0
_HANDSHAKE_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 45.0
"""Servers, and what stands before them, drop what is idle for a minute or more."""
_MOST_CONNECTIONS: Final = 8
_TRANSIENT: Final = frozenset({502, 503, 504})
_HTTPS_PORT: Final = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where servers are: one name, which may have any number of addresses."""

    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> ServerAddress:
        """From `https://name[:port]`; raises `ValueError` with one sentence."""
        parts = urlsplit(url)
        try:
            port = parts.port or _HTTPS_PORT
        except ValueError as error:
            raise ValueError(f"'{url[:200]}' names no port: write https://name:port") from error
        plain = not (parts.username or parts.password or parts.query or parts.fragment) and parts.path in {"", "/"}
        if parts.scheme != "https" or not parts.hostname or not plain:
            raise ValueError(f"'{url[:200]}' is no address of a server: write https://name or https://name:port")
        return cls(host=parts.hostname, port=port)

    @property
    def netloc(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _HTTPS_PORT else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Without a final slash."""
        return f"https://{self.netloc}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """What this agent proves on each connection."""

    key_pem: bytes = field(repr=False)
    chain_pem: bytes = field(repr=False)
    """The certificate first."""


class HttpsUpstream:
    """An `Upstream` over the network. Needs a running event loop; lives until `close`."""

    def __init__(
        self,
        *,
        servers: Sequence[ServerAddress],
        authority: Callable[[], bytes],
        clock: Clock,
        entropy: Entropy,
        heard: Callable[[datetime], None] | None = None,
        handshake_seconds: float = _HANDSHAKE_SECONDS,
    ) -> None:
        """`authority` reads the CA behind the servers' certificates, PEM; `heard` is told each answer's date."""
        if not servers:
            raise ValueError("an agent needs a server")
        self._servers = tuple(servers)
        self._authority = authority
        self._clock = clock
        self._entropy = entropy
        self._heard = heard
        self._handshake_seconds = handshake_seconds
        self._certificate: ClientCertificate | None = None
        self._made: tuple[bytes, ClientCertificate | None, ssl.SSLContext] | None = None
        self._idle: list[Exchange] = []
        self._poll: Exchange | None = None
        self._all: set[Exchange] = set()
        self._room = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._problem = ""
        self.connected_to: str | None = None
        """The server, and its address, that the last answer came from; None while none can be reached."""

    def present(self, certificate: ClientCertificate | None) -> None:
        """Prove this from now on. Connections that proved something else carry no further request."""
        self._certificate = certificate
        self._made = None
        for one in (*self._idle, *([self._poll] if self._poll else [])):
            one.abort()
        self._idle.clear()
        self._poll = None

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> UpstreamResponse:
        """One exchange; raises `Failure(UNAVAILABLE)`, with `AGAIN` where another connection may answer at once."""
        target = urlsplit(path)
        if target.path == _CHANGES:
            waits = parse_qs(target.query).get("wait", ["0"])[0]
            return await self._polled(method, path, headers, float(waits) + _POLL_GRACE_SECONDS)
        async with self._room:
            exchange = self._idle_one() or await self._connected()
            answer = await self._asked(exchange, method, path, headers, body, seconds=_ANSWER_SECONDS)
            if exchange.open and exchange.generation is self._generation():
                self._idle.append(exchange)
            else:
                exchange.abort()
            return _response(answer)

    async def close(self) -> None:
        """End every connection."""
        for one in tuple(self._all):
            one.abort()
        self._idle.clear()
        self._poll = None

    async def _polled(self, method: str, path: str, headers: Mapping[str, str], seconds: float) -> UpstreamResponse:
        exchange, self._poll = self._poll, None
        if exchange is None or not self._fresh(exchange):
            exchange = await self._connected()
        answer = await self._asked(exchange, method, path, headers, b"", seconds=seconds)
        if exchange.open and exchange.generation is self._generation():
            self._poll = exchange
        else:
            exchange.abort()
        return _response(answer)

    async def _asked(
        self, exchange: Exchange, method: str, path: str, headers: Mapping[str, str], body: bytes, *, seconds: float
    ) -> Answer:
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {exchange.netloc}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        if body or method != "GET":
            lines.append(f"Content-Length: {len(body)}")
        request = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        answer = await exchange.ask(request, seconds=seconds)
        exchange.used_at = self._clock.monotonic()
        self.connected_to = exchange.name
        if answer.date is not None and self._heard is not None:
            self._heard(answer.date)
        if answer.status in _TRANSIENT:
            # This server cannot, another may; behind a balancer only a new connection finds one.
            exchange.abort()
            detail = f"the server answered with status {answer.status}"
            raise unavailable(detail, again=True, unsettled=True, trouble=BUSY, named=answer.retry_after)
        return answer

    def _idle_one(self) -> Exchange | None:
        while self._idle:
            one = self._idle.pop()
            if self._fresh(one):
                return one
            one.abort()
        return None

    def _fresh(self, exchange: Exchange) -> bool:
        young = self._clock.monotonic() - exchange.used_at < _IDLE_SECONDS
        return exchange.open and young and exchange.generation is self._generation()

    async def _connected(self) -> Exchange:
        """A new connection to whichever server answers first in random order; raises `Failure(UNAVAILABLE)`."""
        context = self._generation()
        problem, trouble = "", ABSENT
        for server, address in await self._addresses():
            try:
                exchange = await _connect(server, address, context, self._handshake_seconds)
            except (OSError, TimeoutError, ssl.SSLError, ssl.CertificateError) as error:
                problem = f"{server.url} ({address}): {_reason(error)}"
                if isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
                    trouble = BUSY  # it took the connection, and ended it in the handshake or did not get round to that
                continue
            exchange.generation = context
            exchange.used_at = self._clock.monotonic()
            self._keep(exchange)
            return exchange
        self._problem = f"no server can be reached; the last one tried was {problem}" if problem else self._problem
        self.connected_to = None
        raise unavailable(self._problem, trouble=trouble)

    def _keep(self, exchange: Exchange) -> None:
        self._all = {one for one in self._all if not one.ended} | {exchange}

    async def _addresses(self) -> list[tuple[ServerAddress, str]]:
        """Every address of every server, shuffled; what has no address is left out, with the reason kept."""
        found: list[tuple[ServerAddress, str]] = []
        for server in self._servers:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    infos = await asyncio.get_running_loop().getaddrinfo(
                        server.host, server.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
                    )
            except (OSError, TimeoutError) as error:
                self._problem = f"no server can be reached; {server.host} has no address: {_reason(error)}"
                continue
            found += [(server, str(info[4][0])) for info in infos]
        keyed = {one: self._entropy.bytes(8) for one in found}
        return sorted(keyed, key=lambda one: keyed[one])

    def _generation(self) -> ssl.SSLContext:
        """The context for new connections: made anew when the authority or what is presented has changed."""
        made = self._made
        try:
            authority = self._authority()
        except OSError as error:
            if made is None:
                raise unavailable(f"the servers' authority can't be read: {_reason(error)}") from error
            authority = made[0]
        if made is None or made[0] != authority or made[1] is not self._certificate:
            made = self._made = (authority, self._certificate, _context(authority, self._certificate))
        return made[2]


async def _connect(server: ServerAddress, address: str, context: ssl.SSLContext, seconds: float) -> Exchange:
    """A new connection. One that ends in its handshake is tried once more: behind a balancer another server gets it then."""
    try:
        return await _connect_once(server, address, context, seconds)
    except (ConnectionRefusedError, ConnectionAbortedError):
        raise  # nobody is there, or a server that is too busy for handshakes let its time run out: it needs no second one
    except ConnectionError:
        return await _connect_once(server, address, context, seconds)


async def _connect_once(server: ServerAddress, address: str, context: ssl.SSLContext, seconds: float) -> Exchange:
    async with asyncio.timeout(_CONNECT_SECONDS + seconds):
        _, exchange = await asyncio.get_running_loop().create_connection(
            Exchange,
            address,
            server.port,
            ssl=context,
            server_hostname=server.host,
            ssl_handshake_timeout=seconds,
        )
    exchange.netloc = server.netloc
    exchange.name = f"{server.url} ({address})"
    return exchange


def _context(authority: bytes, certificate: ClientCertificate | None) -> ssl.SSLContext:
    """TLS 1.2 or later, the server's name checked, nothing trusted but `authority`; raises `Failure(UNAVAILABLE)`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_verify_locations(cadata=authority.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise unavailable("the servers' authority is no certificate in PEM") from error
    if certificate is not None:
        with _as_file(certificate.key_pem + certificate.chain_pem) as path:
            context.load_cert_chain(path)
    return context


def server_context(pem: bytes) -> ssl.SSLContext:
    """A context to serve with, from a key and its certificate: TLS 1.2 or later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with _as_file(pem) as path:
        context.load_cert_chain(path)
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """`ssl` reads keys from files only; this one is in memory where the system has such files, and private and brief elsewhere."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("idplane-agent", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "agent.pem"
            path.touch(mode=0o600)
            path.write_bytes(content)
            yield str(path)


def _response(answer: Answer) -> UpstreamResponse:
    return UpstreamResponse(status=answer.status, body=bytes(answer.body), retry_after=answer.retry_after)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not count: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "it took too long"
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error) or "the connection ended"
