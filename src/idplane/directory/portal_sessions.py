"""Who is signed in to the portal: links that count once, and sessions.

A browser holds a session's secret, and the store its fingerprint: a copy of the database signs nobody in. A session stands for a user as
long as the user is enabled, none of its tokens were revoked (the marks that access tokens carry, too), and it was used within the last
hour; after eight hours it ends in any case. Every sign-in makes a new one, and ends the one that the browser had.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

from idplane.jose import b64url
from idplane.model.calls import Call, Caller
from idplane.model.directory import Principal, PrincipalType, Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.portal import PortalLink, PortalSession
from idplane.model.user_sessions import fingerprint
from idplane.ports.collections import PORTAL_LINKS, PORTAL_SESSIONS, PRINCIPALS, TENANTS
from idplane.ports.store import ABSENT, Batch, Collection, CommitRefused, Delete, Put, Require, Store, Versioned
from idplane.ports.world import Clock, Entropy
from idplane.rbac import AccessControl

__all__ = ["IDLE", "LIFETIME", "LINK_LIFETIME", "PORTAL_CLIENT", "PortalSessions", "SignedIn", "Standing", "new_link"]

T = TypeVar("T")

LINK_LIFETIME: Final = timedelta(minutes=15)
IDLE: Final = timedelta(hours=1)
LIFETIME: Final = timedelta(hours=8)
PORTAL_CLIENT: Final = "c44b4083-3bb0-49c1-b47d-974e53cbdf3c"
"""The application id that Azure's portal has."""
_SEEN: Final = timedelta(minutes=1)
"""How exactly it is kept when a session was used last."""
_SECRET_BYTES: Final = 32
_LONGEST: Final = 200
_PAGE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A session that has just begun, and the secret that its browser is to keep."""

    session: PortalSession
    user: Principal
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A session that counts, and whom it stands for."""

    session: PortalSession
    tenant: Tenant
    user: Principal
    caller: Caller


def new_link(user: Versioned[Principal], *, made_by: str, entropy: Entropy, now: datetime) -> tuple[Batch, PortalLink, str]:
    """A link for an enabled user: what makes it, its record, and the code, which is kept nowhere."""
    code = b64url(entropy.bytes(_SECRET_BYTES))
    link = PortalLink(
        id=fingerprint(code),
        tenant_id=user.value.tenant_id,
        principal_id=user.value.id,
        created_at=now,
        expires_at=now + LINK_LIFETIME,
        made_by=made_by,
    )
    batch = Batch.of(
        Require(collection=PRINCIPALS, key=user.value.id, expect=user.version),
        Put(collection=PORTAL_LINKS, value=link, expect=ABSENT),
    )
    return batch, link, code


class PortalSessions:
    """Begins sessions, knows which count, and ends them."""

    def __init__(self, *, store: Store, access: AccessControl, clock: Clock, entropy: Entropy) -> None:
        self._store = store
        self._access = access
        self._clock = clock
        self._entropy = entropy

    async def redeem(self, code: str, call: Call, *, before: str | None) -> SignedIn:
        """Use a link up. `before` is the secret of the session that the browser had, which ends.

        Raises `Failure(PORTAL_LINK)` for a code that is unknown, used or expired, and USER_DISABLED.
        """
        found = await self._store.get(PORTAL_LINKS, fingerprint(code)) if 0 < len(code) <= _LONGEST else None
        if found is None:
            raise _no_link()
        link = found.value
        if self._clock.now() >= link.expires_at:
            raise Failure(FailureKind.PORTAL_LINK, "this link has expired: it counts for fifteen minutes", **_named(link))
        user = await self._user(link.principal_id)
        used = Batch.of(Delete(collection=PORTAL_LINKS, key=link.id, expect=found.version))
        try:
            return await self._begin(user, call, before=before, made_by=link.made_by, changes=used)
        except CommitRefused as refused:  # somebody else was faster with the same link, or the user is being changed
            raise _no_link() from refused

    async def begin(self, user: Versioned[Principal], call: Call, *, before: str | None, issuer: str) -> SignedIn:
        """A session of a user for whom another issuer has vouched; raises USER_DISABLED, and CONFLICT while the user is being changed."""
        _require_enabled(user.value)
        try:
            return await self._begin(user, call, before=before, made_by=issuer, changes=Batch())
        except CommitRefused as refused:
            raise Failure(FailureKind.CONFLICT, "the user was changed in this moment: sign in again") from refused

    async def _begin(
        self, user: Versioned[Principal], call: Call, *, before: str | None, made_by: str, changes: Batch
    ) -> SignedIn:
        now, secret = self._clock.now(), b64url(self._entropy.bytes(_SECRET_BYTES))
        tenant = await self._store.get(TENANTS, user.value.tenant_id)
        session = PortalSession(
            id=fingerprint(secret),
            sid=self._entropy.guid(),
            tenant_id=user.value.tenant_id,
            principal_id=user.value.id,
            principal_mark=user.value.tokens_mark,
            tenant_mark=tenant.value.tokens_mark if tenant else "",
            created_at=now,
            seen_at=now,
            expires_at=now + LIFETIME,
            made_by=made_by,
            client_address=call.client_address,
            user_agent=call.user_agent,
        )
        batch = Batch.of(
            Require(collection=PRINCIPALS, key=user.value.id, expect=user.version),
            *((Delete(collection=PORTAL_SESSIONS, key=fingerprint(before)),) if before else ()),
            Put(collection=PORTAL_SESSIONS, value=session, expect=ABSENT),
        )
        await self._store.commit(changes + batch)
        return SignedIn(session=session, user=user.value, secret=secret)

    async def standing(self, secret: str, *, used: bool = True) -> Standing | None:
        """The session of a secret, if it counts. Unless it is `used`, asking does not keep it from ending for want of use."""
        found = await self._store.get(PORTAL_SESSIONS, fingerprint(secret)) if 0 < len(secret) <= _LONGEST else None
        now = self._clock.now()
        if found is None or _over(found.value, now):
            return None
        session = found.value
        user = await self._store.get(PRINCIPALS, session.principal_id)
        tenant = await self._store.get(TENANTS, session.tenant_id)
        if user is None or tenant is None or not user.value.enabled:
            return None
        if (user.value.tokens_mark, tenant.value.tokens_mark) != (session.principal_mark, session.tenant_mark):
            return None
        if used and now - session.seen_at >= _SEEN:
            await self._note_use(found, now)
        return Standing(session=session, tenant=tenant.value, user=user.value, caller=await self._caller(session, user.value))

    async def _note_use(self, found: Versioned[PortalSession], now: datetime) -> None:
        with suppress(CommitRefused):  # another request of the same browser has just noted it, or ended it
            seen = replace(found.value, seen_at=now)
            await self._store.commit(Batch.of(Put(collection=PORTAL_SESSIONS, value=seen, expect=found.version)))

    async def end(self, secret: str) -> None:
        """End a session, if there is one."""
        await self._store.commit(Batch.of(Delete(collection=PORTAL_SESSIONS, key=fingerprint(secret))))

    async def end_named(self, principal_id: str, sid: str) -> bool:
        """End another session of the same user; whether there was one."""
        sessions = await self._store.all(PORTAL_SESSIONS, where={"principal_id": principal_id})
        named = [Delete(collection=PORTAL_SESSIONS, key=it.value.id) for it in sessions if it.value.sid == sid]
        if named:
            await self._store.commit(Batch.of(*named))
        return bool(named)

    async def purge(self) -> None:
        """Delete links and sessions that are over."""
        now = self._clock.now()
        await self._delete(PORTAL_LINKS, lambda it: now >= it.expires_at)
        await self._delete(PORTAL_SESSIONS, lambda it: _over(it, now))

    async def _delete(self, collection: Collection[T], is_over: Callable[[T], bool]) -> None:
        after = None
        while True:
            page = await self._store.page(collection, after=after, limit=_PAGE)
            old = [it for it in page.items if is_over(it.value)]
            with suppress(CommitRefused):  # one is just used or ended: there is a next time
                if old:
                    await self._store.commit(
                        Batch.of(
                            *(Delete(collection=collection, key=collection.key(it.value), expect=it.version) for it in old)
                        )
                    )
            after = page.after
            if after is None:
                return

    async def _caller(self, session: PortalSession, user: Principal) -> Caller:
        ids = await self._access.principal_ids(user.id)
        return Caller(
            tenant_id=user.tenant_id,
            principal_id=user.id,
            client_id=PORTAL_CLIENT,
            display_name=user.caller_name,
            token_id=session.sid,
            groups=tuple(sorted(ids - {user.id})),
            claims={
                "idtyp": "user",
                "oid": user.id,
                "tid": user.tenant_id,
                "upn": user.caller_name,
                "name": user.display_name,
                "appid": PORTAL_CLIENT,
                "uti": session.sid,
            },
        )

    async def _user(self, principal_id: str) -> Versioned[Principal]:
        user = await self._store.get(PRINCIPALS, principal_id)
        if user is None or user.value.type is not PrincipalType.USER:
            raise _no_link()
        _require_enabled(user.value)
        return user


def _require_enabled(user: Principal) -> None:
    if not user.enabled:
        raise Failure(FailureKind.USER_DISABLED, "the user is disabled", user=user.caller_name, oid=user.id)


def _over(session: PortalSession, now: datetime) -> bool:
    return now >= session.expires_at or now >= session.seen_at + IDLE


def _no_link() -> Failure:
    return Failure(FailureKind.PORTAL_LINK, "this link does not count: it was used before, or never given out")


def _named(link: PortalLink) -> dict[str, str]:
    """Whom a link that was real would have signed in, for the log."""
    return {"oid": link.principal_id}
