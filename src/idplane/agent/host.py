"""The host agent as the rest of the program sees it: listen on sockets, answer for hosts, follow the server's changes."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from idplane.agent.answers import REFUSAL_ID
from idplane.agent.api import Dialect, HostAgentApi, Listening, TokenAnswer
from idplane.agent.appservice import AppServiceEndpoint
from idplane.agent.appservice_2017 import AppService2017Endpoint
from idplane.agent.arc import ArcEndpoint
from idplane.agent.backoff import Backoff
from idplane.agent.callers import Caller, Callers, Place
from idplane.agent.cloudshell import CloudShellEndpoint
from idplane.agent.credentials import Credentials
from idplane.agent.endpoint import Endpoint, Listener, World
from idplane.agent.fairness import FairShare
from idplane.agent.identities import HostDescription, HostedIdentity, NoSelector, Selector, SelectorKind, select
from idplane.agent.imds import IMDS_NAMES, ImdsEndpoint
from idplane.agent.listening import ServedSocket, host_names
from idplane.agent.machinelearning import MachineLearningEndpoint
from idplane.agent.peers import Process
from idplane.agent.places import Places
from idplane.agent.plane import IssuedCertificate, News, Plane, RenewedCertificate, UpstreamToken
from idplane.agent.rates import Gates
from idplane.agent.refusals import Refusals, is_reported, refusal_of
from idplane.agent.servicefabric import ServiceFabricEndpoint
from idplane.agent.sockets import SocketTables, is_elsewhere
from idplane.agent.source import TokenAsk, TokenSource
from idplane.agent.trust import Trust
from idplane.agent.upstream import RETRY_AFTER, AgentIdentity, Upstream, UpstreamResponse
from idplane.agent.workload_identity import ProjectedToken, Projection, TokenFiles
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.rates import MetadataRates
from idplane.ports.store import Change
from idplane.ports.telemetry import NO_TELEMETRY, Telemetry
from idplane.ports.world import Clock, Entropy

__all__ = [
    "AgentIdentity",
    "Condition",
    "Dialect",
    "HostAgent",
    "HostAgentApi",
    "Listening",
    "Selector",
    "SelectorKind",
    "TokenAnswer",
    "Upstream",
    "UpstreamResponse",
]

_WITH_SECRET = frozenset({Dialect.APP_SERVICE, Dialect.APP_SERVICE_2017, Dialect.SERVICE_FABRIC, Dialect.MACHINE_LEARNING})
_ENDPOINTS: Mapping[Dialect, type[Endpoint]] = MappingProxyType(
    {
        Dialect.IMDS: ImdsEndpoint,
        Dialect.APP_SERVICE: AppServiceEndpoint,
        Dialect.APP_SERVICE_2017: AppService2017Endpoint,
        Dialect.ARC: ArcEndpoint,
        Dialect.SERVICE_FABRIC: ServiceFabricEndpoint,
        Dialect.CLOUD_SHELL: CloudShellEndpoint,
        Dialect.MACHINE_LEARNING: MachineLearningEndpoint,
    }
)
_CONTROL = "control"
"""What refusals over the control socket have in place of a dialect."""
_log = logging.getLogger("idplane.agent")
_POLL_SECONDS = 20
"""How long the server keeps a question for changes that has no answer yet: a server that hangs is noticed within 25 seconds."""
_PROOFS_EACH, _PROOFS = 512, 4096
"""Waiting proofs of one user, and of all: as many as there are connections. Before it is proved, a process that is quiet looks like a
noisy one of the same user, and must not be refused in its place."""
_SOON_SECONDS = 0.25
"""A server that has no news and does not wait for any is not asked more often than this."""
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 0.5, 10.0
_BARRED_SECONDS = 60.0
"""How often, at most, an agent that the server refuses asks whether that is still so."""
_ENDED = frozenset({FailureKind.AGENT_BANNED, FailureKind.AGENT_LOCKED})
_BARRING = _ENDED | {FailureKind.AGENT_UNKNOWN}


@dataclass(slots=True, kw_only=True)
class Condition:
    """How an agent stands with the server."""

    position: int | None = None
    """Of the changes that it knows of; None before the first contact."""
    heard_at: datetime | None = None
    problem: str | None = None
    """Why the server can't be asked at present."""
    refused: Failure | None = None
    """Why it serves nothing: the server refuses the agent itself."""
    silent_since: float | None = None
    """Since when (monotonic) the server can't be asked."""
    trust: Trust | None = None
    """What the server says of its authorities, where that is something else than was known."""
    renew_within: int | None = None
    """Seconds within which the server wants the agent's own certificate replaced."""


class HostAgent:
    """Serves token endpoints for the resources of one machine. Lives until `close`; needs a running event loop.

    Tokens, certificates and keys are in memory only, and nothing is fetched before it is asked for. Embedded, `apply` is given
    to `Store.subscribe`; elsewhere, `follow` runs beside it.
    """

    def __init__(
        self,
        *,
        upstream: Upstream,
        clock: Clock,
        entropy: Entropy,
        identity: AgentIdentity,
        rates: MetadataRates | None = None,
        telemetry: Telemetry = NO_TELEMETRY,
    ) -> None:
        """`rates` is how often a machine's IMDS may be asked about identities; without it as often as anyone likes."""
        self._plane = Plane(upstream=upstream, identity=identity, clock=clock, entropy=entropy)
        self._clock = clock
        self._entropy = entropy
        share = FairShare()
        self._callers = Callers(clock=clock, share=FairShare(waiting_each=_PROOFS_EACH, waiting=_PROOFS))
        self._refusals = Refusals(tell=self._plane.report, clock=clock)
        self._source = TokenSource(
            describe=self._describe,
            exchange=self._exchange,
            vouch=self._plane.vouch,
            credentials=Credentials(certify=self._certify, clock=clock, entropy=entropy),
            share=share,
            clock=clock,
        )
        self._telemetry = telemetry
        self._gates = Gates(rates, clock)
        self._places = Places()
        self.condition = Condition()
        self.told = asyncio.Event()
        """Set when a server has something new to say of authorities, or wants the agent's certificate replaced."""
        self.known_trust = ""
        """The version of what is known of the servers' authorities."""
        self._became = asyncio.Event()
        self._backoff = Backoff(entropy=entropy, first=_FIRST_RETRY_SECONDS, most=_LONGEST_RETRY_SECONDS)
        self._slowly = Backoff(entropy=entropy, first=_BARRED_SECONDS, most=_BARRED_SECONDS)
        self._listening: set[ServedSocket] = set()
        self.token_files = TokenFiles(issue=self._plane.project, clock=clock)
        """What workloads show to the authority themselves."""

    async def listen(  # noqa: PLR0913 - what a listener is, spelled out
        self,
        sock: socket.socket,
        /,
        *,
        host: ResourceId,
        dialect: Dialect,
        secret: str | None = None,
        run_id: str | None = None,
        require_metadata: bool = True,
        names: Collection[str] = (),
        tls: ssl.SSLContext | None = None,
        key_folder: int | None = None,
        callers: socket.socket | None = None,
        process: Process | None = None,
    ) -> Listening:
        """Serve a bound socket for `host`, and for no other resource whatever a request says.

        `names` are further Host header values (`name` or `name:port`) that the listener answers to. A dialect whose clients show
        a secret needs `secret`, Arc the descriptor of its `key_folder`, which stays the caller's, and Service Fabric `tls`; a
        listener that lacks what its dialect needs is a `ValueError`.

        For telling who connects: `callers` is a socket for `SocketTables` made in the network namespace of a run that has one,
        and `process` the process of a run that has none; both stay the opener's.
        """
        if dialect in _WITH_SECRET and not secret:
            raise ValueError(f"the dialect {dialect} needs a secret")
        if (tls is not None) is not (dialect is Dialect.SERVICE_FABRIC):
            raise ValueError("Service Fabric's dialect needs TLS, and no other one has it")
        address, port = sock.getsockname()[:2]
        further = [*names, *(name.decode() for name in IMDS_NAMES)] if dialect is Dialect.IMDS else names
        listener = Listener(
            host=host,
            names=host_names((str(address), int(port)), further),
            secret=secret,
            require_metadata=require_metadata,
            dialect=dialect,
            place=self._place(sock, run_id, callers, process),
            key_folder=key_folder,
            gate=self._gates.of(host.key) if dialect is Dialect.IMDS else None,
        )
        endpoint = self._endpoint(dialect, listener)
        listening = await ServedSocket.start(sock, endpoint, self._clock, tls=tls, places=self._places)
        self._listening = {one for one in self._listening if not one.closed} | {listening}
        return listening

    async def token(
        self, host: ResourceId, selector: Selector | None, resource: str, process: Process | None = None
    ) -> TokenAnswer:
        """A token as a workload on `host` would get it, if `process` is one. Raises what `TokenSource.token` raises."""
        ask = TokenAsk(host=host, selector=selector, default=NoSelector.SYSTEM_OR_ONLY, resource=resource)
        caller = self._callers.caller(Place(), process)
        try:
            token = await self._source.token(ask, caller)
        except Failure as failure:
            raise self._noted(failure, ask, caller) from failure
        return TokenAnswer(
            access_token=token.access_token,
            client_id=token.client_id,
            resource=token.resource,
            not_before=datetime.fromtimestamp(token.not_before, UTC),
            expires_at=datetime.fromtimestamp(token.expires_on, UTC),
        )

    async def default_identity(self, host: ResourceId) -> str | None:
        """The client id of the identity that `host` gets without naming one; None if there is none, or more than one to choose from."""
        try:
            return select(await self._source.host(host), None, NoSelector.SYSTEM_OR_ONLY).client_id
        except Failure as failure:
            if failure.kind in {FailureKind.IDENTITY_NOT_FOUND, FailureKind.IDENTITY_AMBIGUOUS}:
                return None
            raise

    def apply(self, changes: Sequence[Change]) -> None:
        """Evict what the changes concern, at once; quick, and never raises. Fits `Store.subscribe`."""
        self._source.apply(changes)

    async def follow(self) -> None:
        """Apply the server's changes until cancelled.

        While the server can't be reached, what is held keeps serving, tokens until they expire; afterwards it is caught up with what
        was missed. What was remembered before the first contact, or where the server no longer has what was missed, is dropped. An agent
        that the server refuses drops everything, serves nothing, and asks again from time to time.
        """
        while True:
            pause = await self.turn()
            if pause <= _SOON_SECONDS:
                await self._clock.sleep(pause)
            elif self.condition.refused is not None:
                await self._until(self._became, pause)
            else:
                await self._until(self._plane.answered, pause)

    async def turn(self) -> float:
        """Ask for changes once and do what they mean; seconds until the next time."""
        asked = self._clock.monotonic()
        self._became.clear()
        try:
            news = await self._heard()
        except Failure as failure:
            if failure.kind in _BARRING:
                self._bar(failure)
                return self._slowly.pause()
            self._silence(failure)
            pause = (self._slowly if self.condition.refused else self._backoff).pause()
            return max(pause, float(failure.data.get(RETRY_AFTER, "0")))
        self._backoff.reset()
        self._admit(news)
        self._source.apply(news.changes)
        return 0.0 if news.changes or self._clock.monotonic() - asked >= _SOON_SECONDS else _SOON_SECONDS

    async def renew(self, csr: bytes) -> RenewedCertificate:
        """A successor of the agent's own certificate; raises as `Plane.renew` does."""
        return await self._plane.renew(csr)

    async def trust(self, through: Upstream | None = None) -> Trust:
        """What the servers say of their authorities; raises as `Plane.trust` does."""
        return await self._plane.trust(through)

    async def become(self, identity: AgentIdentity, switch: Callable[[], None]) -> None:
        """Be somebody else from the next request on; `switch` runs while none is under way."""
        async with self._plane.becoming(identity):
            switch()
        self._became.set()

    def bar(self, failure: Failure) -> None:
        """Drop every token and key, and answer with this failure until the server takes the agent again."""
        self._bar(failure)

    async def description(self, host: ResourceId) -> HostDescription:
        """What is known of a host; raises as `TokenSource.host` does."""
        return await self._source.host(host)

    async def projected(self, projection: Projection) -> ProjectedToken:
        """A token of a host's own issuer; raises as `Plane.project` does."""
        return await self._plane.project(projection)

    @property
    def cached_tokens(self) -> int:
        """How many tokens are held."""
        return self._source.size

    async def close(self) -> None:
        """Stop all listeners and forget every token and key."""
        for listening in tuple(self._listening):
            await listening.close()
        self._listening.clear()
        await self.token_files.close()
        await self._source.close()
        await self._callers.close()
        await self._refusals.close()

    async def _heard(self) -> News:
        """What is new since the position that is known. A feed that starts, or that has gone back, may have left something out.

        A server that could not be asked before answers at once the first time: that it is there again is news by itself.
        """
        position = self.condition.position
        at_once = position is None or self.condition.problem is not None
        news = await self._plane.changes(position, wait=0 if at_once else _POLL_SECONDS, trust=self.known_trust)
        if position is None or news.reset or news.position < position:
            self._source.forget()
        return news

    async def _until(self, event: asyncio.Event, pause: float) -> None:
        """Wait; but a server that answers somebody else's question, or refused who this agent no longer is, can be asked at once."""
        if event is self._plane.answered:
            await self._clock.sleep(_SOON_SECONDS)
            event.clear()
        waits = [asyncio.ensure_future(one) for one in (self._clock.sleep(pause - _SOON_SECONDS), event.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _admit(self, news: News) -> None:
        condition = self.condition
        if condition.refused is not None:
            _log.warning("the server takes this agent again")
            self._source.admit()
        elif condition.problem is not None:
            _log.warning("the server's changes can be read again")
        if (news.trust, news.renew_within) != (condition.trust, condition.renew_within):
            self.told.set()
        self.condition = Condition(
            position=news.position, heard_at=self._clock.now(), trust=news.trust, renew_within=news.renew_within
        )

    def _silence(self, failure: Failure) -> None:
        if self.condition.problem is None:
            _log.warning("the server's changes could not be read: %s; what is held serves until it expires", failure)
        self.condition.problem = failure.detail or failure.kind.name.lower()
        if self.condition.silent_since is None:
            self.condition.silent_since = self._clock.monotonic()

    def _bar(self, failure: Failure) -> None:
        if self.condition.refused is None:
            _log.error("the server refuses this agent, which serves nothing any more: %s", failure)
            self._source.bar(failure)
            self.token_files.withdraw()
        self.condition = Condition(heard_at=self._clock.now(), refused=failure)

    def _place(self, sock: socket.socket, run_id: str | None, callers: socket.socket | None, process: Process | None) -> Place:
        if callers is not None:
            return Place(run_id=run_id, tables=SocketTables(callers), own_network=True)
        if is_elsewhere(sock, unknown=False):
            return Place(run_id=run_id, own_network=True)
        return Place(run_id=run_id, tables=self._callers.tables, process=process)

    def _noted(self, failure: Failure, ask: TokenAsk, caller: Caller) -> Failure:
        """A refusal over the control socket, with the id under which the server keeps it."""
        if not is_reported(failure):
            return failure
        refusal = refusal_of(
            failure,
            self._clock.now(),
            refusal_id=self._entropy.guid(),
            host=ask.host,
            dialect=_CONTROL,
            resource=ask.resource,
            workload=caller.known(),
        )
        return Failure(failure.kind, failure.detail, **{**failure.data, REFUSAL_ID: self._refusals.note(refusal)})

    def _endpoint(self, dialect: Dialect, listener: Listener) -> Endpoint:
        world = World(
            source=self._source,
            callers=self._callers,
            refusals=self._refusals,
            clock=self._clock,
            entropy=self._entropy,
            telemetry=self._telemetry,
        )
        return _ENDPOINTS[dialect](listener, world)

    async def _describe(self, host: ResourceId) -> HostDescription:
        with self._heeding():
            return await self._plane.describe(host)

    async def _certify(self, host: ResourceId, principal_id: str, csr: bytes) -> IssuedCertificate:
        with self._heeding():
            return await self._plane.certify(host, principal_id, csr)

    @contextmanager
    def _heeding(self) -> Iterator[None]:
        """Whoever asks first may be told first that the agent is refused; it counts at once."""
        try:
            yield
        except Failure as failure:
            if failure.kind not in _ENDED:
                raise
            self._bar(failure)
            raise Failure(FailureKind.AGENT_UNKNOWN, failure.detail) from failure

    async def _exchange(self, host: HostDescription, identity: HostedIdentity, ask: TokenAsk, assertion: str) -> UpstreamToken:
        return await self._plane.token(
            host.token_endpoint,
            client_id=identity.client_id,
            resource=ask.resource,
            assertion=assertion,
            capabilities=ask.capabilities,
        )
