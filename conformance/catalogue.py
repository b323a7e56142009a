"""The languages' folders, read: which programs there are, and what is expected of each. Raises ValueError for what makes no sense."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.cells import CELLS, IMPLIED, STAGES, Isolation, Outcome, Stage

__all__ = ["HERE", "Expectation", "Language", "Program", "languages", "parse_language"]

HERE = Path(__file__).parent
_SECONDS = 120
_REASONED = (Outcome.IGNORED, Outcome.NO_EXPIRY, Outcome.REPEATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What may come of a cell, and why it is not simply a token."""

    outcomes: frozenset[Outcome]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One SDK's program."""

    name: str
    command: tuple[str, ...]
    seconds: float
    """How long one run may last."""
    cells: Mapping[tuple[str, Isolation], Mapping[str, Expectation]]
    """By dialect and isolation."""
    absent: Mapping[tuple[str, Isolation], str]
    """What is not run, and why."""

    def asked(self, stage: Stage, isolation: Isolation) -> Mapping[str, Expectation]:
        """What to ask it in a stage; nothing where it can't run."""
        expected = self.cells.get((stage.dialect, isolation), {})
        return {cell: expected[cell] for cell in stage.cells if cell in expected}


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A folder of programs."""

    folder: str
    title: str
    needs: tuple[str, ...]
    """Commands that its build needs."""
    programs: tuple[Program, ...]


def languages(root: Path = HERE) -> tuple[Language, ...]:
    """All of them, by folder."""
    folders = sorted(path.parent for path in root.glob("*/programs.json"))
    return tuple(
        parse_language(
            folder.name,
            json.loads((folder / "programs.json").read_text(encoding="utf-8")),
            json.loads((folder / "expectations.json").read_text(encoding="utf-8")),
        )
        for folder in folders
    )


def parse_language(folder: str, described: Mapping[str, Any], expected: Mapping[str, Any]) -> Language:
    """Both files of one language."""
    if set(described["programs"]) != set(expected):
        differing = sorted(set(described["programs"]) ^ set(expected))
        raise ValueError(f"{folder}: programs.json and expectations.json differ in {', '.join(differing)}")
    programs = (_program(folder, name, one, expected[name]) for name, one in described["programs"].items())
    return Language(
        folder=folder, title=described["language"], needs=tuple(described.get("needs", ())), programs=tuple(programs)
    )


def _program(folder: str, name: str, described: Mapping[str, Any], expected: Mapping[str, Any]) -> Program:
    possible = {(stage.dialect, isolation) for stage in STAGES for isolation in stage.isolations}
    named = {key.partition("/")[0] for key in expected}
    unknown = [key for key in expected if not any(key in _keys(*one) for one in possible)]
    if unknown:
        raise ValueError(f"{folder}: {name} has expectations of {', '.join(unknown)}, which there is not")
    cells: dict[tuple[str, Isolation], Mapping[str, Expectation]] = {}
    absent: dict[tuple[str, Isolation], str] = {}
    for dialect, isolation in sorted(possible):
        if dialect not in named:
            continue
        given = next((expected[key] for key in _keys(dialect, isolation) if key in expected), "")
        if isinstance(given, str):
            absent[dialect, isolation] = given
        else:
            cells[dialect, isolation] = _cells(f"{folder}: {name}: {dialect}", given, _cells_of(dialect))
    return Program(
        name=name,
        command=tuple(described["command"]),
        seconds=float(described.get("seconds", _SECONDS)),
        cells=cells,
        absent=absent,
    )


def _keys(dialect: str, isolation: Isolation) -> tuple[str, str]:
    return f"{dialect}/{isolation}", dialect


def _cells_of(dialect: str) -> frozenset[str]:
    """The cells that a dialect has."""
    return frozenset(cell for stage in STAGES if stage.dialect == dialect for cell in stage.cells)


def _cells(where: str, given: Mapping[str, Any], known: frozenset[str]) -> dict[str, Expectation]:
    found = {cell: _expectation(f"{where}: {cell}", value) for cell, value in given.items()}
    if not found.keys() <= known:
        raise ValueError(f"{where} has no cell {', '.join(sorted(found.keys() - known))}")
    for cell, other in IMPLIED.items():
        if cell in known and cell not in found and other in found:
            same = CELLS[cell].identity != "nobody" or found[other].outcomes == _NO
            found[cell] = found[other] if same else Expectation(outcomes=_NO)
    return found


_NO = frozenset({Outcome.REFUSED, Outcome.UNSUPPORTED})


def _expectation(where: str, value: Any) -> Expectation:
    match value:
        case "ok":
            return Expectation(outcomes=frozenset({Outcome.OK}))
        case str(reason) if reason:
            return Expectation(outcomes=_NO, reason=reason)
        case dict() if len(value) == 1 and next(iter(value)) in _REASONED:
            ((outcome, reason),) = value.items()
            return Expectation(outcomes=frozenset({Outcome(outcome)}), reason=str(reason))
    raise ValueError(f"{where} is expected to be {value!r}, which means nothing")
