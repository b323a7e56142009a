"""Finished answers as bytes: built once, written as they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus

__all__ = ["JSON", "TEXT", "Reply", "reply"]

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """Status line and headers without the blank line that ends them (the connection adds its own header), and the body."""

    head: bytes
    body: bytes


def reply(
    status: int,
    body: bytes,
    *,
    now: datetime,
    server: str = "",
    media_type: str = JSON,
    headers: tuple[tuple[str, str], ...] = (),
) -> Reply:
    """An answer with the headers that every answer has (RFC 9110 section 6.6.1 for `Date`)."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    if server:
        lines.append(f"Server: {server}")
    lines += [f"Content-Type: {media_type}", f"Date: {format_datetime(now, usegmt=True)}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return Reply("\r\n".join(lines).encode("latin-1") + b"\r\n", body)
