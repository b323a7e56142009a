"""What the host agent offers to the rest of the program: the words only, so that its users need none of its parts."""

from __future__ import annotations

import enum
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from idplane.agent.identities import Selector
from idplane.model.ids import ResourceId
from idplane.ports.store import Change

__all__ = ["Dialect", "HostAgentApi", "Listening", "TokenAnswer"]


class Dialect(enum.Enum):
    """The words in which a listener speaks to workloads."""

    IMDS = "imds"
    """Virtual machines: `/metadata/identity/oauth2/token` and the rest of `/metadata`."""
    APP_SERVICE = "app-service"
    """Web and function apps, 2019-08-01: `IDENTITY_ENDPOINT` (the address with `APP_SERVICE_PATH`) and `IDENTITY_HEADER`."""


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
        """Where it listens: host and port."""
        ...

    async def close(self) -> None:
        """Stop serving it and drop its connections."""
        ...


class HostAgentApi(Protocol):
    """What `HostAgent` does for a composition or a run."""

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
        ...

    async def token(self, host: ResourceId, selector: Selector | None, resource: str) -> TokenAnswer:
        """A token as a workload on `host` would get it."""
        ...

    def apply(self, changes: Sequence[Change]) -> None:
        """Evict what the changes concern, at once; quick, and never raises. Fits `Store.subscribe`."""
        ...

    async def follow(self) -> None:
        """Apply the server's changes until cancelled; for an agent that is not embedded."""
        ...

    async def close(self) -> None:
        """Stop all listeners and forget every token and key."""
        ...
