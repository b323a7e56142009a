"""The one door to receivers of security events."""

from __future__ import annotations

from typing import Protocol

__all__ = ["EventReceivers"]


class EventReceivers(Protocol):
    """Pushes an event (RFC 8935) to an address that a stranger may have chosen, so within the bounds of `ports.issuers`."""

    async def push(self, url: str, event: str, *, authorization: str | None, private: bool) -> int:
        """The status of the answer; raises `Failure(ISSUER_UNREACHABLE)` when there is none."""
        ...
