"""Activity events as `EventData`, the shape in which clients read them (control-plane.md section 7.5): one record, two events."""

from __future__ import annotations

import http
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from idplane.arm.envelope import timestamp
from idplane.model.events import ActivityEvent, EventStatus
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["EVENT_MEMBERS", "group_name", "render_event", "resource_type", "with_role"]

EVENT_MEMBERS = (
    "authorization",
    "caller",
    "category",
    "claims",
    "correlationId",
    "description",
    "eventDataId",
    "eventName",
    "eventTimestamp",
    "httpRequest",
    "id",
    "level",
    "operationId",
    "operationName",
    "properties",
    "resourceGroupName",
    "resourceId",
    "resourceProviderName",
    "resourceType",
    "status",
    "subStatus",
    "submissionTimestamp",
    "subscriptionId",
    "tenantId",
)
"""Every member of an event, as `$select` may name them."""

_GROUP_TYPE = "Microsoft.Resources/subscriptions/resourceGroups"
"""A group's type, as its actions name it."""
_STARTS = uuid.UUID("6b0d6f0a-5f0e-5b1c-9a75-2f1f5d5c1b0e")
"""Namespace of the ids of start events: each follows from the id of its end."""
_DENIED = "DenyAssignmentAuthorizationFailed"
_OF_START = frozenset({"uri", "because", "statusCode", "statusMessage", "serviceRequestId", "responseBody"})
"""Properties that a start cannot have, since they tell of the end."""
_OF_END = frozenset({"uri"})
_YEAR_ONE = datetime(1, 1, 1, tzinfo=UTC)


def render_event(event: ActivityEvent) -> tuple[JsonObject, ...]:
    """The events that a record stands for, newest first: its end, and its start unless it had none."""
    common = _common(event)
    end = {**common, **_end(event)}
    if event.started_at is None:
        return (end,)
    return end, {**common, **_start(event, event.started_at)}


def with_role(shown: JsonObject, role: str) -> JsonObject:
    """A rendered event with the name of the role that allowed it."""
    authorization = shown["authorization"]
    known = authorization if isinstance(authorization, Mapping) else {}
    return {**shown, "authorization": {**known, "role": role}}


def resource_type(event: ActivityEvent) -> str:
    """The type of what the operation was on; empty for what is no resource."""
    target = _parsed(event.resource_id)
    if target is None or not target.segments:
        return ""
    return _GROUP_TYPE if target.type == "Microsoft.Resources/resourceGroups" else target.type


def _common(event: ActivityEvent) -> JsonObject:
    """What the start and the end of an operation share."""
    return {
        "authorization": {"action": event.operation, "scope": event.resource_id},
        "caller": event.caller or event.caller_id,
        "category": _words("Administrative"),
        "claims": _claims(event),
        "correlationId": event.correlation_id,
        "description": "",
        "httpRequest": {
            "clientRequestId": event.correlation_id,
            "clientIpAddress": event.client_address or "",
            "method": event.method,
            "uri": str(event.properties.get("uri", "")),
        },
        "level": "Error" if event.status is EventStatus.FAILED else "Informational",
        "operationId": event.operation_id or event.correlation_id,
        "operationName": _words(event.operation),
        "resourceGroupName": group_name(event),
        "resourceId": event.resource_id,
        "resourceProviderName": _words(event.operation.partition("/")[0]),
        "resourceType": _words(resource_type(event)),
        "submissionTimestamp": timestamp(event.at),
        "subscriptionId": event.subscription_id or "",
        "tenantId": event.tenant_id,
    }


def _end(event: ActivityEvent) -> JsonObject:
    return {
        "eventDataId": event.id,
        "eventName": _words("EndRequest", "End request"),
        "eventTimestamp": timestamp(event.at),
        "id": _id(event, event.id, event.at),
        "properties": _properties(event, _OF_END),
        "status": _words(event.status.value),
        "subStatus": _words(event.sub_status, _sub_status(event)),
    }


def _start(event: ActivityEvent, at: datetime) -> JsonObject:
    name = str(uuid.uuid5(_STARTS, event.id))
    return {
        "eventDataId": name,
        "eventName": _words("BeginRequest", "Begin request"),
        "eventTimestamp": timestamp(at),
        "id": _id(event, name, at),
        "level": "Informational",
        "properties": _properties(event, _OF_START),
        "status": _words(EventStatus.STARTED.value),
        "subStatus": _words(""),
    }


def _id(event: ActivityEvent, name: str, at: datetime) -> str:
    return f"{event.resource_id.rstrip('/')}/events/{name}/ticks/{_ticks(at)}"


def group_name(event: ActivityEvent) -> str:
    """The resource group that the operation was in; empty outside one."""
    target = _parsed(event.resource_id)
    return (target.resource_group if target is not None else None) or ""


def _properties(event: ActivityEvent, left_out: frozenset[str]) -> JsonObject:
    """Details; at the end also what decided: the role assignment that allowed the operation or whose condition it did not meet, or what denied it."""
    places = (event.tenant_id, event.subscription_id or "")
    properties: dict[str, str] = {
        "eventCategory": "Administrative",
        "entity": event.resource_id,
        "message": event.operation,
        "hierarchy": "/".join(place for place in places if place),
    }
    if "because" not in left_out and event.because is not None:
        decided = "denyAssignmentId" if event.sub_status == _DENIED else "roleAssignmentId"
        properties[decided] = event.because
    if "statusCode" not in left_out:
        properties["statusCode"] = event.sub_status
    return {**properties, **{name: text for name, text in _texts(event.properties).items() if name not in left_out}}


def _claims(event: ActivityEvent) -> JsonObject:
    """The shown claims, and the caller's display name, which only users' tokens hold."""
    return {**({"name": event.caller_name} if event.caller_name else {}), **_texts(event.claims)}


def _sub_status(event: ActivityEvent) -> str:
    """`Created (HTTP Status Code: 201)`."""
    try:
        reason = http.HTTPStatus(event.http_status).phrase
    except ValueError:
        reason = event.sub_status
    return f"{reason} (HTTP Status Code: {event.http_status})"


def _parsed(resource_id: str) -> ResourceId | None:
    try:
        return ResourceId.parse(resource_id)
    except Failure:
        return None


def _words(value: str, localized: str | None = None) -> Mapping[str, str]:
    return {"value": value, "localizedValue": value if localized is None else localized}


def _texts(values: JsonObject) -> dict[str, str]:
    """Values as clients need them: a map from strings to strings."""
    return {name: value if isinstance(value, str) else str(value) for name, value in values.items()}


def _ticks(at: datetime) -> int:
    """Tenths of microseconds since the year one."""
    return (at - _YEAR_ONE) // timedelta(microseconds=1) * 10
