"""Making the change that an explanation suggests: the request is shown, then made as the person, and the question asked again.

Nothing that a form says is sent: the explanation is worked out anew, and the change is made only if it is the one that was shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias
from urllib.parse import urlencode

from idplane.model.failure import Failure, FailureKind
from idplane.web.portal.explained import FixShown, Told
from idplane.web.portal.explanations import ASK, LIST, asked, refusal_of
from idplane.web.portal.routes import Handler, Route
from idplane.web.portal.view import Html, Page, Redirect, Visit

__all__ = ["ROUTES"]

_Source: TypeAlias = Callable[[Visit], Awaitable[Told]]


async def _refused(visit: Visit) -> Told:
    return await refusal_of(visit, visit.params["id"])


def _back(visit: Visit) -> str:
    if "id" in visit.params:
        return f"{LIST}/{visit.params['id']}"
    return f"{ASK}?{urlencode([one for one in visit.here.query if one[0] != 'fix'])}"


def _confirm(source: _Source) -> Handler:
    async def handler(visit: Visit) -> Page:
        told = await source(visit)
        return _page(visit, told, _fix(told, visit.query("fix")))

    return handler


def _apply(source: _Source) -> Handler:
    async def handler(visit: Visit) -> Page:
        told = await source(visit)
        fix = _fix(told, visit.query("fix"))
        if fix.digest != visit.form("request"):
            words = "the change that is suggested has become another one since it was shown: look at it again"
            return _page(visit, told, fix, Failure(FailureKind.CONFLICT, words))
        try:
            await _make(visit, fix)
        except Failure as failure:
            return _page(visit, told, fix, failure)
        after = await source(visit)
        said = "Done. It would be allowed now." if after.would_pass else "Done. It would still be refused: see what is left."
        return Redirect(to=_back(visit), said=said)

    return handler


def _fix(told: Told, number: str) -> FixShown:
    found = next((one for one in told.fixes if str(one.number) == number and one.request is not None), None)
    if found is None:
        raise Failure(FailureKind.RESOURCE_NOT_FOUND, "there is nothing to change any more: look at the explanation again")
    return found


def _page(visit: Visit, told: Told, fix: FixShown, problem: Failure | None = None) -> Page:
    return Html(
        template="explain-fix.html",
        status=problem.kind.category.value if problem else 200,
        problem=problem,
        values={"title": "Make this change", "told": told, "fix": fix, "back": _back(visit)},
    )


async def _make(visit: Visit, fix: FixShown) -> None:
    request = fix.request
    if request is None:
        return
    if request["api"] == "graph":
        await visit.desk.graph(request["method"], fix.path, request["body"])
    else:
        await visit.desk.write(request["method"], fix.path, request["body"], version=fix.version)


ROUTES: Final = (
    Route(method="GET", pattern=f"{ASK}/fix", handler=_confirm(asked)),
    Route(method="POST", pattern=f"{ASK}/fix", handler=_apply(asked)),
    Route(method="GET", pattern=f"{LIST}/{{id}}/fix", handler=_confirm(_refused)),
    Route(method="POST", pattern=f"{LIST}/{{id}}/fix", handler=_apply(_refused)),
)
