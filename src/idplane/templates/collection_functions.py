"""Array and object functions of the template language."""

from __future__ import annotations

import json
from collections.abc import Mapping

from idplane.templates.builtin import MANY, Arguments, Builtin, table
from idplane.templates.kinds import equal, kind, member, plain, wrong_type
from idplane.templates.limits import MAX_RANGE

__all__ = ["COLLECTION_FUNCTIONS"]


def _empty(it: Arguments) -> bool:
    value = it.any(0)
    if value is None:
        return True
    if not isinstance(value, str | list | Mapping):
        raise wrong_type(it.function, 1, "Object, Array, String", value)
    return len(value) == 0


def _length(it: Arguments) -> int:
    value = it.any(0)
    if not isinstance(value, str | list | Mapping):
        raise wrong_type(it.function, 1, "Object, Array, String", value)
    return len(value)


def _first(it: Arguments) -> object:
    value = it.sized(0)
    if isinstance(value, str):
        return value[:1]
    return value[0] if value else None


def _last(it: Arguments) -> object:
    value = it.sized(0)
    if isinstance(value, str):
        return value[-1:]
    return value[-1] if value else None


def _skip(it: Arguments) -> object:
    return it.sized(0)[max(it.integer(1), 0) :]


def _take(it: Arguments) -> object:
    return it.sized(0)[: max(it.integer(1), 0)]


def _array(it: Arguments) -> list[object]:
    value = it.any(0)
    return value if isinstance(value, list) else [value]


def _create_object(it: Arguments) -> dict[str, object]:
    if len(it) % 2:
        raise it.refuse("it takes an even number of parameters: a name and a value each.")
    return {it.text(at): it.values[at + 1] for at in range(0, len(it), 2)}


def _range(it: Arguments) -> list[object]:
    start, count = it.integer(0), it.integer(1)
    if not 0 <= count <= MAX_RANGE or start + count > 2**31 - 1:
        raise it.refuse(f"the count must be 0 to {MAX_RANGE}, and the numbers at most 2147483647.")
    return list(range(start, start + count))


def _flatten(it: Arguments) -> list[object]:
    return [item for one in it.array(0) for item in (one if isinstance(one, list) else [one])]


def _union(it: Arguments) -> object:
    if isinstance(it.any(0), Mapping):
        merged: dict[str, object] = {}
        for at in range(len(it)):
            merged = _merged(merged, it.members(at))
        return merged
    found = _Distinct()
    for at in range(len(it)):
        for one in it.array(at):
            found.add(one)
    return found.items


def _merged(left: Mapping[str, object], right: Mapping[str, object]) -> dict[str, object]:
    """Objects inside are merged too; everything else is replaced."""
    out = dict(left)
    for name, value in right.items():
        before = out.get(name)
        out[name] = _merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return out


class _Distinct:
    """Values without repetition, in order of first appearance, each found by hash."""

    def __init__(self) -> None:
        self.items: list[object] = []
        self._known: set[tuple[str, object]] = set()

    def has(self, value: object) -> bool:
        return self._word(value) in self._known

    def add(self, value: object) -> None:
        if not self.has(value):
            self.items.append(value)
            self._known.add(self._word(value))

    @staticmethod
    def _word(value: object) -> tuple[str, object]:
        """Equal for equal values: scalars as they are, the rest as text in an order of its own."""
        if isinstance(value, list | Mapping):
            return kind(value), json.dumps(plain(value), sort_keys=True)
        return kind(value), value


def _intersection(it: Arguments) -> object:
    if isinstance(it.any(0), Mapping):
        first, rest = it.members(0), [it.members(at) for at in range(1, len(it))]
        return {
            name: value for name, value in first.items() if all(name in other and equal(other[name], value) for other in rest)
        }
    sets = []
    for at in range(len(it)):
        distinct = _Distinct()
        for one in it.array(at):
            distinct.add(one)
        sets.append(distinct)
    return [one for one in sets[0].items if all(other.has(one) for other in sets[1:])]


def _items(it: Arguments) -> list[object]:
    found = it.members(0)
    return [{"key": name, "value": found[name]} for name in sorted(found, key=str.lower)]


def _shallow_merge(it: Arguments) -> dict[str, object]:
    merged: dict[str, object] = {}
    for one in it.array(0):
        if not isinstance(one, Mapping):
            raise wrong_type(it.function, 1, "Array of Object", one)
        merged.update(one)
    return merged


def _try_get(it: Arguments) -> object:
    value = it.any(0)
    for at in range(1, len(it)):
        key = it.any(at)
        if isinstance(value, Mapping) and isinstance(key, str):
            found, value = member(value, key)
            if not found:
                return None
        elif isinstance(value, list) and isinstance(key, int) and not isinstance(key, bool) and 0 <= key < len(value):
            value = value[key]
        else:
            return None
    return value


def _index_from_end(it: Arguments) -> object:
    array, at = it.array(0), it.integer(1)
    if not 1 <= at <= len(array):
        raise it.refuse(f"the index '{at}' from the end is out of bounds.")
    return array[-at]


def _try_index_from_end(it: Arguments) -> object:
    array, at = it.array(0), it.integer(1)
    return array[-at] if 1 <= at <= len(array) else None


COLLECTION_FUNCTIONS: Mapping[str, Builtin] = table(
    ("array", 1, 1, _array),
    ("createArray", 0, MANY, lambda it: list(it.values)),
    ("createObject", 0, MANY, _create_object),
    ("empty", 1, 1, _empty),
    ("first", 1, 1, _first),
    ("flatten", 1, 1, _flatten),
    ("indexFromEnd", 2, 2, _index_from_end),
    ("intersection", 2, MANY, _intersection),
    ("items", 1, 1, _items),
    ("last", 1, 1, _last),
    ("length", 1, 1, _length),
    ("null", 0, 0, lambda _: None),
    ("objectKeys", 1, 1, lambda it: sorted(it.members(0), key=str.lower)),
    ("range", 2, 2, _range),
    ("shallowMerge", 1, 1, _shallow_merge),
    ("skip", 2, 2, _skip),
    ("take", 2, 2, _take),
    ("tryGet", 2, MANY, _try_get),
    ("tryIndexFromEnd", 2, 2, _try_index_from_end),
    ("union", 1, MANY, _union),
)
