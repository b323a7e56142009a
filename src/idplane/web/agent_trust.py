"""What agents are told of the authorities: which ones vouch for servers, and when to replace their own certificates.

    GET /agent/v1/trust     {version, anchors, tainted}
    GET /agent/v1/changes   {..., trust: version[, renewWithin: seconds]}

An agent of an earlier version ignores the members that it does not know, and goes by the file that it was given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from idplane.model.calls import Call
from idplane.model.values import JsonObject
from idplane.ports.store import Change

__all__ = ["AgentTrust", "CredentialAnchors", "ServerAnchors"]

_RENEW_WITHIN: Final = 300
"""Seconds over which agents spread their renewals when another authority has begun to sign: they all hear of it at once."""


class ServerAnchors(Protocol):
    """What vouches for listeners; `keys.TlsAuthority` is one."""

    @property
    def trust_pem(self) -> bytes:
        """Every anchor that counts, also the one that will sign next."""
        ...

    @property
    def tainted_anchors(self) -> tuple[str, ...]:
        """SHA-256, in hex, of every anchor that is known to count for nothing."""
        ...

    def apply(self, changes: Sequence[Change], /) -> None:
        """Hear of commits."""
        ...

    async def refresh(self) -> None:
        """Know what the feed has told until now."""
        ...


class CredentialAnchors(Protocol):
    """What has issued agents' certificates; `keys.CredentialAuthority` is one."""

    def apply(self, changes: Sequence[Change], /) -> None:
        """Hear of commits."""
        ...

    async def refresh(self) -> None:
        """Know what the feed has told until now."""
        ...

    def is_current(self, certificate_der: bytes, /) -> bool:
        """Whether the authority that signs now has issued this certificate."""
        ...


class AgentTrust:
    """Answers for both authorities."""

    def __init__(
        self, *, tls: ServerAnchors, credentials: CredentialAnchors, elsewhere: Callable[[], bytes] | None = None
    ) -> None:
        """`elsewhere` reads the authority behind listeners' certificates, PEM, where it is not the installation's own."""
        self._tls = tls
        self._credentials = credentials
        self._elsewhere = elsewhere

    def apply(self, changes: Sequence[Change]) -> None:
        """Changes that an agent is about to be told of: the feed's own word may still be under way to this process."""
        self._tls.apply(changes)
        self._credentials.apply(changes)

    async def document(self) -> JsonObject:
        """All that agents need to know servers by."""
        await self._tls.refresh()
        anchors = (self._tls.trust_pem if self._elsewhere is None else self._elsewhere()).decode("ascii", "replace")
        tainted = sorted(self._tls.tainted_anchors)
        version = hashlib.sha256("\n".join([anchors, *tainted]).encode()).hexdigest()
        return {"version": version, "anchors": anchors, "tainted": tainted}

    async def hints(self, call: Call, known: str | None) -> JsonObject:
        """What goes along with changes, for an agent that knows this version; None for one that does not ask."""
        await self._credentials.refresh()
        shown = call.client_certificate
        old = shown is not None and not self._credentials.is_current(shown)
        told: JsonObject = {"renewWithin": _RENEW_WITHIN} if old else {}
        document = None if known is None else await self.document()
        return told if document is None or document["version"] == known else {**told, "trust": document}
