"""Signing in: by a one-time link, whose code stands behind the `#` so that no log ever holds it, or at another issuer.

GET  /portal/sign-in            the page; a script sends the code of the link, without one a person pastes it
POST /portal/sign-in            the code
GET  /portal/sign-in/provider   off to the issuer
GET  /portal/sign-in/return     and back
"""

from __future__ import annotations

import json
import shlex
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from idplane.directory.portal_sessions import PortalSessions, SignedIn
from idplane.model.directory import PrincipalType, Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import PRINCIPALS, TENANTS
from idplane.ports.store import Reads
from idplane.ports.world import Clock, KeyCustody
from idplane.sts.sign_in_provider import Pending, SignInProvider, Vouched
from idplane.web.http import HttpRequest
from idplane.web.portal.cookies import SESSION, SIGNING_IN, cookie, forget_cookie, set_cookie
from idplane.web.portal.forms import fields_of, require_own_origin
from idplane.web.portal.view import Elsewhere, Html, Page, Redirect

__all__ = ["SIGN_IN", "SignIn", "local_target"]

SIGN_IN: Final = "/portal/sign-in"
_RETURN: Final = f"{SIGN_IN}/return"
_HOME: Final = "/portal"
_LONGEST: Final = 2000
_PATIENCE: Final = timedelta(minutes=10)
_SEAL: Final = "portal sign-in"


def local_target(to: str) -> str:
    """A path below `/portal` as it is, and the portal's start for anything else: a link never leads elsewhere by way of the sign-in."""
    path = to.partition("?")[0]
    plain = len(to) <= _LONGEST and to.isprintable() and "\\" not in to and "//" not in path
    inside = to == _HOME or to.startswith((f"{_HOME}/", f"{_HOME}?"))
    return to if plain and inside and not path.startswith((SIGN_IN, "/portal/sign-out")) else _HOME


class SignIn:
    """Makes sessions: of links, and with a `provider` of what another issuer says of people. They are users of the `home_tenant`."""

    def __init__(
        self,
        *,
        sessions: PortalSessions,
        store: Reads,
        custody: KeyCustody,
        clock: Clock,
        home_tenant: str,
        provider: SignInProvider | None,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._custody = custody
        self._clock = clock
        self._home_tenant = home_tenant
        self._provider = provider

    async def page(self, request: HttpRequest, path: str) -> Page:
        """The sign-in's pages; raises `Failure`."""
        reads = request.method in ("GET", "HEAD")
        match path:
            case "/portal/sign-in" if reads:
                return self._form(request.parameter("to") or "")
            case "/portal/sign-in" if request.method == "POST":
                return await self._redeem(request)
            case "/portal/sign-in/provider" if reads and self._provider is not None:
                return await self._leave(request, self._provider)
            case "/portal/sign-in/return" if reads and self._provider is not None:
                return await self._come_back(request, self._provider)
            case "/portal/sign-in" | "/portal/sign-in/provider" | "/portal/sign-in/return" if not reads:
                raise Failure(FailureKind.METHOD_NOT_ALLOWED, "the page does not take this method", method=request.method[:20])
            case _:
                raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such page")

    # Links ----------------------------------------------------------------------------------------------------------

    def _form(self, to: str) -> Html:
        issuer = urlsplit(self._provider.issuer).netloc if self._provider else ""
        return Html(template="sign-in.html", values={"title": "Sign in", "to": local_target(to), "issuer": issuer})

    async def _redeem(self, request: HttpRequest) -> Page:
        require_own_origin(request)
        fields = dict(fields_of(request))
        signed = await self._sessions.redeem(_code(fields.get("code", "")), request.call, before=cookie(request, SESSION))
        return Redirect(to=local_target(fields.get("to", "")), cookies=(_session_cookie(signed),))

    # Another issuer -------------------------------------------------------------------------------------------------

    async def _leave(self, request: HttpRequest, provider: SignInProvider) -> Page:
        tenant = await self._tenant()
        begun = await provider.begin(_return_address(request), private=provider.issuer in tenant.private_issuers)
        kept = {
            **asdict(begun.pending),
            "to": local_target(request.parameter("to") or ""),
            "until": (self._clock.now() + _PATIENCE).isoformat(),
        }
        sealed = self._custody.seal(json.dumps(kept).encode(), context=_SEAL)
        keep = set_cookie(SIGNING_IN, urlsafe_b64encode(sealed).decode(), lifetime=_PATIENCE)
        return Elsewhere(to=begun.url, cookies=(keep,))

    async def _come_back(self, request: HttpRequest, provider: SignInProvider) -> Page:
        tenant = await self._tenant()
        name = ""
        try:
            pending, to = self._kept(request)
            answer = {key: value for key, value in request.query if request.parameter(key) == value}
            private = provider.issuer in tenant.private_issuers
            vouched = await provider.finish(pending, answer, _return_address(request), private=private)
            name = vouched.name
            signed = await self._begin(request, tenant, vouched)
        except Failure as failure:
            if failure.kind is FailureKind.PORTAL_SIGN_IN:
                await self._sessions.refused_stranger(tenant.id, name or provider.issuer, request.call, failure)
            raise
        return Redirect(to=to, cookies=(_session_cookie(signed), forget_cookie(SIGNING_IN)))

    async def _begin(self, request: HttpRequest, tenant: Tenant, vouched: Vouched) -> SignedIn:
        where = {"tenant_id": tenant.id, "user_principal_name": vouched.name}
        found = next(iter((await self._store.page(PRINCIPALS, where=where, limit=1)).items), None)
        if found is None or found.value.type is not PrincipalType.USER:
            name = vouched.name
            made = ("--user-principal-name", name, "--display-name", name.partition("@")[0], "--password", "unused")
            # Whoever chose the name is a stranger, and an operator will paste this.
            command = shlex.join(("idplane", "az", "ad", "user", "create", *made))
            words = (
                f"you are {name} at {vouched.issuer}, and no user of this tenant has that name: an administrator can make one"
            )
            raise Failure(FailureKind.PORTAL_SIGN_IN, words, command=command)
        return await self._sessions.begin(found, request.call, before=cookie(request, SESSION), issuer=vouched.issuer)

    def _kept(self, request: HttpRequest) -> tuple[Pending, str]:
        """What this browser took along; raises `Failure(PORTAL_SIGN_IN)`."""
        try:
            sealed = urlsafe_b64decode(cookie(request, SIGNING_IN) or "")
            if not self._custody.knows(sealed):
                raise _not_begun()
            kept = json.loads(self._custody.unseal(sealed, context=_SEAL))
        except (ValueError, Failure) as error:
            raise _not_begun() from error
        if self._clock.now() >= datetime.fromisoformat(kept["until"]):
            raise _not_begun()
        return Pending(state=kept["state"], nonce=kept["nonce"], verifier=kept["verifier"]), local_target(kept["to"])

    async def _tenant(self) -> Tenant:
        found = await self._store.get(TENANTS, self._home_tenant)
        if found is None:
            raise Failure(FailureKind.PORTAL_SIGN_IN, "the tenant is gone")
        return found.value


def _session_cookie(signed: SignedIn) -> tuple[str, str]:
    """What tells the browser its secret. The browser forgets it when it is closed."""
    return set_cookie(SESSION, signed.secret)


def _return_address(request: HttpRequest) -> str:
    return f"{request.origin.portal.removesuffix(_HOME)}{_RETURN}"


def _not_begun() -> Failure:
    return Failure(FailureKind.PORTAL_SIGN_IN, "this browser began no sign-in within the last ten minutes: begin again")


def _code(pasted: str) -> str:
    """The code of what a person pasted: the code, or the whole link."""
    return pasted.strip().rpartition("#")[2]
