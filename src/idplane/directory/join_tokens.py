"""Join tokens: a secret for one enrollment that lets one machine in, once, within a day."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime
from typing import Final

from idplane.directory.evidence import Evidence, refused, text
from idplane.model.enrollments import Enrollment, JoinMethod, JoinToken
from idplane.model.join_tokens import TOKEN_FORM
from idplane.ports.collections import ENROLLMENTS, JOIN_TOKENS
from idplane.ports.store import Reads, Versioned

__all__ = ["redeem"]

_MAX_TEXT: Final = 256
_FORM: Final = re.compile(TOKEN_FORM)


async def redeem(store: Reads, evidence: Evidence) -> tuple[Versioned[Enrollment], Versioned[JoinToken]]:
    """The enrollment that a token is for, and the token, which the commit must still find unused.

    Whoever does not hold the secret learns nothing; whoever does is told why it is worth nothing. Raises `Failure(ENROLLMENT_REFUSED)`.
    """
    found = _FORM.fullmatch(text(evidence.members, "token", limit=_MAX_TEXT))
    token = await store.get(JOIN_TOKENS, found[1]) if found else None
    if found is None or token is None or not _same(token.value, found[2]):
        raise refused("the join token is not valid")
    rows = await store.all(ENROLLMENTS, where={"enrollment_id": token.value.enrollment_id})
    if not rows or rows[0].value.method is not JoinMethod.TOKEN:
        raise refused("the join token is not valid", reason="its enrollment is gone")
    _check(token.value, str(rows[0].value.host), evidence.now)
    return rows[0], token


def _same(token: JoinToken, secret: str) -> bool:
    return hmac.compare_digest(token.secret_hash, hashlib.sha256(secret.encode()).digest())


def _check(token: JoinToken, host: str, now: datetime) -> None:
    if token.used_at is not None:
        when = token.used_at.isoformat(timespec="seconds")
        raise refused(f"the join token was used before, at {when}", resource=host, reason="a join token was used again")
    if now >= token.expires_at:
        raise refused("the join token has expired", resource=host)
