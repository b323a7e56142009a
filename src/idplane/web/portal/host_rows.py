"""Machines that are hosts, in words: their state, what they proved, and when they were heard of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from idplane.model.binding_documents import process_document
from idplane.model.bindings import SYSTEM_ASSIGNED, Binding
from idplane.model.directory import Agent, AgentState
from idplane.model.enrollments import AgentSighting, Enrollment, JoinMethod
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.ports.collections import AGENT_SIGHTINGS
from idplane.ports.store import Reads

__all__ = ["SILENT_AFTER", "AgentRow", "BindingRow", "EnrollmentRow", "sightings"]

SILENT_AFTER: Final = timedelta(minutes=15)
"""An agent that runs is heard of every minute."""
_STATES: Final = {AgentState.LOCKED: ("Locked", "bad"), AgentState.BANNED: ("Banned", "bad")}
_METHODS: Final = {
    JoinMethod.TOKEN.value: "Join token",
    JoinMethod.X509.value: "X.509 certificate",
    JoinMethod.SSH.value: "SSH host key",
    JoinMethod.TPM.value: "TPM",
    JoinMethod.OIDC.value: "OpenID Connect token",
}
_WORDS: Final = {
    "user": "user",
    "group": "group",
    "path": "executable",
    "device": "device",
    "inode": "inode",
    "sha256": "SHA-256",
    "systemdUnit": "unit",
    "cgroup": "cgroup",
    "engine": "container of",
    "id": "container",
    "pod": "pod",
    "run": "started by idplane run",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """An agent at one moment."""

    agent: Agent
    seen: AgentSighting | None
    now: datetime

    @property
    def host(self) -> ResourceId | None:
        """The resource that it is the host of."""
        return self.agent.host

    @property
    def to(self) -> str:
        """Its page."""
        return f"/portal/hosts/agent/{self.agent.id}"

    @property
    def method(self) -> str:
        """How it proved what it is."""
        return _METHODS.get(self.agent.method, self.agent.method)

    @property
    def heard_at(self) -> datetime:
        """When it was heard of last, as far as that is known."""
        times = (self.agent.enrolled_at, self.agent.renewed_at, self.seen.at if self.seen else None)
        return max(one for one in times if one is not None)

    @property
    def silent(self) -> bool:
        """Whether a machine that should be there is not heard of."""
        return self.agent.state is AgentState.ACTIVE and self.now - self.heard_at > SILENT_AFTER

    @property
    def state(self) -> tuple[str, str]:
        """A word, and the kind of badge for it."""
        if self.agent.state in _STATES:
            return _STATES[self.agent.state]
        if self.ends <= self.now:
            return "Certificate expired", "bad"
        return ("Silent", "warn") if self.silent else ("Healthy", "good")

    @property
    def locked(self) -> bool:
        """Whether its state was in two places."""
        return self.agent.state is AgentState.LOCKED

    @property
    def banned(self) -> bool:
        """Whether somebody banned it."""
        return self.agent.state is AgentState.BANNED

    @property
    def certificate(self) -> x509.Certificate:
        """What it authenticates with."""
        return x509.load_der_x509_certificate(self.agent.certificate)

    @property
    def begins(self) -> datetime:
        """From when its certificate counts."""
        return self.certificate.not_valid_before_utc

    @property
    def ends(self) -> datetime:
        """Until when its certificate counts."""
        return self.certificate.not_valid_after_utc

    @property
    def address(self) -> str:
        """Where it was heard of last."""
        return (self.seen.address if self.seen else None) or next(iter(self.agent.addresses), "")

    @property
    def version(self) -> str:
        """What program it is, as it says."""
        return self.seen.version if self.seen else ""

    @property
    def carries(self) -> list[ResourceId]:
        """Whatever it serves beside its own resource."""
        found = []
        for key in self.agent.hosts:
            try:
                identifier = ResourceId.parse(key)
            except Failure:
                continue
            if identifier.key != self.agent.key:
                found.append(identifier)
        return found


@dataclass(frozen=True, slots=True)
class EnrollmentRow:
    """A rule that admits machines."""

    enrollment: Enrollment
    carries: tuple[ResourceId, ...]
    tokens: int
    """Join tokens that can still be used."""
    agents: int

    @property
    def method(self) -> str:
        """How machines prove what they are."""
        return _METHODS[self.enrollment.method.value]

    @property
    def takes_tokens(self) -> bool:
        """Whether machines join by a token."""
        return self.enrollment.method is JoinMethod.TOKEN

    @property
    def asks(self) -> list[str]:
        """What must have been proved."""
        found = [f"{name} = {value}" for name, value in self.enrollment.facts]
        return [*found, *((self.enrollment.expression,) if self.enrollment.expression else ())]


@dataclass(frozen=True, slots=True)
class BindingRow:
    """Which processes may use which identities."""

    binding: Binding

    @property
    def processes(self) -> str:
        """Which processes, in words."""
        said = [
            f"{_WORDS.get(name, name)} {value}" if value is not True else _WORDS[name] for name, value in _flat(self.binding)
        ]
        return ", ".join(said) or "any process"

    @property
    def identities(self) -> str:
        """Which identities, in words."""
        named = self.binding.identities
        if not named:
            return "All of the host's"
        return ", ".join("System-assigned" if one == SYSTEM_ASSIGNED else one.rpartition("/")[2] for one in named)


def _flat(binding: Binding) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, value in process_document(binding.processes).items():
        found += value.items() if isinstance(value, Mapping) else [(name, value)]
    return found


async def sightings(store: Reads) -> Mapping[str, AgentSighting]:
    """When agents were heard of last, as of a minute ago."""
    return {name: one for row in await store.all(AGENT_SIGHTINGS) for name, one in row.value.seen.items()}
