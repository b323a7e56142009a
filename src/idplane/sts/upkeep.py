"""Deletes what has expired of sign-ins: codes that nobody approved, refresh tokens, sessions that nobody used any more, and uses of proofs that are too old anyway."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from idplane.ports.collections import REFRESH_TOKENS, SESSIONS, SPENT_PROOFS
from idplane.ports.store import Batch, CommitRefused, Delete, Store
from idplane.sts.device_codes import forget_expired_codes
from idplane.sts.user_grants import ended

__all__ = ["SignInUpkeep"]

_EVERY: Final = timedelta(hours=6)
_PAGE: Final = 200


class SignInUpkeep:
    """One of a plane's duties. Remembers when it last went through sessions and tokens, which is a walk through all of them."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self._next: datetime | None = None

    async def purge_due(self, now: datetime) -> datetime | None:
        """Delete what is due; when the next code expires, if there is one. The rest is in no hurry."""
        codes = await forget_expired_codes(self._store, now)
        if self._next is None or now >= self._next:
            await self._tokens(now)
            await self._sessions(now)
            await self._spent(now)
            self._next = now + _EVERY
        return codes

    async def _tokens(self, now: datetime) -> None:
        after = None
        while True:
            page = await self._store.page(REFRESH_TOKENS, after=after, limit=_PAGE)
            old = [it for it in page.items if now >= it.value.expires_at]
            with suppress(CommitRefused):  # somebody is just using or deleting one: there is a next time
                if old:
                    await self._store.commit(
                        Batch.of(*(Delete(collection=REFRESH_TOKENS, key=it.value.id, expect=it.version) for it in old))
                    )
            after = page.after
            if after is None:
                return

    async def _sessions(self, now: datetime) -> None:
        after = None
        while True:
            page = await self._store.page(SESSIONS, after=after, limit=_PAGE)
            for it in page.items:
                if now >= it.value.expires_at:
                    with suppress(CommitRefused):  # as above
                        await self._store.commit(await ended(self._store, it.value.id))
            after = page.after
            if after is None:
                return

    async def _spent(self, now: datetime) -> None:
        """Keys sort by expiry, so that the first that still counts ends the walk."""
        while True:
            page = await self._store.page(SPENT_PROOFS, limit=_PAGE)
            old = [it for it in page.items if it.value.is_forgettable(now)]
            if not old:
                return
            try:
                await self._store.commit(Batch.of(*(Delete(collection=SPENT_PROOFS, key=it.value.key) for it in old)))
            except CommitRefused:  # a machine that joins takes some away as well: there is a next time
                return
