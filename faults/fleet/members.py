"""Members of a fleet: machines with ten identities each, and the agents that are their hosts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from faults.fleet.plant import Operator, Plant
from idplane.agent.attestors import Challenge
from idplane.agent.backoff import Backoff
from idplane.agent.host import HostAgent, Selector, SelectorKind
from idplane.agent.joining import join
from idplane.agent.remote import HttpsUpstream, ServerAddress
from idplane.agent.state import AgentState
from idplane.agent.upstream import RETRY_AFTER, UpstreamResponse
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["Member"]

_RESOURCE: Final = "https://vault.azure.net"
_PATIENCE: Final = 120.0


@dataclass(frozen=True, slots=True)
class _Token:
    """A join token that is held in memory."""

    value: str = field(repr=False)
    method: str = "token"

    async def challenge_body(self) -> JsonObject:
        """Nothing."""
        return {}

    async def evidence(self, challenge: Challenge, /) -> JsonObject:
        """The token."""
        del challenge
        return {"token": self.value}


class _Counted(HttpsUpstream):
    """The way to the server, which counts how often it was asked for changes."""

    asked = 0

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> UpstreamResponse:
        """As the agents' own."""
        self.asked += path.startswith("/agent/v1/changes")
        return await super().send(method, path, headers, body)


async def _joined(upstream: HttpsUpstream, token: str, authority: bytes) -> AgentState:
    """As often as it takes, as agents do."""
    backoff = Backoff(entropy=SystemEntropy(), first=1.0, most=30.0)
    while True:
        try:
            return await join(upstream, _Token(token), host=None, authority=authority)
        except Failure as failure:
            if failure.kind not in {FailureKind.UNAVAILABLE, FailureKind.THROTTLED}:
                raise
        await asyncio.sleep(backoff.pause())


@dataclass(kw_only=True)
class Member:
    """One machine and its agent."""

    id: str
    shared: tuple[str, ...] = ()
    """Client ids of its user-assigned identities."""
    agent: HostAgent
    agent_id: str
    upstream: _Counted
    following: asyncio.Task[None]

    @classmethod
    async def create(cls, plant: Plant, operator: Operator, name: str) -> tuple[Member, float, float]:
        """A machine with an identity of its own, whose agent has joined.

        With it the moments at which the machine was there, and at which its agent had joined.
        """
        machine = f"{operator.group}/providers/Microsoft.Compute/virtualMachines/{name}"
        await operator.call(
            "PUT", machine, {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
        )
        created = time.monotonic()
        enrollment = f"{machine}/providers/Idplane.Workloads/enrollments/fleet"
        await operator.call("PUT", enrollment, {"properties": {"method": "token"}})
        token = (await operator.call("POST", f"{enrollment}/issueToken", {}))["token"]
        clock, entropy, authority = SystemClock(), SystemEntropy(), plant.authority
        upstream = _Counted(servers=[ServerAddress.parse(plant.url)], authority=lambda: authority, clock=clock, entropy=entropy)
        state = await _joined(upstream, token, authority)
        upstream.present(state.client_certificate)
        agent = HostAgent(upstream=upstream, clock=clock, entropy=entropy, identity=state.identity)
        joined = time.monotonic()
        made = cls(
            id=machine,
            agent=agent,
            agent_id=state.agent_id,
            upstream=upstream,
            following=asyncio.ensure_future(agent.follow()),
        )
        return made, created, joined

    async def token(self, number: int = -1) -> float:
        """Get a token of the machine's own identity, or of one of the others; the seconds that it took."""
        return await self.token_of(None if number < 0 else self.shared[number])

    async def token_of(self, client_id: str | None) -> float:
        """Get a token, however long it takes: workloads' SDKs ask again when a server is too busy, and so does this."""
        selector = None if client_id is None else Selector(kind=SelectorKind.CLIENT_ID, value=client_id)
        began = time.monotonic()
        while True:
            try:
                await self.agent.token(ResourceId.parse(self.id), selector, _RESOURCE)
            except Failure as failure:
                if failure.kind not in {FailureKind.UNAVAILABLE, FailureKind.THROTTLED} or time.monotonic() - began > _PATIENCE:
                    raise
                await asyncio.sleep(float(failure.data.get(RETRY_AFTER, "0.5")))
            else:
                return time.monotonic() - began

    @property
    def is_well(self) -> bool:
        """Whether its agent hears of changes."""
        return self.agent.condition.problem is None and self.agent.condition.position is not None

    def knows(self, position: int) -> bool:
        """Whether its agent has heard of everything up to there."""
        return self.is_well and (self.agent.condition.position or 0) >= position

    @property
    def asked(self) -> int:
        """How often its agent has asked for changes."""
        return self.upstream.asked

    async def close(self) -> None:
        """End the agent."""
        self.following.cancel()
        await asyncio.gather(self.following, return_exceptions=True)
        await self.agent.close()
        await self.upstream.close()
