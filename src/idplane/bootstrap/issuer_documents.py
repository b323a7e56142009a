"""`ports.issuers` over the network: one request to one judged address, within bounds of size and time."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httptools

from idplane.model.failure import Failure, FailureKind

__all__ = ["HttpIssuerDocuments", "exchange", "is_public", "target_of"]

_MAX_BYTES: Final = 64 * 1024
_MAX_HEAD: Final = 16 * 1024
_MAX_URL: Final = 2048
_CHUNK: Final = 16 * 1024
_SECONDS: Final = 5.0
_AT_ONCE: Final = 16
_OK: Final = 200
_PORTS: Final = {"https": 443, "http": 80}
_TRANSLATED: Final = tuple(ipaddress.ip_network(it) for it in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))
"""IPv6 networks whose addresses stand for IPv4 ones, which may be anything."""


class HttpIssuerDocuments:
    """Fetches documents with the system's trusted certificate authorities. At most 16 at once, whoever asks."""

    def __init__(self, *, seconds: float = _SECONDS) -> None:
        """`seconds` is how long one document may take, waiting for a place included."""
        self._seconds = seconds
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, url: str, *, private: bool = False) -> bytes:
        """As the port says."""
        return await self._body(url, _get, private=private)

    async def post(self, url: str, form: str, *, authorization: str | None, private: bool = False) -> bytes:
        """As the port says."""
        return await self._body(url, lambda parts: _post(parts, form, authorization), private=private)

    async def _body(self, url: str, request: Callable[[SplitResult], bytes], *, private: bool) -> bytes:
        try:
            async with asyncio.timeout(self._seconds), self._places:
                parts, address, port = await target_of(url, private=private)
                status, body = await exchange(parts, address, port, request(parts))
                if status != _OK:
                    raise _refused(f"it answered with status {status}")
                return body
        except TimeoutError as error:
            raise _refused(f"it did not answer within {self._seconds:g} seconds") from error
        except (OSError, ssl.SSLError) as error:
            raise _refused("there is no connection to it") from error
        except (ValueError, httptools.HttpParserError) as error:
            raise _refused("its answer is not HTTP") from error


async def target_of(url: str, *, private: bool) -> tuple[SplitResult, str, int]:
    """The parts of an address, and the one judged IP address and port to connect to; raises `Failure(ISSUER_UNREACHABLE)`, `OSError`."""
    parts = _split(url, private=private)
    port = parts.port or _PORTS[parts.scheme]
    return parts, await _judged_address(parts.hostname or "", port, private=private), port


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the internet at large: none of this host's, its networks', or a translation's."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if any(found in network for network in _TRANSLATED if network.version == found.version):
        return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def _split(url: str, *, private: bool) -> SplitResult:
    if len(url) > _MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise _refused("an address of it is not valid")
    try:
        parts = urlsplit(url)
        usable = parts.hostname and (parts.port is None or parts.port > 0) and parts.username is None and parts.password is None
    except ValueError as error:
        raise _refused("an address of it is not valid") from error
    if not usable or parts.scheme not in (("https", "http") if private else ("https",)):
        raise _refused("an address of it is not https")
    return parts


async def _judged_address(host: str, port: int, *, private: bool) -> str:
    """The one address to connect to. All that the name has must be public, or a name server could choose at each look-up."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not (private or all(map(is_public, addresses))):
        raise _refused("it is at an address that is not public")
    return addresses[0]


def _get(parts: SplitResult) -> bytes:
    head = f"GET {_target(parts)} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    return head.encode("ascii")


def _post(parts: SplitResult, form: str, authorization: str | None) -> bytes:
    lines = (
        f"POST {_target(parts)} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Content-Type: application/x-www-form-urlencoded",
        "Accept: application/json",
        f"Content-Length: {len(form)}",
        *((f"Authorization: {authorization}",) if authorization is not None else ()),
        "Connection: close",
    )
    return "\r\n".join((*lines, "", form)).encode("ascii")


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


async def exchange(parts: SplitResult, address: str, port: int, request: bytes) -> tuple[int, bytes]:
    """Send a request to a judged address; the status and body of the answer. No redirect is followed. Raises as `open_connection` does, and `Failure`."""
    secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        address, port, ssl=_context() if secure else None, server_hostname=parts.hostname if secure else None, limit=_CHUNK
    )
    try:
        writer.write(request)
        return await _answer(reader)
    finally:
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    received = 0
    while not answer.complete:
        chunk = await reader.read(_CHUNK)
        if not chunk:
            # Without a length, the end of the connection is the end of the body; with one, the rest is missing.
            if answer.length is None and answer.headed and not answer.chunked:
                break
            raise _refused("its answer broke off")
        received += len(chunk)
        if received > _MAX_BYTES + _MAX_HEAD:
            raise _refused("its answer is too large")
        parser.feed_data(chunk)
        if answer.headed and parser.get_status_code() != _OK:
            break  # its status is all that matters
    if len(answer.body) > _MAX_BYTES:
        raise _refused("its answer is too large")
    return parser.get_status_code(), bytes(answer.body)


class _Answer:
    """What the parser tells of."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.headed = False
        self.complete = False
        self.chunked = False
        self.length: bytes | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-length":
            self.length = value
        elif name.lower() == b"transfer-encoding":
            self.chunked = True

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


@functools.cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _refused(why: str) -> Failure:
    return Failure(FailureKind.ISSUER_UNREACHABLE, f"the issuer cannot be used: {why}")
