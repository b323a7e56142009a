"""`make conformance`: runs the programs of all languages, or of some, and says what differs from what is expected."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.stories.workloads import why_no_namespaces

from conformance.catalogue import HERE, Expectation, Language, Program, languages
from conformance.cells import STAGES, Isolation, Outcome, Stage
from conformance.estate import Estate
from conformance.evidence import Finding, Judge
from conformance.page import clients_table, dialect_tables, replaced
from conformance.results import RESULTS, LanguageResult, ProgramResult, encode, read_results
from conformance.running import BuildError, Heard, build, missing_tools, run

PAGE = HERE.parent / "docs" / "compatibility.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One program on one host."""

    language: Language
    program: Program
    stage: Stage
    isolation: Isolation

    def __str__(self) -> str:
        return f"{self.language.title}: {self.program.name}: {self.stage.dialect}, {self.isolation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of it."""

    task: Task
    heard: Heard
    findings: dict[str, Finding]
    seconds: float

    def differences(self) -> Iterator[str]:
        """In words; none if everything is as expected."""
        asked = self.task.program.asked(self.task.stage, self.task.isolation)
        for cell, expected in asked.items():
            found = self.findings[cell]
            if found.outcome not in expected.outcomes:
                yield f"{self.task}: {cell}: expected {_expected(expected)}, got {found.outcome} ({found.detail})"
        if self.heard.trouble:
            yield f"{self.task}: {self.heard.trouble}"


def _expected(expectation: Expectation) -> str:
    outcomes = " or ".join(sorted(expectation.outcomes))
    return f"{outcomes} ({expectation.reason})" if expectation.reason else outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    options = _options(arguments)
    if options.page:
        PAGE.write_text(_page(read_results()), encoding="utf-8")
        return 0
    chosen, failures = _chosen(languages(), options.languages)
    without_namespaces = why_no_namespaces()
    if without_namespaces:
        failures += _skipped(without_namespaces)
    isolations = [Isolation.ENV] if without_namespaces else list(Isolation)
    with tempfile.TemporaryDirectory(prefix="idplane-conformance-") as folder, Estate(Path(folder)) as estate:
        done = _perform(estate, Judge(estate), _tasks(chosen, isolations, options), options.jobs)
    failures += [difference for one in done for difference in one.differences()]
    _print_errors(done)
    if not (options.programs or options.dialects or without_namespaces):
        failures += _keep(chosen, done, check=options.check)
    cells = sum(len(one.findings) for one in done)
    programs = len({(one.task.language.folder, one.task.program.name) for one in done})
    print(f"\n{cells} cells of {programs} programs in {len(done)} runs")
    for failure in failures:
        print(f"DIFFERENT  {failure}")
    print("everything is as expected" if not failures else f"{len(failures)} differences")
    return 1 if failures else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conformance", description="Real SDKs against a live plane.")
    parser.add_argument("--languages", type=_words, default=(), help="folders, with commas between them; all if not given")
    parser.add_argument(
        "--programs", type=_words, default=(), help="only programs with one of these words in their names; nothing is written"
    )
    parser.add_argument("--dialects", type=_words, default=(), help="only these dialects; nothing is written")
    parser.add_argument("--page", action="store_true", help="run nothing; make the page of the results that are kept")
    parser.add_argument("--jobs", type=int, default=max(2, os.cpu_count() or 2), help="programs at once")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if what is committed would change")
    return parser.parse_args(arguments)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _chosen(known: Sequence[Language], wanted: Sequence[str]) -> tuple[list[Language], list[str]]:
    """The languages that can run here, built; and what is wrong with the others."""
    unknown = set(wanted) - {one.folder for one in known}
    if unknown:
        raise SystemExit(
            f"there is no language {', '.join(sorted(unknown))}; there are {', '.join(one.folder for one in known)}"
        )
    chosen, failures = [], []
    for language in known:
        if wanted and language.folder not in wanted:
            continue
        missing = missing_tools(language)
        if missing:
            failures += _skipped(f"{language.title}: {', '.join(missing)} is not installed")
            continue
        started = time.perf_counter()
        try:
            build(language)
        except BuildError as error:
            failures.append(f"{language.title}: its programs can't be built: {error}")
            continue
        print(f"{language.title}: built in {time.perf_counter() - started:.1f} s", flush=True)
        chosen.append(language)
    return chosen, failures


def _skipped(reason: str) -> list[str]:
    """What can't be tried on this machine: said, and a failure in CI."""
    print(f"SKIPPED  {reason}", flush=True)
    return [f"{reason}, which CI must not leave out"] if os.environ.get("CI") else []


def _tasks(chosen: Sequence[Language], isolations: Sequence[Isolation], options: argparse.Namespace) -> list[Task]:
    return [
        Task(language=language, program=program, stage=stage, isolation=isolation)
        for stage in STAGES
        if not options.dialects or stage.dialect in options.dialects
        for language in chosen
        for program in language.programs
        if not options.programs or any(word in program.name for word in options.programs)
        for isolation in stage.isolations
        if isolation in isolations and program.asked(stage, isolation)
    ]


def _perform(estate: Estate, judge: Judge, tasks: Sequence[Task], jobs: int) -> list[Done]:
    def perform(task: Task) -> Done:
        started = time.perf_counter()
        asked = task.program.asked(task.stage, task.isolation)
        heard = run(estate, task.language, task.program, task.stage, task.isolation, asked)
        count = heard.asked if task.stage.witnessed else None
        findings = {cell: judge.judge(cell, task.stage.host, heard.answers.get(cell), asked=count) for cell in asked}
        done = Done(task=task, heard=heard, findings=findings, seconds=time.perf_counter() - started)
        print_done(done)
        return done

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(perform, tasks))


def print_done(done: Done) -> None:
    """One line about one run."""
    words = " ".join(f"{cell}={finding.outcome}" for cell, finding in done.findings.items())
    mark = "ok       " if next(done.differences(), None) is None else "DIFFERENT"
    # One write, since several threads report.
    sys.stdout.write(f"{mark} {done.seconds:5.1f} s  {done.task}: {words}\n")
    sys.stdout.flush()


def _print_errors(done: Sequence[Done]) -> None:
    for one in done:
        if next(one.differences(), None) is not None and one.heard.errors:
            print(f"\n-- standard error of {one.task}\n{one.heard.errors}")


def _keep(chosen: Sequence[Language], done: Sequence[Done], *, check: bool) -> list[str]:
    """Write the results of languages that are as expected, and the page; or say what would change."""
    results = read_results()
    changed = []
    for language in chosen:
        mine = [one for one in done if one.task.language is language]
        if any(next(one.differences(), None) is not None for one in mine):
            continue
        result = _result(language, mine)
        if results.get(language.folder) != result:
            changed.append(f"{RESULTS.name}/{language.folder}.json")
            results[language.folder] = result
            if not check:
                (RESULTS / f"{language.folder}.json").write_text(encode(result), encoding="utf-8")
    page, new = PAGE.read_text(encoding="utf-8"), _page(results)
    if new != page:
        changed.append(str(PAGE.relative_to(HERE.parent)))
        if not check:
            PAGE.write_text(new, encoding="utf-8")
    if not check:
        print("".join(f"wrote {name}\n" for name in changed), end="")
        return []
    return [f"{name} is not what came out; run make conformance" for name in changed]


def _page(results: Mapping[str, LanguageResult]) -> str:
    page, known = PAGE.read_text(encoding="utf-8"), languages()
    page = replaced(page, "conformance clients", clients_table(known, results))
    return replaced(page, "conformance dialects", dialect_tables(known, results))


def _result(language: Language, done: Sequence[Done]) -> LanguageResult:
    programs = {}
    for program in language.programs:
        mine = [one for one in done if one.task.program is program]
        if not mine:
            continue
        cells: dict[str, dict[Isolation, dict[str, Outcome]]] = {}
        for one in mine:
            into = cells.setdefault(one.task.stage.dialect, {}).setdefault(one.task.isolation, {})
            into |= {cell: finding.outcome for cell, finding in one.findings.items()}
        about = mine[0].heard.about
        programs[program.name] = ProgramResult(sdk=str(about["sdk"]), version=str(about["version"]), cells=cells)
    return LanguageResult(title=language.title, programs=programs)


if __name__ == "__main__":
    sys.exit(main())
