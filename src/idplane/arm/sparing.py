"""Which refusals have a record of their own, where whoever proves nothing decides how many there are.

A log in which strangers write as fast as they can send is soon full, and says nothing. So each address, and all together, have records of
their own while they are few; what goes beyond is only counted (`audit.refused`).
"""

from __future__ import annotations

from idplane.arm.buckets import Buckets, Claim, Shortage
from idplane.model.calls import Call
from idplane.model.rates import STRANGERS_RECORDS
from idplane.ports.world import Clock

__all__ = ["Sparing"]


class Sparing:
    """Remembers how many records strangers have caused lately, for a bounded number of addresses."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets = Buckets()

    def has_room(self, call: Call) -> bool:
        """Whether this refusal has a record of its own; if so, there is one fewer for the next."""
        rates = STRANGERS_RECORDS
        claims = (Claim(("all",), rates.altogether), Claim(("network", call.network), rates.address))
        return not isinstance(self._buckets.take(claims, self._clock.monotonic()), Shortage)
