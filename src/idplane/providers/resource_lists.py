"""Lists of resources of every type, and the `$filter` that they and the list of groups understand (control-plane.md sections 4, 5.1)."""

from __future__ import annotations

from collections.abc import Callable

from idplane.arm.context import Context
from idplane.arm.declare import Invocation, Outcome
from idplane.arm.envelope import common_members, timestamp
from idplane.arm.paging import Paging, next_link
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.ports.collections import PRINCIPALS, RESOURCES
from idplane.ports.store import Page
from idplane.providers.identity_block import identity_members
from idplane.providers.resource_filters import GROUP_FIELDS, ResourceFilter

__all__ = ["GROUP_TYPE", "groups_filter", "list_resources"]

GROUP_TYPE = "Microsoft.Resources/resourceGroups"
_SHOWN = ("kind", "sku", "plan", "zones", "managedBy", "extendedLocation")


def groups_filter(context: Context) -> Callable[[Resource], bool]:
    """The filter of the list of resource groups."""
    return ResourceFilter.of(context.query.get("$filter"), GROUP_FIELDS).keeps


async def list_resources(invocation: Invocation) -> Outcome:
    """GET `{subscription or group}/resources`: what the caller may read, without properties."""
    context, scope = invocation.context, invocation.id
    wanted = ResourceFilter.of(context.query.get("$filter"))
    paging = Paging.of(context.query.get("$top"), context.query.get("$skiptoken"))
    page = await _page(context, scope, wanted, paging)
    found = [one.value for one in page.items if one.value.type != GROUP_TYPE and wanted.keeps(one.value)]
    shown = await _readable(context, scope, found)
    body: dict[str, object] = {"value": [_summary(one, context) for one in shown]}
    if page.after is not None:
        path = f"{scope}/resources"
        body["nextLink"] = next_link(context.addresses.management, path, tuple(context.query.items()), page.after)
    return Outcome(body=body)


async def _page(context: Context, scope: ResourceId, wanted: ResourceFilter, paging: Paging) -> Page[Resource]:
    if wanted.principal is not None:
        return await _of_principal(context, scope, wanted.principal)
    return await context.store.page(
        RESOURCES, where=wanted.columns(scope), under=("path", scope.key), after=paging.after, limit=paging.top
    )


async def _of_principal(context: Context, scope: ResourceId, principal_id: str) -> Page[Resource]:
    """The one resource whose system-assigned identity it is."""
    principal = await context.store.get(PRINCIPALS, principal_id.lower())
    named = principal.value.resource_id if principal is not None and principal.value.system_assigned else None
    found = await context.store.get(RESOURCES, named.lower()) if named else None
    inside = found is not None and found.value.id.is_within(scope)
    return Page(items=(found,) if found is not None and inside else (), after=None)


async def _readable(context: Context, scope: ResourceId, found: list[Resource]) -> list[Resource]:
    ids = context.caller.principal_ids
    if (await context.access.check(ids, context.action, scope)).allowed and not await context.access.denied_below(scope):
        return found
    return [one for one in found if (await context.access.check(ids, f"{one.type}/read", one.id)).allowed]


def _summary(resource: Resource, context: Context) -> JsonObject:
    members = common_members(resource)
    members["tags"] = dict(resource.tags)
    members.update({name: resource.envelope[name] for name in _SHOWN if name in resource.envelope})
    members.update(identity_members(resource.identity))
    expand = {part.strip().lower() for part in context.query.get("$expand", "").split(",")}
    if "createdtime" in expand:
        members["createdTime"] = timestamp(resource.created_at)
    if "changedtime" in expand:
        members["changedTime"] = timestamp(resource.changed_at)
    if "provisioningstate" in expand:
        members["provisioningState"] = "Succeeded"
    return members
