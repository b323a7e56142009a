"""Which of agents' proofs this process has been shown already, for as long as each could be shown again."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final

from idplane.model.failure import Failure, FailureKind

__all__ = ["ShownProofs"]

_MOST: Final = 262_144
"""Two thousand requests a second for two minutes; twenty megabytes."""
_SPAN: Final = 60
"""Seconds whose proofs are forgotten together."""
_DIGEST: Final = 8
"""Bytes. Two proofs that share them are taken for one, and the second is refused: that is safe, and does not happen."""


class ShownProofs:
    """A full memory refuses rather than forget."""

    def __init__(self, *, most: int = _MOST) -> None:
        self._most = most
        self._spans: dict[int, set[bytes]] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many are remembered."""
        return self._count

    def is_first(self, agent_id: str, proof_id: str, *, until: datetime, now: datetime) -> bool:
        """Whether the proof was not shown before; it is remembered `until` nobody takes it any more, which is part of what is signed.

        Raises `Failure(THROTTLED)`.
        """
        self._forget(int(now.timestamp()) // _SPAN)
        proofs = self._spans.setdefault(int(until.timestamp()) // _SPAN, set())
        digest = hashlib.sha256(f"{agent_id}\n{proof_id}".encode()).digest()[:_DIGEST]
        if digest in proofs:
            return False
        if self._count >= self._most:
            raise Failure(FailureKind.THROTTLED, "too many requests from agents")
        proofs.add(digest)
        self._count += 1
        return True

    def _forget(self, present: int) -> None:
        for span in [one for one in self._spans if one < present]:
            self._count -= len(self._spans.pop(span))
