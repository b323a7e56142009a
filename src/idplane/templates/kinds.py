"""JSON values as the template language sees them: the words for their types, equality, access without regard to case."""

from __future__ import annotations

import json
from collections.abc import Mapping

from idplane.templates.problems import TemplateProblem

__all__ = ["HELP", "as_text", "equal", "kind", "member", "plain", "wrong_type"]

HELP = "Please see https://aka.ms/arm-functions#{name} for usage details."


def kind(value: object) -> str:
    """The type's word in error messages."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "Boolean"
    for python, word in ((str, "String"), (int, "Integer"), (float, "Float"), (list, "Array"), (Mapping, "Object")):
        if isinstance(value, python):
            return word
    return type(value).__name__


def equal(left: object, right: object) -> bool:
    """Deep equality: strings by case, true is not 1, 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(equal(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return left == right


def member(value: Mapping[str, object], name: str) -> tuple[bool, object]:
    """Whether an object has a member, whatever its case, and what it holds."""
    if name in value:
        return True, value[name]
    folded = name.lower()
    for key, item in value.items():
        if key.lower() == folded:
            return True, item
    return False, None


def as_text(value: object) -> str:
    """What `string` and `concat` make of a value."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, Mapping | list):
        return json.dumps(plain(value), separators=(",", ":"), ensure_ascii=False)
    return str(value)


def plain(value: object) -> object:
    """The value with ordinary dicts and lists all the way down."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def wrong_type(function: str, position: int, expected: str, value: object) -> TemplateProblem:
    """The refusal of an argument; `position` counts from 1."""
    ordinal = ("first", "second", "third", "fourth")[position - 1] if position <= 4 else f"{position}th"  # noqa: PLR2004 - words for so many
    return TemplateProblem(
        f"The template language function '{function}' expects its {ordinal} parameter to be of type '{expected}'. "
        f"The provided value is of type '{kind(value)}'. {HELP.format(name=function.lower())}"
    )
