"""The other shape: resource types that keep their instances in collections of their own."""

from __future__ import annotations

from idplane.arm.declare import Item, Listing, Lookup, Own, OwnWrite
from idplane.arm.missing import resource_not_found
from idplane.arm.registry import CollectionRoute, InstanceRoute, Verb
from idplane.arm.task import Plan, Task, etag_header
from idplane.model.failure import Failure, FailureKind

__all__ = ["collection", "instance"]


async def instance(task: Task, route: InstanceRoute, own: Own) -> Plan:
    """GET, HEAD, PUT, PATCH or DELETE of one instance.

    Raises `Failure(RESOURCE_NOT_FOUND | PRECONDITION_FAILED | INVALID_NAME)` and whatever the provider's functions refuse.
    """
    lookup = Lookup(context=task.context, type=route.type, id=route.id)
    if task.verb is Verb.DELETE:
        return await _delete(task, lookup, own)
    item = await own.get(lookup) if own.get else None
    if task.verb in (Verb.PUT, Verb.PATCH):
        return await _write(task, route, own, item)
    if item is None:
        raise _missing(lookup)
    if task.verb is Verb.HEAD:
        return Plan(status=204, headers=etag_header(item.etag))
    body = None if item.bare else item.body
    return Plan(status=item.status, body=body, headers=etag_header(item.etag) + item.headers)


async def collection(task: Task, route: CollectionRoute, own: Own) -> Plan:
    """A page of what the provider lists."""
    assert own.list is not None  # the registry serves no lists of types without it
    paging = task.paging
    listed = await own.list(Listing(context=task.context, type=route.type, scope=route.id, top=paging.top, after=paging.after))
    if route.type.bare_list:
        return Plan(status=200, body=listed.items)
    return task.page(list(listed.items), listed.after, listed.extra)


async def _write(task: Task, route: InstanceRoute, own: Own, item: Item | None) -> Plan:
    task.preconditions.check(_etag(item))
    if item is None and task.verb is Verb.PATCH:
        raise _missing(Lookup(context=task.context, type=route.type, id=route.id))
    if item is None and route.type.naming.pattern.fullmatch(route.id.name) is None:
        words = route.type.naming.words
        if route.type.naming.refusal is not None:
            text = route.type.naming.refusal.format(name=route.id.name)
            raise Failure(FailureKind.INVALID_PARAMETER, text, code="BadRequest")
        raise Failure(
            FailureKind.INVALID_NAME, f"the name must have {words}", name=route.id.name, type=route.type.name, rule=words
        )
    function = own.patch if task.verb is Verb.PATCH else own.put
    assert function is not None  # the registry serves no writes to types without it
    stored = await function(
        OwnWrite(
            context=task.context,
            type=route.type,
            id=route.id,
            body=task.body,
            patch=task.verb is Verb.PATCH,
            old=item,
        )
    )
    status = route.type.created_status if stored.created else route.type.updated_status
    headers = etag_header(stored.etag) + stored.headers
    return Plan(status=status, body=stored.body, batch=stored.batch, headers=headers, then=stored.then)


async def _delete(task: Task, lookup: Lookup, own: Own) -> Plan:
    assert own.delete is not None  # the registry serves no deletes of types without it
    item = await own.get(lookup) if own.get else None
    task.preconditions.check(_etag(item))
    deleted = await own.delete(lookup)
    if deleted is None:
        if lookup.type.delete_missing == 404:  # noqa: PLR2004 - HTTP's word for it
            raise _missing(lookup)
        return Plan(status=lookup.type.delete_missing)
    return Plan(status=lookup.type.deleted_status, body=deleted.body, batch=deleted.batch)


def _etag(item: Item | None) -> str | None:
    """The present ETag; what exists without one still matches `*` and nothing else."""
    return None if item is None else item.etag or "-"


def _missing(lookup: Lookup) -> Failure:
    if lookup.type.missing is not None:
        return lookup.type.missing(lookup.id)
    return resource_not_found(lookup.id)
