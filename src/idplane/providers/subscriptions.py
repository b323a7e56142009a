"""The namespace Microsoft.Subscription: making subscriptions under an alias, and renaming, cancelling and enabling them.

Whoever makes a subscription owns it, as in Azure. A cancelled one is disabled: what is in it can be read and deleted, nothing else,
until it is enabled again (`arm.locks` sees to that).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from idplane.arm.context import Context
from idplane.arm.declare import (
    Action,
    Deleted,
    Invocation,
    Item,
    Listed,
    Listing,
    Lookup,
    Outcome,
    Own,
    OwnWrite,
    Placement,
    Provider,
    ResourceType,
    StoredItem,
)
from idplane.arm.envelope import timestamp
from idplane.arm.locks import marked
from idplane.arm.tags import read_tags
from idplane.model.directory import Principal, Subscription
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import MANAGEMENT_GROUP, ResourceId, is_guid, management_group_id
from idplane.model.management_groups import SubscriptionAlias
from idplane.model.roles import RoleAssignment
from idplane.model.values import JsonObject
from idplane.ports.collections import PRINCIPALS, ROLE_ASSIGNMENTS, SUBSCRIPTION_ALIASES, SUBSCRIPTIONS
from idplane.ports.store import ABSENT, Batch, Delete, Put, Versioned
from idplane.providers.fields import Fields
from idplane.providers.management_groups import require_placing
from idplane.providers.management_tree import parent_named, require_group

__all__ = ["SUBSCRIPTION"]

_ALIASES = "Microsoft.Subscription/aliases"
_VERSIONS = ("2024-08-01-preview", "2021-10-01", "2020-09-01", "2019-10-01-preview", "2019-03-01-preview")
_OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
_NAME_LIMIT = 64
_WORKLOADS = {"production": "Production", "devtest": "DevTest"}
_PLACE = f"{MANAGEMENT_GROUP}/subscriptions/write"
_SUBSCRIPTION_DEPTH = 2
"""Segments of a subscription's id."""


# Aliases ------------------------------------------------------------------------------------------------------------


async def _find(context: Context, name: str) -> Versioned[SubscriptionAlias] | None:
    return await context.store.get(SUBSCRIPTION_ALIASES, f"{context.tenant.id}|{name.lower()}")


async def _get(lookup: Lookup) -> Item | None:
    found = await _find(lookup.context, lookup.id.name)
    return None if found is None else Item(body=await _shown(lookup.context, found.value))


async def _list(listing: Listing) -> Listed:
    context = listing.context
    page = await context.store.page(
        SUBSCRIPTION_ALIASES, where={"tenant_id": context.tenant.id}, after=listing.after, limit=listing.top
    )
    return Listed(items=tuple([await _shown(context, one.value) for one in page.items]), after=page.after)


async def _shown(context: Context, alias: SubscriptionAlias) -> JsonObject:
    found = await context.store.get(SUBSCRIPTIONS, alias.subscription_id)
    assert found is not None  # an alias refers to its subscription
    return _render(alias, found.value)


async def _put(write: OwnWrite) -> StoredItem:
    """Make a subscription, or an alias of one that is there. An alias that is there already answers with what it stands for."""
    context = write.context
    old = await _find(context, write.id.name)
    if old is not None:
        return StoredItem(body=await _shown(context, old.value), created=False, batch=Batch())
    fields = Fields(write.body).inner("properties")
    subscription, batch = await _meant(context, fields)
    alias = SubscriptionAlias(
        name=write.id.name,
        tenant_id=context.tenant.id,
        subscription_id=subscription.id,
        workload=_workload(fields),
        created_at=context.now,
        created_by=context.caller.principal_id,
        billing_scope=fields.text("billingScope"),
    )
    batch += Batch.of(Put(collection=SUBSCRIPTION_ALIASES, value=alias, expect=ABSENT))
    return StoredItem(body=_render(alias, subscription), created=True, batch=batch)


async def _meant(context: Context, fields: Fields) -> tuple[Subscription, Batch]:
    """The subscription that an alias is made for, and the operations that make it or put it in its place."""
    more = fields.inner("additionalProperties")
    group = more.text("managementGroupId") or fields.text("managementGroupId")
    existing = fields.text("subscriptionId")
    if existing is not None:
        return await _existing(context, existing, group)
    return await _new(context, fields, more, group)


async def _existing(context: Context, subscription_id: str, group: str | None) -> tuple[Subscription, Batch]:
    scope = ResourceId.parse(f"/subscriptions/{subscription_id}")
    await context.require("Microsoft.Resources/subscriptions/write", scope)
    found = await context.store.get(SUBSCRIPTIONS, subscription_id.lower())
    if found is None or found.value.tenant_id != context.tenant.id:
        raise Failure(FailureKind.SUBSCRIPTION_NOT_FOUND, "the subscription was not found", subscription=subscription_id[:100])
    if group is None:
        return found.value, Batch()
    target = await require_group(context, parent_named(group))
    await require_placing(context, scope, found.value.management_group, target.value)
    moved = replace(found.value, management_group=None if target.value.is_root else target.value.key)
    return moved, Batch.of(Put(collection=SUBSCRIPTIONS, value=moved, expect=found.version))


async def _new(context: Context, fields: Fields, more: Fields, group: str | None) -> tuple[Subscription, Batch]:
    place = await _placed(context, group)
    subscription = Subscription(
        id=context.entropy.guid(),
        tenant_id=context.tenant.id,
        display_name=fields.required_text("displayName", limit=_NAME_LIMIT),
        management_group=place,
        tags=read_tags(more.values) or {},
        created_at=context.now,
    )
    owner = await _owner(context, more.text("subscriptionOwnerId"))
    grant = RoleAssignment(
        id=context.entropy.guid(),
        tenant_id=context.tenant.id,
        scope=f"/subscriptions/{subscription.id}",
        role_id=_OWNER,
        principal_id=owner.id,
        principal_type=owner.type.rbac_type,
        created_at=context.now,
        changed_at=context.now,
        created_by=context.caller.principal_id,
        changed_by=context.caller.principal_id,
    )
    return subscription, Batch.of(
        Put(collection=SUBSCRIPTIONS, value=subscription, expect=ABSENT),
        Put(collection=ROLE_ASSIGNMENTS, value=grant, expect=ABSENT),
    )


async def _placed(context: Context, group: str | None) -> str | None:
    """Where a new subscription goes: the group that is asked for, or the tenant's default."""
    if group is None:
        return (await require_group(context, context.tenant.id)).value.default_group
    name = parent_named(group)
    await context.require(_PLACE, management_group_id(name))
    found = (await require_group(context, name)).value
    return None if found.is_root else found.key


async def _owner(context: Context, principal_id: str | None) -> Principal:
    wanted = (principal_id or context.caller.principal_id).lower()
    found = await context.store.get(PRINCIPALS, wanted) if is_guid(wanted) else None
    if found is None or found.value.tenant_id != context.tenant.id:
        words = f"Principal {wanted[:100]} does not exist in the directory {context.tenant.id}."
        raise Failure(FailureKind.PRINCIPAL_NOT_FOUND, words, principal=wanted[:100], tenant=context.tenant.id)
    return found.value


def _workload(fields: Fields) -> str:
    text = fields.text("workload") or "Production"
    if text.lower() not in _WORKLOADS:
        raise fields.refuse("workload", f"must be one of {', '.join(_WORKLOADS.values())}")
    return _WORKLOADS[text.lower()]


async def _delete(lookup: Lookup) -> Deleted | None:
    """Forget a name. The subscription stays."""
    found = await _find(lookup.context, lookup.id.name)
    if found is None:
        return None
    return Deleted(batch=Batch.of(Delete(collection=SUBSCRIPTION_ALIASES, key=found.value.key, expect=found.version)))


def _render(alias: SubscriptionAlias, subscription: Subscription) -> JsonObject:
    properties: dict[str, object] = {
        "subscriptionId": subscription.id,
        "displayName": subscription.display_name,
        "provisioningState": "Succeeded",
        "workload": alias.workload,
        "subscriptionOwnerId": alias.created_by,
        "managementGroupId": str(management_group_id(subscription.management_group or subscription.tenant_id)),
        "createdTime": timestamp(alias.created_at),
        "tags": dict(subscription.tags),
    }
    if alias.billing_scope is not None:
        properties["billingScope"] = alias.billing_scope
    return {
        "id": f"/providers/{_ALIASES}/{alias.name}",
        "name": alias.name,
        "type": _ALIASES,
        "properties": properties,
    }


# Actions on a subscription ------------------------------------------------------------------------------------------


async def _rename(invocation: Invocation) -> Outcome:
    name = Fields(invocation.body).required_text("subscriptionName", limit=_NAME_LIMIT)
    return await _changed(invocation, lambda old: replace(old, display_name=name))


async def _cancel(invocation: Invocation) -> Outcome:
    return await _changed(invocation, lambda old: replace(old, state="Disabled"))


async def _enable(invocation: Invocation) -> Outcome:
    return await _changed(invocation, lambda old: replace(old, state="Enabled"))


async def _changed(invocation: Invocation, change: Callable[[Subscription], Subscription]) -> Outcome:
    subscription = invocation.context.subscription
    if subscription is None or len(invocation.id.segments) != _SUBSCRIPTION_DEPTH:
        raise Failure(FailureKind.PATH_NOT_FOUND, "subscriptions alone can do this", path=str(invocation.id))
    found = await invocation.context.store.get(SUBSCRIPTIONS, subscription.id)
    assert found is not None  # the kernel has found it, and subscriptions are never removed
    value = change(found.value)
    batch = Batch()
    if value != found.value:
        batch = Batch.of(Put(collection=SUBSCRIPTIONS, value=value, expect=found.version)) + marked(subscription.id)
    return Outcome(body={"subscriptionId": subscription.id}, batch=batch)


SUBSCRIPTION = Provider(
    namespace="Microsoft.Subscription",
    types=(
        ResourceType(
            name=_ALIASES,
            api_versions=_VERSIONS,
            placements=frozenset({Placement.TENANT}),
            own=Own(get=_get, list=_list, put=_put, delete=_delete),
            located=False,
            taggable=False,
            system_data=False,
            patchable=False,
        ),
    ),
    actions={"rename": Action(run=_rename), "cancel": Action(run=_cancel), "enable": Action(run=_enable)},
    actions_versions=_VERSIONS,
)
