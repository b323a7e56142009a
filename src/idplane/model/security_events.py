"""Security events for resources (OpenID Shared Signals Framework 1.0): who hears of them, what waits, and what was told already."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime

from idplane.model.directory import GrantedRole
from idplane.model.values import JsonObject

__all__ = ["Delivery", "EventCursor", "EventStream", "EventSubject", "EventType", "QueuedEvent", "StreamStatus"]


class EventType(enum.StrEnum):
    """The kinds of event that are told, by the names of CAEP, RISC and the framework itself."""

    SESSION_REVOKED = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
    CLAIMS_CHANGE = "https://schemas.openid.net/secevent/caep/event-type/token-claims-change"
    CREDENTIAL_CHANGE = "https://schemas.openid.net/secevent/caep/event-type/credential-change"
    ACCOUNT_DISABLED = "https://schemas.openid.net/secevent/risc/event-type/account-disabled"
    ACCOUNT_ENABLED = "https://schemas.openid.net/secevent/risc/event-type/account-enabled"
    ACCOUNT_PURGED = "https://schemas.openid.net/secevent/risc/event-type/account-purged"
    VERIFICATION = "https://schemas.openid.net/secevent/ssf/event-type/verification"


class Delivery(enum.StrEnum):
    """How events reach a receiver."""

    PUSH = "urn:ietf:rfc:8935"
    POLL = "urn:ietf:rfc:8936"


class StreamStatus(enum.StrEnum):
    """What becomes of new events."""

    ENABLED = "enabled"
    PAUSED = "paused"
    """They wait."""
    DISABLED = "disabled"
    """They are not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStream:
    """One receiver's subscription."""

    id: str
    tenant_id: str
    owner_id: str
    """Object id of the principal that made it; when it loses the right to hear of `audience`, the stream ends."""
    audience: str
    """Client id of the resource application whose tokens it is about."""
    issuer: str
    """`iss` of its events: the transmitter, as its owner addressed it."""
    subject_issuer: str
    """`iss` of the tokens that the resource gets."""
    delivery: Delivery
    requested: tuple[EventType, ...]
    since: int
    """The feed's position when it was made."""
    created_at: datetime
    endpoint: str | None = None
    authorization: bytes | None = field(default=None, repr=False)
    """Sealed: the header that pushes carry."""
    description: str | None = None
    everyone: bool = False
    """Whether it hears of every principal of the tenant, and not only of those that had a token for the audience."""
    status: StreamStatus = StreamStatus.ENABLED
    reason: str | None = None
    added: tuple[str, ...] = ()
    """Object ids of principals that it asked to hear of."""
    removed: tuple[str, ...] = ()
    """And of those that it does not want to hear of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedEvent:
    """An event that waits to be handed over; it is signed when it is."""

    key: str
    """Sorts in the order in which things happened."""
    id: str
    """The `jti`."""
    stream_id: str
    at: datetime
    subject: JsonObject
    type: EventType
    members: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSubject:
    """What was last seen of a principal, so that a change can be told from none."""

    principal_id: str
    tenant_id: str
    user: bool = False
    enabled: bool = True
    mark: str = ""
    roles: tuple[GrantedRole, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCursor:
    """How far the change feed has become events."""

    name: str
    position: int
