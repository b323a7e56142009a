"""The first half of the device code grant (RFC 8628 section 3.1 and 3.2): a program asks, and is given a code to show.

Anybody who reaches the endpoint may ask, so what may wait is bounded, for each address and in all; what nobody approved goes away.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from idplane.jose import b64url
from idplane.model.calls import Call
from idplane.model.directory import Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.user_sessions import DeviceCode, fingerprint, user_code_key
from idplane.ports.collections import DEVICE_CODES
from idplane.ports.store import ABSENT, Batch, CommitRefused, Delete, Put, Store
from idplane.ports.world import Clock, Entropy
from idplane.sts.public_clients import public_client
from idplane.sts.tenants import ANY_TENANT, find_tenant
from idplane.sts.user_scopes import user_scope

__all__ = ["INTERVAL", "DeviceCodes", "DeviceRequest", "StartedDeviceCode", "forget_expired_codes"]

INTERVAL: Final = timedelta(seconds=5)
"""How long a client waits between two polls."""
_LIFETIME: Final = timedelta(minutes=15)
_REMEMBERED: Final = timedelta(minutes=15)
"""How long an expired code is still told to be expired, rather than unknown."""
_SECRET_BYTES: Final = 32
# Neither vowels, so that no words come about, nor what looks alike. 28^9 is ten million millions.
_ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ23456789"
_LENGTH: Final = 9
_MOST_OF_ONE: Final = 64
_MOST: Final = 1024
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRequest:
    """What the endpoint was sent."""

    tenant: str
    """From the path: a GUID, a domain, or a word for any tenant."""
    client_id: str | None
    scope: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedDeviceCode:
    """The two codes, at the only moment when they can be read."""

    device_code: str = field(repr=False)
    user_code: str = field(repr=False)
    expires_in: int
    interval: int


async def forget_expired_codes(store: Store, now: datetime) -> datetime | None:
    """Delete what expired a while ago; when the next is due."""
    page = await store.page(DEVICE_CODES, limit=_MOST)
    dues = {it.value.id: it.value.expires_at + _REMEMBERED for it in page.items}
    old = [key for key, due in dues.items() if now >= due]
    if old:
        await store.commit(Batch.of(*(Delete(collection=DEVICE_CODES, key=key) for key in old)))
    return min((due for due in dues.values() if now < due), default=None)


class DeviceCodes:
    """Gives out codes, and forgets them when their time is over."""

    def __init__(self, *, store: Store, clock: Clock, entropy: Entropy) -> None:
        self._store = store
        self._clock = clock
        self._entropy = entropy

    async def start(self, request: DeviceRequest, call: Call) -> StartedDeviceCode:
        """A request that waits for approval, once it is durable.

        Raises `Failure`: TENANT_NOT_FOUND, MISSING_PARAMETER, CLIENT_*, USER_SCOPE_INVALID, THROTTLED.
        """
        tenant = await self._tenant(request.tenant)
        client = await public_client(self._store, request.client_id, tenant)
        user_scope(request.scope)
        now = self._clock.now()
        await self._make_room(call, now)
        device_code, user_code = b64url(self._entropy.bytes(_SECRET_BYTES)), self._user_code()
        made = DeviceCode(
            id=fingerprint(device_code),
            user_code=user_code_key(user_code),
            client_id=client.id,
            client_name=client.name,
            scope=request.scope or "",
            tenant_id=tenant.id if tenant else None,
            created_at=now,
            expires_at=now + _LIFETIME,
            client_address=call.client_address,
            user_agent=call.user_agent[:_SHOWN],
        )
        try:
            await self._store.commit(Batch.of(Put(collection=DEVICE_CODES, value=made, expect=ABSENT)))
        except CommitRefused as error:
            raise Failure(FailureKind.UNAVAILABLE, "the code is in use already; try again") from error
        return StartedDeviceCode(
            device_code=device_code,
            user_code=user_code,
            expires_in=int(_LIFETIME.total_seconds()),
            interval=int(INTERVAL.total_seconds()),
        )

    async def _tenant(self, name: str) -> Tenant | None:
        return None if name.lower() in ANY_TENANT else (await find_tenant(self._store, name)).value

    async def _make_room(self, call: Call, now: datetime) -> None:
        if await self._full(call):
            await forget_expired_codes(self._store, now)
            if await self._full(call):
                raise Failure(FailureKind.THROTTLED, "too many sign-ins wait for approval; try again in some minutes")

    async def _full(self, call: Call) -> bool:
        of_one = await self._store.page(DEVICE_CODES, where={"client_address": call.client_address}, limit=_MOST_OF_ONE)
        return len(of_one.items) == _MOST_OF_ONE or len((await self._store.page(DEVICE_CODES, limit=_MOST)).items) == _MOST

    def _user_code(self) -> str:
        # Bytes beyond the last whole multiple of the alphabet would favour its first letters.
        code = ""
        limit = 256 - 256 % len(_ALPHABET)
        while len(code) < _LENGTH:
            code += "".join(_ALPHABET[one % len(_ALPHABET)] for one in self._entropy.bytes(_LENGTH) if one < limit)
        return code[:_LENGTH]
