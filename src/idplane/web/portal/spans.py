"""The stretch of time that a log page shows: a usual one up to now, or what somebody wrote. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import microseconds

__all__ = ["SPANS", "Span", "span_of"]

_LENGTHS: Final = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
SPANS: Final = (
    ("1h", "Last hour"),
    ("24h", "Last 24 hours"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
    ("all", "All that is kept"),
    ("own", "From … to …"),
)
"""What can be chosen, and its label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From one instant up to another, either of which may be open."""

    name: str
    """As chosen."""
    since: datetime | None
    until: datetime | None
    start: str = ""
    end: str = ""
    """As somebody wrote them."""

    @property
    def lower(self) -> int | None:
        """The first microsecond of it."""
        return None if self.since is None else microseconds(self.since)

    @property
    def upper(self) -> int | None:
        """The first microsecond behind it."""
        return None if self.until is None else microseconds(self.until)

    @property
    def goes_on(self) -> bool:
        """Whether what happens from now on belongs to it."""
        return self.until is None


def span_of(name: str, start: str, end: str, now: datetime, usual: str = "24h") -> Span:
    """The stretch that an address names; raises `Failure(INVALID_PARAMETER)`. With a start or an end it is one's own, whatever its name.

    Without any of them it is the usual one.
    """
    if start or end:
        return Span(name="own", since=_instant(start, "from"), until=_instant(end, "to"), start=start, end=end)
    chosen = name if name in _LENGTHS or name in ("all", "own") else usual
    length = _LENGTHS.get(chosen)
    return Span(name=chosen, since=None if length is None else now - length, until=None)


def _instant(text: str, parameter: str) -> datetime | None:
    """A time in UTC, unless it says otherwise."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        microseconds(at)
    except (ValueError, OverflowError) as error:
        words = f"'{text[:60]}' is no time: write one such as 2026-11-21T16:30, in UTC"
        raise Failure(FailureKind.INVALID_PARAMETER, words, parameter=parameter) from error
    return at
