"""What this agent refuses by itself, told to the server: it keeps each under the id that the workload was shown, some in the sign-in log, too.

The first refusal of its kind is told at once; the same again (host, reason, dialect, caller, what was asked) within ten seconds is shown the
first one's id and only counted, and the count told when they are over. The row is bounded, telling takes no request's time, and one that can't
be told fails none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TypeAlias

from idplane.agent.answers import FROM_SERVER, REFUSAL_ID
from idplane.model.calls import Workload
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.world import Clock

__all__ = ["UNCHALLENGED", "Refusal", "Refusals", "explicable", "is_reported", "refusal_of"]

UNCHALLENGED = "unchallenged"
"""`Failure.data` key of a request that shows no secret because it was never asked for one: the first step, and no refusal."""

_WINDOW_SECONDS = 10.0
_RETRY_SECONDS = 5.0
_MOST_WAITING = 1000
_MOST_KINDS = 512
_MOST_TOLD = 100
_MOST_ASKED = 16
"""Kinds that differ in what was asked alone: a caller that goes on making others up is counted under one."""
_UNTOLD = frozenset({FailureKind.AGENT_UNKNOWN, FailureKind.PATH_NOT_FOUND})
"""What is no refusal of what was asked: an agent that is not let in itself, and services that are not there, which clients look for."""
_FACTS = ("selector", "selected", "secret", "bindings")
"""What of a failure's facts is told: how an identity was named, that there was no secret at all, and which bindings did not mean the caller."""
_log = logging.getLogger("idplane.agent")

_Key: TypeAlias = tuple[str, FailureKind, str, Workload, str]
_Tell: TypeAlias = Callable[[Sequence[JsonObject]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refusal, or several alike."""

    id: str
    """What the workload is shown."""
    host: ResourceId
    at: datetime
    reason: FailureKind
    detail: str
    dialect: str
    resource: str | None
    workload: Workload
    facts: Mapping[str, str] = field(default_factory=dict)
    count: int = 1

    @property
    def kind(self) -> _Key:
        """What makes two refusals alike, whatever was asked. A program that is started again and again is one caller, whatever its numbers."""
        return self.host.key, self.reason, self.dialect, replace(self.workload, pid=None), ""

    @property
    def key(self) -> _Key:
        """The same with what was asked."""
        return *self.kind[:-1], "\0".join((self.resource or "", *self.facts.values()))

    def document(self) -> JsonObject:
        """As the server takes it."""
        return {
            "host": str(self.host),
            "at": self.at.isoformat(),
            "reason": self.reason.name,
            "detail": self.detail,
            "dialect": self.dialect,
            "resource": self.resource,
            "count": self.count,
            "id": self.id,
            "facts": dict(self.facts),
            "workload": {name: value for name, value in asdict(self.workload).items() if value is not None},
        }


@dataclass(slots=True, eq=False)
class _Again:
    """Refusals of one kind since the first was told."""

    id: str
    """The first one's."""
    until: float
    last: Refusal
    count: int = 0


def is_reported(failure: Failure) -> bool:
    """Whether the server is told of a failure: it was decided here, and is no outage. Others the server knows itself."""
    if REFUSAL_ID in failure.data or FROM_SERVER in failure.data or UNCHALLENGED in failure.data or failure.kind in _UNTOLD:
        return False
    return failure.kind.category not in (Category.INTERNAL, Category.UNAVAILABLE)


def explicable(text: str, failure: Failure, request_id: str) -> str:
    """A dialect's text for people, with the id by which the refusal can be explained, if it can and the text has it not."""
    known = REFUSAL_ID in failure.data or is_reported(failure)
    return f"{text} (refusal id {request_id})" if known and request_id not in text else text


def refusal_of(  # noqa: PLR0913 - one request, spelled out
    failure: Failure,
    at: datetime,
    /,
    *,
    refusal_id: str,
    host: ResourceId,
    dialect: str,
    resource: str | None,
    workload: Workload,
) -> Refusal:
    """A failure as it is told."""
    return Refusal(
        id=refusal_id,
        host=host,
        at=at,
        reason=failure.kind,
        detail=failure.detail or failure.kind.name.lower().replace("_", " "),
        dialect=dialect,
        resource=resource,
        workload=workload,
        facts={name: failure.data[name] for name in _FACTS if name in failure.data},
    )


class Refusals:
    """The refusals that are still to be told. Needs a running event loop; lives until `close`."""

    def __init__(self, *, tell: _Tell, clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self._waiting: deque[Refusal] = deque(maxlen=_MOST_WAITING)
        self._again: OrderedDict[_Key, _Again] = OrderedDict()
        self._asked: Counter[_Key] = Counter()
        """Open windows of each kind."""
        self._telling: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None

    def note(self, refusal: Refusal) -> str:
        """Tell of it soon; the id that the workload is to be shown. Quick, and never raises."""
        now = self._clock.monotonic()
        key = refusal.key if refusal.key in self._again or self._asked[refusal.kind] < _MOST_ASKED else refusal.kind
        known = self._again.get(key)
        if known is not None and now < known.until:
            known.count += 1
            known.last = refusal
            if self._counting is None or self._counting.done():
                self._counting = asyncio.get_running_loop().create_task(self._count())
            return known.id
        self._close_window(key)
        self._again[key] = _Again(refusal.id, now + _WINDOW_SECONDS, refusal)
        self._asked[refusal.kind] += 1
        while len(self._again) > _MOST_KINDS:
            self._close_window(next(iter(self._again)))
        self._enqueue(refusal)
        return refusal.id

    async def close(self) -> None:
        """Tell what there is, if the server can be reached at once, and stop."""
        for key in tuple(self._again):
            self._close_window(key)
        tasks = [one for one in (self._counting, self._telling) if one is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._waiting and await self._told():
            pass
        self._waiting.clear()

    async def _count(self) -> None:
        """Wait until windows are over."""
        while any(one.count for one in self._again.values()):
            now = self._clock.monotonic()
            for key in [key for key, one in self._again.items() if one.until <= now]:
                self._close_window(key)
            if self._again:
                await self._clock.sleep(max(0.0, min(one.until for one in self._again.values()) - now))

    def _close_window(self, key: _Key) -> None:
        known = self._again.pop(key, None)
        if known is None:
            return
        self._asked[known.last.kind] -= 1
        if not self._asked[known.last.kind]:
            del self._asked[known.last.kind]
        if known.count:
            self._enqueue(replace(known.last, id=known.id, count=known.count))

    def _enqueue(self, refusal: Refusal) -> None:
        if len(self._waiting) == _MOST_WAITING:
            _log.warning("a refusal at %s could not be told to the server", self._waiting[0].host)
        self._waiting.append(refusal)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell_all())

    async def _tell_all(self) -> None:
        while self._waiting:
            if not await self._told():
                await self._clock.sleep(_RETRY_SECONDS)

    async def _told(self) -> bool:
        """Tell those at the front that concern one host: the server may know this host no longer. False if they must wait."""
        host = self._waiting[0].host.key
        batch = [one for one in self._waiting if one.host.key == host][:_MOST_TOLD]
        try:
            await self._tell([one.document() for one in batch])
        except Failure as failure:
            if failure.kind in {FailureKind.UNAVAILABLE, FailureKind.THROTTLED}:
                return False
            _log.warning("refusals at %s were not taken by the server: %s", batch[0].host, failure)
        except Exception:  # noqa: BLE001 - the last line of defence: a bug must not keep the others from being told
            _log.exception("bug while refusals at %s were told", batch[0].host)
        told = {id(one) for one in batch}
        remaining = [one for one in self._waiting if id(one) not in told]
        self._waiting.clear()
        self._waiting.extend(remaining)
        return True
