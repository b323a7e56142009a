"""HTTPS to the running plane, for commands: bounded, with its own authority and no other, and with words for what goes wrong."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from idplane import __version__
from idplane.cli.output import CommandError
from idplane.model.ids import is_guid
from idplane.model.values import JsonObject

__all__ = ["PlaneAnswer", "PlaneClient"]

_SECONDS = 20.0
_LARGEST = 32 * 1024 * 1024
_OK = range(200, 300)
_EXPLAINED = frozenset({401, 403, 404, 409, 412, 429})
"""Statuses of refusals of which more can be said than the answer does. What is wrong in a request, the answer itself says."""
_TOO_MANY = 429
_PATIENCE = 5
"""How often a request is made again, when the plane says that it comes too often."""
_LONGEST_PAUSE = 30.0
_HEADERS = {"Accept": "application/json", "User-Agent": f"idplane/{__version__}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneAnswer:
    """One answer."""

    status: int
    body: JsonObject = field(repr=False)
    retry_after: float = 1.0
    """Seconds until a request that came too often may come again."""
    request_id: str | None = None
    """What a refusal is known by."""


class PlaneClient:
    """Talks to one plane. The system's authorities are not trusted here: only the installation's own."""

    def __init__(self, ca_file: Path, *, seconds: float = _SECONDS) -> None:
        """Raises `CommandError` when the authority's file can't be read."""
        self._seconds = seconds
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self._context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise CommandError(f"{ca_file} can't be read as a certificate authority") from error

    def get(self, url: str, *, token: str | None = None, query: Mapping[str, str] | None = None) -> JsonObject:
        """The answer to a GET; raises `CommandError` with the plane's words when it refuses."""
        target = f"{url}?{urlencode(query)}" if query else url
        return _accepted(self.request("GET", target, headers=_bearer(token)))

    def post_form(self, url: str, form: Mapping[str, str]) -> JsonObject:
        """The answer to a posted form; raises `CommandError` with the plane's words when it refuses."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return _accepted(self.request("POST", url, headers=headers, body=urlencode(form).encode()))

    def send(
        self, method: str, url: str, *, token: str, body: JsonObject | None = None, headers: Mapping[str, str] | None = None
    ) -> PlaneAnswer:
        """The answer to a change; raises `CommandError` with the plane's words when it refuses."""
        content = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **_bearer(token), **(headers or {})}
        answer = self.request(method, url, headers=sent, body=content)
        _accepted(answer)
        return answer

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> PlaneAnswer:
        """The answer to a request, made again after a while where the plane says that it comes too often; raises `CommandError`."""
        answer = self._exchange(method, url, headers or {}, body)
        for _ in range(_PATIENCE):
            if answer.status != _TOO_MANY:
                break
            threading.Event().wait(answer.retry_after)
            answer = self._exchange(method, url, headers or {}, body)
        return answer

    def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> PlaneAnswer:
        """One exchange on a connection of its own. Raises `CommandError` when the plane can't be reached or answers nonsense."""
        parts = urlsplit(url)
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port or 443, context=self._context, timeout=self._seconds
        )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request(method, target, body=body, headers={**_HEADERS, **headers})
            response = connection.getresponse()
            content = response.read(_LARGEST + 1)
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"the plane at {parts.scheme}://{parts.netloc} does not answer: {_reason(error)}") from error
        finally:
            connection.close()
        return PlaneAnswer(
            status=response.status,
            body=_parsed(content),
            retry_after=_pause(response.headers.get("Retry-After")),
            request_id=_id(response.headers.get("x-ms-request-id")),
        )


def _pause(text: str | None) -> float:
    return min(float(text), _LONGEST_PAUSE) if text is not None and text.isascii() and text.isdigit() else 1.0


def _bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not this installation's ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "it took too long"
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it does not speak HTTP"


def _parsed(content: bytes) -> JsonObject:
    if len(content) > _LARGEST:
        raise CommandError("the plane's answer is too large")
    try:
        value = json.loads(content) if content else {}
    except (ValueError, RecursionError) as error:
        raise CommandError("the plane's answer is not JSON") from error
    return value if isinstance(value, dict) else {"value": value}


def _accepted(answer: PlaneAnswer) -> JsonObject:
    if answer.status not in _OK:
        raise CommandError(_words(answer), refusal=answer.request_id if answer.status in _EXPLAINED else None)
    return answer.body


def _id(text: str | None) -> str | None:
    return text if text is not None and is_guid(text) else None


def _words(answer: PlaneAnswer) -> str:
    """The message of an OAuth, Resource Manager or Graph error, up to its trace lines."""
    error = answer.body.get("error")
    words = error.get("message") if isinstance(error, dict) else answer.body.get("error_description", error)
    return str(words).split("\r\n")[0] if words else f"the plane answered {answer.status}"
