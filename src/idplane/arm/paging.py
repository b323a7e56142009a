"""Keyset paging: an opaque cursor in `$skiptoken`, and absolute links on the origin that was asked."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from idplane.model.failure import Failure, FailureKind

__all__ = ["DEFAULT_PAGE", "MAX_PAGE", "Paging", "next_link"]

DEFAULT_PAGE = 100
MAX_PAGE = 1000
_MAX_CURSOR = 4096
_MAX_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """`$top` (at most `MAX_PAGE` are given however many are asked for) and the decoded `$skiptoken`."""

    top: int
    after: str | None

    @classmethod
    def of(cls, top: str | None, skip_token: str | None) -> Paging:
        """Read the two parameters; raises `Failure(INVALID_PARAMETER)`."""
        return cls(top=_top(top), after=_cursor(skip_token) if skip_token else None)


def next_link(base: str, path: str, query: tuple[tuple[str, str], ...], after: str) -> str:
    """The same request, continued behind `after`. `$` stays literal, as clients send it."""
    kept = [(name, value) for name, value in query if name.lower() not in ("$skiptoken", "%24skiptoken")]
    token = base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")
    return f"{base}{quote(path, safe='/()~!*,;=@.-_')}?{urlencode([*kept, ('$skiptoken', token)], safe='$', quote_via=quote)}"


def _top(text: str | None) -> int:
    if text is None or not text.strip():
        return DEFAULT_PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and int(text) >= 1):
        raise Failure(FailureKind.INVALID_PARAMETER, "the value of '$top' must be a positive integer", parameter="$top")
    return min(int(text), MAX_PAGE)


def _cursor(token: str) -> str:
    invalid = Failure(FailureKind.INVALID_PARAMETER, "the value of '$skiptoken' is not valid", parameter="$skiptoken")
    if len(token) > _MAX_CURSOR or not token.isascii():
        raise invalid
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise invalid from error
    if "\x00" in text:
        raise invalid
    return text
