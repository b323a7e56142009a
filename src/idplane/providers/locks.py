"""Microsoft.Authorization/locks on subscriptions, resource groups, resources and their children (control-plane.md sections 5.1 and 11).

What a lock forbids is decided in `arm.locks`. Here they are made, shown and removed.
"""

from __future__ import annotations

from idplane.arm.context import Context
from idplane.arm.declare import Deleted, Item, Listed, Listing, Lookup, Own, OwnWrite, Placement, ResourceType, StoredItem
from idplane.arm.drafts import author_of
from idplane.arm.envelope import system_data
from idplane.arm.locks import marked
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.locks import Lock, LockLevel
from idplane.model.values import JsonObject
from idplane.ports.collections import LOCKS
from idplane.ports.store import ABSENT, Batch, Delete, Put, Versioned
from idplane.providers.fields import Fields
from idplane.providers.filters import FunctionCall, invalid_filter, parse_filter
from idplane.providers.scopes import ScopedQuery, require_scope, scoped_page

__all__ = ["LOCKS_TYPE"]

_TYPE = "Microsoft.Authorization/locks"
_NOTES_LIMIT = 512
_OWNERS_LIMIT = 64
_LEVELS = {level.value.lower(): level for level in LockLevel}
_DATED_SINCE = "2020"
"""The first api-versions whose locks have `systemData`."""


async def _find(context: Context, identifier: ResourceId) -> Versioned[Lock] | None:
    """The lock; the kernel has seen to it that its subscription is the caller's tenant's."""
    return await context.store.get(LOCKS, identifier.key)


async def _get(lookup: Lookup) -> Item | None:
    found = await _find(lookup.context, lookup.id)
    return None if found is None else Item(body=_render(found.value, lookup.context))


async def _list(listing: Listing) -> Listed:
    """The locks at, above and below a scope; with `$filter=atScope()` not those below."""
    context = listing.context
    below = _below(context.query.get("$filter"))
    await require_scope(context, listing.scope)
    query = ScopedQuery(collection=LOCKS, scope=listing.scope, below=below, where={}, keep=lambda _: True)
    found, after = await scoped_page(context, query, after=listing.after, top=listing.top)
    return Listed(items=tuple(_render(one, context) for one in found), after=after)


def _below(text: str | None) -> bool:
    conditions = parse_filter(text)
    for condition in conditions:
        if condition != FunctionCall("atscope", None):
            raise invalid_filter(text or "")
    return not conditions


async def _put(write: OwnWrite) -> StoredItem:
    context, identifier = write.context, write.id
    fields = Fields(write.body).inner("properties")
    level = _level(fields)
    anchor = await require_scope(context, identifier.scope)
    old = await _find(context, identifier)
    if old is None:
        await _require_room(context, identifier.scope)
    author = author_of(context.caller, context.now)
    lock = Lock(
        id=old.value.id if old else _canonical(identifier, anchor.value.id if anchor else None),
        level=level,
        notes=fields.text("notes", limit=_NOTES_LIMIT),
        owners=tuple(owner.required_text("applicationId", limit=64) for owner in fields.inners("owners", limit=_OWNERS_LIMIT)),
        created_at=old.value.created_at if old else author.at,
        created_by=old.value.created_by if old else author.name,
        created_by_type=old.value.created_by_type if old else author.type,
        changed_at=author.at,
        changed_by=author.name,
        changed_by_type=author.type,
        anchor=anchor.value.id.key if anchor else None,
    )
    batch = Batch.of(Put(collection=LOCKS, value=lock, expect=old.version if old else ABSENT))
    return StoredItem(body=_render(lock, context), created=old is None, batch=batch + _noted(context))


def _level(fields: Fields) -> LockLevel:
    text = fields.required_text("level")
    level = _LEVELS.get(text.lower())
    if level is None:
        raise fields.refuse("level", f"must be one of {', '.join(one.value for one in LockLevel)}, and is '{text[:100]}'")
    return level


def _canonical(identifier: ResourceId, anchor: ResourceId | None) -> ResourceId:
    """The id with the stored casing of what is locked, where that is stored."""
    scope = anchor if anchor == identifier.scope and anchor is not None else identifier.scope
    return scope.extension(_TYPE, identifier.name)


async def _require_room(context: Context, scope: ResourceId) -> None:
    limit = context.profile.locks_per_scope
    if limit is not None and await context.store.count(LOCKS, where={"scope_key": scope.key}, limit=limit) >= limit:
        words = f"The scope '{scope}' already has {limit} locks, and no more can be created."
        raise Failure(FailureKind.LIMIT_EXCEEDED, words, code="LockLimitExceeded", limit=str(limit))


async def _delete(lookup: Lookup) -> Deleted | None:
    context = lookup.context
    old = await _find(context, lookup.id)
    if old is None:
        return None
    gone = Delete(collection=LOCKS, key=old.value.id.key, expect=old.version)
    return Deleted(batch=Batch.of(gone) + _noted(context))


def _noted(context: Context) -> Batch:
    assert context.subscription is not None  # locks are placed in subscriptions only, and the kernel has found it
    return marked(context.subscription.id)


def _render(lock: Lock, context: Context) -> JsonObject:
    properties: dict[str, object] = {"level": lock.level.value}
    if lock.notes is not None:
        properties["notes"] = lock.notes
    if lock.owners:
        properties["owners"] = [{"applicationId": one} for one in lock.owners]
    members: dict[str, object] = {"id": str(lock.id), "type": _TYPE, "name": lock.id.name, "properties": properties}
    if context.api_version >= _DATED_SINCE:
        members["systemData"] = system_data(lock)
    return members


LOCKS_TYPE = ResourceType(
    name=_TYPE,
    api_versions=("2020-05-01", "2017-04-01", "2016-09-01", "2015-06-01", "2015-05-01-preview", "2015-01-01"),
    placements=frozenset({Placement.SUBSCRIPTION, Placement.GROUP, Placement.RESOURCE}),
    own=Own(get=_get, list=_list, put=_put, delete=_delete),
    located=False,
    taggable=False,
    system_data=False,
    patchable=False,
)
