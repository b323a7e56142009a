"""The activity log: what was done, by whom, under which role, and what was refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

from idplane.graph.permissions import Area, may
from idplane.model.events import ActivityEvent, EventStatus
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId
from idplane.ports.collections import ACTIVITY, DENY_ASSIGNMENTS, ROLE_ASSIGNMENTS, SIGN_INS
from idplane.ports.store import ColumnValue
from idplane.providers.activity_events import render_event
from idplane.web.portal.activity_search import (
    ACTIVITY_READ,
    NARROWEST,
    ActivityRow,
    ActivitySight,
    same_correlation,
)
from idplane.web.portal.log_files import EXPORT, MOST_EXPORTED, download
from idplane.web.portal.log_search import LogSearch, event_at, place_of_text
from idplane.web.portal.log_words import explained_refusal, guid
from idplane.web.portal.offers import offer
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import subscriptions_of
from idplane.web.portal.sign_in_rows import SignInRow
from idplane.web.portal.spans import SPANS, Span, span_of
from idplane.web.portal.view import Fragment, Here, Html, Page, Visit

__all__ = ["ROUTES"]

_LIST: Final = "/portal/activity"
_ROLES_READ: Final = "Microsoft.Authorization/roleAssignments/read"
_OUTCOMES: Final = (("", "All results"), ("succeeded", "Succeeded"), ("failed", "Failed or refused"), ("accepted", "Going on"))
_STATUS: Final = {"succeeded": EventStatus.SUCCEEDED, "failed": EventStatus.FAILED, "accepted": EventStatus.ACCEPTED}
_FILTERS: Final = ("q", "from", "to", "outcome", "subscription", "resource", "operation", "caller", "correlation")
_NAMED: Final = ("resource", "correlation")
_FURTHER: Final = ("resource", "operation", "caller", "correlation", "from", "to")
_GROUP_DEPTH: Final = 4
_SUBSCRIPTION_DEPTH: Final = 2
_HEADINGS: Final = (
    "time",
    "started",
    "operation",
    "status",
    "sub status",
    "http status",
    "resource",
    "caller",
    "caller name",
    "caller id",
    "address",
    "correlation id",
    "request id",
    "token id",
    "because",
)
_Test = Callable[[ActivityEvent], bool]


async def _list(visit: Visit) -> Page:
    if visit.query("format"):
        return await _export(visit)
    return Html(template="activity.html", values=await _shown(visit))


async def _rows(visit: Visit) -> Page:
    """The list alone, for the script that keeps it up to date."""
    return Fragment(template="activity-rows.html", values={**await _shown(visit), "here": Here(_LIST, visit.request.query)})


async def _shown(visit: Visit) -> Mapping[str, object]:
    span = _span(visit)
    after = place_of_text(visit.query("after"))
    found = await (await _search(visit, span)).run(after)
    return {
        "title": "Activity log",
        "fresh": str(Here(f"{_LIST}/rows", visit.request.query)),
        "found": found,
        "rows": [ActivityRow(one.position, one.event) for one in found.rows],
        "everything": await visit.desk.may(ACTIVITY_READ, ROOT),
        "reading": await offer(visit, ACTIVITY_READ, ROOT),
        "span": span,
        "live": after is None and span.goes_on,
        "narrowed": any(visit.query(name) for name in _FILTERS),
        "further": sum(bool(visit.query(name)) for name in _FURTHER),
        "spans": SPANS,
        "outcomes": _OUTCOMES,
        "subscriptions": [(one.id, one.display_name) for one in await subscriptions_of(visit)],
        "most": MOST_EXPORTED,
    }


async def _search(visit: Visit, span: Span) -> LogSearch[ActivityEvent]:
    """What the address asks for, of what the person may see."""
    columns: dict[str, ColumnValue] = {}
    tests: list[_Test] = []
    sight = ActivitySight(visit)
    if (group := await sight.only_group()) is not None:
        columns["group_key"] = group
    if text := visit.query("subscription"):
        columns["subscription_id"] = text.lower()
    if text := visit.query("correlation").strip():
        columns["correlation_id"] = text.lower() if guid(text) else text
    if text := visit.query("resource").strip():
        _by_resource(text, columns, tests)
    if text := visit.query("caller").strip():
        _by_caller(text, columns, tests)
    if status := _STATUS.get(visit.query("outcome")):
        tests.append(lambda it: it.status is status)
    for name, read in _TEXTS.items():
        if text := visit.query(name).strip().lower():
            tests.append(_contains(read, text))
    return LogSearch(
        store=visit.desk.store,
        log=ACTIVITY,
        span=span,
        narrowest=NARROWEST,
        columns=columns,
        tests=tuple(tests),
        keep=sight.sees,
    )


def _by_resource(text: str, columns: dict[str, ColumnValue], tests: list[_Test]) -> None:
    """A subscription, a group or a resource by its whole id; or a part of one."""
    try:
        named = ResourceId.parse(text) if text.startswith("/") else ROOT
    except Failure:
        named = ROOT
    depth = len(named.segments)
    if depth == 0:
        tests.append(_contains(lambda it: (it.resource_id,), text.lower()))
    elif depth == _SUBSCRIPTION_DEPTH and named.subscription is not None:
        columns["subscription_id"] = named.subscription
    else:
        column = "group_key" if depth == _GROUP_DEPTH and named.resource_group else "resource_key"
        tests.append(lambda it: ACTIVITY.columns[column](it) == named.key)
        columns.setdefault(column, named.key)


def _by_caller(text: str, columns: dict[str, ColumnValue], tests: list[_Test]) -> None:
    """An object id, or a part of a name."""
    if guid(text):
        columns["caller_id"] = text.lower()
    else:
        tests.append(_contains(lambda it: (it.caller, it.caller_name), text.lower()))


def _contains(read: Callable[[ActivityEvent], tuple[object, ...]], text: str) -> _Test:
    return lambda it: any(text in str(part).lower() for part in read(it) if part)


def _everything(it: ActivityEvent) -> tuple[object, ...]:
    names = (it.operation, it.resource_id, it.caller, it.caller_name, it.caller_id, it.sub_status, it.correlation_id)
    return (*names, it.operation_id, it.client_address, it.claims.get("uti"), it.claims.get("appid"))


_TEXTS: Final[Mapping[str, Callable[[ActivityEvent], tuple[object, ...]]]] = {
    "q": _everything,
    "operation": lambda it: (it.operation,),
}


def _span(visit: Visit) -> Span:
    """The time that is asked for: usually a day, and all of it where something is named of which there is little."""
    usual = "all" if any(visit.query(name) for name in _NAMED) else "24h"
    return span_of(visit.query("range"), visit.query("from"), visit.query("to"), visit.desk.now, usual)


async def _export(visit: Visit) -> Page:
    span = _span(visit)
    found = await (await _search(visit, span)).run(None, EXPORT)
    rows = ((_cells(one.event), render_event(one.event)[0]) for one in found.rows)
    return download(visit.query("format"), "activity", visit.desk.now, _HEADINGS, rows, whole=found.after is None)


def _cells(it: ActivityEvent) -> tuple[object, ...]:
    return (
        it.at,
        it.started_at,
        it.operation,
        it.status.value,
        it.sub_status,
        it.http_status,
        it.resource_id,
        it.caller,
        it.caller_name,
        it.caller_id,
        it.client_address,
        it.correlation_id,
        it.operation_id,
        it.claims.get("uti"),
        it.because,
    )


async def _one(visit: Visit) -> Page:
    found = await event_at(visit.desk.store, ACTIVITY, visit.params["place"])
    if found is None or not await ActivitySight(visit).sees(found.event):
        raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such event, or none that you may see")
    event = found.event
    return Html(
        template="activity-detail.html",
        values={
            "title": event.operation,
            "row": ActivityRow(found.position, event),
            "event": event,
            "decided": await _decided(visit, event),
            "refusal": await explained_refusal(visit, event.operation_id) if event.status is EventStatus.FAILED else "",
            "issued": await _issued(visit, event),
            "others": await same_correlation(visit, event.correlation_id, found.position),
            "claims": {name: _text(value) for name, value in event.claims.items()},
            "properties": {name: _text(value) for name, value in event.properties.items()},
        },
    )


async def _decided(visit: Visit, event: ActivityEvent) -> Mapping[str, str] | None:
    """What allowed it, or denied it: the role's name and the scope, where the person may read assignments there."""
    if event.because is None:
        return None
    found = await visit.desk.store.get(ROLE_ASSIGNMENTS, event.because)
    if found is not None:
        grant = found.value
        if grant.tenant_id != visit.desk.tenant.id or not await visit.desk.may(_ROLES_READ, ResourceId.parse(grant.scope)):
            return {"id": event.because, "words": "", "scope": ""}
        role = await visit.desk.access.definition(grant.tenant_id, grant.role_id)
        return {"id": event.because, "words": role.name if role else "A role that is gone", "scope": grant.scope}
    denied = await visit.desk.store.get(DENY_ASSIGNMENTS, event.because)
    return {"id": event.because, "words": "A deny assignment" if denied else "An assignment that is gone", "scope": ""}


async def _issued(visit: Visit, event: ActivityEvent) -> tuple[int, SignInRow] | None:
    """The sign-in that issued the token of the caller, for whoever may read that log."""
    token = str(event.claims.get("uti") or "")
    if not token or not await may(visit.person.caller, visit.desk.access, Area.SIGN_INS, writes=False):
        return None
    found = await visit.desk.store.read_log(SIGN_INS, where={"token_id": token}, limit=1)
    return (found[0].position, SignInRow(found[0].event)) if found and found[0].event.tenant_id == event.tenant_id else None


def _text(value: object) -> str:
    """A value in words: JSON that is in a text is set out."""
    found = value
    if isinstance(value, str):
        if value[:1] not in ("{", "["):
            return value
        try:
            found = json.loads(value)
        except ValueError:
            return value
    return json.dumps(found, indent=2, ensure_ascii=False, default=str)


ROUTES: Final = (
    Route(method="GET", pattern=_LIST, handler=_list),
    Route(method="GET", pattern=f"{_LIST}/rows", handler=_rows),
    Route(method="GET", pattern=f"{_LIST}/{{place}}", handler=_one),
)
