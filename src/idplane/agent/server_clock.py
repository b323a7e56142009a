"""The servers' time, as far as it is known: what an agent signs and judges by.

A host's clock may be wrong, and may be set while the agent runs; the proofs that it signs, and the tokens that it keeps, are judged by the
servers. So each answer's date anchors this clock, and from there elapsed time counts. Where the host's wall clock went further than its
monotonic one since then, the machine may have been asleep, and the later of the two counts: what may have expired is not served.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from idplane.ports.world import Clock

__all__ = ["ServerClock"]

_TOLERANCE: Final = timedelta(seconds=2)
"""A date has no fraction, and an answer takes a moment: what lies within is no reason to move."""


class ServerClock:
    """A `Clock` over the host's own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._anchor: tuple[datetime, datetime, float] | None = None
        """The servers' time, the wall clock and the monotonic one at the last correction."""
        self.corrected = 0
        """How often the servers' time was found to be another one."""

    def now(self) -> datetime:
        """The servers' time; this host's own before any server was heard."""
        wall = self._clock.now()
        if self._anchor is None:
            return wall
        there, then, at = self._anchor
        return there + max(wall - then, timedelta(seconds=self._clock.monotonic() - at))

    def monotonic(self) -> float:
        """The host's."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """The host's."""
        await self._clock.sleep(seconds)

    def heard(self, date: datetime) -> None:
        """A server said that it is this time now."""
        if abs(date - self.now()) > _TOLERANCE:
            self.corrected += 1
            self._anchor = (date, self._clock.now(), self._clock.monotonic())
        else:
            self._anchor = (self.now(), self._clock.now(), self._clock.monotonic())
