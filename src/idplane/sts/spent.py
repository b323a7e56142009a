"""Client assertions that count once, where their application says so (`AssertionUse`).

The use is a record that the commit of the token's own sign-in creates. So of any number of uses, at any servers over one database,
one is committed, and no server remembers anything. It is kept until the assertion would be too old anyway. An assertion that counted
but whose answer was lost is spent: its client signs another one.

Tokens of other issuers are not an application's own assertions, and their bearers are meant to show them often.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Final

from idplane.model.directory import AssertionUse
from idplane.model.enrollments import SpentProof
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import SPENT_PROOFS
from idplane.ports.store import ABSENT, Batch, Put, Store
from idplane.sts.assertions import LEEWAY, expiry_of
from idplane.sts.clients import AuthenticatedClient

__all__ = ["replayed", "spending"]

_MAX_ID: Final = 512
_ROUNDING: Final = timedelta(seconds=1)


async def spending(store: Store, client: AuthenticatedClient, audience: str) -> Batch:
    """What the commit must hold that answers `client` with a token for the application `audience`; nothing for one that may ask again.

    Raises `Failure(ASSERTION_REPLAYED)` for an assertion that was used, and `Failure(ASSERTION_INVALID)` for one without a `jti`.
    """
    use = _use(client, audience)
    if use is None:
        return Batch()
    if await store.get(SPENT_PROOFS, use.key) is not None:
        raise replayed()
    return Batch.of(Put(collection=SPENT_PROOFS, value=use, expect=ABSENT))


def replayed() -> Failure:
    """The assertion was used before."""
    return Failure(FailureKind.ASSERTION_REPLAYED, "the client assertion was used before, and the application's count once")


def _use(client: AuthenticatedClient, audience: str) -> SpentProof | None:
    principal = client.principal.value
    if client.claims is None or principal.assertion_use is AssertionUse.ANY:
        return None
    identifier = client.claims.get("jti")
    if not isinstance(identifier, str) or not 0 < len(identifier) <= _MAX_ID:
        words = f"the application's client assertions count once, so each needs a 'jti' of 1 to {_MAX_ID} characters"
        raise Failure(FailureKind.ASSERTION_INVALID, words)
    # The audience is a client id and not the resource as it was asked for, which has several spellings.
    where = audience if principal.assertion_use is AssertionUse.ONCE_PER_RESOURCE else ""
    named = f"{principal.id}|{where}|{identifier}".encode("utf-8", "surrogatepass")
    # Not by the assertion's own digest: an ECDSA signature has a twin, which is as good.
    return SpentProof(
        id=f"assertion|{hashlib.sha256(named).hexdigest()}", expires_at=expiry_of(client.claims) + LEEWAY + _ROUNDING
    )
