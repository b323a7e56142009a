"""Around every surface: who shows a copied agent's certificate, and what was refused without a record (`audit.refused`).

A refusal falls into one of three: the part that decided has written a record, and says so (`Failure.on_record`); or the caller has proved who it is
and only reads, or asks wrongly; or nobody has proved anything. Only the last is counted here. Where the line runs is in one place, `is_counted`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from typing import Final, TypeAlias

from idplane.audit.refused import RefusedRequests
from idplane.model.calls import Call
from idplane.model.failure import Category, Failure, FailureKind
from idplane.web.app import Surfaces
from idplane.web.http import HttpRequest, HttpResponse, Surface

__all__ = ["OPEN_TO_STRANGERS", "WatchedSurface", "is_counted", "watched"]

Look: TypeAlias = Callable[[Call], Awaitable[None]]
"""Is handed each call over a connection that proves a certificate; refuses nothing."""
OPEN_TO_STRANGERS: Final = frozenset({"authority", "agents"})
"""Surfaces where requests are read before it is known who sends them: proving that is what they are for."""
_OURS: Final = frozenset({Category.INTERNAL, Category.UNAVAILABLE})
"""No refusal of anybody: this server, or what it rests on, is at fault; metrics and the process' own log tell."""
_USUAL: Final = frozenset(
    {
        FailureKind.TOKEN_MISSING,
        FailureKind.PORTAL_SESSION,
        FailureKind.PATH_NOT_FOUND,
        FailureKind.METHOD_NOT_ALLOWED,
        FailureKind.DEVICE_CODE_PENDING,
        FailureKind.DEVICE_CODE_SLOW_DOWN,
    }
)
"""What clients that do nothing wrong are told, too: a first request without a token, which asks where to get one (Key Vault's clients begin with it), or without a session;
what is not there; a question that is not answered yet."""

_UNPROVED: Final = frozenset(
    {
        FailureKind.FOREIGN_HOST,
        FailureKind.URI_TOO_LONG,
        FailureKind.HEAD_TOO_LARGE,
        FailureKind.BODY_TOO_LARGE,
        FailureKind.PORTAL_LINK,
        FailureKind.PORTAL_FORM,
        FailureKind.PORTAL_SIGN_IN,
    }
)
"""Refused before it is known who asks, or because that was forged."""


def is_counted(surface: str, kind: FailureKind) -> bool:
    """Whether a refusal that a surface raises, and has written no record of, is counted."""
    if kind.category in _OURS or kind in _USUAL:
        return False
    if surface in OPEN_TO_STRANGERS or kind.category in (Category.UNAUTHENTICATED, Category.THROTTLED):
        return True
    return kind in _UNPROVED


class WatchedSurface:
    """A surface, and what it refuses to strangers counted."""

    def __init__(self, surface: Surface, *, name: str, refused: RefusedRequests, look: Look | None) -> None:
        self._surface = surface
        self._look = look
        self._name = name
        self._refused = refused

    async def handle(self, request: HttpRequest, /) -> HttpResponse:
        """As the surface does."""
        if self._look is not None and request.call.client_certificate is not None:
            await self._look(request.call)
        try:
            return await self._surface.handle(request)
        except Failure as failure:
            if not failure.on_record and is_counted(self._name, failure.kind):
                self._refused.note(self._name, failure.kind, request.call)
            failure.on_record = True
            raise

    def refuse(self, failure: Failure, request: HttpRequest, /) -> HttpResponse:
        """As the surface does. What comes here without having been in `handle` was refused before any surface could ask who sent it."""
        if not failure.on_record and failure.kind.category not in _OURS:
            self._refused.note(self._name, failure.kind, request.call)
        return self._surface.refuse(failure, request)


def watched(surfaces: Surfaces, *, refused: RefusedRequests, look: Look) -> Surfaces:
    """The same surfaces, each one watched. The agent API looks at certificates by itself: there a proof comes along with each."""
    found = {one.name: getattr(surfaces, one.name) for one in fields(surfaces)}
    wrapped = {
        name: WatchedSurface(one, name=name, refused=refused, look=None if name == "agents" else look)
        for name, one in found.items()
        if one is not None
    }
    return replace(surfaces, **wrapped)
