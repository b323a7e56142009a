"""Introspection (RFC 7662): whether a token counts at this moment, by everything that our own targets check.

An answer says `active` and what the token says, or `{"active": false}` and no more: not why, nor whether the asker lacks the right to
know (section 2.2). The asker proves itself as a client at the token endpoint does, or by a bearer token.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from idplane.arm.buckets import Buckets, Claim, Shortage
from idplane.model.calls import Call, Caller
from idplane.model.directory import Principal, PrincipalType, ResourceApplication
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.rates import Rate
from idplane.model.user_sessions import fingerprint
from idplane.model.values import JsonObject
from idplane.ports.collections import PRINCIPALS, REFRESH_TOKENS, SESSIONS
from idplane.ports.store import Reads
from idplane.ports.world import Clock
from idplane.sts.inspectors import Inspectors
from idplane.sts.requests import TokenRequest

__all__ = ["Inspection", "Introspection"]

_MAX_TOKEN: Final = 16 * 1024
_RATE: Final = Rate(2000, 500.0)
"""Of one asker, or of one address as long as nobody has proved who asks there, at one replica."""
_INACTIVE: Final[JsonObject] = MappingProxyType({"active": False})
_REFRESH: Final = "refresh_token"
_TOLD: Final = (
    "aud", "iss", "iat", "nbf", "exp", "sub", "cnf", "oid", "tid", "idtyp", "roles", "ver", "xms_mirid", "xms_az_rid", "sid",
)  # fmt: skip
"""Claims that answers repeat."""


class _Clients(Protocol):
    async def client(self, request: TokenRequest, call: Call) -> Principal:
        """The client that the request proves to come from."""
        ...


class _Tokens(Protocol):
    async def authenticate(self, token: str, audiences: Collection[str], certificate: bytes | None = None) -> Caller:
        """The bearer of a token for one of `audiences`."""
        ...

    async def inspect(self, token: str) -> Caller:
        """The caller that a token speaks for, whatever it is for."""
        ...


class _Audiences(Protocol):
    async def resolve(self, resource: str, *, tenant_id: str) -> ResourceApplication:
        """The application that a resource string names."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """One question."""

    token: str = field(repr=False)
    hint: str | None
    client: TokenRequest | None
    """What the asker proves itself with, unless it is `bearer`."""
    bearer: str | None = field(default=None, repr=False)
    audiences: frozenset[str] = frozenset()
    """What a bearer token must be for."""


class Introspection:
    """Answers questions about tokens."""

    def __init__(  # noqa: PLR0913 - its whole world, spelled out
        self,
        *,
        store: Reads,
        clients: _Clients,
        tokens: _Tokens,
        audiences: _Audiences,
        inspectors: Inspectors,
        action: str,
        clock: Clock,
    ) -> None:
        """`action` is the right at the tenant's root to know of every token."""
        self._store = store
        self._clients = clients
        self._tokens = tokens
        self._audiences = audiences
        self._inspectors = inspectors
        self._action = action
        self._clock = clock
        self._buckets = Buckets()

    async def inspect(self, question: Inspection, call: Call) -> JsonObject:
        """The answer. Raises `Failure` when the asker is not who it says, asks too often (THROTTLED), or nothing can be known (UNAVAILABLE)."""
        self._admit("address", call.client_address or "")
        asker = await self._asker(question, call)
        self._admit("principal", asker.id)
        if len(question.token) > _MAX_TOKEN:
            return _INACTIVE
        try:
            if question.token.count(".") == 2:  # noqa: PLR2004 - a signed JWT has three parts (RFC 7515 section 3.1); the hint may be wrong
                return await self._access_token(question.token, asker)
            return await self._refresh_token(question.token, asker)
        except Failure as failure:
            if failure.kind.category in (Category.UNAVAILABLE, Category.INTERNAL):
                raise
            return _INACTIVE

    async def _asker(self, question: Inspection, call: Call) -> Principal:
        if question.client is not None:
            return await self._clients.client(question.client, call)
        caller = await self._tokens.authenticate(question.bearer or "", question.audiences, call.client_certificate)
        return await self._inspectors.principal_of(caller)

    async def _access_token(self, token: str, asker: Principal) -> JsonObject:
        caller = await self._tokens.inspect(token)
        claims = caller.claims
        resource = await self._audiences.resolve(str(claims.get("aud")), tenant_id=caller.tenant_id)
        if caller.tenant_id != asker.tenant_id or not await self._may_know(asker, resource):
            return _INACTIVE
        scopes = claims.get("scp")
        by_user = claims.get("idtyp") == "user"
        return {
            "active": True,
            "token_type": "Bearer" if "cnf" not in claims else "mtls_pop",
            "client_id": caller.client_id,
            "jti": caller.token_id,
            **({"scope": scopes} if isinstance(scopes, str) else {}),
            **({"username": caller.display_name} if by_user else {}),
            **{name: claims[name] for name in _TOLD if name in claims},
        }

    async def _may_know(self, asker: Principal, resource: ResourceApplication) -> bool:
        return await self._inspectors.speaks_for(asker, resource) or await self._inspectors.holds(asker, self._action)

    async def _refresh_token(self, token: str, asker: Principal) -> JsonObject:
        """It is for the authority itself, so that only those who may know everything hear of it."""
        row = await self._store.get(REFRESH_TOKENS, fingerprint(token))
        session = await self._store.get(SESSIONS, row.value.session_id) if row else None
        user = await self._store.get(PRINCIPALS, row.value.principal_id) if row else None
        now = self._clock.now()
        if row is None or session is None or user is None or row.value.used_at is not None or now >= row.value.expires_at:
            return _INACTIVE
        known = user.value.tenant_id == asker.tenant_id and await self._inspectors.holds(asker, self._action)
        if not known or not user.value.enabled or user.value.type is not PrincipalType.USER:
            return _INACTIVE
        return {
            "active": True,
            "token_type": _REFRESH,
            "client_id": session.value.client_id,
            "username": user.value.caller_name,
            "sub": user.value.id,
            "iat": int(row.value.issued_at.timestamp()),
            "exp": int(row.value.expires_at.timestamp()),
            "scope": row.value.scope,
        }

    def _admit(self, *key: str) -> None:
        taken = self._buckets.take((Claim(key, _RATE),), self._clock.monotonic())
        if isinstance(taken, Shortage):
            raise Failure(FailureKind.THROTTLED, "tokens are asked about too often", retry_after=str(taken.seconds))
