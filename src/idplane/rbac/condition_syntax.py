"""Reads a condition's text, version 2.0 of the language (control-plane.md section 9).

    condition  := part { AND part } | part { OR part }                     AND and OR together need parentheses
    part       := (NOT | !) part | ( condition ) | predicate
    predicate  := ActionMatches{'pattern'} | SubOperationMatches{'name'} | Exists attribute
                | operand [set function :] operator operand
    operand    := attribute | literal | { literal, ... }
    literal    := 'text' | whole number | true | false | GUID
    attribute  := @Resource[namespace/type:name] | @Request[...] | @Principal[...] | @Environment[...]

`&&` and `||` are AND and OR. Words are read without regard to case, texts with it. A text cannot hold a quote; in the patterns of
`Like` a backslash takes a star's or question mark's meaning away. Text, nesting and with them the work are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from idplane.model.attributes import AttributeValue
from idplane.rbac.condition_nodes import (
    ActionMatches,
    All,
    Any,
    Attribute,
    Comparison,
    Exists,
    Literals,
    Node,
    Not,
    Operand,
)
from idplane.rbac.condition_operators import OPERATORS, SET_FUNCTIONS, Operator, Read, SetFunction
from idplane.rbac.patterns import ActionPattern

__all__ = ["MAX_CONDITION", "ConditionProblem", "read_condition"]

MAX_CONDITION = 8192
"""Bytes of a condition (control-plane.md section 7.3)."""
_MAX_DEPTH = 64

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    | (?P<text>'[^']*')
    | (?P<attribute>@[A-Za-z]{1,20}\[[^\[\]]{1,512}\])
    | (?P<guid>[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![\w-]))
    | (?P<number>-?[0-9]{1,18}(?![\w.-]))
    | (?P<word>[A-Za-z][A-Za-z0-9]*(?::[A-Za-z]+)?)
    | (?P<sign>&&|\|\||[(){},!])""",
    re.VERBOSE,
)
_NAMED = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(?P<own>:[^<>$&:]{1,256}(?:<\$key_case_sensitive\$>)?|&\$keys\$&)?")
_CASE_SENSITIVE = "<$key_case_sensitive$>"
_PRINCIPAL = re.compile(r"microsoft\.directory/customsecurityattributes/id:[a-z0-9_]{1,128}")
_ENVIRONMENT = frozenset(
    {"isprivatelink", "utcnow", "microsoft.network/privateendpoints", "microsoft.network/virtualnetworks/subnets"}
)
_SUB_OPERATION = Attribute("request", "suboperation")


class ConditionProblem(Exception):  # noqa: N818 - what is wrong with a text, as `TemplateProblem` is with a template
    """A text that is no condition: what is wrong, and at which character, counted from 1."""

    def __init__(self, words: str, position: int) -> None:
        super().__init__(f"{words} at character {position}")
        self.words = words
        self.position = position


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        return self.text.lower()


def read_condition(text: str) -> Node:
    """The condition's tree; raises `ConditionProblem`."""
    if len(text) > MAX_CONDITION or len(text.encode("utf-8", "replace")) > MAX_CONDITION:
        raise ConditionProblem(f"the condition is longer than {MAX_CONDITION} bytes", MAX_CONDITION)
    reader = _Reader(text, _tokens(text))
    node = reader.condition(0)
    if (left := reader.peek()) is not None:
        raise ConditionProblem(f"'{left.text[:40]}' is not expected", left.at)
    return node


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ConditionProblem(f"'{text[at]}' is not expected", at + 1)
        if match.lastgroup != "space":
            found.append(_Token(match.lastgroup or "", match[0], at + 1))
        at = match.end()
    return found


class _Reader:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str, tokens: Sequence[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._end = len(text) + 1
        self._next = 0

    def peek(self) -> _Token | None:
        """The next token, if there is one."""
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def condition(self, depth: int) -> Node:
        """Parts joined by one kind of word."""
        if depth > _MAX_DEPTH:
            raise ConditionProblem(f"parentheses are nested deeper than {_MAX_DEPTH} levels", self._position())
        parts = [self._part(depth)]
        joined: str | None = None
        while (word := self._joint()) is not None:
            if joined not in {None, word}:
                raise ConditionProblem("AND and OR are mixed: parentheses must say which comes first", self._position())
            joined = word
            self._next += 1
            parts.append(self._part(depth))
        if len(parts) == 1:
            return parts[0]
        return All(tuple(parts)) if joined == "and" else Any(tuple(parts))

    def _joint(self) -> str | None:
        token = self.peek()
        if token is None:
            return None
        return {"and": "and", "&&": "and", "or": "or", "||": "or"}.get(token.word)

    def _part(self, depth: int) -> Node:
        token = self.peek()
        if token is None:
            raise ConditionProblem("an expression is missing", self._end)
        if token.word in {"not", "!"}:
            if depth > _MAX_DEPTH:
                raise ConditionProblem(f"negations are nested deeper than {_MAX_DEPTH} levels", token.at)
            self._next += 1
            return Not(self._part(depth + 1))
        if token.text == "(":
            self._next += 1
            inner = self.condition(depth + 1)
            self._take(")")
            return inner
        return self._predicate(token)

    def _predicate(self, token: _Token) -> Node:
        found = self._read_predicate(token)
        last = self._tokens[self._next - 1]
        return replace(found, text=self._text[token.at - 1 : last.at - 1 + len(last.text)])

    def _read_predicate(self, token: _Token) -> ActionMatches | Comparison | Exists:
        match token.word:
            case "actionmatches":
                self._next += 1
                return ActionMatches(ActionPattern(self._braced_text()))
            case "suboperationmatches":
                self._next += 1
                name = Literals((self._braced_text(),))
                return Comparison(_SUB_OPERATION, OPERATORS["stringequalsignorecase"], SET_FUNCTIONS["foranyofanyvalues"], name)
            case "exists":
                self._next += 1
                return Exists(self._attribute())
            case _:
                return self._comparison()

    def _comparison(self) -> Comparison:
        left_at = self._position()
        left = self._operand()
        function, operator = self._operator()
        right_at = self._position()
        right = self._operand()
        if isinstance(left, Literals) and isinstance(right, Literals):
            raise ConditionProblem("a comparison needs an attribute", left_at)
        for side, at, read in ((left, left_at, operator.read_left), (right, right_at, operator.read_right)):
            if isinstance(side, Literals):
                _check(side, operator, read, at, single=function is None)
        return Comparison(left, operator, function, right)

    def _operator(self) -> tuple[SetFunction | None, Operator]:
        token = self._any("an operator")
        prefix, _, name = token.word.rpartition(":")
        operator, function = OPERATORS.get(name), SET_FUNCTIONS.get(prefix)
        if token.kind != "word" or operator is None or (prefix and function is None):
            raise ConditionProblem(f"'{token.text[:60]}' is not an operator", token.at)
        return function, operator

    def _operand(self) -> Operand:
        token = self.peek()
        if token is not None and token.kind == "attribute":
            return self._attribute()
        if token is None or token.text != "{":
            return Literals((self._literal(),))
        self._next += 1
        values = [self._literal()]
        while (token := self.peek()) is not None and token.text == ",":
            self._next += 1
            values.append(self._literal())
        self._take("}")
        return Literals(tuple(values))

    def _literal(self) -> AttributeValue:
        token = self._any("a value")
        if token.kind == "text":
            return token.text[1:-1]
        if token.kind == "number":
            return int(token.text)
        if token.kind == "guid":
            return token.text.lower()
        if token.word in {"true", "false"}:
            return token.word == "true"
        raise ConditionProblem(f"'{token.text[:60]}' is not a value", token.at)

    def _attribute(self) -> Attribute:
        token = self._any("an attribute")
        if token.kind != "attribute":
            raise ConditionProblem(f"'{token.text[:60]}' is not an attribute", token.at)
        source, _, rest = token.text[1:-1].partition("[")
        name = _name(rest.strip())
        known = {
            "resource": name is not None,
            "request": name is not None,
            "principal": name is not None and _PRINCIPAL.fullmatch(name) is not None,
            "environment": name in _ENVIRONMENT,
        }
        if name is None or not known.get(source.lower(), False):
            raise ConditionProblem(f"'{token.text[:80]}' is not a known attribute", token.at)
        return Attribute(source.lower(), name)

    def _braced_text(self) -> str:
        self._take("{")
        token = self._any("a text")
        text = token.text[1:-1]
        if token.kind != "text" or not text.strip():
            raise ConditionProblem("a text in quotes is needed", token.at)
        self._take("}")
        return text

    def _any(self, wanted: str) -> _Token:
        token = self.peek()
        if token is None:
            raise ConditionProblem(f"{wanted} is missing", self._end)
        self._next += 1
        return token

    def _take(self, sign: str) -> None:
        token = self._any(f"'{sign}'")
        if token.text != sign:
            raise ConditionProblem(f"'{sign}' is expected, not '{token.text[:40]}'", token.at)

    def _position(self) -> int:
        token = self.peek()
        return self._end if token is None else token.at


def _name(text: str) -> str | None:
    """An attribute's name as attributes are looked up by it: in lower case, but for a tag's key that must be met exactly."""
    found = _NAMED.fullmatch(text)
    if found is None:
        return None
    if text.endswith(_CASE_SENSITIVE):
        own = found["own"]
        return text[: -len(own)].lower() + own
    return text.lower()


def _check(side: Literals, operator: Operator, read: Read, at: int, *, single: bool) -> None:
    """Values that the operator could never compare are a mistake in the text."""
    if single and len(side.given) != 1:
        raise ConditionProblem(f"{operator.name} compares single values: sets need a function such as ForAnyOfAnyValues", at)
    for value in side.given:
        if read(value) is None:
            raise ConditionProblem(f"{operator.name} compares {operator.kind}, not {str(value)[:40]!r}", at)
