"""The real clock and entropy, and the value that carries all ports."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from idplane.model.profile import Profile
from idplane.ports.store import Store
from idplane.ports.telemetry import NO_TELEMETRY, Telemetry
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
        drawn = bytearray(os.urandom(16))  # noqa: TID251 - this module is the door
        # RFC 9562 section 5.4. Every request has an id, and `uuid.UUID` costs four times as much as these lines.
        drawn[6] = drawn[6] & 0x0F | 0x40
        drawn[8] = drawn[8] & 0x3F | 0x80
        text = drawn.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that a plane needs from outside itself."""

    clock: Clock
    entropy: Entropy
    store: Store
    custody: KeyCustody
    profile: Profile
    telemetry: Telemetry = NO_TELEMETRY
