"""Numeric, logical and comparison functions of the template language."""

from __future__ import annotations

from collections.abc import Mapping

from idplane.templates.builtin import MANY, Arguments, Builtin, table
from idplane.templates.kinds import equal, kind
from idplane.templates.problems import TemplateProblem

__all__ = ["NUMBER_FUNCTIONS"]

_DIGITS = 20


def _whole(it: Arguments, value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise it.refuse("the result is beyond 64 bits.")
    return value


def _divided(it: Arguments, *, remainder: bool) -> int:
    left, right = it.integer(0), it.integer(1)
    if right == 0:
        raise it.refuse("the divisor is zero.")
    quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
    return _whole(it, left - quotient * right if remainder else quotient)


def _int(it: Arguments) -> int:
    value = it.any(0)
    if isinstance(value, float) and abs(value) < 2**63:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if not text.removeprefix("-").isdigit() or not text.isascii() or len(text) > _DIGITS:
        raise it.refuse("the value cannot be converted to a 64-bit integer.")
    return _whole(it, int(text))


def _float(it: Arguments) -> float:
    value = it.any(0)
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or number != number or abs(number) == float("inf"):  # noqa: PLR0124 - only NaN differs from itself
        raise it.refuse("the value cannot be converted to a number.")
    return number


def _extreme(it: Arguments, *, largest: bool) -> int:
    values = it.array(0) if len(it) == 1 and isinstance(it.any(0), list) else it.values
    numbers = Arguments(it.function, values)
    found = [numbers.integer(at) for at in range(len(numbers))]
    if not found:
        raise it.refuse("the array is empty.")
    return max(found) if largest else min(found)


def _order(it: Arguments) -> int:
    left, right = it.any(0), it.any(1)
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    a, b = it.number(0), it.number(1)
    return (a > b) - (a < b)


def _bool(it: Arguments) -> bool:
    value = it.any(0)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value != 0
    if isinstance(value, str) and value.lower() in ("true", "false", "1", "0"):
        return value.lower() in ("true", "1")
    raise it.refuse(f"a value of type '{kind(value)}' cannot be converted to a boolean.")


def _fail(it: Arguments) -> object:
    raise TemplateProblem(it.text(0), code="DeploymentFailed")


NUMBER_FUNCTIONS: Mapping[str, Builtin] = table(
    ("add", 2, 2, lambda it: _whole(it, it.integer(0) + it.integer(1))),
    ("div", 2, 2, lambda it: _divided(it, remainder=False)),
    ("float", 1, 1, _float),
    ("int", 1, 1, _int),
    ("max", 1, MANY, lambda it: _extreme(it, largest=True)),
    ("min", 1, MANY, lambda it: _extreme(it, largest=False)),
    ("mod", 2, 2, lambda it: _divided(it, remainder=True)),
    ("mul", 2, 2, lambda it: _whole(it, it.integer(0) * it.integer(1))),
    ("sub", 2, 2, lambda it: _whole(it, it.integer(0) - it.integer(1))),
    ("bool", 1, 1, _bool),
    ("false", 0, 0, lambda _: False),
    ("true", 0, 0, lambda _: True),
    ("not", 1, 1, lambda it: not it.boolean(0)),
    ("equals", 2, 2, lambda it: equal(it.any(0), it.any(1))),
    ("greater", 2, 2, lambda it: _order(it) > 0),
    ("greaterOrEquals", 2, 2, lambda it: _order(it) >= 0),
    ("less", 2, 2, lambda it: _order(it) < 0),
    ("lessOrEquals", 2, 2, lambda it: _order(it) <= 0),
    ("fail", 1, 1, _fail),
)
