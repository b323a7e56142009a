"""What the two append-only logs record. Tokens, secrets and private keys never enter either."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime

from idplane.model.calls import Workload
from idplane.model.values import JsonObject

__all__ = ["ActivityEvent", "EndpointRefusal", "EventStatus", "ForeignToken", "SignIn", "UserSignIn"]


class EventStatus(enum.StrEnum):
    """Where a control-plane operation stands, in the activity log's own words."""

    STARTED = "Started"
    """Never stored: every stored operation is shown as its start and its end."""
    ACCEPTED = "Accepted"
    """The answer has left, and the work goes on; its end is an event of its own."""
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityEvent:
    """One control-plane operation: who did what where, how it ended and which role allowed it.

    One record holds both events that Azure's log has for an operation, its start and its end: they differ in a few members, and the
    write path pays once.
    """

    id: str
    at: datetime
    """When it ended, which is what the log is ordered by."""
    tenant_id: str
    subscription_id: str | None
    resource_id: str
    operation: str
    """The action name, such as `Microsoft.Compute/virtualMachines/write`."""
    status: EventStatus
    sub_status: str = ""
    """HTTP reason word, such as `Created`, or the failure's code."""
    http_status: int = 200
    caller: str = ""
    """As Azure shows it: a user's principal name, anything else's object id."""
    caller_name: str = ""
    """Display name."""
    caller_id: str = ""
    """Principal (object) id."""
    started_at: datetime | None = None
    """When the request came in; None for what has no start of its own, such as what was deleted along with something else."""
    correlation_id: str = ""
    operation_id: str = ""
    client_address: str | None = None
    method: str = ""
    because: str | None = None
    """The role assignment that allowed it, or the deny assignment that refused it."""
    claims: JsonObject = field(default_factory=dict)
    properties: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignToken:
    """Another issuer's token that a client showed. Until the attempt has succeeded, it is what the client claims."""

    issuer: str
    subject: str
    token_id: str | None = None
    """`jti`, or `uti` of a token of our own. The same token may be shown many times (MIE section 6.3)."""
    nearest: str | None = None
    """Of a refusal: id of the federated credential that came nearest to it."""
    differs: str | None = None
    """Of a refusal: in which member that credential differs, such as `subject`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRefusal:
    """A refusal by a host's own token endpoint, which no token service heard of until the agent told."""

    dialect: str
    reason: str
    """Name of the failure kind."""
    count: int = 1
    """How many requests alike the record stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSignIn:
    """How a user signed in: through which client, in which session, and who let them."""

    client_name: str
    display_name: str
    interactive: bool
    """Whether a person had just approved it; else it went on by a refresh token."""
    session_id: str
    approved_by: str
    """Principal id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """One attempt to get a token: issued or refused. Written before the token leaves; no durable record, no token."""

    id: str
    at: datetime
    tenant_id: str
    client_id: str
    principal_id: str | None
    principal_name: str
    principal_type: str
    resource: str
    """The audience as asked."""
    resource_name: str
    error_code: int
    """0 for success, else the AADSTS number."""
    failure_reason: str
    correlation_id: str
    token_id: str | None
    """`uti` of the issued token."""
    credential_kind: str
    credential_id: str | None = None
    credential_thumbprint: str | None = None
    """Of the certificate, for those that are one."""
    milliseconds: int = 0
    """From the request's arrival to the end of the attempt."""
    signing_key: str | None = None
    """`kid` of the key that signed."""
    host: str | None = None
    """ARM id of the host that the token is for, for managed identities."""
    identity: str | None = None
    """ARM id of the user-assigned identity, or of the host for a system-assigned one."""
    system_assigned: bool = False
    expires_at: datetime | None = None
    client_address: str | None = None
    user_agent: str = ""
    workload: Workload | None = None
    resource_client_id: str = ""
    """Client id of the resource application, once it is known."""
    endpoint: EndpointRefusal | None = None
    """Where the host's agent refused, before it was settled which identity was meant."""
    federated: ForeignToken | None = None
    """The token that was shown, when the client authenticates by one of another issuer."""
    user: UserSignIn | None = None
    """When it was a user who signed in. Then `client_id` is the program's, and `principal_name` what the user signs in as."""
