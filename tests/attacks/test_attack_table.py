"""`docs/security.md` says of attacks what their tests have met, and of refusals what the code does with them."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest
from tests.attacks.table import ATTACKS

from idplane.agent.refusals import is_reported
from idplane.model.failure import Category, Failure, FailureKind
from idplane.sts.reported import is_logged
from idplane.sts.service import is_recorded
from idplane.web.watched import OPEN_TO_STRANGERS, is_counted

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/security.md").read_text(encoding="utf-8")
MEETING = {"met", "met_by", "met_each", "refused"}
SURFACES = ("authority", "agents", "management", "graph", "vault", "log", "events", "portal")


def tables(heading: str) -> list[list[str]]:
    """The rows of the table below a heading, without its head."""
    below = DOCUMENT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def tried() -> dict[str, set[str]]:
    """The names of rows that tests meet, and the files that do: literals in calls of `met` and its kin, and in parameters named `row`."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if "tests.attacks.table" not in text or path == Path(__file__):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and _called(node) in MEETING | {"parametrize"}:
                literals = (one.value for one in ast.walk(node) if isinstance(one, ast.Constant))
                for value in literals:
                    if isinstance(value, str) and value in ATTACKS:
                        found[value].add(str(path.relative_to(ROOT)))
    return found


def _called(node: ast.Call) -> str:
    function = node.func
    return function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""


def test_each_attack_is_tried_and_told() -> None:
    files = tried()
    assert sorted(files) == sorted(ATTACKS), "a row that no test meets"
    rows = [
        [row.group, row.what, row.answer, row.record, ", ".join(f"`{one}`" for one in sorted(files[name]))]
        for name, row in ATTACKS.items()
    ]
    assert tables("Attacks, their answers and their records") == rows


def kept_for(kinds: str) -> list[FailureKind]:
    return [FailureKind[name.strip("`")] for name in kinds.split(", ")]


def test_every_kind_of_failure_is_in_the_table_once() -> None:
    named = [kind for row in tables("What refusals leave behind") for kind in kept_for(row[0])]
    assert len(named) == len(set(named))
    assert {one.name for one in FailureKind} - {one.name for one in named} == set(), "say where its refusals are on record"


@pytest.mark.parametrize("row", tables("What refusals leave behind"), ids=lambda row: row[0][:40])
def test_the_table_says_what_the_code_does(row: list[str]) -> None:
    kinds, unproved, elsewhere, host, reason = row
    for kind in kept_for(kinds):
        assert {is_counted(surface, kind) for surface in OPEN_TO_STRANGERS} == {unproved == "counted"}
        assert {is_counted(one, kind) for one in SURFACES if one not in OPEN_TO_STRANGERS} == {elsewhere == "counted"}
        assert host == "-" or (is_reported(Failure(kind)) and is_logged(kind.name)) == (host == "sign-in log")
        assert is_recorded(kind) == (kind.category not in (Category.INTERNAL, Category.UNAVAILABLE) and "poll" not in reason)
        assert reason, "which record of its own, or why none"
