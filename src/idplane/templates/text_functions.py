"""String functions of the template language."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from urllib.parse import quote, unquote, urljoin

from idplane.templates.builtin import MANY, Arguments, Builtin, table
from idplane.templates.kinds import as_text, kind, member, plain
from idplane.templates.limits import MAX_TEXT
from idplane.templates.problems import TemplateProblem

__all__ = ["TEXT_FUNCTIONS", "decoded_json", "unique_string"]

_GUID_NAMESPACE = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")
"""The namespace under which Azure's `guid` makes version 5 GUIDs."""
_HOLE = re.compile(r"\{\{|\}\}|\{(\d{1,3})(?:,(-?\d{1,3}))?(?::([^{}]{1,20}))?\}|[{}]")
_NUMBER_FORMAT = re.compile(r"([DdNnXxFf])(\d{0,2})")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_UNIQUE = 13
_WIDEST = 4096
_DATA_URI = re.compile(r"data:([^,;]*(?:;[^,;]+=[^,;]+)*)(;base64)?,(.*)", re.IGNORECASE | re.DOTALL)
_SHORT_NUMBER = re.compile(r"\s*-?\.[0-9]{1,15}\s*")


def unique_string(texts: list[str]) -> str:
    """Thirteen characters that depend on all the texts and nothing else.

    Azure's hash is not published; ours is SHA-256, so the characters differ from Azure's for the same texts, and stay the same from
    one deployment and release to the next.
    """
    digest = int.from_bytes(hashlib.sha256("\x1f".join(texts).encode("utf-8", "replace")).digest()[:9])
    return "".join(_ALPHABET[digest >> (5 * at) & 31] for at in range(_UNIQUE))


def decoded_json(text: str, function: str = "json") -> object:
    """A value from JSON text; raises `TemplateProblem`."""
    if _SHORT_NUMBER.fullmatch(text):
        # Not JSON, but what templates write for fractions of a core, since they have no other way to write one.
        return float(text)
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise TemplateProblem(f"The template language function '{function}' parameter is not valid JSON.") from error


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _concat(it: Arguments) -> object:
    if it.values and all(isinstance(one, list) for one in it.values):
        return [item for one in it.values if isinstance(one, list) for item in one]
    if any(isinstance(one, list | Mapping) for one in it.values):
        raise it.refuse("the provided parameters must all be arrays, or all be strings, numbers and booleans.")
    return "".join(map(as_text, it.values))


def _json(it: Arguments) -> object:
    return decoded_json(it.text(0), "json")


def _from_base64(it: Arguments) -> str:
    try:
        return base64.b64decode(it.text(0), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise it.refuse("the provided value is not base64 text.") from error


def _base64(it: Arguments) -> str:
    return base64.b64encode(it.text(0).encode()).decode()


def _data_uri(it: Arguments) -> str:
    return f"data:text/plain;charset=utf8;base64,{base64.b64encode(as_text(it.any(0)).encode()).decode()}"


def _data_uri_text(it: Arguments) -> str:
    match = _DATA_URI.fullmatch(it.text(0))
    if match is None:
        raise it.refuse("the provided value is not a data URI.")
    if match[2] is None:
        return unquote(match[3])
    return _from_base64(Arguments(it.function, [match[3]]))


def _contains(it: Arguments) -> bool:
    container, wanted = it.any(0), it.any(1)
    if isinstance(container, str):
        return as_text(wanted) in container
    if isinstance(container, list):
        return any(type(one) is type(wanted) and one == wanted for one in container)
    if isinstance(container, Mapping):
        return member(container, it.text(1))[0]
    raise it.refuse(f"the first parameter is of type '{kind(container)}'; a string, an array or an object is expected.")


def _index_of(it: Arguments) -> int:
    if isinstance(it.any(0), list):
        array, wanted = it.array(0), it.any(1)
        return next((at for at, one in enumerate(array) if type(one) is type(wanted) and one == wanted), -1)
    return it.text(0).lower().find(it.text(1).lower())


def _last_index_of(it: Arguments) -> int:
    if isinstance(it.any(0), list):
        array, wanted = it.array(0), it.any(1)
        return max((at for at, one in enumerate(array) if type(one) is type(wanted) and one == wanted), default=-1)
    return it.text(0).lower().rfind(it.text(1).lower())


def _pad_left(it: Arguments) -> str:
    value, width, filler = as_text(it.any(0)), it.integer(1), it.text(2, " ")
    if len(filler) != 1 or not 0 <= width <= _WIDEST:
        raise it.refuse(f"the width must be 0 to {_WIDEST} and the padding a single character.")
    return value.rjust(width, filler)


def _replace(it: Arguments) -> str:
    text, old, new = it.text(0), it.text(1), it.text(2)
    if not old:
        raise it.refuse("the string to be replaced is empty.")
    if len(text) + text.count(old) * (len(new) - len(old)) > MAX_TEXT:
        raise it.refuse(f"the result is longer than {MAX_TEXT} characters.")
    return text.replace(old, new)


def _split(it: Arguments) -> list[object]:
    delimiters = it.values[1] if isinstance(it.values[1], list) else [it.text(1)]
    marks = [one for one in delimiters if isinstance(one, str) and one]
    if not marks:
        return [it.text(0)]
    return list(re.split("|".join(re.escape(one) for one in sorted(marks, key=len, reverse=True)), it.text(0)))


def _join(it: Arguments) -> str:
    return it.text(1).join(as_text(one) for one in it.array(0))


def _substring(it: Arguments) -> str:
    text, start = it.text(0), it.integer(1)
    length = it.integer(2, max(len(text) - start, 0))
    if start < 0 or length < 0 or start + length > len(text):
        words = f"'{start}' and '{length}' are not an index and length within the string. The length of the string is '{len(text)}'."
        raise it.refuse(words)
    return text[start : start + length]


def _format(it: Arguments) -> str:
    pattern, values = it.text(0), it.values[1:]

    def filled(match: re.Match[str]) -> str:
        whole = match.group()
        if whole in ("{{", "}}"):
            return whole[0]
        if match[1] is None or int(match[1]) >= len(values):
            raise it.refuse("the format is invalid: it names an argument that is not there, or has a single brace.")
        text = _formatted(it, values[int(match[1])], match[3])
        width = int(match[2] or 0)
        return text.rjust(width) if width >= 0 else text.ljust(-width)

    return _HOLE.sub(filled, pattern)


def _formatted(it: Arguments, value: object, how: str | None) -> str:
    if how is None or isinstance(value, bool) or not isinstance(value, int | float):
        return as_text(value)
    match = _NUMBER_FORMAT.fullmatch(how)
    if match is not None:
        return _in_format(value, match[1], match[2])
    if set(how) == {"0"} and isinstance(value, int):
        return f"{'-' if value < 0 else ''}{abs(value):0{len(how)}d}"
    raise it.refuse(f"the format '{how}' is not supported; D, N, X, F with a width and zeros are.")


def _in_format(value: float, letter: str, width: str) -> str:
    digits = int(width or 0)
    match letter.upper():
        case "D":
            return f"{'-' if value < 0 else ''}{abs(int(value)):0{digits}d}"
        case "X":
            return format(int(value) & (2**64 - 1), f"0{digits}{letter}")
        case "N":
            return f"{value:,.{digits if width else 2}f}"
        case _:
            return f"{value:.{digits if width else 2}f}"


def _guid(it: Arguments) -> str:
    return str(uuid.uuid5(_GUID_NAMESPACE, "-".join(it.text(at) for at in range(len(it)))))


def _uri(it: Arguments) -> str:
    base, relative = it.text(0), it.text(1)
    if "://" not in base:
        raise it.refuse("the base URI must be absolute.")
    try:
        return urljoin(base, relative)
    except ValueError as error:
        raise it.refuse("the parts make no URI.") from error


def _string(it: Arguments) -> str:
    value = it.any(0)
    return (
        json.dumps(plain(value), separators=(",", ":"), ensure_ascii=False)
        if isinstance(value, list | Mapping)
        else as_text(value)
    )


TEXT_FUNCTIONS: Mapping[str, Builtin] = table(
    ("base64", 1, 1, _base64),
    ("base64ToJson", 1, 1, lambda it: decoded_json(_from_base64(it), "base64ToJson")),
    ("base64ToString", 1, 1, _from_base64),
    ("concat", 0, MANY, _concat),
    ("contains", 2, 2, _contains),
    ("dataUri", 1, 1, _data_uri),
    ("dataUriToString", 1, 1, _data_uri_text),
    ("endsWith", 2, 2, lambda it: it.text(0).lower().endswith(it.text(1).lower())),
    ("format", 1, MANY, _format),
    ("guid", 1, MANY, _guid),
    ("indexOf", 2, 2, _index_of),
    ("join", 2, 2, _join),
    ("json", 1, 1, _json),
    ("lastIndexOf", 2, 2, _last_index_of),
    ("padLeft", 2, 3, _pad_left),
    ("replace", 3, 3, _replace),
    ("split", 2, 2, _split),
    ("startsWith", 2, 2, lambda it: it.text(0).lower().startswith(it.text(1).lower())),
    ("string", 1, 1, _string),
    ("substring", 2, 3, _substring),
    ("toLower", 1, 1, lambda it: it.text(0).lower()),
    ("toUpper", 1, 1, lambda it: it.text(0).upper()),
    ("trim", 1, 1, lambda it: it.text(0).strip()),
    ("uniqueString", 1, MANY, lambda it: unique_string([it.text(at) for at in range(len(it))])),
    ("uri", 2, 2, _uri),
    ("uriComponent", 1, 1, lambda it: quote(it.text(0), safe="-_.!~*'()")),
    ("uriComponentToString", 1, 1, lambda it: unquote(it.text(0))),
)
