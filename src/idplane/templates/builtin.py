"""How a built-in function is declared: its name, how many arguments it takes, and a pure implementation over their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from idplane.templates.kinds import HELP, wrong_type
from idplane.templates.problems import TemplateProblem

__all__ = ["MANY", "Arguments", "Builtin", "table"]

MANY = 10_000
"""For functions that take any number of arguments; the length of an expression is the bound."""


class Arguments:
    """The evaluated arguments of one call, asked for by position (from 0) and type; raises `TemplateProblem`."""

    __slots__ = ("function", "values")

    def __init__(self, function: str, values: list[object]) -> None:
        self.function = function
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def refuse(self, words: str) -> TemplateProblem:
        """A refusal with the function's name in front and a link behind."""
        usage = HELP.format(name=self.function.lower())
        return TemplateProblem(f"Unable to evaluate template language function '{self.function}': {words} {usage}")

    def any(self, at: int, default: object = None) -> object:
        """Whatever is there."""
        return self.values[at] if at < len(self.values) else default

    def text(self, at: int, default: str | None = None) -> str:
        """A string."""
        if at >= len(self.values) and default is not None:
            return default
        value = self.values[at]
        if not isinstance(value, str):
            raise wrong_type(self.function, at + 1, "String", value)
        return value

    def integer(self, at: int, default: int | None = None) -> int:
        """A whole number."""
        if at >= len(self.values) and default is not None:
            return default
        value = self.values[at]
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(self.function, at + 1, "Integer", value)
        return value

    def number(self, at: int) -> int | float:
        """A number."""
        value = self.values[at]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(self.function, at + 1, "Integer", value)
        return value

    def boolean(self, at: int) -> bool:
        """True or false."""
        value = self.values[at]
        if not isinstance(value, bool):
            raise wrong_type(self.function, at + 1, "Boolean", value)
        return value

    def array(self, at: int) -> list[object]:
        """An array."""
        value = self.values[at]
        if not isinstance(value, list):
            raise wrong_type(self.function, at + 1, "Array", value)
        return value

    def members(self, at: int) -> Mapping[str, object]:
        """An object."""
        value = self.values[at]
        if not isinstance(value, Mapping):
            raise wrong_type(self.function, at + 1, "Object", value)
        return value

    def sized(self, at: int) -> str | list[object]:
        """A string or an array."""
        value = self.values[at]
        if not isinstance(value, str | list):
            raise wrong_type(self.function, at + 1, "String, Array", value)
        return value


@dataclass(frozen=True, slots=True)
class Builtin:
    """One function; `least` and `most` arguments."""

    name: str
    least: int
    most: int
    run: Callable[[Arguments], object]


def table(*builtins: tuple[str, int, int, Callable[[Arguments], object]]) -> Mapping[str, Builtin]:
    """Functions by lower-case name."""
    return {name.lower(): Builtin(name, least, most, run) for name, least, most, run in builtins}
