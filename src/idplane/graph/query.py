"""The OData options of a request, read once and bounded. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from idplane.arm.paging import Paging
from idplane.graph.filters import AllOf, AnyOf, Expression, TextTest, parse_filter
from idplane.graph.matching import checked
from idplane.graph.shapes import EntityType, Kind
from idplane.model.failure import Failure, FailureKind

__all__ = ["ODataQuery", "Sorting", "parse_query"]

_OPTIONS: Final = frozenset({"$filter", "$select", "$top", "$skiptoken", "$count", "$orderby", "$search", "$expand", "$format"})
_IGNORED: Final = frozenset({"api-version", "$format"})
DEFAULT_TOP: Final = 100
MAX_TOP: Final = 999
_MAX_NAMES: Final = 200
_MAX_DIGITS: Final = 9
_SORTABLE: Final = frozenset({Kind.TEXT, Kind.BOOL, Kind.NUMBER, Kind.TIME})
_CLAUSE: Final = re.compile(r'"(?P<name>[A-Za-z]{1,60}):(?P<text>[^"]{1,200})"')
_JOINT: Final = re.compile(r"\s+(AND|OR)\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorting:
    """One property to sort by."""

    name: str
    descending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ODataQuery:
    """What a request asks of a collection or an entity; names are as the entity declares them."""

    filter: Expression | None = None
    """`$search` is part of it."""
    select: tuple[str, ...] | None = None
    top: int = DEFAULT_TOP
    after: str | None = None
    """Where the page starts: what `Rows.after` said, or a cursor of `listing`."""
    count: bool = False
    sorting: tuple[Sorting, ...] = ()


def parse_query(pairs: Sequence[tuple[str, str]], entity: EntityType, *, largest: int = MAX_TOP) -> ODataQuery:
    """Read the options; raises `Failure(INVALID_PARAMETER | INVALID_FILTER)`, and refuses what it does not know rather than ignore it."""
    options = _options(pairs)
    if "$expand" in options:
        raise refused("'$expand' is not supported here")
    return ODataQuery(
        filter=_conditions(options.get("$filter"), options.get("$search"), entity),
        select=_selection(options["$select"], entity) if "$select" in options else None,
        top=_top(options.get("$top"), largest),
        after=_cursor(options.get("$skiptoken")),
        count=_flag(options.get("$count", "false")),
        sorting=_sorting(options["$orderby"], entity) if "$orderby" in options else (),
    )


def _options(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        key = key if key.startswith("$") or f"${key}" not in _OPTIONS else f"${key}"
        if key in found or (key.startswith("$") and key not in _OPTIONS):
            raise refused(f"the query option '{name[:40]}' is repeated or not known")
        if key not in _IGNORED:
            found[key] = value
    return found


def _conditions(filter_text: str | None, search: str | None, entity: EntityType) -> Expression | None:
    parts = []
    if filter_text is not None:
        parts.append(checked(parse_filter(filter_text), entity))
    if search is not None:
        parts.append(checked(_searched(search), entity))
    return AllOf(tuple(parts)) if len(parts) > 1 else next(iter(parts), None)


def _searched(text: str) -> Expression:
    """`"displayName:word"` clauses joined by one kind of joint: what Graph's own examples have."""
    pieces = _JOINT.split(text.strip())
    matched = [_CLAUSE.fullmatch(piece.strip()) for piece in pieces[::2]]
    joints = set(pieces[1::2])
    if len(joints) > 1 or len(matched) > _MAX_NAMES or any(one is None for one in matched):
        raise Failure(FailureKind.INVALID_FILTER, "'$search' must be like '\"displayName:text\"'")
    tests = tuple(TextTest("contains", (one["name"],), one["text"]) for one in matched if one is not None)
    if len(tests) == 1:
        return tests[0]
    return AnyOf(tests) if joints == {"OR"} else AllOf(tests)


def _selection(text: str, entity: EntityType) -> tuple[str, ...] | None:
    names = [name.strip() for name in text.split(",")]
    if len(names) > _MAX_NAMES or not all(names):
        raise refused("'$select' must be a list of properties")
    if "*" in names:
        return None
    return tuple(dict.fromkeys(entity.spelled(name) for name in names))


def _top(text: str | None, largest: int) -> int:
    if text is None:
        return min(DEFAULT_TOP, largest)
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and 0 < int(text) <= largest):
        raise refused(f"'$top' must be a number from 1 to {largest}")
    return int(text)


def _cursor(text: str | None) -> str | None:
    try:
        return Paging.of(None, text).after
    except Failure as failure:
        raise refused(failure.detail) from failure


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise refused("'$count' must be true or false")
    return text.lower() == "true"


def _sorting(text: str, entity: EntityType) -> tuple[Sorting, ...]:
    found = []
    for clause in text.split(","):
        words = clause.split()
        if not 0 < len(words) <= 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):  # noqa: PLR2004 - a name and a direction
            raise refused("'$orderby' must be properties, each with 'asc' or 'desc' behind it or nothing")
        name = entity.spelled(words[0])
        if name in entity.properties and entity.properties[name].kind not in _SORTABLE:
            raise refused(f"'$orderby' cannot sort by '{name}'")
        found.append(Sorting(name=name, descending=words[-1].lower() == "desc"))
    return tuple(found)


def refused(detail: str) -> Failure:
    """The refusal of a query option, in the words that Graph uses for all of them."""
    return Failure(FailureKind.INVALID_PARAMETER, detail, code="BadRequest")
