"""Typed reading of request bodies: each member is asked for by name and must have the type that it is asked for as.

A member that is absent and one that is null are the same thing. Everything here raises `Failure(INVALID_PARAMETER)` with the
member's path, as in `properties.sku.name`.
"""

from __future__ import annotations

from collections.abc import Mapping

from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["Fields"]

_EMPTY: JsonObject = {}


class Fields:
    """One JSON object of a body, with the path that leads to it for the words of a refusal."""

    __slots__ = ("_path", "values")

    def __init__(self, values: JsonObject, path: str = "") -> None:
        self.values = values
        self._path = path

    def only(self, *names: str) -> Fields:
        """Itself, provided that it has no other members than these: for what must not be misread in silence."""
        for name in self.values:
            if name not in names:
                raise self.refuse(name[:100], f"is not known here; there are: {', '.join(names)}")
        return self

    def has(self, name: str) -> bool:
        """Whether the member is there and not null."""
        return self.values.get(name) is not None

    def path(self, name: str) -> str:
        """Where the member is in the body."""
        return f"{self._path}.{name}" if self._path else name

    def refuse(self, name: str, words: str) -> Failure:
        """The failure for a member; `words` complete the sentence that starts with the member's path."""
        path = self.path(name)
        return Failure(FailureKind.INVALID_PARAMETER, f"The property '{path}' {words}.", target=path, parameter=path)

    def text(self, name: str, *, limit: int = 2048) -> str | None:
        """A string of at most `limit` characters."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.refuse(name, "must be a string")
        if len(value) > limit:
            raise self.refuse(name, f"must not be longer than {limit} characters")
        return value

    def required_text(self, name: str, *, limit: int = 2048) -> str:
        """A string that is there and not blank."""
        value = self.text(name, limit=limit)
        if value is None or not value.strip():
            raise self.refuse(name, "is required")
        return value

    def flag(self, name: str) -> bool | None:
        """A JSON true or false."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.refuse(name, "must be true or false")
        return value

    def integer(self, name: str) -> int | None:
        """A JSON whole number."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(name, "must be a whole number")
        return value

    def inner(self, name: str) -> Fields:
        """A nested object; an absent one reads as empty."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise self.refuse(name, "must be an object")
        return Fields(_EMPTY if value is None else value, self.path(name))

    def items(self, name: str, *, limit: int) -> tuple[object, ...]:
        """An array of at most `limit` elements; an absent one reads as empty."""
        value = self.values.get(name)
        if value is None:
            return ()
        if not isinstance(value, list | tuple):
            raise self.refuse(name, "must be an array")
        if len(value) > limit:
            raise self.refuse(name, f"must not have more than {limit} elements")
        return tuple(value)

    def inners(self, name: str, *, limit: int) -> tuple[Fields, ...]:
        """An array of objects."""
        found: list[Fields] = []
        for at, value in enumerate(self.items(name, limit=limit)):
            if not isinstance(value, Mapping):
                raise self.refuse(f"{name}[{at}]", "must be an object")
            found.append(Fields(value, self.path(f"{name}[{at}]")))
        return tuple(found)

    def texts(self, name: str, *, limit: int, length: int = 2048) -> tuple[str, ...]:
        """An array of strings that are not blank, each of at most `length` characters."""
        found: list[str] = []
        for at, value in enumerate(self.items(name, limit=limit)):
            if not isinstance(value, str) or not value.strip() or len(value) > length:
                raise self.refuse(f"{name}[{at}]", f"must be a string of 1 to {length} characters")
            found.append(value)
        return tuple(found)
