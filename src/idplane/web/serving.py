"""Listeners: TLS sockets whose requests reach an ASGI application through uvicorn's HTTP protocol, with bounds added (`connection`).

uvicorn's own `Server` owns signals and the event loop; this process owns both, and has several listeners that come and go (one for
each run), so only uvicorn's protocol is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl

from uvicorn.config import Config
from uvicorn.server import ServerState

from idplane.web.connection import Application, BoundedProtocol
from idplane.web.door import Behind, Door
from idplane.web.proxy_header import Client, Proxies

__all__ = ["Listener", "tls_context"]

_HANDSHAKE_SECONDS = 10
_IDLE_SECONDS = 75
_MAX_CONNECTIONS = 4096
_DRAIN_SECONDS = 5.0
_QUIET_SECONDS = 0.2
_QUIET_TIMES = 3


class Listener:
    """A listening socket and its connections, until `close`."""

    def __init__(self, app: Application, *, most: int | None = None, proxies: Proxies | None = None) -> None:
        """`most` connections at a time; by default as many as the process has descriptors for.

        Connections from `proxies` begin with a PROXY header, which says who the client is.
        """
        self._app = app
        self._most = most
        self._proxies = proxies or Proxies()
        self._config = Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
        )
        self._config.load()
        # Without uvicorn's wrapper, which at its trace level logs whole requests with whatever secret a client put into them.
        self._config.loaded_app = app
        self._state = ServerState()
        self._doors: list[Door] = []
        self._closed = False
        self._draining = False

    async def listen(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        """Accept on a bound socket; `context` None serves plain HTTP, which only tests on loopback do."""
        # Connections inherit it. asyncio sets it only on sockets that say IPPROTO_TCP, which accepted ones mostly do not; and without
        # it, a body that is written after its head waits for the client's delayed acknowledgement: 40 ms for each request.
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        most = self._most or _most_connections()
        behind = Behind(proxies=self._proxies, most=most, handshake_seconds=_HANDSHAKE_SECONDS)
        self._doors.append(Door(sock, context, behind=behind, meeting=self._protocol))

    async def change(self, context: ssl.SSLContext) -> None:
        """Meet new connections with another context. Those that are open stay, and none that waits to be accepted is lost."""
        for door in self._doors:
            door.context = context

    def _protocol(self, client: Client | None = None) -> BoundedProtocol:
        most = self._most or _most_connections()
        return BoundedProtocol(
            self._config, self._state, self._app, most=most, is_draining=lambda: self._draining, client=client
        )

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._state.connections)

    def drain(self) -> None:
        """From now on every answer ends its connection. Connections are still taken: others may not know yet."""
        self._draining = True
        for connection in list(self._state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.last_answer()

    async def finish(self, seconds: float) -> None:
        """Take no more connections, and return when those that are there have ended, at the latest after so many seconds.

        One that asks nothing stays until then: a request may be on its way on it.
        """
        self.drain()
        self._stop_accepting()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # Twice in a row: what was accepted last may still be in its handshake, and is no connection yet.
                quiet = 0
                while quiet < _QUIET_TIMES:
                    busy = bool(self._state.connections) or any(door.waiting for door in self._doors)
                    quiet = 0 if busy else quiet + 1
                    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=_QUIET_SECONDS)

    async def close(self) -> None:
        """Stop accepting, let running requests end, then cut what is left."""
        self._closed = True
        self._stop_accepting()
        for door in self._doors:
            await door.abort()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=_DRAIN_SECONDS)
        for connection in list(self._state.connections):
            if connection.transport is not None:
                connection.transport.abort()

    def _stop_accepting(self) -> None:
        for door in self._doors:
            door.close()


def _most_connections() -> int:
    """Three quarters of the descriptors that the process may have, so that the rest of it keeps working under a flood."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_CONNECTIONS if limit == resource.RLIM_INFINITY else min(_MAX_CONNECTIONS, limit * 3 // 4)


def tls_context(
    certificate_chain_file: str, key_file: str | None = None, *, client_authority: bytes | None = None
) -> ssl.SSLContext:
    """A server context: TLS 1.2 or later, HTTP/1.1 only. Raises `ssl.SSLError` for a chain that does not fit its key.

    With `client_authority` (PEM), clients may show a certificate of that authority; another one ends the handshake. Sessions are not resumed then:
    who comes back proves itself anew (RFC 8446 section 2.2 would let it go on from what was proved under an authority that is gone).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate_chain_file, key_file)
    context.set_alpn_protocols(["http/1.1"])
    if client_authority is not None:
        context.load_verify_locations(cadata=client_authority.decode("ascii"))
        context.verify_mode = ssl.CERT_OPTIONAL
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    return context
