"""The way to the server: one narrow door, so that the embedded agent and a remote one differ in nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["ABSENT", "AGAIN", "BUSY", "RETRY_AFTER", "TROUBLE", "UNSETTLED", "AgentIdentity", "Upstream", "UpstreamResponse"]

AGAIN: Final = "again"
"""`Failure.data` key of a request that another connection, hence perhaps another server, may answer at once."""
UNSETTLED: Final = "unsettled"
"""`Failure.data` key of a request that a server may have taken, or may yet take, although no answer came."""

RETRY_AFTER: Final = "retry_after"
"""`Failure.data` key of the seconds after which it may be worth asking again."""
TROUBLE: Final = "trouble"
"""`Failure.data` key of what asking again at once would only make worse: `BUSY` or `ABSENT`."""
BUSY: Final = "busy"
"""A server is there and does not get round to it: waiting for it may help."""
ABSENT: Final = "absent"
"""No server can be reached at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamResponse:
    """What the server answered."""

    status: int
    body: bytes = field(repr=False)
    retry_after: float | None = None
    """The seconds that it names (RFC 9110 section 10.2.3); None for none, and for a date."""


class Upstream(Protocol):
    """Carries one request to the server: over HTTPS in production, through the same application in process when embedded."""

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> UpstreamResponse:
        """One exchange. `path` holds the query. Raises `Failure(UNAVAILABLE)` when the server can't be reached."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentIdentity:
    """Who this agent is to the server: the id, key and certificate that it was enrolled with."""

    agent_id: str
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    """P-256."""
    certificate: bytes = field(repr=False)
    """DER; the server knows the agent by its thumbprint."""
