from __future__ import annotations

import pytest
from conformance.__main__ import PAGE
from conformance.catalogue import Language, languages, parse_language
from conformance.cells import Isolation, Outcome
from conformance.page import clients_table, dialect_tables, replaced
from conformance.results import LanguageResult, ProgramResult, decode, encode, read_results

INSIDE, ENV = Isolation.NAMESPACE, Isolation.ENV
SDK = parse_language(
    "go",
    {"language": "Go", "programs": {"sdk": {"command": []}, "old": {"command": []}}},
    {
        "sdk": {
            "imds": {"none": "ok", "client_id": "ok", "object_id": "it can't", "resource_id": {"ignored": "it forgets"}},
            "imds/env": {"none": {"no-expiry": "it can't read"}, "client_id": "ok"},
            "arc": {"none": "ok"},
        },
        "old": {"imds": "it is too old", "arc": {"none": "ok"}},
    },
)
RESULT = LanguageResult(
    title="Go",
    programs={
        "sdk": ProgramResult(
            sdk="azsdk",
            version="1.2",
            cells={
                "imds": {
                    INSIDE: {
                        "none": Outcome.OK,
                        "client_id": Outcome.OK,
                        "object_id": Outcome.UNSUPPORTED,
                        "resource_id": Outcome.IGNORED,
                        "unknown": Outcome.REFUSED,
                    },
                    ENV: {"none": Outcome.NO_EXPIRY, "client_id": Outcome.OK, "unknown": Outcome.REFUSED},
                },
                "arc": {INSIDE: {"none": Outcome.OK}},
            },
        ),
        "old": ProgramResult(sdk="azsdk", version="0.1", cells={"arc": {INSIDE: {"none": Outcome.OK}}}),
    },
)


def table(dialect: str, *known: Language, results: LanguageResult = RESULT) -> list[str]:
    text = dialect_tables(known or (SDK,), {"go": results})
    part = text.partition(f"### `{dialect}`")[2].partition("\n### ")[0]
    return [line for line in part.splitlines()[1:] if line]


def test_every_cell_that_is_no_tick_has_its_reason() -> None:
    assert table("imds")[2:] == [
        "| Go: sdk | ✓ / ✓ (1) | ✓ | no (2) / - | host's own (3) / - |  | refused |  |  |",
        "| Go: old | no (4) | | | | | | | |",
        "1. It can't read.",
        "2. It can't.",
        "3. It forgets.",
        "4. It is too old.",
    ]


def test_one_isolation_is_shown_alone_where_there_is_no_other() -> None:
    assert table("arc")[2:] == ["| Go: sdk | ✓ |  |  |  |  |  |", "| Go: old | ✓ |  |  |  |  |  |"]


def test_a_way_that_is_left_out_is_said_with_the_name() -> None:
    half = parse_language(
        "go",
        {"language": "Go", "programs": {"sdk": {"command": []}}},
        {"sdk": {"imds": {"none": "ok"}, "imds/env": "it can't"}},
    )
    assert table("imds", half)[2] == "| Go: sdk, not by variables (1) | ✓ |  |  |  |  |  |  |  |"


def test_what_has_no_results_has_no_rows() -> None:
    assert "Go" not in dialect_tables((SDK,), {})
    assert clients_table((SDK,), {}).count("\n") == 2
    assert "| Go | sdk | azsdk | 1.2 |" in clients_table((SDK,), {"go": RESULT})


def test_results_can_be_read_again() -> None:
    assert decode(encode(RESULT)) == RESULT


def test_only_what_is_between_the_markers_is_replaced() -> None:
    page = "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb\n"
    new = replaced(page, "x", "new\n")
    assert new == "a\n<!-- begin: x -->\n\nnew\n\n<!-- end: x -->\nb\n"
    assert replaced(new, "x", "new\n") == new
    with pytest.raises(ValueError, match="no part 'y'"):
        replaced(page, "y", "new\n")


def test_the_page_is_made_of_the_results_that_are_kept() -> None:
    page, known, results = PAGE.read_text(encoding="utf-8"), languages(), read_results()
    made = replaced(page, "conformance clients", clients_table(known, results))
    assert replaced(made, "conformance dialects", dialect_tables(known, results)) == page


def test_the_kept_results_are_of_programs_that_there_are_and_as_expected() -> None:
    expected = {language.folder: {one.name: one for one in language.programs} for language in languages()}
    differing = [
        (folder, name, dialect, isolation, cell)
        for folder, result in read_results().items()
        for name, program in result.programs.items()
        for dialect, isolations in program.cells.items()
        for isolation, cells in isolations.items()
        for cell, outcome in cells.items()
        if outcome not in expected[folder][name].cells[dialect, isolation][cell].outcomes
    ]
    assert differing == []
