"""The surface below `/portal`, step by step.

files → sign-in → session → page → form → handler → HTML. Whoever is not signed in is led to the sign-in, and back to where it was going.
A failure becomes a page that tells it, its id, and where it is explained; it is handed on to the edge as well, which keeps refusals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from typing import Final
from urllib.parse import quote, urlencode

from idplane.directory.portal_sessions import PortalSessions, Standing
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.refusals import evidence_of
from idplane.ports.world import Clock
from idplane.web.http import HttpRequest, HttpResponse
from idplane.web.portal.cookies import SAID, SESSION, THEME, cookie, forget_cookie, set_cookie
from idplane.web.portal.forms import csrf_token, fields_of, require_own_form, require_own_origin
from idplane.web.portal.rendering import Renderer
from idplane.web.portal.routes import NavigationEntry, Route, Router
from idplane.web.portal.sign_in import SIGN_IN, SignIn, local_target
from idplane.web.portal.static import PREFIX, Assets
from idplane.web.portal.view import Desk, Download, Elsewhere, Fragment, Here, Html, Page, Person, Redirect, Rooms, Visit

__all__ = ["PortalSurface"]

_HTML: Final = "text/html; charset=utf-8"
_SAID_LIFETIME: Final = timedelta(minutes=1)
_THEME_LIFETIME: Final = timedelta(days=365)
_SEE_OTHER: Final = 303
_URL_CHARACTERS: Final = "/:?#[]@!$&'()*+,;=%~"
_HEADERS: Final = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Frame-Options", "DENY"),
    # With `no-referrer` browsers would not say either which origin a form comes from.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_THEMES: Final = frozenset({"light", "dark"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    """A session that counts, with the secret that its browser showed."""

    standing: Standing
    secret: str


class PortalSurface:
    """Speaks HTML."""

    def __init__(
        self,
        *,
        rooms: Rooms,
        sessions: PortalSessions,
        sign_in: SignIn,
        clock: Clock,
        routes: Sequence[Route],
        navigation: Sequence[NavigationEntry],
    ) -> None:
        self._rooms = rooms
        self._sessions = sessions
        self._sign_in = sign_in
        self._clock = clock
        own = (
            Route(method="POST", pattern="/portal/sign-out", handler=self._sign_out),
            Route(method="POST", pattern="/portal/account/end", handler=self._end_other),
            Route(method="POST", pattern="/portal/theme", handler=_change_theme),
        )
        self._router = Router((*own, *routes))
        self._menu = [(name, tuple(entries)) for name, entries in groupby(navigation, key=lambda it: it.group)]
        self._assets = Assets()
        self._renderer = Renderer(self._assets)

    async def handle(self, request: HttpRequest, /) -> HttpResponse:
        """Serve one request. Raises `Failure` for what nobody who is signed in has to do with."""
        if request.path.startswith(PREFIX):
            return self._with_policy(self._assets.serve(request))
        path = request.path.rstrip("/")
        if path == SIGN_IN or path.startswith(f"{SIGN_IN}/"):
            return self._response(request, await self._sign_in.page(request, path), None)
        signed = await self._signed(request)
        if signed is None:
            return self._signed_out(request)
        try:
            return self._response(request, await self._page(request, path or "/", signed), signed)
        except Failure as failure:
            failure.with_evidence(evidence_of(signed.standing.caller))
            if failure.kind is FailureKind.INTERNAL:
                raise
            if failure.kind is FailureKind.PORTAL_FORM:
                await self._sessions.refused(signed.standing.user, request.call, failure)
            return self._refusal(request, failure, signed)

    def refuse(self, failure: Failure, request: HttpRequest, /) -> HttpResponse:
        """A failure as a page for whoever it may be."""
        return self._refusal(request, failure, None)

    # Who it is ------------------------------------------------------------------------------------------------------

    async def _signed(self, request: HttpRequest) -> _Signed | None:
        secret = cookie(request, SESSION)
        if secret is None:
            return None
        # What a script asks for by itself does not keep a session from ending.
        used = request.header("sec-fetch-mode") in (None, "navigate")
        standing = await self._sessions.standing(secret, used=used)
        return None if standing is None else _Signed(standing=standing, secret=secret)

    def _signed_out(self, request: HttpRequest) -> HttpResponse:
        """To the sign-in, and from there to where it was going; a form can't be kept, and the page that held it is asked for again."""
        if request.header("sec-fetch-mode") not in (None, "navigate"):
            raise Failure(FailureKind.PORTAL_SESSION, "nobody is signed in")
        going = local_target(str(Here(request.path, request.query))) if request.method in ("GET", "HEAD") else ""
        to = f"{SIGN_IN}?{urlencode({'to': going})}" if going and going != "/portal" else SIGN_IN
        headers = (("Location", to), *((forget_cookie(SESSION),) if cookie(request, SESSION) is not None else ()))
        return self._with_policy(HttpResponse(status=_SEE_OTHER, headers=headers))

    # Pages ----------------------------------------------------------------------------------------------------------

    async def _page(self, request: HttpRequest, path: str, signed: _Signed) -> Page:
        route, params = self._router.find(request.method, path)
        visit = Visit(
            request=request,
            person=_person(signed),
            desk=self._desk(request, signed),
            params=params,
            fields=_own_fields(request, signed),
        )
        return await route.handler(visit)

    def _desk(self, request: HttpRequest, signed: _Signed) -> Desk:
        return Desk(
            rooms=self._rooms,
            request=request,
            caller=signed.standing.caller,
            tenant=signed.standing.tenant,
            now=self._clock.now(),
        )

    async def _sign_out(self, visit: Visit) -> Page:
        await self._sessions.end(cookie(visit.request, SESSION) or "", visit.person.caller, visit.request.call)
        return Redirect(to=SIGN_IN, cookies=(forget_cookie(SESSION),))

    async def _end_other(self, visit: Visit) -> Page:
        ended = await self._sessions.end_named(visit.form("session"), visit.person.caller, visit.request.call)
        return Redirect(
            to="/portal/account", said="Signed out in that browser." if ended else "That sign-in had ended already."
        )

    # Answers --------------------------------------------------------------------------------------------------------

    def _response(self, request: HttpRequest, page: Page, signed: _Signed | None) -> HttpResponse:
        match page:
            case Html():
                return self._html(request, page, signed)
            case Fragment():
                body = self._renderer.render(page.template, {**self._surroundings(request, signed), **page.values})
                return self._with_policy(HttpResponse(status=200, body=body, media_type=_HTML))
            case Redirect():
                said = (set_cookie(SAID, page.said, lifetime=_SAID_LIFETIME),) if page.said else ()
                to = ("Location", quote(page.to, safe=_URL_CHARACTERS))
                return self._with_policy(HttpResponse(status=_SEE_OTHER, headers=(to, *said, *page.cookies)))
            case Elsewhere():
                return self._with_policy(HttpResponse(status=_SEE_OTHER, headers=(("Location", page.to), *page.cookies)))
            case Download():
                named = ("Content-Disposition", f'attachment; filename="{_file_name(page.name)}"')
                return self._with_policy(HttpResponse(status=200, body=page.body, headers=(named,), media_type=page.media_type))

    def _html(self, request: HttpRequest, page: Html, signed: _Signed | None) -> HttpResponse:
        if page.problem is not None and signed is not None:
            page.problem.with_evidence(evidence_of(signed.standing.caller))
        said = cookie(request, SAID)
        values = {**self._surroundings(request, signed), "said": said, "problem": page.problem, **page.values}
        body = b"" if request.method == "HEAD" else self._renderer.render(page.template, values)
        headers = (forget_cookie(SAID),) if said is not None else ()
        response = HttpResponse(status=page.status, body=body, headers=headers, media_type=_HTML, refusal=page.problem)
        return self._with_policy(response)

    def _refusal(self, request: HttpRequest, failure: Failure, signed: _Signed | None) -> HttpResponse:
        category = failure.kind.category
        values = {"title": "Refused", "failure": failure}
        response = self._html(
            request, Html(template="refused.html", values=values, status=category.value, problem=failure), signed
        )
        if category is Category.THROTTLED:
            again = (("Retry-After", failure.data.get("retry_after", "1")),)
            response = replace(response, headers=(*response.headers, *again))
        return response

    def _surroundings(self, request: HttpRequest, signed: _Signed | None) -> Mapping[str, object]:
        """What every template may rely on."""
        theme = cookie(request, THEME)
        return {
            "person": None if signed is None else _person(signed),
            "tenant": None if signed is None else signed.standing.tenant,
            "menu": () if signed is None else self._menu,
            "here": Here(request.path, request.query),
            "theme": theme if theme in _THEMES else "",
            "now": self._clock.now(),
            "request_id": request.call.request_id,
            "profile": self._rooms.profile,
        }

    def _with_policy(self, response: HttpResponse) -> HttpResponse:
        return replace(response, headers=(*response.headers, *_HEADERS))


async def _change_theme(visit: Visit) -> Page:
    chosen = visit.form("theme")
    kept = set_cookie(THEME, chosen, lifetime=_THEME_LIFETIME) if chosen in _THEMES else forget_cookie(THEME)
    return Redirect(to=local_target(visit.form("to")), cookies=(kept,))


def _person(signed: _Signed) -> Person:
    standing = signed.standing
    return Person(
        caller=standing.caller,
        name=standing.user.display_name,
        sign_in_name=standing.user.caller_name,
        csrf=csrf_token(signed.secret),
    )


def _own_fields(request: HttpRequest, signed: _Signed) -> tuple[tuple[str, str], ...]:
    """The fields of a form of ours; none of a request that only reads."""
    if request.method != "POST":
        return ()
    require_own_origin(request)
    fields = fields_of(request)
    require_own_form(fields, csrf_token(signed.secret))
    return fields


def _file_name(name: str) -> str:
    """Without what would end the header's value or mean something to a file system."""
    return "".join(one if one.isascii() and (one.isalnum() or one in "-_.") else "-" for one in name)[:100]
