"""Deployments as they are kept and shown: the record of a run while it goes on, and what clients read of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from idplane.arm.context import Context
from idplane.arm.envelope import timestamp
from idplane.model.deployments import SILENCE, Deployment, DeploymentOperation, DeploymentState
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.collections import DEPLOYMENT_OPERATIONS, DEPLOYMENTS
from idplane.ports.store import ABSENT, Batch, Put, Require
from idplane.providers.deployment_rollbacks import again
from idplane.providers.deployment_runs import Done, Run, Superseded, failed_error, operation_of
from idplane.templates.planning import Plan

__all__ = ["RecordedRun", "as_now", "dependencies_of", "providers_of", "shown", "shown_operation"]

_log = logging.getLogger("idplane.providers")
_INTERRUPTED: JsonObject = {
    "code": "DeploymentInterrupted",
    "message": (
        "The server that carried the deployment out stopped before it was finished. What it had done stays; deploy again to "
        "complete it."
    ),
}


class RecordedRun:
    """A run whose progress is stored. Its writes follow one another, each expecting the version that the last one left."""

    def __init__(self, *, context: Context, deployment: Deployment, version: int, plan: Plan, depth: int) -> None:
        self._context = context
        self._deployment = deployment
        self._version = version
        self._plan = plan
        self._depth = depth
        self._count = 0
        self._turn = asyncio.Lock()
        self._unwritten: list[DeploymentOperation] = []

    async def work(self) -> None:
        """Run to the end and record it. Ends early, and leaves everything as it is, when the record is no longer this run's."""
        manager = self._context.manager
        run = Run(
            context=self._context,
            manager=manager,
            plan=self._plan,
            scope=self._deployment.id.scope,
            mode=self._deployment.mode,
            depth=self._depth,
            progress=self,
        )
        beat = asyncio.create_task(self._beat())
        try:
            await self._perform(run)
            await self._finish(run)
            if run.errors and self._deployment.on_error is not None:
                await self._store(replace(self._deployment, rollback=await again(self._context, self._deployment)))
        except Superseded:
            return
        finally:
            beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beat

    async def _perform(self, run: Run) -> None:
        try:
            await run.perform()
        except (Superseded, asyncio.CancelledError):
            raise
        except Exception:  # noqa: BLE001 - a bug must not leave a deployment running for ever; it is logged, and told as internal
            _log.exception("bug in deployment %s", self._deployment.id)
            failure = Failure(FailureKind.INTERNAL, "an internal error occurred")
            run.errors.append(self._context.manager.explain(failure))

    async def done(self, one: Done) -> None:
        """Store an ended operation; raises `Superseded`. What ends while another write is under way is written together."""
        self._count += 1
        self._unwritten.append(operation_of(self._deployment, self._count, one, self._context.manager.clock.now()))
        async with self._turn:
            operations, self._unwritten = self._unwritten, []
            required = Require(collection=DEPLOYMENTS, key=self._deployment.key, expect=self._version)
            puts = (Put(collection=DEPLOYMENT_OPERATIONS, value=operation, expect=ABSENT) for operation in operations)
            if operations and not await self._context.manager.record(Batch.of(required, *puts)):
                raise Superseded

    async def _beat(self) -> None:
        """Say every now and then that the deployment still runs."""
        clock = self._context.manager.clock
        while True:
            await clock.sleep(SILENCE.total_seconds() / 4)
            with contextlib.suppress(Superseded, Failure):
                await self._store(replace(self._deployment, beat_at=clock.now()))

    async def _finish(self, run: Run) -> None:
        now = self._context.manager.clock.now()
        failed = bool(run.errors)
        await self._store(
            replace(
                self._deployment,
                state=DeploymentState.FAILED if failed else DeploymentState.SUCCEEDED,
                finished_at=now,
                beat_at=now,
                outputs=run.outputs,
                output_resources=tuple(dict.fromkeys(run.deployed)),
                error=failed_error(self._deployment, run.errors) if failed else None,
            ),
            ended=True,
        )

    async def _store(self, deployment: Deployment, *, ended: bool = False) -> None:
        context = self._context
        async with self._turn:
            told = context.manager.ending(context.action, context.target, deployment.error) if ended else Batch()
            batch = told + Batch.of(Put(collection=DEPLOYMENTS, value=deployment, expect=self._version))
            if not await self._context.manager.record(batch):
                raise Superseded
            self._version += 1
            self._deployment = deployment


# What is shown ------------------------------------------------------------------------------------------------------


def as_now(deployment: Deployment, context: Context) -> Deployment:
    """The deployment as it stands: one whose process has gone has failed, whether or not anyone wrote that down."""
    if not deployment.silent(context.now) or context.manager.running(deployment.key):
        return deployment
    return replace(
        deployment,
        state=DeploymentState.FAILED,
        finished_at=deployment.beat_at,
        error=failed_error(deployment, [{**_INTERRUPTED, "target": str(deployment.id)}]),
    )


def shown(deployment: Deployment, *, accepted: bool = False) -> JsonObject:
    """A deployment on the wire; `accepted` when it has just been taken on."""
    state = DeploymentState.ACCEPTED if accepted else deployment.state
    ended = deployment.finished_at or deployment.beat_at
    properties: dict[str, object] = {
        "templateHash": deployment.template_hash,
        "parameters": deployment.parameters,
        "mode": deployment.mode,
        "provisioningState": state.value,
        "timestamp": timestamp(ended),
        "duration": _duration(deployment.started_at, ended),
        "correlationId": deployment.correlation_id,
        "providers": list(deployment.providers),
        "dependencies": list(deployment.dependencies),
    }
    if deployment.outputs is not None:
        properties["outputs"] = deployment.outputs
    if deployment.state.ended:
        properties["outputResources"] = [{"id": one} for one in deployment.output_resources]
    if deployment.error is not None:
        properties["error"] = deployment.error
    if deployment.on_error is not None:
        kind, name = deployment.on_error
        properties["onErrorDeployment"] = deployment.rollback or {"type": kind, "deploymentName": name}
    members: dict[str, object] = {
        "id": str(deployment.id),
        "name": deployment.id.name,
        "type": "Microsoft.Resources/deployments",
        "properties": properties,
    }
    if deployment.location is not None:
        members["location"] = deployment.location
    if deployment.tags:
        members["tags"] = dict(deployment.tags)
    return members


def shown_operation(deployment: Deployment, operation: DeploymentOperation) -> JsonObject:
    """An operation of a deployment on the wire."""
    properties: dict[str, object] = {
        "provisioningOperation": operation.action,
        "provisioningState": operation.state.value,
        "timestamp": timestamp(operation.finished_at),
        "duration": _duration(operation.started_at, operation.finished_at),
        "serviceRequestId": deployment.correlation_id,
        "statusCode": operation.status_code,
    }
    if operation.target is not None:
        properties["targetResource"] = _reference(operation.target)
    if operation.error is not None:
        properties["statusMessage"] = {"status": "Failed", "error": operation.error}
    return {
        "id": f"{deployment.id}/operations/{operation.id}",
        "operationId": operation.id,
        "properties": properties,
    }


def dependencies_of(plan: Plan) -> tuple[JsonObject, ...]:
    """The graph of a plan, as deployments show it."""
    found: list[JsonObject] = []
    for key, needed in plan.needs.items():
        one = plan.resources[key]
        others = [plan.resources[other] for other in sorted(needed)]
        wanted = [_basic(other.id) for other in others if other.wanted and not other.existing]
        if wanted and one.wanted and not one.existing:
            found.append({"dependsOn": wanted, **_basic(one.id)})
    return tuple(found)


def providers_of(plan: Plan, location: str | None) -> tuple[JsonObject, ...]:
    """The namespaces and types of a plan, as deployments show them."""
    types: dict[str, dict[str, None]] = {}
    for one in plan.resources.values():
        namespace, _, path = one.type.partition("/")
        if one.wanted:
            types.setdefault(namespace, {})[path] = None
    return tuple(
        {
            "namespace": namespace,
            "resourceTypes": [{"resourceType": path, "locations": [location]} for path in paths],
        }
        for namespace, paths in types.items()
    )


def _basic(identifier: str) -> dict[str, object]:
    parsed = ResourceId.parse(identifier)
    return {"id": identifier, "resourceType": parsed.type, "resourceName": _full_name(parsed)}


def _reference(identifier: str) -> Mapping[str, object]:
    return _basic(identifier)


def _full_name(identifier: ResourceId) -> str:
    """The names of a resource and its parents: `web/staging`."""
    if identifier.namespace is None:
        return identifier.name
    depth = len(identifier.scope.segments) + 2
    return "/".join(identifier.segments[depth + 1 :: 2])


def _duration(start: datetime, end: datetime) -> str:
    """ISO 8601, seconds with seven decimals."""
    seconds = max((end - start).total_seconds(), 0.0)
    return f"PT{seconds:.6f}0S"
