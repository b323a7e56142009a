"""Addresses of pages: patterns, and which handler answers for one. Pure.

/portal/identities              exactly that
/portal/groups/{name}           one segment
/portal/resource/{id:path}      everything behind, such as a resource id without its first slash
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, TypeAlias

from idplane.model.failure import Failure, FailureKind
from idplane.web.portal.view import Page, Visit

__all__ = ["Handler", "NavigationEntry", "Route", "Router"]

Handler: TypeAlias = Callable[[Visit], Awaitable[Page]]
_PLACE: Final = re.compile(r"\{([a-z_]+)(:path)?\}")


@dataclass(frozen=True, kw_only=True)
class Route:
    """One address and method. A GET answers HEAD, too."""

    method: Literal["GET", "POST"]
    pattern: str
    handler: Handler

    @cached_property
    def matcher(self) -> re.Pattern[str]:
        """The pattern as an expression."""
        expression, end = "", 0
        for place in _PLACE.finditer(self.pattern):
            expression += re.escape(self.pattern[end : place.start()])
            expression += f"(?P<{place[1]}>.+)" if place[2] else f"(?P<{place[1]}>[^/]+)"
            end = place.end()
        return re.compile(expression + re.escape(self.pattern[end:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class NavigationEntry:
    """A line of the menu. It is current on every page below its address."""

    label: str
    to: str
    icon: str
    """A symbol of `static/icons.svg`."""
    group: str = ""
    """The heading that it stands under; none at the top."""
    also: tuple[str, ...] = ()
    """Other addresses whose pages belong to it."""

    def is_current(self, path: str) -> bool:
        """Whether a page belongs to it."""
        if self.to == "/portal":
            return path == self.to
        return any(path == one or path.startswith(f"{one}/") for one in (self.to, *self.also))


class Router:
    """Finds the handler for a request. Of several patterns that match, the first one counts: exact ones go first."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = sorted(routes, key=lambda it: ("{" in it.pattern, ":path" in it.pattern, -len(it.pattern)))

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """The route and what stands in its places; raises `Failure(PATH_NOT_FOUND | METHOD_NOT_ALLOWED)`."""
        wanted = "GET" if method == "HEAD" else method
        allowed: dict[str, None] = {}
        for route in self._routes:
            found = route.matcher.fullmatch(path)
            if found is not None:
                if route.method == wanted:
                    return route, found.groupdict()
                allowed[route.method] = None
        if not allowed:
            raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such page")
        words = f"the page takes {' and '.join(allowed)}, not {method[:20]}"
        raise Failure(FailureKind.METHOD_NOT_ALLOWED, words, method=method[:20], allowed=", ".join(allowed))
