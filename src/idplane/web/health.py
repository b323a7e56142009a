"""The private listener: `/livez`, `/readyz` and `/metrics` over plain HTTP, on an address or a Unix socket that operators choose.

It is bounded like every listener (`connection`), takes nothing but GET and HEAD, and reads no body. Whoever can connect may ask: it tells how the
process is, and nothing of whom it serves.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from idplane.model.failure import Failure
from idplane.web.serving import Listener

__all__ = ["Asked", "HealthApp", "Metrics", "Readiness", "bind_private"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_JSON: Final = "application/json; charset=utf-8"
_MOST: Final = 64
"""Connections: probes and collectors are few."""
_MAX_PORT: Final = 65535
_LIVE: Final = msgspec.json.encode({"live": True})


class Readiness(Protocol):
    """What the process says of itself; `bootstrap.health.Report` is one."""

    @property
    def ready(self) -> bool:
        """Whether to send it work."""
        ...

    def document(self) -> dict[str, object]:
        """As JSON."""
        ...


Asked: TypeAlias = Callable[[], Awaitable[Readiness]]
Metrics: TypeAlias = Callable[[str | None], Awaitable[tuple[str, bytes]]]
"""By the `Accept` header: media type and body."""
_Answer: TypeAlias = tuple[int, str, bytes]


class HealthApp:
    """A `connection.Application`. Without `metrics` there are none at `/metrics`."""

    def __init__(self, *, ready: Asked, metrics: Metrics | None = None) -> None:
        self._ready = ready
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive
        answer = await self._answer(scope) if scope["method"] in {"GET", "HEAD"} else _said(405, "ask with GET")
        await _write(send, answer, close=_has_body(scope))

    async def refuse(self, failure: Failure, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose head could not be read."""
        del scope, receive
        await _write(send, _said(failure.kind.category.value, failure.kind.name.lower()), close=True)

    async def listen(self, sock: socket.socket) -> Listener:
        """Serve on a bound socket (`bind_private`)."""
        listener = Listener(self, most=_MOST)
        await listener.listen(sock, None)
        return listener

    async def _answer(self, scope: Scope) -> _Answer:
        match scope["path"]:
            case "/livez":
                return 200, _JSON, _LIVE
            case "/readyz":
                report = await self._ready()
                return 200 if report.ready else 503, _JSON, msgspec.json.encode(report.document())
            case "/metrics" if self._metrics is not None:
                return 200, *await self._metrics(_accept(scope))
            case _:
                return _said(404, "there is /livez, /readyz and /metrics")


def bind_private(listen: str) -> socket.socket:
    """A socket bound to `host:port` or to the path of a Unix socket, which its owner and group may use.

    Raises `ValueError` with one sentence for what is neither, `OSError` for what cannot be bound.
    """
    if listen.startswith("/"):
        return _bind_path(Path(listen))
    host, _, port = listen.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        raise ValueError("health.listen must be like 127.0.0.1:9464, [::1]:9464 or /run/idplane/health.sock")
    host = host.removeprefix("[").removesuffix("]")
    return socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=64)


def _bind_path(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ValueError(f"{path} is there already, and no socket")
        path.unlink()  # what a process that was killed left behind
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o117)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        sock.listen(64)
    except OSError:
        sock.close()
        raise
    return sock


def _said(status: int, reason: str) -> _Answer:
    return status, _JSON, msgspec.json.encode({"error": reason})


def _accept(scope: Scope) -> str | None:
    found: list[bytes] = [value for name, value in scope["headers"] if name == b"accept"]
    return found[0].decode("latin-1") if len(found) == 1 else None


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in scope["headers"]
    )


async def _write(send: Send, answer: _Answer, *, close: bool) -> None:
    status, media_type, body = answer
    headers = [
        (b"content-type", media_type.encode("latin-1")),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
