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

from idplane.arm.buckets import Buckets, Claim, Shortage
from idplane.arm.logged import status_message
from idplane.audit.activity import activity_event
from idplane.jose import b64url
from idplane.model.calls import Call, Caller
from idplane.model.directory import Principal, Tenant
from idplane.model.events import ActivityEvent
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT
from idplane.model.portal import LINK_LIFETIME, PortalSession
from idplane.model.rates import Rate
from idplane.model.user_sessions import fingerprint
from idplane.ports.collections import ACTIVITY, PORTAL_LINKS, PORTAL_SESSIONS, PRINCIPALS, TENANTS
from idplane.ports.store import ABSENT, Append, Batch, Collection, CommitRefused, Delete, Put, Require, Store, Versioned
from idplane.ports.world import Clock, Entropy
from idplane.rbac import AccessControl

__all__ = ["IDLE", "LIFETIME", "PORTAL_CLIENT", "PortalSessions", "SignedIn", "Standing"]

T = TypeVar("T")

IDLE: Final = timedelta(hours=1)
LIFETIME: Final = timedelta(hours=8)
PORTAL_CLIENT: Final = "c44b4083-3bb0-49c1-b47d-974e53cbdf3c"
"""The application id that Azure's portal has."""
_SEEN: Final = timedelta(minutes=1)
"""How exactly it is kept when a session was used last."""
_SECRET_BYTES: Final = 32
_LONGEST: Final = 200
_PAGE: Final = 200
_REFUSALS: Final = Rate(20, 1 / 30)
"""How many refused attempts under one user's name are logged at once, and how many more in a second."""
_TYPE: Final = "Idplane.Directory/portalSessions"


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


class PortalSessions:
    """Begins sessions, knows which count, and ends them."""

    def __init__(self, *, store: Store, access: AccessControl, clock: Clock, entropy: Entropy) -> None:
        self._store = store
        self._access = access
        self._clock = clock
        self._entropy = entropy
        self._refusals = Buckets()

    async def redeem(self, code: str, call: Call, *, before: str | None) -> SignedIn:
        """Use a link up. `before` is the secret of the session that the browser had, which ends.

        Raises `Failure(PORTAL_LINK)` for a code that is unknown, used or expired, and USER_DISABLED.
        """
        found = await self._store.get(PORTAL_LINKS, fingerprint(code)) if 0 < len(code) <= _LONGEST else None
        user = await self._store.get(PRINCIPALS, found.value.principal_id) if found else None
        if found is None or user is None:
            raise _no_link()
        link = found.value
        used = Batch.of(Delete(collection=PORTAL_LINKS, key=link.id, expect=found.version))
        try:
            if self._clock.now() >= link.expires_at:
                raise Failure(FailureKind.PORTAL_LINK, "this link has expired: it counts for fifteen minutes")
            return await self._begin(user, call, before=before, made_by=link.made_by, changes=used)
        except CommitRefused as refused:  # somebody else was faster with the same link, or the user is being changed
            raise _no_link() from refused
        except Failure as failure:
            await self.refused(user.value, call, failure)
            raise

    async def begin(self, user: Versioned[Principal], call: Call, *, before: str | None, issuer: str) -> SignedIn:
        """A session of a user for whom another issuer has vouched; raises USER_DISABLED, and CONFLICT while the user is being changed."""
        try:
            return await self._begin(user, call, before=before, made_by=issuer, changes=Batch())
        except CommitRefused as refused:
            raise Failure(FailureKind.CONFLICT, "the user was changed in this moment: sign in again") from refused
        except Failure as failure:
            await self.refused(user.value, call, failure)
            raise

    async def _begin(
        self, user: Versioned[Principal], call: Call, *, before: str | None, made_by: str, changes: Batch
    ) -> SignedIn:
        if not user.value.enabled:
            raise Failure(FailureKind.USER_DISABLED, "the user is disabled")
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
            self._told(_caller(user.value, session.sid), call, "signIn"),
        )
        await self._store.commit(changes + batch)
        return SignedIn(session=session, user=user.value, secret=secret)

    async def refused(self, user: Principal, call: Call, failure: Failure) -> None:
        """Tell the activity log of an attempt under a user's name."""
        await self._tell_refused(_caller(user, ""), call, failure)

    async def refused_stranger(self, tenant_id: str, name: str, call: Call, failure: Failure) -> None:
        """Tell it of somebody whom another issuer knows, and this tenant does not; or, by the issuer's name, of nobody who is known."""
        claims = {"idtyp": "user", "upn": name, "tid": tenant_id}
        stranger = Caller(
            tenant_id=tenant_id, principal_id="", client_id=PORTAL_CLIENT, display_name=name, token_id="", claims=claims
        )
        await self._tell_refused(stranger, call, failure)

    async def _tell_refused(self, caller: Caller, call: Call, failure: Failure) -> None:
        """Unless the log heard of too many: a stranger may cause them."""
        claim = Claim((caller.principal_id,), _REFUSALS)
        if not isinstance(self._refusals.take((claim,), self._clock.monotonic()), Shortage):
            await self._store.commit(Batch.of(self._told(caller, call, "signIn", failure)))

    def _told(self, caller: Caller, call: Call, word: str, failure: Failure | None = None) -> Append[ActivityEvent]:
        code = None if failure is None else failure.kind.name.title().replace("_", "")
        details = {} if failure is None else {"statusMessage": status_message({"code": code, "message": failure.detail})}
        sid = caller.token_id
        event = activity_event(
            event_id=self._entropy.guid(),
            at=self._clock.now(),
            call=call,
            caller=caller,
            resource_id=ROOT.extension(_TYPE, sid or caller.principal_id or "unknown"),
            operation=f"{_TYPE}/{word}/action",
            decision=None,
            http_status=200 if failure is None else failure.kind.category.value,
            failure_code=code,
            details=details,
        )
        return Append(log=ACTIVITY, event=event)

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
        groups = await self._access.principal_ids(user.value.id) - {user.value.id}
        caller = _caller(user.value, session.sid, groups)
        return Standing(session=session, tenant=tenant.value, user=user.value, caller=caller)

    async def _note_use(self, found: Versioned[PortalSession], now: datetime) -> None:
        with suppress(CommitRefused):  # another request of the same browser has just noted it, or ended it
            seen = replace(found.value, seen_at=now)
            await self._store.commit(Batch.of(Put(collection=PORTAL_SESSIONS, value=seen, expect=found.version)))

    async def end(self, secret: str, caller: Caller, call: Call) -> None:
        """End a session of the caller's."""
        gone = Delete(collection=PORTAL_SESSIONS, key=fingerprint(secret))
        await self._store.commit(Batch.of(gone, self._told(caller, call, "signOut")))

    async def end_named(self, sid: str, caller: Caller, call: Call) -> bool:
        """End another session of the caller's; whether there was one."""
        sessions = await self._store.all(PORTAL_SESSIONS, where={"principal_id": caller.principal_id})
        named = [Delete(collection=PORTAL_SESSIONS, key=it.value.id) for it in sessions if it.value.sid == sid]
        if named:
            await self._store.commit(Batch.of(*named, self._told(replace(caller, token_id=sid), call, "signOut")))
        return bool(named)

    async def purge(self) -> None:
        """Delete links and sessions that are over: a walk through all of them."""
        now = self._clock.now()
        await self._delete(PORTAL_LINKS, lambda it: now >= it.expires_at + LINK_LIFETIME)
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


def _caller(user: Principal, sid: str, groups: frozenset[str] = frozenset()) -> Caller:
    """As a token of the person would say it."""
    return Caller(
        tenant_id=user.tenant_id,
        principal_id=user.id,
        client_id=PORTAL_CLIENT,
        display_name=user.caller_name,
        token_id=sid,
        groups=tuple(sorted(groups)),
        claims={
            "idtyp": "user",
            "oid": user.id,
            "tid": user.tenant_id,
            "upn": user.caller_name,
            "name": user.display_name,
            "appid": PORTAL_CLIENT,
            "uti": sid,
        },
    )


def _over(session: PortalSession, now: datetime) -> bool:
    return now >= session.expires_at or now >= session.seen_at + IDLE


def _no_link() -> Failure:
    return Failure(FailureKind.PORTAL_LINK, "this link does not count: it was used before, or never given out")
