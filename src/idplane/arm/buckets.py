"""Token buckets: how often something may happen. Pure: time is passed in, and no more buckets are kept than were allowed for."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from idplane.model.rates import Rate

__all__ = ["Buckets", "Claim", "Shortage"]

Key: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """So many tokens of the bucket of a key."""

    key: Key
    rate: Rate
    count: int = 1


@dataclass(frozen=True, slots=True)
class Shortage:
    """The bucket that has too few tokens, and in how many whole seconds it will have enough: one at least."""

    claim: Claim
    seconds: int


class Buckets:
    """Buckets by key, full when they are first seen. Of more than `limit`, the one that was used longest ago is forgotten: it is full again."""

    def __init__(self, *, limit: int = 20_000) -> None:
        self._limit = limit
        self._held: OrderedDict[Key, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, claims: Sequence[Claim], now: float) -> Shortage | tuple[int, ...]:
        """Take from all buckets, or from none when one has too few; what is left in each. `now` in seconds.

        More than a bucket holds can never be had at once, so a claim of more is met by a full one, and empties it.
        """
        levels = [self._level(claim, now) for claim in claims]
        shortages = [
            Shortage(claim, max(1, math.ceil((wanted - level) / claim.rate.per_second)))
            for claim, level in zip(claims, levels, strict=True)
            if level < (wanted := min(claim.count, claim.rate.most))
        ]
        if shortages:
            return max(shortages, key=lambda it: it.seconds)
        left = [max(0.0, level - claim.count) for claim, level in zip(claims, levels, strict=True)]
        for claim, level in zip(claims, left, strict=True):
            self._held[claim.key] = (level, now)
            self._held.move_to_end(claim.key)
        while len(self._held) > self._limit:
            self._held.popitem(last=False)
        return tuple(int(level) for level in left)

    def _level(self, claim: Claim, now: float) -> float:
        held = self._held.get(claim.key)
        if held is None:
            return float(claim.rate.most)
        level, at = held
        # A clock that was set back refills nothing until it has caught up.
        return min(float(claim.rate.most), level + max(0.0, now - at) * claim.rate.per_second)
