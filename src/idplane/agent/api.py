"""What the host agent offers to the rest of the program: the words only, so that its users need none of its parts."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from idplane.agent.identities import Selector
from idplane.agent.peers import Process
from idplane.agent.workload_identity import TokenFiles
from idplane.model.dialects import Dialect
from idplane.model.ids import ResourceId
from idplane.ports.store import Change

__all__ = ["Dialect", "HostAgentApi", "Listening", "TokenAnswer"]


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

    token_files: TokenFiles
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
        ...

    async def token(
        self, host: ResourceId, selector: Selector | None, resource: str, process: Process | None = None
    ) -> TokenAnswer:
        """A token as a workload on `host` would get it, if `process` is one."""
        ...

    async def default_identity(self, host: ResourceId) -> str | None:
        """The client id of the identity that `host` gets without naming one; None if there is none, or more than one to choose from."""
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
