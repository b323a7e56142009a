"""Base64url as RFC 7515 section 2 defines it, and the spellings of it that real clients send."""

from __future__ import annotations

import binascii

from idplane.model.failure import Failure, FailureKind

__all__ = ["b64url", "b64url_decode", "decode_segment"]

_TO_URL = bytes.maketrans(b"+/", b"-_")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_MAX_PADDING = 2
# The last character of a group that is not full carries unused bits. If they need not be zero, several texts mean the same
# bytes, and a signature could be rewritten without becoming invalid (RFC 4648 section 3.5).
_LAST_OF_TWO = frozenset(b"AQgw")
_LAST_OF_THREE = frozenset(b"AEIMQUYcgkosw048")


def b64url(data: bytes) -> str:
    """Base64url without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL).decode("ascii")


def b64url_decode(text: str) -> bytes:
    """The bytes that `text` means, in the URL or the standard alphabet, padded or not; raises `Failure(TOKEN_INVALID)`.

    Clients send thumbprints in all four spellings (MIE section 6.3). Anything that is not base64, or not its one canonical
    form, is refused.
    """
    return _decode(_ascii(text).translate(_TO_STANDARD))


def decode_segment(segment: bytes) -> bytes:
    """The bytes of one segment of a token: URL alphabet only, but the padding that some clients add is accepted (MIE section 6.3).

    Raises `Failure(TOKEN_INVALID)`.
    """
    if b"+" in segment or b"/" in segment:
        raise _not_base64()
    return _decode(segment.translate(_TO_STANDARD))


def _decode(standard: bytes) -> bytes:
    bare = standard.rstrip(b"=")
    padding = len(standard) - len(bare)
    missing = -len(bare) % 4
    if missing > _MAX_PADDING or padding not in (0, missing) or not _is_canonical(bare, missing):
        raise _not_base64()
    try:
        return binascii.a2b_base64(bare + b"=" * missing, strict_mode=True)
    except ValueError as error:
        raise _not_base64() from error


def _is_canonical(bare: bytes, missing: int) -> bool:
    if missing == 0:
        return True
    return bare[-1] in (_LAST_OF_THREE if missing == 1 else _LAST_OF_TWO)


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError as error:
        raise _not_base64() from error


def _not_base64() -> Failure:
    return Failure(FailureKind.TOKEN_INVALID, "a value is not base64url")
