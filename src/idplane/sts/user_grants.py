"""The grants that speak for a user: a device code that was approved (RFC 8628 section 3.4), and a refresh token (RFC 6749 section 6).

A refresh token is used once: each answer brings the next. One that is used again later than a moment after was stolen or kept, and
nobody can tell by whom: the session ends with all its tokens (RFC 9700 section 4.14.2). Within that moment the same token may be used
again, since an answer can be lost, and programs that share a cache may refresh at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from idplane.jose import b64url
from idplane.model.directory import Principal, PrincipalType, Tenant
from idplane.model.events import UserSignIn
from idplane.model.failure import Failure, FailureKind
from idplane.model.user_sessions import DeviceCode, DeviceCodeState, RefreshToken, Session, fingerprint
from idplane.ports.collections import DEVICE_CODES, PRINCIPALS, REFRESH_TOKENS, SESSIONS, TENANTS
from idplane.ports.store import ABSENT, Batch, Delete, Put, Require, Store, Versioned
from idplane.ports.world import Entropy
from idplane.sts.device_codes import INTERVAL
from idplane.sts.public_clients import PublicClient, public_client, require_no_proof
from idplane.sts.records import Attempt
from idplane.sts.requests import DEVICE_CODE_GRANT, REFRESH_GRANT, TokenRequest
from idplane.sts.tenants import ANY_TENANT, find_tenant
from idplane.sts.user_scopes import UserScope, user_scope

__all__ = ["SESSION_LIFETIME", "Asked", "SignedIn", "UserGrants", "ended"]

SESSION_LIFETIME: Final = timedelta(days=90)
"""How long a refresh token can wait to be used, and so how long a session lives that nobody uses."""
_GRACE: Final = timedelta(seconds=60)
_SLACK: Final = timedelta(seconds=1)
"""How much earlier than told a poll may come: clients' timers are not exact."""
_SECRET_BYTES: Final = 32
_PREFIX: Final = "idp_rt_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, the tenant that it leads to, and the attempt that is logged there; a request that leads to none has neither."""

    request: TokenRequest
    tenant: Versioned[Tenant] | None
    attempt: Attempt | None
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A user whom a grant proved, and what becomes of it in the commit that makes the token's record durable."""

    tenant: Versioned[Tenant]
    user: Versioned[Principal]
    client: PublicClient
    session: Session
    scope: UserScope
    interactive: bool
    """Whether a person has just approved it."""
    changes: Batch
    refresh_token: str | None = field(default=None, repr=False)

    @property
    def as_logged(self) -> UserSignIn:
        """What the sign-in log tells of it."""
        return UserSignIn(
            client_name=self.client.name,
            display_name=self.user.value.display_name,
            interactive=self.interactive,
            session_id=self.session.id,
            approved_by=self.session.approved_by,
        )

    @property
    def requirements(self) -> Batch:
        """Everything that must hold, and everything that is used up or made."""
        required = Batch.of(
            Require(collection=TENANTS, key=self.tenant.value.id, expect=self.tenant.version),
            Require(collection=PRINCIPALS, key=self.user.value.id, expect=self.user.version),
        )
        return required + self.client.rests_on + self.changes


async def ended(store: Store, session_id: str) -> Batch:
    """Deletes of a session with its refresh tokens; its access tokens die with it. Empty if it is gone already."""
    session = await store.get(SESSIONS, session_id)
    if session is None:
        return Batch()
    tokens = await store.all(REFRESH_TOKENS, where={"session_id": session_id})
    whose = session.value.principal_id
    return Batch.of(
        *(Delete(collection=REFRESH_TOKENS, key=it.value.id, expect=it.version, subject=whose) for it in tokens),
        Delete(collection=SESSIONS, key=session_id, expect=session.version, subject=whose),
    )


class UserGrants:
    """Reads what a request shows, and decides whether it speaks for a user."""

    def __init__(self, *, store: Store, entropy: Entropy) -> None:
        self._store = store
        self._entropy = entropy

    async def tenant(self, request: TokenRequest) -> Versioned[Tenant] | None:
        """The tenant whose log the attempt belongs to: the path's or, if that is open, the one that what is shown leads to.

        Raises `Failure(TENANT_NOT_FOUND)`. None leads nowhere: then there is no token either.
        """
        if request.tenant.lower() not in ANY_TENANT:
            return await find_tenant(self._store, request.tenant)
        code = await self._device_code(request)
        token = await self._refresh_token(request)
        session = await self._store.get(SESSIONS, token.value.session_id) if token else None
        tenant_id = code.value.tenant_id if code else session.value.tenant_id if session else None
        return await self._store.get(TENANTS, tenant_id) if tenant_id else None

    async def prove(self, asked: Asked) -> SignedIn:
        """The user, noted in the attempt, or a `Failure`: MISSING_PARAMETER, CLIENT_*, DEVICE_CODE_*, REFRESH_TOKEN_*, USER_*.

        A poll that comes while nothing is decided is noted, and may raise `CommitRefused`: then ask again.
        """
        request, tenant = asked.request, asked.tenant
        require_no_proof(request)
        client = await public_client(self._store, request.client_id, tenant.value if tenant else None)
        redeem = request.grant_type == DEVICE_CODE_GRANT
        return await (self._redeemed(asked, client) if redeem else self._refreshed(asked, client))

    async def reused(self, request: TokenRequest, now: datetime) -> Batch:
        """What a refresh token that is used again costs: the end of its session. Empty for any other request."""
        token = await self._refresh_token(request)
        if token is None or not _spent(token.value, now) or token.value.expires_at <= now:
            return Batch()
        return await ended(self._store, token.value.session_id)

    # Device codes ---------------------------------------------------------------------------------------------------

    async def _redeemed(self, asked: Asked, client: PublicClient) -> SignedIn:
        request, now = asked.request, asked.now
        if request.device_code is None:
            raise Failure(FailureKind.MISSING_PARAMETER, "the request holds no device code", parameter="device_code")
        code = await self._device_code(request)
        if code is None or code.value.client_id != client.id:
            raise Failure(FailureKind.DEVICE_CODE_UNKNOWN, "there is no such device code")
        if now >= code.value.expires_at:
            raise Failure(FailureKind.DEVICE_CODE_EXPIRED, "the device code has expired")
        if code.value.state is DeviceCodeState.PENDING:
            raise await self._waiting(code, now)
        if code.value.state is DeviceCodeState.DENIED or code.value.principal_id is None or asked.tenant is None:
            raise Failure(FailureKind.DEVICE_CODE_DECLINED, "the sign-in was declined")
        user = await self._user(code.value.principal_id, asked.tenant.value, client, asked.attempt)
        return self._begun(code, (asked.tenant, user), client, now)

    async def _waiting(self, code: Versioned[DeviceCode], now: datetime) -> Failure:
        polled = code.value.polled_at
        early = polled is not None and now < polled + INTERVAL - _SLACK
        noted = replace(code.value, polled_at=now)
        await self._store.commit(Batch.of(Put(collection=DEVICE_CODES, value=noted, expect=code.version)))
        if early:
            seconds = str(int(INTERVAL.total_seconds()))
            return Failure(FailureKind.DEVICE_CODE_SLOW_DOWN, "the client polls too often", interval=seconds)
        return Failure(FailureKind.DEVICE_CODE_PENDING, "nobody has approved the sign-in yet")

    def _begun(
        self,
        code: Versioned[DeviceCode],
        whose: tuple[Versioned[Tenant], Versioned[Principal]],
        client: PublicClient,
        now: datetime,
    ) -> SignedIn:
        tenant, user = whose
        scope = user_scope(code.value.scope)
        session = Session(
            id=self._entropy.guid(),
            tenant_id=tenant.value.id,
            principal_id=user.value.id,
            client_id=client.id,
            client_name=client.name,
            created_at=now,
            expires_at=now + SESSION_LIFETIME,
            approved_by=code.value.decided_by or "",
        )
        changes = Batch.of(
            Delete(collection=DEVICE_CODES, key=code.value.id, expect=code.version),
            Put(collection=SESSIONS, value=session, expect=ABSENT),
        )
        made, text = self._new_token(session, code.value.scope, now) if scope.offline else (Batch(), None)
        return SignedIn(
            tenant=tenant,
            user=user,
            client=client,
            session=session,
            scope=scope,
            interactive=True,
            changes=changes + made,
            refresh_token=text,
        )

    # Refresh tokens -------------------------------------------------------------------------------------------------

    async def _refreshed(self, asked: Asked, client: PublicClient) -> SignedIn:
        request, tenant, now = asked.request, asked.tenant, asked.now
        if request.refresh_token is None:
            raise Failure(FailureKind.MISSING_PARAMETER, "the request holds no refresh token", parameter="refresh_token")
        token = await self._refresh_token(request)
        session = await self._store.get(SESSIONS, token.value.session_id) if token else None
        if token is None or session is None or tenant is None or session.value.client_id != client.id:
            raise Failure(FailureKind.REFRESH_TOKEN_INVALID, "there is no such refresh token")
        user = await self._user(token.value.principal_id, tenant.value, client, asked.attempt)
        _require_unspent(token.value, now)
        used = replace(token.value, used_at=token.value.used_at or now)
        kept = replace(session.value, expires_at=now + SESSION_LIFETIME)
        made, text = self._new_token(kept, token.value.scope, now)
        changes = Batch.of(
            Put(collection=REFRESH_TOKENS, value=used, expect=token.version),
            Put(collection=SESSIONS, value=kept, expect=session.version),
        )
        return SignedIn(
            tenant=tenant,
            user=user,
            client=client,
            session=kept,
            scope=user_scope(request.audience or token.value.scope),
            interactive=False,
            changes=changes + made,
            refresh_token=text,
        )

    def _new_token(self, session: Session, scope: str, now: datetime) -> tuple[Batch, str]:
        text = _PREFIX + b64url(self._entropy.bytes(_SECRET_BYTES))
        token = RefreshToken(
            id=fingerprint(text),
            session_id=session.id,
            principal_id=session.principal_id,
            scope=scope,
            issued_at=now,
            expires_at=now + SESSION_LIFETIME,
        )
        return Batch.of(Put(collection=REFRESH_TOKENS, value=token, expect=ABSENT)), text

    # What both need -------------------------------------------------------------------------------------------------

    async def _user(
        self, principal_id: str, tenant: Tenant, client: PublicClient, attempt: Attempt | None
    ) -> Versioned[Principal]:
        user = await self._store.get(PRINCIPALS, principal_id)
        theirs = user is not None and user.value.type is PrincipalType.USER and user.value.tenant_id == tenant.id
        if user is None or not theirs or client.tenant_id not in (None, tenant.id):
            facts = {"tenant": tenant.display_name, "client_id": client.id}
            raise Failure(FailureKind.USER_TENANT, "the user is not of the tenant", **facts)
        if attempt is not None:
            attempt.principal = user
        if not user.value.enabled:
            raise Failure(FailureKind.USER_DISABLED, "the user is disabled")
        return user

    async def _device_code(self, request: TokenRequest) -> Versioned[DeviceCode] | None:
        if request.grant_type != DEVICE_CODE_GRANT or request.device_code is None:
            return None
        return await self._store.get(DEVICE_CODES, fingerprint(request.device_code))

    async def _refresh_token(self, request: TokenRequest) -> Versioned[RefreshToken] | None:
        if request.grant_type != REFRESH_GRANT or request.refresh_token is None:
            return None
        return await self._store.get(REFRESH_TOKENS, fingerprint(request.refresh_token))


def _spent(token: RefreshToken, now: datetime) -> bool:
    return token.used_at is not None and now >= token.used_at + _GRACE


def _require_unspent(token: RefreshToken, now: datetime) -> None:
    if now >= token.expires_at:
        issued = token.issued_at.isoformat(timespec="seconds").replace("+00:00", "Z")
        days = str(SESSION_LIFETIME.days)
        raise Failure(FailureKind.REFRESH_TOKEN_EXPIRED, "the refresh token has expired", issued=issued, days=days)
    if _spent(token, now):
        raise Failure(FailureKind.REFRESH_TOKEN_REUSED, "the refresh token was used before")
