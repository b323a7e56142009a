"""How long to wait before the next attempt: exponentially longer, and by chance, so that many agents do not come back at once."""

from __future__ import annotations

from idplane.ports.world import Entropy

__all__ = ["Backoff", "chance"]


def chance(entropy: Entropy) -> float:
    """A number from 0 to 1, each as likely as any other."""
    return int.from_bytes(entropy.bytes(4)) / 0xFFFFFFFF


class Backoff:
    """Full jitter: each pause is anything between nothing and a bound that doubles with each failure, up to `most` seconds."""

    def __init__(self, *, entropy: Entropy, first: float, most: float) -> None:
        self._entropy = entropy
        self._first = first
        self._most = most
        self._failures = 0

    def pause(self) -> float:
        """Seconds to wait after one more failure."""
        bound = min(self._most, self._first * (1 << min(self._failures, 32)))
        self._failures += 1
        return bound * chance(self._entropy)

    def reset(self) -> None:
        """It worked."""
        self._failures = 0
