"""Why something was refused, and whether something would be: the lists and forms around the explanations of `Idplane.Diagnostics`.

What may be seen, and by whom, is settled behind that API. Here its answers become pages; an id that is unknown and one that is not for
the person get the same page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, cast
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId, is_guid
from idplane.model.refusals import RefusalSurface
from idplane.model.values import JsonObject
from idplane.providers.catalogue import PROVIDERS
from idplane.web.portal.explained import Document, Told, told_of
from idplane.web.portal.lists import PAGE
from idplane.web.portal.places import parsed_scope
from idplane.web.portal.principals import Eyes, Shown
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import groups_of, subscription_scope, subscriptions_of
from idplane.web.portal.view import Html, Page, Redirect, Visit

__all__ = ["ASK", "LIST", "ROUTES", "asked", "refusal_of"]

LIST: Final = "/portal/explain"
ASK: Final = "/portal/explain/ask"
_VERSION: Final = "2026-11-01"
_REFUSALS: Final = "/providers/Idplane.Diagnostics/refusals"
_SUGGESTED: Final = 100
_SURFACES: Final = {
    RefusalSurface.MANAGEMENT.value: "Resource Manager",
    RefusalSurface.VAULT.value: "Key vaults",
    RefusalSurface.TOKEN.value: "Token service",
    RefusalSurface.ENDPOINT.value: "Token endpoints of hosts",
    RefusalSurface.GRAPH.value: "Graph",
    RefusalSurface.DECISION.value: "Decision API",
    RefusalSurface.PORTAL.value: "Portal",
    RefusalSurface.AGENT.value: "Agents",
    RefusalSurface.LOG.value: "Log",
    RefusalSurface.EVENTS.value: "Events",
}


# What was refused ------------------------------------------------------------------------------------------------------


async def _list(visit: Visit) -> Page:
    if visit.query("id"):
        return Redirect(to=f"{LIST}/{quote(visit.query('id').strip().replace('/', ''), safe='')}")
    if visit.query("as") or visit.query("action"):
        return Redirect(to=f"{ASK}?{urlencode(visit.here.query)}")
    eyes = Eyes(visit)
    callers = await _callers(eyes, visit.query("q"))
    scope = parsed_scope(visit.query("scope"))
    narrowed = any(visit.query(name) for name in ("q", "surface", "scope"))
    rows: Sequence[Document] = ()
    after: str | None = None
    if len(callers) <= 1 and not (visit.query("q") and not callers) and not (visit.query("scope") and scope is None):
        rows, after = await _refusals(visit, callers[0].id if callers else None, scope)
    return Html(
        template="explain.html",
        values={
            "title": "Explain",
            "tab": "refusals",
            "rows": rows,
            "after": after,
            "callers": callers if len(callers) > 1 else (),
            "surfaces": list(_SURFACES.items()),
            "surface_names": _SURFACES,
            "narrowed": narrowed,
            "reads_all": await visit.desk.may("Idplane.Diagnostics/refusals/read", ResourceId(())),
        },
    )


async def _callers(eyes: Eyes, text: str) -> tuple[Shown, ...]:
    """Whose refusals are asked for; several where a name is not enough."""
    if not text:
        return ()
    found = await eyes.find(text)
    exact = tuple(one for one in found if text.strip().lower() in {one.name.lower(), one.sign_in_name.lower()})
    return exact or found


async def _refusals(visit: Visit, principal_id: str | None, scope: ResourceId | None) -> tuple[Sequence[Document], str | None]:
    terms = [f"principalId eq '{principal_id}'"] if principal_id else []
    if visit.query("surface") in _SURFACES:
        terms.append(f"surface eq '{visit.query('surface')}'")
    query = {"$top": str(PAGE), **({"$filter": " and ".join(terms)} if terms else {})}
    if visit.query("after"):
        query["$skiptoken"] = visit.query("after")
    prefix = "" if scope is None or not scope.segments else str(scope)
    answer = await visit.desk.read(f"{prefix}{_REFUSALS}", version=_VERSION, **query)
    link = answer.get("nextLink")
    token = parse_qs(urlsplit(link).query).get("$skiptoken") if isinstance(link, str) else None
    rows = [_row(one["properties"]) for one in cast("Sequence[Document]", answer["value"])]
    return rows, token[0] if token else None


def _row(one: Document) -> Document:
    scope = one.get("scope") or one.get("host") or one.get("resource") or ""
    caller = one["caller"]
    who = caller["name"] or caller["clientId"] or caller["principalId"] or one.get("clientAddress") or "Unknown"
    request = f"{one['method'] or ''} {one['path'] or ''}".strip()
    what = one.get("action") or (f"Token for {one['resource']}" if one["resource"] else request)
    return {**one, "where": scope, "who": who, "what": what, "why": str(one["kind"]).replace("_", " ").capitalize()}


async def refusal_of(visit: Visit, refusal_id: str) -> Told:
    """A refusal with its explanation; raises `Failure(REFUSAL_NOT_FOUND)`."""
    if not is_guid(refusal_id):
        raise Failure(FailureKind.REFUSAL_NOT_FOUND, "an id of a refusal is a GUID")
    answer = await visit.desk.read(f"{_REFUSALS}/{refusal_id.lower()}", version=_VERSION)
    record = cast("Document", answer["properties"])
    return told_of(record["explanation"], record=record)


async def _one(visit: Visit) -> Page:
    try:
        told = await refusal_of(visit, visit.params["id"])
    except Failure as failure:
        if failure.kind is not FailureKind.REFUSAL_NOT_FOUND:
            raise
        values = {"title": "Nothing to explain", "id": visit.params["id"][:100], "failure": failure}
        return Html(template="explain-missing.html", status=failure.kind.category.value, values=values, problem=failure)
    title = f"Why {told.record['caller']['name'] or 'a request'} was refused"
    return Html(template="explain-refusal.html", values={"title": title, "told": told, "fix_at": f"{LIST}/{told.id}/fix"})


# What would be ---------------------------------------------------------------------------------------------------------


async def asked(visit: Visit) -> Told:
    """The answer to the question in the address. Raises `Failure` for one that can't be asked, or not by this person."""
    principal = await _asked_about(visit)
    scope = parsed_scope(visit.query("scope") or "/")
    if scope is None:
        raise Failure(FailureKind.INVALID_PARAMETER, "the scope is no resource id", parameter="scope")
    body: JsonObject = {**principal, "action": visit.query("action").strip(), "isDataAction": bool(visit.query("data"))}
    path = f"{scope if scope.segments else ''}/providers/Idplane.Diagnostics/explain"
    return told_of(await visit.desk.write("POST", path, body, version=_VERSION))


async def _asked_about(visit: Visit) -> JsonObject:
    """The principal or the resource that is meant, as the API takes it. A name must be one principal's only."""
    text = visit.query("as").strip() or visit.person.caller.principal_id
    if text.startswith("/"):
        return {"resourceId": text}
    found = await _callers(Eyes(visit), text)
    if len(found) == 1:
        return {"principalId": found[0].id}
    words = (
        f"there is no principal called '{text[:100]}' that you may see: give its object id"
        if not found
        else f"{len(found)} principals match '{text[:100]}': choose one"
    )
    raise Failure(FailureKind.INVALID_PARAMETER, words, parameter="as")


async def _ask(visit: Visit) -> Page:
    told: Told | None = None
    problem: Failure | None = None
    choices: tuple[Shown, ...] = ()
    eyes = Eyes(visit)
    if visit.query("action").strip():
        try:
            told = await asked(visit)
        except Failure as failure:
            problem = failure
            choices = await _choices(eyes, visit.query("as"))
    return Html(
        template="explain-ask.html",
        status=problem.kind.category.value if problem else 200,
        problem=problem,
        values={
            "title": "What if",
            "tab": "ask",
            "told": told,
            "choices": choices,
            "typed": {
                "as": visit.query("as"),
                "action": visit.query("action"),
                "scope": visit.query("scope"),
                "data": visit.query("data"),
            },
            "subject": await _subject(eyes, visit.query("as")),
            "names": await _names(eyes),
            "actions": _actions(visit.query("scope")),
            "scopes": await _scopes(visit),
            "fix_at": f"{ASK}/fix",
            "query": urlencode([one for one in visit.here.query if one[0] in {"as", "action", "scope", "data"}]),
        },
    )


async def _choices(eyes: Eyes, text: str) -> tuple[Shown, ...]:
    found = () if text.strip().startswith("/") else await _callers(eyes, text)
    return found if len(found) > 1 else ()


async def _subject(eyes: Eyes, text: str) -> str:
    """Whom an object id in the field stands for."""
    return (await eyes.shown(text.strip())).name if is_guid(text.strip()) else ""


async def _names(eyes: Eyes) -> list[str]:
    """Who is suggested: to who may know everybody, since for others it would have to be searched for."""
    found = await eyes.find("") if await eyes.sight.administers() else ()
    return [one.sign_in_name if one.principal and one.principal.user else one.name for one in found]


async def _scopes(visit: Visit) -> list[str]:
    subscriptions = [str(subscription_scope(one)) for one in await subscriptions_of(visit)]
    groups = [str(one.id) for one in await groups_of(visit)]
    return ["/", *subscriptions, *groups][:_SUGGESTED]


@cache
def _operations() -> Mapping[str, tuple[str, ...]]:
    """What can be granted, by namespace in lower case."""
    return {one.namespace.lower(): tuple(sorted(each.name for each in one.operations)) for one in PROVIDERS}


_COMMON: Final = (
    "microsoft.keyvault",
    "microsoft.managedidentity",
    "microsoft.resources",
    "microsoft.authorization",
    "microsoft.compute",
    "microsoft.web",
    "microsoft.storage",
)


def _actions(scope_text: str) -> list[str]:
    """What is suggested: first what the scope's own namespace knows."""
    scope = parsed_scope(scope_text)
    own = (scope.namespace or "").lower() if scope is not None else ""
    first = [own] if own in _operations() else []
    return [name for one in dict.fromkeys((*first, *_COMMON)) for name in _operations().get(one, ())]


ROUTES: Final = (
    Route(method="GET", pattern=LIST, handler=_list),
    Route(method="GET", pattern=ASK, handler=_ask),
    Route(method="GET", pattern=f"{LIST}/{{id}}", handler=_one),
)
