"""Signing in and out: a one-time link, whose code stands behind the `#` so that no log ever holds it.

GET  /portal/sign-in            the page; a script sends the code of the link, without one a person pastes it
POST /portal/sign-in            the code
POST /portal/sign-out           (a page of a session, with the form check of every other)
"""

from __future__ import annotations

from typing import Final

from idplane.directory.portal_sessions import PortalSessions, SignedIn
from idplane.model.failure import Failure, FailureKind
from idplane.web.http import HttpRequest
from idplane.web.portal.cookies import SESSION, cookie, set_cookie
from idplane.web.portal.forms import fields_of, require_own_origin
from idplane.web.portal.view import Html, Page, Redirect

__all__ = ["SIGN_IN", "SignIn", "local_target"]

SIGN_IN: Final = "/portal/sign-in"
_HOME: Final = "/portal"
_LONGEST: Final = 2000


def local_target(to: str) -> str:
    """A path below `/portal` as it is, and the portal's start for anything else: a link never leads elsewhere by way of the sign-in."""
    plain = len(to) <= _LONGEST and to.isprintable() and "\\" not in to and "//" not in to.partition("?")[0]
    inside = to == _HOME or to.startswith((f"{_HOME}/", f"{_HOME}?"))
    again = to.partition("?")[0].startswith((SIGN_IN, "/portal/sign-out"))
    return to if plain and inside and not again else _HOME


class SignIn:
    """Makes sessions of links."""

    def __init__(self, *, sessions: PortalSessions) -> None:
        self._sessions = sessions

    async def page(self, request: HttpRequest, path: str) -> Page:
        """The sign-in's pages; raises `Failure`."""
        if path != SIGN_IN:
            raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such page")
        if request.method in ("GET", "HEAD"):
            return self._form(request.parameter("to") or "")
        if request.method != "POST":
            raise Failure(
                FailureKind.METHOD_NOT_ALLOWED, "the page takes GET and POST", method=request.method[:20], allowed="GET"
            )
        require_own_origin(request)
        fields = dict(fields_of(request))
        signed = await self._sessions.redeem(_code(fields.get("code", "")), request.call, before=cookie(request, SESSION))
        return Redirect(to=local_target(fields.get("to", "")), cookies=(session_cookie(signed),))

    def _form(self, to: str) -> Html:
        return Html(template="sign-in.html", values={"title": "Sign in", "to": local_target(to)})


def session_cookie(signed: SignedIn) -> tuple[str, str]:
    """What tells the browser its secret. It ends with the browser, and here at the latest after `LIFETIME`."""
    return set_cookie(SESSION, signed.secret)


def _code(pasted: str) -> str:
    """The code of what a person pasted: the code, or the whole link."""
    return pasted.strip().rpartition("#")[2]
