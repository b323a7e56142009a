"""Sockets that are being served: which names they answer to, and when their connections have taken too long."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection

from idplane.agent.protocol import Connection, Handler
from idplane.ports.world import Clock

__all__ = ["ServedSocket", "host_names"]

_SWEEP_SECONDS = 5.0
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

    def __init__(self, server: asyncio.Server, *, address: tuple[str, int], connections: set[Connection], clock: Clock) -> None:
        self.address = address
        """Where it listens: host and port."""
        self.closed = False
        self._server = server
        self._clock = clock
        self._connections = connections
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    @classmethod
    async def start(cls, sock: socket.socket, handler: Handler, clock: Clock) -> ServedSocket:
        """Serve a bound socket, which belongs to the listener from here on."""
        connections: set[Connection] = set()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(handler, connections, clock.monotonic), sock=sock)
        host, port = sock.getsockname()[:2]
        return cls(server, address=(str(host), int(port)), connections=connections, clock=clock)

    async def close(self) -> None:
        """Stop serving and drop the connections; again does nothing."""
        self.closed = True
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        self._server.close()
        for connection in tuple(self._connections):
            connection.abort()

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_SECONDS)
            now = self._clock.monotonic()
            for connection in tuple(self._connections):
                connection.expire(now)
