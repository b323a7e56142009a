"""The embedded agent's way to the server: the same bytes through the same application, without a socket between them."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from idplane.agent.host import UpstreamResponse
from idplane.web.app import ServerApp

__all__ = ["InProcessUpstream"]


class InProcessUpstream:
    """Sends a request through the ASGI application as a client on this machine would."""

    def __init__(self, app: ServerApp, *, host: str, certificate: bytes | None = None) -> None:
        """`certificate` (DER) is what the client would have proved on a connection; it may be replaced."""
        self._app = app
        self._host = host.encode()
        self.certificate = certificate

    def for_host(self, host: str) -> InProcessUpstream:
        """The same server under another Host header, such as a vault's."""
        return InProcessUpstream(self._app, host=host, certificate=self.certificate)

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> UpstreamResponse:
        """One exchange; raises nothing of its own, since the application answers everything."""
        raw_path, _, query = path.partition("?")
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": raw_path,
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", self._host), *((name.lower().encode(), value.encode()) for name, value in headers.items())],
            "client": None,
            "idplane.client_certificate": self.certificate,
            "idplane.complete": True,
        }
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        named = dict(sent[0]["headers"]).get(b"retry-after", b"")
        retry_after = float(named) if named.isdigit() else None
        return UpstreamResponse(status=sent[0]["status"], body=sent[1]["body"], retry_after=retry_after)
