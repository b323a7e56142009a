"""What a role assignment's condition may look at beside the action: attributes of the request and of its target.

Whoever guards a target says which attributes its requests have. What it does not name is absent, and a comparison with something
absent is never true (`rbac/conditions.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TypeAlias

__all__ = ["NO_ATTRIBUTES", "AttributeValue", "Attributes"]

AttributeValue: TypeAlias = str | int | bool | datetime

_NONE: Mapping[str, tuple[AttributeValue, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """Attributes by their names in lower case, such as `microsoft.authorization/roleassignments:principaltype`; each may have several values."""

    resource: Mapping[str, tuple[AttributeValue, ...]] = field(default_factory=lambda: _NONE)
    """Of what exists: `@Resource[...]`."""
    request: Mapping[str, tuple[AttributeValue, ...]] = field(default_factory=lambda: _NONE)
    """Of what is asked for: `@Request[...]`."""


NO_ATTRIBUTES = Attributes()
"""Of requests that have none."""
