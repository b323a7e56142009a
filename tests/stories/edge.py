"""A plane's edge in process: requests with any header and any body, and a judgement of every refusal."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from idplane.testing.local import LocalPlane
from idplane.web.origins import Origins

__all__ = ["ARM", "GRAPH", "PORT", "VAULT", "Edge", "Seen", "assert_refused", "errors_logged"]

PORT = 8443
ARM = "https://management.azure.com"
GRAPH = "https://graph.microsoft.com"
VAULT = "https://vault.azure.net"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    @property
    def _error(self) -> Any:
        """The activity log tells of its own query without an envelope."""
        return self.json.get("error", self.json)

    @property
    def code(self) -> str:
        """The error's code in whichever dialect."""
        error = self._error
        return str(error["code"] if isinstance(error, dict) else error)

    @property
    def text(self) -> str:
        """What a person reads."""
        error = self._error
        return str(error["message"] if isinstance(error, dict) else self.json["error_description"])


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(level=logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def errors_logged() -> Iterator[list[logging.LogRecord]]:
    """Everything that the program logs as an error meanwhile."""
    handler = _Errors()
    logger = logging.getLogger("idplane")
    logger.addHandler(handler)
    try:
        yield handler.records
    finally:
        logger.removeHandler(handler)


class Edge:
    """Sends requests to the plane's application as its listener would, headers repeated and misspelled as they are given."""

    def __init__(self, plane: LocalPlane) -> None:
        self.plane = plane
        self._app = plane._plane.server.app(Origins.local(PORT))

    def ask(
        self,
        method: str,
        target: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        host: str = f"localhost:{PORT}",
        token: str | None = None,
    ) -> Seen:
        target = target.replace("{subscription}", self.plane.subscription_id).replace("{tenant}", self.plane.tenant_id)
        path, _, query = target.partition("?")
        given = [("host", host), *headers]
        if token is not None:
            given.append(("authorization", f"Bearer {token}"))
        if body:
            given.append(("content-length", str(len(body))))
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given],
            "client": ("127.0.0.1", 1),
        }
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        self.plane.run(self._app(scope, receive, send))
        return Seen(
            status=sent[0]["status"],
            headers={name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]},
            body=b"".join(message["body"] for message in sent[1:]),
        )

    def operator(self, resource: str = ARM) -> str:
        token: str = self.plane.operator_token(resource)["access_token"]
        return token


def assert_refused(seen: Seen, *statuses: int) -> None:
    """One of these statuses, an id, and an error of some dialect with words for a person."""
    assert seen.status in statuses, seen
    assert len(seen.headers["x-ms-request-id"]) == 36
    assert len(seen.text) > 10, seen
    assert seen.code
    assert b"Traceback" not in seen.body
