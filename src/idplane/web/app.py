"""The ASGI edge: reads and bounds a request once, finds the surface that speaks its dialect, and writes the answer.

Order: ids → host → path → surface → query → body → place (`admission`) → handle. A failure at any step is rendered by the surface that the path
names, so that a client is always answered in the dialect it speaks. An exception that is not a `Failure` is a bug: it is logged
with the request id and shown as an opaque internal error.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote

from idplane.model.calls import Call
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import is_guid
from idplane.ports.telemetry import NO_TELEMETRY, OTHER, REQUEST, REQUESTS, Telemetry, status_class
from idplane.ports.world import Clock, Entropy
from idplane.web.admission import Admission, Busy, Gone
from idplane.web.decisions import is_about_decisions
from idplane.web.http import HttpRequest, HttpResponse, Origin, RefusalNotes, Surface
from idplane.web.origins import Origins
from idplane.web.security_events import is_about_events, is_poll

__all__ = ["ServerApp", "Surfaces"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_MAX_BODY = 4 * 1024 * 1024
_MAX_PATH = 4096
_MAX_QUERY = 16 * 1024
_MAX_PARAMETERS = 100
_BODY_SECONDS = 30.0
_LINGER_SECONDS = 1.0
_MAX_LINGER = 64 * 1024 * 1024
_CORRELATION_HEADERS = ("x-ms-correlation-request-id", "client-request-id", "x-ms-client-request-id")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_RELATIVE = frozenset({".", ".."})
_ENCODED_SCOPES = (b"/%2fsubscriptions%2f", b"/%2fproviders%2f")
_ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)
_OUT_OF_DATE = "this server has not heard of the others' changes for too long, and answers again as soon as it has"
_SURFACES = MappingProxyType(
    {
        **dict.fromkeys(("subscriptions", "providers", "tenants", "metadata"), "management"),
        "agent": "agents",
        "log": "log",
        "v1.0": "graph",
        "beta": "graph",
        "portal": "portal",
    }
)
"""The first segment of a path, in lower case → the surface that it belongs to. What is not here is the authority's."""
_KEPT_AS = {"authority": "token", "agents": "agent"}
"""What records of refusals call a surface (`model.refusals.RefusalSurface`), where that is another name."""
_GONE = 499
"""What a request counts as whose client has gone before it was answered."""
_log = logging.getLogger("idplane.web")
_requests = logging.getLogger("idplane.requests")
"""A line for each request, for whoever asked for them: nothing hands them on otherwise (`bootstrap.logs`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surfaces:
    """The APIs behind one server, each with its own dialect."""

    authority: Surface
    management: Surface
    graph: Surface
    vault: Surface
    agents: Surface
    log: Surface
    events: Surface | None = None
    """Security events; without it nobody hears of any."""
    portal: Surface | None = None
    """Pages for people; without it there are none."""
    decision: Surface | None = None
    """Decisions for whoever guards something else; without it nobody is told any."""

    def route(self, path: str, origin: Origin | None) -> Surface:
        """The surface that a path belongs to; vaults are told by their host."""
        if origin is not None and origin.vault is not None:
            return self.vault
        first = path.lstrip("/").split("/", 1)[0].lower()
        named: Surface | None = getattr(self, _SURFACES[first]) if first in _SURFACES else None
        if named is not None:
            return named
        if self.decision is not None and is_about_decisions(path):
            return self.decision
        return self.events if self.events is not None and is_about_events(path) else self.authority


class ServerApp:
    """One listener's ASGI application. Instances differ in `origins` only and share their surfaces."""

    def __init__(  # noqa: PLR0913 - what every listener shares, and what is its own
        self,
        *,
        surfaces: Surfaces,
        origins: Origins,
        clock: Clock,
        entropy: Entropy,
        telemetry: Telemetry = NO_TELEMETRY,
        is_current: Callable[[], bool] = lambda: True,
        refusals: RefusalNotes | None = None,
        admission: Admission | None = None,
    ) -> None:
        """`is_current`: whether what this process remembers may be relied on. `admission` is of all applications of the process."""
        self._refusals = refusals
        self._is_current = is_current
        self._admission = admission or Admission()
        self._surfaces = surfaces
        self._names = {id(getattr(surfaces, one.name)): one.name for one in fields(surfaces)}
        self._telemetry = telemetry
        self._origins = origins
        self._clock = clock
        self._entropy = entropy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI request; other scope types are refused."""
        if scope["type"] != "http":
            raise RuntimeError(f"unsupported scope type {scope['type']!r}")
        body = _Body(scope, receive)
        request, origin = self._request(scope)
        surface = self._surfaces.route(scope["path"], origin)
        name = self._names.get(id(surface), OTHER)
        started = self._clock.monotonic()
        parent = request.header("traceparent")
        with self._telemetry.span(REQUEST, parent=parent, surface=name, **{"http.request.method": request.method}) as span:
            response = await self._answered(surface, request, origin, scope, body)
            status = response.status if response is not None else _GONE
            span.set(**{"http.response.status_code": status})
        self._tell(request.call, name, status, self._clock.monotonic() - started)
        if response is not None:
            await self._write(send, response, request.call, body)

    async def _answered(
        self, surface: Surface, request: HttpRequest, origin: Origin | None, scope: Scope, body: _Body
    ) -> HttpResponse | None:
        """The surface's answer, whatever happens; None when nobody is left to answer."""
        try:
            if origin is None:
                served = next(iter(self._origins.hosts))
                raise Failure(
                    FailureKind.FOREIGN_HOST, f"the Host header must name a host that is served here, such as {served}"
                )
            request = replace(
                request,
                path=_checked_path(scope),
                query=_parsed_query(scope["query_string"]),
                body=await body.read(request.headers),
            )
            if _is_public_knowledge(request):
                return await surface.handle(request)
            return await self._in_turn(surface, request, body)
        except Busy as failure:
            return surface.refuse(failure, request)
        except Failure as failure:
            if failure.kind is FailureKind.INTERNAL:
                request_id = request.call.request_id
                _log.error(
                    "internal failure in request %s: %s",
                    request_id,
                    failure.detail,
                    exc_info=failure,
                    extra={"request_id": request_id},
                )
            return self._refused(surface, failure, request)
        except (_Disconnected, Gone):
            return None
        except Exception:  # noqa: BLE001 - the last line of defence: whatever a surface lets slip must not reach the caller
            request_id = request.call.request_id
            _log.exception("bug in request %s", request_id, extra={"request_id": request_id})
            return self._refused(surface, Failure(FailureKind.INTERNAL, "an internal error occurred"), request)

    def _refused(self, surface: Surface, failure: Failure, request: HttpRequest) -> HttpResponse:
        """The failure in the surface's words, and kept so that it can be explained by the id that goes with them."""
        return self._noted(surface, replace(surface.refuse(failure, request), refusal=failure), request)

    def _noted(self, surface: Surface, response: HttpResponse, request: HttpRequest) -> HttpResponse:
        """The answer; what it refuses is kept."""
        if self._refusals is not None and response.refusal is not None:
            name = self._names.get(id(surface), OTHER)
            self._refusals.note(response.refusal, request.call, surface=_KEPT_AS.get(name, name), status=response.status)
        return response

    async def _in_turn(self, surface: Surface, request: HttpRequest, body: _Body) -> HttpResponse:
        turn = contextlib.nullcontext() if _only_waits(request) else self._admission.place(body.ended)
        async with turn:
            if not self._is_current():
                raise Failure(FailureKind.UNAVAILABLE, _OUT_OF_DATE)
            return self._noted(surface, await surface.handle(request), request)

    def _tell(self, call: Call, surface: str, status: int, seconds: float) -> None:
        self._telemetry.observe(REQUESTS, seconds, surface=surface, status=status_class(status))
        if _requests.isEnabledFor(logging.INFO):
            facts = {
                "surface": surface,
                "method": call.method,
                "path": call.url,
                "status": status,
                "seconds": round(seconds, 6),
            }
            more = {"request_id": call.request_id, "correlation_id": call.correlation_id, "client": call.client_address}
            _requests.info("request", extra={**facts, **more})

    async def refuse(self, failure: Failure, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose head could not be read; the scope has what could."""
        request, origin = self._request(scope)
        surface = self._surfaces.route(scope["path"], origin)
        response = self._refused(surface, failure, request)
        body = _Body(scope, receive)
        body.complete = False
        self._tell(request.call, self._names.get(id(surface), OTHER), response.status, 0.0)
        await self._write(send, response, request.call, body)

    def _request(self, scope: Scope) -> tuple[HttpRequest, Origin | None]:
        """What the head says, and which of our names it was sent to, if any. Path and query are not checked yet."""
        headers = _headers(scope)
        origin = self._origins.match(_only(headers, "host"))
        request = HttpRequest(
            method=scope["method"],
            path=scope["path"],
            query=(),
            headers=headers,
            body=b"",
            origin=origin or next(iter(self._origins.hosts.values())),
            call=self._call(scope, headers),
        )
        return request, origin

    def _call(self, scope: Scope, headers: Mapping[str, tuple[str, ...]]) -> Call:
        request_id = self._entropy.guid()
        named = (_only(headers, name) for name in _CORRELATION_HEADERS if name in headers)
        correlation = next((value for value in named if value is not None and is_guid(value)), request_id)
        client = scope.get("client")
        return Call(
            request_id=request_id,
            correlation_id=correlation.lower(),
            received_at=self._clock.now(),
            client_address=client[0] if client else None,
            user_agent=(_only(headers, "user-agent") or "")[:512],
            method=scope["method"],
            url=scope["path"][:2048],
            client_certificate=scope.get("idplane.client_certificate"),
            connected_at=scope.get("idplane.connected_at"),
        )

    async def _write(self, send: Send, response: HttpResponse, call: Call, body: _Body) -> None:
        headers = [
            (b"date", _http_date(int(self._clock.now().timestamp()))),
            (b"x-ms-request-id", call.request_id.encode()),
            (b"x-ms-correlation-request-id", call.correlation_id.encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        names = {name.lower() for name, _ in response.headers}
        if "cache-control" not in names:
            headers.append((b"cache-control", b"no-store"))
        if response.body or response.status != 204:  # noqa: PLR2004 - 204 has neither body nor media type
            headers.append((b"content-length", str(len(response.body)).encode()))
        if response.body:
            headers.append((b"content-type", response.media_type.encode()))
        headers += [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in response.headers]
        if not body.complete:
            # What is still to come would have to be read to find the next request.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if not body.complete:
            await send({"type": "http.response.body", "body": response.body, "more_body": True})
            await body.drop()
            response = replace(response, body=b"")
        await send({"type": "http.response.body", "body": response.body})


@functools.lru_cache(maxsize=4)
def _http_date(second: int) -> bytes:
    """RFC 9110 section 5.6.7, worked out once a second."""
    return format_datetime(datetime.fromtimestamp(second, UTC), usegmt=True).encode()


class _Disconnected(Exception):  # noqa: N818 - a control signal: nobody is left to answer
    pass


def _is_public_knowledge(request: HttpRequest) -> bool:
    """Discovery documents and public keys: whoever verifies tokens keeps them for hours anyway."""
    return request.method in {"GET", "HEAD"} and ("/.well-known/" in request.path or "/discovery/" in request.path)


def _only_waits(request: HttpRequest) -> bool:
    """Questions that are answered when something happens: they take no place from those that are worked on."""
    return request.path == "/agent/v1/changes" or is_poll(request.path)


def _headers(scope: Scope) -> dict[str, tuple[str, ...]]:
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").strip()
        headers[key] = (*headers[key], text) if key in headers else (text,)
    return headers


def _only(headers: Mapping[str, tuple[str, ...]], name: str) -> str | None:
    values = headers.get(name, ())
    return values[0] if len(values) == 1 else None


def _checked_path(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if len(raw) > _MAX_PATH:
        raise Failure(FailureKind.URI_TOO_LONG, "the path is too long")
    lowered = raw.lower()
    if lowered.startswith(_ENCODED_SCOPES):
        # azure-mgmt-resource-locks sends the scope that such a path starts with as one segment.
        head, slash, rest = raw[1:].partition(b"/")
        raw = _ENCODED_SLASH.sub(b"/", head) + slash + rest
        lowered = raw.lower()
    if b"%2f" in lowered or b"%5c" in lowered or b"\\" in lowered:
        raise Failure(FailureKind.INVALID_PARAMETER, "the path holds an encoded or reversed slash")
    try:
        path = unquote(raw.decode("ascii"), errors="strict")
    except UnicodeError as error:
        raise Failure(FailureKind.INVALID_PARAMETER, "the path is not valid UTF-8") from error
    if _CONTROLS.search(path):
        raise Failure(FailureKind.INVALID_PARAMETER, "the path holds control characters")
    if not _RELATIVE.isdisjoint(path.split("/")):
        raise Failure(FailureKind.INVALID_PARAMETER, "the path holds relative segments")
    return path


def _parsed_query(raw: bytes) -> tuple[tuple[str, str], ...]:
    if not raw:
        return ()
    if len(raw) > _MAX_QUERY:
        raise Failure(FailureKind.URI_TOO_LONG, "the query string is too long")
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, strict_parsing=False, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except ValueError as error:
        raise Failure(FailureKind.INVALID_PARAMETER, "the query string is malformed") from error
    return tuple(pairs)


class _Body:
    """The body of one request on its way in."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self.complete = not any(_announces_body(name, value) for name, value in scope["headers"])
        """Whether nothing more is to come: of a request that announces no body, from the start."""

    async def read(self, headers: Mapping[str, tuple[str, ...]]) -> bytes:
        """All of it; raises `Failure(BODY_TOO_LARGE | MALFORMED_BODY)`, and `_Disconnected` when the client has gone."""
        declared = _only(headers, "content-length")
        if declared is not None and declared.isascii() and declared.isdigit() and int(declared[:20]) > _MAX_BODY:
            raise _too_large()
        if self._scope.get("idplane.complete", False):
            return await self._joined()
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                return await self._joined()
        except TimeoutError as error:
            raise Failure(FailureKind.MALFORMED_BODY, f"the body did not arrive within {_BODY_SECONDS:.0f} seconds") from error

    async def _joined(self) -> bytes:
        body = bytearray()
        async for piece in self._pieces():
            body += piece
            if len(body) > _MAX_BODY:
                raise _too_large()
        return bytes(body)

    async def ended(self) -> None:
        """When the client has gone, after all of it was read. Whoever gives the body again has not."""
        message = await self._receive()
        if message["type"] != "http.disconnect":
            await asyncio.get_running_loop().create_future()

    async def drop(self) -> None:
        """Read on for a moment after the answer, so that a client that is still sending gets to read it (RFC 9112 section 9.6)."""
        dropped = 0
        with contextlib.suppress(TimeoutError, Failure, _Disconnected):
            async with asyncio.timeout(_LINGER_SECONDS):
                async for piece in self._pieces():
                    dropped += len(piece)
                    if dropped > _MAX_LINGER:
                        return

    async def _pieces(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive() if "idplane.broken" not in self._scope else {}
            if "idplane.broken" in self._scope:
                raise self._scope["idplane.broken"]
            if message["type"] == "http.disconnect":
                raise _Disconnected
            self.complete = not message.get("more_body", False)
            yield message.get("body", b"")
            if self.complete:
                return


def _announces_body(name: bytes, value: bytes) -> bool:
    match name.lower():
        case b"content-length":
            return value.strip() != b"0"
        case b"transfer-encoding":
            return True
        case _:
            return False


def _too_large() -> Failure:
    return Failure(FailureKind.BODY_TOO_LARGE, f"the body is larger than {_MAX_BODY} bytes")
