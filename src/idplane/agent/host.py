"""The host agent as the rest of the program sees it."""

from __future__ import annotations

import enum
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from idplane.agent.identities import NoSelector, Selector, SelectorKind
from idplane.agent.upstream import AgentIdentity, Upstream, UpstreamResponse
from idplane.model.ids import ResourceId
from idplane.ports.store import Change

__all__ = [
    "AgentIdentity",
    "Dialect",
    "HostAgentApi",
    "Listening",
    "NoSelector",
    "Selector",
    "SelectorKind",
    "TokenAnswer",
    "Upstream",
    "UpstreamResponse",
]


class Dialect(enum.Enum):
    """The words in which a listener speaks to workloads."""

    IMDS = "imds"
    """Virtual machines: `/metadata/identity/oauth2/token` and the rest of `/metadata`."""
    APP_SERVICE = "app-service"
    """Web and function apps, 2019-08-01: `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """A token for a host's identity."""

    access_token: str = field(repr=False)
    client_id: str
    resource: str
    not_before: datetime
    expires_at: datetime
    token_type: str = "Bearer"


class Listening(Protocol):
    """A socket that is being served for one resource."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        ...

    async def close(self) -> None:
        """Stop serving it and drop its connections."""
        ...


class HostAgentApi(Protocol):
    """What `HostAgent` offers."""

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
        """Serve a bound socket for `host`. `names` are further Host header values (`name` or `name:port`) that it answers to."""
        ...

    async def token(self, host: ResourceId, selector: Selector | None, resource: str) -> TokenAnswer:
        """A token as a workload of `host` would get it."""
        ...

    def apply(self, changes: Sequence[Change]) -> None:
        """Evict what a change concerns, at once; quick, and never raises. Fits `Store.subscribe`."""
        ...

    async def follow(self) -> None:
        """Apply the server's changes until cancelled; for an agent that is not embedded."""
        ...

    async def close(self) -> None:
        """Stop all listeners and forget every token and key."""
        ...
