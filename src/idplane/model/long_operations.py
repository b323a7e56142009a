"""Long-running operations as they are kept: how something that was answered with 202 ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

__all__ = ["KEPT", "LongOperation"]

KEPT: Final = timedelta(hours=24)
"""How long an operation's end can be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongOperation:
    """The end of an operation, for whoever began it.

    It commits together with what the operation did, so there is none that goes on, and none that a crash leaves open.
    """

    id: str
    """Begins with the time, so that the oldest are found first. Nobody can guess it."""
    tenant_id: str
    subscription_id: str
    principal_id: str
    """Who began it. Nobody else is told of it."""
    began_at: datetime
    status: int
    """HTTP status of the final answer, when there is no failure."""
    failure: str | None = None
    """Name of a `FailureKind`."""
    detail: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    """The failure's facts."""

    def expired(self, now: datetime) -> bool:
        """Whether nobody is told of it any more."""
        return now >= self.began_at + KEPT
