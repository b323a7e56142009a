"""How a line of keys moves, as commits: made, taking over, retired, tainted. Pure but for the making of keys.

A line is the keys of one purpose, of which at most one is active. `rotation` says what is due; here it becomes operations that fail
if any key they rest on has changed. Used by the process that follows a line (`succession`) and by whoever is asked to move one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

from idplane.keys import rotation
from idplane.keys.sealing import check_mark, marked
from idplane.model.failure import Failure
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.ports.collections import SIGNING_KEYS
from idplane.ports.store import ABSENT, Batch, Delete, Put, Reads, Versioned
from idplane.ports.world import KeyCustody

__all__ = ["Line", "Moves", "Records", "read_line"]

Records = Mapping[str, Versioned[SigningKey]]
"""A reading of one line, by key id, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What the keys of one purpose are."""

    purpose: KeyPurpose
    pace: rotation.Pace
    make: Callable[[KeyState, datetime, SigningKey | None], SigningKey] = field(repr=False)
    """A new key, sealed; may take long. It is told which key it is to succeed."""
    usable: Callable[[SigningKey, datetime], bool] = field(default=lambda _, __: True, repr=False)
    """Whether a key can do its work now: certificates of authorities have dates, and are for certain names."""
    replaces: Callable[[SigningKey, SigningKey], bool] = field(default=lambda _, __: True, repr=False)
    """Whether the first key can do all that the second can: else it may not come back in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """The moves of one line."""

    line: Line
    custody: KeyCustody = field(repr=False)
    signed_until: Callable[[SigningKey], datetime | None] = field(default=lambda _: None, repr=False)
    """The last instant at which this process has signed with a key, where it knows."""

    def plan(self, keys: Sequence[SigningKey], now: datetime) -> rotation.Plan:
        """What is due."""
        active = rotation.active_key(keys)
        usable = [key for key in keys if key.state is KeyState.RETIRED or self.line.usable(key, now)]
        useless = tuple(rotation.Drop(key_id=key.id) for key in keys if key.state is KeyState.PREPARED and key not in usable)
        if active is not None and active not in usable and (earlier := self._earlier(keys, active, now)) is not None:
            return rotation.Plan(steps=(rotation.Activate(key_id=earlier.id), *useless), due=now)
        made = rotation.plan(usable, now, self.line.pace)
        return rotation.Plan(steps=(*useless, *made.steps), due=now if useless else made.due)

    async def step(self, step: rotation.Step, records: Records, now: datetime) -> Batch:
        """One step as a commit that fails if any key it rests on has moved."""
        match step:
            case rotation.Create(state=KeyState.PREPARED):
                # Rewriting the active key unchanged makes two replicas that prepare a successor at once collide.
                return self._rewritten_active(records) + await self._creation(KeyState.PREPARED, records, now)
            case rotation.Create() | rotation.Activate():
                return self._retirement(records, now) + await self._takeover(step, records, now)
            case rotation.Correct(key_id=key_id):
                return self._put(records[key_id], rotation.corrected(records[key_id].value, now, self.line.pace))
            case rotation.Drop(key_id=key_id):
                return Batch.of(Delete(collection=SIGNING_KEYS, key=key_id, expect=records[key_id].version))
            case _:
                assert_never(step)

    async def rotate(self, records: Records, now: datetime, notice: timedelta = timedelta()) -> Batch:
        """Another key becomes active: the prepared one, or a new one. At once, or when it has been published for `notice`."""
        usable = [one.value for one in records.values() if self.line.usable(one.value, now)]
        at = rotation.takes_over(usable, now, notice)
        if at <= now:
            return await self.step(self._replacement(records, now), records, now)
        following = rotation.replacement(usable)
        if isinstance(following, rotation.Create):
            return self._rewritten_active(records) + await self._creation(KeyState.PREPARED, records, now, at=at)
        record = records[following.key_id]
        return self._put(record, replace(record.value, activated_at=at))

    async def taint(self, records: Records, kid: str, now: datetime) -> Batch:
        """The key counts for nothing any more, and its private part is gone; another takes over if it was the active one."""
        record = records[kid]
        takeover = Batch()
        if record.value.state is KeyState.ACTIVE and not record.value.tainted:
            others = {key: one for key, one in records.items() if key != kid}
            step = self._replacement(others, now)
            takeover = await self._takeover(step, others, now, like=self._intact(record.value))
        # The one that goes is written first: the database admits one active key.
        return self._put(record, self._retired(record.value, now, tainted=True)) + takeover

    def _replacement(self, records: Records, now: datetime) -> rotation.Create | rotation.Activate:
        return rotation.replacement([one.value for one in records.values() if self.line.usable(one.value, now)])

    def _earlier(self, keys: Iterable[SigningKey], active: SigningKey, now: datetime) -> SigningKey | None:
        """The newest retired key that could do the work: the clock was wrong when it was replaced, and people trust it already."""
        retired = (one for one in keys if one.state is KeyState.RETIRED and not one.tainted)
        good = (one for one in retired if self.line.usable(one, now) and self.line.replaces(one, active))
        return max(good, key=lambda one: (one.created_at, one.id), default=None)

    async def _takeover(
        self, step: rotation.Create | rotation.Activate, records: Records, now: datetime, like: SigningKey | None = None
    ) -> Batch:
        """What makes a key active, once no other is; a new one is as `like`, which is about to go."""
        if isinstance(step, rotation.Create):
            return await self._creation(KeyState.ACTIVE, records, now, like)
        record = records[step.key_id]
        return self._put(record, rotation.activated(record.value, now))

    async def _creation(
        self, state: KeyState, records: Records, now: datetime, like: SigningKey | None = None, at: datetime | None = None
    ) -> Batch:
        # Made before the commit and off the loop: RSA takes 44 ms in the median, and nothing may wait for it.
        present = rotation.active_key(one.value for one in records.values()) or like
        key = await asyncio.to_thread(self.line.make, state, now, present)
        if at is not None:
            key = replace(key, activated_at=at)
        return Batch.of(Put(collection=SIGNING_KEYS, value=marked(key, self.custody), expect=ABSENT))

    def _intact(self, key: SigningKey) -> SigningKey | None:
        """The key, unless its record was changed behind our back: nothing may be made after the likeness of such a one."""
        try:
            check_mark(key, self.custody)
        except Failure:
            return None
        return key

    def _retirement(self, records: Records, now: datetime) -> Batch:
        """Whatever is active retires, also what somebody tainted behind our back."""
        active = [one for one in records.values() if one.value.state is KeyState.ACTIVE]
        return sum((self._put(one, self._retired(one.value, now)) for one in active), Batch())

    def _rewritten_active(self, records: Records) -> Batch:
        active = rotation.active_key(one.value for one in records.values())
        return self._put(records[active.id], active) if active else Batch()

    def _retired(self, key: SigningKey, now: datetime, *, tainted: bool = False) -> SigningKey:
        return rotation.retired(key, now, signed_until=self.signed_until(key), tainted=tainted)

    def _put(self, record: Versioned[SigningKey], value: SigningKey) -> Batch:
        return Batch.of(Put(collection=SIGNING_KEYS, value=marked(value, self.custody), expect=record.version))


async def read_line(store: Reads, purpose: KeyPurpose) -> Records:
    """The keys of a purpose as the store has them."""
    found = await store.all(SIGNING_KEYS, where={"purpose": purpose.value})
    return {one.value.id: one for one in sorted(found, key=lambda one: (one.value.created_at, one.value.id))}
