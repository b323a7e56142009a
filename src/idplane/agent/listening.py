"""Sockets that are being served: which names they answer to, who is let in, and when connections have taken too long."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
from collections.abc import Collection
from functools import partial
from traceback import clear_frames

from idplane.agent.places import Places
from idplane.agent.protocol import Connection, Handler
from idplane.ports.world import Clock

__all__ = ["ServedSocket", "host_names"]

_log = logging.getLogger("idplane.agent")
_SWEEP_SECONDS = 5.0
_HTTP_PORT = 80
_BACKLOG = 512
_MOST_TLS = 128
"""Connections of a listener with TLS: asyncio's buffers for one take a quarter of a megabyte."""
_AT_ONCE = 64
"""Accepted in a row, before those who are in already get their turn."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NOBODY = (BlockingIOError, InterruptedError, ConnectionAbortedError)


def host_names(address: tuple[str, int], further: Collection[str]) -> frozenset[bytes]:
    """The Host header values for a listener: its own address, `localhost` if it is one, and the further ones."""
    name, port = address
    names = [f"[{name}]" if ":" in name else name]
    if ipaddress.ip_address(name).is_loopback:
        names.append("localhost")
    own = [f"{one}:{port}" for one in names] + (names if port == _HTTP_PORT else [])
    return frozenset(one.lower().encode() for one in (*own, *further))


class ServedSocket:
    """One served socket. Lives until `close`.

    It accepts by itself, where asyncio's server would do, because only so is a connection counted from its first moment (a TLS
    handshake is a place taken, too), and the end of the descriptors is met by making room rather than by waiting.
    """

    def __init__(
        self, sock: socket.socket, *, handler: Handler, places: Places, clock: Clock, tls: ssl.SSLContext | None
    ) -> None:
        host, port = sock.getsockname()[:2]
        self.address = (str(host), int(port))
        """Where it listens: host and port."""
        self.closed = False
        self._sock = sock
        self._handler = handler
        self._clock = clock
        self._tls = tls
        self._room = places.room(most=None if tls is None else _MOST_TLS)
        self._opening: set[asyncio.Task[object]] = set()
        self._loop = asyncio.get_running_loop()
        self._accepting = False
        self._listen()
        self._sweeper = self._loop.create_task(self._sweep_now_and_then())

    @classmethod
    async def start(
        cls,
        sock: socket.socket,
        handler: Handler,
        clock: Clock,
        *,
        tls: ssl.SSLContext | None = None,
        places: Places | None = None,
    ) -> ServedSocket:
        """Serve a bound socket, which belongs to the listener from here on. Listeners that share `places` make room for each other."""
        return cls(sock, handler=handler, places=places or Places(), clock=clock, tls=tls)

    def sweep(self) -> None:
        """Drop the connections that have taken too long, and what the handler need not keep."""
        now = self._clock.monotonic()
        for connection in self._room:
            connection.expire(now)
        self._handler.tidy()
        self._resume()

    async def close(self) -> None:
        """Stop serving and drop the connections; again does nothing."""
        if self.closed:
            return
        self.closed = True
        self._sweeper.cancel()
        self._pause()
        self._sock.close()
        self._room.close()
        await asyncio.gather(self._sweeper, *self._opening, return_exceptions=True)
        self._handler.close()

    def _listen(self) -> None:
        self._sock.setblocking(False)
        if self._sock.family in {socket.AF_INET, socket.AF_INET6}:
            # Connections inherit it. asyncio sets it only on sockets that say IPPROTO_TCP, which accepted ones mostly do not.
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.listen(_BACKLOG)
        self._resume()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = self._sock.accept()
            except _NOBODY:
                return
            except OSError as error:
                self._stumble(error)
                return
            self._welcome(accepted)

    def _stumble(self, error: OSError) -> None:
        """Nobody more can be accepted now: try again when somebody has made room, else at the next sweep."""
        self._pause()
        if error.errno in _EXHAUSTED and self._room.make_room():
            self._loop.call_soon(self._resume)  # which is after the end of whoever left
            return
        _log.error("connections to %s cannot be accepted: %s", self.address, error.strerror)

    def _welcome(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        connection = Connection(self._handler, self._clock.monotonic, self._room.leave)
        connecting = self._loop.connect_accepted_socket(lambda: connection, accepted, ssl=self._tls)
        connection.opening = task = self._loop.create_task(connecting)
        self._opening.add(task)
        task.add_done_callback(partial(self._opened, connection, accepted))
        self._room.seat(connection)

    def _opened(self, connection: Connection, accepted: socket.socket, task: asyncio.Task[object]) -> None:
        connection.opening = None
        self._opening.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None or task.cancelled():  # no TLS client, or one that made room
            accepted.close()
            self._room.leave(connection)
        if error is not None:
            # Its frames hold what asyncio made for the connection, a quarter of a megabyte with TLS, and that in turn holds it.
            clear_frames(error.__traceback__)

    def _resume(self) -> None:
        if not self._accepting and not self.closed:
            self._accepting = True
            self._loop.add_reader(self._sock, self._accept)

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._sock)

    async def _sweep_now_and_then(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_SECONDS)
            self.sweep()
