"""The two logs as the plane's own APIs show them: a span of them, or what is new."""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from idplane.bootstrap.world import SystemClock
from idplane.cli.client import PlaneClient
from idplane.cli.description import PlaneDescription, read_plane
from idplane.cli.operator import ARM_RESOURCE, GRAPH_RESOURCE, operator_access
from idplane.cli.paging import pages
from idplane.model.values import JsonObject

__all__ = [
    "ACTIVITY",
    "SIGN_INS",
    "Follower",
    "LogKind",
    "Reader",
    "activity_addresses",
    "follow_log",
    "parse_since",
    "until_interrupted",
]

_POLL_SECONDS = 1.0
_INTERRUPTED = 130
_OVERLAP = timedelta(seconds=30)
"""Events are stamped when their request came in and are written when it is done, so a later read may bring an earlier one."""
_TOKEN_LIFE = timedelta(minutes=30)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKind:
    """One of the two logs: where it is read and how an event is shown."""

    audience: str
    addresses: Callable[[PlaneDescription, datetime, datetime | None], Sequence[str]]
    """The first pages of what happened since an instant, and before another if there is one, each newest first."""
    identity: str
    """The member that tells events apart."""
    time: str
    """The member with the event's time."""


def activity_addresses(plane: PlaneDescription, since: datetime, until: datetime | None, more: str = "") -> Sequence[str]:
    """The activity log of the plane's subscription; `more` is a further condition."""
    end = f" and eventTimestamp lt {_instant(until)}" if until is not None else ""
    condition = quote(f"eventTimestamp ge {_instant(since)}{end}{more}")
    path = f"/subscriptions/{plane.subscription_id}/providers/Microsoft.Insights/eventtypes/management/values"
    return (f"{plane.arm}{path}?api-version=2015-04-01&$filter={condition}",)


def _ends_addresses(plane: PlaneDescription, since: datetime, until: datetime | None) -> Sequence[str]:
    """Every operation has a start as well; its end says more."""
    return activity_addresses(plane, since, until, " and status eq 'Accepted,Succeeded,Failed'")


def _sign_in_addresses(plane: PlaneDescription, since: datetime, until: datetime | None) -> Sequence[str]:
    """Graph does not show users' sign-ins and those of programs in one list."""
    end = f" and createdDateTime lt {_instant(until)}" if until is not None else ""
    conditions = (
        quote(f"createdDateTime ge {_instant(since)}{end} and signInEventTypes/any(t: t eq '{one}' or t eq '{other}')")
        for one, other in (("managedIdentity", "servicePrincipal"), ("interactiveUser", "nonInteractiveUser"))
    )
    return tuple(f"{plane.graph}/beta/auditLogs/signIns?$filter={condition}" for condition in conditions)


ACTIVITY = LogKind(
    audience=ARM_RESOURCE,
    addresses=_ends_addresses,
    identity="eventDataId",
    time="eventTimestamp",
)
SIGN_INS = LogKind(audience=GRAPH_RESOURCE, addresses=_sign_in_addresses, identity="id", time="createdDateTime")


def parse_since(text: str, now: datetime) -> datetime:
    """An instant (ISO 8601, UTC unless it says otherwise) or a length of time before `now`; raises `click.BadParameter`."""
    length = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if length is not None:
        return now - timedelta(**{_UNITS[length[2]]: int(length[1])})
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"'{text}' is neither a length such as 90s, 10m, 2h or 7d nor an ISO 8601 time") from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


class Follower:
    """Tells new events from those of earlier reads. Reads overlap, so it remembers the ids of the overlap."""

    def __init__(self, kind: LogKind, since: datetime) -> None:
        self._kind = kind
        self._seen: dict[str, datetime] = {}
        self._newest = since
        self._floor = since

    @property
    def since(self) -> datetime:
        """From when on to read next."""
        return max(self._newest - _OVERLAP, self._floor)

    def start(self, newest: Sequence[JsonObject]) -> list[JsonObject]:
        """The first read, which may leave out older events: they stay left out."""
        shown = self.fresh(newest)
        if shown:
            self._floor = _parsed_time(shown[0].get(self._kind.time), self._floor)
        return shown

    def fresh(self, events: Iterable[JsonObject]) -> list[JsonObject]:
        """Those not seen before, oldest first."""
        found = []
        for event in events:
            key, at = str(event.get(self._kind.identity)), _parsed_time(event.get(self._kind.time), self._newest)
            if key not in self._seen:
                found.append((at, event))
                self._seen[key] = at
                self._newest = max(self._newest, at)
        self._seen = {key: at for key, at in self._seen.items() if at >= self.since}
        return [event for _, event in sorted(found, key=lambda pair: pair[0])]


class Reader:
    """Reads a log as the operator, with a token that is renewed before it expires."""

    def __init__(self, data: Path, kind: LogKind, clock: SystemClock) -> None:
        self.kind = kind
        self._data = data
        self._clock = clock
        self._plane = read_plane(data)
        self._client = PlaneClient(Path(self._plane.ca_file))
        self._token = ""
        self._renew_at = clock.now()

    def read(self, since: datetime, until: datetime | None = None) -> Iterable[JsonObject]:
        """Events of a time, newest first; raises `CommandError`."""
        now = self._clock.now()
        if now >= self._renew_at:
            self._token = operator_access(self._data, self._plane, self._client, self.kind.audience)
            self._renew_at = now + _TOKEN_LIFE
        lists = (pages(self._client, url, self._token) for url in self.kind.addresses(self._plane, since, until))
        return heapq.merge(*lists, key=lambda event: _parsed_time(event.get(self.kind.time), since), reverse=True)


async def follow_log(
    reader: Reader, follower: Follower, clock: SystemClock, show: Callable[[Sequence[JsonObject]], None]
) -> None:
    """Show what is new, for ever."""
    while True:
        await clock.sleep(_POLL_SECONDS)
        show(follower.fresh(reader.read(follower.since)))


def until_interrupted(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, or to Ctrl-C."""
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(_INTERRUPTED) from None


def _instant(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def _parsed_time(value: object, otherwise: datetime) -> datetime:
    """An event's time. Azure writes seven decimals, of which Python 3.11 keeps six."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return otherwise
    return at if at.tzinfo else at.replace(tzinfo=UTC)
