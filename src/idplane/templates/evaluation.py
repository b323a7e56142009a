"""Evaluating values of a template: expressions, names of members, and copy loops inside objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from idplane.templates.builtin import Arguments
from idplane.templates.facts import Facts, Locals, Lookup, Unresolved
from idplane.templates.kinds import HELP, kind, member
from idplane.templates.library import LIBRARY
from idplane.templates.limits import MAX_RESOURCES, Budget
from idplane.templates.problems import TemplateProblem
from idplane.templates.syntax import Call, Index, Member, Node, Number, Text, is_expression, parse, unescaped

__all__ = ["Contextual", "Evaluator", "Known", "Loop", "Names", "UserFunction", "loop_count", "require_count"]

_DEEPEST_FUNCTION = 16
_DEEP = frozenset({"contains", "equals", "indexof", "intersection", "join", "lastindexof", "union"})
"""Functions that may look at every part of their arguments, lower case."""


class Known(Protocol):
    """A resource of the template, as far as expressions can name it."""

    @property
    def id(self) -> str:
        """Its resource id."""
        ...

    @property
    def type(self) -> str:
        """Its full type."""
        ...

    @property
    def api_version(self) -> str:
        """The version under which the template states it."""
        ...


class Names(Protocol):
    """How a word in `reference` becomes a resource of the template."""

    def find(self, word: str) -> Known | None:
        """By symbolic name, id, or unique name; raises `TemplateProblem` when the word means several."""
        ...

    def loop(self, word: str) -> tuple[Known, ...] | None:
        """All resources that a symbolic copy loop makes."""
        ...


class _NoNames:
    def find(self, _: str) -> None:
        return None

    def loop(self, _: str) -> None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFunction:
    """A user-defined function: the names of its parameters and the value that it gives."""

    parameters: tuple[str, ...]
    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A variable that is made by a copy loop."""

    name: str
    raw: Mapping[str, object]


Contextual = Callable[["Evaluator", Call, Locals], object]


@dataclass(slots=True, kw_only=True)
class Evaluator:
    """Evaluates values of one template. Keeps each variable's value once it is known, and what lookups have given so far."""

    facts: Facts
    contextual: Mapping[str, Contextual]
    """The functions that look at more than their arguments, by lower-case name."""
    parameters: Mapping[str, object] = field(default_factory=dict, repr=False)
    """By lower-case name; may hold secrets."""
    variables: Mapping[str, tuple[object, Locals]] = field(default_factory=dict)
    """Unevaluated, by lower-case name."""
    functions: Mapping[tuple[str, str], UserFunction] = field(default_factory=dict)
    names: Names = field(default_factory=_NoNames)
    document: Mapping[str, object] = field(default_factory=dict)
    """The template itself, for `deployment()`."""
    budget: Budget = field(default_factory=Budget)
    known: dict[Lookup, object] = field(default_factory=dict, repr=False)
    _values: dict[str, object] = field(default_factory=dict, repr=False)
    _open: list[str] = field(default_factory=list)

    def evaluate(self, raw: object, local: Locals) -> object:
        """The value of anything in a template; raises `TemplateProblem` and `Unresolved`, the latter with all that is missing."""
        missing: set[Lookup] = set()
        try:
            value = self._value(raw, local, missing)
        except RecursionError as error:
            raise TemplateProblem("The template is nested too deeply to be evaluated.") from error
        if missing:
            raise Unresolved(frozenset(missing))
        self.budget.made(value)
        return value

    def text(self, raw: object, local: Locals, what: str) -> str:
        """A value that must be a string; `what` names it in the refusal."""
        value = self.evaluate(raw, local)
        if not isinstance(value, str):
            raise TemplateProblem(f"The {what} must be a string; it is of type '{kind(value)}'.")
        return value

    def variable(self, name: str) -> object:
        """A variable's value; raises `TemplateProblem` for one that is not there or needs itself."""
        key = name.lower()
        if key in self._values:
            return self._values[key]
        if key not in self.variables:
            words = f"The template variable '{name}' is not found. Please see https://aka.ms/arm-template/#variables for usage details."
            raise TemplateProblem(words)
        if key in self._open:
            raise TemplateProblem(f"The template variable '{name}' is defined in terms of itself.")
        self._open.append(key)
        try:
            raw, local = self.variables[key]
            self._values[key] = self._looped(raw, local) if isinstance(raw, Loop) else self.evaluate(raw, local)
        finally:
            self._open.pop()
        return self._values[key]

    def _looped(self, loop: Loop, local: Locals) -> object:
        made = self.evaluate({"copy": [loop.raw]}, local)
        return made[loop.name] if isinstance(made, dict) else None

    # Values ---------------------------------------------------------------------------------------------------------

    def _value(self, raw: object, local: Locals, missing: set[Lookup]) -> object:
        self.budget.spend()
        if isinstance(raw, str):
            return self._string(raw, local, missing)
        if isinstance(raw, Mapping):
            return self._object(raw, local, missing)
        if isinstance(raw, list | tuple):
            return [self._value(one, local, missing) for one in raw]
        return raw

    def _string(self, raw: str, local: Locals, missing: set[Lookup]) -> object:
        if not is_expression(raw):
            return unescaped(raw)
        self.budget.spend(len(raw) // 16)
        try:
            return self.node(parse(raw), local)
        except Unresolved as asked:
            missing.update(asked.lookups)
            return None

    def _object(self, raw: Mapping[str, object], local: Locals, missing: set[Lookup]) -> dict[str, object]:
        made: dict[str, object] = {}
        for name, item in raw.items():
            if name.lower() == "copy" and isinstance(item, list):
                made.update(self._copies(item, local, missing))
                continue
            key = self._string(name, local, missing) if name.startswith("[") else name
            if key is not None:
                made[key if isinstance(key, str) else str(key)] = self._value(item, local, missing)
        return made

    def _copies(self, loops: list[object], local: Locals, missing: set[Lookup]) -> dict[str, object]:
        """Members made by copy loops: `{"copy": [{"name", "count", "input"}]}`."""
        made: dict[str, object] = {}
        for loop in loops:
            if not isinstance(loop, Mapping) or not isinstance(loop.get("name"), str) or "input" not in loop:
                raise TemplateProblem("A copy loop must be an object with 'name', 'count' and 'input'.")
            name = str(loop["name"])
            count = loop_count(self, loop.get("count"), local, name)
            made[name] = [self._value(loop["input"], local.at(name, turn), missing) for turn in range(count)]
        return made

    # Expressions ----------------------------------------------------------------------------------------------------

    def node(self, node: Node, local: Locals) -> object:
        """The value of a tree."""
        self.budget.spend()
        if isinstance(node, Text | Number):
            return node.value
        if isinstance(node, Call):
            return self._call(node, local)
        target = self.node(node.target, local)
        if node.safe and target is None:
            return None
        key = node.name if isinstance(node, Member) else self.node(node.index, local)
        return self._part(node, target, key)

    def _part(self, node: Member | Index, target: object, key: object) -> object:
        if isinstance(target, Mapping) and isinstance(key, str):
            found, value = member(target, key)
            if found or node.safe:
                return value
            words = f"The language expression property '{key}' doesn't exist, available properties are '{_listed(target)}'."
            raise TemplateProblem(words)
        if isinstance(target, list) and isinstance(key, int) and not isinstance(key, bool):
            if 0 <= key < len(target):
                return target[key]
            if node.safe:
                return None
            raise TemplateProblem(f"The language expression property array index '{key}' is out of bounds.")
        words = f"The language expression property '{key}' can't be evaluated, the value before it is of type '{kind(target)}'."
        raise TemplateProblem(words)

    def _call(self, call: Call, local: Locals) -> object:
        if call.namespace is not None:
            return self._user(call, local)
        name = call.name.lower()
        contextual = self.contextual.get(name) or (self.contextual.get("list*") if name.startswith("list") else None)
        if contextual is not None:
            return contextual(self, call, local)
        builtin = LIBRARY.get(name)
        if builtin is None:
            words = f"The template function '{call.name}' is not valid. {HELP.format(name=name)}"
            raise TemplateProblem(words)
        require_count(call, builtin.least, builtin.most)
        given = [self.node(one, local) for one in call.arguments]
        for one in given:
            self._charge(one, deep=name in _DEEP)
        value = builtin.run(Arguments(builtin.name, given))
        self.budget.made(value)
        return value

    def _charge(self, given: object, *, deep: bool) -> None:
        """Account for looking at an argument: its own length, or all of it for functions that look at all of it."""
        if deep:
            self.budget.made(given)
        elif isinstance(given, str | list | Mapping):
            self.budget.spend(len(given) // 16)

    def _user(self, call: Call, local: Locals) -> object:
        named = f"{call.namespace}.{call.name}"
        function = self.functions.get(((call.namespace or "").lower(), call.name.lower()))
        if function is None:
            raise TemplateProblem(f"The template function '{named}' is not valid: no such user-defined function is declared.")
        if local.depth >= _DEEPEST_FUNCTION:
            raise TemplateProblem(f"The user-defined function '{named}' is called from too many others.")
        require_count(call, len(function.parameters), len(function.parameters))
        values = [self.node(one, local) for one in call.arguments]
        inner = Locals(arguments=dict(zip(function.parameters, values, strict=True)), depth=local.depth + 1)
        missing: set[Lookup] = set()
        return self._value(function.value, inner, missing)


def require_count(call: Call, least: int, most: int) -> None:
    """Refuse a call with too few or too many arguments."""
    given = len(call.arguments)
    if least <= given <= most:
        return
    wanted = f"{least}" if least == most else f"at least {least}" if given < least else f"at most {most}"
    usage = HELP.format(name=call.name.lower())
    words = f"function requires {wanted} argument(s) while {given} were provided. {usage}"
    raise TemplateProblem(f"Unable to evaluate template language function '{call.name}': {words}")


def loop_count(evaluator: Evaluator, raw: object, local: Locals, name: str) -> int:
    """How often a copy loop turns; raises `TemplateProblem`."""
    count = evaluator.evaluate(raw, local)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        words = f"The copy count of '{name}' must be an integer that is not negative; it is of type '{kind(count)}'."
        raise TemplateProblem(f"{words} Please see https://aka.ms/arm-copy for usage details.")
    most = min(MAX_RESOURCES, evaluator.facts.most_resources or MAX_RESOURCES)
    if count > most:
        words = f"The copy count '{count}' of '{name}' exceeds the maximum of '{most}'."
        raise TemplateProblem(f"{words} Please see https://aka.ms/arm-copy for usage details.")
    return count


def _listed(target: Mapping[str, object]) -> str:
    names = list(target)
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")  # noqa: PLR2004 - enough to see the mistake
