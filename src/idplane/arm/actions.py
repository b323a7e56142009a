"""POST actions, GET views, and the operations list of a namespace."""

from __future__ import annotations

from idplane.arm.declare import Invocation, OperationInfo, Visibility
from idplane.arm.preconditions import resource_etag
from idplane.arm.registry import ActionRoute, OperationsRoute
from idplane.arm.stored import find
from idplane.arm.task import Plan, Task
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES
from idplane.ports.store import Batch, Put, Versioned

__all__ = ["invoke", "operations"]

_GROUP_DEPTH = 4
"""Segments of a resource group's id."""


async def invoke(task: Task, route: ActionRoute) -> Plan:
    """Run an action or view on what exists; raises `Failure(GROUP_NOT_FOUND | RESOURCE_NOT_FOUND)` and what the function refuses."""
    found = await _stored(task, route)
    task.preconditions.check(resource_etag(found) if found else None)
    outcome = await route.action.run(
        Invocation(
            context=task.context,
            id=found.value.id if found else route.id,
            resource=found.value if found else None,
            body=task.body,
            argument=route.argument,
        )
    )
    batch = outcome.batch
    if outcome.resource is not None:
        assert found is not None  # only an action on a stored resource can change it
        batch = Batch.of(Put(collection=RESOURCES, value=outcome.resource, expect=found.version)) + batch
    return Plan(status=outcome.status, body=outcome.body, batch=batch, headers=outcome.headers, then=outcome.then)


async def _stored(task: Task, route: ActionRoute) -> Versioned[Resource] | None:
    if route.type is not None:
        return await find(task.context, route.id) if route.type.own is None else None
    if route.action.visibility is Visibility.OPEN:
        return None  # what exists is nothing for whoever merely asks
    if len(route.id.segments) >= _GROUP_DEPTH and route.id.resource_group is not None:
        await find(task.context, ResourceId(route.id.segments[:_GROUP_DEPTH]))
    return None


def operations(task: Task, route: OperationsRoute) -> Plan:
    """The actions that a namespace knows."""
    return task.page([_operation(one) for one in route.provider.operations], None)


def _operation(one: OperationInfo) -> JsonObject:
    display = {"provider": one.provider, "resource": one.resource, "operation": one.operation}
    if one.description:
        display["description"] = one.description
    data: JsonObject = {"isDataAction": True} if one.data else {}
    return {"name": one.name, "display": display, **data}
