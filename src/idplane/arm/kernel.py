"""`ResourceManager`: the order of steps that every management request goes through (design section 5).

1. the bearer token is verified; 2. the path and method are resolved to a declared type and the api-version is checked; 3. the
caller is authorized, so that nothing is revealed about what exists; 4. the storage shape and the provider make a plan; 5. the plan
and its activity event are committed together; 6. the answer leaves.

A write that loses a race is planned again from fresh reads, unless the client pinned a version with `If-Match`. Everything that a
caller attempts to change is in the activity log, refusals included; refusals are recorded on their own, before they are told.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from idplane.arm import actions, logged, owned, stored
from idplane.arm.asked import attributes_of, refusal_of
from idplane.arm.bodies import encode_object
from idplane.arm.context import Context
from idplane.arm.declare import Visibility
from idplane.arm.inner import Background, InnerAnswer, InnerRequest, Rehearsal
from idplane.arm.locks import Locks
from idplane.arm.paths import parse_target
from idplane.arm.preconditions import Preconditions
from idplane.arm.registration import require_registered
from idplane.arm.registry import ActionRoute, CollectionRoute, InstanceRoute, Route
from idplane.arm.requests import (
    Attempt,
    BoundIdentities,
    Kernel,
    ManagementRequest,
    ManagementResponse,
    body_of,
    first_values,
    verb_of,
    visibility_of,
)
from idplane.arm.scratch import NotedEntropy, ScratchStore
from idplane.arm.task import Plan, Task
from idplane.arm.throttle import Throttle
from idplane.model.calls import Call, Caller
from idplane.model.directory import Subscription, Tenant
from idplane.model.events import ActivityEvent
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.refusals import evidence_of
from idplane.model.roles import Decision
from idplane.model.values import JsonObject
from idplane.ports.collections import ACTIVITY, LOCK_MARKS, ROLE_ASSIGNMENTS, SUBSCRIPTIONS, TENANTS
from idplane.ports.store import Append, Batch, CommitRefused
from idplane.ports.world import Clock

__all__ = ["ResourceManager"]

_ATTEMPTS = 16
"""How often a write loses to other writers before their storm is told to the caller."""
_TURNS = 1000
"""How often it is planned at most: changes of locks make it look again, and are no other writers."""


@dataclass(frozen=True, slots=True)
class BoundManager:
    """A `Manager` for one request: what it performs is of the same caller, seen through the same listener."""

    owner: ResourceManager
    request: ManagementRequest
    caller: Caller

    @property
    def clock(self) -> Clock:
        """The plane's clock."""
        return self.owner.clock

    async def perform(self, inner: InnerRequest) -> InnerAnswer:
        """Serve an inner request; raises `Failure`."""
        answer = await self.owner.serve(self._request(inner), self.caller, inner.attachment)
        return InnerAnswer(status=answer.status, body=answer.body)

    async def forbids(self, inner: InnerRequest) -> Failure | None:
        """The refusal that an inner request would meet ahead of its work."""
        try:
            await self.owner.authorize(self._request(inner), self.caller)
        except Failure as failure:
            return failure
        return None

    def explain(self, failure: Failure) -> JsonObject:
        """The error object that the caller would read."""
        return self.owner.explain(failure)

    def versions(self, type_name: str) -> tuple[str, ...]:
        """The api-versions of a declared type."""
        return self.owner.versions(type_name)

    async def record(self, batch: Batch) -> bool:
        """Commit progress."""
        return await self.owner.record(batch)

    def ending(self, action: str, target: ResourceId, error: JsonObject | None) -> Batch:
        """The end of work, for the activity log."""
        return self.owner.ending(self.request.call, self.caller, action, target, error)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Begin background work."""
        self.owner.background.start(name, work)

    async def finished(self, name: str) -> None:
        """Wait for background work."""
        await self.owner.background.finished(name)

    def running(self, name: str) -> bool:
        """Whether background work goes on."""
        return self.owner.background.running(name)

    def rehearse(self) -> Rehearsal:
        """The same, on a scratch copy of the store."""
        owner, store, generated = self.owner.rehearsing()
        return Rehearsal(manager=replace(self, owner=owner), store=store, generated=generated, close=owner.close)

    def _request(self, inner: InnerRequest) -> ManagementRequest:
        outer = self.request.call
        call = replace(
            outer,
            request_id=self.owner.new_request_id(),
            received_at=self.clock.now(),
            method=inner.method,
            url=inner.path[:2048],
        )
        return ManagementRequest(
            method=inner.method,
            path=inner.path,
            query=(("api-version", inner.api_version),),
            body=b"" if inner.body is None else encode_object(inner.body),
            call=call,
            addresses=self.request.addresses,
            content_type="application/json",
        )


class ResourceManager:
    """Serves management requests. Everything durable is in the store; its own are only the operations that go on in the background."""

    def __init__(self, kernel: Kernel) -> None:
        self._k = kernel
        self._locks = Locks(kernel.store)
        self._throttle = Throttle(kernel.profile.management_rates)
        self.background = Background()

    async def settle(self, seconds: float) -> None:
        """Let the operations in the background end by themselves, if they do so soon."""
        await self.background.settle(seconds)

    async def close(self) -> None:
        """End the operations in the background. What they were doing shows as interrupted."""
        await self.background.close()

    async def handle(self, request: ManagementRequest) -> ManagementResponse:
        """Serve one request; raises `Failure` for everything that the caller must be told."""
        caller = await self._authenticate(request)
        try:
            attempt, query = self._resolve(request, caller, None)
            headers = self._throttle.admit(attempt, self._k.clock.now())
            answer = await self._serve(attempt, query)
        except Failure as failure:
            failure.with_evidence(evidence_of(caller))
            raise
        return replace(answer, headers=answer.headers + headers) if headers else answer

    async def serve(self, request: ManagementRequest, caller: Caller, attachment: object = None) -> ManagementResponse:
        """Serve a request that another one makes, of the same caller."""
        return await self._serve(*self._resolve(request, caller, attachment))

    async def _serve(self, attempt: Attempt, query: Mapping[str, str]) -> ManagementResponse:
        try:
            if not attempt.verb.writes:
                await self._authorize(attempt)
                plan = await self._plan(attempt, query)
            else:
                plan = await self._write(attempt, query)
        except Failure as failure:
            failure.with_evidence(evidence_of(attempt.caller, action=attempt.route.permission, scope=str(attempt.route.id)))
            raise
        return ManagementResponse(status=plan.status, body=plan.body, headers=plan.headers)

    async def authorize(self, request: ManagementRequest, caller: Caller) -> None:
        """Only the checks ahead of a request's work: its type, its version, and whether the caller may; raises `Failure`."""
        attempt, _ = self._resolve(request, caller, None)
        await self._authorize(attempt)

    def rehearsing(self) -> tuple[ResourceManager, ScratchStore, set[str]]:
        """A manager that works on a scratch copy of the store, that copy, and the GUIDs that the manager will have given out."""
        entropy, store = NotedEntropy(self._k.entropy), ScratchStore(self._k.store)
        return ResourceManager(replace(self._k, store=store, entropy=entropy)), store, entropy.guids

    def ending(self, call: Call, caller: Caller, action: str, target: ResourceId, error: JsonObject | None) -> Batch:
        """The event that tells the end of background work: it shares its operation id with the request that began it."""
        event = self._k.record(
            event_id=self._k.entropy.guid(),
            at=self._k.clock.now(),
            call=call,
            caller=caller,
            resource_id=target,
            operation=action,
            decision=None,
            http_status=HTTPStatus.OK if error is None else HTTPStatus.CONFLICT,
            failure_code=None if error is None else str(error.get("code") or "Failed"),
            details={} if error is None else {"statusMessage": logged.status_message(error)},
        )
        return Batch.of(Append(log=ACTIVITY, event=replace(event, started_at=None)))

    async def record(self, batch: Batch) -> bool:
        """Commit the progress of a background operation; False when a record was not as expected."""
        try:
            await self._k.store.commit(batch)
        except CommitRefused:
            return False
        return True

    @property
    def clock(self) -> Clock:
        """The plane's clock."""
        return self._k.clock

    def explain(self, failure: Failure) -> JsonObject:
        """The error object that a caller would read."""
        return self._k.explain(failure)

    def versions(self, type_name: str) -> tuple[str, ...]:
        """The api-versions of a declared type, newest first."""
        declared = self._k.registry.type(type_name)
        return declared.api_versions if declared else ()

    def new_request_id(self) -> str:
        """For a request that another one makes."""
        return self._k.entropy.guid()

    def _resolve(self, request: ManagementRequest, caller: Caller, attachment: object) -> tuple[Attempt, Mapping[str, str]]:
        verb = verb_of(request.method)
        route = self._k.registry.resolve(verb, parse_target(request.path))
        query = first_values(request.query)
        version = self._k.registry.version(route, query.get("api-version"), continuing="$skiptoken" in query)
        attempt = Attempt(request=request, verb=verb, caller=caller, route=route, api_version=version, attachment=attachment)
        return attempt, query

    async def _authenticate(self, request: ManagementRequest) -> Caller:
        scheme, _, token = (request.authorization or "").strip().partition(" ")
        if not scheme:
            raise Failure(FailureKind.TOKEN_MISSING, "the Authorization header is missing")
        if scheme.lower() != "bearer" or not token.strip():
            raise Failure(FailureKind.TOKEN_INVALID, "the Authorization header must hold a bearer token")
        base = request.addresses.management
        audiences = self._k.audiences | {base, f"{base}/"}
        return await self._k.authenticator.authenticate(token.strip(), audiences, request.call.client_certificate)

    # Authorization --------------------------------------------------------------------------------------------------

    async def _authorize(self, attempt: Attempt) -> Decision | None:
        """The decision that lets the caller in; None where every authenticated caller may ask."""
        route = attempt.route
        await self._require_same_tenant(attempt)
        visibility = visibility_of(route)
        if visibility is Visibility.OPEN:
            return None
        data = isinstance(route, ActionRoute) and route.action.data
        attributes = await attributes_of(attempt, self._k.store)
        try:
            return await self._k.access.require(attempt.caller, route.permission, route.id, data=data, attributes=attributes)
        except Failure as failure:
            filtered = failure.kind is FailureKind.FORBIDDEN and visibility is Visibility.FILTERED
            if filtered and await self._holds_role_below(attempt.caller, route.id):
                return None
            raise

    async def _require_same_tenant(self, attempt: Attempt) -> None:
        """Roles of one tenant say nothing about the subscriptions of another, whatever the token's own tenant grants."""
        subscription = attempt.route.id.subscription
        found = await self._k.store.get(SUBSCRIPTIONS, subscription) if subscription else None
        if found is not None and found.value.tenant_id != attempt.caller.tenant_id:
            raise Failure(FailureKind.TOKEN_TENANT, "the access token is from the wrong tenant for the subscription")

    async def _holds_role_below(self, caller: Caller, scope: ResourceId) -> bool:
        for principal_id in caller.principal_ids:
            where = {"principal_id": principal_id}
            page = await self._k.store.page(ROLE_ASSIGNMENTS, where=where, under=("scope_key", scope.key), limit=1)
            if page.items:
                return True
        return False

    # Writing --------------------------------------------------------------------------------------------------------

    async def _write(self, attempt: Attempt, query: Mapping[str, str]) -> Plan:
        """Plan and commit until it holds; a refusal is recorded before it is told.

        Callers of another tenant than the target's are not: their attempt belongs to no log that they or the owners could read.
        """
        decision: Decision | None = None
        try:
            decision = await self._authorize(attempt)
            return await self._commit(attempt, decision, query)
        except Failure as failure:
            if failure.kind.category is Category.UNAUTHENTICATED:
                raise
            status, code = self._k.describe(failure)
            told = logged.details(attempt, error=self._k.explain(failure))
            event = self._event(attempt, decision or refusal_of(failure), status, code, details=told)
            await self._k.store.commit(Batch.of(Append(log=ACTIVITY, event=event)))
            failure.on_record = True
            raise

    async def _commit(self, attempt: Attempt, decision: Decision | None, query: Mapping[str, str]) -> Plan:
        pinned = Preconditions(if_match=attempt.request.if_match).pins_version
        lost = 0
        for _ in range(_TURNS):
            unlocked = await self._locks.require_unlocked(attempt.route.permission, attempt.route.id)
            plan = await self._plan(attempt, query)
            kept = await self._kept(attempt, plan, query)
            if attempt.request.authorization is not None:  # not of a request that another one makes
                self._throttle.admit_made(attempt.caller, attempt.route.id, plan.batch, self._k.clock.now())
            events = self._events(attempt, decision, plan)
            try:
                recorded = Batch.of(*(Append(log=ACTIVITY, event=one) for one in events))
                await self._k.store.commit(unlocked + plan.batch + kept + recorded)
            except CommitRefused as refused:
                # Fresh reads tell what has changed; with If-Match they tell that the client's version has gone.
                lost += refused.collection != LOCK_MARKS.name
                if lost == _ATTEMPTS:
                    break
                continue
            if plan.then is not None:
                plan.then()
            return plan
        kind = FailureKind.PRECONDITION_FAILED if pinned else FailureKind.CONFLICT
        raise Failure(kind, "other changes to the same resources kept coming first; try again", id=str(attempt.route.id))

    async def _kept(self, attempt: Attempt, plan: Plan, query: Mapping[str, str]) -> Batch:
        """Nobody takes away the last administrator by accident: whoever means it says `force=true`."""
        if query.get("force", "").lower() == "true":
            return Batch()
        return await self._k.keep(self._k.store, plan.batch, attempt.caller.tenant_id)

    def _events(self, attempt: Attempt, decision: Decision | None, plan: Plan) -> Iterator[ActivityEvent]:
        """What the log says of a success: the operation itself, and each resource that a delete takes along."""
        told = logged.details(attempt, answer=plan.body)
        yield self._event(attempt, decision, plan.status, None, details=told, goes_on=plan.then is not None)
        for identifier, operation in logged.removed(attempt, plan.batch, self._k.registry):
            event = self._event(attempt, decision, plan.status, None, details={})
            yield replace(event, resource_id=str(identifier), operation=operation, started_at=None)

    def _event(
        self,
        attempt: Attempt,
        decision: Decision | None,
        status: int,
        code: str | None,
        *,
        details: Mapping[str, str],
        goes_on: bool = False,
    ) -> ActivityEvent:
        return self._k.record(
            event_id=self._k.entropy.guid(),
            at=self._k.clock.now(),
            call=attempt.request.call,
            caller=attempt.caller,
            resource_id=attempt.route.id,
            operation=attempt.route.permission,
            decision=decision,
            http_status=status,
            failure_code=code,
            details=details,
            goes_on=goes_on,
        )

    # Planning -------------------------------------------------------------------------------------------------------

    async def _plan(self, attempt: Attempt, query: Mapping[str, str]) -> Plan:
        request, route = attempt.request, attempt.route
        task = Task(
            verb=attempt.verb,
            context=await self._context(attempt, query),
            registry=self._k.registry,
            body=body_of(attempt),
            preconditions=Preconditions(if_match=request.if_match, if_none_match=request.if_none_match),
            path=request.path,
            query=request.query,
        )
        require_registered(task, route)
        return await _dispatch(task, route)

    async def _context(self, attempt: Attempt, query: Mapping[str, str]) -> Context:
        k, now = self._k, self._k.clock.now()
        tenant = await self._tenant(attempt.caller)
        return Context(
            caller=attempt.caller,
            call=attempt.request.call,
            now=now,
            api_version=attempt.api_version,
            tenant=tenant,
            subscription=await self._subscription(attempt.route.id),
            profile=k.profile,
            entropy=k.entropy,
            store=k.store,
            access=k.access,
            identities=BoundIdentities(k.identities, k.store, tenant.id, k.entropy, now),
            addresses=attempt.request.addresses,
            custody=k.custody,
            vouch=k.vouch,
            manager=BoundManager(self, attempt.request, attempt.caller),
            action=attempt.route.permission,
            target=attempt.route.id,
            query=query,
            diagnostics=k.diagnostics,
            attachment=attempt.attachment,
        )

    async def _tenant(self, caller: Caller) -> Tenant:
        found = await self._k.store.get(TENANTS, caller.tenant_id)
        if found is None:
            raise Failure(FailureKind.TOKEN_TENANT, "the access token is from a tenant that no longer exists")
        return found.value

    async def _subscription(self, identifier: ResourceId) -> Subscription | None:
        """The subscription that the target lies in; only authorized callers hear that there is none."""
        if identifier.subscription is None:
            return None
        found = await self._k.store.get(SUBSCRIPTIONS, identifier.subscription)
        if found is None:
            subscription = identifier.segments[1]
            raise Failure(FailureKind.SUBSCRIPTION_NOT_FOUND, "the subscription was not found", subscription=subscription)
        return found.value


async def _dispatch(task: Task, route: Route) -> Plan:
    if isinstance(route, InstanceRoute):
        own = route.type.own
        return await (stored.instance(task, route) if own is None else owned.instance(task, route, own))
    if isinstance(route, CollectionRoute):
        own = route.type.own
        return await (stored.collection(task, route) if own is None else owned.collection(task, route, own))
    if isinstance(route, ActionRoute):
        return await actions.invoke(task, route)
    return actions.operations(task, route)
