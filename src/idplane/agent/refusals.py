"""What this agent refuses before anything is asked of the server, told to the server's sign-in log.

The first refusal of its kind is told at once; the same again (host, reason, dialect, caller) within ten seconds is only counted, and the count
told when they are over. The row is bounded, telling takes no request's time, and one that can't be told fails none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TypeAlias

from idplane.agent.plane import FROM_SERVER
from idplane.model.calls import Workload
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.world import Clock

__all__ = ["UNCHALLENGED", "Refusal", "Refusals", "is_reported", "refusal_of"]

UNCHALLENGED = "unchallenged"
"""`Failure.data` key of a request that shows no secret because it was never asked for one: the first step, and no refusal."""

_WINDOW_SECONDS = 10.0
_RETRY_SECONDS = 5.0
_MOST_WAITING = 1000
_MOST_KINDS = 512
_MOST_TOLD = 100
_REPORTED = frozenset(
    {
        FailureKind.CALLER_UNPROVEN,
        FailureKind.CALLER_NOT_BOUND,
        FailureKind.ENDPOINT_SECRET,
        FailureKind.FOREIGN_HOST,
        FailureKind.FORWARDED,
        FailureKind.METADATA_HEADER_MISSING,
        FailureKind.MALFORMED_BODY,
    }
)
_log = logging.getLogger("idplane.agent")

_Key: TypeAlias = tuple[str, FailureKind, str, Workload]
_Tell: TypeAlias = Callable[[Sequence[JsonObject]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refusal, or several alike."""

    host: ResourceId
    at: datetime
    reason: FailureKind
    detail: str
    dialect: str
    resource: str | None
    workload: Workload
    count: int = 1

    @property
    def key(self) -> _Key:
        """What makes two refusals alike. A program that is started again and again is one caller, whatever its numbers."""
        return self.host.key, self.reason, self.dialect, replace(self.workload, pid=None)

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
            "workload": {name: value for name, value in asdict(self.workload).items() if value is not None},
        }


@dataclass(slots=True, eq=False)
class _Again:
    """Refusals of one kind since the first was told."""

    until: float
    last: Refusal
    count: int = 0


def is_reported(failure: Failure) -> bool:
    """Whether a failure is one for the log: refused for safety's sake before a token was asked for. Others the server knows itself."""
    if failure.kind is FailureKind.THROTTLED:
        return FROM_SERVER not in failure.data
    return failure.kind in _REPORTED and UNCHALLENGED not in failure.data


def refusal_of(
    failure: Failure, at: datetime, /, *, host: ResourceId, dialect: str, resource: str | None, workload: Workload
) -> Refusal:
    """A failure as it goes to the log."""
    detail = failure.detail or failure.kind.name.lower().replace("_", " ")
    return Refusal(host=host, at=at, reason=failure.kind, detail=detail, dialect=dialect, resource=resource, workload=workload)


class Refusals:
    """The refusals that are still to be told. Needs a running event loop; lives until `close`."""

    def __init__(self, *, tell: _Tell, clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self._waiting: deque[Refusal] = deque(maxlen=_MOST_WAITING)
        self._again: OrderedDict[_Key, _Again] = OrderedDict()
        self._telling: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None

    def note(self, refusal: Refusal) -> None:
        """Tell of it soon. Quick, and never raises."""
        now = self._clock.monotonic()
        known = self._again.get(refusal.key)
        if known is not None and now < known.until:
            known.count += 1
            known.last = refusal
            if self._counting is None or self._counting.done():
                self._counting = asyncio.get_running_loop().create_task(self._count())
            return
        self._close_window(refusal.key)
        self._again[refusal.key] = _Again(now + _WINDOW_SECONDS, refusal)
        while len(self._again) > _MOST_KINDS:
            self._close_window(next(iter(self._again)))
        self._enqueue(refusal)

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
        if known is not None and known.count:
            self._enqueue(replace(known.last, count=known.count))

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
