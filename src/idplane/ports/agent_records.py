"""What ends together with an agent, for everyone who ends one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from idplane.model.directory import Agent, Credential
from idplane.model.resources import GENERATION_BYTES, identity_assignment_key
from idplane.ports.collections import AGENTS, CREDENTIALS, IDENTITY_ASSIGNMENTS
from idplane.ports.store import Batch, Delete, Put, Reads, Versioned

__all__ = ["credentials_ended", "removed"]


async def credentials_ended(store: Reads, agent_id: str) -> Batch:
    """Deletes of the certificates that an agent holds for identities, and the end of the tokens that it got with them.

    Tokens know their host, not the agent: whatever its hosts have of those identities ends, and another agent there fetches anew.
    """
    held = [row.value for row in await store.all(CREDENTIALS, where={"agent_id": agent_id})]
    return _deleted(held) + await _tokens_ended(store, held)


async def removed(store: Reads, agent: Versioned[Agent]) -> Batch:
    """The end of an agent: its own certificate counts for nothing without its record."""
    held = [row.value for row in await store.all(CREDENTIALS, where={"agent_id": agent.value.id})]
    return _deleted(held) + Batch.of(Delete(collection=AGENTS, key=agent.value.id, expect=agent.version))


def _deleted(held: Iterable[Credential]) -> Batch:
    return Batch.of(*(Delete(collection=CREDENTIALS, key=one.id, subject=one.principal_id) for one in held))


async def _tokens_ended(store: Reads, held: Iterable[Credential]) -> Batch:
    """Another generation for each assignment: what it is does not matter, so long as no earlier one was the same."""
    batch = Batch()
    for key in sorted({identity_assignment_key(one.host or "", one.principal_id) for one in held}):
        row = await store.get(IDENTITY_ASSIGNMENTS, key)
        if row is not None:
            successor = hashlib.sha256(f"{key}\n{row.version}\n{row.value.generation}".encode()).digest()[:GENERATION_BYTES]
            changed = replace(row.value, generation=successor.hex())
            batch += Batch.of(Put(collection=IDENTITY_ASSIGNMENTS, value=changed, expect=row.version))
    return batch
