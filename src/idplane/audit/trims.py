"""The record that a log was trimmed: an event of the activity log, committed along with the first removal.

The sequencer takes note of it in every later checkpoint, so that what retention removed can be told from what somebody else did.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from idplane.model.events import ActivityEvent, EventStatus

__all__ = ["TRIM_OPERATION", "RecordedTrim", "trim_event", "trim_in"]

TRIM_OPERATION: Final = "Idplane.Security/logs/trim/action"
_MARK: Final = TRIM_OPERATION.encode()


@dataclass(frozen=True, slots=True)
class RecordedTrim:
    """That records of a log that happened before an instant (microseconds since the epoch) may be gone."""

    log: str
    until: int


class _Properties(msgspec.Struct):
    log: str
    until: str


class _Event(msgspec.Struct):
    operation: str
    properties: _Properties


_DECODER: Final = msgspec.json.Decoder(_Event)


def trim_event(*, event_id: str, at: datetime, tenant_id: str, log: str, until: int) -> ActivityEvent:
    """The event of a trim that begins now."""
    return ActivityEvent(
        id=event_id,
        at=at,
        tenant_id=tenant_id,
        subscription_id=None,
        resource_id=f"/providers/Idplane.Security/logs/{log}",
        operation=TRIM_OPERATION,
        status=EventStatus.SUCCEEDED,
        sub_status="OK",
        correlation_id=event_id,
        operation_id=event_id,
        properties={"statusCode": "OK", "log": log, "until": str(until)},
    )


def trim_in(doc: bytes) -> RecordedTrim | None:
    """The trim that a stored event of the activity log tells of; None for every other event."""
    if _MARK not in doc:
        return None
    try:
        event = _DECODER.decode(doc)
        return RecordedTrim(event.properties.log, int(event.properties.until)) if event.operation == TRIM_OPERATION else None
    except (msgspec.MsgspecError, ValueError):
        return None
