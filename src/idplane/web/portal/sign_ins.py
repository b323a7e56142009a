"""The sign-in log: each attempt to get a token, with whatever is on record of it.

Who may read it is decided as for Graph's `auditLogs/signIns`, which reads the same log (`graph.permissions`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from idplane.graph.permissions import Area, forbidden, may
from idplane.graph.sign_ins import sign_in_document
from idplane.model.directory import PrincipalType
from idplane.model.events import SignIn
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT
from idplane.ports.collections import PRINCIPALS, SIGN_INS
from idplane.ports.store import ColumnValue
from idplane.web.portal.activity_search import calls_with_token, same_correlation
from idplane.web.portal.log_files import EXPORT, MOST_EXPORTED, download
from idplane.web.portal.log_search import LogSearch, event_at, place_of_text
from idplane.web.portal.log_words import explained_refusal, guid
from idplane.web.portal.offers import offer
from idplane.web.portal.routes import Route
from idplane.web.portal.sign_in_rows import SignInRow
from idplane.web.portal.spans import SPANS, Span, span_of
from idplane.web.portal.view import Fragment, Here, Html, Page, Visit

__all__ = ["ROUTES"]

_LIST: Final = "/portal/sign-ins"
_READ: Final = "Microsoft.Authorization/roleAssignments/write"
"""What whoever has it at the tenant may read the log by; see `graph.permissions`."""
_NARROWEST: Final = ("token_id", "correlation_id", "principal_id", "client_id", "error_code", "tenant_id")
_OUTCOMES: Final = (("", "All results"), ("success", "Success"), ("refused", "Refused"))
_KINDS: Final = (
    ("", "All kinds"),
    ("managed", "Managed identities"),
    ("application", "Applications"),
    ("user", "People"),
)
_TYPES: Final = {
    "managed": PrincipalType.MANAGED_IDENTITY.value,
    "application": PrincipalType.APPLICATION.value,
    "user": PrincipalType.USER.value,
}
_FILTERS: Final = (
    "q",
    "range",
    "from",
    "to",
    "outcome",
    "kind",
    "principal",
    "host",
    "resource",
    "caller",
    "code",
    "correlation",
    "token",
)
_NAMED: Final = ("principal", "correlation", "token")
_FURTHER: Final = ("principal", "resource", "host", "caller", "code", "correlation", "token", "from", "to")
_MOST_DIGITS: Final = 9
_HEADINGS: Final = (
    "time",
    "request id",
    "result",
    "error code",
    "reason",
    "principal",
    "principal id",
    "client id",
    "kind",
    "resource",
    "host",
    "process",
    "pid",
    "uid",
    "binding",
    "credential",
    "thumbprint",
    "signing key",
    "token id",
    "correlation id",
    "address",
    "user agent",
)
_Test = Callable[[SignIn], bool]


async def _list(visit: Visit) -> Page:
    if visit.query("format"):
        return await _export(visit)
    return Html(template="sign-ins.html", values=await _shown(visit))


async def _rows(visit: Visit) -> Page:
    """The list alone, for the script that keeps it up to date."""
    await _require(visit)
    return Fragment(template="sign-in-rows.html", values={**await _shown(visit), "here": Here(_LIST, visit.request.query)})


async def _shown(visit: Visit) -> Mapping[str, object]:
    readable = await may(visit.person.caller, visit.desk.access, Area.SIGN_INS, writes=False)
    span = _span(visit)
    after = place_of_text(visit.query("after"))
    found = await (await _search(visit, span)).run(after) if readable else None
    return {
        "title": "Sign-in log",
        "fresh": str(Here(f"{_LIST}/rows", visit.request.query)),
        "reading": await offer(visit, _READ, ROOT),
        "found": found,
        "rows": [(one.position, SignInRow(one.event)) for one in found.rows] if found else [],
        "span": span,
        "live": readable and after is None and span.goes_on,
        "narrowed": any(visit.query(name) for name in _FILTERS if name != "range"),
        "further": sum(bool(visit.query(name)) for name in _FURTHER),
        "spans": SPANS,
        "outcomes": _OUTCOMES,
        "kinds": _KINDS,
        "most": MOST_EXPORTED,
    }


async def _search(visit: Visit, span: Span) -> LogSearch[SignIn]:
    """What the address asks for, of the person's own tenant."""
    columns: dict[str, ColumnValue] = {"tenant_id": visit.desk.tenant.id}
    tests: list[_Test] = []
    for name, column in (("correlation", "correlation_id"), ("token", "token_id")):
        if text := visit.query(name).strip():
            columns[column] = text.lower() if guid(text) else text
    if principal := visit.query("principal").strip():
        await _by_principal(visit, principal, columns, tests)
    _by_outcome(visit, columns, tests)
    for name, read in _TEXTS.items():
        if text := visit.query(name).strip().lower():
            tests.append(_contains(read, text))
    if kind := _TYPES.get(visit.query("kind")):
        tests.append(lambda it: it.principal_type == kind)
    return LogSearch(store=visit.desk.store, log=SIGN_INS, span=span, narrowest=_NARROWEST, columns=columns, tests=tuple(tests))


async def _by_principal(visit: Visit, text: str, columns: dict[str, ColumnValue], tests: list[_Test]) -> None:
    """An object id, a client id, or a part of a name."""
    if not guid(text):
        tests.append(_contains(lambda it: (it.principal_name, it.user.display_name if it.user else ""), text.lower()))
    elif await visit.desk.store.get(PRINCIPALS, text.lower()) is not None:
        columns["principal_id"] = text.lower()
    else:
        columns["client_id"] = text.lower()


def _by_outcome(visit: Visit, columns: dict[str, ColumnValue], tests: list[_Test]) -> None:
    code = re.sub(r"(?i)^\s*AADSTS", "", visit.query("code")).strip()
    if code:
        if not (code.isascii() and code.isdigit() and len(code) <= _MOST_DIGITS):
            raise Failure(
                FailureKind.INVALID_PARAMETER,
                f"'{code[:40]}' is no error code: write one such as AADSTS700016",
                parameter="code",
            )
        columns["error_code"] = int(code)
    match visit.query("outcome"):
        case "success":
            columns.setdefault("error_code", 0)
            tests.append(lambda it: it.error_code == 0)
        case "refused":
            tests.append(lambda it: it.error_code != 0)
        case _:
            pass


def _contains(read: Callable[[SignIn], tuple[object, ...]], text: str) -> _Test:
    return lambda it: any(text in str(part).lower() for part in read(it) if part)


def _caller(it: SignIn) -> tuple[object, ...]:
    one = it.workload
    if one is None:
        return ()
    user = f"uid {one.uid}" if one.uid is not None else ""
    process = f"pid {one.pid}" if one.pid is not None else ""
    return one.executable, one.systemd_unit, one.container, one.cgroup, one.run_id, one.binding, user, process


def _everything(it: SignIn) -> tuple[object, ...]:
    names = (it.id, it.principal_name, it.principal_id, it.client_id, it.resource, it.resource_name, it.host, it.failure_reason)
    return (*names, it.correlation_id, it.token_id, it.client_address, it.user_agent, it.credential_thumbprint, *_caller(it))


_TEXTS: Final[Mapping[str, Callable[[SignIn], tuple[object, ...]]]] = {
    "q": _everything,
    "host": lambda it: (it.host,),
    "resource": lambda it: (it.resource, it.resource_name, it.resource_client_id),
    "caller": _caller,
}


def _span(visit: Visit) -> Span:
    """The time that is asked for: usually a day, and all of it where something is named of which there is little."""
    usual = "all" if any(visit.query(name) for name in _NAMED) else "24h"
    return span_of(visit.query("range"), visit.query("from"), visit.query("to"), visit.desk.now, usual)


async def _export(visit: Visit) -> Page:
    await _require(visit)
    span = _span(visit)
    found = await (await _search(visit, span)).run(None, EXPORT)
    rows = ((_cells(one.event), sign_in_document(one.event)) for one in found.rows)
    return download(visit.query("format"), "sign-ins", visit.desk.now, _HEADINGS, rows, whole=found.after is None)


def _cells(it: SignIn) -> tuple[object, ...]:
    workload = it.workload
    row = SignInRow(it)
    return (
        it.at,
        it.id,
        "success" if row.good else "refused",
        it.error_code or "",
        it.failure_reason,
        it.principal_name,
        it.principal_id,
        it.client_id,
        it.principal_type,
        it.resource,
        it.host,
        row.process,
        workload.pid if workload else None,
        workload.uid if workload else None,
        workload.binding if workload else None,
        it.credential_kind,
        it.credential_thumbprint,
        it.signing_key,
        it.token_id,
        it.correlation_id,
        it.client_address,
        it.user_agent,
    )


async def _one(visit: Visit) -> Page:
    await _require(visit)
    found = await event_at(visit.desk.store, SIGN_INS, visit.params["place"])
    if found is None or found.event.tenant_id != visit.desk.tenant.id:
        raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such sign-in")
    event = found.event
    return Html(
        template="sign-in-detail.html",
        values={
            "title": f"Sign-in of {event.principal_name or 'nobody known'}",
            "place": found.position,
            "row": SignInRow(event),
            "event": event,
            "refusal": await explained_refusal(visit, event.id) if event.error_code else "",
            "calls": await calls_with_token(visit, event),
            "others": await _alike(visit, event, found.position),
            "operations": await same_correlation(visit, event.correlation_id),
        },
    )


async def _alike(visit: Visit, event: SignIn, position: int) -> list[tuple[int, SignInRow]]:
    """Other sign-ins under the same correlation id."""
    if not event.correlation_id:
        return []
    where = {"correlation_id": event.correlation_id}
    found = await visit.desk.store.read_log(SIGN_INS, where=where, limit=21)
    return [
        (one.position, SignInRow(one.event))
        for one in found
        if one.position != position and one.event.tenant_id == event.tenant_id
    ]


async def _require(visit: Visit) -> None:
    if not await may(visit.person.caller, visit.desk.access, Area.SIGN_INS, writes=False):
        raise forbidden(Area.SIGN_INS, writes=False)


ROUTES: Final = (
    Route(method="GET", pattern=_LIST, handler=_list),
    Route(method="GET", pattern=f"{_LIST}/rows", handler=_rows),
    Route(method="GET", pattern=f"{_LIST}/{{place}}", handler=_one),
)
