"""Paths: which entity set, entity or action a request means. Pure.

    {set}  {set}/{id}  {set}(name='value')  {set}/$count  {set}/$ref  {set}/{id}/$ref  {set}/{action}  {set}/{id}/{child set}...

Names are compared without case; `microsoft.graph.` in front of an action's name is accepted.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from idplane.graph.declare import Action, EntitySet
from idplane.model.failure import Failure, FailureKind

__all__ = ["Key", "Route", "Shape", "Step", "parse_route"]

_SEGMENT: Final = re.compile(r"(?P<name>[A-Za-z$][A-Za-z.]{0,80})(?:\((?P<key>[^/]{1,600})\))?")
_KEY: Final = re.compile(r"(?:(?P<name>[A-Za-z]{1,60})\s*=\s*)?'(?P<value>(?:[^']|'')*)'")
_MAX_KEY: Final = 512
_MAX_STEPS: Final = 6
_NAMESPACE: Final = "microsoft.graph."


class Shape(enum.Enum):
    """What a path is about."""

    COLLECTION = "collection"
    COUNT = "count"
    ENTITY = "entity"
    REFERENCES = "references"
    """`{set}/$ref`."""
    REFERENCE = "reference"
    """`{set}/{id}/$ref`."""
    ACTION = "action"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """How an entity is named: by a property in lower case, or by its id when that is empty."""

    value: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An entity set on the way, and the entity in it that the path names."""

    set: EntitySet
    key: Key | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A parsed path; the last step is what it is about."""

    steps: tuple[Step, ...]
    shape: Shape
    action: Action | None = None

    @property
    def set(self) -> EntitySet:
        """The set that it is about."""
        return self.steps[-1].set

    @property
    def name(self) -> str:
        """The sets on the way, for the log: `applications/federatedIdentityCredentials`."""
        return "/".join(step.set.name for step in self.steps)


def parse_route(path: str, sets: Sequence[EntitySet], version: str) -> Route:
    """The route of a path below the version; raises `Failure(PATH_NOT_FOUND | INVALID_PARAMETER)`."""
    reader = _Reader([segment for segment in path.split("/") if segment])
    steps: list[Step] = []
    known = sets
    while True:
        found = reader.set(known, version)
        if found is None:
            raise _unknown(reader.rest or path)
        step = reader.keyed(found)
        steps.append(step)
        last = reader.last(step)
        if last is not None:
            shape, action = last
            return Route(steps=tuple(steps), shape=shape, action=action)
        if step.key is None and not found.single:
            raise _unknown(reader.rest)
        if len(steps) >= _MAX_STEPS:
            raise _unknown(path)
        known = found.children


class _Reader:
    def __init__(self, segments: list[str]) -> None:
        self._segments = segments
        self._at = 0
        self._key: str | None = None

    @property
    def rest(self) -> str:
        return "/".join(self._segments[self._at :])

    def set(self, known: Sequence[EntitySet], version: str) -> EntitySet | None:
        for one in known:
            names = one.name.lower().split("/")
            given = self._segments[self._at : self._at + len(names)]
            if version not in one.versions or len(given) < len(names):
                continue
            matched = _SEGMENT.fullmatch(given[-1])
            if matched is not None and [*map(str.lower, given[:-1]), matched["name"].lower()] == names:
                self._at += len(names)
                self._key = matched["key"]
                return one
        return None

    def keyed(self, found: EntitySet) -> Step:
        """The key in parentheses, or in the next segment unless that is a word of its own."""
        if self._key is not None:
            return Step(set=found, key=_parsed_key(self._key, found))
        if found.single or self._at == len(self._segments):
            return Step(set=found)
        segment = self._segments[self._at]
        if segment.startswith("$") or _action(found, segment, bound=False) is not None:
            return Step(set=found)
        self._at += 1
        if len(segment) > _MAX_KEY:
            raise _unknown(segment)
        return Step(set=found, key=Key(value=segment))

    def last(self, step: Step) -> tuple[Shape, Action | None] | None:
        """What the path ends with; None when an entity set of this entity follows."""
        rest = self._segments[self._at :]
        named = step.key is not None or step.set.single
        if not rest:
            return (Shape.ENTITY if named else Shape.COLLECTION), None
        if len(rest) > 1:
            return None
        word = rest[0].lower()
        if word == "$count" and not named:
            return Shape.COUNT, None
        if word == "$ref":
            return (Shape.REFERENCE if named else Shape.REFERENCES), None
        action = _action(step.set, rest[0], bound=named)
        return (Shape.ACTION, action) if action is not None else None


def _action(found: EntitySet, segment: str, *, bound: bool) -> Action | None:
    name = segment.lower().removeprefix(_NAMESPACE)
    return next((one for one in found.actions if one.bound is bound and one.name.lower() == name), None)


def _parsed_key(text: str, found: EntitySet) -> Key:
    matched = _KEY.fullmatch(text.strip())
    name = (matched["name"] or "").lower() if matched else ""
    known = {"", "id", *(one.lower() for one in found.keys)}
    if matched is None or name not in known:
        raise Failure(FailureKind.INVALID_PARAMETER, f"the key '{text[:100]}' is not understood", code="BadRequest")
    return Key(value=matched["value"].replace("''", "'")[:_MAX_KEY], name="" if name == "id" else name)


def _unknown(path: str) -> Failure:
    return Failure(FailureKind.PATH_NOT_FOUND, f"'{path[:200]}' is not available on this server's Microsoft Graph")
