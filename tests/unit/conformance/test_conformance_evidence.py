from __future__ import annotations

import io
from contextlib import redirect_stdout

from conformance.__main__ import Done, Task
from conformance.catalogue import parse_language
from conformance.cells import STAGES, Isolation, Outcome
from conformance.evidence import Finding
from conformance.running import Heard, understood

LANGUAGE = parse_language(
    "go", {"language": "Go", "programs": {"sdk": {"command": []}}}, {"sdk": {"imds": {"none": "ok", "object_id": "it can't"}}}
)
TASK = Task(language=LANGUAGE, program=LANGUAGE.programs[0], stage=STAGES[0], isolation=Isolation.ENV)


def done(none: Outcome, object_id: Outcome, *, trouble: str = "") -> Done:
    findings = {"none": Finding(outcome=none, detail="words"), "object_id": Finding(outcome=object_id)}
    return Done(task=TASK, heard=Heard(trouble=trouble), findings=findings, seconds=0)


def test_nothing_differs_when_all_is_as_expected() -> None:
    assert list(done(Outcome.OK, Outcome.UNSUPPORTED).differences()) == []
    assert list(done(Outcome.OK, Outcome.REFUSED).differences()) == []


def test_a_difference_in_either_direction_is_told() -> None:
    worse, better = done(Outcome.REFUSED, Outcome.OK).differences()
    assert worse == "Go: sdk: imds, env: none: expected ok, got refused (words)"
    assert better == "Go: sdk: imds, env: object_id: expected refused or unsupported (it can't), got ok ()"


def test_a_program_that_breaks_off_differs_even_if_it_said_enough() -> None:
    assert list(done(Outcome.OK, Outcome.REFUSED, trouble="it ended with 1").differences()) == [
        "Go: sdk: imds, env: it ended with 1"
    ]


def test_what_a_program_says_is_understood_in_any_order() -> None:
    heard = understood('{"sdk": "s", "version": "1"}\n{"id": "b", "error": "x"}\n{"id": "a", "token": "t"}\n', "e\n", "")
    assert (heard.about["version"], set(heard.answers), heard.trouble, heard.errors) == ("1", {"a", "b"}, "", "e")


def test_what_it_should_not_say_is_trouble() -> None:
    assert "is no JSON object" in understood('{"sdk": "s", "version": "1"}\nhello\n', "", "").trouble
    assert "is no JSON object" in understood('{"sdk": "s", "version": "1"}\n[1]\n', "", "").trouble
    assert understood("", "", "").trouble == "it did not say what it is"
    assert understood("", "", "it ended with 1").trouble == "it ended with 1"


def test_reports_are_whole_lines() -> None:
    from conformance.__main__ import print_done  # noqa: PLC0415 - beside its use

    with redirect_stdout(io.StringIO()) as shown:
        print_done(done(Outcome.OK, Outcome.OK))
    assert shown.getvalue() == "DIFFERENT   0.0 s  Go: sdk: imds, env: none=ok object_id=ok\n"
