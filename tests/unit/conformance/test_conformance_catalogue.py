from __future__ import annotations

from typing import Any

import pytest
from conformance.catalogue import languages, parse_language
from conformance.cells import CELLS, DIALECTS, IMPLIED, STAGES, Isolation, Outcome

IMDS = next(stage for stage in STAGES if stage.dialect == "imds" and stage.host == "machine")
NO = {Outcome.REFUSED, Outcome.UNSUPPORTED}


def parsed(expected: dict[str, Any]) -> Any:
    described = {"language": "Go", "needs": ["go"], "programs": {"sdk": {"command": ["{cache}/sdk"]}}}
    return parse_language("go", described, {"sdk": expected}).programs[0]


def test_a_reason_allows_an_error_and_the_lack_of_a_way_to_ask() -> None:
    asked = parsed({"imds": {"none": "ok", "object_id": "no such option"}}).asked(IMDS, Isolation.ENV)
    assert asked["none"].outcomes == {Outcome.OK}
    assert (asked["object_id"].outcomes, asked["object_id"].reason) == (NO, "no such option")


@pytest.mark.parametrize("outcome", ["ignored", "no-expiry"])
def test_what_is_neither_right_nor_refused_must_be_said_with_a_reason(outcome: str) -> None:
    program = parsed({"imds": {"none": {outcome: "because"}}})
    assert program.asked(IMDS, Isolation.ENV)["none"].outcomes == {Outcome(outcome)}


def test_nobodys_client_id_is_asked_wherever_client_ids_are() -> None:
    asked = parsed({"imds": {"client_id": "ok"}}).asked(IMDS, Isolation.NAMESPACE)
    assert (asked["unknown"].outcomes, asked["unknown"].reason) == (NO, "")
    asked = parsed({"imds": {"client_id": {"ignored": "because"}}}).asked(IMDS, Isolation.NAMESPACE)
    assert asked["unknown"].outcomes == NO
    asked = parsed({"imds": {"client_id": "ok", "unknown": {"ignored": "because"}}}).asked(IMDS, Isolation.NAMESPACE)
    assert asked["unknown"].outcomes == {Outcome.IGNORED}
    assert "unknown" not in parsed({"imds": {"none": "ok"}}).asked(IMDS, Isolation.NAMESPACE)


def test_one_isolation_can_differ() -> None:
    program = parsed({"imds": {"none": "ok"}, "imds/env": "the address is built in"})
    assert set(program.asked(IMDS, Isolation.NAMESPACE)) == {"none"}
    assert program.asked(IMDS, Isolation.ENV) == {}
    assert program.absent == {("imds", Isolation.ENV): "the address is built in"}


def test_a_dialect_that_is_not_named_is_not_run() -> None:
    program = parsed({"imds": {"none": "ok"}})
    assert {dialect for dialect, _ in (*program.cells, *program.absent)} == {"imds"}


@pytest.mark.parametrize(
    "expected",
    [
        {"imsd": {"none": "ok"}},
        {"arc/env": {"none": "ok"}},
        {"imds": {"no-such-cell": "ok"}},
        {"imds": {"none": ""}},
        {"imds": {"none": {"refused": "because"}}},
        {"imds": {"none": {"ok": "a", "ignored": "b"}}},
        {"imds": {"none": 1}},
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(expected: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="go: sdk"):
        parsed(expected)


def test_both_files_name_the_same_programs() -> None:
    with pytest.raises(ValueError, match="differ in other"):
        parse_language("go", {"language": "Go", "programs": {}}, {"other": {}})


def test_every_cell_is_asked_somewhere_and_every_dialect_has_a_table() -> None:
    assert {cell for stage in STAGES for cell in stage.cells} == set(CELLS)
    assert {stage.dialect for stage in STAGES} == set(DIALECTS)
    assert {*IMPLIED, *IMPLIED.values()} <= set(CELLS)


def test_the_languages_here_make_sense_and_can_be_built() -> None:
    from conformance.catalogue import HERE  # noqa: PLC0415 - beside its use

    found = languages()
    assert {"python", "javascript"} <= {language.folder for language in found}
    assert [language.folder for language in found if not (HERE / language.folder / "build").stat().st_mode & 0o100] == []
