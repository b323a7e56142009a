"""What entities are made of: their declared properties, by which filters, orders and selections are checked. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from idplane.model.failure import Failure, FailureKind

__all__ = ["BOOL", "NUMBER", "OBJECT", "OBJECTS", "TEXT", "TEXTS", "TIME", "EntityType", "Kind", "Property", "unknown_property"]


class Kind(enum.Enum):
    """What values a property has."""

    TEXT = "text"
    BOOL = "bool"
    NUMBER = "number"
    TIME = "time"
    OBJECT = "object"
    TEXTS = "texts"
    OBJECTS = "objects"


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One property. `members` are those of an object, or of the objects of a collection; None when they are anything."""

    kind: Kind
    members: Mapping[str, Property] | None = None

    @property
    def element(self) -> EntityType | None:
        """What a condition on the collection's elements may name; None when that is anything."""
        if self.kind is Kind.TEXTS:
            return _TEXT_ELEMENT
        return EntityType(name="element", properties=self.members) if self.members is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityType:
    """A type by its Graph name, such as `servicePrincipal`, with its properties. An `open` one may have any others, too."""

    name: str
    properties: Mapping[str, Property] = field(default_factory=dict)
    open: bool = False
    unfiltered: frozenset[str] = frozenset()
    """Properties that are looked up for what is shown only: no filter can name them."""
    itself: Property | None = None
    """What the element is, for the elements of a collection that are no objects."""

    def resolve(self, path: tuple[str, ...]) -> tuple[tuple[str, ...], Property | None]:
        """A path as declared, and what it leads to, None if that may be anything; raises `Failure(INVALID_PARAMETER)`."""
        if not path:
            return path, self.itself
        if path[-1] == "$count":
            names, _ = self.resolve(path[:-1])
            return (*names, "$count"), NUMBER
        name = self.spelled(path[0])
        if name in self.unfiltered:
            raise Failure(FailureKind.INVALID_FILTER, f"the property '{name}' cannot be part of a filter")
        found = self.properties.get(name)
        if found is None or len(path) == 1:
            return (name, *path[1:]), found
        if found.kind is not Kind.OBJECT:
            raise unknown_property(path[1], name)
        if found.members is None:
            return (name, *path[1:]), None
        inner, what = EntityType(name=name, properties=found.members).resolve(path[1:])
        return (name, *inner), what

    def spelled(self, name: str) -> str:
        """The property's declared name, whatever case it was written in; raises `Failure(INVALID_PARAMETER)`."""
        if name in self.properties:
            return name
        folded = name.lower()
        for declared in self.properties:
            if declared.lower() == folded:
                return declared
        if self.open:
            return name
        raise unknown_property(name, f"microsoft.graph.{self.name}")


def unknown_property(name: str, where: str) -> Failure:
    """The refusal of a name that a type has not."""
    words = f"Could not find a property named '{name[:100]}' on type '{where}'"
    return Failure(FailureKind.INVALID_PARAMETER, words, code="BadRequest")


TEXT: Final = Property(kind=Kind.TEXT)
BOOL: Final = Property(kind=Kind.BOOL)
NUMBER: Final = Property(kind=Kind.NUMBER)
TIME: Final = Property(kind=Kind.TIME)
TEXTS: Final = Property(kind=Kind.TEXTS)
OBJECT: Final = Property(kind=Kind.OBJECT)
OBJECTS: Final = Property(kind=Kind.OBJECTS)
_TEXT_ELEMENT: Final = EntityType(name="text", itself=TEXT)
