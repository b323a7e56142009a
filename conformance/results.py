"""What came of a language's programs, as it is kept: `results/<folder>.json`. Holds nothing that differs from one good run to the next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from conformance.catalogue import HERE
from conformance.cells import Isolation, Outcome

__all__ = ["RESULTS", "LanguageResult", "ProgramResult", "decode", "encode", "read_results"]

RESULTS = HERE / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramResult:
    """One program's."""

    sdk: str
    """The package's name, as it says."""
    version: str
    cells: Mapping[str, Mapping[Isolation, Mapping[str, Outcome]]] = field(default_factory=dict)
    """Dialect → isolation → cell → what came of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageResult:
    """All programs' of a language, by name."""

    title: str
    programs: Mapping[str, ProgramResult]


def encode(result: LanguageResult) -> str:
    """The file's text, with one line for each run's cells, so that a change is easy to read."""
    programs = {}
    for name, one in result.programs.items():
        runs = {
            f"{dialect}, {isolation}": " ".join(f"{cell}={outcome}" for cell, outcome in cells.items())
            for dialect, isolations in one.cells.items()
            for isolation, cells in isolations.items()
        }
        programs[name] = {"sdk": one.sdk, "version": one.version, "runs": runs}
    return json.dumps({"language": result.title, "programs": programs}, indent=2) + "\n"


def decode(text: str) -> LanguageResult:
    """The file, read."""
    found = json.loads(text)
    return LanguageResult(
        title=found["language"],
        programs={
            name: ProgramResult(sdk=one["sdk"], version=one["version"], cells=_cells(one["runs"]))
            for name, one in found["programs"].items()
        },
    )


def _cells(runs: Mapping[str, str]) -> dict[str, dict[Isolation, dict[str, Outcome]]]:
    found: dict[str, dict[Isolation, dict[str, Outcome]]] = {}
    for run, text in runs.items():
        dialect, _, isolation = run.partition(", ")
        cells = (word.partition("=") for word in text.split())
        found.setdefault(dialect, {})[Isolation(isolation)] = {cell: Outcome(outcome) for cell, _, outcome in cells}
    return found


def read_results(folder: Path = RESULTS) -> dict[str, LanguageResult]:
    """All that are kept, by language folder."""
    return {path.stem: decode(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
