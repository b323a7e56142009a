"""The resources that a template means, and every way in which a template can name one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from idplane.templates.document import Declared
from idplane.templates.evaluation import Known, Names
from idplane.templates.facts import Locals
from idplane.templates.ids import normalized
from idplane.templates.problems import AT, TemplateProblem

__all__ = ["DEPLOYMENTS", "Index", "Planned"]

DEPLOYMENTS = "Microsoft.Resources/deployments"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One resource of a plan. Its body is not evaluated yet: it may need what only the deployment can tell."""

    declared: Declared
    local: Locals
    id: str
    type: str
    name: str
    """With the names of its parents: `web/staging`."""
    api_version: str
    wanted: bool
    """What its condition came to."""
    existing: bool
    """Only referred to, never deployed."""
    turn: int | None = None
    """Turn of its own copy loop."""
    loop: str | None = None
    batch: int | None = None
    """In a serial loop: the batch that it belongs to."""

    @property
    def key(self) -> str:
        """Unique in its plan: the place in the template, and the turns of the loops around it."""
        turns = ",".join(f"{name}={index}" for name, index in sorted(self.local.loops.items()))
        return f"{'/'.join(map(str, self.declared.path))}#{turns}"

    @property
    def is_deployment(self) -> bool:
        """Whether it is a nested deployment."""
        return self.type.lower() == DEPLOYMENTS.lower()

    @property
    def inner_scope(self) -> bool:
        """Whether a nested deployment's expressions are evaluated in its own scope."""
        properties = self.declared.raw.get("properties")
        options = properties.get("expressionEvaluationOptions") if isinstance(properties, Mapping) else None
        return isinstance(options, Mapping) and str(options.get("scope", "")).lower() == "inner"


class Index:
    """Finds resources by symbolic name, loop, id, type with name, and name. `around` answers for an enclosing template."""

    def __init__(self, resources: Iterable[Planned], around: Names | None) -> None:
        self._around = around
        self._ids: dict[str, list[Planned]] = {}
        self._names: dict[str, list[Planned]] = {}
        self._symbols: dict[str, list[Planned]] = {}
        self._loops: dict[str, list[Planned]] = {}
        self._batches: dict[tuple[object, int], list[str]] = {}
        for one in resources:
            self._add(one)

    def _add(self, one: Planned) -> None:
        same = self._ids.setdefault(one.id.lower(), [])
        if one.wanted and not one.existing and any(other.wanted and not other.existing for other in same):
            raise TemplateProblem(
                f"The resource '{one.id}'{AT} is defined multiple times in a template. "
                "Please see https://aka.ms/arm-syntax-resources for usage details.",
                path=one.declared.path,
            )
        same.append(one)
        tail = one.id.lower().rpartition("/providers/")[2]
        flat = f"{one.type}/{one.name}".lower()
        for word in {one.name.lower(), flat, tail}:
            self._names.setdefault(word, []).append(one)
        if one.declared.symbol is not None:
            self._symbols.setdefault(one.declared.symbol.lower(), []).append(one)
            if one.turn is not None:
                self._symbols.setdefault(f"{one.declared.symbol.lower()}[{one.turn}]", []).append(one)
        if one.loop is not None:
            self._loops.setdefault(one.loop.lower(), []).append(one)
        if one.batch is not None:
            self._batches.setdefault((one.declared.path, one.batch), []).append(one.key)

    def find(self, word: str) -> Known | None:
        """By symbolic name, id, or name, where that is unique; raises `TemplateProblem` for a name of several."""
        found = (
            self._symbols.get(word.lower()) or self._ids.get(normalized(word).lower()) or self._names.get(word.lower()) or []
        )
        if not found:
            return self._around.find(word) if self._around else None
        chosen = [one for one in found if one.wanted] or found
        if len({one.id.lower() for one in chosen}) > 1:
            raise TemplateProblem(f"The name '{word}' stands for several resources of the template; use the resource id.")
        return chosen[0]

    def loop(self, word: str) -> tuple[Known, ...] | None:
        """All resources of a symbolic copy loop."""
        found = [one for one in self._symbols.get(word.lower(), []) if one.turn is not None]
        if found:
            return tuple(found)
        return self._around.loop(word) if self._around else None

    def all(self, word: str) -> set[str]:
        """The keys that an entry of `dependsOn` stands for; raises `TemplateProblem` for what is not there."""
        found = (
            self._symbols.get(word.lower())
            or self._ids.get(normalized(word).lower())
            or self._loops.get(word.lower())
            or self._names.get(word.strip("/").lower())
        )
        if found:
            return {one.key for one in found}
        if self._around is not None and self._around.find(word) is not None:
            return set()
        raise TemplateProblem(
            f"The resource '{word}' is not defined in the template. Please see https://aka.ms/arm-syntax for usage details."
        )

    def implied(self, word: str, *, loops: bool) -> set[str]:
        """The keys that a word in `reference` stands for; none when it is no resource of this template."""
        if loops:
            return {one.key for one in self._symbols.get(word.lower(), [])}
        found = (
            self._symbols.get(word.lower()) or self._ids.get(normalized(word).lower()) or self._names.get(word.lower()) or []
        )
        return {one.key for one in found}

    def earlier_batch(self, one: Planned) -> tuple[str, ...]:
        """Of a serial loop: what has to be done before this turn."""
        if not one.batch:
            return ()
        return tuple(self._batches.get((one.declared.path, one.batch - 1), ()))
