"""`ports.receivers.EventReceivers` over the network: one POST to one judged address, within the bounds of `issuer_documents`."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import httptools

from idplane.bootstrap.issuer_documents import exchange, target_of
from idplane.model.failure import Failure, FailureKind

__all__ = ["HttpEventReceivers"]

_SECONDS: Final = 10.0
_AT_ONCE: Final = 64


class HttpEventReceivers:
    """Pushes events. At most 64 at once, whoever they are for; a slow receiver delays its own stream only."""

    def __init__(self, *, seconds: float = _SECONDS) -> None:
        """`seconds` is how long one push may take."""
        self._seconds = seconds
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def push(self, url: str, event: str, *, authorization: str | None, private: bool) -> int:
        """As the port says."""
        try:
            async with self._places, asyncio.timeout(self._seconds):
                parts, address, port = await target_of(url, private=private)
                lines = [
                    f"POST {(parts.path or '/') + (f'?{parts.query}' if parts.query else '')} HTTP/1.1",
                    f"Host: {parts.netloc}",
                    "Content-Type: application/secevent+jwt",
                    "Accept: application/json",
                    f"Content-Length: {len(event)}",
                    *([f"Authorization: {authorization}"] if authorization else []),
                    "Connection: close",
                ]
                request = "\r\n".join((*lines, "", event)).encode("ascii")
                return (await exchange(parts, address, port, request))[0]
        except TimeoutError as error:
            raise _refused(f"it did not answer within {self._seconds:g} seconds") from error
        except (OSError, ssl.SSLError) as error:
            raise _refused("there is no connection to it") from error
        except (ValueError, httptools.HttpParserError) as error:
            raise _refused("its answer is not HTTP") from error


def _refused(why: str) -> Failure:
    return Failure(FailureKind.ISSUER_UNREACHABLE, f"the receiver cannot be used: {why}")
