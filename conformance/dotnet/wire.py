"""One exchange, with headers as .NET's HttpClient writes them: in their own case and order, `Host` first."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import ssl
import urllib.request
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

__all__ = [
    "Answer",
    "AstrayError",
    "Cell",
    "RefusedError",
    "UnsupportedError",
    "common_headers",
    "msal_headers",
    "query",
    "send",
]

Cell = dict[str, Any]

_SECONDS = 30
_VERSION = "4.87.0.0"


class RefusedError(Exception):
    """The client, or the endpoint, refuses."""


class UnsupportedError(Exception):
    """The client has no way to ask."""


class AstrayError(Exception):
    """An answer that a real client would misread; ends the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def common_headers(*, azure: bool) -> dict[str, str]:
    """What Azure.Core puts on every request; MSAL.NET by itself puts nothing but `Accept`."""
    if not azure:
        return {"Accept": "application/json"}
    return {
        "x-ms-client-request-id": str(uuid.uuid4()),
        "x-ms-return-client-request-id": "true",
        "User-Agent": "azsdk-net-Identity/1.17.0 (.NET 8.0.20; Debian GNU/Linux 12 (bookworm))",
    }


def msal_headers() -> dict[str, str]:
    """What MSAL.NET says of itself."""
    return {"x-client-SKU": "MSAL.NetCore", "x-client-Ver": _VERSION}


def query(parameters: Mapping[str, str]) -> str:
    """MSAL.NET percent-encodes no value."""
    return "&".join(f"{name}={value}" for name, value in parameters.items())


def send(method: str, url: str, headers: Mapping[str, str], body: bytes | None = None, *, pinned: bool = False) -> Answer:
    """Raises `RefusedError` when there is no connection. `pinned`: the certificate may be the one that the environment names instead."""
    try:
        with closing(_connection(url, pinned=pinned)) as connection:
            parts = urlsplit(url)
            connection.putrequest(
                method, f"{parts.path}?{parts.query}" if parts.query else parts.path, skip_accept_encoding=True
            )
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(status=answer.status, headers=tuple(answer.getheaders()), body=answer.read())
    except OSError as error:
        raise RefusedError(f"managed_identity_unreachable_network: {error}") from error


def _connection(url: str, *, pinned: bool) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port or 80, timeout=_SECONDS)
    port = parts.port or 443
    context = ssl.create_default_context()
    if pinned and _is_pinned(host, port):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    proxy = urllib.request.getproxies().get("https")
    if proxy is None or urllib.request.proxy_bypass(host):
        return http.client.HTTPSConnection(host, port, context=context, timeout=_SECONDS)
    through = urlsplit(proxy)
    connection = http.client.HTTPSConnection(through.hostname or "", through.port or 80, context=context, timeout=_SECONDS)
    connection.set_tunnel(host, port, _proxy_authorization(through))
    return connection


def _proxy_authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    name, password = unquote(proxy.username), unquote(proxy.password or "")
    return {"Proxy-Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


def _is_pinned(host: str, port: int) -> bool:
    """Whether the leaf has the thumbprint of `IDENTITY_SERVER_THUMBPRINT`; another certificate needs a chain that is trusted."""
    leaf = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, port), timeout=_SECONDS))
    return hashlib.sha1(leaf).hexdigest().lower() == os.environ["IDENTITY_SERVER_THUMBPRINT"].lower()
