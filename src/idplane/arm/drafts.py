"""What a PUT or PATCH makes of a stored resource before its provider has a say (control-plane.md sections 4 and 7).

PUT states the whole resource: what is left out is gone. PATCH merges: `tags` are replaced as a whole, `properties` and the other
members by JSON merge patch (RFC 7396), where null removes. Location, name and type never change. The `identity` member is not
handled here: what it means is decided by `providers.identity_block`, and until then the old identity stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from idplane.arm.bodies import member_object, member_text
from idplane.arm.declare import ResourceType
from idplane.arm.tags import read_tags
from idplane.model.calls import Caller
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId, normalize_location
from idplane.model.resources import Resource
from idplane.model.values import JsonObject

__all__ = ["Author", "author_of", "merge", "patched", "put"]

_ENVELOPE = ("kind", "sku", "plan", "zones", "managedBy", "managedByExtended", "extendedLocation", "placement", "scale")
"""Top-level members beside the common ones that are kept and given back."""
_LOCATION = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes, in the words of `systemData`, and when."""

    name: str
    type: str
    at: datetime


def author_of(caller: Caller, now: datetime) -> Author:
    """The caller as `systemData` names it: a user by its principal name, anything else by its application id (control-plane.md section 11)."""
    if caller.sign_in_name is not None:
        return Author(caller.sign_in_name, "User", now)
    return Author(caller.client_id, "ManagedIdentity" if caller.host is not None else "Application", now)


def put(declared: ResourceType, identifier: ResourceId, body: JsonObject, old: Resource | None, author: Author) -> Resource:
    """The resource as the body states it; raises `Failure(INVALID_PARAMETER | LOCATION_REQUIRED | LOCATION_CHANGED)`."""
    return Resource(
        id=old.id if old else identifier,
        type=declared.name,
        location=_location(declared, identifier, body, old),
        tags=read_tags(body) or {},
        identity=old.identity if old else None,
        properties=_writable(member_object(body, "properties") or {}),
        envelope={name: body[name] for name in _ENVELOPE if body.get(name) is not None},
        created_at=old.created_at if old else author.at,
        created_by=old.created_by if old else author.name,
        created_by_type=old.created_by_type if old else author.type,
        changed_at=author.at,
        changed_by=author.name,
        changed_by_type=author.type,
    )


def patched(declared: ResourceType, body: JsonObject, old: Resource, author: Author) -> Resource:
    """The old resource with the body merged in; raises `Failure(INVALID_PARAMETER | LOCATION_CHANGED)`."""
    if body.get("location") is not None:
        _location(declared, old.id, body, old)
    tags = read_tags(body)
    envelope = merge(old.envelope, {name: body[name] for name in _ENVELOPE if name in body})
    return replace(
        old,
        tags=old.tags if tags is None else tags,
        properties=merge(old.properties, _writable(member_object(body, "properties") or {})),
        envelope=envelope,
        changed_at=author.at,
        changed_by=author.name,
        changed_by_type=author.type,
    )


def merge(old: JsonObject, change: JsonObject) -> JsonObject:
    """JSON merge patch (RFC 7396)."""
    out = dict(old)
    for name, value in change.items():
        if value is None:
            out.pop(name, None)
        elif isinstance(value, Mapping):
            before = out.get(name)
            out[name] = merge(before if isinstance(before, Mapping) else {}, value)
        else:
            out[name] = value
    return out


def _writable(properties: JsonObject) -> JsonObject:
    """Without what the kernel itself reports."""
    return {name: value for name, value in properties.items() if name != "provisioningState"}


def _location(declared: ResourceType, identifier: ResourceId, body: JsonObject, old: Resource | None) -> str | None:
    text = member_text(body, "location")
    if not declared.located:
        return old.location if old else None
    if text is None and declared.location_optional:
        return old.location if old else None
    if text is None or not text.strip():
        raise Failure(
            FailureKind.LOCATION_REQUIRED, "the location property is required", type=declared.name, name=identifier.name
        )
    location = normalize_location(text)
    if _LOCATION.fullmatch(location) is None:
        raise Failure(FailureKind.INVALID_PARAMETER, "the value of 'location' is not a location", parameter="location")
    if old is not None and old.location is not None and normalize_location(old.location) != location:
        raise Failure(
            FailureKind.LOCATION_CHANGED,
            "the resource exists in another location",
            name=identifier.name,
            group=identifier.resource_group or "",
            old=old.location,
            new=location,
        )
    return location
