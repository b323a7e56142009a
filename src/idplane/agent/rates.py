"""How often one machine's metadata service may be asked about identities (control-plane.md section 11): by rate, and how many at once.

All listeners of one resource share its counts, whatever runs they belong to.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any
from weakref import WeakValueDictionary

from idplane.agent.replies import Reply
from idplane.model.failure import Failure, FailureKind
from idplane.model.rates import MetadataRates
from idplane.ports.world import Clock

__all__ = ["Gate", "Gates"]

_WORDS = "Temporarily throttled, too many requests"


class Gate:
    """The counts of one resource."""

    def __init__(self, rates: MetadataRates, clock: Clock) -> None:
        self._rates = rates
        self._clock = clock
        self._left = float(rates.requests.most)
        self._at = clock.now().timestamp()
        self._under_way = 0

    def admit(self) -> None:
        """Count a request; raises `Failure(THROTTLED)`."""
        rate, now = self._rates.requests, self._clock.now().timestamp()
        # A clock that was set back refills nothing, and is followed, so that it refills again.
        self._left = min(float(rate.most), self._left + max(0.0, now - self._at) * rate.per_second)
        self._at = now
        if self._left < 1 or self._under_way >= self._rates.at_once:
            raise Failure(FailureKind.THROTTLED, _WORDS)
        self._left -= 1

    async def during(self, answering: Coroutine[Any, Any, Reply]) -> Reply:
        """An admitted request whose answer takes time: one of those under way."""
        self._under_way += 1
        try:
            return await answering
        finally:
            self._under_way -= 1


class Gates:
    """The gates of a machine's agent. Without rates there are none."""

    def __init__(self, rates: MetadataRates | None, clock: Clock) -> None:
        self._rates = rates
        self._clock = clock
        self._gates: WeakValueDictionary[str, Gate] = WeakValueDictionary()

    def of(self, host: str) -> Gate | None:
        """The gate of a resource, by its id's key. It lives as long as a listener of the resource has it."""
        if self._rates is None:
            return None
        gate = self._gates.get(host)
        if gate is None:
            gate = self._gates[host] = Gate(self._rates, self._clock)
        return gate
