"""Turns at what is scarce: callers are served round-robin, so that one who asks for much waits for itself alone.

Only what is not answered from memory needs a turn: fetches from the server, proofs of who asks. A caller is whatever key the
handler gives (a user, a run); one caller with a thousand connections is still one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from types import TracebackType
from typing import Self, TypeAlias

from idplane.model.failure import Failure, FailureKind

__all__ = ["FairShare"]

_RUNNING = 32
_RUNNING_EACH = 8
_WAITING_EACH = 64
_WAITING = 1024

_Place: TypeAlias = "asyncio.Future[None]"


class FairShare:
    """A bounded number of turns at a time, given out fairly.

    Nobody has more than its own share at a time, and while a caller that has less waits, no other is given more than one turn
    before it. A caller whose row is full is refused; when all rows together are full, the longest one gives up its last place
    to a newcomer, so that only who waits most is ever refused.
    """

    def __init__(
        self,
        *,
        running: int = _RUNNING,
        running_each: int = _RUNNING_EACH,
        waiting_each: int = _WAITING_EACH,
        waiting: int = _WAITING,
    ) -> None:
        self._most_running = running
        self._most_running_each = running_each
        self._most_waiting_each = waiting_each
        self._most_waiting = waiting
        self._running = 0
        self._waiting = 0
        self._callers: dict[Hashable, _Caller] = {}
        # Who waits and may be served, in order of their turns. Empty whenever a turn is free.
        self._ring: OrderedDict[Hashable, _Caller] = OrderedDict()

    def turn(self, caller: Hashable) -> Turn:
        """A turn for `caller`, as a context: entering waits for it, or raises THROTTLED; leaving passes it on."""
        return Turn(self, caller)

    @property
    def callers(self) -> int:
        """How many callers are remembered: those that hold a turn or wait for one."""
        return len(self._callers)

    async def take(self, caller: Hashable) -> None:
        """Wait for a turn; raises `Failure(THROTTLED)` for a caller that waits for too many already."""
        if not self._taken_at_once(caller):
            await self._wait(caller, self._queued(caller))

    def give_back(self, caller: Hashable) -> None:
        """End a turn, and let the next one begin."""
        known = self._callers[caller]
        known.running -= 1
        self._running -= 1
        if known.row and caller not in self._ring:
            self._ring[caller] = known
        self._forget_idle(caller, known)
        self._serve_next()

    def _taken_at_once(self, caller: Hashable) -> bool:
        """Whoever is below its share takes a free turn: there is nobody whom it could overtake."""
        known = self._callers.get(caller)
        running = 0 if known is None else known.running
        if self._running >= self._most_running or running >= self._most_running_each:
            return False
        if known is None:
            known = self._callers[caller] = _Caller()
        known.running += 1
        self._running += 1
        return True

    def _queued(self, caller: Hashable) -> _Place:
        known = self._callers.get(caller)
        row = 0 if known is None else len(known.row)
        if row >= self._most_waiting_each:
            raise _refused()
        if self._waiting >= self._most_waiting:
            self._make_room(row)
        if known is None:
            known = self._callers[caller] = _Caller()
        place = asyncio.get_running_loop().create_future()
        known.row.append(place)
        self._waiting += 1
        if known.running < self._most_running_each:
            self._ring.setdefault(caller, known)
        return place

    def _make_room(self, row: int) -> None:
        """End the last place of the longest row, unless a row as long as that is the newcomer's own."""
        longest = max(self._callers.values(), key=lambda known: len(known.row)).row
        if len(longest) <= row + 1:
            raise _refused()
        place = longest.pop()
        self._waiting -= 1
        if not place.done():
            place.set_exception(_refused())

    async def _wait(self, caller: Hashable, place: _Place) -> None:
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.give_back(caller)  # the turn came in the same moment
            else:
                self._leave(caller, place)
            raise

    def _leave(self, caller: Hashable, place: _Place) -> None:
        known = self._callers.get(caller)
        if known is None or place not in known.row:
            return
        known.row.remove(place)
        self._waiting -= 1
        if not known.row:
            self._ring.pop(caller, None)
        self._forget_idle(caller, known)

    def _serve_next(self) -> None:
        while self._ring and self._running < self._most_running:
            caller, known = self._ring.popitem(last=False)
            place = known.row.popleft()
            self._waiting -= 1
            if not place.done():
                known.running += 1
                self._running += 1
                place.set_result(None)
            if known.row and known.running < self._most_running_each:
                self._ring[caller] = known
            self._forget_idle(caller, known)

    def _forget_idle(self, caller: Hashable, known: _Caller) -> None:
        if not known.running and not known.row:
            del self._callers[caller]
            self._ring.pop(caller, None)


class Turn:
    """One turn: a context for one use."""

    __slots__ = ("_caller", "_share")

    def __init__(self, share: FairShare, caller: Hashable) -> None:
        self._share = share
        self._caller = caller

    async def __aenter__(self) -> Self:
        """Wait for the turn."""
        await self._share.take(self._caller)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Pass it on."""
        self._share.give_back(self._caller)


class _Caller:
    __slots__ = ("row", "running")

    def __init__(self) -> None:
        self.running = 0
        self.row: deque[_Place] = deque()


def _refused() -> Failure:
    return Failure(FailureKind.THROTTLED, "Too many requests of this caller are waiting already; try again in a moment")
