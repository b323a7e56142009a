"""A page of a log, or a file of it: what the log's columns select, and what is sifted from that.

One column selects, the narrowest that was named: so a page looks at neighbours in one index, whatever else was asked for. What no column
knows is sifted here, a bounded number of records a page; then a page may be short, even empty, and says how far it looked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from idplane.model.failure import Failure, FailureKind
from idplane.ports.store import ColumnValue, Log, Logged, Order, Reads
from idplane.web.portal.spans import Span

__all__ = ["LOG_PAGE", "Found", "LogSearch", "Sifting", "event_at", "place_of_text"]

T = TypeVar("T")

LOG_PAGE: Final = 50
_BATCH: Final = 250
_DIGITS: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifting:
    """How much one answer holds, and how much it may look at."""

    limit: int = LOG_PAGE
    looks: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Generic[T]):
    """What a search has found."""

    rows: tuple[Logged[T], ...]
    after: int | None
    """The position behind which it goes on; None at the end."""
    looked: int
    """At how many records."""
    until: Logged[T] | None
    """The last record that was looked at."""

    @property
    def short(self) -> bool:
        """Whether it stopped before it was full, though there is more to look at."""
        return self.after is not None and len(self.rows) < LOG_PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSearch(Generic[T]):
    """What to look for: values of columns, tests for the rest, and what may be shown."""

    store: Reads
    log: Log[T]
    span: Span
    narrowest: tuple[str, ...]
    """The columns that have an index, the narrowest first."""
    columns: Mapping[str, ColumnValue] = field(default_factory=dict)
    tests: tuple[Callable[[T], bool], ...] = ()
    keep: Callable[[T], Awaitable[bool]] | None = None
    """Whether a record may be shown to the person."""

    async def run(self, after: int | None = None, sifting: Sifting | None = None) -> Found[T]:
        """The newest records behind a position."""
        bounds = sifting or Sifting()
        rows: list[Logged[T]] = []
        last: Logged[T] | None = None
        looked, position = 0, after
        while looked < bounds.looks:
            # As a task of its own, since a long search is not the only one who wants this process.
            batch = await asyncio.create_task(
                self._batch(position, _BATCH if self.tests or self.keep else min(_BATCH, bounds.limit + 1))
            )
            for one in batch:
                if await self._wanted(one.event):
                    if len(rows) == bounds.limit:
                        return Found(rows=tuple(rows), after=rows[-1].position, looked=looked, until=last)
                    rows.append(one)
                looked, last, position = looked + 1, one, one.position
            if len(batch) < _BATCH and not await self._batch(position, 1):
                return Found(rows=tuple(rows), after=None, looked=looked, until=last)
        return Found(rows=tuple(rows), after=position, looked=looked, until=last)

    async def _batch(self, position: int | None, size: int) -> tuple[Logged[T], ...]:
        chosen = next((name for name in self.narrowest if name in self.columns), None)
        return await self.store.read_log(
            self.log,
            where={} if chosen is None else {chosen: self.columns[chosen]},
            since=self.span.lower,
            until=self.span.upper,
            position=position,
            limit=size,
        )

    async def _wanted(self, event: T) -> bool:
        in_columns = all(self.log.columns[name](event) == value for name, value in self.columns.items())
        if not in_columns or not all(test(event) for test in self.tests):
            return False
        return self.keep is None or await self.keep(event)


async def event_at(store: Reads, log: Log[T], text: str) -> Logged[T] | None:
    """The record at a position, as an address names it."""
    position = place_of_text(text)
    if not position:
        return None
    found = await store.read_log(log, position=position - 1, order=Order.OLDEST_FIRST, limit=1)
    return found[0] if found and found[0].position == position else None


def place_of_text(text: str) -> int | None:
    """The position in an address, none for no text; raises `Failure(INVALID_PARAMETER)`."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise Failure(FailureKind.INVALID_PARAMETER, "the address names no place in the log", parameter="after")
    return int(text)
