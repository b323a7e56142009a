"""What is a condition's text and what is not; what one means is in tests/decisions/conditions.json."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.model.attributes import Attributes
from idplane.model.roles import AccessCall
from idplane.rbac.conditions import MAX_CONDITION, ConditionProblem, meets, read_condition

A = "@Resource[Microsoft.Compute/virtualMachines:zone]"
ACTION = "ActionMatches{'a/b/read'}"


@pytest.mark.parametrize(
    "text",
    [
        ACTION,
        f"( ( !({ACTION}) ) OR ( {A} StringEquals 'x' ) )",
        f"({A} stringequals 'x')",
        f"NOT Exists {A}",
        f"{A} ForAnyOfAnyValues:GuidEquals {{8e3af657-a8ff-443c-a75c-2fe8c4bcb635, '8e3af657-a8ff-443c-a75c-2fe8c4bcb635'}}",
        f"{A} NumericEquals -7",
        "@Resource[Microsoft.Storage/storageAccounts/blobs/tags&$keys$&] ForAnyOfAnyValues:StringEquals {'Project'}",
        "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Engineering_Project] StringEquals 'x'",
        "@Environment[Microsoft.Network/virtualNetworks/subnets] StringEqualsIgnoreCase '/subscriptions/x'",
        "(" * 60 + ACTION + ")" * 60,
    ],
)
def test_these_are_conditions(text: str) -> None:
    assert read_condition(text) is not None


@pytest.mark.parametrize(
    ("text", "words", "position"),
    [
        ("", "an expression is missing", 1),
        ("   ", "an expression is missing", 4),
        ("(", "an expression is missing", 2),
        (f"({ACTION}", "')' is missing", 27),
        (f"{ACTION})", "')' is not expected", 26),
        (f"{ACTION} {ACTION}", "'ActionMatches' is not expected", 27),
        (f"{ACTION} AND {ACTION} OR {ACTION}", "AND and OR are mixed", 57),
        (f"{ACTION} AND", "an expression is missing", 30),
        ("ActionMatches('a')", "'{' is expected", 14),
        ("ActionMatches{a}", "a text in quotes is needed", 15),
        ("ActionMatches{' '}", "a text in quotes is needed", 15),
        ("ActionMatches{'a', 'b'}", "'}' is expected", 18),
        ("ActionMatches{'a", "''' is not expected", 15),
        (f"{A}", "an operator is missing", 50),
        (f"{A} Equals 'x'", "'Equals' is not an operator", 51),
        (f"{A} ForSome:StringEquals 'x'", "'ForSome:StringEquals' is not an operator", 51),
        (f"{A} 'StringEquals' 'x'", "is not an operator", 51),
        (f"{A} StringEquals", "a value is missing", 63),
        (f"{A} StringEquals x", "'x' is not a value", 64),
        (f"{A} StringEquals 7", "StringEquals compares a string", 64),
        (f"{A} StringEquals {{'a', 'b'}}", "sets need a function", 64),
        (f"{A} ForAnyOfAnyValues:StringEquals {{}}", "'}' is not a value", 83),
        (f"{A} ForAnyOfAnyValues:StringEquals {{'a' 'b'}}", "'}' is expected", 87),
        (f"{A} NumericEquals 1.5", "'1' is not expected", 65),
        (f"{A} NumericEquals {'9' * 19}", "is not expected", 65),
        (f"{A} DateTimeEquals 'yesterday'", "DateTimeEquals compares a time", 66),
        (f"{A} DateTimeEquals '2026-02-30T00:00:00Z'", "DateTimeEquals compares a time", 66),
        (f"{A} GuidEquals 'x'", "GuidEquals compares a GUID", 62),
        (f"{A} BoolEquals 'perhaps'", "BoolEquals compares true or false", 62),
        ("'a' StringEquals 'a'", "a comparison needs an attribute", 1),
        ("Exists 'x'", "is not an attribute", 8),
        ("@Resource[]  StringEquals 'x'", "'@' is not expected", 1),
        ("@Resource[a b] StringEquals 'x'", "is not a known attribute", 1),
        ("@Anything[a/b:c] StringEquals 'x'", "is not a known attribute", 1),
        ("@Environment[weather] StringEquals 'x'", "is not a known attribute", 1),
        ("@Principal[a/b:c] StringEquals 'x'", "is not a known attribute", 1),
        (f"{A} StringEquals 'it''s'", "is not expected", 68),
        (f"{ACTION}; drop table role_assignments", "';' is not expected", 26),
        (f"{ACTION} -- AND false", "'-' is not expected", 27),
        (f"{ACTION} \u0000", "is not expected", 27),
        (f"{ACTION} \u00a0", "is not expected", 27),
        ("(" * 80 + ACTION + ")" * 80, "nested deeper", 66),
        ("!" * 80 + ACTION, "nested deeper", 66),
        ("!" * (MAX_CONDITION + 1), "longer than 8192 bytes", MAX_CONDITION),
    ],
)
def test_these_are_not(text: str, words: str, position: int) -> None:
    with pytest.raises(ConditionProblem) as refused:
        read_condition(text)
    assert words in refused.value.words
    assert refused.value.position == position
    assert str(refused.value).endswith(f"at character {refused.value.position}")


_SCRAPS = st.sampled_from(
    [
        A,
        ACTION,
        "(",
        ")",
        "{",
        "}",
        "!",
        " AND ",
        " OR ",
        " && ",
        "'x'",
        "7",
        " StringEquals ",
        "Exists ",
        "\\",
        "*",
        ",",
        "true",
    ]
)
_CALL = AccessCall(principal_ids=frozenset(), action="a/b/read", data=False, scopes=("/",))


@given(st.lists(_SCRAPS, max_size=20).map("".join) | st.text(max_size=60))
def test_any_text_is_a_condition_or_told_what_is_wrong_with_it(text: str) -> None:
    problem = _problem(text)
    if problem is None:
        assert meets(_CALL, text) is (read_condition(text).holds(_CALL) is True)
    else:
        assert 0 <= problem.position <= max(len(text), 1) + 1
        assert not meets(_CALL, text)


def _problem(text: str) -> ConditionProblem | None:
    try:
        read_condition(text)
    except ConditionProblem as problem:
        return problem
    return None


@given(st.lists(_SCRAPS, max_size=12).map("".join))
def test_what_is_told_is_told_the_same_negated(text: str) -> None:
    try:
        plain, negated = read_condition(text), read_condition(f"!({text})")
    except ConditionProblem:
        return
    answer = plain.holds(_CALL)
    assert negated.holds(_CALL) is (None if answer is None else not answer)


def test_a_pattern_of_stars_is_matched_in_time() -> None:
    zone = "microsoft.compute/virtualmachines:zone"
    text = f"{A} StringLike '{'*a' * 500}b'"
    call = AccessCall(
        principal_ids=frozenset(),
        action="a/b/read",
        data=False,
        scopes=("/",),
        attributes=Attributes(resource={zone: ("a" * 2000,)}),
    )
    assert not meets(call, text)
