"""Requests that were refused before it was known who asks, as records of the activity log: one for each address and minute.

Whoever proves nothing decides how often it is refused, so it must not decide how much is written. What a request costs here is a number in
memory; once a minute the numbers become a few records, however many requests and addresses there were. What a process has not written when it
is killed is lost, which costs a minute of counts and no record of anything that was done.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from idplane.audit.activity import activity_event
from idplane.model.calls import Call, Caller
from idplane.model.events import ActivityEvent
from idplane.model.failure import FailureKind
from idplane.model.ids import ResourceId
from idplane.ports.collections import ACTIVITY
from idplane.ports.store import Append, Batch, Store
from idplane.ports.world import Clock, Entropy

__all__ = ["EVERY", "MOST_ADDRESSES", "REFUSED", "RefusedRequests"]

EVERY: Final = timedelta(minutes=1)
REFUSED: Final = "Idplane.Security/requests/refuse/action"
MOST_ADDRESSES: Final = 16
"""Addresses with a record of their own in a minute; the others share one."""
_MOST_REASONS: Final = 20
_OTHER: Final = "other"
_ELSEWHERE: Final = "elsewhere"


@dataclass(slots=True)
class _Refused:
    """What one address was refused in this minute."""

    first: Call
    kind: FailureKind
    """Of the first."""
    reasons: Counter[str] = field(default_factory=Counter)
    last: datetime | None = None


class RefusedRequests:
    """One process' part of it."""

    def __init__(self, *, store: Store, clock: Clock, entropy: Entropy, tenant_id: str) -> None:
        """`tenant_id` is the tenant in whose log that stands which belongs to nobody."""
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._tenant_id = tenant_id
        self._refused: dict[str, _Refused] = {}

    def note(self, surface: str, kind: FailureKind, call: Call) -> None:
        """Count one refusal. Quick, bounded, and never raises."""
        known = self._of(call.network, _Refused(first=call, kind=kind))
        reason = f"{surface} {kind.name}"
        known.reasons[reason if reason in known.reasons or len(known.reasons) < _MOST_REASONS else _OTHER] += 1
        known.last = call.received_at

    async def turn(self) -> datetime:
        """Write what was counted; when to come again. What cannot be written is counted on: raises as the store does."""
        counted, self._refused = self._refused, {}
        try:
            if counted:
                records = (Append(log=ACTIVITY, event=self._event(place, one)) for place, one in counted.items())
                await self._store.commit(Batch.of(*records))
        except BaseException:
            meanwhile, self._refused = self._refused, counted
            for place, one in meanwhile.items():
                known = self._of(place, one)
                if known is not one:
                    known.reasons += one.reasons
                    known.last = one.last
            raise
        return self._clock.now() + EVERY

    def _of(self, place: str, one: _Refused) -> _Refused:
        """What is counted for a place, beginning with this; those for which there is no room share a place."""
        known = place in self._refused or len(self._refused) < MOST_ADDRESSES
        return self._refused.setdefault(place if known else _ELSEWHERE, one)

    def _event(self, place: str, refused: _Refused) -> ActivityEvent:
        caller = Caller(
            tenant_id=self._tenant_id, principal_id="", client_id="", display_name=f"somebody at {place}", token_id=""
        )
        return activity_event(
            event_id=self._entropy.guid(),
            at=self._clock.now(),
            call=replace(refused.first, url=""),  # a stranger's text
            caller=caller,
            resource_id=ResourceId(()),
            operation=REFUSED,
            decision=None,
            http_status=refused.kind.category.value,
            failure_code=refused.kind.name,
            details={
                "address": place,
                "count": str(refused.reasons.total()),
                "reasons": ", ".join(f"{reason}: {count}" for reason, count in refused.reasons.most_common()),
                "until": refused.last.isoformat() if refused.last else "",
            },
        )
