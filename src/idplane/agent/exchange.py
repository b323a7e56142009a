"""One connection to a server, as HTTP/1.1 has it: a request goes out, its answer comes back, and the connection may be used again.

httptools frames answers; sizes are bounded here, times by whoever asks. An answer that breaks a bound or the protocol ends the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, cast

import httptools

from idplane.agent.upstream import AGAIN, BUSY, RETRY_AFTER, TROUBLE, UNSETTLED
from idplane.model.failure import Failure, FailureKind

__all__ = ["Answer", "Exchange", "unavailable"]

_MOST_HEAD: Final = 32 * 1024
_MOST_BODY: Final = 8 * 1024 * 1024
_SMALLEST_STATUS: Final = 200
_DIGITS: Final = 9
_KEEP_ALIVE: Final = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 15_000))
"""A link that is cut without a word is noticed within 15 seconds, by the kernel, while nothing is sent and while something is."""


def unavailable(
    detail: str, *, again: bool = False, unsettled: bool = False, trouble: str | None = None, named: float | None = None
) -> Failure:
    """A server that could not be asked; `named` are the seconds that it named."""
    facts = {name: "yes" for name, holds in ((AGAIN, again), (UNSETTLED, unsettled)) if holds}
    facts |= {} if trouble is None else {TROUBLE: trouble}
    facts |= {} if named is None else {RETRY_AFTER: f"{named:.0f}"}
    return Failure(FailureKind.UNAVAILABLE, detail, **facts)


class Answer:
    """What came back, and whether the connection may carry another request."""

    __slots__ = ("body", "date", "keep", "retry_after", "status")

    def __init__(self) -> None:
        self.status = 0
        self.body = bytearray()
        self.date: datetime | None = None
        self.retry_after: float | None = None
        self.keep = True


class Exchange(asyncio.Protocol):
    """The protocol of one connection. One request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._arrived: asyncio.Future[Answer] | None = None
        self._reason = "the server closed the connection"
        self._fed = self._head = 0
        self._in_head = True
        self.ended = False
        self.name = ""
        """Whom it leads to, for people to read."""
        self.netloc = ""
        """The Host header."""
        self.used_at = 0.0
        """When it was last used, on its owner's clock."""
        self.generation: object = None
        """What it was made with; its owner uses it no longer than that."""

    @property
    def open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing() and self._arrived is None

    async def ask(self, request: bytes, *, seconds: float) -> Answer:
        """Send and wait. Raises `Failure(UNAVAILABLE)`; the connection is gone then."""
        if self._transport is None or self._transport.is_closing():
            raise unavailable(self._reason, again=True)
        self._arrived = asyncio.get_running_loop().create_future()
        self._fed = self._head = 0
        self._in_head = True
        self._transport.write(request)
        try:
            async with asyncio.timeout(seconds):
                return await self._arrived
        except TimeoutError as error:
            raise unavailable("the server took too long to answer", unsettled=True, trouble=BUSY) from error
        finally:
            finished = self._arrived.done() and not self._arrived.cancelled() and self._arrived.exception() is None
            self._arrived = None
            if not finished:
                self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the kernel watch over the link."""
        self._transport = cast("asyncio.Transport", transport)  # the event loop's own class does not inherit it
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for name, value in _KEEP_ALIVE:
                    if hasattr(socket, name):
                        sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        if exc is not None:
            self._reason = f"the connection to the server broke ({_words(exc)})"
        self._fail(unavailable(self._reason, again=True, unsettled=True))
        self._transport = None
        self.ended = True

    def data_received(self, data: bytes) -> None:
        """Hand to the parser, within bounds."""
        if self._arrived is None:
            self._break("the server sent something that nobody asked for")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._break(f"the server's answer is no HTTP ({error})")
            return
        self._fed += len(data)
        if self._in_head and self._fed > _MOST_HEAD:
            self._break("the head of the server's answer is too large")

    def on_message_begin(self) -> None:
        """An answer starts."""
        self._answer = Answer()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of all headers only the date counts here, and when to come again; framing is the parser's."""
        self._head += len(name) + len(value) + len(b": \r\n")
        if self._head > _MOST_HEAD:
            self._break("the head of the server's answer is too large")
        if self._answer is None:
            return
        match name.lower():
            case b"date":
                self._answer.date = _instant(value)
            case b"retry-after" if value.isdigit():
                self._answer.retry_after = float(value[:_DIGITS])

    def on_headers_complete(self) -> None:
        """From here on the body's bound counts."""
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        """A piece."""
        if self._answer is not None:
            self._answer.body += body
            if len(self._answer.body) > _MOST_BODY:
                self._break("the server's answer is too large")

    def on_message_complete(self) -> None:
        """The answer is here."""
        answer, self._answer = self._answer, None
        if answer is None or self._arrived is None or self._arrived.done():
            self._break("the server sent something that nobody asked for")
            return
        answer.status = int(self._parser.get_status_code())
        if answer.status < _SMALLEST_STATUS:
            self._break("the server sent an interim answer that nobody asked for")
            return
        answer.keep = bool(self._parser.should_keep_alive())
        self._arrived.set_result(answer)
        if not answer.keep and self._transport is not None:
            self._transport.close()

    def _break(self, reason: str) -> None:
        self._reason = reason
        self._fail(unavailable(reason, unsettled=True))
        self.abort()

    def _fail(self, failure: Failure) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_exception(failure)


def _instant(value: bytes) -> datetime | None:
    try:
        found = parsedate_to_datetime(value.decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _words(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else type(error).__name__
