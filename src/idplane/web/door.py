"""A listening socket: connections are met as they come, a bounded number of handshakes at a time.

    accept ── from a balancer ── PROXY header ──┐
        └──── from anybody else ────────────────┴── first bytes ── turn ── TLS handshake ── the listener's protocol, told who the client is

A header of anybody else's is taken for the first bytes of TLS, which it is not. Headers are read from the socket byte for byte, so that what
follows is there for TLS. asyncio's own server would begin TLS, and read ahead, at once.

Handshakes cost the most of what strangers can ask for. A thousand that are begun together end together, when their clients have given up; so
they take turns, the newest first, and who has hung up meanwhile costs nothing. Nobody who has said nothing yet holds a turn, and nobody holds one for long.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, cast

from idplane.model.failure import Failure, os_reason
from idplane.web.admission import Admission
from idplane.web.proxy_header import Client, MalformedHeader, Proxies, read_header

__all__ = ["Behind", "Door"]

_HEADER_SECONDS: Final = 5.0
"""A balancer sends the header with its first packet."""
_PAUSE_SECONDS: Final = 1.0
_AT_ONCE: Final = 64
_TOLD_SECONDS: Final = 60.0
_HANDSHAKES: Final = 16
_TURN_SECONDS: Final = 1.0
"""A handshake that takes longer waits for its client, and goes on without a turn."""
_READ_SIZE: Final = 16 * 1024
_HUNG_UP: Final = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
_log = logging.getLogger(__name__)


class Meeting(Protocol):
    """Makes the protocol of a connection from this client, or from whoever the socket says for None."""

    def __call__(self, client: Client | None) -> asyncio.Protocol: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What a door keeps to."""

    proxies: Proxies
    most: int
    """Connections at a time that are not served yet.

    A newcomer takes the place of the one that has said nothing for longest; where all have, it waits in the system's queue.
    """
    handshake_seconds: int


class Door:
    """Accepts on a bound socket, which it closes, until `close`. `context` may be replaced at any time: whoever comes next meets it."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None, *, behind: Behind, meeting: Meeting) -> None:
        self.context = context
        self._sock = sock
        self._behind = behind
        self._meeting = meeting
        self._loop = asyncio.get_running_loop()
        self._met: set[asyncio.Task[None]] = set()
        self._silent: dict[asyncio.Task[None], None] = {}
        """Of those, the ones that have said nothing yet, the first first."""
        self._turns = Admission(most=_HANDSHAKES, waiting=behind.most, seconds=behind.handshake_seconds)
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
            full = len(self._met) >= self._behind.most
            if full and not self._silent:
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
            if full:
                self._make_room()
            accepted.setblocking(False)
            task = self._loop.create_task(self._meet(accepted, address[0] if address else ""))
            self._met.add(task)
            task.add_done_callback(self._met_one)

    def _met_one(self, task: asyncio.Task[None]) -> None:
        self._met.discard(task)
        if self._resuming is None:
            self._resume()

    def _make_room(self) -> None:
        oldest = next(iter(self._silent))
        del self._silent[oldest]
        self._met.discard(oldest)
        oldest.cancel()

    async def _meet(self, accepted: socket.socket, peer: str) -> None:
        try:
            client = await self._named(accepted, peer)
            # What goes wrong from here on is the client's own affair, as it is on other listeners.
            with suppress(OSError, Failure):
                await self._serve(accepted, client)
        except MalformedHeader as problem:
            self._tell(peer, str(problem))
        except _NothingCame:
            pass  # a balancer that only looked whether somebody listens
        except TimeoutError:
            self._tell(peer, "it did not come in time")
        finally:
            accepted.close()

    async def _named(self, accepted: socket.socket, peer: str) -> Client | None:
        """Who the client is, if a balancer has to say; raises `MalformedHeader`, `_NothingCame`, `TimeoutError`."""
        if not self._behind.proxies.networks or peer not in self._behind.proxies:
            return None
        async with asyncio.timeout(_HEADER_SECONDS):
            return await read_header(_Source(self._loop, accepted))

    async def _serve(self, accepted: socket.socket, client: Client | None) -> None:
        """Until the listener's protocol has the connection; raises `OSError`, and `Failure` when there are too many others."""
        if self.context is None:
            await self._loop.connect_accepted_socket(lambda: self._meeting(client), _handed_on(accepted))
            return
        await self._spoken(accepted)
        await self._turns.take(_never)
        turn = _Turn(self._turns)
        waited = self._loop.call_later(_TURN_SECONDS, turn.end)
        try:
            if not _has_hung_up(accepted):
                await self._secured(_handed_on(accepted), client, self.context)
        finally:
            waited.cancel()
            turn.end()

    async def _spoken(self, accepted: socket.socket) -> None:
        """When the first bytes are there, which nobody reads yet; raises `TimeoutError`."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        came: asyncio.Future[None] = self._loop.create_future()
        self._silent[task] = None
        self._loop.add_reader(accepted.fileno(), _tell_once, came)
        try:
            async with asyncio.timeout(self._behind.handshake_seconds):
                await came
        finally:
            self._loop.remove_reader(accepted.fileno())
            self._silent.pop(task, None)

    async def _secured(self, accepted: socket.socket, client: Client | None, context: ssl.SSLContext) -> None:
        """TLS; raises `OSError`."""
        shaken: asyncio.Future[None] = self._loop.create_future()
        transport, _ = await self._loop.connect_accepted_socket(lambda: self._tls(client, context, shaken), accepted)
        try:
            await shaken
        except BaseException:
            transport.abort()
            raise

    def _tls(self, client: Client | None, context: ssl.SSLContext, shaken: asyncio.Future[None]) -> _Tls:
        protocol, seconds = self._meeting(client), self._behind.handshake_seconds
        return _Tls(self._loop, protocol, context, shaken, server_side=True, ssl_handshake_timeout=seconds)

    def _tell(self, peer: str, problem: str) -> None:
        """Once a minute: either the balancer's settings are wrong, or somebody else has its address."""
        if self._loop.time() - self._told >= _TOLD_SECONDS:
            self._told = self._loop.time()
            _log.warning("a connection from %s, one of the [server] proxies, has no PROXY header: %s", peer, problem)


class _Tls(SSLProtocol):
    """asyncio's own, which keeps 256 KiB for each connection to read into: a thousand agents that wait would cost half a gigabyte."""

    max_size = _READ_SIZE


@dataclass(slots=True)
class _Turn:
    turns: Admission
    held: bool = True

    def end(self) -> None:
        if self.held:
            self.held = False
            self.turns.give_back()


def _handed_on(accepted: socket.socket) -> socket.socket:
    """The same connection, which whoever had it no longer closes."""
    family, kind, proto = accepted.family, accepted.type, accepted.proto
    moved = socket.socket(family, kind, proto, fileno=accepted.detach())
    moved.setblocking(False)
    return moved


def _tell_once(came: asyncio.Future[None]) -> None:
    if not came.done():
        came.set_result(None)


def _has_hung_up(accepted: socket.socket) -> bool:
    """Whether the client has gone, also when it had said something before."""
    looking = select.poll()
    looking.register(accepted, _HUNG_UP)
    return bool(looking.poll(0))


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


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
