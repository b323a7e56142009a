"""Hearing of every commit to the database, one's own and other replicas', once and in order.

Notifications tell that there is something to read; the feed table tells what. A poll at a steady beat covers notifications that
were lost with their connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from idplane.model.failure import Failure
from idplane.ports.store import Change
from idplane.ports.telemetry import FEED_CATCH_UP, NO_TELEMETRY, Telemetry
from idplane.ports.world import Clock
from idplane.store.listeners import Listeners
from idplane.store.postgres_connections import ERRORS, Address, Connections, connect, hang_up
from idplane.store.tables import FEED_COLUMNS

__all__ = ["CHANNEL", "FEED_END", "PostgresFeed", "read_changes"]

CHANNEL = "idplane_changes"
FEED_END = "select position from feed_end"

_READ = f"select {FEED_COLUMNS} from changes where position > $1 order by position limit $2"  # noqa: S608 - constants only
_PAGE = 1000


async def read_changes(connections: Connections, after: int, limit: int) -> tuple[Change, ...]:
    """The feed after a position, oldest first."""
    rows = await connections.fetch(_READ, (after, limit))
    return tuple(
        Change(position=position, collection=collection, key=key, subject=subject, deleted=bool(deleted))
        for position, collection, key, subject, deleted in rows
    )


class PostgresFeed:
    """Tells the listeners of changes up to `heard`, strictly in order of position."""

    def __init__(self, address: Address, connections: Connections, listeners: Listeners, *, clock: Clock, heard: int) -> None:
        self.heard = heard
        """Position up to which the listeners know everything."""
        self.heard_at = clock.monotonic()
        """When that was last known to be the end, on the clock's monotonic scale: its age bounds how stale this replica is."""
        self.broken = False
        """Whether changes were missed for good: nothing short of a new start can tell what else is no longer so."""
        self.telemetry: Telemetry = NO_TELEMETRY
        self._address = address
        self._connections = connections
        self._listeners = listeners
        self._clock = clock
        self._reading = asyncio.Lock()
        self._news = asyncio.Event()
        self._listening: Any = None

    @property
    def age(self) -> float:
        """Seconds since the feed's end was known; infinite when changes were removed from it that the listeners were never told."""
        return float("inf") if self.broken else self._clock.monotonic() - self.heard_at

    async def listen(self) -> None:
        """Make sure that a connection hears notifications; quietly gives up until the next beat when the server is away."""
        if self._listening is not None and not self._listening.is_closed():
            return
        with contextlib.suppress(*ERRORS):
            self._listening = await self._connected()
            # What was committed before the first notification could come.
            self._news.set()

    async def _connected(self) -> Any:
        """A connection that hears notifications: one that lives but was not told to would be taken for one for good."""
        connection = await connect(self._address)
        try:
            await connection.add_listener(CHANNEL, self._notified)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _notified(self, *_: object) -> None:
        self._news.set()

    async def follow(self, beat: float) -> None:
        """Read on at every notification, and every `beat` seconds; runs until cancelled."""
        sleeping = asyncio.ensure_future(self._clock.sleep(beat))
        news: asyncio.Future[Any] = asyncio.ensure_future(self._news.wait())
        try:
            while True:
                await self.listen()
                news = news if not news.done() else asyncio.ensure_future(self._news.wait())
                await asyncio.wait({news, sleeping}, return_when=asyncio.FIRST_COMPLETED)
                self._news.clear()
                if sleeping.done():
                    sleeping = asyncio.ensure_future(self._clock.sleep(beat))
                with contextlib.suppress(Failure):  # the next beat tries again; `heard_at` shows the age
                    await self.catch_up()
        finally:
            news.cancel()
            sleeping.cancel()

    async def hang_up(self) -> None:
        """Stop hearing notifications, once nobody follows any more."""
        if self._listening is not None:
            await hang_up(self._listening)
            self._listening = None

    async def catch_up(self, to: int | None = None) -> None:
        """Tell everything that is in the feed, or at least everything up to `to`."""
        async with self._reading:
            with self.telemetry.span(FEED_CATCH_UP) as span:
                before = self.heard
                await self._read_on(to)
                span.set(changes=self.heard - before)

    async def _read_on(self, to: int | None) -> None:
        while to is None or self.heard < to:
            asked_at = self._clock.monotonic()
            rows = await read_changes(self._connections, self.heard, _PAGE)
            if await self._is_elsewhere(rows):
                self.broken = True
            self._tell(rows)
            if len(rows) < _PAGE:
                self.heard_at = asked_at
                return

    async def _is_elsewhere(self, rows: Sequence[Change]) -> bool:
        """Whether the feed does not go on from what was heard: trimmed beyond it, or one of another life of the database."""
        if rows:
            return rows[0].position != self.heard + 1
        ((end,),) = await self._connections.fetch(FEED_END)
        if int(end) <= self.heard:
            return int(end) < self.heard
        # There is more than what was read: committed since, or left out where a restored database begins its feed (`restore`).
        return not await read_changes(self._connections, self.heard, 1)

    async def hear_own(self, changes: Sequence[Change]) -> None:
        """Tell a commit of this process, after whatever other replicas committed before it."""
        last = changes[-1].position
        if not self._reading.locked() and changes[0].position == self.heard + 1:
            self._tell(changes)
            return
        try:
            await self.catch_up(last)
        except Failure:
            # The commit stands. Hearing of it twice, now and when the feed can be read again, is harmless; never is not.
            self._listeners.tell(changes)

    def _tell(self, changes: Sequence[Change]) -> None:
        if changes:
            self.heard = changes[-1].position
            self._listeners.tell(changes)
