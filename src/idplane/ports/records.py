"""What has happened, and what follows it: the logs, the events made from the feed, refusals and leases, with the columns that queries use.

A part of the page in `ports.collections`, which is where everybody reads them.
"""

from __future__ import annotations

from datetime import datetime

from idplane.model.events import ActivityEvent, SignIn
from idplane.model.leases import Lease
from idplane.model.refusals import Refusal
from idplane.model.security_events import EventCursor, EventStream, EventSubject, QueuedEvent
from idplane.ports.store import Collection, Log

__all__ = [
    "ACTIVITY",
    "EVENT_CURSORS",
    "EVENT_STREAMS",
    "EVENT_SUBJECTS",
    "LEASES",
    "QUEUED_EVENTS",
    "REFUSALS",
    "SIGN_INS",
    "group_key_of",
    "microseconds",
]


def microseconds(at: datetime) -> int:
    """Microseconds since the epoch: how logs order time."""
    return round(at.timestamp() * 1_000_000)


def group_key_of(resource_id: str) -> str | None:
    """The id key of the resource group that an id lies in, told from the text alone: what logs hold need not be an id of today."""
    parts = resource_id.lower().split("/", 5)
    inside = len(parts) > 4 and (parts[1], parts[3]) == ("subscriptions", "resourcegroups")  # noqa: PLR2004 - a group's name is the fifth part
    return "/".join(parts[:5]) if inside and parts[4] else None


ACTIVITY = Log(
    name="activity_log",
    type=ActivityEvent,
    columns={
        "at": lambda it: microseconds(it.at),
        "tenant_id": lambda it: it.tenant_id,
        "subscription_id": lambda it: it.subscription_id,
        "group_key": lambda it: group_key_of(it.resource_id),
        "resource_key": lambda it: it.resource_id.lower(),
        "correlation_id": lambda it: it.correlation_id,
        "caller_id": lambda it: it.caller_id,
    },
)
SIGN_INS = Log(
    name="sign_ins",
    type=SignIn,
    columns={
        "at": lambda it: microseconds(it.at),
        "tenant_id": lambda it: it.tenant_id,
        "principal_id": lambda it: it.principal_id,
        "client_id": lambda it: it.client_id,
        "correlation_id": lambda it: it.correlation_id,
        "token_id": lambda it: it.token_id,
        "error_code": lambda it: it.error_code,
    },
)

EVENT_STREAMS = Collection(
    name="event_streams",
    type=EventStream,
    key=lambda it: it.id,
    columns={"audience": lambda it: it.audience, "owner_id": lambda it: it.owner_id},
)
QUEUED_EVENTS = Collection(
    name="queued_events", type=QueuedEvent, key=lambda it: it.key, columns={"stream_id": lambda it: it.stream_id}, fed=False
)
"""Not in the feed that they are made from."""
EVENT_SUBJECTS = Collection(name="event_subjects", type=EventSubject, key=lambda it: it.principal_id, fed=False)
EVENT_CURSORS = Collection(name="event_cursors", type=EventCursor, key=lambda it: it.name, fed=False)

REFUSALS = Collection(
    name="refusals",
    type=Refusal,
    key=lambda it: it.key,
    columns={
        "refusal_id": lambda it: it.id,
        "tenant_id": lambda it: it.tenant_id,
        "principal_id": lambda it: it.principal_id,
        "scope_key": lambda it: it.scope_key,
        "proved": lambda it: int(it.proved),
    },
    fed=False,
)
"""Newest first. Nobody follows them, and strangers make them: they are not in the feed."""

LEASES = Collection(name="leases", type=Lease, key=lambda it: it.name, fed=False)
"""Nobody follows them, so renewals are not in the feed."""
