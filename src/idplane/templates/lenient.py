"""JSON as template files have it: comments, strings over several lines, trailing commas, and the unquoted `template` of the Azure CLI.

`az deployment ... --template-file` pastes the text of the file behind an unquoted member name (control-plane.md section 1 point 2).
What is strict JSON is read by the strict parser, which is faster; this one also tells where in a text a member stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from idplane.templates.problems import TemplateProblem

__all__ = ["locate", "read_lenient"]

_MAX_DEPTH = 64
_SPACE = re.compile(r"(?:[\s\ufeff]+|//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'', re.DOTALL)
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,18})(?P<real>(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?)(?![\w.])")
_WORDS = {"true": True, "false": False, "null": None}
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_RAW_CONTROLS = {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def read_lenient(text: str) -> object:
    """The value of a text; raises `TemplateProblem` (code InvalidRequestContent) with line and position."""
    reader = _Reader(text)
    value = reader.value(0)
    if not reader.at_end():
        raise reader.refused("more text follows the value")
    return value


def locate(text: str, path: Sequence[str | int]) -> tuple[int, int] | None:
    """Line and column, from 1, at which the value under `path` starts; None if there is none or the text cannot be read."""
    reader = _Reader(text)
    try:
        for part in path:
            if not reader.enter(part):
                return None
    except (TemplateProblem, RecursionError):
        return None
    return reader.position()


class _Reader:
    """A cursor over a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def at_end(self) -> bool:
        return self._peek() == ""

    def position(self) -> tuple[int, int]:
        self._peek()
        before = self._text[: self._at]
        return before.count("\n") + 1, self._at - (before.rfind("\n") + 1) + 1

    def refused(self, why: str) -> TemplateProblem:
        line, column = self.position()
        words = f"The request content was invalid and could not be deserialized: '{why}. Line {line}, position {column}.'."
        return TemplateProblem(words, code="InvalidRequestContent")

    def _peek(self) -> str:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at : self._at + 1]

    def _take(self, mark: str) -> None:
        if self._peek() != mark:
            raise self.refused(f"'{mark}' is expected")
        self._at += 1

    def value(self, depth: int) -> object:
        if depth > _MAX_DEPTH:
            raise self.refused(f"it is nested deeper than {_MAX_DEPTH} levels")
        match self._peek():
            case "{":
                return self._object(depth)
            case "[":
                return self._array(depth)
            case '"' | "'":
                return self._string()
            case _:
                return self._scalar()

    def _object(self, depth: int) -> dict[str, object]:
        made: dict[str, object] = {}
        self._take("{")
        while self._peek() != "}":
            name = self._member()
            made[name] = self.value(depth + 1)
            if self._peek() != "}":
                self._take(",")
        self._take("}")
        return made

    def _member(self) -> str:
        mark = self._peek()
        if mark in ('"', "'"):
            name = self._string()
        else:
            match = _NAME.match(self._text, self._at)
            if match is None:
                raise self.refused("the name of a member is expected")
            self._at, name = match.end(), match.group()
        self._take(":")
        return name

    def _array(self, depth: int) -> list[object]:
        made: list[object] = []
        self._take("[")
        while self._peek() != "]":
            made.append(self.value(depth + 1))
            if self._peek() != "]":
                self._take(",")
        self._take("]")
        return made

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise self.refused("a string has no end")
        inner = match.group()[1:-1]
        if match.group()[0] == "'":
            inner = inner.replace("\\'", "'").replace('"', '\\"')
        try:
            value = json.loads('"' + inner.translate(_RAW_CONTROLS) + '"')
        except ValueError as error:
            raise self.refused("a string has an escape that is not valid") from error
        if _UNSTORABLE.search(value):
            raise self.refused("a string holds a character that is not valid text")
        self._at = match.end()
        return str(value)

    def _scalar(self) -> object:
        word = _NAME.match(self._text, self._at)
        if word is not None and word.group() in _WORDS:
            self._at = word.end()
            return _WORDS[word.group()]
        number = _NUMBER.match(self._text, self._at)
        if number is None:
            raise self.refused("a value is expected")
        whole = not number["real"]
        value: int | float = int(number.group()) if whole else float(number.group())
        if (whole and not -(2**63) <= value < 2**63) or abs(value) == float("inf"):
            raise self.refused("a number is out of range")
        self._at = number.end()
        return value

    def enter(self, part: str | int) -> bool:
        """Move to the value of a member or element of the value here; whether it is there."""
        return self._enter_array(part) if isinstance(part, int) else self._enter_object(part)

    def _enter_object(self, wanted: str) -> bool:
        if self._peek() != "{":
            return False
        self._take("{")
        while self._peek() not in ("}", ""):
            if self._member() == wanted:
                return True
            self.value(0)
            if self._peek() == ",":
                self._at += 1
        return False

    def _enter_array(self, wanted: int) -> bool:
        if self._peek() != "[":
            return False
        self._take("[")
        for _ in range(wanted):
            if self._peek() in ("]", ""):
                return False
            self.value(0)
            if self._peek() == ",":
                self._at += 1
        return self._peek() not in ("]", "")
