from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.model.failure import Failure, FailureKind
from idplane.providers.filters import Comparison, FunctionCall, parse_filter

WORDS = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,12}", fullmatch=True)
VALUES = st.text(max_size=30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ()),
        ("", ()),
        ("  ", ()),
        ("a eq 'b'", (Comparison("a", "eq", "b"),)),
        ("A EQ b", (Comparison("a", "eq", "b"),)),
        ("a eq 'it''s' and f()", (Comparison("a", "eq", "it's"), FunctionCall("f", None))),
        (
            "  f ( 'x' )  AND  a ge 2026-01-01T00:00:00+00:00 ",
            (FunctionCall("f", "x"), Comparison("a", "ge", "2026-01-01T00:00:00+00:00")),
        ),
        ("android eq and and f()", (Comparison("android", "eq", "and"), FunctionCall("f", None))),
        ("f(x)", (FunctionCall("f", "x"),)),
        ("a eq 'and b eq 2'", (Comparison("a", "eq", "and b eq 2"),)),
        ("a/b.c eq ''", (Comparison("a/b.c", "eq", ""),)),
    ],
)
def test_what_a_filter_means(text: str | None, expected: tuple[object, ...]) -> None:
    assert parse_filter(text) == expected


@given(st.lists(st.tuples(WORDS, VALUES), min_size=1, max_size=16))
def test_any_quoted_value_comes_through(pairs: list[tuple[str, str]]) -> None:
    text = " and ".join(f"{name} eq '{value.replace(chr(39), chr(39) * 2)}'" for name, value in pairs)
    assert parse_filter(text) == tuple(Comparison(name.lower(), "eq", value) for name, value in pairs)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    kind = None
    try:
        parse_filter(text)
    except Failure as failure:
        kind = failure.kind
    assert kind in {None, FailureKind.INVALID_FILTER}
