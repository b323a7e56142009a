"""Carrying out a plan: independent resources at once, dependents in order, each by a request of the deployment's own caller.

What fails is told with the resource's id and the refusal's own words; what depends on it is left out; everything else goes on, and
what succeeded stays. Lookups (`reference`, `list*`) are requests of the same caller, too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Protocol, TypeVar

from idplane.arm.context import Context
from idplane.arm.inner import InnerAnswer, InnerRequest, Manager
from idplane.model.deployments import Deployment, DeploymentOperation, DeploymentState, deployment_key
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.collections import DEPLOYMENTS, RESOURCES
from idplane.providers.deployment_requests import COMPLETE, Nested
from idplane.templates.facts import Lookup, Unresolved
from idplane.templates.naming import Planned
from idplane.templates.planning import Plan, body, outputs
from idplane.templates.problems import TemplateProblem

__all__ = ["Done", "Progress", "Run", "Superseded", "failed_error", "operation_of"]

T = TypeVar("T")

_AT_ONCE = 20
"""Requests of one deployment under way."""
_ROUNDS = 100
"""How often one value may ask for further lookups."""
_SEE = "Please list deployment operations for details. Please see https://aka.ms/arm-deployment-operations for usage details."


class Superseded(Exception):  # noqa: N818 - an outcome
    """The deployment's record is no longer this run's: it was cancelled, or has gone with its group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One operation of a deployment, ended. `error` is None when it succeeded."""

    action: str
    target: str | None
    started_at: datetime
    status: int
    error: JsonObject | None = None


class Progress(Protocol):
    """Where a run tells what it has done."""

    async def done(self, one: Done) -> None:
        """Keep an ended operation; raises `Superseded`."""
        ...


@dataclass(slots=True, kw_only=True)
class Run:
    """One run of a plan. `perform` once; then read what came of it."""

    context: Context
    manager: Manager
    plan: Plan
    scope: ResourceId
    mode: str
    depth: int
    progress: Progress
    undaunted: bool = False
    """Whether dependents of what failed are tried nevertheless: what-if wants to see everything."""
    errors: list[JsonObject] = field(default_factory=list)
    deployed: list[str] = field(default_factory=list)
    """Resource ids, those of nested deployments included, in the order in which they were done."""
    sent: dict[str, JsonObject] = field(default_factory=dict, repr=False)
    """The body that was sent for each resource of this template, by lower-case id."""
    outputs: JsonObject | None = None
    _tasks: dict[str, asyncio.Task[bool]] = field(default_factory=dict)

    async def perform(self) -> None:
        """Deploy, clean up after complete mode, evaluate outputs; raises `Superseded`."""
        await self._deploy_all()
        if self.mode == COMPLETE and not self.errors:
            for identifier in await self.rest():
                await self._delete(identifier)
        if not self.errors:
            await self._outputs()

    async def rest(self) -> tuple[ResourceId, ...]:
        """The group's resources that complete mode deletes: those at its root that no part of the template is, or lies in."""
        if self.scope.resource_group is None:
            return ()
        wanted = [one.id.lower() for one in self.plan.resources.values() if one.wanted]
        kept = [ResourceId.parse(one) for one in {*wanted, *(one.lower() for one in self.deployed)}]
        found = await self.context.store.all(RESOURCES, under=("path", self.scope.key))
        roots = [one.value.id for one in found if one.value.id.parent == self.scope]
        return tuple(root for root in roots if not any(one.is_within(root) for one in kept))

    # Resources ------------------------------------------------------------------------------------------------------

    async def _deploy_all(self) -> None:
        free = asyncio.Semaphore(_AT_ONCE)
        for key, one in self.plan.resources.items():
            self._tasks[key] = asyncio.create_task(self._in_turn(key, one, free))
        try:
            for task in self._tasks.values():
                await task
        finally:
            for task in self._tasks.values():
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks.values())

    async def _in_turn(self, key: str, one: Planned, free: asyncio.Semaphore) -> bool:
        """Whether what depends on this one may go on."""
        needed = self.plan.needs[key]
        if needed:
            # The tasks of a plan are made before the first of them starts.
            await asyncio.wait([self._tasks[other] for other in needed])
            if not all([await self._tasks[other] for other in needed]) and not self.undaunted:
                return False
        if not one.wanted or one.existing:
            return True
        return await self._deploy(one, free)

    async def _deploy(self, one: Planned, free: asyncio.Semaphore) -> bool:
        """Only the request itself takes one of the places: while its record is written, the next one may go on."""
        started = self.manager.clock.now()
        try:
            async with free:
                started = self.manager.clock.now()
                made = await self._resolved(lambda: body(self.plan, one))
                self.sent[one.id.lower()] = made
                answer = await self._put(one, made)
        except TemplateProblem as problem:
            return await self._failed("Create", one.id, started, problem.failure(), None)
        except Failure as failure:
            return await self._failed("Create", one.id, started, failure, None)
        if one.is_deployment:
            return await self._nested_ended(one, started, answer)
        self.deployed.append(one.id)
        await self.progress.done(Done(action="Create", target=one.id, started_at=started, status=answer.status))
        return True

    async def _put(self, one: Planned, made: JsonObject) -> InnerAnswer:
        nested: Nested | None = None
        if one.is_deployment:
            outer = None if one.inner_scope else self.plan.evaluator
            nested = Nested(depth=self.depth + 1, outer=outer, local=one.local)
        request = InnerRequest(method="PUT", path=one.id, api_version=one.api_version, body=made, attachment=nested)
        return await self.manager.perform(request)

    async def _nested_ended(self, one: Planned, started: datetime, answer: InnerAnswer) -> bool:
        key = deployment_key(self.context.tenant.id, ResourceId.parse(one.id))
        await self.manager.finished(key)
        found = await self.context.store.get(DEPLOYMENTS, key)
        if found is not None:
            self.deployed += found.value.output_resources
        if found is not None and found.value.state is DeploymentState.SUCCEEDED:
            await self.progress.done(Done(action="Create", target=one.id, started_at=started, status=answer.status))
            return True
        failure = Failure(FailureKind.CONFLICT, "The nested deployment did not succeed.", code="DeploymentFailed")
        return await self._failed("Create", one.id, started, failure, found.value.error if found else None)

    async def _delete(self, identifier: ResourceId) -> None:
        started = self.manager.clock.now()
        versions = self.manager.versions(identifier.type)
        try:
            answer = await self.manager.perform(
                InnerRequest(method="DELETE", path=str(identifier), api_version=versions[0] if versions else "")
            )
        except Failure as failure:
            await self._failed("Delete", str(identifier), started, failure, None)
        else:
            done = Done(action="Delete", target=str(identifier), started_at=started, status=answer.status)
            await self.progress.done(done)

    async def _failed(self, action: str, target: str, started: datetime, failure: Failure, error: JsonObject | None) -> bool:
        told: JsonObject = error or {**self.manager.explain(failure), "target": target}
        self.errors.append(told)
        status = failure.kind.category.value
        await self.progress.done(Done(action=action, target=target, started_at=started, status=status, error=told))
        return False

    # Values ---------------------------------------------------------------------------------------------------------

    async def _outputs(self) -> None:
        if not self.plan.template.outputs:
            self.outputs = {}
            return
        started = self.manager.clock.now()
        try:
            self.outputs = await self._resolved(lambda: outputs(self.plan))
        except (TemplateProblem, Failure) as refused:
            failure = refused.failure() if isinstance(refused, TemplateProblem) else refused
            inner = dict(self.manager.explain(failure))
            told: JsonObject = {
                "code": "DeploymentOutputEvaluationFailed",
                "message": "Unable to evaluate template outputs. Please see error details and deployment operations.",
                "details": [{**inner, "code": "DeploymentOutputEvaluationFailed"}],
            }
            self.errors.append(told)
            done = Done(action="EvaluateDeploymentOutput", target=None, started_at=started, status=400, error=told)
            await self.progress.done(done)
        else:
            await self.progress.done(Done(action="EvaluateDeploymentOutput", target=None, started_at=started, status=200))

    async def _resolved(self, compute: Callable[[], T]) -> T:
        """A value that may depend on lookups: they are made, and the value is computed again; raises what either refuses."""
        for _ in range(_ROUNDS):
            try:
                return compute()
            except Unresolved as asked:
                missing = sorted(asked.lookups, key=lambda it: (it.id, it.word, it.api_version, it.full, it.body))
            for lookup in missing:
                self.plan.evaluator.known[lookup] = await self._look_up(lookup)
        raise TemplateProblem("A value depends on too many lookups, each on what the last one gave.")

    async def _look_up(self, lookup: Lookup) -> object:
        if lookup.word:
            content: JsonObject | None = json.loads(lookup.body) if lookup.body else None
            path = f"{lookup.id}/{lookup.word}"
            asked = InnerRequest(method="POST", path=path, api_version=lookup.api_version, body=content)
            return (await self.manager.perform(asked)).body
        found = await self.manager.perform(InnerRequest(method="GET", path=lookup.id, api_version=lookup.api_version))
        shown: Mapping[str, object] = found.body if isinstance(found.body, Mapping) else {}
        return _referenced(shown, lookup) if lookup.full else shown.get("properties", {})


def _referenced(shown: Mapping[str, object], lookup: Lookup) -> dict[str, object]:
    """What `reference` gives with 'Full': the resource without id and name, and how it was found."""
    identifier = ResourceId.parse(lookup.id)
    return {
        **{name: value for name, value in shown.items() if name not in ("id", "name", "type")},
        "apiVersion": lookup.api_version,
        "resourceId": f"{identifier.type}/{identifier.name}",
        **({"subscriptionId": identifier.subscription} if identifier.subscription else {}),
        **({"resourceGroupName": identifier.resource_group} if identifier.resource_group else {}),
        "scope": "" if identifier.scope == identifier else str(identifier.scope),
    }


def failed_error(deployment: Deployment, errors: list[JsonObject]) -> JsonObject:
    """The error of a deployment of which something failed."""
    return {
        "code": "DeploymentFailed",
        "target": str(deployment.id),
        "message": f"At least one resource deployment operation failed. {_SEE}",
        "details": errors[:100],
    }


def operation_of(deployment: Deployment, number: int, done: Done, now: datetime) -> DeploymentOperation:
    """The record of an ended operation."""
    failed = done.error is not None
    return DeploymentOperation(
        deployment=deployment.key,
        id=f"{deployment.run_id.replace('-', '')[:8]}{number:08X}".upper(),
        run_id=deployment.run_id,
        action=done.action,
        state=DeploymentState.FAILED if failed else DeploymentState.SUCCEEDED,
        started_at=done.started_at,
        finished_at=now,
        status_code=HTTPStatus(done.status).phrase.replace(" ", ""),
        target=done.target,
        error=done.error,
    )
