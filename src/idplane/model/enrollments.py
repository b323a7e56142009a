"""Enrollments: what proves that a machine is the host of a resource, and what was proved (design section 6).

An enrollment belongs to one source resource. It names a method, what evidence of that method is checked against, and the facts that
must have been proved. A machine whose evidence fits exactly one enrollment becomes an agent of that resource.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from idplane.model.expressions import parse_expression
from idplane.model.ids import ResourceId

__all__ = [
    "UNPINNED",
    "AgentSighting",
    "AgentSightings",
    "Carriage",
    "Enrollment",
    "Facts",
    "JoinMethod",
    "JoinToken",
    "PcrRule",
    "SpentProof",
    "Trust",
    "carriage_key",
    "enrollment_key",
    "hosts_of",
    "join_statement",
    "pin_of",
    "sorted_facts",
]

_CLOCKS_DIFFER: Final = timedelta(minutes=10)
"""Of servers, at the most. A proof that one of them forgets must not count at another one that is behind."""
Facts: TypeAlias = tuple[tuple[str, str], ...]
"""Names with values, sorted; a name that has several values is there several times."""
UNPINNED: Final = ""
"""`Enrollment.pin` of one that names no fact exactly."""


class JoinMethod(enum.StrEnum):
    """How a machine proves what it is."""

    TOKEN = "token"
    X509 = "x509"
    SSH = "ssh"
    TPM = "tpm"
    OIDC = "oidc"


@dataclass(frozen=True, slots=True, kw_only=True)
class PcrRule:
    """The state that a TPM must have measured: a digest over some of its platform configuration registers."""

    bank: str
    """Name of the hash algorithm: `sha256`."""
    registers: tuple[int, ...]
    """Ascending."""
    digest: str
    """Hex: the bank's hash over the registers' values, one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What evidence is checked against. All of it is public, and which members count is the method's business."""

    authorities: str = ""
    """PEM certificates: of authorities whose clients (x509) or TPM makers (tpm) are believed."""
    ssh_authority: str = ""
    """One line of OpenSSH: the key of a host certificate authority; without it plain host keys are meant."""
    issuer: str = ""
    """Of OpenID Connect tokens."""
    audience: str = ""
    """Of OpenID Connect tokens."""
    pcrs: PcrRule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """Which machines become agents of a resource."""

    id: str
    """A GUID, which stays when the resource moves."""
    host: ResourceId
    name: str
    tenant_id: str
    method: JoinMethod
    created_at: datetime
    trust: Trust = field(default_factory=Trust)
    facts: Facts = ()
    """All of them must have been proved, character by character."""
    expression: str | None = None
    """What else must hold of the facts (`model.expressions`)."""

    @property
    def key(self) -> str:
        """Where it is stored."""
        return enrollment_key(self.host.key, self.name)

    @property
    def pin(self) -> str:
        """What it can be found by: one of the facts that it names exactly."""
        return pin_of(*self.facts[0]) if self.facts else UNPINNED

    def admits(self, facts: Facts) -> bool:
        """Whether these facts are what it asks for. Of a fact with several values, one has to fit."""
        if not set(self.facts) <= set(facts):
            return False
        if self.expression is None:
            return bool(self.facts)
        return all(
            any(one.holds({name: value}) for name, value in facts if name == one.claim)
            for one in parse_expression(self.expression)
        )

    def same_rule(self, other: Enrollment) -> bool:
        """Whether both admit the same machines."""
        mine = (self.method, self.trust, self.facts, self.expression)
        return mine == (other.method, other.trust, other.facts, other.expression)


def enrollment_key(host_key: str, name: str) -> str:
    """Host and name, without case."""
    return f"{host_key}|{name.lower()}"


def pin_of(name: str, value: str) -> str:
    """A fact as a handle of fixed length."""
    return hashlib.sha256(f"{name}={value}".encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Carriage:
    """That the machines of an enrollment serve a further resource, such as a web app on them. It ends with that resource."""

    enrollment_id: str
    resource: ResourceId

    @property
    def key(self) -> str:
        """Unique: one row for each."""
        return carriage_key(self.enrollment_id, self.resource.key)


def carriage_key(enrollment_id: str, resource_key: str) -> str:
    """The key of a `Carriage`."""
    return f"{enrollment_id}|{resource_key}"


def hosts_of(enrollment: Enrollment, carried: Sequence[Carriage]) -> tuple[str, ...]:
    """Id keys of the resources that agents of an enrollment serve, its own first."""
    return tuple(dict.fromkeys((enrollment.host.key, *(one.resource.key for one in carried))))


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """A secret that enrolls one machine, once. Only its hash is kept."""

    id: str
    enrollment_id: str
    secret_hash: bytes = field(repr=False)
    """SHA-256 of a secret with 256 bits of entropy, so that no stretching is needed."""
    created_at: datetime
    expires_at: datetime
    created_by: str = ""
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentProof:
    """That a challenge or a token of another issuer has been used. Kept until it would have expired anyway."""

    id: str
    expires_at: datetime

    @property
    def key(self) -> str:
        """Sorts by the time of expiry, so that what may go stands first."""
        return f"{int(self.expires_at.timestamp()):012d}|{self.id}"

    def is_forgettable(self, now: datetime) -> bool:
        """Whether no server accepts the proof any more, although their clocks may differ by minutes."""
        return now >= self.expires_at + _CLOCKS_DIFFER


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSighting:
    """Where and when an agent was heard of last, and what it called itself."""

    at: datetime
    address: str | None = None
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSightings:
    """Sightings of some of the agents, together: one record for many keeps the change feed quiet."""

    shard: str
    seen: dict[str, AgentSighting] = field(default_factory=dict)
    """By agent id."""


def sorted_facts(pairs: Sequence[tuple[str, str]]) -> Facts:
    """Facts in their one order, each once."""
    return tuple(sorted(set(pairs)))


def join_statement(method: JoinMethod, nonce: bytes, csr_der: bytes) -> bytes:
    """What a machine signs to prove a key of its own: the server's nonce, and the request for the certificate that it shall get.

    Nothing else that such keys sign begins like this, and evidence that was seen on its way is worth nothing with another request.
    """
    return b"idplane-join/1\0" + method.value.encode() + b"\0" + nonce + hashlib.sha256(csr_der).digest()
