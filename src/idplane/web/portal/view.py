"""What a page's handler is given, and what it returns.

    async def identities(visit: Visit) -> Page:
        answer = await visit.desk.read("/subscriptions/.../userAssignedIdentities", version="2024-11-30")
        return Html(template="identities.html", values={"title": "Managed identities", "identities": answer["value"]})

A handler raises `Failure` for what cannot be shown: the surface makes a page of it. A form that was refused is shown again: `Html` with
the values that were typed, and `problem=failure`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypeAlias
from urllib.parse import quote, urlencode

from idplane.arm.bodies import encode_object
from idplane.arm.kernel import ResourceManager
from idplane.arm.requests import ManagementRequest
from idplane.explain.explainer import Explainer
from idplane.graph.service import DirectoryService, GraphRequest
from idplane.model.attributes import Attributes
from idplane.model.calls import Call, Caller
from idplane.model.directory import Tenant
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.model.profile import Profile
from idplane.model.values import JsonObject
from idplane.ports.store import Reads
from idplane.rbac import AccessControl
from idplane.web.http import HttpRequest
from idplane.web.management import addresses_of

__all__ = ["Desk", "Download", "Elsewhere", "Fragment", "Here", "Html", "Page", "Person", "Redirect", "Rooms", "Visit"]

_GRAPH_VERSION: Final = "v1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who is signed in."""

    caller: Caller
    name: str
    """As people say it."""
    sign_in_name: str
    """The user principal name."""
    csrf: str = field(repr=False)
    """What every form of this session holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What every desk works with: the use cases behind the APIs."""

    manager: ResourceManager
    directory: DirectoryService
    store: Reads
    access: AccessControl
    explainer: Explainer
    profile: Profile


class Desk:
    """What a page may do: all of it as the person who is signed in, under that person's roles and name."""

    def __init__(self, *, rooms: Rooms, request: HttpRequest, caller: Caller, tenant: Tenant, now: datetime) -> None:
        self._rooms = rooms
        self._request = request
        self._caller = caller
        self.tenant = tenant
        """The person's."""
        self.now = now

    @property
    def store(self) -> Reads:
        """Reads past all roles: for what the person may see was checked with `require`."""
        return self._rooms.store

    @property
    def access(self) -> AccessControl:
        """The plane's decisions."""
        return self._rooms.access

    @property
    def explainer(self) -> Explainer:
        """Why something was refused, or would be; the viewer is `person.caller`."""
        return self._rooms.explainer

    @property
    def profile(self) -> Profile:
        """Limits and lifetimes."""
        return self._rooms.profile

    async def read(self, path: str, *, version: str, **query: str) -> JsonObject:
        """A GET of Resource Manager: its body. Further query parameters by name: `**{"$filter": "..."}`. Raises `Failure`."""
        return await self._manage("GET", path, None, version=version, query=query)

    async def write(
        self, method: str, path: str, body: JsonObject | None = None, *, version: str, if_match: str | None = None
    ) -> JsonObject:
        """A PUT, PATCH, POST or DELETE of Resource Manager: its answer's body, empty when it has none. Raises `Failure`."""
        return await self._manage(method, path, body, version=version, query={}, if_match=if_match)

    async def graph(self, method: str, path: str, body: JsonObject | None = None, **query: str) -> JsonObject:
        """A request to Graph: its answer's body. A count is under `value`. Raises `Failure`."""
        answer = await self._rooms.directory.serve(
            GraphRequest(
                method=method,
                version=_GRAPH_VERSION,
                path=path.strip("/"),
                query=tuple(query.items()),
                body=b"" if body is None else encode_object(body),
                base=self._request.origin.graph,
                call=self._call(method, f"/{_GRAPH_VERSION}/{path.strip('/')}"),
            ),
            self._caller,
        )
        return {"value": answer.body} if isinstance(answer.body, int) else answer.body or {}

    async def may(self, action: str, scope: ResourceId, *, data: bool = False, attributes: Attributes | None = None) -> bool:
        """Whether the person may do this there: for what a page offers. What is done is checked again when it is done."""
        ids = self._caller.principal_ids
        return (await self.access.check(ids, action, scope, data=data, attributes=attributes)).allowed

    async def require(self, action: str, scope: ResourceId, *, data: bool = False) -> None:
        """Raises `Failure(FORBIDDEN)` unless the person may do this there: for what a page reads from `store`."""
        await self.access.require(self._caller, action, scope, data=data)

    async def _manage(
        self,
        method: str,
        path: str,
        body: JsonObject | None,
        *,
        version: str,
        query: Mapping[str, str],
        if_match: str | None = None,
    ) -> JsonObject:
        answer = await self._rooms.manager.serve(
            ManagementRequest(
                method=method,
                path=path,
                query=(("api-version", version), *query.items()),
                body=b"" if body is None else encode_object(body),
                call=self._call(method, path),
                addresses=addresses_of(self._request.origin),
                content_type="application/json",
                if_match=if_match,
            ),
            self._caller,
        )
        found = answer.body
        return dict(found) if isinstance(found, Mapping) else {} if found is None else {"value": found}

    def _call(self, method: str, path: str) -> Call:
        """Under the request's own id, so that what a page did is found by the id that the person is shown."""
        return replace(self._request.call, method=method, url=path[:2048])


@dataclass(frozen=True, slots=True)
class Here:
    """The address that was asked for, for links that change a part of it."""

    path: str
    query: tuple[tuple[str, str], ...]

    def get(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return next((value for key, value in self.query if key == name), default)

    def url(self, **changes: str | None) -> str:
        """This address with other query parameters; None takes one away. A page of a list (`after`) is left unless it is what changes."""
        kept = [(key, value) for key, value in self.query if key not in changes and (key != "after") and value]
        made = [*kept, *((key, value) for key, value in changes.items() if value)]
        return f"{self._quoted}?{urlencode(made)}" if made else self._quoted

    def sorted_by(self, name: str) -> str:
        """This address sorted by a column, or the other way round if it is already."""
        return self.url(sort=f"-{name}" if self.get("sort") == name else name)

    def __str__(self) -> str:
        return f"{self._quoted}?{urlencode(self.query)}" if self.query else self._quoted

    @property
    def _quoted(self) -> str:
        return quote(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request of a signed-in person."""

    request: HttpRequest
    person: Person
    desk: Desk
    params: Mapping[str, str]
    """Of the route's pattern, percent-decoded."""
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Of the form that was posted; that it is one of ours was checked before."""

    @property
    def here(self) -> Here:
        """The address."""
        return Here(self.request.path, self.request.query)

    def query(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return self.here.get(name, default)

    def form(self, name: str, default: str = "") -> str:
        """The first value of a field, without white space around it."""
        return next((value.strip() for key, value in self.fields if key == name), default)

    def forms(self, name: str) -> tuple[str, ...]:
        """All values of a field that may be there several times, such as checked boxes."""
        return tuple(value.strip() for key, value in self.fields if key == name)

    def resource(self, param: str = "id") -> ResourceId:
        """The resource id at the end of the address; raises `Failure(INVALID_RESOURCE_ID)`."""
        return ResourceId.parse(f"/{self.params[param]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Html:
    """A whole page. `values` has at least `title`; `problem` is why a form is shown again."""

    template: str
    values: Mapping[str, object]
    status: int = 200
    problem: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A part of a page, for a script that puts it in place. A form that is refused inside of one is a whole page all the same."""

    template: str
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """To another page, after something was done: `said` is shown there, once."""

    to: str
    """A path below `/portal`."""
    said: str = ""
    cookies: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Headers that set them; for signing in and out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """To another origin: only to the issuer that people sign in at."""

    to: str = field(repr=False)
    cookies: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file."""

    name: str
    media_type: str
    body: bytes


Page: TypeAlias = Html | Fragment | Redirect | Elsewhere | Download
