"""When an agent asks its servers again: pauses that grow, differ, and are one for everything that it asks.

A server that has too much to do names a time, and one that cannot be reached names none. Until that time has come nobody asks, then one asks for all, and
the others go when it was answered. So a machine where fifty workloads wait costs a server that is in trouble no more than one where one does.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from idplane.agent.backoff import chance
from idplane.agent.upstream import RETRY_AFTER
from idplane.model.failure import Failure, FailureKind
from idplane.ports.world import Clock, Entropy

__all__ = ["Patience"]

_FIRST: Final = 1.0
_LONGEST: Final = 16.0
_LONGEST_NAMED: Final = 60.0
"""Seconds. A server that names a longer time is asked after this one: workloads' own patience ends before."""
_SPREAD: Final = 0.5
"""By what part of the time that a server has named the pause is longer at most, so that those whom it turned away together come apart."""


class Patience:
    """One agent's pause. Without trouble nothing waits, and nothing is remembered."""

    def __init__(self, *, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._entropy = entropy
        self._failures = 0
        self._began = 0.0
        self._until = 0.0
        self._why = Failure(FailureKind.UNAVAILABLE)
        self._waits = True
        self._first: asyncio.Future[None] | None = None
        """Done when whoever asks for all has its answer."""

    @asynccontextmanager
    async def turn(self, deadline: float) -> AsyncIterator[float]:
        """One question; yields when it begins, by the monotonic clock. Raises what was told when that is not before the deadline."""
        first = None
        while self._failures and first is None:
            if self._first is None:
                first = self._first = asyncio.get_running_loop().create_future()
            else:
                await self._others(self._first, deadline)
        try:
            if first is not None:
                await self._pause(deadline)
            now = self._clock.monotonic()
            yield now if first is None else max(now, self._until)
        finally:
            if first is not None:
                self._first = None
                first.set_result(None)

    def told(self, why: Failure, *, named: float | None = None, waits: bool = True) -> None:
        """There is trouble: a pause begins, unless it is one already. `named` are a server's seconds; without `waits` it is no use to wait.

        `why` is what those hear who cannot wait for its end.
        """
        now = self._clock.monotonic()
        if not self._failures or now >= self._until:
            self._failures += 1
            self._began = now
            grown = min(_LONGEST, _FIRST * (1 << min(self._failures - 1, 8)))
            self._until = now + grown * (1 - _SPREAD * chance(self._entropy))
        if named is not None:
            bounded = min(max(named, 0.0), _LONGEST_NAMED)
            self._until = max(self._until, now + bounded * (1 + _SPREAD * chance(self._entropy)))
        self._why, self._waits = why, waits

    def well(self, began: float) -> None:
        """A question that began then was answered, which says nothing of trouble that began later."""
        if began >= self._until or (began >= self._began and not self._waits):
            self._failures = 0

    def refusal(self) -> Failure:
        """What whoever cannot wait is told, with the seconds until it is worth asking again."""
        seconds = max(1, math.ceil(self._until - self._clock.monotonic()))
        return Failure(self._why.kind, self._why.detail, **{**self._why.data, RETRY_AFTER: str(seconds)})

    async def _pause(self, deadline: float) -> None:
        seconds = self._until - self._clock.monotonic()
        if seconds > 0 and (not self._waits or self._until > deadline):
            raise self.refusal()
        await self._clock.sleep(seconds)

    async def _others(self, first: asyncio.Future[None], deadline: float) -> None:
        """Wait for who asks for all, if it can be in time."""
        now = self._clock.monotonic()
        if now < self._until and (not self._waits or self._until > deadline):
            raise self.refusal()
        waiting = asyncio.ensure_future(self._clock.sleep(deadline - now))
        try:
            await asyncio.wait({first, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not first.done():
            raise self.refusal()
