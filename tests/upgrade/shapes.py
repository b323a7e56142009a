"""What has changed between two programs in how records are written down, and whom that keeps from reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Found", "compare"]

Shape: TypeAlias = Mapping[str, Any]

_SAID_ONLY = frozenset({"default", "description", "title"})


@dataclass(frozen=True, slots=True)
class Found:
    """The differences that matter, each as `Record.member` or `Enumeration.value`."""

    broken: set[str] = field(default_factory=set)
    """What one of the two could not read."""
    forgotten: set[str] = field(default_factory=set)
    """Members that the earlier program drops when it replaces a record."""
    unread: set[str] = field(default_factory=set)
    """Values that the earlier program cannot read."""


def compare(earlier: Shape, today: Shape) -> Found:
    """Of everything that both keep, as far down as it goes."""
    comparison = _Comparison(earlier["parts"], today["parts"])
    for name, shape in earlier["kept"].items():
        if name in today["kept"]:
            comparison.either(name, shape, today["kept"][name])
        else:
            comparison.found.broken.add(f"{name} (gone)")
    return comparison.found


class _Comparison:
    def __init__(self, earlier: Shape, today: Shape) -> None:
        self._earlier = earlier
        self._today = today
        self._seen: set[tuple[str, str]] = set()
        self.found = Found()

    def either(self, where: str, before: Shape, now: Shape) -> None:
        """Two shapes of the same thing."""
        if "$ref" in before and "$ref" in now:
            names = before["$ref"].rpartition("/")[2], now["$ref"].rpartition("/")[2]
            if names not in self._seen:
                self._seen.add(names)
                self._part(self._earlier[names[0]], self._today[names[1]])
        elif "anyOf" in before and "anyOf" in now and len(before["anyOf"]) == len(now["anyOf"]):
            for one, other in zip(before["anyOf"], now["anyOf"], strict=True):
                self.either(where, one, other)
        elif before.get("type") == now.get("type") == "array" and "prefixItems" not in before:
            self.either(where, before["items"], now["items"])
        elif _essence(before) != _essence(now):
            self.found.broken.add(f"{where} (written otherwise)")

    def _part(self, before: Shape, now: Shape) -> None:
        name = now["title"]
        if "enum" in before and "enum" in now:
            self.found.broken.update(f"{name}.{value} (gone)" for value in set(before["enum"]) - set(now["enum"]))
            self.found.unread.update(f"{name}.{value}" for value in set(now["enum"]) - set(before["enum"]))
            return
        members, others = before.get("properties", {}), now.get("properties", {})
        self.found.forgotten.update(f"{name}.{member}" for member in set(others) - set(members))
        self.found.broken.update(f"{name}.{member} (gone)" for member in set(members) - set(others))
        needed = set(now.get("required", ())) - set(before.get("required", ()))
        self.found.broken.update(f"{name}.{member} (has no default)" for member in needed)
        for member in set(members) & set(others):
            self.either(f"{name}.{member}", members[member], others[member])


def _essence(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _essence(one) for name, one in value.items() if name not in _SAID_ONLY}
    return [_essence(one) for one in value] if isinstance(value, list) else value
