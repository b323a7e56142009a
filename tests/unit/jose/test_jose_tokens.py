import contextlib
import json
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.jose import MAX_TOKEN_LENGTH, UnverifiedToken, b64url, numeric_date, parse
from idplane.model.failure import Failure, FailureKind

HEADER = b'{"alg":"RS256","kid":"one"}'


def written(header: bytes = HEADER, claims: bytes = b'{"sub":"a"}', signature: bytes = b"\x01\x02") -> str:
    return ".".join(b64url(part) for part in (header, claims, signature))


def refused(token: str) -> Failure:
    with pytest.raises(Failure) as caught:
        parse(token)
    assert caught.value.kind is FailureKind.TOKEN_INVALID
    return caught.value


def test_a_token_comes_apart_unverified() -> None:
    text = written()
    parsed = parse(text)
    assert parsed == UnverifiedToken(
        header={"alg": "RS256", "kid": "one"},
        claims={"sub": "a"},
        signing_input=text.rpartition(".")[0].encode(),
        signature=b"\x01\x02",
    )
    assert (parsed.key_id, parsed.algorithm) == ("one", "RS256")


def test_padded_segments_are_tolerated_and_signed_as_they_were_sent() -> None:
    header, claims = b'{"alg":"PS256"}'.ljust(16), b'{"a":1}'
    padded = [b64url(header) + "==", b64url(claims) + "==", b64url(b"\x01") + "=="]
    parsed = parse(".".join(padded))
    assert parsed.signing_input == ".".join(padded[:2]).encode()
    assert parsed.claims == {"a": 1}


@pytest.mark.parametrize("value", ["1", "true", "[]", "{}", "null"])
def test_odd_key_ids_and_algorithms_read_as_absent(value: str) -> None:
    parsed = parse(written(f'{{"kid":{value},"alg":{value}}}'.encode()))
    assert (parsed.key_id, parsed.algorithm) == (None, None)


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e",
        "é.é.é",
        "Bearer " + written(),
        written() + "\n",
        written() + "=x",
        " " + written(),
    ],
)
def test_other_shapes_are_refused(token: str) -> None:
    refused(token)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"null", b"[]", b'"text"', b"1", b"{", b"{}x", b"\xff", b"\xef\xbb\xbf{}", b"{'a':1}", b'{"a":NaN}', b'{"a":Infinity}',
        b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":01}', b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}', b'{"a":1,"\\u0061":1}',
        b'{"a":"\\ud800"}', b'{"\\udfff":1}', b'{"a":"\xed\xa0\x80"}', b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 16 + b"]" * 16 + b"}", b'{"a":' * 2000 + b"1" + b"}" * 2000, b'{"a":"\x01"}',
    ],
)  # fmt: skip
def test_json_that_is_odd_is_refused_in_both_places(raw: bytes) -> None:
    refused(written(header=raw))
    refused(written(claims=raw))


def test_depth_within_the_bound_is_accepted() -> None:
    assert "a" in parse(written(claims=b'{"a":' + b"[" * 15 + b"]" * 15 + b"}")).claims


@pytest.mark.parametrize("crit", [b'["exp"]', b"[]", b"null", b"1"])
def test_critical_extensions_are_refused(crit: bytes) -> None:
    assert "extensions" in refused(written(b'{"alg":"RS256","crit":' + crit + b"}")).detail


def test_length_is_bounded() -> None:
    fitting = written(claims=b'{"a":"' + b"x" * 12_000 + b'"}')
    assert len(fitting) <= MAX_TOKEN_LENGTH
    parse(fitting)
    refused(written(claims=b'{"a":"' + b"x" * 12_400 + b'"}'))


def test_neither_claims_nor_signature_show_in_the_repr() -> None:
    shown = repr(parse(written(claims=b'{"secret":"swordfish"}', signature=b"signature")))
    assert "swordfish" not in shown
    assert "signature" not in shown


def test_failures_repeat_nothing_of_the_token() -> None:
    failure = refused(written(claims=b'{"swordfish":1,"swordfish":2}'))
    assert "swordfish" not in f"{failure} {failure.detail}"


def outcome_of(token: str) -> None:
    """Anything but a `Failure` is a leak."""
    with contextlib.suppress(Failure):
        parse(token)


@given(st.text(max_size=400))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    outcome_of(text)


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=80))
def test_any_content_is_parsed_or_refused(header: bytes, claims: bytes, signature: bytes) -> None:
    outcome_of(written(header, claims, signature))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=6))
def test_claims_come_back_as_they_were_written(claims: dict[str, object]) -> None:
    assert parse(written(claims=json.dumps(claims).encode())).claims == claims


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1767268800, datetime(2026, 1, 1, 12, tzinfo=UTC)),
        (1767268800.5, datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)),
        (253402214400, datetime(9999, 12, 31, tzinfo=UTC)),
    ],
)
def test_numeric_dates(value: float, instant: datetime) -> None:
    assert numeric_date(value) == instant


@pytest.mark.parametrize(
    "value",
    [None, True, False, "1767268800", "", [], {}, -1, -0.5, math.nan, math.inf, -math.inf, 253402214401, 1e300, 10**400],
)
def test_what_is_no_numeric_date_is_refused(value: object) -> None:
    with pytest.raises(Failure) as caught:
        numeric_date(value)
    assert caught.value.kind is FailureKind.TOKEN_INVALID
