"""One plane: the server and the embedded agent in one process. Straight-line; nothing here decides anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from idplane.agent.host import AgentIdentity, HostAgent
from idplane.bootstrap.embedded import InProcessUpstream
from idplane.bootstrap.server import Server
from idplane.bootstrap.world import World
from idplane.jose import certificate_thumbprint, make_csr, new_ec_key
from idplane.model.directory import Agent
from idplane.ports.collections import AGENTS, CREDENTIALS
from idplane.ports.store import ANY, Batch, Delete, Put
from idplane.web.origins import Origins

__all__ = ["EMBEDDED_AGENT", "Plane"]

EMBEDDED_AGENT = "embedded"


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A running composition. `close` leaves the store to whoever opened it."""

    server: Server
    agent: HostAgent
    stop_listening: Callable[[], None]

    @classmethod
    async def open(cls, world: World, *, checkpoint_file: Path | None = None) -> Plane:
        """Compose a plane over a store that may be empty or hold an installation. `checkpoint_file` is as in `Server.open`."""
        server = await Server.open(world, checkpoint_file=checkpoint_file)
        agent = await _embedded_agent(server)
        return cls(server=server, agent=agent, stop_listening=world.store.subscribe(agent.apply))

    async def turn(self) -> datetime:
        """One pass of all duties, for whoever moves the clock by hand; when the next thing is due."""
        dues = (await self.server.turn(), await self.agent.token_files.turn())
        return min(due for due in dues if due is not None)

    async def close(self) -> None:
        """End the server's work, then the agent's listeners, and forget its keys."""
        await self.server.close()
        self.stop_listening()
        await self.agent.close()


async def _embedded_agent(server: Server) -> HostAgent:
    """Enroll this process's agent under a key born now; certificates that its predecessor held are gone with its key."""
    world = server.world
    key = new_ec_key()
    certificate = server.credentials.issue_agent(make_csr(key, EMBEDDED_AGENT), EMBEDDED_AGENT)
    enrolled = Agent(
        id=EMBEDDED_AGENT,
        display_name="The agent inside this process",
        certificate=certificate,
        thumbprint=certificate_thumbprint(certificate),
        enrolled_at=world.clock.now(),
        hosts=("*",),
    )
    orphans = await world.store.all(CREDENTIALS, where={"agent_id": EMBEDDED_AGENT})
    await world.store.commit(
        Batch.of(
            *(Delete(collection=CREDENTIALS, key=item.value.id, expect=ANY) for item in orphans),
            Put(collection=AGENTS, value=enrolled, expect=ANY),
        )
    )
    return HostAgent(
        upstream=InProcessUpstream(server.app(Origins.local(443)), host="localhost", certificate=certificate),
        clock=world.clock,
        entropy=world.entropy,
        identity=AgentIdentity(agent_id=EMBEDDED_AGENT, private_key=key, certificate=certificate),
        rates=world.profile.metadata_rates,
    )
