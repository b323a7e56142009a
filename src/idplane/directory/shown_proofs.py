"""Which of agents' proofs this process has been shown already, for as long as each could be shown again."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import datetime
from typing import Final

from idplane.model.failure import Failure, FailureKind

__all__ = ["ShownProofs"]

_MOST: Final = 262_144
"""Two thousand requests a second for two minutes; twenty megabytes."""
_MOST_EACH: Final = _MOST // 16
"""Of one agent: more than a hundred requests a second for two minutes, which is more than its connections carry."""
_SPAN: Final = 60
"""Seconds whose proofs are forgotten together."""
_DIGEST: Final = 8
"""Bytes. Two proofs that share them are taken for one, and the second is refused: that is safe, and does not happen."""


class ShownProofs:
    """A full memory refuses rather than forget. An agent that shows more than its part of it is refused before it fills the memory for others."""

    def __init__(self, *, most: int = _MOST, most_each: int = _MOST_EACH) -> None:
        self._most = most
        self._most_each = most_each
        self._spans: dict[int, _Span] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many are remembered."""
        return self._count

    def is_first(self, agent_id: str, proof_id: str, *, until: datetime, now: datetime) -> bool:
        """Whether the proof was not shown before; it is remembered `until` nobody takes it any more, which is part of what is signed.

        Raises `Failure(THROTTLED)`.
        """
        self._forget(int(now.timestamp()) // _SPAN)
        span = self._spans.setdefault(int(until.timestamp()) // _SPAN, _Span())
        digest = hashlib.sha256(f"{agent_id}\n{proof_id}".encode()).digest()[:_DIGEST]
        if digest in span.proofs:
            return False
        if sum(one.of_each[agent_id] for one in self._spans.values()) >= self._most_each:
            raise Failure(FailureKind.THROTTLED, "too many requests from this agent", retry_after=str(_SPAN))
        if self._count >= self._most:
            raise Failure(FailureKind.THROTTLED, "too many requests from agents", retry_after=str(_SPAN))
        span.proofs.add(digest)
        span.of_each[agent_id] += 1
        self._count += 1
        return True

    def _forget(self, present: int) -> None:
        for span in [one for one in self._spans if one < present]:
            self._count -= len(self._spans.pop(span).proofs)


class _Span:
    """The proofs that are forgotten together."""

    __slots__ = ("of_each", "proofs")

    def __init__(self) -> None:
        self.proofs: set[bytes] = set()
        self.of_each: Counter[str] = Counter()
        """How many of them each agent has shown."""
