"""An agent's own certificate: replaced with a new key when half of its life is over, and earned anew when it has run out.

The successor is on disk before it is used, and used only between requests (`lanes`). Without a proof that can be given again, an agent
whose certificate has run out serves nothing, and says that it has to be joined again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from idplane.agent.backoff import Backoff, chance
from idplane.agent.host import HostAgent
from idplane.agent.remote import HttpsUpstream
from idplane.agent.state import AgentState, StateFolder, StateProblem
from idplane.jose import make_csr, new_ec_key
from idplane.model.failure import Failure, FailureKind
from idplane.ports.world import Clock, Entropy

__all__ = ["Rejoin", "Renewal"]

Rejoin = Callable[[], Awaitable[AgentState]]
"""Proves anew what this host is; raises `Failure`."""
_BEAT_SECONDS: Final = 30.0
"""The longest that nobody looks at the clock: wall clocks jump."""
_SPREAD: Final = 0.1
"""Of the certificate's life: agents that joined together do not come back together."""
_log = logging.getLogger("idplane.agent")


class Renewal:
    """Keeps one agent's state good, until its task is cancelled."""

    def __init__(  # noqa: PLR0913 - what it keeps, and with what
        self,
        *,
        state: AgentState,
        folder: StateFolder,
        agent: HostAgent,
        upstream: HttpsUpstream,
        rejoin: Rejoin | None,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        """`rejoin` is None where the proof can't be given again."""
        self.state = state
        self._folder = folder
        self._agent = agent
        self._upstream = upstream
        self._rejoin = rejoin
        self._clock = clock
        self._entropy = entropy
        self._backoff = Backoff(entropy=entropy, first=5.0, most=300.0)
        self._due = self._half_life()

    async def run(self) -> None:
        """Renew whenever it is time."""
        while True:
            await self._clock.sleep(await self.turn())

    async def turn(self) -> float:
        """Do what is due; seconds until the next look."""
        try:
            if self._must_rejoin():
                await self._rejoined()
            elif self._clock.now() >= self._due and self._agent.condition.refused is None:
                await self._renewed()
            else:
                return _BEAT_SECONDS
        except (Failure, StateProblem) as problem:
            _log.warning("the agent's certificate can't be renewed and this will be tried again: %s", problem)
            return self._backoff.pause()
        self._backoff.reset()
        return _BEAT_SECONDS

    def _must_rejoin(self) -> bool:
        """Whether the certificate counts for nothing any more: it has run out, or the server knows no such agent."""
        if self._clock.now() >= self.state.not_after:
            if self._rejoin is None and self._agent.condition.refused is None:
                words = f"the agent's certificate ended at {self.state.not_after:%Y-%m-%d %H:%M:%S} UTC: join it again"
                self._agent.bar(Failure(FailureKind.AGENT_UNKNOWN, words))
            return self._rejoin is not None
        refused = self._agent.condition.refused
        return self._rejoin is not None and refused is not None and refused.kind is FailureKind.AGENT_UNKNOWN

    async def _renewed(self) -> None:
        key = new_ec_key()
        issued = await self._agent.renew(make_csr(key, self.state.agent_id))
        successor = self.state.renewed(
            key,
            certificate=issued.certificate,
            chain=issued.chain,
            until=(issued.not_before, issued.not_after),
            hosts=issued.hosts,
        )
        await self._adopt(successor)
        _log.info("the agent's certificate was renewed; it is good until %s", successor.not_after)

    async def _rejoined(self) -> None:
        assert self._rejoin is not None  # as asked before
        await self._adopt(await self._rejoin())
        _log.warning("this host joined again, as agent %s", self.state.agent_id)

    async def _adopt(self, state: AgentState) -> None:
        """On disk first: what the server may have seen in use is never only in memory."""
        self._folder.save(state)
        await self._agent.become(state.identity, lambda: self._upstream.present(state.client_certificate))
        self.state = state
        self._due = self._half_life()

    def _half_life(self) -> datetime:
        life = self.state.not_after - self.state.not_before
        spread = timedelta(seconds=life.total_seconds() * _SPREAD * chance(self._entropy))
        return self.state.not_before + life / 2 + spread
