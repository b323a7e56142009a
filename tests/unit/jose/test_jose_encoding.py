import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.jose import b64url, b64url_decode
from idplane.jose.encoding import decode_segment
from idplane.model.failure import Failure, FailureKind


@given(st.binary(max_size=300))
def test_b64url_is_the_standard_librarys_without_padding(data: bytes) -> None:
    assert b64url(data) == base64.urlsafe_b64encode(data).decode().rstrip("=")


@given(st.binary(max_size=300))
def test_every_spelling_that_clients_send_decodes(data: bytes) -> None:
    for spelled in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        assert b64url_decode(spelled) == data
        assert b64url_decode(spelled.rstrip("=")) == data


@given(st.binary(max_size=60), st.integers(min_value=0), st.sampled_from([*"AQgwZz09-_+/="]))
def test_one_value_has_one_unpadded_url_text(data: bytes, at: int, letter: str) -> None:
    text = b64url(data)
    other = text[: at % (len(text) + 1)] + letter + text[at % (len(text) + 1) + 1 :]
    try:
        decoded = decode_segment(other.encode())
    except Failure:
        return
    assert decoded != data or other.rstrip("=") == text


@pytest.mark.parametrize(
    "text",
    ["A", "AAAAA", "QR", "QR==", "QUF", "QUF=", "QQ=", "QUE==", "QUFB=", "QUFB====", "=", "====", "Q=Q", "Q Q=", "QQ\n", "é", "QQ==QQ==", "Q\x00", "QQ%3D%3D"],
)  # fmt: skip
def test_what_is_not_canonical_base64_is_refused(text: str) -> None:
    with pytest.raises(Failure) as caught:
        b64url_decode(text)
    assert caught.value.kind is FailureKind.TOKEN_INVALID


@pytest.mark.parametrize("segment", [b"-+", b"+/+/", b"ab/c"])
def test_segments_of_tokens_use_the_url_alphabet_only(segment: bytes) -> None:
    with pytest.raises(Failure):
        decode_segment(segment)
