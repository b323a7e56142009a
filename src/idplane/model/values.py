"""Words for loosely shaped data that passes through us unread: JSON values from and to the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

__all__ = ["JsonObject"]

JsonObject: TypeAlias = Mapping[str, object]
"""A decoded JSON object whose members are looked at only where they are needed."""
