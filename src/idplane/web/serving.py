"""Listeners: TLS sockets whose requests reach an ASGI application through uvicorn's HTTP protocol, with bounds added.

uvicorn's own `Server` owns signals and the event loop; this process owns both, and has several listeners that come and go (one for
each run), so only uvicorn's protocol is used.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

__all__ = ["Listener", "tls_context"]

_MAX_HEAD = 64 * 1024
_HEAD_SECONDS = 20.0
_HANDSHAKE_SECONDS = 10.0
_IDLE_SECONDS = 75
_MAX_CONNECTIONS = 4096
_DRAIN_SECONDS = 5.0


class _BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a limit on the size of a request head and on the time it may take to arrive."""

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        if len(self.connections) > _MAX_CONNECTIONS:
            transport.close()
            return
        self._start_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        # A body that came with its head leaves the head state in the callback below, so only real heads are counted here.
        if self._in_head and self._head_bytes > _MAX_HEAD and not self.transport.is_closing():
            self.send_400_response("The request head is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._start_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        body = json.dumps({"error": {"code": "BadRequest", "message": msg}}).encode()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: "
            + str(len(body)).encode()
            + b"\r\nconnection: close\r\n\r\n"
            + body
        )
        self.transport.close()

    def _start_head(self) -> None:
        self._stop_timer()
        self._in_head = True
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._head_too_slow)

    def _head_too_slow(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Listener:
    """A listening socket and its connections, until `close`."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._config = Config(
            app,
            http=_BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
        )
        self._config.load()
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []

    async def listen(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        """Accept on a bound socket; `context` None serves plain HTTP, which only tests on loopback do."""
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {"ssl_handshake_timeout": _HANDSHAKE_SECONDS} if context else {}
        server = await loop.create_server(
            lambda: _BoundedProtocol(self._config, self._state, {}), sock=sock, ssl=context, backlog=512, **options
        )
        self._servers.append(server)

    async def close(self) -> None:
        """Stop accepting, let running requests end, then cut what is left."""
        for server in self._servers:
            server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=_DRAIN_SECONDS)
        for connection in list(self._state.connections):
            if connection.transport is not None:
                connection.transport.abort()


def tls_context(certificate_chain_file: str, key_file: str | None = None) -> ssl.SSLContext:
    """A server context: TLS 1.2 or later, HTTP/1.1 only. Raises `ssl.SSLError` for a chain that does not fit its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate_chain_file, key_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
