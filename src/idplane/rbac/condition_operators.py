"""The comparisons that conditions are made of: strings, whole numbers, booleans, times and GUIDs (control-plane.md section 9).

Each operator reads its operands first. A value that is not of the operator's kind cannot be compared: the answer is then neither
true nor false, and a condition that hangs on it does not hold.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TypeAlias

from idplane.model.attributes import AttributeValue
from idplane.model.ids import is_guid

__all__ = ["OPERATORS", "SET_FUNCTIONS", "Operator", "Read", "SetFunction", "compare_sets"]

Read: TypeAlias = Callable[[AttributeValue], Any]
"""A value made ready to be compared; None for one of another kind."""

_DATE_TIME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,7}))?Z")
_INTEGER = re.compile(r"-?\d{1,18}")
_TICKS = 10_000_000
"""Units of 100 nanoseconds in a second: what times are written in."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Operator:
    """One comparison. `read_left` and `read_right` differ where the right one is a pattern."""

    name: str
    kind: str
    """What its operands must be, for refusals."""
    read_left: Read
    read_right: Read
    test: Callable[[Any, Any], bool]

    def compare(self, left: AttributeValue, right: AttributeValue) -> bool | None:
        """Whether the comparison holds; None when a value is not of the kind that it compares."""
        first, second = self.read_left(left), self.read_right(right)
        return None if first is None or second is None else self.test(first, second)


# Kinds ----------------------------------------------------------------------------------------------------------------


def _text(value: AttributeValue) -> str | None:
    return value if isinstance(value, str) else None


def _folded(value: AttributeValue) -> str | None:
    return value.casefold() if isinstance(value, str) else None


def _integer(value: AttributeValue) -> int | None:
    if isinstance(value, str):
        return int(value) if _INTEGER.fullmatch(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _boolean(value: AttributeValue) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


def _guid(value: AttributeValue) -> str | None:
    return value.lower() if isinstance(value, str) and is_guid(value) else None


def _moment(value: AttributeValue) -> int | None:
    """Ticks since the epoch."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return None  # no moment, but one for each zone
        since = value - _EPOCH
        return (since.days * 86_400 + since.seconds) * _TICKS + since.microseconds * 10
    found = _DATE_TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    try:
        whole = datetime.fromisoformat(found[1] + "+00:00") - _EPOCH
    except ValueError:  # a month or an hour that does not exist
        return None
    return (whole.days * 86_400 + whole.seconds) * _TICKS + int((found[2] or "").ljust(7, "0"))


# Patterns -------------------------------------------------------------------------------------------------------------

_MANY, _ONE = object(), object()
"""What `*` and `?` stand for in a pattern that has been read; everything else in it is a character."""

_Pattern: TypeAlias = tuple[object, ...]


def _pattern(text: str) -> _Pattern:
    parts: list[object] = []
    letters = iter(text)
    for letter in letters:
        if letter == "\\":
            parts.append(next(letters, letter))
        elif letter == "*":
            if not parts or parts[-1] is not _MANY:
                parts.append(_MANY)
        else:
            parts.append(_ONE if letter == "?" else letter)
    return tuple(parts)


def _like(text: str, pattern: _Pattern) -> bool:
    """Whether the whole text is as the pattern says. Only the last `*` is ever tried again: at most text times pattern steps."""
    at = part = 0
    star, retry = -1, 0
    while at < len(text):
        if part < len(pattern) and pattern[part] is _MANY:
            star, retry = part, at
            part += 1
        elif part < len(pattern) and (pattern[part] is _ONE or pattern[part] == text[at]):
            at, part = at + 1, part + 1
        elif star >= 0:
            retry += 1
            at, part = retry, star + 1
        else:
            return False
    return all(one is _MANY for one in pattern[part:])


def _as_pattern(value: AttributeValue) -> _Pattern | None:
    return _pattern(value) if isinstance(value, str) else None


def _as_folded_pattern(value: AttributeValue) -> _Pattern | None:
    return _pattern(value.casefold()) if isinstance(value, str) else None


# The table ------------------------------------------------------------------------------------------------------------


def _negated(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: not test(left, right)


def _operators() -> Mapping[str, Operator]:
    found: list[Operator] = []
    for word, test in (("Equals", operator.eq), ("StartsWith", str.startswith)):
        for negation, one in (("", test), ("Not", _negated(test))):
            found.append(Operator(f"String{negation}{word}", "a string", _text, _text, one))
            found.append(Operator(f"String{negation}{word}IgnoreCase", "a string", _folded, _folded, one))
    for negation, one in (("", _like), ("Not", _negated(_like))):
        found.append(Operator(f"String{negation}Like", "a string", _text, _as_pattern, one))
        found.append(Operator(f"String{negation}LikeIgnoreCase", "a string", _folded, _as_folded_pattern, one))
    for family, kind, read in (("Numeric", "a whole number", _integer), ("DateTime", "a time", _moment)):
        found += [Operator(f"{family}{word}", kind, read, read, test) for word, test in _ORDERED.items()]
    for family, kind, reader in (("Bool", "true or false", _boolean), ("Guid", "a GUID", _guid)):
        found += [Operator(f"{family}{word}", kind, reader, reader, _ORDERED[word]) for word in ("Equals", "NotEquals")]
    return MappingProxyType({one.name.lower(): one for one in found})


_ORDERED: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        "Equals": operator.eq,
        "NotEquals": operator.ne,
        "LessThan": operator.lt,
        "LessThanEquals": operator.le,
        "GreaterThan": operator.gt,
        "GreaterThanEquals": operator.ge,
    }
)

OPERATORS: Mapping[str, Operator] = _operators()
"""Every comparison by its name in lower case."""


# Sets -----------------------------------------------------------------------------------------------------------------

SetFunction: TypeAlias = tuple[bool, bool]
"""Whether every value on the left must compare, and whether with every value on the right."""

SET_FUNCTIONS: Mapping[str, SetFunction] = MappingProxyType(
    {
        "foranyofanyvalues": (False, False),
        "forallofanyvalues": (True, False),
        "foranyofallvalues": (False, True),
        "forallofallvalues": (True, True),
    }
)
"""The cross-product functions by their names in lower case."""


def compare_sets(
    one: Operator, function: SetFunction, left: tuple[AttributeValue, ...], right: tuple[AttributeValue, ...]
) -> bool | None:
    """A comparison over two sets of values; None if nothing is there to compare, or some value is of the wrong kind."""
    answers = [[one.compare(first, second) for second in right] for first in left]
    if not left or not right or any(answer is None for row in answers for answer in row):
        return None
    every_left, every_right = function
    rows = [all(row) if every_right else any(row) for row in answers]
    return all(rows) if every_left else any(rows)
