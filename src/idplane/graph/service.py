"""The order of steps that every request to Graph goes through.

1. the bearer token is verified; 2. the path is resolved to a declared entity set; 3. the caller is authorized, ahead of every
look at what exists; 4. the entities on the path are found, and the set's own function reads or plans; 5. a plan and its
activity event are committed together; 6. the answer leaves.

Everything that a caller attempts to change is in the activity log, refusals included. The log is one: `auditLogs/directoryAudits`
shows the part of it that came through here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from idplane.arm.bodies import parse_object
from idplane.arm.paging import next_link
from idplane.audit.activity import activity_event
from idplane.directory.audiences import AUDIENCE_URIS, GRAPH
from idplane.graph.declare import Context, Entity, EntitySet, Planned, Planner, Task, missing
from idplane.graph.listing import count_of, list_page, shown
from idplane.graph.permissions import Area, forbidden, may
from idplane.graph.query import parse_query
from idplane.graph.routes import Key, Route, Shape, Step, parse_route
from idplane.model.calls import Call, Caller
from idplane.model.events import ActivityEvent
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.profile import Profile
from idplane.model.refusals import evidence_of
from idplane.model.values import JsonObject
from idplane.ports.collections import ACTIVITY
from idplane.ports.store import Append, Batch, CommitRefused, Store
from idplane.ports.world import Clock, Entropy
from idplane.providers.administrators import keep_administrators
from idplane.rbac import AccessControl

__all__ = ["Authenticator", "DirectoryService", "GraphRequest", "GraphResponse"]

_ATTEMPTS: Final = 16
_NAMESPACE: Final = "Microsoft.Graph"


class Authenticator(Protocol):
    """Verifies bearer tokens; `sts.TokenAuthenticator` is one."""

    async def authenticate(self, token: str, audiences: Collection[str], certificate: bytes | None = None) -> Caller:
        """The caller that a token for one of `audiences` speaks for."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRequest:
    """A request below the version."""

    method: str
    version: str
    """Lower case: `v1.0` or `beta`."""
    path: str
    query: tuple[tuple[str, str], ...]
    body: bytes
    base: str
    """Graph's own address on the listener that was asked."""
    call: Call
    authorization: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphResponse:
    """An answer; a number is one in plain text."""

    status: int
    body: JsonObject | int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One authorized request on its way."""

    request: GraphRequest
    route: Route
    context: Context


class DirectoryService:
    """Serves Graph over declared entity sets; everything durable is in the store."""

    def __init__(  # noqa: PLR0913 - its whole world, spelled out
        self,
        *,
        store: Store,
        clock: Clock,
        entropy: Entropy,
        profile: Profile,
        access: AccessControl,
        authenticator: Authenticator,
        sets: Sequence[EntitySet],
        describe: Callable[[Failure], tuple[int, str]],
    ) -> None:
        """`describe` gives a failure's status and code as this dialect has them, for the log."""
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._profile = profile
        self._access = access
        self._authenticator = authenticator
        self._sets = tuple(sets)
        self._describe = describe

    async def handle(self, request: GraphRequest) -> GraphResponse:
        """Serve one request; raises `Failure` for everything that the caller must be told."""
        caller = await self._authenticate(request)
        try:
            return await self.serve(request, caller)
        except Failure as failure:
            failure.with_evidence(evidence_of(caller))
            raise

    async def serve(self, request: GraphRequest, caller: Caller) -> GraphResponse:
        """Serve a request of a caller who was authenticated elsewhere."""
        route = parse_route(request.path, self._sets, request.version)
        attempt = _Attempt(request=request, route=route, context=self._context(request, caller))
        if request.method == "GET":
            return await self._read(attempt)
        planner, word, area = _planner(route, request.method)
        if route.action is not None and route.action.reads:
            return await self._ask(attempt, planner, area)
        return await self._write(attempt, planner, word, area)

    async def _authenticate(self, request: GraphRequest) -> Caller:
        scheme, _, token = (request.authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Failure(FailureKind.TOKEN_MISSING, "there is no access token")
        audiences = (*AUDIENCE_URIS[GRAPH.client_id], request.base, f"{request.base}/")
        return await self._authenticator.authenticate(token.strip(), audiences, request.call.client_certificate)

    def _context(self, request: GraphRequest, caller: Caller) -> Context:
        return Context(
            caller=caller,
            call=request.call,
            now=self._clock.now(),
            version=request.version,
            base=request.base,
            store=self._store,
            access=self._access,
            entropy=self._entropy,
            profile=self._profile,
        )

    # Reading --------------------------------------------------------------------------------------------------------

    async def _read(self, attempt: _Attempt) -> GraphResponse:
        route, context = attempt.route, attempt.context
        if route.shape in (Shape.ACTION, Shape.REFERENCE):
            raise _method("POST" if route.shape is Shape.ACTION else "DELETE", attempt.request.method)
        await self._authorize_read(attempt, route.set.area)
        parent, entity = await _resolve(route, context)
        query = parse_query(attempt.request.query, route.set.entity, largest=route.set.largest_page)
        match route.shape:
            case Shape.ENTITY:
                assert entity is not None  # resolved, or missing
                document = await shown(route.set, context, entity, query)
                return GraphResponse(status=200, body={"@odata.context": f"{_metadata(attempt)}/$entity", **document})
            case Shape.COUNT:
                return GraphResponse(status=200, body=await count_of(route.set, context, parent, query))
            case _:
                return await self._list(attempt, parent)

    async def _list(self, attempt: _Attempt, parent: Entity | None) -> GraphResponse:
        found, request = attempt.route.set, attempt.request
        query = parse_query(request.query, found.entity, largest=found.largest_page)
        page = await list_page(found, attempt.context, parent, query)
        document: dict[str, object] = {"@odata.context": _metadata(attempt)}
        if query.count:
            document["@odata.count"] = await count_of(found, attempt.context, parent, query)
        if page.after is not None:
            path = f"/{request.version}/{request.path.strip('/')}"
            document["@odata.nextLink"] = next_link(request.base, path, request.query, page.after)
        if attempt.route.shape is Shape.REFERENCES:
            root = f"{request.base}/{request.version}/directoryObjects"
            document["value"] = [{"@odata.id": f"{root}/{one.id}"} for one in page.items]
        else:
            document["value"] = [await shown(found, attempt.context, one, query) for one in page.items]
        return GraphResponse(status=200, body=document)

    async def _authorize_read(self, attempt: _Attempt, area: Area) -> None:
        """Everyone may read itself; that nothing else is told apart from what is not there, the order of checks sees to."""
        caller, first = attempt.context.caller, attempt.route.steps[0]
        if await may(caller, self._access, area, writes=False):
            return
        if first.set.owned and (first.key is not None or first.set.single):
            entity = await _found(first, None, attempt.context)
            if entity is not None and entity.id == caller.principal_id:
                return
        raise forbidden(area, writes=False)

    # Changing -------------------------------------------------------------------------------------------------------

    async def _ask(self, attempt: _Attempt, planner: Planner, area: Area) -> GraphResponse:
        """An action that only reads."""
        await self._authorize_read(attempt, area)
        return _answer(attempt, await self._plan(attempt, planner))

    async def _write(self, attempt: _Attempt, planner: Planner, word: str, area: Area) -> GraphResponse:
        """Plan and commit until it holds; a refusal is recorded before it is told."""
        try:
            if not await may(attempt.context.caller, self._access, area, writes=True):
                raise forbidden(area, writes=True)
            return _answer(attempt, await self._commit(attempt, planner, word))
        except Failure as failure:
            if failure.kind.category is Category.UNAUTHENTICATED:
                raise
            status, code = self._describe(failure)
            event = self._event(attempt, word, Planned(status=status), failure_code=code)
            await self._store.commit(Batch.of(Append(log=ACTIVITY, event=event)))
            failure.on_record = True
            raise

    async def _commit(self, attempt: _Attempt, planner: Planner, word: str) -> Planned:
        for _ in range(_ATTEMPTS):
            planned = await self._plan(attempt, planner)
            kept = await self._kept(attempt, planned)
            event = self._event(attempt, word, planned)
            # Refused means that something changed since it was read: plan anew.
            with suppress(CommitRefused):
                await self._store.commit(planned.batch + kept + Batch.of(Append(log=ACTIVITY, event=event)))
                return planned
        raise Failure(FailureKind.CONFLICT, "other changes to the same objects kept coming first; try again")

    async def _kept(self, attempt: _Attempt, planned: Planned) -> Batch:
        """Nobody takes away the last administrator by accident: whoever means it says `force=true`."""
        if any(name.lower() == "force" and value.lower() == "true" for name, value in attempt.request.query):
            return Batch()
        return await keep_administrators(self._store, planned.batch, attempt.context.caller.tenant_id)

    async def _plan(self, attempt: _Attempt, planner: Planner) -> Planned:
        parent, entity = await _resolve(attempt.route, attempt.context)
        body = parse_object(attempt.request.body)
        return await planner(Task(context=attempt.context, parent=parent, entity=entity, body=body))

    def _event(self, attempt: _Attempt, word: str, planned: Planned, *, failure_code: str | None = None) -> ActivityEvent:
        return activity_event(
            event_id=self._entropy.guid(),
            at=self._clock.now(),
            call=attempt.context.call,
            caller=attempt.context.caller,
            resource_id=_logged_id(attempt.route, planned.target),
            operation=f"{_NAMESPACE}/{attempt.route.name}/{word}",
            decision=None,
            http_status=planned.status,
            failure_code=failure_code,
            details={"displayName": planned.name} if planned.name else {},
        )


async def _resolve(route: Route, context: Context) -> tuple[Entity | None, Entity | None]:
    """The last step's parent and entity; raises `Failure(RESOURCE_NOT_FOUND)` for one on the way that is not there."""
    parent: Entity | None = None
    entity: Entity | None = None
    for step in route.steps:
        parent, entity = entity, None
        if step.key is not None or step.set.single:
            entity = await _found(step, parent, context)
            if entity is None:
                raise missing(step.key.value if step.key else step.set.name)
    return parent, entity


async def _found(step: Step, parent: Entity | None, context: Context) -> Entity | None:
    key = step.key or Key(value="")
    find = step.set.keys_by_name.get(key.name) if key.name else step.set.find
    if find is None:
        raise Failure(FailureKind.PATH_NOT_FOUND, f"objects of '{step.set.name}' are not available one by one")
    return await find(context, parent, key.value)


_CHANGES: Final[Mapping[tuple[Shape, str], str]] = {
    (Shape.COLLECTION, "POST"): "create",
    (Shape.ENTITY, "PATCH"): "update",
    (Shape.ENTITY, "DELETE"): "delete",
    (Shape.REFERENCES, "POST"): "add",
    (Shape.REFERENCE, "DELETE"): "remove",
    (Shape.ACTION, "POST"): "act",
}


def _planner(route: Route, method: str) -> tuple[Planner, str, Area]:
    """The function that plans the change, the change's name in the log, and where it needs a permission."""
    word = _CHANGES.get((route.shape, method), "")
    found = route.set
    if word == "act" and route.action is not None:
        return route.action.handle, route.action.name, route.action.area or found.area
    planners = {
        "create": found.create,
        "update": found.update,
        "delete": found.delete,
        "add": found.add_reference,
        "remove": found.remove_reference,
    }
    planner = planners.get(word)
    if planner is None:
        allowed = [name for (shape, name), one in _CHANGES.items() if shape is route.shape and planners.get(one) is not None]
        readable = () if route.shape in (Shape.ACTION, Shape.REFERENCE) else ("GET",)
        raise _method(", ".join((*readable, *allowed)) or "POST", method)
    return planner, word, found.area


def _method(allowed: str, method: str) -> Failure:
    words = f"the method is not one of those that the address takes: {allowed}"
    return Failure(FailureKind.METHOD_NOT_ALLOWED, words, allowed=allowed, method=method[:20])


def _answer(attempt: _Attempt, planned: Planned) -> GraphResponse:
    if planned.body is None:
        return GraphResponse(status=planned.status)
    context = f"{attempt.request.base}/{attempt.request.version}/$metadata#{planned.context}"
    if planned.context is None:
        context = _metadata(attempt) + ("/$entity" if planned.status == 201 else "")  # noqa: PLR2004 - one was created
    return GraphResponse(status=planned.status, body={"@odata.context": context, **planned.body})


def _metadata(attempt: _Attempt) -> str:
    """What `@odata.context` says that the answer is."""
    names = []
    for at, step in enumerate(attempt.route.steps, 1):
        key = f"('{step.key.value}')" if step.key and at < len(attempt.route.steps) else ""
        names.append(f"{step.set.name}{key}")
    return f"{attempt.request.base}/{attempt.request.version}/$metadata#{'/'.join(names)}"


def _logged_id(route: Route, made: str | None) -> ResourceId:
    """The object as the activity log names it. What a caller wrote in its place may be no name at all."""
    segments = ["providers", _NAMESPACE]
    for step in route.steps:
        name = step.key.value if step.key else "-"
        segments += [step.set.name.replace("/", "."), name]
    if made is not None:
        segments[-1] = made
    try:
        return ResourceId(()).child(*segments)
    except Failure:
        return ResourceId(("providers", _NAMESPACE, route.steps[0].set.name.replace("/", "."), "-"))
