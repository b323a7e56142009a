"""How long the logs are kept, and the duty that removes what is older.

The installation's own setting decides, and where there is none the profile does. Old events go a bounded number at a time, each in a
commit of its own, so that whoever writes meanwhile waits for one of them at most.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from idplane.model.directory import Setting
from idplane.model.events import ActivityEvent
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import Profile
from idplane.ports.collections import ACTIVITY, SETTINGS, SIGN_INS, microseconds
from idplane.ports.store import ANY, Append, Batch, Delete, Log, Logged, Put, Store, Trim

__all__ = ["FOREVER", "PROFILE", "LogRetention", "days_of", "keep_log"]

FOREVER: Final = "forever"
PROFILE: Final = "profile"
"""As the profile says: no setting of the installation's own."""
_SETTING: Final = "retention."
_AT_ONCE: Final = 500
"""Events removed by one commit: some milliseconds."""
_MOST_DAYS: Final = 36_500
_HOUR: Final = 3_600_000_000
"""Microseconds. Trims that leave a record go by whole hours, so that the records do not outnumber what they tell of."""


class LogRetention:
    """The duty. Any number of processes may have it at the same time."""

    def __init__(self, *, store: Store, profile: Profile, record: Callable[[str, int], ActivityEvent] | None = None) -> None:
        """`record` makes the event that tells of a trim, from the log's name and the time (microseconds) that it goes up to."""
        self._store = store
        self._record = record
        self._kept: tuple[tuple[Log[object], timedelta | None], ...] = (
            (ACTIVITY, profile.activity_log_retention),  # type: ignore[assignment]  # a log is trimmed alike whatever it holds
            (SIGN_INS, profile.sign_in_retention),
        )

    async def kept(self, log: Log[object], otherwise: timedelta | None) -> timedelta | None:
        """How long a log's events are kept; None for ever."""
        setting = await self._store.get(SETTINGS, f"{_SETTING}{log.name}")
        if setting is None:
            return otherwise
        days = days_of(setting.value.value)
        return None if days is None else timedelta(days=days)

    async def turn(self, now: datetime) -> None:
        """Remove everything that is too old now."""
        for log, otherwise in self._kept:
            keep = await self.kept(log, otherwise)
            if keep is not None:
                await self._trim(log, microseconds(now - keep))

    async def _trim(self, log: Log[object], before: int) -> None:
        before -= before % _HOUR if self._record is not None else 0
        told = Batch()
        if self._record is not None:
            told = Batch.of(Append(log=ACTIVITY, event=self._record(log.name, before)))
        while await self._removable(log, await self._store.read_log(log, until=before, limit=2)):
            await self._store.commit(Batch.of(Trim(log=log, before=before, limit=_AT_ONCE)) + told)
            told = Batch()

    async def _removable(self, log: Log[object], found: tuple[Logged[object], ...]) -> bool:
        """The log's last event stays, so one alone may never go."""
        return len(found) > 1 or (len(found) == 1 and found[0].position < await self._store.tree.end(log))


def days_of(text: str) -> int | None:
    """A setting: `30`, `30d`, or `forever` (None); raises `Failure(INVALID_PARAMETER)`."""
    if text == FOREVER:
        return None
    length = re.fullmatch(r"(\d{1,5})d?", text, re.ASCII)
    if length is None or not 1 <= int(length[1]) <= _MOST_DAYS:
        raise Failure(
            FailureKind.INVALID_PARAMETER, f"'{text[:40]}' is not a number of days from 1 to {_MOST_DAYS}, nor '{FOREVER}'"
        )
    return int(length[1])


async def keep_log(store: Store, log: str, text: str) -> None:
    """Set how long the log of a name is kept: see `days_of`; `profile` leaves it to the profile."""
    name = f"{_SETTING}{log}"
    if text == PROFILE:
        await store.commit(Batch.of(Delete(collection=SETTINGS, key=name, expect=ANY)))
        return
    days_of(text)
    await store.commit(Batch.of(Put(collection=SETTINGS, value=Setting(name=name, value=text), expect=ANY)))
