import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.model.expressions import holds, parse_expression, wildcard_match
from idplane.model.failure import Failure, FailureKind

_CLAIMS = {"sub": "repo:contoso/stock:ref:refs/heads/main", "run": 5, "environment": "a and b", "empty": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("claims['sub'] eq 'repo:contoso/stock:ref:refs/heads/main'", True),
        ("claims['sub'] eq 'REPO:contoso/stock:ref:refs/heads/main'", False),
        ("claims['sub'] eq 'repo:contoso/*'", False),
        ("claims['sub'] matches 'repo:contoso/*'", True),
        ("claims['sub'] matches 'repo:contoso/stoc?:ref:*/main'", True),
        ("claims['sub'] matches 'contoso/*'", False),
        ("  claims [ 'sub' ]  matches '*'  and claims['environment'] eq 'a and b' ", True),
        ("claims['sub'] matches '*' and claims['environment'] eq 'a'", False),
        ("claims['run'] matches '*'", False),
        ("claims['absent'] matches '*'", False),
        ("claims['empty'] matches '*'", True),
    ],
)
def test_what_an_expression_says(text: str, expected: object) -> None:
    assert holds(parse_expression(text), _CLAIMS) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x",
        "claims['sub']",
        "claims['sub'] eq",
        "claims['sub'] eq x",
        'claims["sub"] eq "x"',
        "claims[sub] eq 'x'",
        "claims.sub eq 'x'",
        "claims[''] eq 'x'",
        "claims['sub'] eq ''",
        "claims['sub'] EQ 'x'",
        "claims['sub'] ne 'x'",
        "claims['sub'] eq 'x' or claims['sub'] eq 'y'",
        "not claims['sub'] eq 'x'",
        "(claims['sub'] eq 'x')",
        "claims['sub'] eq 'x' and",
        "claims['sub'] eq 'x' claims['sub'] eq 'y'",
        "claims['sub'] eq 'it''s'",
        "claims['sub'] eq 'x",
        "claims['sub'] eq 'x'; drop",
        "claims['sub'] eq '" + "x" * 600 + "'",
    ],
)
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(Failure) as caught:
        parse_expression(text)
    assert caught.value.kind is FailureKind.INVALID_PARAMETER


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_wildcards_are_those_of_the_shell(pattern: str, text: str) -> None:
    assert wildcard_match(pattern, text) is (re.fullmatch(fnmatch.translate(pattern), text) is not None)


def test_a_costly_pattern_is_not() -> None:
    assert not wildcard_match("*a" * 200 + "b", "a" * 2000)
