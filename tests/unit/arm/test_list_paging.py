"""Cursors round-trip, foreign ones are refused, and links continue the request that was made."""

from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.arm.paging import DEFAULT_PAGE, MAX_PAGE, Paging, next_link
from idplane.model.failure import Failure, FailureKind

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=50)


@given(_TEXT.filter(bool), _TEXT)
def test_a_link_repeats_the_request_from_where_the_page_ended(after: str, value: str) -> None:
    query = (("api-version", "2024-11-30"), ("$filter", value), ("$SkipToken", "old"))
    link = urlsplit(next_link("https://localhost:8443", "/subscriptions/a b/x", query, after))
    asked = dict(parse_qsl(link.query, keep_blank_values=True))
    assert (link.scheme, link.netloc, unquote(link.path)) == ("https", "localhost:8443", "/subscriptions/a b/x")
    assert {name: asked[name] for name in ("api-version", "$filter")} == {"api-version": "2024-11-30", "$filter": value}
    assert set(asked) == {"api-version", "$filter", "$skiptoken"}
    assert Paging.of(None, asked["$skiptoken"]).after == after


@pytest.mark.parametrize("token", ["!", "a", "=", "____", "AAAA", "é", "a" * 5000, "YQ YQ"])
def test_a_foreign_cursor_is_refused(token: str) -> None:
    with pytest.raises(Failure) as refused:
        Paging.of(None, token)
    assert refused.value.kind is FailureKind.INVALID_PARAMETER


@pytest.mark.parametrize("top", ["0", "-1", "x", "1.5", "٣", "1" * 30, "+1"])
def test_a_page_size_is_a_positive_number(top: str) -> None:
    with pytest.raises(Failure) as refused:
        Paging.of(top, None)
    assert refused.value.kind is FailureKind.INVALID_PARAMETER


def test_page_sizes_are_bounded() -> None:
    assert Paging.of(None, None).top == DEFAULT_PAGE
    assert Paging.of("", "").after is None
    assert Paging.of("7", None).top == 7
    assert Paging.of("999999", None).top == MAX_PAGE
