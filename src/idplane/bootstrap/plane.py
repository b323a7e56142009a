"""One plane: the server and the embedded agent in one process. Straight-line; nothing here decides anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cryptography import x509

from idplane.agent.host import AgentIdentity, HostAgent
from idplane.bootstrap.embedded import InProcessUpstream
from idplane.bootstrap.leases import Duty
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
    renew: Callable[[], Awaitable[datetime | None]]
    """Keeps the agent's own certificate good."""
    stop_listening: Callable[[], None]

    @classmethod
    async def open(cls, world: World, *, checkpoint_file: Path | None = None) -> Plane:
        """Compose a plane over a store that may be empty or hold an installation. `checkpoint_file` is as in `Server.open`."""
        server = await Server.open(world, checkpoint_file=checkpoint_file)
        embedded = await _Embedded.enroll(server)
        duty = Duty(name="renewal of the agent in this process", turn=embedded.turn, every_replica=True)
        server = replace(server, extra_duties=(*server.extra_duties, duty))
        stop = world.store.subscribe(embedded.agent.apply)
        return cls(server=server, agent=embedded.agent, renew=embedded.turn, stop_listening=stop)

    async def turn(self) -> datetime:
        """One pass of all duties, for whoever moves the clock by hand; when the next thing is due."""
        dues = (await self.server.turn(), await self.renew(), await self.agent.token_files.turn())
        return min(due for due in dues if due is not None)

    async def close(self) -> None:
        """End the server's work, then the agent's listeners, and forget its keys."""
        await self.server.close()
        self.stop_listening()
        await self.agent.close()


@dataclass(frozen=True, kw_only=True)
class _Embedded:
    """This process's agent, and what keeps it enrolled."""

    server: Server
    agent: HostAgent
    upstream: InProcessUpstream

    @classmethod
    async def enroll(cls, server: Server) -> _Embedded:
        """Enroll under a key born now; certificates that its predecessor held are gone with its key."""
        world = server.world
        identity = _identity(server)
        orphans = await world.store.all(CREDENTIALS, where={"agent_id": EMBEDDED_AGENT})
        await world.store.commit(
            Batch.of(
                *(Delete(collection=CREDENTIALS, key=item.value.id, expect=ANY) for item in orphans),
                Put(collection=AGENTS, value=_record(identity, world.clock.now()), expect=ANY),
            )
        )
        upstream = InProcessUpstream(server.app(Origins.local(443)), host="localhost", certificate=identity.certificate)
        agent = HostAgent(
            upstream=upstream,
            clock=world.clock,
            entropy=world.entropy,
            identity=identity,
            rates=world.profile.metadata_rates,
        )
        return cls(server=server, agent=agent, upstream=upstream)

    async def turn(self) -> datetime | None:
        """Renew the agent's certificate at half its life, and when another authority signs than the one that issued it."""
        world, held = self.server.world, self.upstream.certificate
        assert held is not None  # it was enrolled with one
        await self.server.credentials.refresh()
        certificate = x509.load_der_x509_certificate(held)
        starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        renew_at = starts + (ends - starts) / 2
        if world.clock.now() >= renew_at or not self.server.credentials.is_current(held):
            identity = _identity(self.server)
            await world.store.commit(
                Batch.of(Put(collection=AGENTS, value=_record(identity, world.clock.now(), held), expect=ANY))
            )
            await self.agent.become(identity, lambda: setattr(self.upstream, "certificate", identity.certificate))
        return renew_at


def _identity(server: Server) -> AgentIdentity:
    key = new_ec_key()
    certificate = server.credentials.issue_agent(make_csr(key, EMBEDDED_AGENT), EMBEDDED_AGENT)
    return AgentIdentity(agent_id=EMBEDDED_AGENT, private_key=key, certificate=certificate)


def _record(identity: AgentIdentity, now: datetime, before: bytes | None = None) -> Agent:
    """The agent as it is enrolled; with `before`, that certificate counts until the new one was used."""
    return Agent(
        id=EMBEDDED_AGENT,
        display_name="The agent inside this process",
        certificate=identity.certificate,
        thumbprint=certificate_thumbprint(identity.certificate),
        enrolled_at=now,
        hosts=("*",),
        previous_thumbprint=certificate_thumbprint(before) if before else None,
        confirmed=before is None,
    )
