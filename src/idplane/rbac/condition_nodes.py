"""A condition that has been read: a tree whose parts are true, false or, where something that they need is absent, neither.

Absence spreads as in SQL: `NOT` of it is absence, `AND` with something false is false, `OR` with something true is true. The
whole holds only when it is true, so that an attribute which nobody supplied never opens a door, negated or not.

Whoever asks may hear of each comparison (`Heard`): then all of them are made, also those that change nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from idplane.model.attributes import AttributeValue
from idplane.model.roles import AccessCall
from idplane.rbac.condition_operators import Operator, SetFunction, compare_sets
from idplane.rbac.patterns import ActionPattern

__all__ = [
    "ActionMatches",
    "All",
    "Any",
    "Attribute",
    "Comparison",
    "Exists",
    "Heard",
    "Literals",
    "Made",
    "Node",
    "Not",
    "Operand",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One comparison as it was made."""

    text: str
    """As it is written in the condition."""
    holds: bool | None
    left: tuple[AttributeValue, ...] | None
    """None for what is absent."""
    right: tuple[AttributeValue, ...] | None


Heard: TypeAlias = Callable[[Made], None]
"""Hears of each comparison as it is made, in the order in which they are written."""


class Node(Protocol):
    """A part of a condition."""

    def holds(self, call: AccessCall, heard: Heard | None = None) -> bool | None:
        """True, false, or None when it cannot be told."""
        ...


@dataclass(frozen=True, slots=True)
class Attribute:
    """`@Resource[...]`, `@Request[...]`, `@Principal[...]` or `@Environment[...]`; both words in lower case, a tag's key as written."""

    source: str
    name: str

    def values(self, call: AccessCall) -> tuple[AttributeValue, ...] | None:
        """What the call has under this name; None when it is absent. Principals have no custom security attributes here."""
        match self.source:
            case "resource":
                return call.attributes.resource.get(self.name)
            case "request":
                return call.attributes.request.get(self.name)
            case "environment":
                return _environment(self.name, call)
            case _:
                return None


def _environment(name: str, call: AccessCall) -> tuple[AttributeValue, ...] | None:
    """Nothing here is behind a private link, so there is no endpoint and no subnet of one either."""
    if name == "isprivatelink":
        return (False,)
    return (call.at,) if name == "utcnow" and call.at is not None else None


@dataclass(frozen=True, slots=True)
class Literals:
    """Values that stand in the condition itself."""

    given: tuple[AttributeValue, ...]

    def values(self, call: AccessCall) -> tuple[AttributeValue, ...] | None:
        """The values."""
        del call
        return self.given


Operand: TypeAlias = Attribute | Literals


@dataclass(frozen=True, slots=True)
class ActionMatches:
    """`ActionMatches{'...'}`: the pattern of a role, on the action that is asked for."""

    pattern: ActionPattern
    text: str = field(default="", compare=False)

    def holds(self, call: AccessCall, heard: Heard | None = None) -> bool | None:
        """Whether the action is one of those."""
        answer = self.pattern.matches(call.action.lower())
        if heard is not None:
            heard(Made(text=self.text, holds=answer, left=(call.action,), right=(self.pattern.text,)))
        return answer


@dataclass(frozen=True, slots=True)
class Exists:
    """`Exists @...`."""

    attribute: Attribute
    text: str = field(default="", compare=False)

    def holds(self, call: AccessCall, heard: Heard | None = None) -> bool | None:
        """Whether the call has the attribute."""
        found = self.attribute.values(call)
        if heard is not None:
            heard(Made(text=self.text, holds=found is not None, left=found, right=()))
        return found is not None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands compared; without a set function each must be a single value."""

    left: Operand
    operator: Operator
    function: SetFunction | None
    right: Operand
    text: str = field(default="", compare=False)

    def holds(self, call: AccessCall, heard: Heard | None = None) -> bool | None:
        """The answer; None when an operand is absent, is of another kind, or is a set where one value belongs."""
        left, right = self.left.values(call), self.right.values(call)
        answer = self._compared(left, right)
        if heard is not None:
            heard(Made(text=self.text, holds=answer, left=left, right=right))
        return answer

    def _compared(self, left: tuple[AttributeValue, ...] | None, right: tuple[AttributeValue, ...] | None) -> bool | None:
        if left is None or right is None:
            return None
        if self.function is not None:
            return compare_sets(self.operator, self.function, left, right)
        return self.operator.compare(left[0], right[0]) if len(left) == len(right) == 1 else None


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    inner: Node

    def holds(self, call: AccessCall, heard: Heard | None = None) -> bool | None:
        """The opposite; what cannot be told stays so."""
        answer = self.inner.holds(call, heard)
        return None if answer is None else not answer


@dataclass(frozen=True, slots=True)
class All:
    """Parts joined by AND."""

    parts: tuple[Node, ...]

    def holds(self, call: AccessCall, heard: Heard | None = None) -> bool | None:
        """False as soon as one is; true only if all are."""
        return _settled(_answers(self.parts, call, heard), decisive=False)


@dataclass(frozen=True, slots=True)
class Any:
    """Parts joined by OR."""

    parts: tuple[Node, ...]

    def holds(self, call: AccessCall, heard: Heard | None = None) -> bool | None:
        """True as soon as one is; false only if all are."""
        return _settled(_answers(self.parts, call, heard), decisive=True)


def _answers(parts: Iterable[Node], call: AccessCall, heard: Heard | None) -> Iterable[bool | None]:
    """One after the other, as far as they are needed; all of them for somebody who hears of each."""
    answers = (part.holds(call, heard) for part in parts)
    return answers if heard is None else [*answers]


def _settled(answers: Iterable[bool | None], *, decisive: bool) -> bool | None:
    told: bool | None = not decisive
    for answer in answers:
        if answer is decisive:
            return decisive
        if answer is None:
            told = None
    return told
