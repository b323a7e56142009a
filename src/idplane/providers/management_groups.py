"""Microsoft.Management/managementGroups: the tree between a tenant and its subscriptions, and who may change it.

Rights as Azure documents them. Making a group takes `managementGroups/write` on its parent. Moving one, or a subscription, takes what
an Owner has of it (write, and writing role assignments: the move gives it other inherited roles), and write on the parent that it
leaves and on the one that it comes to; the root group, where everything lies that nobody has placed, asks for neither.
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
    Visibility,
)
from idplane.arm.envelope import timestamp
from idplane.model.directory import Subscription
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import MANAGEMENT_GROUP, ResourceId, management_group_id
from idplane.model.management_groups import ManagementGroup
from idplane.model.values import JsonObject
from idplane.ports.collections import (
    DENY_ASSIGNMENTS,
    DEPLOYMENT_OPERATIONS,
    DEPLOYMENTS,
    MANAGEMENT_GROUPS,
    ROLE_ASSIGNMENTS,
    SUBSCRIPTIONS,
    TENANTS,
)
from idplane.ports.store import ABSENT, Batch, Delete, Put, Require, Versioned
from idplane.providers.fields import Fields
from idplane.providers.management_tree import (
    Tree,
    chain_of,
    find_group,
    group_refusal,
    missing_group,
    parent_named,
    require_group,
    subscriptions_in,
    unchanged,
)

__all__ = ["GROUP_NAMES", "MANAGEMENT_VERSIONS", "group_types", "is_taken", "require_placing", "shown_group"]

MANAGEMENT_VERSIONS = ("2023-04-01", "2021-04-01", "2020-10-01", "2020-05-01", "2020-02-01", "2019-11-01", "2018-03-01-preview")
_SUBSCRIPTIONS_TYPE = f"{MANAGEMENT_GROUP}/subscriptions"
GROUP_NAMES = NameRule(
    re.compile(r"(?!.*\.$)[A-Za-z0-9_().-]{1,90}"),
    "1 to 90 letters, digits, '-', '_', '.', '(' or ')', not ending with '.'",
)
_DISPLAY_LIMIT = 256
_READ, _WRITE, _DELETE = (f"{MANAGEMENT_GROUP}/{verb}" for verb in ("read", "write", "delete"))
_GRANTING = "Microsoft.Authorization/roleAssignments/write"
_TAKING = f"{_SUBSCRIPTIONS_TYPE}/write"


# Reading ------------------------------------------------------------------------------------------------------------


async def _get(lookup: Lookup) -> Item | None:
    """Also what a write is checked against. What is not there yet is made by whoever may write to its parent."""
    context = lookup.context
    found = await find_group(context, lookup.id.name)
    if found is not None or context.action == _READ:
        await context.require(context.action, lookup.id)
    if found is None:
        return None
    wanted = context.query.get("$expand", "").lower() if context.action == _READ else ""
    return Item(body=await _shown(context, found, wanted))


async def _list(listing: Listing) -> Listed:
    """The groups that the caller may read, the root group first."""
    context = listing.context
    page = await context.store.page(
        MANAGEMENT_GROUPS, where={"tenant_id": context.tenant.id}, after=listing.after, limit=listing.top
    )
    groups = [one.value for one in page.items if not one.value.is_root]
    if listing.after is None:
        groups.insert(0, (await require_group(context, context.tenant.id)).value)
    ids = context.caller.principal_ids
    seen = [one for one in groups if (await context.access.check(ids, _READ, one.id)).allowed]
    return Listed(items=tuple(_brief(one) for one in seen), after=page.after)


def _brief(group: ManagementGroup) -> JsonObject:
    return {
        "id": str(group.id),
        "type": MANAGEMENT_GROUP,
        "name": group.name,
        "properties": {"tenantId": group.tenant_id, "displayName": group.display_name},
    }


async def shown_group(context: Context, name: str) -> JsonObject:
    """A group of the caller's tenant as templates see the one that they are deployed at; raises `Failure(MANAGEMENT_GROUP_NOT_FOUND)`."""
    return await _shown(context, await require_group(context, name))


async def _shown(context: Context, group: Versioned[ManagementGroup], expand: str = "") -> JsonObject:
    """A group with what `$expand` asks for: `children` (with `$recurse` all below them), `path` or `ancestors`."""
    chain = [one.value for one in await chain_of(context, group)]
    details: dict[str, object] = {
        "version": group.value.changes,
        "updatedTime": timestamp(group.value.changed_at),
        "updatedBy": group.value.changed_by or context.tenant.id,
    }
    if len(chain) > 1:
        details["parent"] = _named(chain[1], with_id=True)
    if expand == "path":
        details["path"] = [_named(one) for one in reversed(chain)]
    if expand == "ancestors":
        details["managementGroupAncestors"] = [one.name for one in chain[1:]]
        details["managementGroupAncestorsChain"] = [_named(one) for one in chain[1:]]
    shown = _brief(group.value)
    properties: dict[str, object] = {**Fields(shown).inner("properties").values, "details": details}
    if expand == "children":
        deep = context.query.get("$recurse", "").lower() == "true"
        groups_only = "childtype ne subscription" in context.query.get("$filter", "").lower().replace("'", "")
        tree = await Tree.of(context)
        properties["children"] = _children(tree, group.value, deep=deep, groups_only=groups_only) or None
    return {**shown, "properties": properties}


def _named(group: ManagementGroup, *, with_id: bool = False) -> dict[str, object]:
    named: dict[str, object] = {"name": group.name, "displayName": group.display_name}
    return {"id": str(group.id), **named} if with_id else named


def _children(tree: Tree, group: ManagementGroup, *, deep: bool, groups_only: bool) -> list[JsonObject]:
    found: list[JsonObject] = []
    for one in tree.children(group):
        child: dict[str, object] = {"id": str(one.id), "type": MANAGEMENT_GROUP, **_named(one)}
        below = _children(tree, one, deep=True, groups_only=groups_only) if deep else []
        found.append({**child, "children": below} if below else child)
    if not groups_only:
        found += [
            {
                "id": f"/subscriptions/{one.id}",
                "type": "/subscriptions",
                "name": one.id,
                "displayName": one.display_name,
            }
            for one in tree.subscriptions(group)
        ]
    return found


# Writing ------------------------------------------------------------------------------------------------------------


async def _put(write: OwnWrite) -> StoredItem:
    fields = Fields(write.body).inner("properties")
    parent = fields.inner("details").inner("parent").text("id")
    return await _write(write, fields.text("displayName", limit=_DISPLAY_LIMIT), parent)


async def _patch(write: OwnWrite) -> StoredItem:
    fields = Fields(write.body)
    return await _write(write, fields.text("displayName", limit=_DISPLAY_LIMIT), fields.text("parentGroupId"))


async def _write(write: OwnWrite, display_name: str | None, parent_id: str | None) -> StoredItem:
    """What is not said stays: a display name or a parent that is left out of an update is not taken away."""
    context, name = write.context, write.id.name
    old = await find_group(context, name)
    parent = await find_group(context, parent_named(parent_id)) if parent_id else None
    if old is None:
        group, judged = await _new(context, name, display_name, parent, parent_id)
    else:
        await context.require(_WRITE, old.value.id)
        if parent_id and parent is None:
            raise missing_group(parent_named(parent_id))
        group, judged = await _moved(context, old, parent)
        group = replace(group, display_name=display_name or group.display_name)
        if group == old.value:
            return StoredItem(body=await _shown(context, old), created=False, batch=Batch())
        group = replace(group, changes=group.changes + 1)
    group = replace(group, changed_at=context.now, changed_by=context.caller.principal_id)
    expect = old.version if old is not None and old.version else ABSENT
    batch = judged + Batch.of(Put(collection=MANAGEMENT_GROUPS, value=group, expect=expect))
    body = await _shown(context, Versioned(group, 1))
    return StoredItem(body=body, created=old is None, batch=batch)


async def _new(
    context: Context, name: str, display_name: str | None, parent: Versioned[ManagementGroup] | None, parent_id: str | None
) -> tuple[ManagementGroup, Batch]:
    # Whether a parent exists is told only to those who could use it.
    await context.require(_WRITE, ResourceId.parse(parent_id) if parent_id else management_group_id(context.tenant.id))
    if (await require_group(context, context.tenant.id)).value.protected:
        await context.require(_WRITE, management_group_id(context.tenant.id))
    if parent is None:
        if parent_id:
            raise missing_group(parent_named(parent_id))
        parent = await require_group(context, context.tenant.id)
    if await is_taken(context, name):
        words = f"The management group name '{name}' is not available."
        raise Failure(FailureKind.CONFLICT, words, code="ManagementGroupNameNotAvailable")
    await _require_room(context)
    chain = await chain_of(context, parent)
    _require_depth(context, len(chain))
    group = ManagementGroup(
        name=name,
        tenant_id=context.tenant.id,
        display_name=display_name or name,
        parent=None if parent.value.is_root else parent.value.key,
        changed_at=context.now,
    )
    return group, unchanged(chain)


async def is_taken(context: Context, name: str) -> bool:
    """Whether a group, of whichever tenant, has the name; root groups have their tenants' ids."""
    key = name.lower()
    return await context.store.get(MANAGEMENT_GROUPS, key) is not None or await context.store.get(TENANTS, key) is not None


async def _moved(
    context: Context, old: Versioned[ManagementGroup], parent: Versioned[ManagementGroup] | None
) -> tuple[ManagementGroup, Batch]:
    group = old.value
    if parent is None or parent.value.key == group.above:
        return group, Batch()
    if group.is_root:
        raise group_refusal("The root management group cannot be moved.")
    await require_placing(context, group.id, group.above, parent.value)
    chain = await chain_of(context, parent)
    if any(one.value.key == group.key for one in chain):
        raise group_refusal(f"The management group '{group.name}' cannot be moved below itself.")
    if context.profile.management_group_depth is not None:
        _require_depth(context, len(chain) + (await Tree.of(context)).height(group))
    return replace(group, parent=None if parent.value.is_root else parent.value.key), unchanged(chain)


async def require_placing(context: Context, moved: ResourceId, source: str | None, target: ManagementGroup) -> None:
    """What moving a group or a subscription takes, see the module; raises `Failure(FORBIDDEN)`."""
    await context.require(_WRITE, moved)
    await context.require(_GRANTING, moved)
    if source is not None and source != context.tenant.id:
        await context.require(_WRITE, management_group_id(source))
    if not target.is_root:
        await context.require(_TAKING if moved.subscription else _WRITE, target.id)


async def _require_room(context: Context) -> None:
    limit = context.profile.management_groups_per_tenant
    if limit is None:
        return
    if await context.store.count(MANAGEMENT_GROUPS, where={"tenant_id": context.tenant.id}, limit=limit) >= limit:
        words = f"The directory already has {limit} management groups, and no more can be created."
        raise Failure(FailureKind.LIMIT_EXCEEDED, words, code="ManagementGroupLimitExceeded", limit=str(limit))


def _require_depth(context: Context, level: int) -> None:
    """`level` counts from 1, right below the root group."""
    limit = context.profile.management_group_depth
    if limit is not None and level > limit:
        raise group_refusal(f"The hierarchy of management groups cannot be deeper than {limit} levels below the root group.")


# Deleting -----------------------------------------------------------------------------------------------------------


async def _delete(lookup: Lookup) -> Deleted | None:
    """Remove an empty group with what stands on it; what comes to lie in it meanwhile refuses the commit."""
    context = lookup.context
    await context.require(_DELETE, lookup.id)
    found = await find_group(context, lookup.id.name)
    if found is None:
        return None
    group = found.value
    if group.is_root:
        raise group_refusal("The root management group cannot be deleted.")
    root = await require_group(context, context.tenant.id)
    if root.value.default_group == group.key:
        raise group_refusal(f"The management group '{group.name}' cannot be deleted: new subscriptions go there by default.")
    children = await context.store.page(MANAGEMENT_GROUPS, where={"parent_key": group.key}, limit=1)
    if children.items or await subscriptions_in(context, group):
        raise group_refusal(
            f"The management group '{group.name}' cannot be deleted: it has child management groups or subscriptions. Move them "
            "first."
        )
    # As long as the root group's record is this one, new subscriptions go elsewhere.
    batch = Batch.of(Require(collection=MANAGEMENT_GROUPS, key=root.value.key, expect=root.version or ABSENT))
    batch += await _standing_on(context, group)
    return Deleted(batch=batch + Batch.of(Delete(collection=MANAGEMENT_GROUPS, key=group.key, expect=found.version)))


async def _standing_on(context: Context, group: ManagementGroup) -> Batch:
    where = {"management_group_key": group.key}
    batch = Batch()
    for roles in await context.store.all(ROLE_ASSIGNMENTS, where=where):
        subject = roles.value.principal_id
        batch += Batch.of(Delete(collection=ROLE_ASSIGNMENTS, key=roles.value.id, expect=roles.version, subject=subject))
    for denies in await context.store.all(DENY_ASSIGNMENTS, where=where):
        batch += Batch.of(Delete(collection=DENY_ASSIGNMENTS, key=denies.value.id, expect=denies.version))
    for run in await context.store.all(DEPLOYMENTS, where=where):
        for step in await context.store.all(DEPLOYMENT_OPERATIONS, where={"deployment_key": run.value.key}):
            batch += Batch.of(Delete(collection=DEPLOYMENT_OPERATIONS, key=step.value.key, expect=step.version))
        batch += Batch.of(Delete(collection=DEPLOYMENTS, key=run.value.key, expect=run.version))
    return batch


# Subscriptions ------------------------------------------------------------------------------------------------------


async def _group_above(context: Context, identifier: ResourceId) -> Versioned[ManagementGroup]:
    parent = identifier.parent
    assert parent is not None  # the grammar gives a child its parent
    return await require_group(context, parent.name)


async def _subscription_get(lookup: Lookup) -> Item | None:
    context = lookup.context
    if context.action != _TAKING:
        # Taking one in asks for rights on it, and on the groups that it leaves and comes to.
        await context.require(context.action, lookup.id)
    group = await find_group(context, (lookup.id.parent or lookup.id).name)
    found = await context.store.get(SUBSCRIPTIONS, lookup.id.name.lower())
    if group is None or found is None or found.value.tenant_id != context.tenant.id:
        return None
    inside = (found.value.management_group or context.tenant.id) == group.value.key
    return Item(body=_under(group.value, found.value)) if inside else None


async def _subscription_list(listing: Listing) -> Listed:
    context = listing.context
    group = (await require_group(context, listing.scope.name)).value
    page = await context.store.page(
        SUBSCRIPTIONS,
        where={"tenant_id": context.tenant.id, "management_group_key": None if group.is_root else group.key},
        after=listing.after,
        limit=listing.top,
    )
    return Listed(items=tuple(_under(group, one.value) for one in page.items), after=page.after)


async def _subscription_put(write: OwnWrite) -> StoredItem:
    """Move a subscription into the group."""
    context = write.context
    subscription_id = write.id.name.lower()
    scope = ResourceId.parse(f"/subscriptions/{subscription_id}")
    found = await context.store.get(SUBSCRIPTIONS, subscription_id)
    target = await find_group(context, (write.id.parent or write.id).name)
    if target is None or found is None or found.value.tenant_id != context.tenant.id:
        await context.require(context.action, write.id)
        await context.require(_WRITE, scope)
        if found is None or found.value.tenant_id != context.tenant.id:
            raise Failure(FailureKind.SUBSCRIPTION_NOT_FOUND, "the subscription was not found", subscription=subscription_id)
        raise missing_group((write.id.parent or write.id).name)
    batch = await _placed(context, found, scope, target)
    return StoredItem(body=_under(target.value, found.value), created=False, batch=batch)


async def _subscription_delete(lookup: Lookup) -> Deleted | None:
    """Move a subscription out of the group, to right below the root group."""
    context = lookup.context
    group = await _group_above(context, lookup.id)
    found = await context.store.get(SUBSCRIPTIONS, lookup.id.name.lower())
    inside = found is not None and found.value.tenant_id == context.tenant.id
    if found is None or not inside or (found.value.management_group or context.tenant.id) != group.value.key:
        return None
    root = await require_group(context, context.tenant.id)
    scope = ResourceId.parse(f"/subscriptions/{found.value.id}")
    return Deleted(batch=await _placed(context, found, scope, root))


async def _placed(
    context: Context, found: Versioned[Subscription], scope: ResourceId, target: Versioned[ManagementGroup]
) -> Batch:
    await require_placing(context, scope, found.value.management_group, target.value)
    place = None if target.value.is_root else target.value.key
    if place == found.value.management_group:
        return Batch()
    value = replace(found.value, management_group=place)
    return Batch.of(Put(collection=SUBSCRIPTIONS, value=value, expect=found.version))


def _under(group: ManagementGroup, subscription: Subscription) -> JsonObject:
    return {
        "id": f"{group.id}/subscriptions/{subscription.id}",
        "type": _SUBSCRIPTIONS_TYPE,
        "name": subscription.id,
        "properties": {
            "tenant": subscription.tenant_id,
            "displayName": subscription.display_name,
            "parent": {"id": str(group.id)},
            "state": "Active" if subscription.state == "Enabled" else subscription.state,
        },
    }


# Declarations -------------------------------------------------------------------------------------------------------


def _missing(identifier: ResourceId) -> Failure:
    return missing_group(identifier.name)


def group_types() -> tuple[ResourceType, ...]:
    """Management groups, and subscriptions as they lie in them."""
    return (
        ResourceType(
            name=MANAGEMENT_GROUP,
            api_versions=MANAGEMENT_VERSIONS,
            placements=frozenset({Placement.TENANT}),
            naming=GROUP_NAMES,
            own=Own(get=_get, list=_list, put=_put, patch=_patch, delete=_delete),
            visibility=Visibility.OPEN,
            instances=Visibility.OPEN,
            located=False,
            taggable=False,
            system_data=False,
            missing=_missing,
            # Clients know no 201 here, and no 200 of a deletion.
            created_status=200,
            deleted_status=204,
        ),
        ResourceType(
            name=_SUBSCRIPTIONS_TYPE,
            api_versions=MANAGEMENT_VERSIONS,
            placements=frozenset({Placement.TENANT}),
            own=Own(get=_subscription_get, list=_subscription_list, put=_subscription_put, delete=_subscription_delete),
            instances=Visibility.OPEN,
            bodiless=True,
            located=False,
            taggable=False,
            system_data=False,
            patchable=False,
        ),
    )
