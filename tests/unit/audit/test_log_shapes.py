"""Log events as Azure's diagnostic settings hand them on, and as OpenTelemetry's logs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.audit.diagnostics import activity_records, sign_in_records
from idplane.audit.otlp import logs_request

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
END: dict[str, Any] = {
    "eventTimestamp": "2026-01-01T12:00:01.5000000Z",
    "resourceId": "/subscriptions/s/resourceGroups/g",
    "tenantId": "t",
    "operationName": {"value": "A.b/c/write", "localizedValue": "x"},
    "category": {"value": "Administrative"},
    "status": {"value": "Failed"},
    "subStatus": {"value": "Conflict"},
    "operationId": "o",
    "eventDataId": "end",
    "correlationId": "k",
    "caller": "p",
    "level": "Error",
    "httpRequest": {"clientIpAddress": "::1", "method": "PUT"},
    "authorization": {"action": "A.b/c/write"},
    "claims": {"oid": "p"},
    "properties": {"statusCode": "Conflict"},
}
START = {
    **END,
    "eventTimestamp": "2026-01-01T12:00:00.0000000Z",
    "status": {"value": "Started"},
    "subStatus": {"value": ""},
    "eventDataId": "start",
    "level": "Informational",
}
SIGN_IN: dict[str, Any] = {
    "id": "1",
    "createdDateTime": "2026-01-01T12:00:00Z",
    "homeTenantId": "t",
    "signInEventTypes": ["managedIdentity"],
    "status": {"errorCode": 700027, "failureReason": "no"},
    "servicePrincipalName": "vm",
    "servicePrincipalId": "p",
    "correlationId": "k",
    "ipAddress": "",
}


def attributes(record: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in record["attributes"]}


def logged(*records: Any) -> list[dict[str, Any]]:
    request: Any = logs_request("activity", records, NOW)
    return request["resourceLogs"][0]["scopeLogs"][0]["logRecords"]  # type: ignore[no-any-return]  # of a decoded document


def test_an_operation_s_end_tells_how_long_it_took() -> None:
    start, end = activity_records([START, END])
    assert (start["resultType"], end["resultType"]) == ("Start", "Failure")
    assert (start["resultSignature"], end["resultSignature"]) == ("Started.", "Failed.Conflict")
    assert (start["durationMs"], end["durationMs"]) == (0, 1500)
    assert end["time"] == END["eventTimestamp"]
    assert (end["operationName"], end["category"], end["callerIpAddress"]) == ("A.b/c/write", "Administrative", "::1")
    assert end["identity"] == {"authorization": END["authorization"], "claims": END["claims"]}
    properties: Any = end["properties"]
    assert properties["eventDataId"] == "end"
    assert activity_records([END])[0]["durationMs"] == 0


@pytest.mark.parametrize(
    ("change", "category", "result", "signature"),
    [
        ({}, "ManagedIdentitySignInLogs", "700027", "FAILURE"),
        ({"signInEventTypes": ["servicePrincipal"], "status": {"errorCode": 0}}, "ServicePrincipalSignInLogs", "0", "SUCCESS"),
        ({"signInEventTypes": ["nonInteractiveUser"]}, "NonInteractiveUserSignInLogs", "700027", "FAILURE"),
        ({"signInEventTypes": []}, "SignInLogs", "700027", "FAILURE"),
    ],
)
def test_sign_ins(change: dict[str, Any], category: str, result: str, signature: str) -> None:
    (record,) = sign_in_records([{**SIGN_IN, **change}])
    assert (record["category"], record["resultType"], record["resultSignature"]) == (category, result, signature)
    assert record["resourceId"] == "/tenants/t/providers/Microsoft.aadiam"
    assert record["identity"] == "vm"


def test_events_that_lack_everything_are_shaped_all_the_same() -> None:
    records = [*activity_records([{}]), *sign_in_records([{}])]
    assert len(logged(*records)) == 2


def test_a_record_s_attributes_say_what_it_is() -> None:
    start, end = logged(*activity_records([START, END]))
    assert (start["timeUnixNano"], end["timeUnixNano"]) == ("1767268800000000000", "1767268801500000000")
    assert (start["severityNumber"], end["severityNumber"]) == (9, 17)
    assert attributes(end)["log.record.uid"] == "end"
    assert attributes(end)["azure.result.type"] == "Failure"
    (signed_in,) = logged(*sign_in_records([SIGN_IN]))
    assert (attributes(signed_in)["log.record.uid"], signed_in["severityText"]) == ("1", "WARN")
    assert "client.address" not in attributes(signed_in)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def read(value: dict[str, Any]) -> object:
    """The other direction, as a receiver does it."""
    match value:
        case {"intValue": text}:
            return int(text)
        case {"arrayValue": {"values": values}}:
            return [read(one) for one in values]
        case {"kvlistValue": {"values": values}}:
            return {one["key"]: read(one["value"]) for one in values}
        case {}:
            return next(iter(value.values()), None)


def readable(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, list):
        return [readable(one) for one in value]
    return {name: readable(one) for name, one in value.items()} if isinstance(value, dict) else value


@given(st.dictionaries(st.text(), JSON))
def test_a_body_reads_back_as_the_record(record: dict[str, Any]) -> None:
    (made,) = logged(record)
    assert read(made["body"]) == readable(record)
