"""What an explanation consists of: frozen values that the API, the command line and the portal show alike.

Everything here has been reduced to what the viewer may know. Texts are for people; `StepKind`, `Verdict` and `LinkKind` are for programs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from idplane.model.attributes import NO_ATTRIBUTES, Attributes
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = [
    "Clause",
    "Explanation",
    "Fact",
    "Fix",
    "FixRequest",
    "Link",
    "LinkKind",
    "Question",
    "Step",
    "StepKind",
    "Verdict",
    "WhoMay",
]


class LinkKind(enum.StrEnum):
    """What a reference means, so that a page can lead there."""

    PRINCIPAL = "principal"
    """An object id."""
    SCOPE = "scope"
    """A resource id, or a scope."""
    ROLE = "role"
    """A role definition's GUID."""
    ASSIGNMENT = "role-assignment"
    """The whole resource id of one."""
    DENY = "deny-assignment"
    """The whole resource id of one."""
    SIGN_IN = "sign-in"
    """The id of a record in the sign-in log."""
    AGENT = "agent"
    """The id of a host's agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a value stands for."""

    kind: LinkKind
    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line about who asked, or what for."""

    label: str
    value: str
    link: Link | None = None


class StepKind(enum.StrEnum):
    """What a step of the explanation looks at."""

    DENY_ASSIGNMENT = "deny-assignment"
    ROLE_ASSIGNMENT = "role-assignment"
    ROLE = "role"
    """A role that nobody assigned."""
    ABSENCE = "absence"
    """That there is nothing which would allow it."""
    LOCK = "lock"
    TENANT = "tenant"
    TOKEN = "token"
    CLIENT = "client"
    CREDENTIAL = "credential"
    FEDERATED_CREDENTIAL = "federated-credential"
    ASSIGNED_IDENTITY = "assigned-identity"
    AUDIENCE = "audience"
    BINDING = "binding"
    ENDPOINT = "endpoint"
    """What a host's token endpoint asks of every request."""
    RESOURCE = "resource"
    SECRET = "secret"
    LIMIT = "limit"
    REQUEST = "request"
    """The request itself, by its form."""


class Verdict(enum.StrEnum):
    """What a step came to."""

    REFUSES = "refuses"
    ALLOWS = "allows"
    PASSES = "passes"
    """It says nothing against it, and allows nothing."""
    MISSES = "misses"
    """It would allow it, but for what `why` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One comparison of a condition or of a claims matching expression, with what stood on its two sides."""

    text: str
    """As it is written."""
    holds: bool | None
    """None where it can't be told, since something is absent or of another kind."""
    left: str
    right: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rule, or the absence of any: what it says of the request."""

    kind: StepKind
    verdict: Verdict
    name: str
    """What people call it: a role's name, a credential's, a lock's."""
    why: str
    """A sentence without its full stop."""
    id: str | None = None
    scope: str | None = None
    clauses: tuple[Clause, ...] = ()
    """Of a condition that decided."""
    link: Link | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FixRequest:
    """The same change as one request to an API of this installation."""

    api: str
    """`management`, `graph` or `vault`."""
    method: str
    path: str
    """From the root of the API's address; with its api-version, where there is one."""
    body: JsonObject | None = None
    vault: str | None = None
    """Name of the vault, for its API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhoMay:
    """Who can make a change: roles that hold the action there, and of those who have it, whom the viewer may know."""

    action: str
    scope: str
    you: bool
    """Whether the viewer can."""
    roles: tuple[str, ...] = ()
    principals: tuple[Fact, ...] = ()
    more: int = 0
    """How many others can, as far as the viewer may know that they exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """A change after which the same request succeeds."""

    text: str
    command: str | None = None
    """A line that works when it is pasted into a shell; None where the program that asked must be changed."""
    request: FixRequest | None = None
    who_may: WhoMay | None = None
    """None where nobody's leave is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Whether a principal could do something, asked beforehand."""

    principal_id: str
    action: str
    scope: ResourceId
    data: bool = False
    attributes: Attributes = NO_ATTRIBUTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a request was refused, or whether one would be."""

    refusal_id: str | None
    """None for a question."""
    at: datetime | None
    allowed: bool
    """Of a question: the answer. Of a refusal always False."""
    summary: str
    """One sentence."""
    who: tuple[Fact, ...]
    what: tuple[Fact, ...]
    decided: Step
    considered: tuple[Step, ...] = ()
    """Everything that was looked at, in the order in which it was; `decided` among it."""
    nearest: Step | None = None
    """What came nearest to allowing it."""
    fixes: tuple[Fix, ...] = ()
    """Best first: the least that helps."""
    together: bool = False
    """Whether all of the fixes are needed; else any of them is enough."""
    now: str | None = None
    """What has changed since; None if the same request would be refused for the same reason."""
    hidden: int = 0
    """How many rules were considered that the viewer may not see."""
