"""What looks like a token, a private key or a password, taken out of texts that are written down.

Nothing in this program writes one. This is the last line of defence against other people's exceptions, and against clients that put a secret
where none belongs.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["plain", "without_secrets"]

_SECRETS: Final = (
    (
        re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        "[key removed]",
    ),
    (re.compile(r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){1,4}"), "[token removed]"),
    (re.compile(r"\bidp(?:jt)?_[A-Za-z0-9_-]{8,}"), "[secret removed]"),
    (re.compile(r"(?i)\b(bearer|dpop|basic)(\s+|%20)[A-Za-z0-9._~+/=-]{8,}"), r"\1 [token removed]"),
    (
        re.compile(
            r"(?i)\b(client_secret|client_assertion|assertion|refresh_token|access_token|id_token|device_code|password|code_verifier|token)"
            r"(=|%3d|[\"']?\s*:\s*[\"'])[^\s&\"',;)]{4,}"
        ),
        r"\1\2[removed]",
    ),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,256}):[^\s/@]{1,256}@"), r"\1:[removed]@"),
)


def without_secrets(text: str) -> str:
    """The text with a word in place of each."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def plain(text: str, limit: int) -> str:
    """What somebody else wrote, for a record: bounded, without what a terminal or a log would act on, and without what looks like a secret."""
    # Ahead of the long work as well as behind it: what is taken out makes room.
    shown = without_secrets(text[: 4 * limit])[:limit]
    return "".join(one if one.isprintable() else " " for one in shown).strip()
