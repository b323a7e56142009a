"""Hosts and their agents: what an agent may know of its hosts, and the certificates of their identities.

An agent acts for the resources that are bound to it and for no others. It gets certificates only for identities that are assigned to
those resources at the moment of the commit, so that an assignment which is removed meanwhile wins (design section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol

from idplane.directory.agents import require_active
from idplane.directory.feed_tail import concerning
from idplane.directory.host_documents import compute_document, instance_document
from idplane.model.bindings import Binding
from idplane.model.directory import Agent, Credential, CredentialKind, Principal
from idplane.model.enrollments import carriage_key
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import IdentityAssignment, identity_assignment_key
from idplane.model.scale_sets import host_on, identity_host, identity_host_key
from idplane.model.values import JsonObject
from idplane.ports.collections import (
    AGENTS,
    BINDINGS,
    CARRIAGES,
    CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    PRINCIPALS,
    RESOURCES,
    SUBSCRIPTIONS,
)
from idplane.ports.store import ABSENT, Batch, Change, CommitRefused, Delete, Put, Require, Store, Versioned
from idplane.rbac.cache import FeedCache

__all__ = ["DescribedHost", "HostDirectory", "IdentityCertifier", "check_bound"]

_WORKLOAD_CERTIFICATES: Final = 256
"""Living ones, of one identity on one host."""
_CERTIFICATE_BACKDATE: Final = timedelta(minutes=15)
"""How far ahead of its issue a certificate begins."""
_ATTEMPTS: Final = 4
_HOSTS_KEPT: Final = 20_000


class IdentityCertifier(Protocol):
    """What signs certificates for identities; `keys.CredentialAuthority` is one."""

    def issue_identity(self, csr_der: bytes, principal: Principal, host_key: str, agent_id: str, /) -> Credential:
        """The certificate as a credential to store; raises `Failure(CSR_INVALID)`."""
        ...

    def issue_workload(self, csr_der: bytes, principal: Principal, host_key: str, agent_id: str, /) -> Credential:
        """The same for a workload's own key."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedHost:
    """A resource with its identities, as its agent may see it."""

    id: ResourceId
    """The resource that bears the identities: an instance's is its scale set."""
    type: str
    location: str | None
    tenant_id: str
    identities: tuple[IdentityAssignment, ...]
    """System-assigned first."""
    bindings: tuple[Binding, ...] = ()
    """Of the resource that bears the identities, by name. Without any, every process there may use them."""
    compute: JsonObject = field(default_factory=dict)


class HostDirectory:
    """Serves agents that `directory.agents` has let in."""

    def __init__(self, *, store: Store, authority: IdentityCertifier) -> None:
        self._store = store
        self._authority = authority
        self._identities: FeedCache[frozenset[str]] = FeedCache(limit=_HOSTS_KEPT)
        """The principals that each host's identities are."""
        self._unsubscribe = store.subscribe(self._on_changes)

    async def describe(self, agent: Agent, host: ResourceId) -> DescribedHost:
        """A host that the agent is bound to; raises HOST_NOT_BOUND or RESOURCE_NOT_FOUND."""
        await self._require_bound(agent, host)
        bearer = identity_host(host)
        resource = await self._store.get(RESOURCES, bearer.key)
        subscription = await self._store.get(SUBSCRIPTIONS, host.subscription or "")
        if resource is None or subscription is None or host_on(resource.value, host) is None:
            raise Failure(FailureKind.RESOURCE_NOT_FOUND, f"there is no resource '{host}'", id=str(host))
        rows = await self._store.all(IDENTITY_ASSIGNMENTS, where={"host_key": bearer.key})
        bindings = await self._store.all(BINDINGS, where={"host_key": bearer.key})
        return DescribedHost(
            id=resource.value.id,
            type=resource.value.type,
            location=resource.value.location,
            tenant_id=subscription.value.tenant_id,
            identities=tuple(sorted((row.value for row in rows), key=lambda it: (it.identity is not None, it.key))),
            bindings=tuple(row.value for row in bindings),
            compute=compute_document(resource.value) if host == bearer else instance_document(resource.value, host.name),
        )

    async def certify(
        self, agent: Agent, host: ResourceId, principal_id: str, csr_der: bytes, *, workload: bool = False
    ) -> Credential:
        """Issue and store a certificate for an identity of a host; the agent's earlier ones for it end with that.

        With `workload`, for a key that a workload there holds itself: such certificates last until they expire, and are bounded in number (THROTTLED).

        Raises HOST_NOT_BOUND, NOT_ENTITLED when the identity is not assigned to the host, IDENTITY_STOPPED when it is and stopped
        working, and CSR_INVALID; AGENT_* for an agent that is served no longer.
        """
        for _ in range(_ATTEMPTS):
            enrolled = await self._enrolled(agent)
            await self._require_bound(enrolled.value, host)
            assignment = await self._store.get(IDENTITY_ASSIGNMENTS, identity_assignment_key(host.key, principal_id))
            principal = await self._store.get(PRINCIPALS, principal_id)
            if assignment is None or principal is None:
                words = "the identity is not assigned to the host"
                raise Failure(FailureKind.NOT_ENTITLED, words, host=str(host), principal=principal_id)
            if assignment.value.stopped:
                facts = {"host": str(host), "principal": principal_id}
                raise Failure(FailureKind.IDENTITY_STOPPED, assignment.value.stopped, **facts)
            issue = self._authority.issue_workload if workload else self._authority.issue_identity
            credential = issue(csr_der, principal.value, host.key, agent.id)
            try:
                still = Require(collection=AGENTS, key=agent.id, expect=enrolled.version)
                await self._store.commit(Batch.of(still) + await self._replacement(credential, assignment))
            except CommitRefused:
                continue
            return credential
        raise Failure(FailureKind.UNAVAILABLE, "the identity's assignment keeps changing; try again")

    async def names(self, agent: Agent) -> frozenset[str]:
        """What concerns what the agent may hold: its hosts, their identities, and its own record. From memory, kept by the feed."""
        own = frozenset(agent.hosts) | {identity_host_key(host) for host in agent.hosts} | {agent.id}
        principals = await self._identities.get_all(sorted({identity_host_key(host) for host in agent.hosts}), self._principals)
        return own.union(*principals)

    async def visible(self, agent: Agent, changes: Sequence[Change]) -> tuple[Change, ...]:
        """Those changes that concern what the agent may hold: its hosts, their identities, and the keys that sign for everyone."""
        return concerning(changes, await self.names(agent))

    def close(self) -> None:
        """Stop hearing of changes."""
        self._unsubscribe()

    async def _require_bound(self, agent: Agent, host: ResourceId) -> None:
        """The agent's own host, or one that its enrollment carries now: a resource that was deleted and made again is another one."""
        check_bound(agent, host)
        if agent.host is None or agent.enrollment is None or agent.host.key == host.key:
            return
        if await self._store.get(CARRIAGES, carriage_key(agent.enrollment, host.key)) is None:
            raise _not_bound(agent, host)

    async def _enrolled(self, agent: Agent) -> Versioned[Agent]:
        """The agent's record as it is now: whoever was banned since the request began gets nothing any more."""
        found = await self._store.get(AGENTS, agent.id)
        if found is None:
            raise Failure(FailureKind.AGENT_UNKNOWN, "the agent is enrolled no longer")
        require_active(found.value)
        return found

    async def _replacement(self, credential: Credential, assignment: Versioned[IdentityAssignment]) -> Batch:
        """The credential in place of its predecessors, provided that the assignment is still the one that was read."""
        mine = {"principal_id": credential.principal_id, "host_key": credential.host, "agent_id": credential.agent_id}
        same = await self._store.all(CREDENTIALS, where={**mine, "kind": credential.kind.value})
        earlier = same
        if credential.kind is CredentialKind.WORKLOAD_CERTIFICATE:
            earlier = tuple(it for it in same if it.value.not_after <= credential.not_before + _CERTIFICATE_BACKDATE)
            if len(same) - len(earlier) >= _WORKLOAD_CERTIFICATES:
                raise Failure(FailureKind.THROTTLED, "the workloads of the host have too many certificates of the identity")
        return Batch.of(
            Require(collection=IDENTITY_ASSIGNMENTS, key=assignment.value.key, expect=assignment.version),
            *(
                Delete(collection=CREDENTIALS, key=it.value.id, expect=it.version, subject=credential.principal_id)
                for it in earlier
            ),
            Put(collection=CREDENTIALS, value=credential, expect=ABSENT),
        )

    async def _principals(self, bearer: str) -> frozenset[str]:
        rows = await self._store.all(IDENTITY_ASSIGNMENTS, where={"host_key": bearer})
        return frozenset(row.value.principal_id for row in rows)

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.collection == IDENTITY_ASSIGNMENTS.name:
                self._identities.drop(change.key.rpartition("|")[0])


def check_bound(agent: Agent, host: ResourceId) -> None:
    """Raises `Failure(HOST_NOT_BOUND)` unless the agent acts for the host."""
    if not agent.serves(host.key):
        raise _not_bound(agent, host)


def _not_bound(agent: Agent, host: ResourceId) -> Failure:
    return Failure(FailureKind.HOST_NOT_BOUND, f"the agent '{agent.id}' is not bound to '{host}'", id=str(host))
