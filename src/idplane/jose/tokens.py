"""The compact serialization, taken apart within bounds. Nothing here is verified, and the types say so."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from idplane.jose.encoding import b64url, decode_segment
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["MAX_TOKEN_LENGTH", "UnverifiedToken", "numeric_date", "parse"]

MAX_TOKEN_LENGTH = 16 * 1024
"""Characters. Entra's own tokens with a full group list stay below half of it."""
_MAX_DEPTH = 16
_SEGMENTS = 3
_LAST_SECOND = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedToken:
    """A token whose shape is right. Its header and claims are whatever the sender wrote, until `verify` says otherwise."""

    header: JsonObject
    claims: JsonObject = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The token put together again, for whoever else must read it; without padding, if it had any."""
        return f"{self.signing_input.decode('ascii')}.{b64url(self.signature)}"

    @property
    def key_id(self) -> str | None:
        """The header's `kid`, if it is a string: which key to try."""
        return _text(self.header.get("kid"))

    @property
    def algorithm(self) -> str | None:
        """The header's `alg`, for diagnosis; which algorithm is acceptable is never the token's choice."""
        return _text(self.header.get("alg"))


def parse(token: str) -> UnverifiedToken:
    """Take a token apart; raises `Failure(TOKEN_INVALID)`.

    Refused: more than `MAX_TOKEN_LENGTH` characters, other than three segments, non-canonical base64url, a header or claims
    that are no JSON object, members given twice (RFC 7515 section 4, RFC 7519 section 4), JSON deeper than 16, numbers beyond
    a double, strings that are not Unicode, and any `crit` header: we know no extension (RFC 7515 section 4.1.11).
    """
    header, claims, signature, signing_input = _segments(token)
    decoded_header = _json_object(decode_segment(header), "header")
    if "crit" in decoded_header:
        raise Failure(FailureKind.TOKEN_INVALID, "the token's header demands extensions")
    return UnverifiedToken(
        header=decoded_header,
        claims=_json_object(decode_segment(claims), "claims"),
        signing_input=signing_input,
        signature=decode_segment(signature),
    )


def numeric_date(value: object) -> datetime:
    """A NumericDate (RFC 7519 section 2), whole or fractional, as an instant; raises `Failure(TOKEN_INVALID)`.

    MSAL Python sends fractions (control-plane.md section 3). Booleans, text, negative numbers, NaN and years beyond 9999 are
    no dates. An absent claim is none either: whoever treats a claim as optional asks for it first.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise Failure(FailureKind.TOKEN_INVALID, "a time in the token is not a number of seconds")
    return datetime.fromtimestamp(value, tz=UTC)


def _segments(token: str) -> tuple[bytes, bytes, bytes, bytes]:
    if len(token) > MAX_TOKEN_LENGTH or not token.isascii() or token.count(".") != _SEGMENTS - 1:
        raise Failure(FailureKind.TOKEN_INVALID, "the text is not a signed token")
    signing_input, _, signature = token.encode("ascii").rpartition(b".")
    header, _, claims = signing_input.partition(b".")
    return header, claims, signature, signing_input


def _json_object(raw: bytes, what: str) -> JsonObject:
    try:
        value = _DECODE(raw.decode("utf-8"))
        if b"\\u" in raw:
            _check_unicode(value)
    except (ValueError, RecursionError) as error:
        raise Failure(FailureKind.TOKEN_INVALID, f"the token's {what} is not acceptable JSON") from error
    # So few brackets cannot nest too deeply, and almost no token has more.
    shallow = raw.count(b"{") + raw.count(b"[") <= _MAX_DEPTH
    if not isinstance(value, dict) or (not shallow and _is_deeper(value, _MAX_DEPTH)):
        raise Failure(FailureKind.TOKEN_INVALID, f"the token's {what} is not acceptable JSON")
    return value


def _check_unicode(value: object) -> None:
    r"""An escape such as `\ud800` alone makes a string that no encoder takes back; raises `UnicodeEncodeError`."""
    json.dumps(value, ensure_ascii=False).encode("utf-8")


def _is_deeper(value: object, levels: int) -> bool:
    if isinstance(value, Mapping):
        return levels == 0 or any(_is_deeper(one, levels - 1) for one in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_is_deeper(one, levels - 1) for one in value)
    return False


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is given twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_DECODE: Callable[[str], object] = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant
).decode


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
