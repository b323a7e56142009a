"""How many resources there may be, by the profile (Azure's service limits)."""

from __future__ import annotations

from idplane.arm.context import Context
from idplane.arm.declare import ResourceType
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.ports.collections import RESOURCES

__all__ = ["require_room"]

_GROUPS = "Microsoft.Resources/resourceGroups"


async def require_room(context: Context, declared: ResourceType, identifier: ResourceId) -> None:
    """Refuse a resource that would be one too many of its type in its group, or a group too many; raises `Failure(CONFLICT)`."""
    if declared.name == _GROUPS:
        await _require_room_for_group(context, identifier)
        return
    limit = context.profile.resources_per_group_and_type
    group = identifier.resource_group
    if limit is None or group is None:
        return
    where = {
        "type": declared.name.lower(),
        "group_key": f"/subscriptions/{identifier.subscription}/resourcegroups/{group.lower()}",
    }
    if await context.store.count(RESOURCES, where=where, limit=limit) >= limit:
        raise Failure(
            FailureKind.CONFLICT,
            f"creating the resource of type '{declared.name}' would exceed the quota of {limit} resources of that type in resource "
            f"group '{group}': delete some of them before creating a new one",
            code="ResourceQuotaExceeded",
        )


async def _require_room_for_group(context: Context, identifier: ResourceId) -> None:
    limit = context.profile.groups_per_subscription
    if limit is None or identifier.subscription is None:
        return
    where = {"type": _GROUPS.lower(), "subscription_id": identifier.subscription}
    if await context.store.count(RESOURCES, where=where, limit=limit) >= limit:
        raise Failure(
            FailureKind.CONFLICT,
            f"creating the resource group '{identifier.name}' would exceed the quota of {limit} resource groups in the subscription: "
            "delete some of them before creating a new one",
            code="ResourceGroupQuotaExceeded",
        )
