"""A listening socket behind balancers that speak the PROXY protocol: the header is taken off each connection before TLS begins.

    accept ── from a balancer ── header ──┐
        └──── from anybody else ──────────┴── TLS handshake ── the listener's protocol, told who the client is

A header of anybody else's is taken for the first bytes of TLS, which it is not. Headers are read from the socket byte for byte, so that what
follows is there for TLS. asyncio's own server would begin TLS, and read ahead, at once.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from idplane.model.failure import os_reason
from idplane.web.proxy_header import Client, MalformedHeader, Proxies, read_header

__all__ = ["Behind", "Door"]

_HEADER_SECONDS: Final = 5.0
"""A balancer sends the header with its first packet."""
_PAUSE_SECONDS: Final = 1.0
_AT_ONCE: Final = 64
_TOLD_SECONDS: Final = 60.0
_log = logging.getLogger(__name__)


class Meeting(Protocol):
    """Makes the protocol of a connection from this client, or from whoever the socket says for None."""

    def __call__(self, client: Client | None) -> asyncio.Protocol: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What a door keeps to."""

    proxies: Proxies
    most: int
    """Connections at a time that are not served yet: beyond them the others wait in the system's queue."""
    handshake_seconds: float


class Door:
    """Accepts on a bound socket, which it closes, until `close`. `context` may be replaced at any time: whoever comes next meets it."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None, *, behind: Behind, meeting: Meeting) -> None:
        self.context = context
        self._sock = sock
        self._behind = behind
        self._meeting = meeting
        self._loop = asyncio.get_running_loop()
        self._met: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._closed = False
        self._told = -_TOLD_SECONDS
        self._resuming: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        sock.listen(512)
        self._resume()

    @property
    def waiting(self) -> int:
        """Connections that have been accepted and are not served yet."""
        return len(self._met)

    def close(self) -> None:
        """Accept no more; who was accepted goes on."""
        if not self._closed:
            self._closed = True
            self._pause()
            if self._resuming is not None:
                self._resuming.cancel()
            self._sock.close()

    async def abort(self) -> None:
        """Accept no more, and end what is not served yet."""
        self.close()
        for task in self._met:
            task.cancel()
        await asyncio.gather(*self._met, return_exceptions=True)

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._sock.fileno())

    def _resume(self) -> None:
        self._resuming = None
        if not self._accepting and not self._closed:
            self._accepting = True
            self._loop.add_reader(self._sock.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if len(self._met) >= self._behind.most:
                self._pause()
                return
            try:
                accepted, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # No descriptor or memory is left: as asyncio's own servers do, try again when some may be.
                _log.error("connections cannot be accepted: %s", os_reason(error))
                self._pause()
                self._resuming = self._loop.call_later(_PAUSE_SECONDS, self._resume)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._meet(accepted, address[0]))
            self._met.add(task)
            task.add_done_callback(self._met_one)

    def _met_one(self, task: asyncio.Task[None]) -> None:
        self._met.discard(task)
        if self._resuming is None:
            self._resume()

    async def _meet(self, accepted: socket.socket, peer: str) -> None:
        handed_on = False
        try:
            client = None
            if peer in self._behind.proxies:
                async with asyncio.timeout(_HEADER_SECONDS):
                    client = await read_header(_Source(self._loop, accepted))
            handed_on = True
            await self._serve(accepted, client)
        except MalformedHeader as problem:
            self._tell(peer, str(problem))
        except _NothingCame:
            pass  # a balancer that only looked whether somebody listens
        except TimeoutError:
            self._tell(peer, "it did not come in time")
        finally:
            if not handed_on:
                accepted.close()

    async def _serve(self, accepted: socket.socket, client: Client | None) -> None:
        # What goes wrong in a handshake is the client's own affair, as it is on other listeners.
        with suppress(OSError):
            await self._loop.connect_accepted_socket(
                lambda: self._meeting(client),
                accepted,
                ssl=self.context,
                ssl_handshake_timeout=self._behind.handshake_seconds if self.context else None,
            )

    def _tell(self, peer: str, problem: str) -> None:
        """Once a minute: either the balancer's settings are wrong, or somebody else has its address."""
        if self._loop.time() - self._told >= _TOLD_SECONDS:
            self._told = self._loop.time()
            _log.warning("a connection from %s, one of the [server] proxies, has no PROXY header: %s", peer, problem)


class _NothingCame(Exception):  # noqa: N818 - no error
    """The connection ended ahead of its first byte."""


@dataclass(slots=True)
class _Source:
    loop: asyncio.AbstractEventLoop
    accepted: socket.socket
    begun: bool = False

    async def exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            try:
                piece = await self.loop.sock_recv(self.accepted, size - len(found))
            except OSError:
                piece = b""
            if not piece:
                raise MalformedHeader("it ends early") if self.begun else _NothingCame
            self.begun = True
            found += piece
        return found
