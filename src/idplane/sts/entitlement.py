"""Entitlement: what an authenticated client may have a token for, and everything that the permission rests on.

An application acts for itself, and so does whoever another issuer vouches for. A managed identity acts on a host: the host must still be
assigned the identity, the agent that holds the certificate must still be bound to the host, and the connection must prove that it is this
agent who asks. So an identity's key that was stolen from an agent is worth nothing on another connection.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from idplane.jose import certificate_thumbprint
from idplane.model.calls import Call
from idplane.model.directory import Agent, AgentState, Credential, CredentialKind, TokenBinding
from idplane.model.failure import Failure, FailureKind
from idplane.model.resources import IdentityAssignment, identity_assignment_key
from idplane.ports.collections import AGENTS, CREDENTIALS, FEDERATED_CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS
from idplane.ports.store import Batch, Require, Versioned
from idplane.sts.clients import AuthenticatedClient
from idplane.sts.recent import Records

__all__ = ["Entitlement", "asks_itself", "entitle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlement:
    """Permission to issue a token, and the records that it was read from."""

    client: AuthenticatedClient
    assignment: Versioned[IdentityAssignment] | None = None
    agent: Versioned[Agent] | None = None

    def requirements(self) -> Batch:
        """What must still be so in the transaction that makes the token's record durable.

        Because of it there is no gap between check and issue: a token that leaves was entitled at the moment of its record, and
        a revocation that was acknowledged earlier has won.
        """
        principal = self.client.principal
        required = Batch.of(
            Require(collection=PRINCIPALS, key=principal.value.id, expect=principal.version), _proof(self.client)
        )
        if self.client.federated is not None:
            required += self.client.federated.rests_on
        if self.assignment is not None:
            required += Batch.of(
                Require(collection=IDENTITY_ASSIGNMENTS, key=self.assignment.value.key, expect=self.assignment.version)
            )
        if self.agent is not None:
            required += Batch.of(Require(collection=AGENTS, key=self.agent.value.id, expect=self.agent.version))
        return required


async def entitle(records: Records, client: AuthenticatedClient, call: Call) -> Entitlement:
    """Decide.

    Raises `Failure(CLIENT_DISABLED)` for a disabled principal, `Failure(NOT_ENTITLED)` for a host that lost the identity, and
    `Failure(ASSERTION_INVALID)` for an identity's certificate that another than its agent shows, or an agent that is not served.
    """
    principal, credential = client.principal.value, client.credential.value
    if not principal.enabled:
        raise Failure(
            FailureKind.CLIENT_DISABLED, "the principal is disabled", client_id=principal.client_id, name=principal.display_name
        )
    by_workload = credential.kind is CredentialKind.WORKLOAD_CERTIFICATE
    if principal.token_binding is TokenBinding.CERTIFICATE and not by_workload:
        raise Failure(
            FailureKind.BINDING_REQUIRED,
            "the identity's tokens are bound to certificates: ask for one over mutual TLS with a certificate of the workload",
            client_id=principal.client_id,
        )
    if not isinstance(credential, Credential) or not (by_workload or credential.kind is CredentialKind.IDENTITY_CERTIFICATE):
        return Entitlement(client=client)
    host = credential.host or ""
    assignment = await records.get(IDENTITY_ASSIGNMENTS, identity_assignment_key(host, principal.id))
    if assignment is None:
        words = f"the identity '{principal.client_id}' is not assigned to the host that asks"
        raise Failure(FailureKind.NOT_ENTITLED, words, host=host)
    agent = await records.get(AGENTS, credential.agent_id or "")
    if agent is None or not agent.value.serves(host):
        raise Failure(FailureKind.NOT_ENTITLED, "the agent that asks is not bound to the host that the identity is assigned to")
    if by_workload:
        # The connection proves the workload, which need not be the agent; that must only still be served.
        if agent.value.state is not AgentState.ACTIVE:
            raise Failure(
                FailureKind.NOT_ENTITLED, "the agent that the workload had its certificate from is not served any more"
            )
        return Entitlement(client=client, assignment=assignment, agent=agent)
    if not asks_itself(agent.value, call):
        raise Failure(
            FailureKind.ASSERTION_INVALID,
            "the connection does not prove the agent that the identity's certificate was given to",
        )
    return Entitlement(client=client, assignment=assignment, agent=agent)


def asks_itself(agent: Agent, call: Call) -> bool:
    """Whether the connection of a call proves an agent that is served."""
    shown = call.client_certificate
    return shown is not None and agent.is_shown_by(_thumbprint(shown))


@functools.lru_cache(maxsize=4096)
def _thumbprint(der: bytes) -> str:
    return certificate_thumbprint(der)


def _proof(client: AuthenticatedClient) -> Require[Any]:
    """The credential is still what it was, wherever its kind is kept."""
    version, credential = client.credential.version, client.credential.value
    if isinstance(credential, Credential):
        return Require(collection=CREDENTIALS, key=credential.id, expect=version)
    return Require(collection=FEDERATED_CREDENTIALS, key=credential.key, expect=version)
