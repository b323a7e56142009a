"""Request bodies: bounded, strict JSON objects.

What Python's parser would let through and would hurt further in is refused here: `NaN` and `Infinity`, numbers beyond 64 bits,
deep nesting, lone surrogates and NUL characters (which the databases cannot hold). A repeated member's last value wins, as it
does at Azure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["MAX_BODY", "MAX_DEPTH", "encode_object", "member_object", "member_text", "parse_object"]

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a request body; Resource Manager's own limit."""
MAX_DEPTH = 64
"""Nested objects and arrays."""

_INTEGER_DIGITS = 19
_INTEGER_LIMIT = 2**63
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.?)*(?:"|\Z)', re.DOTALL)
"""Matches a string that never ends, too: if it failed there, each quote in it would be tried as the start of another one."""
_BRACKETS = re.compile(rb"[\[\]{}]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def parse_object(body: bytes) -> JsonObject:
    """The body as a JSON object; an empty body is an empty object. Raises `Failure(MALFORMED_BODY | BODY_TOO_LARGE)`."""
    if len(body) > MAX_BODY:
        raise Failure(FailureKind.BODY_TOO_LARGE, "the request body is larger than 4 MiB", limit=str(MAX_BODY))
    if not body.strip():
        return {}
    _refuse_depth(body)
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_constant, parse_int=_integer, parse_float=_real)
    except (ValueError, RecursionError) as error:
        raise _malformed("the request content is not valid JSON") from error
    if not isinstance(value, dict):
        raise _malformed("the request content must be a JSON object")
    if b"\\u" in body or b"\x00" in body:
        _refuse_unstorable(value)
    return value


def encode_object(value: JsonObject) -> bytes:
    """A body that reads back as `value`; raises `Failure(MALFORMED_BODY)` for what is no JSON."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_mapping, separators=(",", ":")).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise _malformed("the request content cannot be written as JSON") from error


def _mapping(value: object) -> object:
    """Read-only mappings count as objects."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)


def member_object(body: JsonObject, name: str) -> JsonObject | None:
    """A member that must be an object if it is there; `null` counts as absent. Raises `Failure(INVALID_PARAMETER)`."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Failure(FailureKind.INVALID_PARAMETER, f"the value of '{name}' must be an object", parameter=name)
    return value


def member_text(body: JsonObject, name: str) -> str | None:
    """A member that must be a string if it is there; `null` counts as absent. Raises `Failure(INVALID_PARAMETER)`."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Failure(FailureKind.INVALID_PARAMETER, f"the value of '{name}' must be a string", parameter=name)
    return value


def _malformed(detail: str) -> Failure:
    return Failure(FailureKind.MALFORMED_BODY, detail)


def _refuse_depth(body: bytes) -> None:
    """Count brackets outside strings: cheaper than parsing, and ahead of it."""
    depth = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub(b"", body)):
        depth += 1 if bracket.group() in b"[{" else -1
        if depth > MAX_DEPTH:
            raise _malformed(f"the request content is nested deeper than {MAX_DEPTH} levels")


def _constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > _INTEGER_DIGITS or not -_INTEGER_LIMIT <= int(digits) < _INTEGER_LIMIT:
        raise ValueError("an integer is beyond 64 bits")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number is out of range")
    return value


def _refuse_unstorable(value: object) -> None:
    """Walk every string; the depth is bounded by then."""
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            raise _malformed("the request content holds a character that is not valid text")
    elif isinstance(value, dict):
        for name, item in value.items():
            _refuse_unstorable(name)
            _refuse_unstorable(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_unstorable(item)
