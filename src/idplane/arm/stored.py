"""The stored shape: resource types whose instances are records of `RESOURCES`."""

from __future__ import annotations

from idplane.arm import drafts
from idplane.arm.cascade import removal
from idplane.arm.context import Context
from idplane.arm.declare import ResourceType, Visibility, Write
from idplane.arm.envelope import render
from idplane.arm.long_running import ACCEPTED, accepted
from idplane.arm.missing import resource_not_found
from idplane.arm.preconditions import resource_etag
from idplane.arm.registry import CollectionRoute, InstanceRoute, Verb
from idplane.arm.room import require_room
from idplane.arm.task import Plan, Task, etag_header
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId
from idplane.model.resources import Resource
from idplane.ports.collections import RESOURCES
from idplane.ports.store import ABSENT, Batch, ColumnValue, Put, Versioned

__all__ = ["collection", "find", "instance"]

_GROUPS = "Microsoft.Resources/resourceGroups"
_GROUP_DEPTH = 4
"""Segments of a resource group's id."""


async def instance(task: Task, route: InstanceRoute) -> Plan:
    """GET, HEAD, PUT, PATCH or DELETE of one stored resource.

    Raises `Failure` of the kinds RESOURCE_NOT_FOUND, GROUP_NOT_FOUND, PARENT_NOT_FOUND, PRECONDITION_FAILED, INVALID_NAME, those of
    `arm.drafts`, and whatever the provider's functions refuse.
    """
    if task.verb in (Verb.PUT, Verb.PATCH):
        return await _write(task, route)
    if task.verb is Verb.DELETE:
        return await _delete(task, route)
    found = await find(task.context, route.id)
    if task.verb is Verb.HEAD:
        return Plan(status=204, headers=etag_header(resource_etag(found)))
    return _answer(route.type, found, task, status=200)


async def find(context: Context, identifier: ResourceId) -> Versioned[Resource]:
    """The stored resource; raises `Failure(GROUP_NOT_FOUND | RESOURCE_NOT_FOUND)`."""
    found = await context.store.get(RESOURCES, identifier.key)
    if found is None:
        raise await _missing(context, identifier)
    return found


async def collection(task: Task, route: CollectionRoute) -> Plan:
    """A page of a type's instances; raises `Failure(GROUP_NOT_FOUND | RESOURCE_NOT_FOUND | INVALID_PARAMETER | INVALID_FILTER)`."""
    context = task.context
    keep = route.type.keep(context) if route.type.keep else _everything
    if len(route.id.segments) >= _GROUP_DEPTH:
        await find(context, route.id)
    paging = task.paging
    page = await context.store.page(
        RESOURCES,
        where=_columns(route),
        under=None if route.id == ROOT else ("path", route.id.key),
        after=paging.after,
        limit=paging.top,
    )
    shown = [found.value for found in page.items if keep(found.value)]
    if route.type.visibility is Visibility.FILTERED or await context.access.denied_below(route.id):
        shown = await _readable(context, route, shown)
    return task.page([render(route.type, one, context) for one in shown], page.after)


def _everything(_: Resource) -> bool:
    return True


def _columns(route: CollectionRoute) -> dict[str, ColumnValue]:
    where: dict[str, ColumnValue] = {"type": route.type.name.lower()}
    if len(route.id.segments) == _GROUP_DEPTH and route.id.resource_group is not None:
        where["group_key"] = route.id.key
    return where


async def _readable(context: Context, route: CollectionRoute, found: list[Resource]) -> list[Resource]:
    ids = context.caller.principal_ids
    if (await context.access.check(ids, route.permission, route.id)).allowed and not await context.access.denied_below(
        route.id
    ):
        return found
    return [one for one in found if (await context.access.check(ids, route.permission, one.id)).allowed]


async def _write(task: Task, route: InstanceRoute) -> Plan:
    context, declared = task.context, route.type
    old = await context.store.get(RESOURCES, route.id.key)
    task.preconditions.check(resource_etag(old) if old else None)
    author = drafts.author_of(context.caller, context.now)
    if old is None:
        if task.verb is Verb.PATCH:
            raise await _missing(context, route.id)
        identifier = await _new_id(context, declared, route.id)
        await require_room(context, declared, identifier)
        draft = drafts.put(declared, identifier, task.body, None, author)
    elif task.verb is Verb.PATCH:
        draft = drafts.patched(declared, task.body, old.value, author)
    else:
        draft = drafts.put(declared, old.value.id, task.body, old.value, author)
    assert declared.put is not None  # the registry serves no writes to types without it
    written = await declared.put(
        Write(
            context=context,
            type=declared,
            id=draft.id,
            body=task.body,
            patch=task.verb is Verb.PATCH,
            old=old.value if old else None,
            draft=draft,
        )
    )
    stored = Versioned(written.resource, old.version + 1 if old else 1)
    batch = Batch.of(Put(collection=RESOURCES, value=stored.value, expect=old.version if old else ABSENT))
    status = declared.updated_status if old else declared.created_status
    return _answer(declared, stored, task, status=status, batch=written.before + batch + written.after)


def _answer(declared: ResourceType, found: Versioned[Resource], task: Task, *, status: int, batch: Batch | None = None) -> Plan:
    return Plan(
        status=status,
        body=render(declared, found.value, task.context),
        batch=batch or Batch(),
        headers=etag_header(resource_etag(found)),
    )


async def _delete(task: Task, route: InstanceRoute) -> Plan:
    context = task.context
    found = await context.store.get(RESOURCES, route.id.key)
    task.preconditions.check(resource_etag(found) if found else None)
    if found is None:
        if route.type.delete_missing == 404:  # noqa: PLR2004 - HTTP's word for it
            raise await _missing(context, route.id)
        return Plan(status=route.type.delete_missing)
    batch = await removal(found, context, task.registry.type)
    if route.type.deleted_later:
        later = await accepted(context)
        return Plan(status=ACCEPTED, batch=batch + later.batch, headers=later.headers)
    return Plan(status=route.type.deleted_status, batch=batch)


# Ids ----------------------------------------------------------------------------------------------------------------


async def _missing(context: Context, identifier: ResourceId) -> Failure:
    """Why nothing was found: the group is named first, as Azure does."""
    if len(identifier.segments) == _GROUP_DEPTH and identifier.namespace is None:
        return _no_group(identifier)
    if identifier.resource_group is not None:
        group = ResourceId(identifier.segments[:_GROUP_DEPTH])
        if await context.store.get(RESOURCES, group.key) is None:
            return _no_group(group)
    return resource_not_found(identifier)


def _no_group(group: ResourceId) -> Failure:
    return Failure(FailureKind.GROUP_NOT_FOUND, "the resource group was not found", group=group.name, id=str(group))


async def _new_id(context: Context, declared: ResourceType, asked: ResourceId) -> ResourceId:
    """The id of a resource to be created: the name as the caller wrote it, everything before it as it is stored or declared."""
    if declared.naming.pattern.fullmatch(asked.name) is None:
        raise Failure(
            FailureKind.INVALID_NAME,
            f"the name must have {declared.naming.words}",
            name=asked.name,
            type=declared.name,
            rule=declared.naming.words,
        )
    parent = asked.parent
    assert parent is not None  # the tenant itself is no declared type
    anchor = await _anchor(context, asked, parent)
    return ResourceId(anchor.segments + _tail(declared, asked, len(parent.segments)))


def _tail(declared: ResourceType, asked: ResourceId, depth: int) -> tuple[str, ...]:
    tail = asked.segments[depth:]
    if declared.name == _GROUPS:
        return ("resourceGroups", tail[-1])
    if tail[0] == "providers":
        return ("providers", declared.namespace, declared.path, tail[-1])
    return (declared.path.rpartition("/")[2], tail[-1])


async def _anchor(context: Context, asked: ResourceId, parent: ResourceId) -> ResourceId:
    """The parent as stored; raises `Failure(GROUP_NOT_FOUND | PARENT_NOT_FOUND)`."""
    if not parent.segments:
        return ROOT
    if context.subscription is not None and parent.key == f"/subscriptions/{context.subscription.id}":
        return ResourceId(("subscriptions", context.subscription.id))
    found = await context.store.get(RESOURCES, parent.key)
    if found is not None:
        return found.value.id
    failure = await _missing(context, parent)
    if failure.kind is FailureKind.GROUP_NOT_FOUND:
        raise failure
    raise Failure(
        FailureKind.PARENT_NOT_FOUND,
        "the parent resource was not found",
        id=str(asked),
        name=asked.name,
        parent=parent.name,
        parent_type=parent.type,
    )
