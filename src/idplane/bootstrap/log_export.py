"""Handing both logs on to an OpenTelemetry collector, as they grow: each event at least once, in the order of commits.

How far a log was handed on is in the store, per collector, and moves on only when the collector has taken what came before. So an event
may arrive twice, after a crash between the two, and is told by its `log.record.uid`; it is never left out, whatever stops or refuses in
between. Where two processes export to one collector, both may send the same events.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from idplane.audit.diagnostics import activity_records, sign_in_records
from idplane.audit.otlp import logs_request
from idplane.graph.sign_ins import sign_in_document
from idplane.model.directory import Setting
from idplane.model.events import ActivityEvent, SignIn
from idplane.model.failure import Failure
from idplane.model.values import JsonObject
from idplane.ports.collections import ACTIVITY, SETTINGS, SIGN_INS
from idplane.ports.store import ANY, Batch, Log, Logged, Order, Put, Store
from idplane.ports.world import Clock
from idplane.providers.activity_events import render_event

__all__ = ["Collector", "CollectorAnswer", "LogExport"]

T = TypeVar("T")

_AT_ONCE: Final = 200
"""Records in one request."""
_IDLE_SECONDS: Final = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a request that was not taken is made again, doubled each time."""
_TAKEN: Final = range(200, 300)
_REFUSED_FOR_ITSELF: Final = frozenset({400, 413, 422})
"""Answers that are about the content, so that the same request would get the same one."""
_log = logging.getLogger("idplane.export")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorAnswer:
    """What a collector said. Status 0 means that it could not be reached."""

    status: int
    body: bytes = b""
    retry_after: float | None = None
    """Seconds."""


class Collector(Protocol):
    """An OTLP/HTTP receiver of logs."""

    @property
    def name(self) -> str:
        """Its address, without anything secret."""
        ...

    async def send(self, body: bytes) -> CollectorAnswer:
        """POST a request in OTLP's JSON encoding; never raises for what a network does."""
        ...


@dataclass(frozen=True, slots=True)
class _Source(Generic[T]):
    """One log, and how its records become diagnostic ones, oldest first."""

    log: Log[T]
    scope: str
    shown: Callable[[Sequence[T]], list[JsonObject]]


def _activity(events: Sequence[ActivityEvent]) -> list[JsonObject]:
    return activity_records(one for event in events for one in reversed(render_event(event)))


def _sign_ins(events: Sequence[SignIn]) -> list[JsonObject]:
    return sign_in_records(sign_in_document(event) for event in events)


_ACTIVITY = _Source(ACTIVITY, "activity", _activity)
_SIGN_INS = _Source(SIGN_INS, "signins", _sign_ins)


class LogExport:
    """The duty of one process, for one collector."""

    def __init__(self, *, store: Store, clock: Clock, collector: Collector) -> None:
        self._store = store
        self._clock = clock
        self._collector = collector

    async def run(self, source: str) -> None:
        """Hand on a log, `activity` or `signins`, until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            try:
                wait = await self.turn(source)
            except Failure as failure:
                _log.warning("the log %s cannot be read for export now: %s", source, failure)
                wait = _FIRST_PAUSE
            if wait is None:
                pause = _FIRST_PAUSE
                await self._clock.sleep(_IDLE_SECONDS)
                continue
            await self._clock.sleep(max(wait, pause))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def turn(self, source: str) -> float | None:
        """Hand on everything there is. None when that is done, or else in how many seconds to try again."""
        return await (self._hand_on(_ACTIVITY) if source == _ACTIVITY.scope else self._hand_on(_SIGN_INS))

    async def _hand_on(self, source: _Source[T]) -> float | None:
        while True:
            found = await self._store.read_log(
                source.log, position=await self._position(source), order=Order.OLDEST_FIRST, limit=_AT_ONCE
            )
            if not found:
                return None
            wait = await self._sent(source, found)
            if wait is not None:
                return wait

    async def _sent(self, source: _Source[T], events: Sequence[Logged[T]]) -> float | None:
        """Send and remember. What is refused for its content is sent in halves, down to the one event that is left out."""
        records = source.shown([one.event for one in events])
        answer = await self._collector.send(msgspec.json.encode(logs_request(source.scope, records, self._clock.now())))
        if answer.status in _REFUSED_FOR_ITSELF and len(events) > 1:
            middle = len(events) // 2
            wait = await self._sent(source, events[:middle])
            return wait if wait is not None else await self._sent(source, events[middle:])
        if answer.status in _TAKEN:
            self._tell_rejected(answer)
        elif answer.status in _REFUSED_FOR_ITSELF:
            position = events[0].position
            _log.error(
                "%s refuses event %s of the log %s (%s): it is left out",
                self._collector.name,
                position,
                source.scope,
                answer.status,
            )
        else:
            _log.warning("%s does not take events of the log %s now (%s)", self._collector.name, source.scope, answer.status)
            return answer.retry_after or 0.0
        await self._remember(source, events[-1].position)
        return None

    def _tell_rejected(self, answer: CollectorAnswer) -> None:
        """A collector may take a request and say that it dropped some of it: sending again is not allowed (OTLP's partial success)."""
        try:
            told = msgspec.json.decode(answer.body or b"{}")
            partial = told.get("partialSuccess") or {}
            dropped, why = int(partial.get("rejectedLogRecords") or 0), str(partial.get("errorMessage") or "")
        except (msgspec.DecodeError, AttributeError, TypeError, ValueError):
            return
        if dropped:
            _log.error("%s dropped %s events: %s", self._collector.name, dropped, why[:200])

    def _setting(self, source: _Source[T]) -> str:
        return f"export.{source.log.name}.{hashlib.sha256(self._collector.name.encode()).hexdigest()[:16]}"

    async def _position(self, source: _Source[T]) -> int | None:
        found = await self._store.get(SETTINGS, self._setting(source))
        return int(found.value.value) if found else None

    async def _remember(self, source: _Source[T], position: int) -> None:
        setting = Setting(name=self._setting(source), value=str(position))
        await self._store.commit(Batch.of(Put(collection=SETTINGS, value=setting, expect=ANY)))
