"""When a signing key is made, takes over, retires and goes: the pure half of the key ring.

    prepared ----------------> active ------------------> retired ----------------------> gone
    published, not signing     signs, at most one         verifies                        once its last token has died
             after the lead             after its lifetime         after the longest token

Somebody who rotates by hand names the instant at which a prepared key is to take over: it stands in its `activated_at`.

The clock is not trusted to run forward. A key's state only ever moves to the right; one turn makes at most one key take over,
however far the clock has jumped; times that lie in the future because the clock was set back are corrected where that delays
nothing dangerous, and left alone where they only keep a key published for longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from idplane.model.keys import KeyState, SigningKey
from idplane.model.profile import Profile

__all__ = [
    "CLOCKS_APART",
    "GRACE",
    "SLACK",
    "UNHEARD",
    "Activate",
    "Correct",
    "Create",
    "Drop",
    "Pace",
    "Plan",
    "Step",
    "activated",
    "active_key",
    "corrected",
    "known_until",
    "longest_token",
    "plan",
    "replacement",
    "retired",
    "summoned",
    "takes_over",
]

CLOCKS_APART = timedelta(minutes=10)
"""What clocks may differ by: between replicas, and between us and whoever verifies."""
UNHEARD = timedelta(minutes=1)
"""The longest that a replica goes on signing with a key whose end it has not heard of: the highest bound that its settings can ask for."""
SLACK = timedelta(minutes=1)
"""What a clock may be set back by between a token's claims and its signature."""
GRACE = 2 * CLOCKS_APART + UNHEARD + SLACK
"""What a retired key stays published for beyond the longest token.

Who signed last may be ahead of who verifies, and who forgets ahead of who retired it: twice what clocks may differ by. In between, somebody
may not have heard. With less a living token might be refused; more is of use to nobody.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast keys of one purpose follow one another."""

    lifetime: timedelta
    """How long a key signs."""
    lead: timedelta
    """How long it is published before."""
    outlived: timedelta | None
    """How long what it signs is good for: so long it stays known once it has retired, and `GRACE` more. None: for good."""
    notice: timedelta = timedelta()
    """How long it is published before it signs when somebody rotates by hand."""

    @classmethod
    def of_tokens(cls, profile: Profile) -> Pace:
        """That of the token-signing keys."""
        return cls(lifetime=profile.signing_key_lifetime, lead=profile.signing_key_lead, outlived=longest_token(profile))


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Make a key: PREPARED to succeed the active one, or ACTIVE when there is nothing to sign with."""

    state: KeyState


@dataclass(frozen=True, slots=True, kw_only=True)
class Activate:
    """Let a prepared key take over from the active one, which retires."""

    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Correct:
    """Bring a key's times back to the present."""

    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Forget a retired key."""

    key_id: str


Step: TypeAlias = Create | Activate | Correct | Drop


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do now, and when to look again: `due` is now if there is something to do."""

    steps: tuple[Step, ...]
    due: datetime


def plan(keys: Sequence[SigningKey], now: datetime, pace: Pace) -> Plan:
    """The steps that these keys (of one purpose) need at `now`: at most one that makes or moves a key, and any drops."""
    succession, succession_due = _succession(keys, now, pace)
    ends = [(key.id, known_until(key, pace)) for key in keys]
    drop_dues = [(key_id, at + GRACE) for key_id, at in ends if at is not None]
    drops = tuple(Drop(key_id=key_id) for key_id, at in drop_dues if at <= now)
    steps = (*((succession,) if succession else ()), *drops)
    return Plan(steps=steps, due=now if steps else min((succession_due, *(at for _, at in drop_dues))))


def replacement(keys: Sequence[SigningKey]) -> Create | Activate:
    """What makes another key active at once: the prepared key that has been published longest, or a new one."""
    prepared = _next_in_line(keys)
    return Activate(key_id=prepared.id) if prepared else Create(state=KeyState.ACTIVE)


def active_key(keys: Iterable[SigningKey]) -> SigningKey | None:
    """The key that signs."""
    return next((key for key in keys if key.state is KeyState.ACTIVE and not key.tainted), None)


def known_until(key: SigningKey, pace: Pace) -> datetime | None:
    """When the last of what a retired key signed ends; None for one that signs, or whose work is good for ever."""
    return None if key.retired_at is None or pace.outlived is None else key.retired_at + pace.outlived


def takes_over(keys: Sequence[SigningKey], now: datetime, notice: timedelta) -> datetime:
    """When another key may sign if it has to have been published for `notice`: now, where one has been, or nothing signs."""
    if active_key(keys) is None or not notice:
        return now
    prepared = _next_in_line(keys)
    return now + notice if prepared is None else max(now, min(prepared.created_at, now) + notice)


def summoned(keys: Sequence[SigningKey]) -> SigningKey | None:
    """The prepared key that somebody has told when to take over."""
    prepared = _next_in_line(keys)
    return prepared if prepared is not None and prepared.activated_at is not None else None


def longest_token(profile: Profile) -> timedelta:
    """How long the longest-lived token is valid."""
    return max(profile.managed_identity_token_lifetime, profile.application_token_lifetime)


def activated(key: SigningKey, now: datetime) -> SigningKey:
    """The key as it takes over."""
    return replace(key, state=KeyState.ACTIVE, activated_at=now, retired_at=None)


def retired(key: SigningKey, now: datetime, *, signed_until: datetime | None = None, tainted: bool = False) -> SigningKey:
    """The key as it stops signing. `signed_until` is the last instant at which it signed, if that is later than `now`.

    It is when the clock was set back in between: tokens from that future are still alive long after `now`.
    """
    at = now if signed_until is None else max(now, signed_until)
    return replace(key, state=KeyState.RETIRED, retired_at=key.retired_at or at, tainted=tainted or key.tainted)


def corrected(key: SigningKey, now: datetime, pace: Pace) -> SigningKey:
    """The key without times in the future, but for when it is to take over, which is no further than it may be."""
    latest = now + _furthest(pace) if key.state is KeyState.PREPARED else now
    activated_at = None if key.activated_at is None else min(key.activated_at, latest)
    return replace(key, created_at=min(key.created_at, now), activated_at=activated_at)


def _succession(keys: Sequence[SigningKey], now: datetime, pace: Pace) -> tuple[Step | None, datetime]:
    """The one step that makes or moves a key, if it is due, and when it is."""
    active, prepared = active_key(keys), _next_in_line(keys)
    if active is None:
        return replacement(keys), now
    ahead = next((key for key in (active, prepared) if key and _is_ahead(key, now, pace)), None)
    if ahead:
        return Correct(key_id=ahead.id), now
    ends = (active.activated_at or active.created_at) + pace.lifetime
    due = max(ends, prepared.created_at + pace.lead) if prepared else ends - pace.lead
    if prepared and prepared.activated_at is not None:
        due = min(due, prepared.activated_at)
    if due > now:
        return None, due
    return (Activate(key_id=prepared.id) if prepared else Create(state=KeyState.PREPARED)), now


def _next_in_line(keys: Sequence[SigningKey]) -> SigningKey | None:
    prepared = (key for key in keys if key.state is KeyState.PREPARED and not key.tainted)
    return min(prepared, key=lambda key: (key.created_at, key.id), default=None)


def _furthest(pace: Pace) -> timedelta:
    """The longest that a prepared key waits for its turn because somebody said so."""
    return max(pace.notice, pace.lead)


def _is_ahead(key: SigningKey, now: datetime, pace: Pace) -> bool:
    """Whether the key's times are further in the future than clocks differ: then the clock was set back.

    Left alone, such a key would rotate later by all that the clock had been wrong.
    """
    since = key.activated_at or key.created_at
    if key.state is KeyState.PREPARED:
        since -= _furthest(pace)  # when it is to take over
    return max(key.created_at, since) > now + GRACE
