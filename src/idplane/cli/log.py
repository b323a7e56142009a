"""`idplane log`: the two logs as Azure's own APIs show them, once or as they grow."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import click

from idplane.bootstrap.world import SystemClock
from idplane.cli.client import PlaneClient
from idplane.cli.description import PlaneDescription, read_plane
from idplane.cli.operator import ARM_RESOURCE, GRAPH_RESOURCE, operator_access
from idplane.cli.options import data_option, json_option
from idplane.cli.output import say_columns, say_json
from idplane.cli.paging import pages
from idplane.model.values import JsonObject

__all__ = ["ACTIVITY", "SIGN_INS", "Follower", "LogKind", "caller_words", "command", "parse_since"]

_POLL_SECONDS = 1.0
_INTERRUPTED = 130
_OVERLAP = timedelta(seconds=30)
"""Events are stamped when their request came in and are written when it is done, so a later read may bring an earlier one."""
_TOKEN_LIFE = timedelta(minutes=30)
_SHOWN_DIGITS = 12
"""Of a container's id, as its engine shows it."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKind:
    """One of the two logs: where it is read and how an event is shown."""

    audience: str
    address: Callable[[PlaneDescription, datetime], str]
    """The first page of what happened since an instant, newest first."""
    identity: str
    """The member that tells events apart."""
    time: str
    """The member with the event's time."""
    columns: Callable[[JsonObject], Sequence[str]]


def _activity_address(plane: PlaneDescription, since: datetime) -> str:
    # Every operation has a start as well; its end says more.
    condition = quote(f"eventTimestamp ge {_instant(since)} and status eq 'Accepted,Succeeded,Failed'")
    path = f"/subscriptions/{plane.subscription_id}/providers/Microsoft.Insights/eventtypes/management/values"
    return f"{plane.arm}{path}?api-version=2015-04-01&$filter={condition}"


def _sign_in_address(plane: PlaneDescription, since: datetime) -> str:
    kinds = "signInEventTypes/any(t: t eq 'managedIdentity' or t eq 'servicePrincipal')"
    condition = quote(f"createdDateTime ge {_instant(since)} and {kinds}")
    return f"{plane.graph}/beta/auditLogs/signIns?$filter={condition}"


def _user_sign_in_address(plane: PlaneDescription, since: datetime) -> str:
    # Graph does not show people's sign-ins and programs' together.
    kinds = "signInEventTypes/any(t: t eq 'interactiveUser' or t eq 'nonInteractiveUser')"
    condition = quote(f"createdDateTime ge {_instant(since)} and {kinds}")
    return f"{plane.graph}/beta/auditLogs/signIns?$filter={condition}"


def _activity_columns(event: JsonObject) -> Sequence[str]:
    status, detail = _inner(event, "status", "value"), _inner(event, "subStatus", "value")
    outcome = f"{status} ({detail})" if detail else status
    return (
        _clock_time(event.get("eventTimestamp")),
        outcome,
        _inner(event, "operationName", "value"),
        _inner(event, "claims", "name") or str(event.get("caller") or "-"),
        str(event.get("resourceId") or ""),
    )


def _sign_in_columns(event: JsonObject) -> Sequence[str]:
    failed = _inner(event, "status", "errorCode") not in {"", "0"}
    outcome = f"refused {_inner(event, 'status', 'errorCode')}" if failed else "issued"
    identity = event.get("managedServiceIdentity")
    kind = str(identity.get("msiType") or "") if isinstance(identity, dict) else ""
    reason = _inner(event, "status", "failureReason").split("\r\n")[0] if failed else ""
    return (
        _clock_time(event.get("createdDateTime")),
        outcome,
        str(
            event.get("servicePrincipalName")
            or event.get("userPrincipalName")
            or event.get("appDisplayName")
            or event.get("appId")
            or _host_name(event)
        ),
        str(event.get("appDisplayName") or "") if event.get("userId") else kind if kind != "none" else "",
        str(event.get("resourceDisplayName") or event.get("resourceId") or event.get("@idplane.resource") or ""),
        caller_words(event.get("@idplane.workload")),
        reason,
    )


def caller_words(workload: object) -> str:
    """The asking process: its number, what it executes, and the unit, container or run that it belongs to.

    Its paths are whatever it chose, so nothing in them may act on a terminal.
    """
    facts = workload if isinstance(workload, dict) else {}
    engine, _, container = str(facts.get("container") or "").partition(":")
    run = facts.get("runId")
    place = facts.get("systemdUnit") or (f"{engine}:{container[:_SHOWN_DIGITS]}" if container else run and f"run:{run}")
    executable = str(facts.get("executable") or "").removesuffix(" (deleted)").rpartition("/")[2]
    words = " ".join(str(one) for one in (facts.get("pid"), executable, place) if one)
    return "".join(one if one.isprintable() else "?" for one in words)


def _host_name(event: JsonObject) -> str:
    """Of the machine, where nobody knows which of its identities was meant."""
    return str(event.get("azureResourceId") or "").rpartition("/")[2] or "-"


ACTIVITY = LogKind(
    audience=ARM_RESOURCE,
    address=_activity_address,
    identity="eventDataId",
    time="eventTimestamp",
    columns=_activity_columns,
)
SIGN_INS = LogKind(
    audience=GRAPH_RESOURCE, address=_sign_in_address, identity="id", time="createdDateTime", columns=_sign_in_columns
)
_KINDS = {"activity": ACTIVITY, "signins": SIGN_INS, "user-signins": replace(SIGN_INS, address=_user_sign_in_address)}


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


_EXAMPLES = """\b
Examples:
  idplane log signins --follow
  idplane log activity --since 10m --json
"""


@click.command("log", epilog=_EXAMPLES)
@click.argument("kind", type=click.Choice(list(_KINDS)))
@data_option
@click.option(
    "--since", default="1d", show_default=True, metavar="WHEN", help="A length such as 90s, 10m, 2h, 7d, or an ISO 8601 time."
)
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most this many, the newest ones."
)
@click.option("--follow", "-f", is_flag=True, help="Then wait for more, until Ctrl-C.")
@json_option
def command(*, kind: str, data: Path, since: str, limit: int, follow: bool, as_json: bool) -> None:
    """Read what was done (activity) or which tokens were issued and refused (signins; people: user-signins), oldest first.

    With --json a list; with --json --follow one event on each line.
    """
    clock = SystemClock()
    reader = _Reader(data, _KINDS[kind], clock)
    begin = parse_since(since, clock.now())
    follower = Follower(_KINDS[kind], begin)
    events = follower.start(tuple(itertools.islice(reader.read(begin), limit)))
    if not follow and as_json:
        say_json(events)
        return
    _show(events, _KINDS[kind], as_json=as_json)
    if follow:
        try:
            asyncio.run(_follow(reader, follower, clock, as_json=as_json))
        except KeyboardInterrupt:
            raise click.exceptions.Exit(_INTERRUPTED) from None


class _Reader:
    """Reads a log as the operator, with a token that is renewed before it expires."""

    def __init__(self, data: Path, kind: LogKind, clock: SystemClock) -> None:
        self.kind = kind
        self._data = data
        self._clock = clock
        self._plane = read_plane(data)
        self._client = PlaneClient(Path(self._plane.ca_file))
        self._token = ""
        self._renew_at = clock.now()

    def read(self, since: datetime) -> Iterable[JsonObject]:
        now = self._clock.now()
        if now >= self._renew_at:
            self._token = operator_access(self._data, self._plane, self._client, self.kind.audience)
            self._renew_at = now + _TOKEN_LIFE
        return pages(self._client, self.kind.address(self._plane, since), self._token)


async def _follow(reader: _Reader, follower: Follower, clock: SystemClock, *, as_json: bool) -> None:
    while True:
        await clock.sleep(_POLL_SECONDS)
        _show(follower.fresh(reader.read(follower.since)), reader.kind, as_json=as_json)


def _show(events: Sequence[JsonObject], kind: LogKind, *, as_json: bool) -> None:
    if as_json:
        for event in events:
            say_json(event)
    else:
        say_columns([kind.columns(event) for event in events])


def _inner(event: JsonObject, name: str, member: str) -> str:
    """A member of a member, which Azure's logs like: `{"value": ..., "localizedValue": ...}`."""
    outer = event.get(name)
    value = outer.get(member) if isinstance(outer, dict) else outer
    return "" if value is None else str(value)


def _instant(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def _clock_time(value: object) -> str:
    return str(value)[:19].replace("T", " ")


def _parsed_time(value: object, otherwise: datetime) -> datetime:
    """An event's time. Azure writes seven decimals, of which Python 3.11 keeps six."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return otherwise
    return at if at.tzinfo else at.replace(tzinfo=UTC)
