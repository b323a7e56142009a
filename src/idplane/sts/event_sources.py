"""What a change of the server's records means for whoever relies on tokens: the table of security events.

| Change | Event |
|---|---|
| principal removed | account-purged |
| principal disabled, enabled | account-disabled, account-enabled |
| its tokens revoked | session-revoked |
| its application roles changed | token-claims-change, of each member when it is a group |
| identity taken off a resource, or the resource's tokens revoked; a user's session ended | session-revoked |
| role assignment or membership made or removed | token-claims-change, of each member |
| tenant's tokens revoked, signing key tainted, part of the feed lost | session-revoked of the whole tenant |
| credential of an application made or removed | credential-change |

Reads what is now; what was before is remembered for each principal that it met (`EventSubject`). Where that is not known, it says too
much rather than too little: a receiver that asks again is told the truth.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from idplane.model.directory import CredentialKind, Principal, PrincipalType
from idplane.model.security_events import EventSubject, EventType
from idplane.model.values import JsonObject
from idplane.ports.collections import (
    CREDENTIALS,
    EVENT_SUBJECTS,
    IDENTITY_ASSIGNMENTS,
    MEMBERSHIPS,
    PRINCIPALS,
    ROLE_ASSIGNMENTS,
    SESSIONS,
    SIGNING_KEYS,
    TENANTS,
)
from idplane.ports.store import ANY, Batch, Change, Put, Reads

__all__ = ["Happened", "events_of", "lost"]

_MAX_MEMBERS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An event before it is known who hears of it. Without a principal it is about everyone."""

    type: EventType
    principal_id: str | None
    user: bool = False
    members: JsonObject = field(default_factory=dict)
    tenant_id: str | None = None
    """None when not even that is known any more."""


@dataclass(frozen=True, slots=True)
class _Found:
    events: tuple[Happened, ...] = ()
    remembered: Batch = field(default_factory=Batch)


async def events_of(store: Reads, change: Change) -> tuple[tuple[Happened, ...], Batch]:
    """The events of one change, and what must be remembered in the commit that keeps them."""
    rule = _RULES.get(change.collection)
    found = await rule(store, change) if rule else _Found()
    return found.events, found.remembered


async def _principal(store: Reads, change: Change) -> _Found:
    row = await store.get(PRINCIPALS, change.key)
    known = await store.get(EVENT_SUBJECTS, change.key)
    if row is None:
        before = known.value if known else None
        purged = Happened(
            type=EventType.ACCOUNT_PURGED,
            principal_id=change.key,
            user=before.user if before else False,
            tenant_id=before.tenant_id if before else None,
        )
        return _Found((purged,))
    one = row.value
    old = known.value if known else _seen(one) if row.version == 1 else None
    told = [_about(one, kind, members) for kind, members in _differences(old, one)]
    if _roles_changed(old, one) and one.type is PrincipalType.GROUP:
        told += await _claims_changed(store, one.id)
    return _Found(tuple(told), Batch.of(Put(collection=EVENT_SUBJECTS, value=_seen(one), expect=ANY)))


def _differences(old: EventSubject | None, one: Principal) -> list[tuple[EventType, JsonObject]]:
    """What became different; of one that was never met, whatever may have."""
    found: list[tuple[EventType, JsonObject]] = []
    was_enabled = old is None or old.enabled
    if was_enabled and not one.enabled:
        found.append((EventType.ACCOUNT_DISABLED, {}))
    if one.enabled and not was_enabled:
        found.append((EventType.ACCOUNT_ENABLED, {}))
    if (old.mark if old else "") != one.tokens_mark:
        found.append((EventType.SESSION_REVOKED, _because("its tokens were revoked")))
    if _roles_changed(old, one) and one.type is not PrincipalType.GROUP:
        found.append((EventType.CLAIMS_CHANGE, _because("its application roles changed")))
    return found


def _roles_changed(old: EventSubject | None, one: Principal) -> bool:
    return old is None or old.roles != one.app_roles


async def _assignment(store: Reads, change: Change) -> _Found:
    """One that was made a moment ago takes nothing away."""
    row = await store.get(IDENTITY_ASSIGNMENTS, change.key)
    if row is not None and row.version == 1:
        return _Found()
    words = "the identity was taken off a resource" if row is None else "what a resource had of the identity was revoked"
    return await _revoked(store, change.key.rpartition("|")[2], words)


async def _session(store: Reads, change: Change) -> _Found:
    if not change.deleted or change.subject is None:
        return _Found()
    return await _revoked(store, change.subject, "a sign-in was ended")


async def _revoked(store: Reads, principal_id: str, words: str) -> _Found:
    row = await store.get(PRINCIPALS, principal_id)
    if row is None:  # its own removal is told
        return _Found()
    return _Found((_about(row.value, EventType.SESSION_REVOKED, _because(words)),))


async def _access(store: Reads, change: Change) -> _Found:
    return _Found(tuple(await _claims_changed(store, change.subject or "")))


async def _claims_changed(store: Reads, principal_id: str) -> list[Happened]:
    """Of a principal, or of everyone in the group that it is."""
    told: list[Happened] = []
    waiting, met = [principal_id], {principal_id}
    while waiting and len(met) <= _MAX_MEMBERS:
        row = await store.get(PRINCIPALS, waiting.pop())
        if row is None:
            continue
        if row.value.type is not PrincipalType.GROUP:
            told.append(_about(row.value, EventType.CLAIMS_CHANGE, _because("what it may do changed")))
            continue
        members = {it.value.member_id for it in await store.all(MEMBERSHIPS, where={"group_id": row.value.id})} - met
        met |= members
        waiting += sorted(members)
    if waiting:
        return [_everyone("what a large group may do changed", None)]
    return told


async def _credential(store: Reads, change: Change) -> _Found:
    """Identities' certificates come and go by themselves, and are nobody's to know."""
    row = await store.get(CREDENTIALS, change.key)
    owner = await store.get(PRINCIPALS, change.subject or "")
    if owner is None or owner.value.type is not PrincipalType.APPLICATION:
        return _Found()
    kind = "client-credential" if row is None else "password" if row.value.kind is CredentialKind.SECRET else "x509"
    members = {"change_type": "delete" if row is None else "create", "credential_type": kind}
    return _Found((_about(owner.value, EventType.CREDENTIAL_CHANGE, members),))


async def _tenant(store: Reads, change: Change) -> _Found:
    row = await store.get(TENANTS, change.key)
    if row is None:
        return _Found()
    known = await store.get(EVENT_SUBJECTS, change.key)
    remembered = EventSubject(principal_id=change.key, tenant_id=change.key, mark=row.value.tokens_mark)
    changed = row.value.tokens_mark != (known.value.mark if known else "")
    events = (_everyone("all tokens of the tenant were revoked", change.key),) if changed else ()
    return _Found(events, Batch.of(Put(collection=EVENT_SUBJECTS, value=remembered, expect=ANY)))


async def _signing_key(store: Reads, change: Change) -> _Found:
    row = await store.get(SIGNING_KEYS, change.key)
    return _Found((_everyone("a signing key was withdrawn", None),)) if row is not None and row.value.tainted else _Found()


def _everyone(words: str, tenant_id: str | None) -> Happened:
    return Happened(type=EventType.SESSION_REVOKED, principal_id=None, members=_because(words), tenant_id=tenant_id)


def _about(one: Principal, kind: EventType, members: JsonObject) -> Happened:
    user = one.type is PrincipalType.USER
    return Happened(type=kind, principal_id=one.id, user=user, members=members, tenant_id=one.tenant_id)


def _because(words: str) -> JsonObject:
    return {"initiating_entity": "admin", "reason_admin": {"en": words}}


def _seen(one: Principal) -> EventSubject:
    return EventSubject(
        principal_id=one.id,
        tenant_id=one.tenant_id,
        user=one.type is PrincipalType.USER,
        enabled=one.enabled,
        mark=one.tokens_mark,
        roles=one.app_roles,
    )


def lost() -> Happened:
    """Part of the feed was trimmed away before it was read."""
    return _everyone("changes may have been missed", None)


_RULES: Final[Mapping[str, Callable[[Reads, Change], Awaitable[_Found]]]] = {
    PRINCIPALS.name: _principal,
    IDENTITY_ASSIGNMENTS.name: _assignment,
    SESSIONS.name: _session,
    ROLE_ASSIGNMENTS.name: _access,
    MEMBERSHIPS.name: _access,
    CREDENTIALS.name: _credential,
    TENANTS.name: _tenant,
    SIGNING_KEYS.name: _signing_key,
}
