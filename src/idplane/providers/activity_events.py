"""Activity events as `EventData`, the shape in which clients read them (control-plane.md section 7.5)."""

from __future__ import annotations

import http
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from idplane.arm.envelope import timestamp
from idplane.model.events import ActivityEvent, EventStatus
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["EVENT_MEMBERS", "group_name", "render_event"]

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

_YEAR_ONE = datetime(1, 1, 1, tzinfo=UTC)


def render_event(event: ActivityEvent) -> JsonObject:
    """The whole event."""
    failed = event.status is EventStatus.FAILED
    target = _parsed(event.resource_id)
    at = timestamp(event.at)
    return {
        "authorization": {"action": event.operation, "scope": event.resource_id},
        "caller": event.caller or event.caller_id,
        "category": _words("Administrative"),
        "claims": _texts(event.claims),
        "correlationId": event.correlation_id,
        "description": "",
        "eventDataId": event.id,
        "eventName": _words("EndRequest", "End request"),
        "eventTimestamp": at,
        "httpRequest": {
            "clientRequestId": event.correlation_id,
            "clientIpAddress": event.client_address or "",
            "method": event.method,
        },
        "id": f"{event.resource_id.rstrip('/')}/events/{event.id}/ticks/{_ticks(event.at)}",
        "level": "Error" if failed else "Informational",
        "operationId": event.operation_id or event.correlation_id,
        "operationName": _words(event.operation),
        "properties": _properties(event),
        "resourceGroupName": group_name(event),
        "resourceId": event.resource_id,
        "resourceProviderName": _words(event.operation.partition("/")[0]),
        "resourceType": _words(target.type if target is not None and target.segments else ""),
        "status": _words(event.status.value),
        "subStatus": _words(event.sub_status, _sub_status(event)),
        "submissionTimestamp": at,
        "subscriptionId": event.subscription_id or "",
        "tenantId": event.tenant_id,
    }


def group_name(event: ActivityEvent) -> str:
    """The resource group that the operation was in; empty outside one."""
    target = _parsed(event.resource_id)
    return (target.resource_group if target is not None else None) or ""


def _properties(event: ActivityEvent) -> JsonObject:
    """Details, with what decided: the assignment that allowed the operation, or the one that denied it."""
    properties: dict[str, str] = {"statusCode": event.sub_status, "entity": event.resource_id, "message": event.operation}
    if event.because is not None:
        decided = "denyAssignmentId" if event.status is EventStatus.FAILED else "roleAssignmentId"
        properties[decided] = event.because
    return {**properties, **_texts(event.properties)}


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
