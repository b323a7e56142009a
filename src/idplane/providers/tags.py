"""Microsoft.Resources/tags/default: the tags of a subscription, a resource group or a resource, by themselves.

Whoever has `Microsoft.Resources/tags/write` there may change them, without the right to change what bears them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from idplane.arm.context import Context
from idplane.arm.declare import Deleted, Item, Lookup, NameRule, Own, OwnWrite, Placement, ResourceType, StoredItem
from idplane.arm.drafts import author_of
from idplane.arm.missing import resource_not_found
from idplane.arm.tags import merged, read_tags, require_few, without
from idplane.model.directory import Subscription
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES, SUBSCRIPTIONS
from idplane.ports.store import Batch, Put, Versioned
from idplane.providers.fields import Fields
from idplane.providers.scopes import require_scope

__all__ = ["tags_type"]

_TYPE = "Microsoft.Resources/tags"
_NAME = NameRule(re.compile("default", re.IGNORECASE), "the value 'default'")
_OPERATIONS = ("replace", "merge", "delete")

_Bearer = Versioned[Resource] | Versioned[Subscription]


def tags_type(versions: tuple[str, ...], taggable: Callable[[str], bool]) -> ResourceType:
    """The type; `taggable` tells of a type's name whether its resources bear tags."""

    async def bearer(context: Context, scope: ResourceId) -> _Bearer:
        """What bears the tags; raises as `require_scope` does, and `Failure(INVALID_PARAMETER)` for what bears none."""
        found = await require_scope(context, scope)
        if found is None:
            assert scope.subscription is not None  # the type is declared for nothing above subscriptions
            subscription = await context.store.get(SUBSCRIPTIONS, scope.subscription)
            assert subscription is not None  # it has just been required
            return subscription
        if found.value.id != scope:
            raise resource_not_found(scope)
        if not taggable(found.value.type):
            words = f"Resources of type '{found.value.type}' do not support tags."
            raise Failure(FailureKind.INVALID_PARAMETER, words, code="BadRequest")
        return found

    async def get(lookup: Lookup) -> Item | None:
        if lookup.id.name.lower() != "default":
            return None
        return Item(body=_render(lookup.id, (await bearer(lookup.context, lookup.id.scope)).value.tags))

    async def put(write: OwnWrite) -> StoredItem:
        return _written(write, await bearer(write.context, write.id.scope), _stated(write.body))

    async def patch(write: OwnWrite) -> StoredItem:
        found = await bearer(write.context, write.id.scope)
        fields = Fields(write.body)
        operation = fields.required_text("operation").lower()
        if operation not in _OPERATIONS:
            raise fields.refuse("operation", "must be 'Replace', 'Merge' or 'Delete'")
        stated, old = _stated(write.body), found.value.tags
        tags = merged(old, stated) if operation == "merge" else without(old, stated) if operation == "delete" else stated
        require_few(tags)
        return _written(write, found, tags)

    async def delete(lookup: Lookup) -> Deleted | None:
        if lookup.id.name.lower() != "default":
            return None
        found = await bearer(lookup.context, lookup.id.scope)
        return Deleted(batch=_stored(lookup.context, found, {}))

    return ResourceType(
        name=_TYPE,
        api_versions=versions,
        placements=frozenset({Placement.SUBSCRIPTION, Placement.GROUP, Placement.RESOURCE}),
        naming=_NAME,
        own=Own(get=get, put=put, patch=patch, delete=delete),
        located=False,
        taggable=False,
        system_data=False,
        created_status=200,
    )


def _stated(body: JsonObject) -> Mapping[str, str]:
    properties = Fields(body).inner("properties")
    tags = read_tags(properties.values)
    if tags is None:
        raise properties.refuse("tags", "is required")
    return tags


def _written(write: OwnWrite, found: _Bearer, tags: Mapping[str, str]) -> StoredItem:
    return StoredItem(body=_render(write.id, tags), created=False, batch=_stored(write.context, found, tags))


def _stored(context: Context, found: _Bearer, tags: Mapping[str, str]) -> Batch:
    if isinstance(found.value, Subscription):
        return Batch.of(Put(collection=SUBSCRIPTIONS, value=replace(found.value, tags=tags), expect=found.version))
    author = author_of(context.caller, context.now)
    value = replace(found.value, tags=tags, changed_at=author.at, changed_by=author.name, changed_by_type=author.type)
    return Batch.of(Put(collection=RESOURCES, value=value, expect=found.version))


def _render(identifier: ResourceId, tags: Mapping[str, str]) -> JsonObject:
    return {
        "id": f"{identifier.scope}/providers/{_TYPE}/default",
        "name": "default",
        "type": _TYPE,
        "properties": {"tags": dict(tags)},
    }
