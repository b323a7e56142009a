"""What ends together with an agent, for everyone who ends one."""

from __future__ import annotations

from idplane.model.directory import Agent
from idplane.ports.collections import AGENTS, CREDENTIALS
from idplane.ports.store import Batch, Delete, Reads, Versioned

__all__ = ["credentials_ended", "removed"]


async def credentials_ended(store: Reads, agent_id: str) -> Batch:
    """Deletes of the certificates that an agent holds for identities."""
    held = await store.all(CREDENTIALS, where={"agent_id": agent_id})
    return Batch.of(*(Delete(collection=CREDENTIALS, key=one.value.id, subject=one.value.principal_id) for one in held))


async def removed(store: Reads, agent: Versioned[Agent]) -> Batch:
    """The end of an agent: its own certificate counts for nothing without its record."""
    return await credentials_ended(store, agent.value.id) + Batch.of(
        Delete(collection=AGENTS, key=agent.value.id, expect=agent.version)
    )
