"""What-if: how one state of a resource differs from another, in the words of Resource Manager's property changes."""

from __future__ import annotations

from collections.abc import Mapping

from idplane.templates.kinds import equal

__all__ = ["changes", "no_effect"]

_ABSENT = object()


def changes(before: object, after: object, path: str = "") -> list[dict[str, object]]:
    """The differences: Create, Delete, Modify and Array, each with the path from the enclosing one; empty for equal states."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found: list[dict[str, object]] = []
        for name in [*before, *(name for name in after if name not in before)]:
            found += _member(before.get(name, _ABSENT), after.get(name, _ABSENT), f"{path}.{name}" if path else name)
        return found
    return _member(before, after, path)


def _member(before: object, after: object, path: str) -> list[dict[str, object]]:
    if before is _ABSENT:
        return [{"path": path, "propertyChangeType": "Create", "after": after}]
    if after is _ABSENT:
        return [{"path": path, "propertyChangeType": "Delete", "before": before}]
    if equal(before, after):
        return []
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return changes(before, after, path)
    if isinstance(before, list) and isinstance(after, list):
        return [_array(before, after, path)]
    return [{"path": path, "propertyChangeType": "Modify", "before": before, "after": after}]


def _array(before: list[object], after: list[object], path: str) -> dict[str, object]:
    """Arrays are compared element by element; the children's paths are the indexes."""
    children: list[dict[str, object]] = []
    for at in range(max(len(before), len(after))):
        old = before[at] if at < len(before) else _ABSENT
        new = after[at] if at < len(after) else _ABSENT
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            inner = changes(old, new)
            if inner:
                children.append(_modified(str(at), inner))
        else:
            children += _member(old, new, str(at))
    return {"path": path, "propertyChangeType": "Array", "children": children}


def _modified(path: str, children: list[dict[str, object]]) -> dict[str, object]:
    return {"path": path, "propertyChangeType": "Modify", "children": children}


def no_effect(sent: object, after: object, path: str = "") -> list[dict[str, object]]:
    """What is sent and will not be what is stored: read-only and dropped members."""
    if isinstance(sent, Mapping) and isinstance(after, Mapping):
        found: list[dict[str, object]] = []
        for name, value in sent.items():
            here = f"{path}.{name}" if path else name
            if name not in after:
                found.append({"path": here, "propertyChangeType": "NoEffect", "after": value})
            elif isinstance(value, Mapping):
                found += no_effect(value, after[name], here)
        return found
    return []
