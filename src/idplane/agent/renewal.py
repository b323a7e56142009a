"""An agent's own certificate: replaced with a new key at half its life, or when the servers ask for it; earned anew when it counts no more.

What the servers say of their authorities is kept beside it. The successor is on disk before it is used, and used only between requests (`lanes`). Without a proof that can be given again, an agent
whose certificate has run out serves nothing, and says that it has to be joined again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from idplane.agent.backoff import Backoff, chance
from idplane.agent.host import HostAgent
from idplane.agent.remote import ClientCertificate, HttpsUpstream
from idplane.agent.state import AgentState, StateFolder, StateProblem
from idplane.agent.trust import Anchors, Trust, TrustProblem
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
_SILENT_SECONDS: Final = 60.0
"""How long no server may answer before it is looked into whether that is the certificate's fault: listeners follow authorities in their turn."""
_MOST_SPREAD_SECONDS: Final = 3600
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
        anchors: Anchors,
        beside: Callable[[bytes], HttpsUpstream],
        rejoin: Rejoin | None,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        """`rejoin` is None where the proof can't be given again; `beside` makes another way to the servers, which trusts these alone, in PEM."""
        self.state = state
        self._folder = folder
        self._agent = agent
        self._upstream = upstream
        self._anchors = anchors
        self._beside = beside
        self._rejoin = rejoin
        self._clock = clock
        self._entropy = entropy
        self._backoff = Backoff(entropy=entropy, first=5.0, most=300.0)
        self._agent.known_trust = state.trust.version
        self._due = self._half_life()
        self._asked_for: bytes | None = None
        """The certificate that the servers have asked to replace."""

    async def run(self) -> None:
        """Renew whenever it is time, and look at once when the servers have something to say."""
        while True:
            pause = await self.turn()
            waits = [asyncio.ensure_future(one) for one in (self._clock.sleep(pause), self._agent.told.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waits:
                    one.cancel()
                await asyncio.gather(*waits, return_exceptions=True)

    async def turn(self) -> float:
        """Do what is due; seconds until the next look."""
        self._agent.told.clear()
        self._heed()
        try:
            await self._learned()
            if self._must_rejoin() or await self._is_shut_out():
                await self._rejoined()
            elif self._clock.now() >= self._due and self._agent.condition.refused is None:
                await self._renewed()
        except (Failure, StateProblem, TrustProblem) as problem:
            _log.warning("the agent's certificate or authorities can't be renewed and this will be tried again: %s", problem)
            return self._backoff.pause()
        self._backoff.reset()
        return max(0.0, min(_BEAT_SECONDS, (self._due - self._clock.now()).total_seconds()))

    def _heed(self) -> None:
        """The servers ask for the certificate's replacement: soon, and not all agents at once."""
        within = self._agent.condition.renew_within
        if within is not None and self._asked_for != self.state.certificate:
            self._asked_for = self.state.certificate
            spread = timedelta(seconds=min(max(within, 0), _MOST_SPREAD_SECONDS) * chance(self._entropy))
            self._due = min(self._due, self._clock.now() + spread)
            _log.info("the servers ask for the agent's certificate to be renewed, which will be at %s", self._due)

    async def _learned(self) -> None:
        """Take over what the servers say of their authorities. Where one that counts goes, a server has to prove itself by one that stays."""
        said = self._agent.condition.trust
        if said is None or said.version == self.state.trust.version:
            return
        staying = self._anchors.common(said)
        if not self._anchors.all_stay(said):
            said = await self._confirmed(staying)
            self._anchors.common(said)
        state = replace(self.state, trust=self.state.trust.followed_by(said))
        self._folder.save(state)
        self.state, self._anchors.trust = state, state.trust
        self._agent.known_trust = said.version
        _log.info("the servers' authorities have changed: %s count, %s are tainted", *state.trust.counts)

    async def _confirmed(self, staying: bytes) -> Trust:
        """What a server says over a new connection that these alone vouch for."""
        beside = self._beside(staying)
        beside.present(self.state.client_certificate)
        try:
            return await self._agent.trust(beside)
        finally:
            await beside.close()

    def _must_rejoin(self) -> bool:
        """Whether the certificate counts for nothing any more: it has run out, or the server knows no such agent."""
        if self._clock.now() >= self.state.not_after:
            if self._rejoin is None and self._agent.condition.refused is None:
                words = f"the agent's certificate ended at {self.state.not_after:%Y-%m-%d %H:%M:%S} UTC: join it again"
                self._agent.bar(Failure(FailureKind.AGENT_UNKNOWN, words))
            return self._rejoin is not None
        refused = self._agent.condition.refused
        return self._rejoin is not None and refused is not None and refused.kind is FailureKind.AGENT_UNKNOWN

    async def _is_shut_out(self) -> bool:
        """Whether servers end each connection that proves the certificate, and answer on others: they know no authority behind it.

        Nobody says so: the end of a handshake under TLS 1.3 looks like any other end of a connection.
        """
        since = self._agent.condition.silent_since
        if since is None or self._clock.monotonic() - since < _SILENT_SECONDS:
            return False
        if not await self._answers(None) or await self._answers(self.state.client_certificate) or not await self._answers(None):
            return False
        if self._rejoin is None:
            _log.error("the servers take no connection with this agent's certificate: join it again")
        return self._rejoin is not None

    async def _answers(self, certificate: ClientCertificate | None) -> bool:
        """Whether a server says anything at all over a new connection that proves this."""
        beside = self._beside(self._anchors.read())
        beside.present(certificate)
        try:
            await beside.send("GET", "/agent/v1/trust", {}, b"")
        except Failure:
            return False
        finally:
            await beside.close()
        return True

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
