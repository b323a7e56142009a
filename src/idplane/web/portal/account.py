"""The person's own page: who it is to the plane, and the browsers that it is signed in with."""

from __future__ import annotations

from typing import Final

from idplane.ports.collections import PORTAL_SESSIONS, PRINCIPALS
from idplane.web.portal.routes import Route
from idplane.web.portal.view import Html, Page, Visit

__all__ = ["ROUTES"]

_ACCOUNT: Final = "/portal/account"


async def _account(visit: Visit) -> Page:
    caller, store = visit.person.caller, visit.desk.store
    sessions = await store.all(PORTAL_SESSIONS, where={"principal_id": caller.principal_id})
    groups = [await store.get(PRINCIPALS, one) for one in caller.groups]
    return Html(
        template="account.html",
        values={
            "title": "Your account",
            "sessions": sorted((one.value for one in sessions), key=lambda it: it.seen_at, reverse=True),
            "current": caller.token_id,
            "groups": sorted(one.value.display_name for one in groups if one is not None),
        },
    )


ROUTES: Final = (Route(method="GET", pattern=_ACCOUNT, handler=_account),)
