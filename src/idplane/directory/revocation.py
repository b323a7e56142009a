"""Revoking tokens that were issued: what must change so that they are dead, and those issued from then on live.

A token carries marks of what it stands under (`sts.claims.Standing`). Each function here replaces one, in the transaction that says that
it happened. Time has no part in it: replicas' clocks may differ by minutes, and `iat` is in whole seconds and lies in the past.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from idplane.directory.people import sign_out
from idplane.model.directory import MARK_BYTES, Principal, PrincipalType, Tenant, TokenBinding
from idplane.model.resources import GENERATION_BYTES
from idplane.ports.collections import IDENTITY_ASSIGNMENTS, PRINCIPALS, TENANTS
from idplane.ports.store import Batch, Put, Reads, Versioned
from idplane.ports.world import Entropy

__all__ = ["bound", "revoke_host", "revoke_principal", "revoke_tenant", "revoked"]


def revoked(principal: Principal, *, entropy: Entropy, now: datetime) -> Principal:
    """The principal, none of whose earlier tokens counts."""
    return replace(principal, tokens_mark=entropy.bytes(MARK_BYTES).hex(), tokens_valid_from=now)


def bound(principal: Principal, binding: TokenBinding, *, entropy: Entropy, now: datetime) -> Principal:
    """The principal with its tokens bound, or no longer. Tokens that were issued unbound end with that: whoever has one would keep it."""
    if binding is principal.token_binding:
        return principal
    return revoked(replace(principal, token_binding=binding), entropy=entropy, now=now)


async def revoke_principal(store: Reads, row: Versioned[Principal], *, entropy: Entropy, now: datetime) -> Batch:
    """All tokens of a principal, everywhere; a user's sign-ins as well."""
    ended = await sign_out(store, row.value.id) if row.value.type is PrincipalType.USER else Batch()
    changed = revoked(row.value, entropy=entropy, now=now)
    return ended + Batch.of(Put(collection=PRINCIPALS, value=changed, expect=row.version))


def revoke_tenant(row: Versioned[Tenant], *, entropy: Entropy, now: datetime) -> Batch:
    """All tokens of a tenant."""
    changed = replace(row.value, tokens_mark=entropy.bytes(MARK_BYTES).hex(), tokens_valid_from=now)
    return Batch.of(Put(collection=TENANTS, value=changed, expect=row.version))


async def revoke_host(store: Reads, host_key: str, *, entropy: Entropy) -> Batch:
    """All tokens that a resource got for the identities that it bears. The same identities' tokens on other resources live on."""
    rows = await store.all(IDENTITY_ASSIGNMENTS, where={"host_key": host_key})
    return Batch.of(
        *(
            Put(
                collection=IDENTITY_ASSIGNMENTS,
                value=replace(row.value, generation=entropy.bytes(GENERATION_BYTES).hex()),
                expect=row.version,
            )
            for row in rows
        )
    )
