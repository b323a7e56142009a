"""A plain HTTP/1.1 client: one connection that is kept, one request at a time on it, no retries but the one that HTTP itself foresees."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from faults.outcomes import Result

__all__ = ["Answer", "Link", "Unanswered"]

_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_MOST = 1 << 22


class Unanswered(Exception):  # noqa: N818 - an outcome
    """There was no whole answer; which `Result` that is."""

    def __init__(self, result: Result, detail: str) -> None:
        super().__init__(detail)
        self.result = result


class _Stale(Exception):  # noqa: N818 - an outcome
    """A kept connection had ended before the first byte of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body, None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Link:
    """The way to one address. `name` is what the server's certificate has to hold, if that is checked."""

    def __init__(self, address: tuple[str, int], *, tls: ssl.SSLContext | None = None, name: str | None = None) -> None:
        self._address = address
        self._tls = tls
        self._name = name or address[0]
        self._kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.repeated = False
        """Whether the last request was sent twice."""

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"", *, patience: float = 20.0
    ) -> Answer:
        """One exchange. Raises `Unanswered`, after `patience` seconds at the latest.

        A kept connection that turns out to be over is no failure where the method may be repeated (RFC 9110 section 9.2.2).
        """
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if body or method not in {"GET", "DELETE"}:
            lines.append(f"Content-Length: {len(body)}")
        request = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        self.repeated = False
        try:
            async with asyncio.timeout(patience):
                try:
                    return await self._exchange(request, repeatable=method in _REPEATABLE)
                except _Stale:
                    self.repeated = True
                    return await self._exchange(request, repeatable=False)
        except TimeoutError:
            self.close()
            raise Unanswered(Result.TIMEOUT, "") from None
        except (OSError, EOFError, KeyError, ValueError, asyncio.LimitOverrunError) as error:
            self.close()
            raise Unanswered(Result.LOST, type(error).__name__) from error

    async def _exchange(self, request: bytes, *, repeatable: bool) -> Answer:
        kept, self._kept = self._kept, None
        reader, writer = kept or await self._connected()
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            writer.close()
            if kept and repeatable and not error.partial:
                raise _Stale from error
            raise
        except ConnectionError as error:
            writer.close()
            if kept and repeatable:
                raise _Stale from error
            raise
        try:
            return await self._rest(head, reader, writer)
        except BaseException:
            writer.close()
            raise

    async def _rest(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = b"" if first.split()[1] in {"204", "304"} else await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            writer.close()
        else:
            self._kept = (reader, writer)
        return Answer(status=int(first.split()[1]), headers=headers, body=body)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = self._name if self._tls else None
        return await asyncio.open_connection(*self._address, ssl=self._tls, server_hostname=name, limit=_MOST)

    def close(self) -> None:
        """Forget the connection."""
        if self._kept is not None:
            with contextlib.suppress(OSError):
                self._kept[1].close()
            self._kept = None
