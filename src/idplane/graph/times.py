"""Instants as Graph writes them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["shown_time"]


def shown_time(at: datetime) -> str:
    """`2026-01-31T12:00:00Z`, with microseconds where there are any."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
