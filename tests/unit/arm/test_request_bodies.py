"""Bodies are strict, bounded JSON objects."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.arm.bodies import MAX_BODY, MAX_DEPTH, member_object, member_text, parse_object
from idplane.model.failure import Failure, FailureKind

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
_LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3), max_leaves=20
)


@given(st.dictionaries(_TEXT, _VALUES, max_size=5))
def test_every_json_object_comes_through_unchanged(value: dict[str, object]) -> None:
    assert parse_object(json.dumps(value).encode()) == value


@pytest.mark.parametrize("body", [b"", b"  \n"])
def test_an_empty_body_is_an_empty_object(body: bytes) -> None:
    assert parse_object(body) == {}


def test_a_byte_order_mark_is_ignored_and_the_last_of_repeated_members_wins() -> None:
    assert parse_object(b'\xef\xbb\xbf{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b'"text"',
        b"1",
        b"{",
        b"{]",
        b"{'a': 1}",
        b"{a: 1}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 9223372036854775808}',
        b'{"a": -9223372036854775809}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "\\ud800"}',
        b'{"\\u0000": 1}',
        b'{"a": ["\\u0000"]}',
        b'{"a": "\xff"}',
        b"\xff\xfe{\x00}\x00",
        b'{"a": 1} {"b": 2}',
    ],
)
def test_what_is_no_storable_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(Failure) as refused:
        parse_object(body)
    assert refused.value.kind is FailureKind.MALFORMED_BODY


def test_depth_is_bounded_and_brackets_in_strings_do_not_count() -> None:
    deepest = b'{"a":' * (MAX_DEPTH - 1) + b"{}" + b"}" * (MAX_DEPTH - 1)
    assert parse_object(deepest)
    assert parse_object(b'{"a": "' + b"[" * 1000 + b'\\"{"}')
    with pytest.raises(Failure, match="nested"):
        parse_object(b'{"a":' + deepest + b"}")
    with pytest.raises(Failure, match="nested"):
        parse_object(b"[" * 1_000_000)


def test_size_is_bounded() -> None:
    with pytest.raises(Failure) as refused:
        parse_object(b" " * (MAX_BODY + 1))
    assert refused.value.kind is FailureKind.BODY_TOO_LARGE


def test_members_are_checked_for_their_type_and_null_counts_as_absent() -> None:
    assert member_object({"a": None}, "a") is None
    assert member_text({}, "a") is None
    no_objects: tuple[object, ...] = ("text", 1, [], True)
    no_texts: tuple[object, ...] = ({}, 1, [], True)
    for value in no_objects:
        with pytest.raises(Failure):
            member_object({"a": value}, "a")
    for other in no_texts:
        with pytest.raises(Failure):
            member_text({"a": other}, "a")
