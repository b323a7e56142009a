"""The log's public face: what a witness keeps, and what it needs to see that nothing was taken back.

    GET /log/checkpoint                          the newest checkpoint, a signed note
    GET /log/keys                                the keys that may have signed it, a line each, the active one first
    GET /log/successions                         the checkpoints by which one key followed another, below one another
    GET /log/consistency?first=N&second=M        the proof that the tree grew from N records to M: base64 hashes, a line each

Text, or JSON for whoever accepts that: `{"checkpoint": ...}`, `{"keys": [...]}`, `{"checkpoints": [...]}`, `{"hashes": [...]}`.

Everybody may ask: a checkpoint tells how many records there are and when it was made, and nothing of what is in them.
"""

from __future__ import annotations

import base64
from typing import Final, Protocol

import msgspec

from idplane.model.failure import Failure, FailureKind
from idplane.web.http import HttpRequest, HttpResponse
from idplane.web.oauth_errors import oauth_error

__all__ = ["LogSurface", "PublishedLog"]

_TEXT: Final = "text/plain; charset=utf-8"
_HEADERS: Final = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
_DIGITS: Final = 18


class PublishedLog(Protocol):
    """What is shown; `bootstrap.LogKeeping` is one."""

    @property
    def checkpoint(self) -> str | None:
        """The newest checkpoint."""
        ...

    @property
    def verifiers(self) -> tuple[str, ...]:
        """Verifier keys."""
        ...

    async def successions(self) -> tuple[str, ...]:
        """Checkpoints that speak of keys."""
        ...

    async def consistency(self, first: int, second: int) -> list[bytes]:
        """A consistency proof; raises `Failure(INVALID_PARAMETER)`."""
        ...


class LogSurface:
    """The surface of `/log`."""

    def __init__(self, log: PublishedLog) -> None:
        self._log = log

    async def handle(self, request: HttpRequest, /) -> HttpResponse:
        """Serve one request."""
        if request.method != "GET":
            raise Failure(FailureKind.METHOD_NOT_ALLOWED, "the log is only read", allowed="GET", method=request.method[:20])
        match request.path.rstrip("/").lower():
            case "/log/checkpoint":
                note = self._log.checkpoint
                if note is None:
                    raise Failure(FailureKind.UNAVAILABLE, "there is no checkpoint yet")
                return _answer(request, "checkpoint", note, note)
            case "/log/keys":
                keys = self._log.verifiers
                return _answer(request, "keys", keys, "".join(f"{one}\n" for one in keys))
            case "/log/successions":
                notes = await self._log.successions()
                return _answer(request, "checkpoints", notes, "\n".join(notes))
            case "/log/consistency":
                proof = await self._log.consistency(_number(request, "first"), _number(request, "second"))
                hashes = [base64.b64encode(one).decode() for one in proof]
                return _answer(request, "hashes", hashes, "".join(f"{one}\n" for one in hashes))
            case _:
                raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such endpoint")

    def refuse(self, failure: Failure, request: HttpRequest, /) -> HttpResponse:
        """Any failure, as the authority says it."""
        return oauth_error(failure, request)


def _number(request: HttpRequest, name: str) -> int:
    text = request.parameter(name) or ""
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise Failure(FailureKind.INVALID_PARAMETER, f"'{name}' must be a number of records")
    return int(text)


def _answer(request: HttpRequest, name: str, value: object, text: str) -> HttpResponse:
    if "json" in (request.header("accept") or ""):
        return HttpResponse(status=200, body=msgspec.json.encode({name: value}), headers=_HEADERS)
    return HttpResponse(status=200, body=text.encode(), headers=_HEADERS, media_type=_TEXT)
