"""Pictures of figures: where each bar stands, in the units of an SVG whose width is 1000. Pure; templates draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["Bar", "Column", "Columns", "Timeline"]

_WIDTH = 1000.0
_ROOM = 0.04
"""Left and right of what a timeline shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One life in a timeline: known from start to end, at work in between."""

    label: str
    kind: str
    start: datetime
    signs: tuple[datetime | None, datetime | None]
    end: datetime


@dataclass(frozen=True, slots=True)
class Placed:
    """A bar in the units of the picture."""

    bar: Bar
    x: str
    width: str
    work_x: str
    work_width: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Lives beside one another, and now."""

    bars: Sequence[Bar]
    now: datetime

    @property
    def start(self) -> datetime:
        """Where the picture begins."""
        return self._edge(-1)

    @property
    def end(self) -> datetime:
        """Where it ends."""
        return self._edge(1)

    @property
    def now_x(self) -> str:
        """Where now is."""
        return _number(self._x(self.now))

    @property
    def placed(self) -> list[Placed]:
        """The bars, where they stand."""
        return [self._place(one) for one in self.bars]

    def _edge(self, side: int) -> datetime:
        first = min([self.now, *(one.start for one in self.bars)])
        last = max([self.now + timedelta(hours=1), *(one.end for one in self.bars)])
        return (first if side < 0 else last) + side * (last - first) * _ROOM

    def _x(self, at: datetime) -> float:
        start, end = self.start, self.end
        return min(_WIDTH, max(0.0, (at - start) / (end - start) * _WIDTH))

    def _place(self, bar: Bar) -> Placed:
        x, end = self._x(bar.start), self._x(max(bar.start, bar.end))
        begins, ends = bar.signs
        work = self._x(begins) if begins else x
        stops = self._x(ends) if ends and begins else (end if begins else work)
        return Placed(bar, _number(x), _number(max(2.0, end - x)), _number(work), _number(max(0.0, stops - work)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One step of time."""

    at: datetime
    good: int
    bad: int


@dataclass(frozen=True, slots=True)
class Stacked:
    """A column in the units of the picture; heights are of 100."""

    column: Column
    x: str
    width: str
    good_y: str
    good_height: str
    bad_y: str
    bad_height: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What went well and what did not, over time."""

    columns: Sequence[Column]

    @property
    def good(self) -> int:
        """In all."""
        return sum(one.good for one in self.columns)

    @property
    def bad(self) -> int:
        """In all."""
        return sum(one.bad for one in self.columns)

    @property
    def top(self) -> int:
        """What the picture's height stands for: a round number."""
        most = max([1, *(one.good + one.bad for one in self.columns)])
        size = int("1".ljust(len(str(most)), "0"))
        return next(step * size for step in (1, 2, 5, 10) if step * size >= most)

    @property
    def stacked(self) -> list[Stacked]:
        """The columns, where they stand."""
        width, top = _WIDTH / max(1, len(self.columns)), self.top
        found = []
        for number, one in enumerate(self.columns):
            good, bad = (max(1.0, count / top * 100) if count else 0.0 for count in (one.good, one.bad))
            place = (number * width + width * 0.1, width * 0.8, 100 - good, good, 100 - good - bad, bad)
            found.append(Stacked(one, *map(_number, place)))
        return found


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
