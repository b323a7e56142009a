"""Lists of resources of every type, and the `$filter` that they and the list of groups understand (control-plane.md sections 4, 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from idplane.arm.context import Context
from idplane.arm.declare import Invocation, Outcome
from idplane.arm.envelope import common_members, timestamp
from idplane.arm.paging import Paging, next_link
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES
from idplane.ports.store import ColumnValue
from idplane.providers.filters import Comparison, invalid_filter, parse_filter
from idplane.providers.identity_block import identity_members

__all__ = ["GROUP_TYPE", "ResourceFilter", "groups_filter", "list_resources"]

GROUP_TYPE = "Microsoft.Resources/resourceGroups"
_FIELDS = frozenset({"resourcetype", "resourcegroup", "name", "location", "tagname", "tagvalue"})
_GROUP_FIELDS = frozenset({"name", "location", "tagname", "tagvalue"})
_SHOWN = ("kind", "sku", "plan", "zones", "managedBy", "extendedLocation")


@dataclass(frozen=True, slots=True)
class ResourceFilter:
    """A parsed `$filter`: equalities that all must hold, compared without case except for tag values."""

    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str | None, fields: frozenset[str] = _FIELDS) -> ResourceFilter:
        """Read a filter; raises `Failure(INVALID_FILTER)` for what these lists do not understand."""
        values: dict[str, str] = {}
        for condition in parse_filter(text):
            supported = isinstance(condition, Comparison) and condition.operator == "eq"
            if (
                not supported
                or not isinstance(condition, Comparison)
                or condition.field not in fields
                or condition.field in values
            ):
                raise invalid_filter(text or "")
            values[condition.field] = condition.value
        if "tagvalue" in values and "tagname" not in values:
            raise invalid_filter(text or "")
        return cls(values)

    def columns(self, scope: ResourceId) -> dict[str, ColumnValue]:
        """The part that the store can search by."""
        where: dict[str, ColumnValue] = {}
        if "resourcetype" in self.values:
            where["type"] = self.values["resourcetype"].lower()
        if "name" in self.values:
            where["name"] = self.values["name"].lower()
        if "resourcegroup" in self.values and scope.subscription is not None:
            where["group_key"] = f"/subscriptions/{scope.subscription}/resourcegroups/{self.values['resourcegroup'].lower()}"
        return where

    def keeps(self, resource: Resource) -> bool:
        """Whether a resource passes what no column tells."""
        location = self.values.get("location")
        if location is not None and (resource.location or "").lower() != location.replace(" ", "").lower():
            return False
        name = self.values.get("name")
        if name is not None and resource.id.name.lower() != name.lower():
            return False
        tag = self.values.get("tagname")
        if tag is None:
            return True
        found = next((value for key, value in resource.tags.items() if key.lower() == tag.lower()), None)
        return found is not None and self.values.get("tagvalue", found) == found


def groups_filter(context: Context) -> Callable[[Resource], bool]:
    """The filter of the list of resource groups."""
    return ResourceFilter.of(context.query.get("$filter"), _GROUP_FIELDS).keeps


async def list_resources(invocation: Invocation) -> Outcome:
    """GET `{subscription or group}/resources`: what the caller may read, without properties."""
    context, scope = invocation.context, invocation.id
    wanted = ResourceFilter.of(context.query.get("$filter"))
    paging = Paging.of(context.query.get("$top"), context.query.get("$skiptoken"))
    page = await context.store.page(
        RESOURCES, where=wanted.columns(scope), under=("path", scope.key), after=paging.after, limit=paging.top
    )
    found = [one.value for one in page.items if one.value.type != GROUP_TYPE and wanted.keeps(one.value)]
    shown = await _readable(context, scope, found)
    body: dict[str, object] = {"value": [_summary(one, context) for one in shown]}
    if page.after is not None:
        path = f"{scope}/resources"
        body["nextLink"] = next_link(context.addresses.management, path, tuple(context.query.items()), page.after)
    return Outcome(body=body)


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
