"""Template expressions: `[concat(parameters('a'), '-', copyIndex())]` to a tree, and back.

A string that starts with `[` and ends with `]` is an expression, unless it starts with `[[`: that stands for a literal string with one
bracket less. Inside, strings are in single quotes, which are doubled to mean themselves.

    expression := primary ( '.' ['?'] name | '[' ['?'] expression ']' )*
    primary    := string | integer | [namespace '.'] name '(' [expression (',' expression)*] ')'
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TypeAlias

from idplane.templates.limits import MAX_DEPTH, MAX_EXPRESSION
from idplane.templates.problems import TemplateProblem

__all__ = [
    "Call",
    "Index",
    "Member",
    "Node",
    "Number",
    "Text",
    "calls",
    "is_expression",
    "parse",
    "unescaped",
]

_TOKEN = re.compile(
    r"""(?P<string>'(?:[^']|'')*')
      | (?P<number>-?[0-9]+)
      | (?P<name>[A-Za-z_$][A-Za-z0-9_$]*)
      | (?P<mark>[()\[\].,?])
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"[ \t\r\n]*")
_MARKS = {
    "(": "LeftParenthesis",
    ")": "RightParenthesis",
    "[": "LeftSquareBracket",
    "]": "RightSquareBracket",
    ".": "Dot",
    ",": "Comma",
    "?": "QuestionMark",
}
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_DIGITS = 19


@dataclass(frozen=True, slots=True)
class Text:
    """A string literal."""

    value: str


@dataclass(frozen=True, slots=True)
class Number:
    """An integer literal."""

    value: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; `namespace` is set for user-defined functions."""

    name: str
    arguments: tuple[Node, ...]
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """`target.name`; `safe` (`.?`) gives null for what is not there."""

    target: Node
    name: str
    safe: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """`target[index]`; `safe` (`[?`) gives null for what is not there."""

    target: Node
    index: Node
    safe: bool = False


Node: TypeAlias = Text | Number | Call | Member | Index


def is_expression(text: str) -> bool:
    """Whether a string of a template is an expression rather than a literal."""
    return text.startswith("[") and text.endswith("]") and not text.startswith("[[")


def unescaped(text: str) -> str:
    """The value of a string that is no expression."""
    return text[1:] if text.startswith("[[") and text.endswith("]") else text


@functools.lru_cache(maxsize=512)
def parse(text: str) -> Node:
    """The tree of an expression in its brackets; raises `TemplateProblem`."""
    if len(text) > MAX_EXPRESSION:
        raise TemplateProblem(
            f"The language expression length limit exceeded. Limit: '{MAX_EXPRESSION}' and actual: '{len(text)}'."
        )
    reader = _Reader(text[1:-1])
    node = reader.expression(0)
    if reader.kind != "EndOfData":
        raise reader.unexpected("EndOfData")
    return node


def calls(node: Node) -> list[Call]:
    """Every call in a tree, outermost first."""
    found: list[Call] = []
    stack: list[Node] = [node]
    while stack:
        one = stack.pop()
        if isinstance(one, Call):
            found.append(one)
            stack.extend(reversed(one.arguments))
        elif isinstance(one, Member):
            stack.append(one.target)
        elif isinstance(one, Index):
            stack.extend((one.index, one.target))
    return found


class _Reader:
    """A cursor over the tokens of one expression; one token is looked at at a time."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.kind = ""
        self._value = ""
        self._advance()

    def _advance(self) -> None:
        at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # matches the empty string, too
        if at >= len(self._text):
            self._at, self.kind, self._value = at, "EndOfData", ""
            return
        match = _TOKEN.match(self._text, at)
        if match is None:
            words = f"Unable to parse language expression '{_shown(self._text)}': unexpected character at position '{at}'"
            raise TemplateProblem(f"{words}. Please see https://aka.ms/arm-functions for usage details.")
        self._at = match.end()
        self._value = match.group()
        names = {"string": "StringLiteral", "number": "Integer", "name": "Identifier"}
        self.kind = names.get(match.lastgroup or "") or _MARKS[self._value]

    def unexpected(self, expected: str) -> TemplateProblem:
        words = (
            f"Unable to parse language expression '{_shown(self._text)}': expected token '{expected}' and actual '{self.kind}'"
        )
        return TemplateProblem(f"{words}.")

    def _take(self, kind: str) -> str:
        if self.kind != kind:
            raise self.unexpected(kind)
        value = self._value
        self._advance()
        return value

    def _taken(self, kind: str) -> bool:
        if self.kind != kind:
            return False
        self._advance()
        return True

    def expression(self, depth: int) -> Node:
        node = self._primary(depth)
        while self.kind in ("Dot", "LeftSquareBracket"):
            depth += 1
            _bound(depth)
            if self._taken("Dot"):
                safe = self._taken("QuestionMark")
                node = Member(node, self._take("Identifier"), safe)
            else:
                self._advance()
                safe = self._taken("QuestionMark")
                node = Index(node, self.expression(depth + 1), safe)
                self._take("RightSquareBracket")
        return node

    def _primary(self, depth: int) -> Node:
        _bound(depth)
        if self.kind == "StringLiteral":
            return Text(self._take("StringLiteral")[1:-1].replace("''", "'"))
        if self.kind == "Integer":
            return _number(self._take("Integer"))
        return self._call(depth)

    def _call(self, depth: int) -> Node:
        name, namespace = self._take("Identifier"), None
        if self._taken("Dot"):
            namespace, name = name, self._take("Identifier")
        self._take("LeftParenthesis")
        arguments: list[Node] = []
        if self.kind != "RightParenthesis":
            arguments.append(self.expression(depth + 1))
            while self._taken("Comma"):
                arguments.append(self.expression(depth + 1))
        self._take("RightParenthesis")
        return Call(name, tuple(arguments), namespace)


def _number(digits: str) -> Number:
    if len(digits.lstrip("-")) > _DIGITS or not -(2**63) <= int(digits) < 2**63:
        raise TemplateProblem(f"The number '{_shown(digits)}' is beyond 64 bits.")
    return Number(int(digits))


def _bound(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TemplateProblem(f"A language expression is nested deeper than {MAX_DEPTH} levels.")


def _shown(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "..."  # noqa: PLR2004 - enough to recognise it by
