"""Clocks, entropy and custody that a test controls; the stores behind them are the real ones."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import uuid
from datetime import UTC, datetime, timedelta

from idplane.ports.world import Clock
from idplane.store.sealed import DirectKey, Kind
from idplane.store.sqlite import SqliteStore

__all__ = ["FakeClock", "MemoryCustody", "SeededEntropy", "memory_store"]

_START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class FakeClock:
    """A clock that stands still until it is told to move; sleepers wake in order as it passes them."""

    def __init__(self, start: datetime = _START) -> None:
        self._now = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._ticket = itertools.count()

    def now(self) -> datetime:
        """The instant that the test chose."""
        return self._now

    def monotonic(self) -> float:
        """Seconds that the test let pass."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has advanced the clock by `seconds`."""
        if seconds <= 0:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._ticket), future))
        await future

    def set(self, now: datetime) -> None:
        """Change wall time alone, as a corrected system clock does; elapsed time goes on undisturbed."""
        self._now = now

    def advance(self, by: timedelta | float) -> None:
        """Let time pass and wake whoever slept until then."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.get_loop().call_soon_threadsafe(_wake, future)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class SeededEntropy:
    """Values that look random and repeat from run to run. For tests only: anyone can predict them."""

    def __init__(self, seed: str = "idplane") -> None:
        self._seed = seed.encode()
        self._count = itertools.count()

    def bytes(self, count: int) -> bytes:
        """`count` bytes of the sequence."""
        return hashlib.shake_256(self._seed + next(self._count).to_bytes(8)).digest(count)

    def guid(self) -> str:
        """The next GUID of the sequence."""
        return str(uuid.UUID(bytes=self.bytes(16), version=4))


class MemoryCustody(DirectKey):
    """Key custody with a key that lives in this process only."""

    def __init__(self, entropy: SeededEntropy | None = None) -> None:
        entropy = entropy or SeededEntropy("custody")
        super().__init__(key=entropy.bytes(32), kind=Kind.MEMORY, entropy=entropy)


async def memory_store(clock: Clock | None = None) -> SqliteStore:
    """An empty store that ends with its `close`: the real SQLite adapter over a private temporary file that no disk waits for."""
    return await SqliteStore.open(":memory:", clock=clock or FakeClock())
