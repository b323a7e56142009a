"""HTTP/1.x for token endpoints: small limits, answers in order, and as little work a request as can be.

Own code over httptools because this is the hot path (performance.md section 4), and because workloads on a host are not to be
trusted with more than a few kilobytes of our memory each. One `Connection` for each TCP connection: bytes → `Request` → the
handler's `Reply`, at once or from a coroutine; requests behind it wait their turn. How many connections there may be, and which
one makes room for another, is `places`' business.
"""

from __future__ import annotations

import asyncio
from asyncio.trsock import TransportSocket
from collections import deque
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import httptools

from idplane.agent.replies import Reply
from idplane.model.failure import Failure, FailureKind

__all__ = ["Connection", "Handler", "Limits", "Peer", "Request"]

_MAX_HEAD = 16 * 1024
_MAX_HEADERS = 64
_MAX_BODY = 16 * 1024
_MAX_PIPELINED = 32
_MAX_MESSAGE = 64 * 1024
_MAX_OUTPUT = 64 * 1024
_MAX_LINGER_BYTES = 1024 * 1024
_CLOSE = b"Connection: close\r\n\r\n"
_KEEP = b"Connection: keep-alive\r\n\r\n"
_BLANK = b"\r\n"


class Limits:
    """Seconds that a connection may take for things."""

    HANDSHAKE = 10.0
    """From being accepted to the end of the TLS handshake."""
    IDLE = 75.0
    """Between requests."""
    REQUEST = 10.0
    """From a request's first byte to its last."""
    LINGER = 2.0
    """Reading on after the last answer, so that a client that is still sending gets to read it (RFC 9112 section 9.6)."""


class Peer:
    """Who is at the other end of one connection. One object for as long as the connection lives, shared by its requests."""

    __slots__ = ("caller", "closed", "proof", "transport_socket")

    def __init__(self, transport_socket: TransportSocket) -> None:
        self.transport_socket = transport_socket
        """The accepted socket, also when TLS lies over it: for `getpeername` and `SO_PEERCRED`, never for reading or writing."""
        self.proof: object | None = None
        """Whatever the handler wants to remember about this connection."""
        self.caller: Hashable = None
        """Who the handler found it to be. When places run out, a caller with many connections makes room for the others."""
        self.closed = False
        """Whether the connection is gone, and with it the meaning of the socket's descriptor."""


class Request(NamedTuple):
    """A request as it was sent. A tuple, since one is made for every request."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    peer: Peer | None = None
    """The connection that it came over; none where a request is made up rather than received."""


class Handler(Protocol):
    """What answers requests: one dialect for one listener."""

    def answer(self, request: Request, /) -> Reply | Coroutine[Any, Any, Reply]:
        """The answer at once if it can be had, else a coroutine for it. Neither raises `Failure`."""
        ...

    def refuse(self, failure: Failure, peer: Peer | None = None, /) -> Reply:
        """The dialect's words for a request from `peer` that could not even be read."""
        ...

    def tidy(self) -> None:
        """Drop what has expired; called every few seconds."""
        ...

    def close(self) -> None:
        """The listener is gone: leave nothing behind."""
        ...


_Turn: TypeAlias = tuple[Request | Failure, bytes]
"""What to answer, and the end of the head that goes with it."""


class Connection(asyncio.Protocol):
    """One connection. States: opening, reading, answering (others queue), lingering after the last answer, gone.

    `gone` is called when it is.
    """

    def __init__(self, handler: Handler, monotonic: Callable[[], float], gone: Callable[[Connection], None]) -> None:
        self.since = monotonic()
        """When it was accepted, or last began or finished a request, in monotonic seconds."""
        self.opening: asyncio.Task[object] | None = None
        """What brings the connection up, until it is up."""
        self._handler = handler
        self._monotonic = monotonic
        self._gone = gone
        self._parser: httptools.HttpRequestParser  # from when it is made until it is lost
        self._transport: asyncio.Transport | None = None
        self._peer: Peer | None = None
        self._queue: deque[_Turn] = deque()
        self._output: list[bytes] = []
        self._output_size = 0
        self._task: asyncio.Task[Reply] | None = None
        self._reading = True
        self._write_paused = False
        self._last_queued = False  # no request after this point will be answered
        self._lingering = 0
        self._refusal: Failure | None = None
        self._in_message = False
        self._in_head = False
        self._begun_now = False
        self._fed = 0
        self._size = 0
        self._body = b""
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []

    @property
    def caller(self) -> Hashable:
        """Who is at the other end, as far as the handler found out."""
        return None if self._peer is None else self._peer.caller

    @property
    def answering(self) -> bool:
        """Whether a request is being answered."""
        return self._task is not None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._peer = Peer(transport.get_extra_info("socket"))
        self._parser = httptools.HttpRequestParser(self)
        self.since = self._monotonic()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone: nobody waits for the answer any more."""
        self._transport = None
        if self._peer is not None:
            self._peer.closed = True
            self._peer.proof = None  # which may lead back to the peer
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()
        del (
            self._parser
        )  # it refers to us: without this, a flood of connections would stay until the garbage collector comes by
        self._gone(self)

    def data_received(self, data: bytes) -> None:
        """Parse, and answer what is complete."""
        if self._last_queued:
            self._linger(len(data))
            return
        self._begun_now = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._last_queued = True  # answered as HTTP/1.1; what follows may be anything
        except httptools.HttpParserError:
            self._refuse(self._refusal or _not_http())
        if self._in_message and not self._begun_now:
            self._count(len(data))
        self._settle()

    def eof_received(self) -> bool:
        """The client will send no more; it still gets the answers to what it sent, except over TLS, which has no half-closed state."""
        self._last_queued = True
        half_open = self._transport is not None and self._transport.can_write_eof()
        return half_open and (self._task is not None or bool(self._queue))

    def pause_writing(self) -> None:
        """The client does not read: answer nothing more until it does."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """The client reads again."""
        self._write_paused = False
        self._advance()
        self._settle()

    # httptools' side

    def on_message_begin(self) -> None:
        """A request starts."""
        self.since = self._monotonic()
        self._in_message = self._in_head = self._begun_now = True
        self._fed = self._size = 0
        self._body = b""
        self._target = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._target += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes | None) -> None:
        """One header. Those behind a chunked body are counted and dropped: nothing here has a use for them (RFC 9110 section 6.5.1)."""
        if self._in_head:
            self._headers.append((name, value or b""))
        self._grow(len(name) + len(value or b""))
        if len(self._headers) > _MAX_HEADERS:
            self._stop(_too_long())

    def on_headers_complete(self) -> None:
        """The head is there. A client that waits for permission to send a body gets it, since the body is bounded anyway."""
        self._in_head = False
        if self._parser.get_method() != b"GET" and any(name.lower() == b"expect" for name, _ in self._headers):
            self._encourage()

    def on_chunk_header(self) -> None:
        """A chunk begins. The only transfer coding is `chunked`, once and by itself: another spelling could be read in another way."""
        codings = [value for name, value in self._headers if name.lower() == b"transfer-encoding"]
        plain = len(codings) == 1 and codings[0].strip().lower() == b"chunked"
        if not plain or self._parser.get_http_version() != "1.1":
            self._stop(Failure(FailureKind.MALFORMED_BODY, "Only the transfer coding 'chunked' of HTTP/1.1 is known here"))

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._body += body
        if len(self._body) > _MAX_BODY:
            self._stop(_too_large())

    def on_message_complete(self) -> None:
        """A request is complete: answer it, or queue it behind the one that is being answered."""
        self._in_message = False
        if self._last_queued:
            return
        parser = self._parser
        request: Request | Failure = Request(parser.get_method(), self._target, self._headers, self._body, self._peer)
        version = parser.get_http_version()
        if version == "1.1":
            end = _BLANK if parser.should_keep_alive() else _CLOSE
        elif version == "1.0":
            end = _KEEP if parser.should_keep_alive() else _CLOSE
        else:
            request, end = _not_http(), _CLOSE
        if len(self._queue) >= _MAX_PIPELINED:
            end = _CLOSE  # the client must ask again for the rest (RFC 9112 section 9.3.2)
        self._take((request, end))

    # our side

    def expire(self, now: float) -> None:
        """Close the connection if it has taken too long for what it is doing."""
        if self._task is not None:
            return
        if self.opening is not None:
            limit = Limits.HANDSHAKE
        elif self._in_message or self._write_paused:
            limit = Limits.REQUEST
        elif self._last_queued:
            limit = Limits.LINGER
        else:
            limit = Limits.IDLE
        if now - self.since > limit:
            self.abort()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    def _count(self, size: int) -> None:
        """Bound what the parser is fed for one request: it keeps what it has no end of, wherever in the request that is."""
        self._fed += size
        if self._in_head and self._fed > _MAX_HEAD:
            self._refuse(_too_long())
        elif self._fed > _MAX_MESSAGE:
            self._refuse(_too_large())

    def _encourage(self) -> None:
        """Permit a body, unless that could be taken for an answer to a request before this one; the client will not wait for ever."""
        if self._task is None and not self._queue and not self._output and not self._last_queued:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > _MAX_HEAD:
            self._stop(_too_long())

    def _stop(self, failure: Failure) -> None:
        """Make the parser give up: what a callback raises ends `feed_data`."""
        self._refusal = failure
        raise failure

    def _refuse(self, failure: Failure) -> None:
        """Answer, after whatever came before, that this can't be read, and end."""
        self._in_message = self._in_head = False
        if not self._last_queued:
            self._take((failure, _CLOSE))

    def _take(self, turn: _Turn) -> None:
        if turn[1] is _CLOSE:
            self._last_queued = True
        if self._task is not None or self._queue or self._write_paused:
            self._queue.append(turn)
        else:
            self._serve(turn)

    def _serve(self, turn: _Turn) -> None:
        subject, end = turn
        if isinstance(subject, Failure):
            self._send(self._handler.refuse(subject, self._peer), end, body=True)
            self._lingering = 1
            return
        outcome = self._handler.answer(subject)
        if isinstance(outcome, Reply):
            self._send(outcome, end, body=subject.method != b"HEAD")
        else:
            self._task = asyncio.get_running_loop().create_task(outcome)
            self._task.add_done_callback(partial(self._finish, subject.method, end))

    def _finish(self, method: bytes, end: bytes, task: asyncio.Task[Reply]) -> None:
        """Answer when the handler is done, then whatever queued up behind it."""
        self._task = None
        if task.cancelled():
            self.abort()
            return
        self.since = self._monotonic()
        self._send(task.result(), end, body=method != b"HEAD")
        self._advance()
        self._settle()

    def _advance(self) -> None:
        while self._queue and self._task is None and not self._write_paused:
            self._serve(self._queue.popleft())

    def _send(self, answer: Reply, end: bytes, *, body: bool) -> None:
        self._output.append(answer.head + end + answer.body if body else answer.head + end)
        self._output_size += len(answer.body)
        if self._output_size > _MAX_OUTPUT:
            self._flush()

    def _flush(self) -> None:
        if self._output:
            self._write(b"".join(self._output) if len(self._output) > 1 else self._output[0])
            self._output.clear()
            self._output_size = 0

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _settle(self) -> None:
        """Write what is ready; then end, wait for room, or read on."""
        self._flush()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._queue:
            self._read(transport, on=False)
        elif self._task is not None:
            self._read(transport, on=True)  # so that a client that goes away while it waits is missed
        elif not self._last_queued:
            self._read(transport, on=True)
        elif self._lingering:
            self._end_sending(transport)
        else:
            transport.close()

    def _end_sending(self, transport: asyncio.Transport) -> None:
        """Say that no more comes, and read on for a moment: closing at once could destroy the answer on its way."""
        self.since = self._monotonic()
        self._read(transport, on=True)
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()  # TLS says so in its own way, and reads on until the other side has said it, too

    def _read(self, transport: asyncio.Transport, *, on: bool) -> None:
        if on is not self._reading:
            self._reading = on
            (transport.resume_reading if on else transport.pause_reading)()

    def _linger(self, size: int) -> None:
        self._lingering += size
        if self._lingering > _MAX_LINGER_BYTES:
            self.abort()


def _too_long() -> Failure:
    return Failure(FailureKind.URI_TOO_LONG, "The request line and headers are too long")


def _too_large() -> Failure:
    return Failure(FailureKind.BODY_TOO_LARGE, "The request body is too large")


def _not_http() -> Failure:
    return Failure(FailureKind.MALFORMED_BODY, "The request is not HTTP/1.1")
