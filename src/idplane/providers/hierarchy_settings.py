"""Microsoft.Management/managementGroups/settings: where new subscriptions go, and who may make groups. Of the root group only.

They are kept in the root group's record.
"""

from __future__ import annotations

import re
from dataclasses import replace

from idplane.arm.context import Context
from idplane.arm.declare import (
    Deleted,
    Item,
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
from idplane.model.ids import MANAGEMENT_GROUP, ResourceId, management_group_id
from idplane.model.management_groups import ManagementGroup
from idplane.model.values import JsonObject
from idplane.ports.collections import MANAGEMENT_GROUPS
from idplane.ports.store import ABSENT, Batch, Put, Require, Versioned
from idplane.providers.fields import Fields
from idplane.providers.management_tree import group_refusal, parent_named, require_group

__all__ = ["settings_type"]

_TYPE = f"{MANAGEMENT_GROUP}/settings"
_NAME = NameRule(re.compile("default", re.IGNORECASE), "the value 'default'")


async def _root(context: Context, group: ResourceId) -> Versioned[ManagementGroup]:
    """The root group's record; raises `Failure(MANAGEMENT_GROUP_NOT_FOUND | INVALID_PARAMETER)` for any other group."""
    found = await require_group(context, group.name)
    if not found.value.is_root:
        raise group_refusal(f"Hierarchy settings are the root management group's, and '{found.value.name}' is not it.")
    return found


async def _get(lookup: Lookup) -> Item | None:
    root = (await _root(lookup.context, lookup.id.parent or lookup.id)).value
    return Item(body=_render(root)) if lookup.id.name.lower() == "default" and root.protected is not None else None


async def _list(listing: Listing) -> Listed:
    root = (await _root(listing.context, listing.scope)).value
    return Listed(items=() if root.protected is None else (_render(root),))


async def _put(write: OwnWrite) -> StoredItem:
    return await _written(write, whole=True)


async def _patch(write: OwnWrite) -> StoredItem:
    return await _written(write, whole=False)


async def _written(write: OwnWrite, *, whole: bool) -> StoredItem:
    """PUT states both settings, PATCH those that it names."""
    context = write.context
    root = await _root(context, write.id.parent or write.id)
    fields = Fields(write.body).inner("properties")
    protected, default, judged = bool(root.value.protected), root.value.default_group, Batch()
    if whole or fields.has("requireAuthorizationForGroupCreation"):
        protected = fields.flag("requireAuthorizationForGroupCreation") or False
    if whole or fields.has("defaultManagementGroup"):
        default, judged = await _default(context, fields)
    value = _with(root.value, default, protected=protected)
    return StoredItem(body=_render(value), created=False, batch=judged + _stored(root, value))


async def _default(context: Context, fields: Fields) -> tuple[str | None, Batch]:
    """The group where new subscriptions go, by its id or its name; it must stay until the commit."""
    text = fields.text("defaultManagementGroup")
    if not text:
        return None, Batch()
    found = await require_group(context, parent_named(text) if "/" in text else text)
    if found.value.is_root:
        return None, Batch()
    return found.value.key, Batch.of(Require(collection=MANAGEMENT_GROUPS, key=found.value.key, expect=found.version))


async def _delete(lookup: Lookup) -> Deleted | None:
    if await _get(lookup) is None:
        return None
    root = await _root(lookup.context, lookup.id.parent or lookup.id)
    return Deleted(batch=_stored(root, _with(root.value, None, protected=None)))


def _with(root: ManagementGroup, default: str | None, *, protected: bool | None) -> ManagementGroup:
    return replace(root, default_group=default, protected=protected)


def _stored(root: Versioned[ManagementGroup], value: ManagementGroup) -> Batch:
    return Batch.of(Put(collection=MANAGEMENT_GROUPS, value=value, expect=root.version or ABSENT))


def _render(root: ManagementGroup) -> JsonObject:
    return {
        "id": f"{root.id}/settings/default",
        "type": _TYPE,
        "name": "default",
        "properties": {
            "tenantId": root.tenant_id,
            "requireAuthorizationForGroupCreation": bool(root.protected),
            "defaultManagementGroup": str(management_group_id(root.default_group or root.key)),
        },
    }


def settings_type(versions: tuple[str, ...]) -> ResourceType:
    """The type, with its one instance."""
    return ResourceType(
        name=_TYPE,
        api_versions=versions,
        placements=frozenset({Placement.TENANT}),
        naming=_NAME,
        own=Own(get=_get, list=_list, put=_put, patch=_patch, delete=_delete),
        located=False,
        taggable=False,
        system_data=False,
    )
