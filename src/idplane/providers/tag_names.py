"""`/subscriptions/{id}/tagNames`: predefined tags, and which tags are in use (control-plane.md section 7.4).

The list is the union of what is predefined and what resources and groups carry, with counts. It looks at every resource of the
subscription each time; nothing else needs a count, so none is kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace

from idplane.arm.context import Context
from idplane.arm.declare import (
    Deleted,
    Listed,
    Listing,
    Lookup,
    NameRule,
    Own,
    OwnWrite,
    Placement,
    ResourceType,
    StoredItem,
)
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.tags import PredefinedTag, predefined_tag_key
from idplane.model.values import JsonObject
from idplane.ports.collections import PREDEFINED_TAGS, RESOURCES
from idplane.ports.store import ABSENT, Batch, Delete, Put, Versioned

__all__ = ["tag_name_types"]

_NAMES = NameRule(
    re.compile(r"(?!(?i:microsoft|azure|windows)).{1,512}"),
    "1 to 512 characters, not starting with 'microsoft', 'azure' or 'windows'",
)
_VALUES = NameRule(re.compile(r".{1,256}"), "1 to 256 characters")
_PERMISSIONS = "Microsoft.Resources/subscriptions/tagNames"
_MOST_VALUES = 1000
_PAGE = 500


@dataclass(slots=True)
class _Usage:
    """One tag's name as first seen, and how often it and its values are used."""

    name: str
    count: int = 0
    values: Counter[str] = field(default_factory=Counter)


def tag_name_types(api_versions: tuple[str, ...]) -> tuple[ResourceType, ...]:
    """Names, and values below them."""
    names = ResourceType(
        name="Microsoft.Resources/tagNames",
        api_versions=api_versions,
        placements=frozenset({Placement.SUBSCRIPTION}),
        naming=_NAMES,
        own=Own(list=_list, put=_put_name, delete=_delete_name),
        bodiless=True,
        located=False,
        taggable=False,
        system_data=False,
        permissions=_PERMISSIONS,
    )
    values = replace(
        names,
        name="Microsoft.Resources/tagNames/tagValues",
        naming=_VALUES,
        own=Own(put=_put_value, delete=_delete_value),
        permissions=f"{_PERMISSIONS}/tagValues",
    )
    return names, values


# Names --------------------------------------------------------------------------------------------------------------


async def _list(listing: Listing) -> Listed:
    subscription = _subscription_of(listing.scope)
    used = await _used(listing.context, subscription)
    async for tag in _predefined(listing.context, subscription):
        found = used.setdefault(tag.name.lower(), _Usage(tag.name))
        found.name = tag.name
        found.values.update(dict.fromkeys(tag.values, 0))
    rest = [key for key in sorted(used) if listing.after is None or key > listing.after]
    after = rest[listing.top - 1] if len(rest) > listing.top else None
    return Listed(items=tuple(_shown(subscription, used[key]) for key in rest[: listing.top]), after=after)


async def _put_name(write: OwnWrite) -> StoredItem:
    found = await _tag(write.context, write.id)
    tag = found.value if found else PredefinedTag(subscription_id=_subscription_of(write.id), name=write.id.name)
    batch = Batch() if found else Batch.of(Put(collection=PREDEFINED_TAGS, value=tag, expect=ABSENT))
    usage = (await _used(write.context, tag.subscription_id)).get(tag.name.lower(), _Usage(tag.name))
    usage.name = tag.name
    usage.values.update(dict.fromkeys(tag.values, 0))
    return StoredItem(body=_shown(tag.subscription_id, usage), created=found is None, batch=batch)


async def _delete_name(lookup: Lookup) -> Deleted | None:
    found = await _tag(lookup.context, lookup.id)
    if found is None:
        return None
    if found.value.values:
        raise Failure(FailureKind.CONFLICT, f"the tag name '{found.value.name}' still has predefined values; delete them first")
    if found.value.name.lower() in await _used(lookup.context, found.value.subscription_id):
        raise _in_use(f"the tag name '{found.value.name}'")
    return Deleted(batch=Batch.of(Delete(collection=PREDEFINED_TAGS, key=found.value.key, expect=found.version)))


# Values -------------------------------------------------------------------------------------------------------------


async def _put_value(write: OwnWrite) -> StoredItem:
    found = await _named(write.context, write.id)
    tag, value = found.value, write.id.name
    used = (await _used(write.context, tag.subscription_id)).get(tag.name.lower(), _Usage(tag.name))
    body = _shown_value(tag.subscription_id, tag.name, value, used.values[value])
    if value in tag.values:
        return StoredItem(body=body, created=False, batch=Batch())
    if len(tag.values) >= _MOST_VALUES:
        raise Failure(FailureKind.LIMIT_EXCEEDED, f"a tag name has at most {_MOST_VALUES} predefined values")
    return StoredItem(body=body, created=True, batch=_changed(found, (*tag.values, value)))


async def _delete_value(lookup: Lookup) -> Deleted | None:
    found = await _named(lookup.context, lookup.id)
    tag, value = found.value, lookup.id.name
    if value not in tag.values:
        return None
    used = (await _used(lookup.context, tag.subscription_id)).get(tag.name.lower())
    if used is not None and used.values[value]:
        raise _in_use(f"the value '{value}' of the tag name '{tag.name}'")
    return Deleted(batch=_changed(found, tuple(one for one in tag.values if one != value)))


async def _named(context: Context, identifier: ResourceId) -> Versioned[PredefinedTag]:
    """The tag name that a value's id lies in; raises `Failure(PARENT_NOT_FOUND)`."""
    name = identifier.segments[-3]
    found = await context.store.get(PREDEFINED_TAGS, predefined_tag_key(_subscription_of(identifier), name))
    if found is None:
        kind = "Microsoft.Resources/tagNames"
        raise Failure(FailureKind.PARENT_NOT_FOUND, "no such tag name", name=identifier.name, parent=name, parent_type=kind)
    return found


def _changed(found: Versioned[PredefinedTag], values: tuple[str, ...]) -> Batch:
    return Batch.of(Put(collection=PREDEFINED_TAGS, value=replace(found.value, values=values), expect=found.version))


# What is there ------------------------------------------------------------------------------------------------------


async def _tag(context: Context, identifier: ResourceId) -> Versioned[PredefinedTag] | None:
    return await context.store.get(PREDEFINED_TAGS, predefined_tag_key(_subscription_of(identifier), identifier.name))


def _subscription_of(identifier: ResourceId) -> str:
    assert identifier.subscription is not None  # these types live in subscriptions
    return identifier.subscription


def _in_use(what: str) -> Failure:
    return Failure(FailureKind.CONFLICT, f"{what} is in use and cannot be deleted")


async def _predefined(context: Context, subscription: str) -> AsyncIterator[PredefinedTag]:
    after: str | None = None
    while True:
        page = await context.store.page(PREDEFINED_TAGS, where={"subscription_id": subscription}, after=after, limit=_PAGE)
        for one in page.items:
            yield one.value
        after = page.after
        if after is None:
            return


async def _used(context: Context, subscription: str) -> dict[str, _Usage]:
    """The tags of every resource and group, by their names in lower case."""
    found: dict[str, _Usage] = {}
    after: str | None = None
    while True:
        page = await context.store.page(RESOURCES, where={"subscription_id": subscription}, after=after, limit=_PAGE)
        for one in page.items:
            _count(found, one.value.tags)
        after = page.after
        if after is None:
            return found


def _count(found: dict[str, _Usage], tags: Mapping[str, str]) -> None:
    for name, value in tags.items():
        usage = found.setdefault(name.lower(), _Usage(name))
        usage.count += 1
        usage.values[value] += 1


# Rendering ----------------------------------------------------------------------------------------------------------


def _shown(subscription: str, usage: _Usage) -> JsonObject:
    return {
        "id": f"/subscriptions/{subscription}/tagNames/{usage.name}",
        "tagName": usage.name,
        "count": {"type": "Total", "value": usage.count},
        "values": [_shown_value(subscription, usage.name, value, usage.values[value]) for value in sorted(usage.values)],
    }


def _shown_value(subscription: str, name: str, value: str, count: int) -> JsonObject:
    return {
        "id": f"/subscriptions/{subscription}/tagNames/{name}/tagValues/{value}",
        "tagValue": value,
        "count": {"type": "Total", "value": count},
    }
