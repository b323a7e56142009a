"""One connection of a listener: uvicorn's HTTP/1.1 protocol, made strict about framing and bounded in bytes and time.

What cannot be read as HTTP is answered like any other request, by the application and in the order of the requests, so that a
refusal never takes the place of an earlier request's answer, and always has an id and the dialect's words. After one nothing more is
read as a request: where the next one would start is not known (RFC 9112 section 11.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Protocol, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from idplane.model.failure import Failure, FailureKind

__all__ = ["Application", "BoundedProtocol"]

_MAX_HEAD = 64 * 1024
_MAX_HEADERS = 128
_MAX_URL = 24 * 1024
_MAX_LINES = 128 * 1024
"""Bytes of chunk headers and trailers in one body: framing that carries nothing."""
_HEAD_SECONDS = 20.0
_STALLED_SECONDS = 30.0
"""How long a client may leave an answer unread."""

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application(Protocol):
    """What a listener serves; `app.ServerApp` is one."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve a request.

        `scope["idplane.client_certificate"]` is the DER of the certificate that the client proved, or None; `scope["idplane.connected_at"]` is when (monotonic). A body that turns out to be unreadable is told by `scope["idplane.broken"]`, a `Failure`; one that is there from the start, so that
        nothing has to wait for it, by `scope["idplane.complete"]`.
        """
        ...

    async def refuse(self, failure: Failure, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request whose head could not be read; the scope has what could."""
        ...


class BoundedProtocol(HttpToolsProtocol):
    """See the module. States: in a head, in a body, idle, ended (nothing more is read as a request)."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        app: Application,
        *,
        most: int,
        is_draining: Callable[[], bool] = lambda: False,
        client: tuple[str, int] | None = None,
    ) -> None:
        """`most` connections at a time; while `is_draining`, an answer ends its connection, and says so.

        `client` is who is at the other end where the socket does not tell.
        """
        super().__init__(config, state, {})
        self._told_client = client
        self._is_draining = is_draining
        self._application = app
        self._most = most
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._refusal: Failure | None = None
        self._in_head = True
        self._in_message = False
        self._ended = False
        self._begun_now = False
        self._fed = 0
        self._size = 0
        self._lines = 0
        self._client_certificate: bytes | None = None
        self._began = 0.0

    # asyncio's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """A client has connected. Where there are too many, one that waits for nothing makes room, else the newcomer goes."""
        super().connection_made(transport)
        self._began = self.loop.time()
        self.client = self._told_client or self.client
        tls = transport.get_extra_info("ssl_object")
        self._client_certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        if len(self.connections) > self._most:
            idle = next((one for one in self.connections if one is not self and _is_idle(one)), self)
            idle.transport.abort()
            if idle is self:
                return
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_timer()
        self._stop_stalled()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and bound what has been parsed."""
        if self._ended:
            return
        self._unset_keepalive_if_required()
        self._begun_now = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Refused when its head was complete; the parser has no idea of what follows.
            self._ended = True
        except httptools.HttpParserError as error:
            self._fail(self._refusal or _unreadable(error))
        else:
            self._bound(len(data))

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stop_stalled()
        super().resume_writing()

    # the parser's side

    def on_message_begin(self) -> None:
        """A request starts."""
        super().on_message_begin()
        told = {"idplane.client_certificate": self._client_certificate, "idplane.connected_at": self._began}
        cast("dict[str, object]", self.scope).update(told)
        self._in_head = self._in_message = self._begun_now = True
        self._fed = self._size = self._lines = 0
        self._stop_timer()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        super().on_url(url)
        if len(self.url) > _MAX_URL:
            self._stop(Failure(FailureKind.URI_TOO_LONG, f"the request's target is longer than {_MAX_URL} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or a trailer, which is dropped: it came too late to say anything about the request (RFC 9110 section 6.5.1)."""
        if not self._in_head:
            self._count_lines(len(name) + len(value) + 4)
            return
        super().on_header(name, value)
        self._size += len(name) + len(value)
        if self._size > _MAX_HEAD or len(self.headers) > _MAX_HEADERS:
            self._stop(_too_large())

    def on_headers_complete(self) -> None:
        """The head is there: refuse what two readers could understand differently, else start serving."""
        reason = self._ambiguity()
        if reason is not None:
            self._stop(_malformed(reason))
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()
        self.cycle.transport = cast("asyncio.Transport", _WholeAnswer(self.transport, self.cycle))
        if self._is_draining():
            self.last_answer()

    def last_answer(self) -> None:
        """The request that is being answered, if any, is the last one: its answer says so (RFC 9112 section 9.6)."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_started:
            cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        """A chunk starts."""
        self._count_lines(8)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._in_message = False
        # Serving starts when everything that has arrived is parsed, so that whoever serves sees it in time.
        cast("dict[str, object]", self.cycle.scope)["idplane.complete"] = True
        super().on_message_complete()

    # our side

    def _ambiguity(self) -> str | None:
        """Why the head does not tell for certain where the request ends or whom it is for (RFC 9112 sections 3.2.2 and 6.3)."""
        if self.parser.should_upgrade():
            return "this server does not switch protocols"
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (codings != [b"chunked"] or self.parser.get_http_version() == "1.0"):
            return "Transfer-Encoding can only be 'chunked', in HTTP/1.1"
        if self.url.startswith(b"/"):
            return None
        hosts = [value.strip().lower() for name, value in self.headers if name == b"host"]
        scheme, separator, rest = self.url.partition(b"://")
        if separator and scheme.lower() in {b"http", b"https"} and hosts == [_authority(rest).lower()]:
            return None
        return "the target of the request must be a path, or a URL of the host that the Host header names"

    def _stop(self, failure: Failure) -> None:
        """Make the parser give up: what a callback raises ends `feed_data`."""
        self._refusal = failure
        raise failure

    def _fail(self, failure: Failure) -> None:
        """Nothing more can be read. Tell whoever is waiting for it."""
        self._ended = True
        self._stop_timer()
        if not self._in_head and self._in_message:
            self._break_body(failure)
        elif not self.transport.is_closing():
            self._refuse_head(failure)

    def _break_body(self, failure: Failure) -> None:
        cycle = self.cycle
        if cycle.response_complete:
            self.transport.close()
            return
        cast("dict[str, object]", cycle.scope)["idplane.broken"] = failure
        cycle.keep_alive = False
        cycle.message_event.set()

    def _refuse_head(self, failure: Failure) -> None:
        """Answer in turn, with what is known of the request."""
        if not self._in_message:
            self.on_message_begin()
        path, _, query = self.url.partition(b"?")
        self.scope["method"] = self.parser.get_method().decode("ascii") if self.url else "GET"
        self.scope["path"] = path.decode("latin-1")
        self.scope["raw_path"] = path
        self.scope["query_string"] = query
        cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )
        before: RequestResponseCycle | None = self.cycle
        self.cycle = cycle
        app = cast("Any", partial(self._application.refuse, failure))
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, app)
        else:
            self.pipeline.appendleft((cycle, app))

    def _bound(self, size: int) -> None:
        if self._in_head and self._begun_now:
            # Most heads are complete by now; only one that is not has to be waited for.
            self._start_timer()
        elif self._in_head:
            # The callbacks count a header when it is complete; this counts one that never is.
            self._fed += size
            if self._fed > _MAX_HEAD + _MAX_URL:
                self._fail(_too_large())
        cycle: RequestResponseCycle | None = self.cycle
        quiet = not self._in_message and (cycle is None or cycle.response_complete)
        if quiet and self.timeout_keep_alive_task is None and self._timer is None:
            # Blank lines between requests are no request and do not count as one.
            self._start_timer()

    def _count_lines(self, size: int) -> None:
        self._lines += size
        if self._lines > _MAX_LINES:
            self._stop(_malformed("the body's chunks are too many and too small, or its trailers too long"))

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(_HEAD_SECONDS, self._too_slow)

    def _too_slow(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class _WholeAnswer:
    """What one answer is written to: its head waits for its body, so that both leave in one TLS record and one packet."""

    __slots__ = ("_cycle", "_head", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, cycle: RequestResponseCycle) -> None:
        self._transport = transport
        self._cycle = cycle
        self._head: bytes | None = None
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """A piece. The first one of the answer itself is its head; one to HEAD is nothing else."""
        begins = self._head is None and self._cycle.response_started
        if begins and self._cycle.scope["method"] != "HEAD":
            self._head = data
            return
        self._transport.write(self._head + data if self._head else data)
        self._head = b"" if self._head is not None else None

    def close(self) -> None:
        """No more of it comes."""
        if self._head:
            self._transport.write(self._head)
        self._transport.close()


def _is_idle(connection: Any) -> bool:
    """Whether a connection is between requests, answered and asking for nothing."""
    return connection.timeout_keep_alive_task is not None


def _authority(rest: bytes) -> bytes:
    for mark in (b"/", b"?", b"#"):
        rest = rest.partition(mark)[0]
    return rest


def _unreadable(error: httptools.HttpParserError) -> Failure:
    """The parser's reason is a fixed sentence about the syntax and holds nothing of the request."""
    known = not isinstance(error, httptools.HttpParserCallbackError) and str(error)
    return _malformed(str(error) if known else "the target or a header holds characters that do not belong there")


def _malformed(reason: str) -> Failure:
    return Failure(FailureKind.INVALID_PARAMETER, f"the request is not well-formed HTTP/1.1 ({reason})")


def _too_large() -> Failure:
    return Failure(FailureKind.HEAD_TOO_LARGE, f"the request's head is larger than {_MAX_HEAD} bytes or {_MAX_HEADERS} headers")
