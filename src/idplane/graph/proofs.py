"""The proof that `addKey` and `removeKey` ask for: a token that the key of a certificate signed which the owner has already."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from idplane.jose import Algorithm, numeric_date, parse, public_key_of, verify
from idplane.model.directory import Credential, CredentialKind
from idplane.model.failure import Failure, FailureKind
from idplane.ports.store import Versioned

__all__ = ["require_proof"]

_AUDIENCE: Final = "00000002-0000-0000-c000-000000000000"
_LONGEST: Final = timedelta(minutes=10)
_LEEWAY: Final = timedelta(minutes=1)


def require_proof(proof: str, client_id: str, held: Sequence[Versioned[Credential]], now: datetime) -> None:
    """Raises `Failure(FORBIDDEN)` unless `proof` is a JWT by one of the owner's valid certificates.

    `iss` is the owner's client id or object id, `aud` is 00000002-0000-0000-c000-000000000000, and it lives for ten minutes at most.
    """
    try:
        token = parse(proof)
        starts, ends = numeric_date(token.claims.get("nbf")), numeric_date(token.claims.get("exp"))
    except Failure as failure:
        raise _refused() from failure
    certificates = [
        row.value
        for row in held
        if row.value.kind is CredentialKind.CERTIFICATE and row.value.not_before <= now < row.value.not_after
    ]
    owners = {client_id, *(one.owner for one in certificates)}
    timely = starts <= now + _LEEWAY and now - _LEEWAY < ends and ends - starts <= _LONGEST
    if not timely or token.claims.get("iss") not in owners or token.claims.get("aud") != _AUDIENCE:
        raise _refused()
    keys = (public_key_of(one.certificate) for one in certificates if one.certificate is not None)
    if not any(verify(token, key, Algorithm.RS256, Algorithm.PS256, Algorithm.ES256) for key in keys):
        raise _refused()


def _refused() -> Failure:
    return Failure(
        FailureKind.FORBIDDEN,
        "the proof is not a token of an existing certificate's key",
        words="The proof of possession is not valid: it must be signed with the key of an existing certificate.",
        code="Authentication_MissingOrMalformed",
    )
