"""A `bootstrap.log_export.Collector` over HTTP: OTLP/HTTP with JSON, one POST at a time, bounded in time and size."""

from __future__ import annotations

import asyncio
import http.client
import re
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from idplane import __version__
from idplane.bootstrap.log_export import CollectorAnswer

__all__ = ["HttpCollector", "header_words"]

_SECONDS: Final = 10.0
_MAX_ANSWER: Final = 64 * 1024
_PATH: Final = "/v1/logs"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_PORTS: Final = {"http": 80, "https": 443}


class HttpCollector:
    """The receiver at an endpoint; `/v1/logs` is added to it, as OpenTelemetry's exporters do. Raises `ValueError` for what is no address."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
            raise ValueError(f"'{endpoint}' is not the address of a collector: write http(s)://HOST:PORT")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or _PORTS[parts.scheme]
        path = parts.path.rstrip("/")
        self._path = path if path.endswith(_PATH) else f"{path}{_PATH}"
        self._headers = {"Content-Type": "application/json", "User-Agent": f"idplane/{__version__}", **headers}

    @property
    def name(self) -> str:
        """Scheme, host, port and path."""
        return f"{'https' if self._secure else 'http'}://{self._host}:{self._port}{self._path}"

    async def send(self, body: bytes) -> CollectorAnswer:
        """POST; status 0 when it cannot be reached or does not speak HTTP."""
        return await asyncio.to_thread(self._send, body)

    def _send(self, body: bytes) -> CollectorAnswer:
        connection = self._connection()
        try:
            connection.request("POST", self._path, body=body, headers=self._headers)
            response = connection.getresponse()
            return CollectorAnswer(
                status=response.status,
                body=response.read(_MAX_ANSWER),
                retry_after=_seconds(response.headers.get("Retry-After")),
            )
        except (OSError, http.client.HTTPException):
            return CollectorAnswer(status=0)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, context=context, timeout=_SECONDS)
        return http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)


def header_words(text: str) -> dict[str, str]:
    """`name=value,name=value`, percent-encoded: what OTEL_EXPORTER_OTLP_HEADERS holds. Raises `ValueError`."""
    headers: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, separator, value = part.partition("=")
        name, value = unquote(name.strip()), unquote(value.strip())
        if not separator or _NAME.fullmatch(name) is None or not (value.isascii() and value.isprintable()):
            raise ValueError("OTEL_EXPORTER_OTLP_HEADERS does not hold name=value pairs")
        headers[name] = value
    return headers


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 6 else None  # noqa: PLR2004 - a day at most, about
