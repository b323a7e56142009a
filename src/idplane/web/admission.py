"""How many requests are in work at a time, and whose turn is next.

A server's processor is one: a thousand requests that are begun together end together, late, when their clients have given up and asked again.
So a bounded number is in work, and the rest wait, the newest first: where more is asked than can be done, the oldest is always one whose client
is about to give up, while the newest, which may be the second of two questions for one thing, gets to its end. Where all can be served soon, the
order matters to nobody. Waiting is bounded, too, so that whoever can't be served is told while its client still listens.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Final, Self, TypeAlias

from idplane.model.failure import Failure, FailureKind

__all__ = ["Admission", "Busy", "Gone", "Place"]

_MOST: Final = 32
_WAITING: Final = 1024
_SECONDS: Final = 10.0
"""Below the 15 seconds that agents wait for an answer: who is told to come again keeps its connection."""
_RETRY_SECONDS: Final = 5

Ended: TypeAlias = Callable[[], Awaitable[None]]
"""Returns when the client has gone."""
_Turn: TypeAlias = "asyncio.Future[None]"


class Busy(Failure):
    """There is too much to do: no fault of whoever asked, so that nobody needs a record of it."""

    def __init__(self) -> None:
        super().__init__(
            FailureKind.THROTTLED,
            "this server is asked for more than it can do: please try again in a moment",
            retry_after=str(_RETRY_SECONDS),
        )
        self.on_record = True


class Gone(Exception):  # noqa: N818 - a control signal: nobody is left to answer
    """The client has gone while it waited."""


class Admission:
    """The places of one process. What is asked in the course of a request, by the process of itself, is in that request's place."""

    def __init__(self, *, most: int = _MOST, waiting: int = _WAITING, seconds: float = _SECONDS) -> None:
        """`most` in work, and `waiting` more that wait for up to `seconds`."""
        self._most = most
        self._most_waiting = waiting
        self._seconds = seconds
        self._row: deque[_Turn] = deque()
        self.working = 0
        """How many hold a place."""

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._row)

    def place(self, ended: Ended) -> Place:
        """A place, as a context for one use: entering waits for it, raises `Busy` or `Gone`; leaving passes it on."""
        return Place(self, ended)

    async def take(self, ended: Ended) -> None:
        """Wait for a place; raises as `place` says."""
        if self.working < self._most:
            self.working += 1
            return
        if len(self._row) >= self._most_waiting:
            raise Busy
        turn: _Turn = asyncio.get_running_loop().create_future()
        self._row.append(turn)
        await self._wait(turn, asyncio.ensure_future(ended()))

    def give_back(self) -> None:
        """End a turn, and let the next one begin."""
        if self._row:
            self._row.pop().set_result(None)
        else:
            self.working -= 1

    async def _wait(self, turn: _Turn, gone: asyncio.Future[None]) -> None:
        try:
            await asyncio.wait({turn, gone}, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                gone.result()
                raise Gone
            if not turn.done():
                raise Busy
        except BaseException:
            # Cancelled, too: the turn may have come in the same moment.
            if turn.done():
                self.give_back()
            else:
                self._row.remove(turn)
            raise
        finally:
            gone.cancel()


class Place:
    """One place: a context for one use."""

    __slots__ = ("_admission", "_around", "_ended", "_held")

    def __init__(self, admission: Admission, ended: Ended) -> None:
        self._admission = admission
        self._ended = ended
        self._held = False
        self._around: Token[Place | None] | None = None

    async def __aenter__(self) -> Self:
        """Wait for it."""
        around = _PLACE.get()
        if around is None or not around._held or around._admission is not self._admission:  # noqa: SLF001 - of its own class
            await self._admission.take(self._ended)
            self._held = True
            self._around = _PLACE.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Pass it on."""
        if self._around is not None:
            _PLACE.reset(self._around)
            self._held = False
            self._admission.give_back()


_PLACE: Final[ContextVar[Place | None]] = ContextVar("place", default=None)
"""Of the request in whose course something is asked. A task that outlives its request still sees it, and it is no longer held."""
