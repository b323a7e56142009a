"""The portal as a surface that is put together at its first request: a plane's start and its first token wait for none of it."""

from __future__ import annotations

from collections.abc import Callable

from idplane.model.failure import Failure
from idplane.web.http import HttpRequest, HttpResponse, Surface

__all__ = ["LateSurface"]


class LateSurface:
    """A surface that is made when it is needed, once."""

    def __init__(self, make: Callable[[], Surface]) -> None:
        self._make = make
        self._made: Surface | None = None

    async def handle(self, request: HttpRequest, /) -> HttpResponse:
        """Serve as the surface does."""
        return await self._surface().handle(request)

    def refuse(self, failure: Failure, request: HttpRequest, /) -> HttpResponse:
        """Refuse as the surface does."""
        return self._surface().refuse(failure, request)

    def _surface(self) -> Surface:
        if self._made is None:
            self._made = self._make()
        return self._made
