"""Single flight: however many wait for a key, one piece of work runs for it.

A waiter that goes away does not stop the work, a failure reaches every waiter and is not remembered, and work that has been
superseded (what it would bring back may no longer be true) brings nothing back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from idplane.model.failure import Failure, FailureKind

__all__ = ["Flights"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class _Flight:
    task: asyncio.Task[None] = field(init=False)
    superseded: bool = False


class Flights(Generic[K, V]):
    """The work in progress, one task a key. `landed(key, value)` receives what is still true when it arrives."""

    def __init__(self, landed: Callable[[K, V], None]) -> None:
        self._landed = landed
        self._flying: dict[K, _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> None:
        """Start the work unless it is running; nobody waits for it."""
        self._begun(key, work)

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> None:
        """Wait until the work for `key` has ended, starting it if need be; raises what it raised, unless it was superseded.

        What it brought is where `landed` put it, if it has not been superseded: callers look there, so that they never act on
        something that was evicted between its arrival and their turn.
        """
        flight = self._begun(key, work)
        try:
            await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.task.cancelled() and not _cancelling():
                raise Failure(FailureKind.UNAVAILABLE, "the agent is stopping") from None
            raise
        except Failure:
            if not flight.superseded:
                raise

    def flying(self, key: K) -> bool:
        """Whether work for `key` is under way."""
        return key in self._flying

    def supersede(self, concerns: Callable[[K], bool]) -> None:
        """Let nothing come of the running work for these keys; whoever asks next starts anew."""
        for key in [key for key in self._flying if concerns(key)]:
            self._flying.pop(key).superseded = True

    async def close(self) -> None:
        """Cancel all work and wait for it to end."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begun(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> _Flight:
        flight = self._flying.get(key)
        if flight is None:
            flight = self._flying[key] = _Flight()
            flight.task = asyncio.get_running_loop().create_task(self._fly(key, flight, work))
            self._tasks.add(flight.task)
            flight.task.add_done_callback(self._forget)
        return flight

    async def _fly(self, key: K, flight: _Flight, work: Callable[[], Coroutine[Any, Any, V]]) -> None:
        # It may have been superseded before its first turn.
        try:
            value = await work()
        finally:
            if self._flying.get(key) is flight:
                del self._flying[key]
        if not flight.superseded:
            self._landed(key, value)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at here, since a refresh in the background has no waiter to do so


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
