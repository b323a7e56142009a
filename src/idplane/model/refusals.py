"""Refusals as they are kept: what a request asked for, who asked as far as that was known, and what decided.

A record holds nothing that the request proved itself with. It says what was so at that moment; why it was so, and what would change it, is worked
out by whoever explains it (`explain`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from idplane.model.attributes import NO_ATTRIBUTES, Attributes, AttributeValue
from idplane.model.calls import Caller, Workload
from idplane.model.roles import Decision
from idplane.model.values import JsonObject

__all__ = ["Evidence", "Refusal", "RefusalSurface", "attributes_document", "evidence_of", "refusal_key"]

_LAST: Final = (1 << 52) - 1
"""Microseconds, some time in 2112."""


class RefusalSurface(enum.StrEnum):
    """Which API refused. Records hold the word, so that an older program reads what a newer one refused."""

    ENDPOINT = "endpoint"
    """A host's own token endpoint."""
    TOKEN = "token"
    MANAGEMENT = "management"
    GRAPH = "graph"
    VAULT = "vault"
    AGENT = "agent"
    LOG = "log"
    EVENTS = "events"
    DECISION = "decision"
    PORTAL = "portal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was known of a request where it was refused: who asked, what for, and what decided. All of it may be absent."""

    proved: bool = False
    """Whether the caller is who it says: its token or its credential was good. Else the names are what the request claims."""
    tenant_id: str | None = None
    principal_id: str | None = None
    client_id: str = ""
    caller_name: str = ""
    token_id: str = ""
    """`uti` of the access token that was shown; the sign-in log knows by it which process got the token."""
    groups: tuple[str, ...] = ()
    host: str | None = None
    """Id of the host that the caller speaks from, for managed identities."""
    workload: Workload | None = None
    """The process, where the request itself proves it."""
    action: str | None = None
    scope: str | None = None
    """Resource id that the action was asked for at."""
    data: bool = False
    attributes: Attributes = NO_ATTRIBUTES
    """What conditions could look at."""
    resource: str | None = None
    """The audience that a token was asked for."""
    reason: str | None = None
    """`model.roles.Reason` of the decision, for refusals that are one."""
    because: str | None = None
    """The deny assignment, or the role assignment whose condition is not met."""
    considered: tuple[str, ...] = ()
    """The caller's role assignments that did not grant it."""
    sign_in_id: str | None = None
    """The sign-in record of the same attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refusal, or several alike at a host's endpoint. Members from `proved` on are as in `Evidence`."""

    id: str
    """What the caller was shown: the request's id."""
    at: datetime
    surface: str
    """A `RefusalSurface`."""
    kind: str
    """Name of a failure kind."""
    detail: str
    """In words that the caller may read."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Names, ids and actions that the refusal's own words are made of."""
    status: int = 0
    """HTTP status that the caller was shown."""
    method: str = ""
    url: str = ""
    """Path, without the query."""
    client_address: str | None = None
    user_agent: str = ""
    correlation_id: str = ""
    dialect: str | None = None
    """Which token endpoint refused, such as `imds`."""
    resource: str | None = None
    """The audience that a token was asked for."""
    count: int = 1
    """How many requests alike share the record."""
    position: int | None = None
    """Of the change feed at that moment, as far as the process that refused knew it."""
    proved: bool = False
    tenant_id: str | None = None
    principal_id: str | None = None
    client_id: str = ""
    caller_name: str = ""
    token_id: str = ""
    groups: tuple[str, ...] = ()
    host: str | None = None
    workload: Workload | None = None
    action: str | None = None
    scope: str | None = None
    data: bool = False
    attributes: JsonObject = field(default_factory=dict)
    """`attributes_document` of them."""
    reason: str | None = None
    because: str | None = None
    considered: tuple[str, ...] = ()
    sign_in_id: str | None = None

    @property
    def key(self) -> str:
        """Its place among all refusals, newest first."""
        return refusal_key(self.at, self.id)

    @property
    def scope_key(self) -> str | None:
        """The id key of the scope."""
        return self.scope.lower() if self.scope is not None else None


def refusal_key(at: datetime, refusal_id: str = "") -> str:
    """Keys of later refusals sort first; without an id, the place behind which everything older stands."""
    return f"{max(0, _LAST - round(at.timestamp() * 1_000_000)):013x}-{refusal_id}"


def evidence_of(
    caller: Caller,
    *,
    action: str | None = None,
    scope: str | None = None,
    data: bool = False,
    attributes: Attributes | None = None,
    decision: Decision | None = None,
) -> Evidence:
    """Evidence of a verified caller's request, with the decision on it if there was one."""
    return Evidence(
        proved=True,
        tenant_id=caller.tenant_id,
        principal_id=caller.principal_id,
        client_id=caller.client_id,
        caller_name=caller.display_name,
        token_id=caller.token_id,
        groups=caller.groups,
        host=caller.host,
        action=action,
        scope=scope,
        data=data,
        attributes=attributes or NO_ATTRIBUTES,
        reason=decision.reason.value if decision else None,
        because=decision.because if decision else None,
        considered=decision.considered if decision else (),
    )


def attributes_document(attributes: Attributes) -> JsonObject:
    """As JSON: `{"resource": {name: [values]}, "request": {...}}`, without what is empty; instants as RFC 3339."""
    sides = {"resource": attributes.resource, "request": attributes.request}
    return {side: {name: [*map(_value, values)] for name, values in named.items()} for side, named in sides.items() if named}


def _value(value: AttributeValue) -> str | int | bool:
    return value.isoformat() if isinstance(value, datetime) else value
