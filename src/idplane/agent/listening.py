"""Sockets that are being served: which names they answer to, and when their connections have taken too long."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Collection

from idplane.agent.protocol import Connection, Handler
from idplane.ports.world import Clock

__all__ = ["ServedSocket", "host_names"]

_SWEEP_SECONDS = 5.0
_HANDSHAKE_SECONDS = 10.0
_HTTP_PORT = 80


def host_names(address: tuple[str, int], further: Collection[str]) -> frozenset[bytes]:
    """The Host header values for a listener: its own address, `localhost` if it is one, and the further ones."""
    name, port = address
    names = [f"[{name}]" if ":" in name else name]
    if ipaddress.ip_address(name).is_loopback:
        names.append("localhost")
    own = [f"{one}:{port}" for one in names] + (names if port == _HTTP_PORT else [])
    return frozenset(one.lower().encode() for one in (*own, *further))


class ServedSocket:
    """One served socket. Lives until `close`."""

    def __init__(self, server: asyncio.Server, *, handler: Handler, connections: set[Connection], clock: Clock) -> None:
        host, port = server.sockets[0].getsockname()[:2]
        self.address = (str(host), int(port))
        """Where it listens: host and port."""
        self.closed = False
        self._server = server
        self._handler = handler
        self._clock = clock
        self._connections = connections
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    @classmethod
    async def start(
        cls, sock: socket.socket, handler: Handler, clock: Clock, *, tls: ssl.SSLContext | None = None
    ) -> ServedSocket:
        """Serve a bound socket, which belongs to the listener from here on."""
        connections: set[Connection] = set()
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(handler, connections, clock.monotonic),
            sock=sock,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else _HANDSHAKE_SECONDS,
        )
        return cls(server, handler=handler, connections=connections, clock=clock)

    async def close(self) -> None:
        """Stop serving and drop the connections; again does nothing."""
        if self.closed:
            return
        self.closed = True
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        self._server.close()
        for connection in tuple(self._connections):
            connection.abort()
        self._handler.close()

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_SECONDS)
            now = self._clock.monotonic()
            for connection in tuple(self._connections):
                connection.expire(now)
            self._handler.tidy()
