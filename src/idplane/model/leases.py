"""Who of several processes does a duty."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Lease"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to do one duty, for as long as the record's version moves. No times: clocks of different machines are never compared."""

    name: str
    """What duty it is for."""
    holder: str
    """The process that does it; empty when it was handed back."""
    term: int
    """How often it changed hands."""
