"""Log events in the shape in which Azure's diagnostic settings hand them on: the common schema of resource logs. Pure.

What goes in are events as the APIs show them, so that whoever may read a log can also hand it on: the command line reads the APIs, a
plane renders its own records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from idplane.model.values import JsonObject

__all__ = ["activity_records", "sign_in_records"]

_RESULTS: Final = {"Started": "Start", "Accepted": "Accept", "Succeeded": "Success", "Failed": "Failure"}
_CATEGORIES: Final = {
    "managedIdentity": "ManagedIdentitySignInLogs",
    "servicePrincipal": "ServicePrincipalSignInLogs",
    "nonInteractiveUser": "NonInteractiveUserSignInLogs",
    "interactiveUser": "SignInLogs",
}
_SIGN_IN_LEVEL: Final = 4
"""What Entra's records have: informational."""


def activity_records(events: Iterable[JsonObject]) -> list[JsonObject]:
    """Events of the activity log (`EventData`) in the same order. How long an operation took is told where its start is among them."""
    shown = list(events)
    starts = {one.get("operationId"): one.get("eventTimestamp") for one in shown if _word(one, "status") == "Started"}
    return [_activity(one, starts.get(one.get("operationId"))) for one in shown]


def _activity(event: JsonObject, started: object) -> JsonObject:
    status, detail = _word(event, "status"), _word(event, "subStatus")
    request = _inner(event, "httpRequest")
    return {
        "time": event.get("eventTimestamp"),
        "resourceId": event.get("resourceId"),
        "tenantId": event.get("tenantId"),
        "operationName": _word(event, "operationName"),
        "category": _word(event, "category"),
        "resultType": _RESULTS.get(status, status),
        "resultSignature": f"{status}.{detail}",
        "durationMs": _milliseconds(started, event.get("eventTimestamp")),
        "callerIpAddress": request.get("clientIpAddress"),
        "correlationId": event.get("correlationId"),
        "identity": {"authorization": event.get("authorization"), "claims": event.get("claims")},
        "level": event.get("level"),
        "location": "global",
        "properties": {
            **_inner(event, "properties"),
            "caller": event.get("caller"),
            "eventDataId": event.get("eventDataId"),
            "operationId": event.get("operationId"),
            "httpMethod": request.get("method"),
        },
    }


def sign_in_records(events: Iterable[JsonObject]) -> list[JsonObject]:
    """Events of the sign-in log (Graph's `signIn`) in the same order."""
    return [_sign_in(one) for one in events]


def _sign_in(event: JsonObject) -> JsonObject:
    status = _inner(event, "status")
    code = str(status.get("errorCode") or 0)
    kinds = event.get("signInEventTypes")
    kind = str(kinds[0]) if isinstance(kinds, list | tuple) and kinds else ""
    tenant = event.get("homeTenantId")
    return {
        "time": event.get("createdDateTime"),
        "resourceId": f"/tenants/{tenant}/providers/Microsoft.aadiam",
        "tenantId": tenant,
        "operationName": "Sign-in activity",
        "operationVersion": "1.0",
        "category": _CATEGORIES.get(kind, "SignInLogs"),
        "resultType": code,
        "resultSignature": "SUCCESS" if code == "0" else "FAILURE",
        "resultDescription": "" if code == "0" else status.get("failureReason"),
        "durationMs": event.get("processingTimeInMilliseconds") or 0,
        "callerIpAddress": event.get("ipAddress"),
        "correlationId": event.get("correlationId"),
        "identity": event.get("userPrincipalName") or event.get("servicePrincipalName") or event.get("appDisplayName"),
        "level": _SIGN_IN_LEVEL,
        "location": "",
        "properties": event,
    }


def _inner(event: JsonObject, name: str) -> Mapping[str, object]:
    value = event.get(name)
    return value if isinstance(value, Mapping) else {}


def _word(event: JsonObject, name: str) -> str:
    """Of a member that is `{"value": ..., "localizedValue": ...}`."""
    return str(_inner(event, name).get("value") or "")


def _milliseconds(start: object, end: object) -> int:
    if not isinstance(start, str) or not isinstance(end, str):
        return 0
    length = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(0, round(length.total_seconds() * 1000))
