"""When an agent may change who it is: between requests, never during one.

Servers take whoever shows a superseded certificate for the bearer of copied state, and lock both. So the successor is shown only when
no request under the predecessor is under way, and none may still arrive: one whose answer was lost counts as long as its proof could.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from idplane.agent.upstream import UNSETTLED
from idplane.model.failure import Failure
from idplane.ports.world import Clock

__all__ = ["Lanes"]

_UNSETTLED_SECONDS: Final = 130.0
"""A proof's life, and twice the leeway that servers give to clocks."""


class _Lane:
    """Requests under way, and a gate before them."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._count = 0

    async def enter(self) -> None:
        await self._open.wait()
        self._count += 1
        self._empty.clear()

    def leave(self) -> None:
        self._count -= 1
        if self._count == 0:
            self._empty.set()

    async def hold(self) -> None:
        """Let nobody in, and wait until nobody is left."""
        self._open.clear()
        await self._empty.wait()

    def release(self) -> None:
        self._open.set()


class Lanes:
    """Two lanes: the long poll's, which is held first since its requests are long, and that of everything else."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._polls = _Lane()
        self._calls = _Lane()
        self._unsettled_until = 0.0

    @asynccontextmanager
    async def request(self, *, poll: bool) -> AsyncIterator[None]:
        """One request, from before it is signed until it is answered."""
        lane = self._polls if poll else self._calls
        await lane.enter()
        try:
            with self._noted():
                yield
        finally:
            lane.leave()

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """A moment without any request, which lasts as long as the block."""
        while True:
            await self._clock.sleep(self._unsettled_until - self._clock.monotonic())
            try:
                await self._polls.hold()
                await self._calls.hold()
                if self._clock.monotonic() >= self._unsettled_until:
                    yield
                    return
            finally:
                self._calls.release()
                self._polls.release()

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except Failure as failure:
            if UNSETTLED in failure.data:
                self._unsettled_until = self._clock.monotonic() + _UNSETTLED_SECONDS
            raise
