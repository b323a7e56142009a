"""The tables of docs/compatibility.md, made from the results that are kept and the expectations that explain them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from conformance.catalogue import Language, Program
from conformance.cells import CELLS, DIALECTS, STAGES, Isolation, Outcome
from conformance.results import LanguageResult, ProgramResult

__all__ = ["clients_table", "dialect_tables", "replaced"]

_WORDS: Mapping[Outcome, str] = {
    Outcome.OK: "✓",
    Outcome.NO_EXPIRY: "✓",
    Outcome.REPEATED: "asked again",
    Outcome.IGNORED: "host's own",
    Outcome.REFUSED: "no",
    Outcome.UNSUPPORTED: "no",
    Outcome.WRONG: "wrong",
}
_WAYS: Mapping[Isolation, str] = {Isolation.NAMESPACE: "by variables only", Isolation.ENV: "not by variables"}


def replaced(page: str, name: str, content: str) -> str:
    """`page` with `content` between the markers `<!-- begin: name -->` and `<!-- end: name -->`; raises ValueError without them."""
    begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"the page has no part {name!r}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def clients_table(languages: Sequence[Language], results: Mapping[str, LanguageResult]) -> str:
    """Which SDKs in which versions."""
    rows = [
        f"| {result.title} | {name} | {one.sdk} | {one.version} |"
        for language in languages
        if (result := results.get(language.folder)) is not None
        for name, one in result.programs.items()
    ]
    return "\n".join(("| Language | Client | Package | Version |", "|---|---|---|---|", *rows)) + "\n"


def dialect_tables(languages: Sequence[Language], results: Mapping[str, LanguageResult]) -> str:
    """One table for each dialect, with its footnotes."""
    return "\n".join(_dialect(dialect, purpose, languages, results) for dialect, purpose in DIALECTS.items())


@dataclass(slots=True)
class _Notes:
    """Footnotes of one table, numbered in the order of their first use."""

    reasons: list[str] = field(default_factory=list)

    def mark(self, reason: str) -> str:
        if not reason:
            return ""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f" ({self.reasons.index(reason) + 1})"

    def lines(self) -> Iterator[str]:
        for number, reason in enumerate(self.reasons, 1):
            yield f"{number}. {reason[0].upper()}{reason[1:]}{'' if reason.endswith('.') else '.'}"


def _dialect(dialect: str, purpose: str, languages: Sequence[Language], results: Mapping[str, LanguageResult]) -> str:
    known = {cell for stage in STAGES if stage.dialect == dialect for cell in stage.cells}
    columns = [cell for cell in CELLS if cell in known]
    notes = _Notes()
    rows = [
        _row(program, found, dialect, columns, notes, title=result.title)
        for language in languages
        if (result := results.get(language.folder)) is not None
        for program in language.programs
        if (found := result.programs.get(program.name)) is not None
    ]
    shown = [row for row in rows if row]
    head = [f"| Client | {' | '.join(CELLS[cell].title for cell in columns)} |", "|---" * (len(columns) + 1) + "|"]
    parts = [f"### `{dialect}`: {purpose}\n", *head, *shown, "", *notes.lines()]
    return "\n".join(parts).rstrip() + "\n"


def _row(program: Program, found: ProgramResult, dialect: str, columns: Sequence[str], notes: _Notes, *, title: str) -> str:
    run = [one for one in Isolation if (dialect, one) in program.cells]
    left_out = {one: reason for one in Isolation if (reason := program.absent.get((dialect, one))) is not None}
    if not run:
        return _absent_row(title, program, notes.mark(next(iter(left_out.values()))), columns) if left_out else ""
    without = "".join(f", {_WAYS[one]}{notes.mark(reason)}" for one, reason in left_out.items())
    cells = [_cell(program, found, dialect, run, column, notes) for column in columns]
    return f"| {title}: {program.name}{without} | {' | '.join(cells)} |"


def _absent_row(title: str, program: Program, mark: str, columns: Sequence[str]) -> str:
    return f"| {title}: {program.name} | no{mark}{' |' * len(columns)}"


def _cell(
    program: Program, found: ProgramResult, dialect: str, isolations: Sequence[Isolation], column: str, notes: _Notes
) -> str:
    words = [_words(program, found, dialect, one, column, notes) for one in isolations]
    return words[0] if len(set(words)) == 1 else " / ".join(word or "-" for word in words)


def _words(program: Program, found: ProgramResult, dialect: str, isolation: Isolation, column: str, notes: _Notes) -> str:
    outcome = found.cells.get(dialect, {}).get(isolation, {}).get(column)
    expected = program.cells.get((dialect, isolation), {}).get(column)
    if outcome is None or expected is None:
        return ""
    if CELLS[column].identity == "nobody" and outcome in {Outcome.REFUSED, Outcome.UNSUPPORTED} and not expected.reason:
        return "refused"
    return f"{_WORDS[outcome]}{notes.mark(expected.reason)}"
