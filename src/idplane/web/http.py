"""One parsed request and one finished response: what every surface of the server works with.

The ASGI edge (`web.app`) reads and bounds the request once; below it nothing sees ASGI, and nothing parses headers twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from idplane.model.calls import Call
from idplane.model.failure import Failure, FailureKind

__all__ = ["HttpRequest", "HttpResponse", "Origin", "RefusalNotes", "Surface"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How the outside names this server on the listener that the request came through; base URLs without a final slash."""

    authority: str
    """`https://localhost:8443`, or `https://login.microsoftonline.com` inside a run."""
    management: str
    graph: str
    portal: str
    vault_domain: str
    """A vault's host is `{name}.{vault_domain}`; holds the port if there is one: `vault.localhost:8443`, `vault.azure.net`."""
    also: frozenset[str] = frozenset()
    """Further hosts of this authority, lower case, with their ports: instance discovery vouches for them, too."""
    vault: str | None = None
    """The vault's name when this request's Host header names one, lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request whose head and body were bounded and read. Header names are lower case; repeated headers keep all values."""

    method: str
    path: str
    """Percent-decoded once, starting with `/`; never holds NUL, `..` segments or encoded slashes (those are refused earlier)."""
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, tuple[str, ...]]
    body: bytes
    origin: Origin
    call: Call

    def header(self, name: str) -> str | None:
        """The value of a header that was sent exactly once; None if absent or repeated."""
        values = self.headers.get(name, ())
        return values[0] if len(values) == 1 else None

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter, its name compared without case."""
        folded = name.lower()
        return next((value for key, value in self.query if key.lower() == folded), None)

    def bearer(self) -> str:
        """The bearer token; raises `Failure(TOKEN_MISSING)`."""
        scheme, _, token = (self.header("authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Failure(FailureKind.TOKEN_MISSING, "the request has no bearer token")
        return token.strip()

    def require_method(self, method: str) -> None:
        """Raise `Failure(METHOD_NOT_ALLOWED)` for any other."""
        if self.method != method:
            raise Failure(FailureKind.METHOD_NOT_ALLOWED, f"the endpoint takes {method} requests only", allowed=method)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """What goes out. `Content-Length`, `Date` and the request-id headers are added at the edge."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = field(default=())
    media_type: str = "application/json; charset=utf-8"
    refusal: Failure | None = field(default=None, repr=False)
    """What this answer refuses, where a surface has put it into words itself rather than raised it."""


class Surface(Protocol):
    """One API of the server with its own wire dialect."""

    async def handle(self, request: HttpRequest, /) -> HttpResponse:
        """Serve; raises `Failure` for everything that the caller must be told."""
        ...

    def refuse(self, failure: Failure, request: HttpRequest, /) -> HttpResponse:
        """Put a failure into this surface's words. Total over the failure kinds; never raises."""
        ...


class RefusalNotes(Protocol):
    """Where refusals are kept; `directory.RefusalKeeper` is one."""

    def note(self, failure: Failure, call: Call, *, surface: str, status: int) -> None:
        """A request was refused, and its caller is being told its id. Quick, and never raises."""
        ...
