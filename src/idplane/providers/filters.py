"""The small part of OData's `$filter` that management clients send: conditions joined by `and`, nothing else.

    eventTimestamp ge 2026-01-01T00:00:00Z and resourceGroupName eq 'web'        values quoted or bare
    atScope() and assignedTo('9f3c...')                                          functions with at most one argument

Which fields and functions a list understands is that list's own business; here is only the grammar. A blank filter is no filter
(the CLI sends `$filter=`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from idplane.model.failure import Failure, FailureKind

__all__ = ["Comparison", "Condition", "FunctionCall", "invalid_filter", "parse_filter"]

_MAX_CONDITIONS = 16

_VALUE = r"'(?:[^']|'')*'|[^\s'()]+"
_CONDITION = re.compile(
    rf"""\s*(?P<name>[A-Za-z][A-Za-z0-9_./]*)
    (?: \s*\(\s* (?: (?P<argument>{_VALUE}) \s* )? \)
      | \s+(?P<operator>[A-Za-z]{{2}})\s+(?P<value>{_VALUE}) )
    \s*""",
    re.VERBOSE,
)
_AND = re.compile(r"and(?=\s)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field operator value`. Field and operator are in lower case, since clients' casing varies; the value is as sent."""

    field: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """`name(argument)`. The name is in lower case; without an argument it is None."""

    name: str
    argument: str | None


Condition: TypeAlias = Comparison | FunctionCall


def parse_filter(text: str | None) -> tuple[Condition, ...]:
    """The conditions that all must hold; raises `Failure(INVALID_FILTER)` for anything outside the grammar."""
    rest = (text or "").strip()
    found: list[Condition] = []
    while rest:
        match = _CONDITION.match(rest)
        if match is None or len(found) == _MAX_CONDITIONS:
            raise invalid_filter(text or "")
        found.append(_condition(match))
        rest = rest[match.end() :]
        joined = _AND.match(rest)
        if rest and joined is None:
            raise invalid_filter(text or "")
        if joined is not None:
            rest = rest[joined.end() :].strip()
            if not rest:
                raise invalid_filter(text or "")
    return tuple(found)


def invalid_filter(text: str) -> Failure:
    """The failure for a filter, or a part of one, that a list does not understand."""
    return Failure(FailureKind.INVALID_FILTER, "it is not one that this list supports", filter=text[:200])


def _condition(match: re.Match[str]) -> Condition:
    name = match["name"].lower()
    if match["operator"] is None:
        return FunctionCall(name, None if match["argument"] is None else _unquoted(match["argument"]))
    return Comparison(name, match["operator"].lower(), _unquoted(match["value"]))


def _unquoted(value: str) -> str:
    return value[1:-1].replace("''", "'") if value.startswith("'") else value
