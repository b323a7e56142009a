"""Hosts and their agents: who an agent is, what it may know of its hosts, and the certificates of their identities.

An agent acts for the resources that are bound to it and for no others. It gets certificates only for identities that are assigned to
those resources at the moment of the commit, so that an assignment which is removed meanwhile wins (design section 6).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from cryptography import x509

from idplane.directory.host_documents import compute_document, instance_document
from idplane.jose import Algorithm, UnverifiedToken, b64url_decode, numeric_date, parse, public_key_of, verify
from idplane.model.bindings import Binding
from idplane.model.directory import Agent, Credential, Principal
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import IdentityAssignment, identity_assignment_key
from idplane.model.scale_sets import host_on, identity_host, identity_host_key
from idplane.model.values import JsonObject
from idplane.ports.collections import (
    AGENTS,
    BINDINGS,
    CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    MEMBERSHIPS,
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    SIGNING_KEYS,
    SUBSCRIPTIONS,
    TENANTS,
)
from idplane.ports.store import ABSENT, Batch, Change, CommitRefused, Delete, Put, Require, Store, Versioned
from idplane.ports.world import Clock

__all__ = ["AGENT_AUDIENCE", "DescribedHost", "HostDirectory", "IdentityCertifier", "check_bound"]

AGENT_AUDIENCE: Final = "idplane-agent"
"""`aud` of the tokens by which agents prove who they are."""
_LEEWAY: Final = timedelta(seconds=60)
_MAX_LIFETIME: Final = timedelta(minutes=5)
_MAX_REMEMBERED: Final = 65536
_MAX_ID_LENGTH: Final = 128
_ATTEMPTS: Final = 4
_TOLD: Final = frozenset(
    one.name
    for one in (
        RESOURCES,
        IDENTITY_ASSIGNMENTS,
        BINDINGS,
        PRINCIPALS,
        CREDENTIALS,
        ROLE_ASSIGNMENTS,
        MEMBERSHIPS,
        SIGNING_KEYS,
        TENANTS,
    )
)
_TOLD_TO_ALL: Final = frozenset({SIGNING_KEYS.name, TENANTS.name})


class IdentityCertifier(Protocol):
    """What signs certificates for identities; `keys.CredentialAuthority` is one."""

    def issue_identity(self, csr_der: bytes, principal: Principal, host_key: str, agent_id: str, /) -> Credential:
        """The certificate as a credential to store; raises `Failure(CSR_INVALID)`."""
        ...

    async def vouched(self, certificate_der: bytes, /) -> bool:
        """Whether an authority that counts has issued this certificate."""
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
    """Serves agents. Remembers the ids of their recent proofs, so that each is accepted once by this process."""

    def __init__(self, *, store: Store, authority: IdentityCertifier, clock: Clock) -> None:
        self._store = store
        self._authority = authority
        self._clock = clock
        self._proofs: OrderedDict[tuple[str, str], datetime] = OrderedDict()

    async def authenticate(self, token: str) -> Agent:
        """The agent that signed this proof; raises `Failure(AGENT_UNKNOWN)`, whatever is wrong with it.

        Checked: ES256 under the enrolled certificate's key, which the header must name (`x5t#S256`); the certificate's validity; `iss`
        and `sub` the agent's id, `aud` this API, `iat` and `exp` at most five minutes apart and around now; `jti` not seen before.
        """
        try:
            proof = parse(token)
            agent = await self._enrolled(proof)
            self._check_times(proof.claims)
        except Failure as failure:
            if failure.kind in (FailureKind.TOKEN_INVALID, FailureKind.INVALID_PARAMETER):
                raise _unknown("the agent's token is malformed") from failure
            raise
        self._check_first_use(agent.id, proof.claims.get("jti"))
        return agent

    async def describe(self, agent: Agent, host: ResourceId) -> DescribedHost:
        """A host that the agent is bound to; raises HOST_NOT_BOUND or RESOURCE_NOT_FOUND."""
        check_bound(agent, host)
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

    async def certify(self, agent: Agent, host: ResourceId, principal_id: str, csr_der: bytes) -> Credential:
        """Issue and store a certificate for an identity of a host; the agent's earlier ones for it end with that.

        Raises HOST_NOT_BOUND, NOT_ENTITLED when the identity is not assigned to the host, IDENTITY_STOPPED when it is and stopped
        working, and CSR_INVALID.
        """
        check_bound(agent, host)
        for _ in range(_ATTEMPTS):
            assignment = await self._store.get(IDENTITY_ASSIGNMENTS, identity_assignment_key(host.key, principal_id))
            principal = await self._store.get(PRINCIPALS, principal_id)
            if assignment is None or principal is None:
                raise Failure(FailureKind.NOT_ENTITLED, "the identity is not assigned to the host")
            if assignment.value.stopped:
                raise Failure(FailureKind.IDENTITY_STOPPED, assignment.value.stopped)
            credential = self._authority.issue_identity(csr_der, principal.value, host.key, agent.id)
            try:
                await self._store.commit(await self._replacement(credential, assignment))
            except CommitRefused:
                continue
            return credential
        raise Failure(FailureKind.UNAVAILABLE, "the identity's assignment keeps changing; try again")

    async def visible(self, agent: Agent, changes: Sequence[Change]) -> tuple[Change, ...]:
        """Those changes that concern what the agent may hold: its hosts, their identities, and the keys that sign for everyone."""
        told = tuple(change for change in changes if change.collection in _TOLD)
        if not told or "*" in agent.hosts:
            return told
        names = frozenset(agent.hosts) | {identity_host_key(host) for host in agent.hosts} | await self._principals(agent)
        return tuple(change for change in told if change.collection in _TOLD_TO_ALL or {change.key, change.subject} & names)

    async def _enrolled(self, proof: UnverifiedToken) -> Agent:
        """The agent whose certificate the proof names and whose key signed it."""
        claims = proof.claims
        identifier = claims.get("iss")
        if not isinstance(identifier, str) or claims.get("sub") != identifier or claims.get("aud") != AGENT_AUDIENCE:
            raise _unknown("the agent's token is not meant for this API")
        row = await self._store.get(AGENTS, identifier)
        thumbprint = proof.header.get("x5t#S256")
        if row is None or not isinstance(thumbprint, str) or b64url_decode(thumbprint).hex() != row.value.thumbprint:
            raise _unknown("no such agent is enrolled")
        if not verify(proof, public_key_of(row.value.certificate), Algorithm.ES256):
            raise _unknown("the agent's token is not signed by its key")
        if self._clock.now() >= x509.load_der_x509_certificate(row.value.certificate).not_valid_after_utc:
            raise _unknown("the agent's certificate has expired")
        if not await self._authority.vouched(row.value.certificate):
            raise _unknown(
                "the authority that issued the agent's certificate counts for nothing any more: enroll the agent again"
            )
        return row.value

    def _check_times(self, claims: JsonObject) -> None:
        now = self._clock.now()
        issued, expires = numeric_date(claims.get("iat")), numeric_date(claims.get("exp"))
        if expires - issued > _MAX_LIFETIME or not issued - _LEEWAY <= now < expires + _LEEWAY:
            raise _unknown("the agent's token is outside its time, or valid for more than five minutes")

    def _check_first_use(self, agent_id: str, proof_id: object) -> None:
        """Remember the proof for as long as it could be shown again. A full memory refuses rather than forget."""
        now = self._clock.now()
        while self._proofs and next(iter(self._proofs.values())) <= now:
            self._proofs.popitem(last=False)
        if not isinstance(proof_id, str) or not 0 < len(proof_id) <= _MAX_ID_LENGTH or (agent_id, proof_id) in self._proofs:
            raise _unknown("the agent's token was shown before, or has no id")
        if len(self._proofs) >= _MAX_REMEMBERED:
            raise Failure(FailureKind.THROTTLED, "too many requests from agents")
        self._proofs[agent_id, proof_id] = now + _MAX_LIFETIME + 2 * _LEEWAY

    async def _replacement(self, credential: Credential, assignment: Versioned[IdentityAssignment]) -> Batch:
        """The credential in place of its predecessors, provided that the assignment is still the one that was read."""
        mine = {"principal_id": credential.principal_id, "host_key": credential.host, "agent_id": credential.agent_id}
        earlier = await self._store.all(CREDENTIALS, where=mine)
        return Batch.of(
            Require(collection=IDENTITY_ASSIGNMENTS, key=assignment.value.key, expect=assignment.version),
            *(
                Delete(collection=CREDENTIALS, key=it.value.id, expect=it.version, subject=credential.principal_id)
                for it in earlier
            ),
            Put(collection=CREDENTIALS, value=credential, expect=ABSENT),
        )

    async def _principals(self, agent: Agent) -> frozenset[str]:
        found: set[str] = set()
        for host in agent.hosts:
            found.update(
                row.value.principal_id
                for row in await self._store.all(IDENTITY_ASSIGNMENTS, where={"host_key": identity_host_key(host)})
            )
        return frozenset(found)


def check_bound(agent: Agent, host: ResourceId) -> None:
    """Raises `Failure(HOST_NOT_BOUND)` unless the agent acts for the host."""
    if not agent.serves(host.key):
        raise Failure(FailureKind.HOST_NOT_BOUND, f"the agent '{agent.id}' is not bound to '{host}'", id=str(host))


def _unknown(detail: str) -> Failure:
    return Failure(FailureKind.AGENT_UNKNOWN, detail)
