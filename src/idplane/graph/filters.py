"""`$filter`: the part of OData's language that Graph's clients use (control-plane.md section 8). Pure.

filter    = and *( "or" and );  and = unary *( "and" unary );  unary = [ "not" ] primary
primary   = "(" filter ")" | path ( "eq" | "ne" | "gt" | "ge" | "lt" | "le" ) value | path "in" "(" value *( "," value ) ")"
          | ( "startswith" | "endswith" | "contains" ) "(" path "," text ")"
          | path "/any(" [ variable ":" filter ] ")" | path "/all(" variable ":" filter ")"
value     = 'text' | number | "true" | "false" | "null" | instant | guid

Text is compared without case. Length, depth and the number of conditions are bounded. What a path may name is checked against
the entity's declared properties by `matching.checked`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from idplane.model.failure import Failure, FailureKind

__all__ = [
    "AllOf",
    "AnyOf",
    "Comparison",
    "Expression",
    "Membership",
    "Negation",
    "Operator",
    "Some",
    "TextTest",
    "Value",
    "parse_filter",
]

_MAX_LENGTH: Final = 8192
_MAX_DEPTH: Final = 24
_MAX_TOKENS: Final = 2000
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<time>\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d)?)"
    r"|(?P<guid>[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})|(?P<number>-?\d{1,18}(?:\.\d{1,18})?)(?![\w-])"
    r"|(?P<word>\$?[A-Za-z_@][\w.]{0,127}(?:/\$?[A-Za-z_@][\w.]{0,127}){0,6})|(?P<mark>[(),:]))"
)
_SPACE: Final = re.compile(r"\s*")

Value: TypeAlias = str | int | float | bool | datetime | None


class Operator(enum.StrEnum):
    """Comparisons of a property with a value."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    GE = "ge"
    LT = "lt"
    LE = "le"


Path: TypeAlias = tuple[str, ...]
"""Names of members, outermost first; empty for the element itself, inside a condition on a collection."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`path operator value`."""

    path: Path
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class Membership:
    """`path in (value, ...)`."""

    path: Path
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class TextTest:
    """`startswith(path, text)` and its kin; `name` is lower case."""

    name: str
    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Some:
    """`path/any(x: inner)`, or `path/all(x: inner)` with `every`; without `inner`: the collection is not empty."""

    path: Path
    inner: Expression | None
    every: bool = False


@dataclass(frozen=True, slots=True)
class AllOf:
    """Conditions joined by `and`."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Conditions joined by `or`."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """`not inner`."""

    inner: Expression


Expression: TypeAlias = Comparison | Membership | TextTest | Some | AllOf | AnyOf | Negation


# Reading ----------------------------------------------------------------------------------------------------------------


def parse_filter(text: str) -> Expression:
    """Parse a `$filter`; raises `Failure(INVALID_FILTER)` for anything outside the grammar above."""
    if len(text) > _MAX_LENGTH:
        raise _refused("the filter is too long")
    reader = _Reader(tuple(_tokens(text)))
    found = reader.either(0, None)
    reader.end()
    return found


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    for _ in range(_MAX_TOKENS):
        if at >= end:
            return
        matched = _TOKEN.match(text, at)
        if matched is None or matched.lastgroup is None:
            raise _refused(f"the filter is not understood at '{text[at : at + 40].strip()}'")
        yield _Token(matched.lastgroup, matched[matched.lastgroup])
        at = matched.end()
    raise _refused("the filter holds too many conditions")


class _Reader:
    """Recursive descent; `variable` is the name of the element inside a condition on a collection."""

    def __init__(self, tokens: tuple[_Token, ...]) -> None:
        self._tokens = tokens
        self._at = 0

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise _refused(f"the filter is not understood at '{self._tokens[self._at].text[:40]}'")

    def either(self, depth: int, variable: str | None) -> Expression:
        parts = [self._both(depth, variable)]
        while self._word("or"):
            parts.append(self._both(depth, variable))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _both(self, depth: int, variable: str | None) -> Expression:
        parts = [self._unary(depth, variable)]
        while self._word("and"):
            parts.append(self._unary(depth, variable))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _unary(self, depth: int, variable: str | None) -> Expression:
        if depth > _MAX_DEPTH:
            raise _refused("the filter is nested too deeply")
        if self._word("not"):
            return Negation(self._unary(depth + 1, variable))
        if self._mark("("):
            inner = self.either(depth + 1, variable)
            self._expect(")")
            return inner
        return self._condition(depth, variable)

    def _condition(self, depth: int, variable: str | None) -> Expression:
        word = self._next("word").text
        if self._mark("("):
            return self._call(word, depth, variable)
        path = _path(word, variable)
        operator = self._next("word").text.lower()
        if operator == "in":
            return Membership(path, self._values())
        if operator not in _OPERATORS:
            raise _refused(f"the filter compares with '{operator[:40]}', which is not supported")
        return Comparison(path, _OPERATORS[operator], self._value())

    def _call(self, word: str, depth: int, variable: str | None) -> Expression:
        head, _, last = word.rpartition("/")
        name = last.lower()
        if not head and name in _TEXT_TESTS:
            path = _path(self._next("word").text, variable)
            self._expect(",")
            text = _text_of(self._next("text"))
            self._expect(")")
            return TextTest(name, path, text)
        if head and name in ("any", "all") and variable is None:
            return self._some(_path(head, None), depth, every=name == "all")
        raise _refused(f"the filter calls '{word[:40]}', which is not supported")

    def _some(self, path: Path, depth: int, *, every: bool) -> Expression:
        if not every and self._mark(")"):
            return Some(path, None)
        variable = self._next("word").text
        self._expect(":")
        inner = self.either(depth + 1, variable)
        self._expect(")")
        return Some(path, inner, every)

    def _values(self) -> tuple[Value, ...]:
        self._expect("(")
        values = [self._value()]
        while self._mark(","):
            values.append(self._value())
        self._expect(")")
        return tuple(values)

    def _value(self) -> Value:
        token = self._next("text", "time", "guid", "number", "word")
        match token.kind:
            case "text":
                return _text_of(token)
            case "time":
                return _instant(token.text)
            case "guid":
                return token.text
            case "number":
                return float(token.text) if "." in token.text else int(token.text)
            case _:
                if token.text not in _WORDS:
                    raise _refused(f"'{token.text[:40]}' is not a value; texts stand in single quotes")
                return _WORDS[token.text]

    def _next(self, *kinds: str) -> _Token:
        if self._at >= len(self._tokens):
            raise _refused("the filter ends too early")
        token = self._tokens[self._at]
        if token.kind not in kinds:
            raise _refused(f"the filter is not understood at '{token.text[:40]}'")
        self._at += 1
        return token

    def _word(self, word: str) -> bool:
        return self._skip("word", word)

    def _mark(self, mark: str) -> bool:
        return self._skip("mark", mark)

    def _skip(self, kind: str, text: str) -> bool:
        found = self._at < len(self._tokens) and self._tokens[self._at] == _Token(kind, text)
        self._at += found
        return found

    def _expect(self, mark: str) -> None:
        if not self._mark(mark):
            raise _refused(f"the filter lacks a '{mark}'")


_TEXT_TESTS: Final = frozenset({"startswith", "endswith", "contains"})
_OPERATORS: Final[Mapping[str, Operator]] = {one.value: one for one in Operator}
_WORDS: Final[Mapping[str, Value]] = {"true": True, "false": False, "null": None}


def _path(word: str, variable: str | None) -> Path:
    names = tuple(word.split("/"))
    if variable is None:
        return names
    if names[0] != variable:
        raise _refused(f"the filter names '{word[:40]}' where only '{variable[:40]}' is known")
    return names[1:]


def _text_of(token: _Token) -> str:
    return token.text[1:-1].replace("''", "'")


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise _refused(f"'{text[:40]}' is not an instant such as 2026-01-31T12:00:00Z")
    return at


def _refused(detail: str) -> Failure:
    return Failure(FailureKind.INVALID_FILTER, detail)
