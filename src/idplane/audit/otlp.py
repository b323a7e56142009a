"""Diagnostic records as OpenTelemetry logs: the JSON encoding of OTLP's `ExportLogsServiceRequest`. Pure.

A record's body is the whole diagnostic record, as a map; what collectors route and filter by is repeated in attributes.
`log.record.uid` is the event's own id, by which a receiver drops what it was handed twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from idplane import __version__
from idplane.model.values import JsonObject

__all__ = ["logs_request"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INFO, _WARN, _ERROR = (9, "INFO"), (13, "WARN"), (17, "ERROR")
"""Severities: OTLP's number, and its short name."""
_LEVELS: Final = {"Critical": (21, "FATAL"), "Error": _ERROR, "Warning": _WARN, "Verbose": (5, "DEBUG")}
_LARGEST_INTEGER: Final = 1 << 63


def logs_request(scope: str, records: Iterable[JsonObject], observed: datetime) -> JsonObject:
    """One request with all records; `scope` names the log that they are from."""
    return {
        "resourceLogs": [
            {
                "resource": {"attributes": _attributes({"service.name": "idplane", "service.version": __version__})},
                "scopeLogs": [
                    {
                        "scope": {"name": f"idplane.{scope}", "version": __version__},
                        "logRecords": [_record(one, observed) for one in records],
                    }
                ],
            }
        ]
    }


def _record(record: JsonObject, observed: datetime) -> JsonObject:
    number, text = _severity(record)
    properties = record.get("properties")
    inner = properties if isinstance(properties, Mapping) else {}
    return {
        "timeUnixNano": _nanoseconds(_instant(record.get("time"), observed)),
        "observedTimeUnixNano": _nanoseconds(observed),
        "severityNumber": number,
        "severityText": text,
        "eventName": f"azure.{record.get('category')}",
        "body": _value(record),
        "attributes": _attributes(
            {
                "log.record.uid": inner.get("eventDataId") or inner.get("id"),
                "azure.category": record.get("category"),
                "azure.operation.name": record.get("operationName"),
                "azure.resource.id": record.get("resourceId"),
                "azure.tenant.id": record.get("tenantId"),
                "azure.correlation.id": record.get("correlationId"),
                "azure.result.type": record.get("resultType"),
                "azure.result.signature": record.get("resultSignature"),
                "azure.caller": inner.get("caller") or inner.get("userId") or inner.get("servicePrincipalId"),
                "client.address": record.get("callerIpAddress"),
            }
        ),
    }


def _severity(record: JsonObject) -> tuple[int, str]:
    """A failed sign-in is a warning, since one is nothing unusual; the activity log says itself how serious its events are."""
    if record.get("resultSignature") == "FAILURE":
        return _WARN
    return _LEVELS.get(str(record.get("level")), _INFO)


def _attributes(values: Mapping[str, object]) -> list[JsonObject]:
    """Those that have a value."""
    return [{"key": name, "value": _value(value)} for name, value in values.items() if value not in (None, "")]


def _value(value: object) -> JsonObject:  # noqa: PLR0911 - one for each kind of value
    """OTLP's `AnyValue`; nothing at all is an empty one."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": [{"key": str(name), "value": _value(one)} for name, one in value.items()]}}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": str(value)}


def _instant(value: object, otherwise: datetime) -> datetime:
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return otherwise
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _nanoseconds(at: datetime) -> str:
    return str((at - _EPOCH) // timedelta(microseconds=1) * 1000)
