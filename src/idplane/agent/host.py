"""The host agent as the rest of the program sees it: listen on sockets, answer for hosts, follow the server's changes."""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import assert_never

from idplane.agent.api import Dialect, HostAgentApi, Listening, TokenAnswer
from idplane.agent.appservice import APP_SERVICE_PATH, AppServiceEndpoint
from idplane.agent.credentials import Credentials
from idplane.agent.endpoint import Endpoint, Listener, World
from idplane.agent.identities import HostDescription, HostedIdentity, NoSelector, Selector, SelectorKind
from idplane.agent.imds import IMDS_NAMES, ImdsEndpoint
from idplane.agent.listening import ServedSocket, host_names
from idplane.agent.plane import Plane, UpstreamToken
from idplane.agent.source import TokenAsk, TokenSource
from idplane.agent.upstream import AgentIdentity, Upstream, UpstreamResponse
from idplane.model.calls import Workload
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.ports.store import Change
from idplane.ports.world import Clock, Entropy

__all__ = [
    "APP_SERVICE_PATH",
    "AgentIdentity",
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

_log = logging.getLogger("idplane.agent")
_POLL_SECONDS = 30
_RETRY_SECONDS = 1.0
_STALE_SECONDS = 60.0
"""An agent that has not heard from the server for so long no longer serves what it remembers (design section 9)."""


class HostAgent:
    """Serves token endpoints for the resources of one machine. Lives until `close`; needs a running event loop.

    Tokens, certificates and keys are in memory only, and nothing is fetched before it is asked for. Embedded, `apply` is given
    to `Store.subscribe`; elsewhere, `follow` runs beside it.
    """

    def __init__(self, *, upstream: Upstream, clock: Clock, entropy: Entropy, identity: AgentIdentity) -> None:
        self._plane = Plane(upstream=upstream, identity=identity, clock=clock, entropy=entropy)
        self._clock = clock
        self._entropy = entropy
        self._source = TokenSource(
            describe=self._plane.describe,
            exchange=self._exchange,
            credentials=Credentials(certify=self._plane.certify, clock=clock, entropy=entropy),
            clock=clock,
        )
        self._listening: set[ServedSocket] = set()

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
    ) -> Listening:
        """Serve a bound socket for `host`, and for no other resource whatever a request says.

        `names` are further Host header values (`name` or `name:port`) that the listener answers to. App Service needs `secret`;
        a listener of that dialect without one is a `ValueError`.
        """
        if dialect is Dialect.APP_SERVICE and not secret:
            raise ValueError("the App Service dialect needs a secret")
        address, port = sock.getsockname()[:2]
        further = [*names, *(name.decode() for name in IMDS_NAMES)] if dialect is Dialect.IMDS else names
        listener = Listener(
            host=host,
            names=host_names((str(address), int(port)), further),
            secret=secret,
            require_metadata=require_metadata,
            workload=Workload(run_id=run_id),
        )
        listening = await ServedSocket.start(sock, self._endpoint(dialect, listener), self._clock)
        self._listening = {one for one in self._listening if not one.closed} | {listening}
        return listening

    async def token(self, host: ResourceId, selector: Selector | None, resource: str) -> TokenAnswer:
        """A token as a workload on `host` would get it. Raises what `TokenSource.token` raises."""
        ask = TokenAsk(host=host, selector=selector, default=NoSelector.SYSTEM_OR_ONLY, resource=resource)
        token = await self._source.token(ask)
        return TokenAnswer(
            access_token=token.access_token,
            client_id=token.client_id,
            resource=token.resource,
            not_before=datetime.fromtimestamp(token.not_before, UTC),
            expires_at=datetime.fromtimestamp(token.expires_on, UTC),
        )

    def apply(self, changes: Sequence[Change]) -> None:
        """Evict what the changes concern, at once; quick, and never raises. Fits `Store.subscribe`."""
        self._source.apply(changes)

    async def follow(self) -> None:
        """Apply the server's changes until cancelled.

        What was remembered before the first contact, or through a silence of `_STALE_SECONDS`, is dropped, since changes may
        have been missed.
        """
        position: int | None = None
        heard = self._clock.monotonic()
        while True:
            try:
                position, changes = await self._heard(position)
            except Failure as failure:
                _log.warning("the server's changes could not be read: %s", failure)
                if self._clock.monotonic() - heard > _STALE_SECONDS:
                    self._source.forget()
                await self._clock.sleep(_RETRY_SECONDS)
            else:
                heard = self._clock.monotonic()
                self._source.apply(changes)

    async def close(self) -> None:
        """Stop all listeners and forget every token and key."""
        for listening in tuple(self._listening):
            await listening.close()
        self._listening.clear()
        await self._source.close()

    async def _heard(self, position: int | None) -> tuple[int, Sequence[Change]]:
        """What is new since `position`. A feed that starts, or that has gone back, may have left something out."""
        now_at, changes = await self._plane.changes(position, wait=0 if position is None else _POLL_SECONDS)
        if position is None or now_at < position:
            self._source.forget()
        return now_at, changes

    def _endpoint(self, dialect: Dialect, listener: Listener) -> Endpoint:
        world = World(source=self._source, clock=self._clock, entropy=self._entropy)
        match dialect:
            case Dialect.IMDS:
                return ImdsEndpoint(listener, world)
            case Dialect.APP_SERVICE:
                return AppServiceEndpoint(listener, world)
            case _:
                assert_never(dialect)

    async def _exchange(self, host: HostDescription, identity: HostedIdentity, ask: TokenAsk, assertion: str) -> UpstreamToken:
        return await self._plane.token(
            host.token_endpoint,
            client_id=identity.client_id,
            resource=ask.resource,
            assertion=assertion,
            capabilities=ask.capabilities,
        )
