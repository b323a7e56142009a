"""How a stored resource looks on the wire: the members that all types share, then the type's own."""

from __future__ import annotations

from datetime import UTC, datetime

from idplane.arm.context import Context
from idplane.arm.declare import ResourceType
from idplane.model.locks import Lock
from idplane.model.resources import Resource
from idplane.model.values import JsonObject

__all__ = ["common_members", "render", "system_data", "timestamp"]


def timestamp(at: datetime) -> str:
    """An instant as Resource Manager writes it: UTC with seven decimals."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


def common_members(resource: Resource) -> dict[str, object]:
    """Id, name, type, location and tags, as lists of mixed types show them too."""
    members: dict[str, object] = {"id": str(resource.id), "name": resource.id.name, "type": resource.type}
    if resource.location is not None:
        members["location"] = resource.location
    return members


def render(declared: ResourceType, resource: Resource, context: Context) -> JsonObject:
    """The whole resource, for the api-version asked."""
    members = common_members(resource)
    if declared.taggable:
        members["tags"] = dict(resource.tags)
    members.update(declared.render(resource, context))
    if declared.system_data:
        members["systemData"] = system_data(resource)
    return members


def system_data(resource: Resource | Lock) -> JsonObject:
    """Who made and last changed a resource or a lock, and when."""
    return {
        "createdBy": resource.created_by,
        "createdByType": resource.created_by_type,
        "createdAt": timestamp(resource.created_at),
        "lastModifiedBy": resource.changed_by,
        "lastModifiedByType": resource.changed_by_type,
        "lastModifiedAt": timestamp(resource.changed_at),
    }
