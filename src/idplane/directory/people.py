"""Users and groups: how they are made, who belongs where, and how a user's sign-ins end.

A user has no password and no key: the only way to be one is a sign-in that an operator approves (docs/decisions/0011).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from idplane.model.directory import GroupDetails, Membership, Principal, PrincipalType, UserDetails
from idplane.model.user_sessions import DeviceCode
from idplane.ports.collections import DEVICE_CODES, MEMBERSHIPS, PORTAL_LINKS, PORTAL_SESSIONS, REFRESH_TOKENS, SESSIONS
from idplane.ports.store import Batch, Delete, Reads, Versioned
from idplane.ports.world import Entropy

__all__ = ["leaving", "new_group", "new_user", "sign_out"]


def new_user(
    *, tenant_id: str, display_name: str, details: UserDetails, entropy: Entropy, now: datetime, enabled: bool = True
) -> Principal:
    """A user who can do nothing yet."""
    identifier = entropy.guid()
    return Principal(
        id=identifier,
        tenant_id=tenant_id,
        client_id=identifier,
        display_name=display_name,
        type=PrincipalType.USER,
        created_at=now,
        enabled=enabled,
        user=details,
    )


def new_group(*, tenant_id: str, display_name: str, details: GroupDetails, entropy: Entropy, now: datetime) -> Principal:
    """A group without members."""
    identifier = entropy.guid()
    return Principal(
        id=identifier,
        tenant_id=tenant_id,
        client_id=identifier,
        display_name=display_name,
        type=PrincipalType.GROUP,
        created_at=now,
        group=details,
    )


async def sign_out(store: Reads, principal_id: str) -> Batch:
    """Deletes of every session of a user: its refresh tokens are worth nothing any more, and its access tokens neither. Browsers are signed out."""
    mine = {"principal_id": principal_id}
    tokens = await store.all(REFRESH_TOKENS, where=mine)
    sessions = await store.all(SESSIONS, where=mine)
    codes: Sequence[Versioned[DeviceCode]] = await store.all(DEVICE_CODES, where=mine)
    links, browsers = await store.all(PORTAL_LINKS, where=mine), await store.all(PORTAL_SESSIONS, where=mine)
    return Batch.of(
        *(Delete(collection=DEVICE_CODES, key=it.value.id, expect=it.version) for it in codes),
        *(Delete(collection=REFRESH_TOKENS, key=it.value.id, expect=it.version, subject=principal_id) for it in tokens),
        *(Delete(collection=SESSIONS, key=it.value.id, expect=it.version, subject=principal_id) for it in sessions),
        *(Delete(collection=PORTAL_LINKS, key=it.value.id) for it in links),
        *(Delete(collection=PORTAL_SESSIONS, key=it.value.id) for it in browsers),
    )


async def leaving(store: Reads, principal_id: str) -> Batch:
    """Deletes of every membership that names a principal, as member or as group."""
    found: dict[str, Versioned[Membership]] = {}
    for column in ("member_id", "group_id"):
        found |= {it.value.key: it for it in await store.all(MEMBERSHIPS, where={column: principal_id})}
    return Batch.of(
        *(Delete(collection=MEMBERSHIPS, key=key, expect=it.version, subject=it.value.member_id) for key, it in found.items())
    )
