"""The real clock and entropy, and the value that carries all four ports."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from idplane.model.profile import Profile
from idplane.ports.store import Store
from idplane.ports.world import Clock, Entropy, KeyCustody

__all__ = ["SystemClock", "SystemEntropy", "World"]


class SystemClock:
    """The operating system's time."""

    def now(self) -> datetime:
        """The current instant."""
        return datetime.now(UTC)  # noqa: TID251 - this module is the door

    def monotonic(self) -> float:
        """Seconds since some start."""
        return time.monotonic()  # noqa: TID251 - this module is the door

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run for `seconds`."""
        await asyncio.sleep(seconds)  # noqa: TID251 - this module is the door


class SystemEntropy:
    """The operating system's random source."""

    def bytes(self, count: int) -> bytes:
        """`count` random bytes."""
        return os.urandom(count)  # noqa: TID251 - this module is the door

    def guid(self) -> str:
        """A version 4 UUID."""
        return str(uuid.UUID(bytes=os.urandom(16), version=4))  # noqa: TID251 - this module is the door


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that a plane needs from outside itself."""

    clock: Clock
    entropy: Entropy
    store: Store
    custody: KeyCustody
    profile: Profile
