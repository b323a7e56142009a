"""What a filter means: its paths checked against an entity's properties, and documents tested by it. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, assert_never

from idplane.graph.filters import (
    AllOf,
    AnyOf,
    Comparison,
    Expression,
    Membership,
    Negation,
    Operator,
    Path,
    Some,
    TextTest,
    Value,
)
from idplane.graph.shapes import EntityType, Kind, Property
from idplane.model.failure import Failure, FailureKind

__all__ = ["checked", "conjuncts", "matches"]


def checked(expression: Expression, entity: EntityType) -> Expression:
    """The expression with its paths spelled as declared.

    Raises `Failure(INVALID_PARAMETER | INVALID_FILTER)` for what the entity has not, or has in another type.
    """
    match expression:
        case AllOf(parts):
            return AllOf(tuple(checked(part, entity) for part in parts))
        case AnyOf(parts):
            return AnyOf(tuple(checked(part, entity) for part in parts))
        case Negation(inner):
            return Negation(checked(inner, entity))
        case Some(path, inner, every_one):
            return _checked_some(path, inner, entity, every_one=every_one)
        case _:
            return _checked_condition(expression, entity)


def _checked_condition(expression: Comparison | Membership | TextTest, entity: EntityType) -> Expression:
    match expression:
        case Comparison(path, _, value):
            names, found = entity.resolve(path)
            _require_value(found, value, names)
            return replace(expression, path=names)
        case Membership(path, values):
            names, found = entity.resolve(path)
            for value in values:
                _require_value(found, value, names)
            return Membership(names, values)
        case TextTest(name, path, text):
            names, found = entity.resolve(path)
            _require_value(found, text, names)
            return TextTest(name, names, text)
        case _:  # pragma: no cover
            assert_never(expression)


def _checked_some(path: Path, inner: Expression | None, entity: EntityType, *, every_one: bool) -> Some:
    names, found = entity.resolve(path)
    if found is not None and found.kind not in (Kind.TEXTS, Kind.OBJECTS):
        raise _refused(f"'{'/'.join(names)}' is not a collection")
    element = found.element if found is not None else None
    return Some(names, checked(inner, element) if inner is not None and element is not None else inner, every_one)


_PYTHON_TYPES: Final[Mapping[Kind, tuple[type, ...]]] = {
    Kind.TEXT: (str,),
    Kind.BOOL: (bool,),
    Kind.NUMBER: (int, float),
    Kind.TIME: (datetime,),
}


def _require_value(found: Property | None, value: Value, names: Path) -> None:
    if found is None or value is None:
        return
    wanted = _PYTHON_TYPES.get(found.kind)
    fits = wanted is not None and isinstance(value, wanted) and not (found.kind is Kind.NUMBER and isinstance(value, bool))
    if not fits:
        raise _refused(f"the filter's condition on '{'/'.join(names) or 'the element'}' does not fit the property's type")


# Asking -----------------------------------------------------------------------------------------------------------------


def conjuncts(expression: Expression | None) -> Sequence[Expression]:
    """The conditions that must all hold, as far as the outermost `and` says so."""
    if expression is None:
        return ()
    return tuple(_every(expression)) if isinstance(expression, AllOf) else (expression,)


def _every(expression: AllOf) -> Iterator[Expression]:
    """The parts of an `and`, those of nested ones too."""
    for part in expression.parts:
        if isinstance(part, AllOf):
            yield from _every(part)
        else:
            yield part


def matches(expression: Expression, document: object) -> bool:
    """Whether a document satisfies the expression. A member that is absent is null."""
    match expression:
        case AllOf(parts):
            return all(matches(part, document) for part in parts)
        case AnyOf(parts):
            return any(matches(part, document) for part in parts)
        case Negation(inner):
            return not matches(inner, document)
        case Some(path, inner, every_one):
            return _some_match(_member(document, path), inner, every_one=every_one)
        case _:
            return _holds(expression, _member(document, expression.path))


def _holds(condition: Comparison | Membership | TextTest, found: object) -> bool:
    match condition:
        case Comparison(_, wanted, value):
            return _compare(found, wanted, value)
        case Membership(_, values):
            return any(_compare(found, Operator.EQ, value) for value in values)
        case TextTest(name, _, text):
            return isinstance(found, str) and _text_test(name, found.casefold(), text.casefold())
        case _:  # pragma: no cover
            assert_never(condition)


def _some_match(found: object, inner: Expression | None, *, every_one: bool) -> bool:
    elements = found if isinstance(found, Sequence) and not isinstance(found, str) else ()
    if inner is None:
        return bool(elements)
    verdicts = (matches(inner, element) for element in elements)
    return all(verdicts) if every_one else any(verdicts)


def _member(document: object, path: Path) -> object:
    found = document
    for name in path:
        if name == "$count":
            return len(found) if isinstance(found, Sequence) else 0
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _text_test(name: str, found: str, text: str) -> bool:
    match name:
        case "startswith":
            return found.startswith(text)
        case "endswith":
            return found.endswith(text)
        case _:
            return text in found


_ORDERED: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    Operator.EQ: operator.eq,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
}


def _compare(found: object, wanted: Operator, value: Value) -> bool:
    if wanted is Operator.NE:
        return not _compare(found, Operator.EQ, value)
    left, right = _comparable(found, value)
    if left is None or right is None:
        return wanted is Operator.EQ and found is None and value is None
    return _ORDERED[wanted](left, right)


def _comparable(found: object, value: Value) -> tuple[object, object]:
    """Both sides in one type that orders, or None twice."""
    match found, value:
        case str(), datetime():
            at = _read_instant(found)
            return (at, value) if at is not None else (None, None)
        case str(), str():
            return found.casefold(), value.casefold()
        case bool(), bool():
            return found, value
        case (bool(), _) | (_, bool()):
            return None, None
        case ((int() | float()), (int() | float())):
            return found, value
        case _:
            return None, None


def _read_instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _refused(detail: str) -> Failure:
    return Failure(FailureKind.INVALID_FILTER, detail)
