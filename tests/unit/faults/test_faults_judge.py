from pathlib import Path

import pytest
from faults.allowances import RULES, SETTLE, FaultName
from faults.catalogue import FAULTS
from faults.judge import CALM, Judgement, Rule, Silence, Verdict, Window, judge
from faults.outcomes import Kind, Outcome, Result
from faults.page import replaced
from faults.table import as_json, as_text

CUT = "cut"
RULE = Rule(kind=Kind.FRESH, results=frozenset({Result.RETRY}), within=5.0, why="it is cut off")
WINDOW = Window(fault=CUT, start=100.0, end=110.0, settled=115.0)


def outcome(
    result: Result = Result.OK, *, at: float, seconds: float = 0.1, client: str = "north/imds", kind: Kind = Kind.FRESH
) -> Outcome:
    return Outcome(client=client, kind=kind, result=result, at=at, seconds=seconds, detail="503")


def judged(*outcomes: Outcome, window: Window = WINDOW, rule: Rule = RULE) -> Verdict:
    """What one fault did, in a run where everybody was well before and after."""
    around = [outcome(at=99.0), outcome(at=112.0), outcome(at=116.0)]
    found = judge([*around, *outcomes], [window], {CUT: [rule]})
    return found.verdicts[1]


def calm(judgement: Judgement) -> Verdict:
    return judgement.verdicts[0]


@pytest.mark.parametrize("at", [99.95, 100.0, 105.0, 110.0, 115.0])
def test_what_overlaps_a_fault_and_has_a_rule_is_allowed(at: float) -> None:
    verdict = judged(outcome(Result.RETRY, at=at))
    assert (verdict.allowed, verdict.forbidden) == (1, ())


@pytest.mark.parametrize(
    "bad",
    [
        outcome(Result.RETRY, at=105.0, kind=Kind.CACHED),
        outcome(Result.LOST, at=105.0),
        outcome(Result.BROKEN, at=105.0),
        outcome(Result.WRONG, at=105.0),
        outcome(Result.RETRY, at=105.0, seconds=5.1),
    ],
    ids=["another kind", "another result", "broken", "wrong", "too late"],
)
def test_what_no_rule_is_about_is_forbidden(bad: Outcome) -> None:
    verdict = judged(bad)
    assert verdict.allowed == 0
    (sentence,) = verdict.forbidden
    assert sentence.startswith("north/imds: ")
    assert "5.0 s into “cut”" in sentence


@pytest.mark.parametrize("at", [50.0, 99.8, 115.1])
def test_outside_of_faults_nothing_is_allowed(at: float) -> None:
    found = judge([outcome(at=99.0), outcome(at=114.0), outcome(Result.RETRY, at=at)], [WINDOW], {CUT: [RULE]})
    assert found.verdicts[1].forbidden == ()
    assert len(calm(found).forbidden) == 1
    assert found.forbidden == calm(found).forbidden
    assert "while nothing was broken" in found.forbidden[0]


def test_a_fault_without_rules_allows_nothing() -> None:
    found = judge([outcome(at=99.0), outcome(Result.RETRY, at=101.0), outcome(at=114.0)], [WINDOW], {})
    assert len(found.verdicts[1].forbidden) == 1


def test_a_rule_for_some_clients_is_not_for_others() -> None:
    rule = Rule(kind=Kind.FRESH, results=frozenset({Result.RETRY}), within=5.0, why="it is banned", clients="north/")
    around = [outcome(at=at, client="south/imds") for at in (99.0, 112.0)]
    allowed = judged(outcome(Result.RETRY, at=105.0), rule=rule)
    forbidden = judged(*around, outcome(Result.RETRY, at=105.0, client="south/imds"), rule=rule)
    assert (allowed.allowed, len(forbidden.forbidden)) == (1, 1)


def test_a_request_between_two_faults_counts_for_the_one_that_allows_it() -> None:
    later = Window(fault="later", start=116.0, end=120.0, settled=121.0)
    slow = outcome(Result.RETRY, at=114.0, seconds=3.0)
    around = [outcome(at=at) for at in (99.0, 111.0, 115.5, 120.5)]
    first = judge([*around, slow], [WINDOW, later], {CUT: [RULE]})
    second = judge([*around, slow], [WINDOW, later], {"later": [RULE]})
    assert [one.allowed for one in first.verdicts] == [0, 1, 0]
    assert [one.allowed for one in second.verdicts] == [0, 0, 1]
    assert first.forbidden == second.forbidden == ()


def test_a_client_that_is_not_heard_any_more_is_a_failure() -> None:
    found = judge([outcome(at=99.0), outcome(at=109.9)], [WINDOW], {CUT: [RULE]})
    assert found.verdicts[1].forbidden == ("north/imds: no success any more after “cut”",)


def test_a_client_that_had_gone_long_before_is_none() -> None:
    assert judged(outcome(at=90.0, client="resource", kind=Kind.VERIFY)).forbidden == ()


def test_gaps_are_between_successes_of_one_client() -> None:
    verdict = judged(outcome(at=103.0), outcome(at=104.0, client="south/imds"), outcome(at=113.0, client="south/imds"))
    assert verdict.gap == pytest.approx(9.0)
    assert {verdict.gap_client} <= {"north/imds", "south/imds"}


def test_recovery_is_until_the_last_failure_was_over() -> None:
    assert judged(outcome(Result.RETRY, at=105.0)).recovery == 0.0
    assert judged(outcome(Result.RETRY, at=111.0, seconds=2.0)).recovery == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("at", "client", "breaks"),
    [
        (101.5, "north/imds", True),
        (105.0, "north/imds", True),
        (100.5, "north/imds", False),
        (109.5, "north/imds", False),
        (105.0, "south/imds", False),
    ],
)
def test_success_is_a_failure_where_there_must_be_none(at: float, client: str, *, breaks: bool) -> None:
    silence = Silence(clients="north/", kinds=frozenset({Kind.FRESH}), start=101.0, end=109.0)
    window = Window(fault=CUT, start=100.0, end=110.0, settled=115.0, silence=silence)
    more = [outcome(at=when, client=client) for when in (99.0, 112.0)]
    found = judged(*more, outcome(at=at, client=client), window=window)
    assert len(found.forbidden) == (1 if breaks else 0)


def test_nothing_at_all_is_no_fault() -> None:
    found = judge([], [], {})
    assert (found.verdicts[0].fault, found.verdicts[0].requests, found.forbidden) == (CALM, 0, ())


def test_every_fault_can_be_brought_about_and_has_its_rules_and_bounds() -> None:
    assert list(FAULTS) == list(FaultName)
    assert set(RULES) == set(SETTLE) == set(FaultName)


def test_nobody_may_be_told_anything_untrue_or_be_left_waiting() -> None:
    """But for the two exceptions that `allowances` names."""
    for fault, rules in RULES.items():
        for rule in rules:
            assert Result.BROKEN not in rule.results
            assert Result.WRONG not in rule.results or fault == FaultName.KEY_TAINTED
            assert Result.TIMEOUT not in rule.results or fault in {FaultName.NETWORK_DROPPED, FaultName.NETWORK_RESET}
            assert rule.within <= 90


def test_restarting_servers_one_by_one_and_moving_clocks_may_harm_nobody() -> None:
    harmless = (FaultName.ROLLING, FaultName.KEYS_ROTATED, FaultName.SERVER_AHEAD, FaultName.HOST_BEHIND)
    assert all(RULES[fault] == () for fault in harmless)


def test_the_page_says_what_is_allowed() -> None:
    """make faults' own page: python -m faults --page writes it."""
    page = Path(__file__).parents[3].joinpath("faults", "README.md").read_text(encoding="utf-8")
    assert replaced(page) == page


def test_the_table_says_it_all() -> None:
    text = as_text([judged(outcome(Result.RETRY, at=105.0), outcome(Result.BROKEN, at=112.0))])
    head, line, row = text.splitlines()
    assert head.split() == ["fault", "lasted", "requests", "allowed", "forbidden", "longest", "gap", "recovered", "in"]
    assert set(line) == {"-", " "}
    assert row.split() == ["cut", "10.0", "s", "3", "1", "1", "12.9", "s", "2.1", "s"] or row.startswith("cut")
    assert '"troubles": []' in as_json([judged()], troubles=[])
