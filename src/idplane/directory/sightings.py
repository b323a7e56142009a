"""Where agents were heard of last. Kept in memory and written together, once a minute: a request costs the store nothing for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from idplane.model.calls import Call
from idplane.model.enrollments import AgentSighting, AgentSightings
from idplane.ports.collections import AGENT_SIGHTINGS
from idplane.ports.store import ABSENT, Batch, CommitRefused, Put, Store, Versioned
from idplane.ports.world import Clock

__all__ = ["EVERY", "SHARDS", "Sightings", "shard_of"]

EVERY: Final = timedelta(minutes=1)
SHARDS: Final = 16
"""Records that all agents share, so that a minute with a thousand of them is one commit of a few rows."""
_KEPT: Final = timedelta(days=90)


def shard_of(agent_id: str) -> str:
    """Which of the records an agent is in."""
    return f"{hashlib.sha256(agent_id.encode()).digest()[0] % SHARDS:02d}"


class Sightings:
    """One process' part. What it has not written when it ends is lost, which costs a minute of knowledge."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen: dict[str, AgentSighting] = {}
        self.proved: dict[str, float] = {}
        """When each agent last proved itself to this process (`Clock.monotonic`)."""

    def note(self, agent_id: str, call: Call) -> None:
        """An agent has proved itself in this call."""
        self.proved[agent_id] = self._clock.monotonic()
        self._seen[agent_id] = AgentSighting(at=call.received_at, address=call.client_address, version=call.user_agent[:100])

    def known(self, agent_id: str) -> AgentSighting | None:
        """What this process has not written yet."""
        return self._seen.get(agent_id)

    async def turn(self) -> datetime:
        """Write what is new; when to come again. Two processes that write one record take turns."""
        fresh, self._seen = self._seen, {}
        if fresh:
            await self._write(fresh)
        return self._clock.now() + EVERY

    async def _write(self, fresh: Mapping[str, AgentSighting]) -> None:
        """All records in one commit, or each for itself where another process was writing."""
        by_shard: dict[str, dict[str, AgentSighting]] = {}
        for agent_id, sighting in fresh.items():
            by_shard.setdefault(shard_of(agent_id), {})[agent_id] = sighting
        found = {row.value.shard: row for row in await self._store.all(AGENT_SIGHTINGS)}
        merged = [put for shard, seen in by_shard.items() if (put := self._merged(shard, found.get(shard), seen))]
        try:
            if merged:
                await self._store.commit(Batch.of(*merged))
        except CommitRefused:
            for put in merged:
                with suppress(
                    CommitRefused
                ):  # the other process has newer news of the same agents, or they are told in a minute
                    await self._store.commit(Batch.of(put))

    def _merged(
        self, shard: str, found: Versioned[AgentSightings] | None, seen: Mapping[str, AgentSighting]
    ) -> Put[AgentSightings] | None:
        oldest = self._clock.now() - _KEPT
        before = {} if found is None else {name: one for name, one in found.value.seen.items() if one.at > oldest}
        later = {name: one for name, one in seen.items() if name not in before or before[name].at < one.at}
        if not later:
            return None
        expect = ABSENT if found is None else found.version
        return Put(collection=AGENT_SIGHTINGS, value=AgentSightings(shard=shard, seen={**before, **later}), expect=expect)
