"""What a join token looks like: `idpjt_{id}_{secret}`, so that scanners for leaked secrets know one when they see it."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Final

__all__ = ["ID_BYTES", "LONGEST", "SECRET_BYTES", "TOKEN_FORM", "USUAL", "secret_hash", "token_text"]

TOKEN_FORM: Final = r"idpjt_([0-9a-f]{32})_([0-9a-f]{64})"
"""A regular expression: the id, and the secret."""
ID_BYTES: Final = 16
SECRET_BYTES: Final = 32
USUAL: Final = timedelta(hours=1)
LONGEST: Final = timedelta(hours=24)


def token_text(token_id: str, secret: bytes) -> str:
    """The token as it is shown once."""
    return f"idpjt_{token_id}_{secret.hex()}"


def secret_hash(secret: bytes) -> bytes:
    """What is kept of it."""
    return hashlib.sha256(secret.hex().encode()).digest()
