"""The order of a page that is not the keys': where a record stands in it, and the text that says so.

A place holds what was sorted by and the key, so that a page starts behind it without looking for the record it was made from: that one
may have gone, or have another name by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from idplane.model.failure import Failure, FailureKind

__all__ = ["Place", "Rank", "Sort"]

Rank: TypeAlias = tuple[bool, str | int | None, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: its value in the column that is sorted by, and its key."""

    value: str | int | None
    key: str

    def __str__(self) -> str:
        match self.value:
            case None:
                return f"n:{self.key}"
            case int():
                return f"i{self.value}:{self.key}"
            case text:
                return f"t{len(text)}:{text}{self.key}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """What `str` gave. Raises `Failure(INVALID_PARAMETER)` for a text that no place has: it may come from anybody."""
        head, colon, rest = text.partition(":")
        kind, number = head[:1], head[1:]
        if not colon or kind not in {"n", "i", "t"} or (kind == "n") != (not number):
            raise _no_place()
        if kind == "n":
            return cls(None, rest)
        if len(number) > 20 or not (number.removeprefix("-") if kind == "i" else number).isdecimal():  # noqa: PLR2004 - the digits of 64 bits
            raise _no_place()
        if kind == "i":
            return cls(int(number), rest)
        if int(number) > len(rest):
            raise _no_place()
        return cls(rest[: int(number)], rest[int(number) :])


@dataclass(frozen=True, slots=True)
class Sort:
    """By a column and in it by key, both in the same direction; texts are compared by code point.

    Records that have nothing in the column come last, whatever the direction.
    """

    column: str
    descending: bool = False

    def rank(self, place: Place) -> Rank:
        """What to compare places by; with `descending`, the larger one comes first."""
        return (place.value is None) != self.descending, place.value, place.key

    def follows(self, place: Place, other: Place) -> bool:
        """Whether a place comes behind another."""
        one, two = self.rank(place), self.rank(other)
        return one < two if self.descending else one > two


def _no_place() -> Failure:
    return Failure(FailureKind.INVALID_PARAMETER, "no page starts there: go back to the first one")
