"""The transmitter of security events: changes become events for streams, and events reach receivers.

From the change feed, by a cursor that moves in the transaction that queues the events: a process that dies loses none and queues none twice.
Handing over may happen twice (at least once, by the same `jti`): a queued event goes when its receiver has acknowledged it. Two servers that
do this at a time do no harm, since every step is a compare-and-swap.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from idplane.model.directory import ResourceApplication
from idplane.model.failure import Failure
from idplane.model.security_events import Delivery, EventCursor, EventStream, EventType, QueuedEvent, StreamStatus
from idplane.model.values import JsonObject
from idplane.ports.collections import EVENT_CURSORS, EVENT_STREAMS, PRINCIPALS, QUEUED_EVENTS, SIGN_INS, TENANTS, microseconds
from idplane.ports.receivers import EventReceivers
from idplane.ports.store import ABSENT, Batch, Change, CommitRefused, Delete, Put, Store, Versioned
from idplane.ports.telemetry import EVENTS_PUSHED, NO_TELEMETRY, Telemetry
from idplane.ports.world import Clock, Entropy, KeyCustody
from idplane.sts.event_sources import Happened, events_of, lost
from idplane.sts.inspectors import Inspectors

__all__ = ["EventSigner", "SecurityEvents", "authorization_context", "event_claims", "subject_of"]

_CURSOR: Final = "security-events"
_CHANGES: Final = 200
_QUEUED: Final = 10_000
"""Of one stream. A receiver that takes nothing for so long is told no more until it says that it is back."""
_LIVES: Final = timedelta(hours=25)
"""Longer than any token."""
_LOOKED_AT: Final = 1000
_ACCEPTED: Final = 202
_RETRY_SECONDS: Final = 1.0
_RETRY_MOST: Final = 60.0
_IDLE_SECONDS: Final = 5.0
_log = logging.getLogger("idplane.sts")


class EventSigner(Protocol):
    """What signs events; `keys.KeyRing` is one."""

    async def refresh(self) -> None:
        """Follow what the change feed told of the keys."""
        ...

    def sign_event(self, claims: JsonObject) -> str:
        """A security event token."""
        ...


class SecurityEvents:
    """Makes and hands over events. `turn` and `deliver` are single passes; `run` does both until it is cancelled."""

    def __init__(  # noqa: PLR0913 - its whole world, spelled out
        self,
        *,
        store: Store,
        signer: EventSigner,
        receivers: EventReceivers,
        inspectors: Inspectors,
        action: str,
        custody: KeyCustody,
        clock: Clock,
        entropy: Entropy,
        telemetry: Telemetry = NO_TELEMETRY,
    ) -> None:
        """`action` is the right at the tenant's root to hear of every principal."""
        self._action = action
        self._store = store
        self._signer = signer
        self._receivers = receivers
        self._inspectors = inspectors
        self._custody = custody
        self._clock = clock
        self._entropy = entropy
        self._telemetry = telemetry
        self._retry: dict[str, tuple[float, float]] = {}
        """By stream that waits for it: when to try again, by the monotonic clock, and the pause after that."""

    async def run(self) -> datetime | None:
        """Turn whenever the feed tells of something, and push what waits, until cancelled. Fits a duty."""
        woken = asyncio.Event()
        stop = self._store.subscribe(_waking(woken))
        pushing: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                woken.clear()
                try:
                    await self.turn()
                    rows = await self._streams()
                    kept = {row.value.id for row in rows}
                    self._retry = {name: at for name, at in self._retry.items() if name in kept}
                    for row in rows:
                        if row.value.id not in pushing or pushing[row.value.id].done():
                            pushing[row.value.id] = asyncio.create_task(self._pushed(row.value))
                except Failure as failure:
                    _log.warning("security events are late: %s", failure)
                await self._pause(woken, pushing)
        finally:
            stop()
            for task in pushing.values():
                task.cancel()
            await asyncio.gather(*pushing.values(), return_exceptions=True)

    async def turn(self) -> None:
        """Queue the events of every change that is in the feed by now."""
        while await self._step():
            pass

    async def push(self, stream: EventStream) -> None:
        """Push what waits for one receiver, if its time has come: in order, until one is not taken. What is not taken is tried again after a pause that grows."""
        if await self._store.count(QUEUED_EVENTS, where={"stream_id": stream.id}, limit=_QUEUED + 1) > _QUEUED:
            await self._give_up(stream)
            return
        at, pause = self._retry.get(stream.id, (0.0, _RETRY_SECONDS))
        if self._clock.monotonic() < at:
            return
        self._retry.pop(stream.id, None)
        if stream.delivery is not Delivery.PUSH or stream.status is not StreamStatus.ENABLED:
            return
        tenant = await self._store.get(TENANTS, stream.tenant_id)
        private = tenant is not None and (stream.endpoint or "") in tenant.value.private_issuers
        while items := (await self._store.page(QUEUED_EVENTS, where={"stream_id": stream.id}, limit=50)).items:
            for row in items:
                if not await self._taken(stream, row.value, private=private):
                    self._retry[stream.id] = (self._clock.monotonic() + pause, min(2 * pause, _RETRY_MOST))
                    self._telemetry.count(EVENTS_PUSHED, outcome="failed")
                    return
                await self._store.commit(Batch.of(Delete(collection=QUEUED_EVENTS, key=row.value.key)))
                self._telemetry.count(EVENTS_PUSHED, outcome="delivered")

    async def _streams(self) -> tuple[Versioned[EventStream], ...]:
        return await self._store.all(EVENT_STREAMS)

    async def _pause(self, woken: asyncio.Event, pushing: dict[str, asyncio.Task[None]]) -> None:
        """Until something changed, a push has ended that may have to be tried again, or a while has passed."""
        due = min((at for at, _ in self._retry.values()), default=float("inf")) - self._clock.monotonic()
        waits = [
            asyncio.ensure_future(woken.wait()),
            asyncio.ensure_future(self._clock.sleep(min(max(due, 0.01), _IDLE_SECONDS))),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        for name in [name for name, task in pushing.items() if task.done()]:
            if error := pushing.pop(name).exception():
                _log.error("events of stream %s could not be pushed", name, exc_info=error)

    # From changes to queued events ------------------------------------------------------------------------------------

    async def _step(self) -> bool:
        """One commit's worth of the feed; whether there may be more."""
        streams = [row.value for row in await self._streams()]
        cursor = await self._store.get(EVENT_CURSORS, _CURSOR)
        if not streams:
            if cursor is not None:
                with suppress(CommitRefused):
                    await self._store.commit(Batch.of(Delete(collection=EVENT_CURSORS, key=_CURSOR, expect=cursor.version)))
            return False
        at = cursor.value.position if cursor else min(one.since for one in streams)
        changes, missed = await self._read(at)
        if not changes and not missed:
            return False
        end = changes[-1].position if changes else await self._store.position()
        batch = await self._queued(streams, changes, missed=missed)
        batch += Batch.of(
            Put(
                collection=EVENT_CURSORS,
                value=EventCursor(name=_CURSOR, position=end),
                expect=cursor.version if cursor else ABSENT,
            )
        )
        with suppress(CommitRefused):  # another server was there first
            await self._store.commit(batch)
        return True

    async def _read(self, at: int) -> tuple[Sequence[Change], bool]:
        """What comes after a position, and whether something in between is lost: positions have no gaps."""
        changes = await self._store.changes(at, limit=_CHANGES)
        if changes:
            return changes, changes[0].position != at + 1
        return (), await self._store.position() < at

    async def _queued(self, streams: Sequence[EventStream], changes: Sequence[Change], *, missed: bool) -> Batch:
        batch, number = await self._orphaned(streams), 0
        hearing = [one for one in streams if one.status is not StreamStatus.DISABLED and await self._may_hear(one)]
        told = [(0, lost())] if missed else []
        for change in changes:
            events, remembered = await events_of(self._store, change)
            batch += remembered
            told += [(change.position, one) for one in events]
        for position, happened in told:
            for stream in hearing:
                if (position and position <= stream.since) or not await self._concerns(stream, happened):
                    continue
                number += 1
                event = self._event(stream, happened, f"{position or changes[0].position if changes else 0:020d}", number)
                batch += Batch.of(Put(collection=QUEUED_EVENTS, value=event, expect=ABSENT))
        return batch

    async def _orphaned(self, streams: Sequence[EventStream]) -> Batch:
        """The end of streams whose owner is gone."""
        batch = Batch()
        for stream in streams:
            if await self._store.get(PRINCIPALS, stream.owner_id) is None:
                waiting = await self._store.all(QUEUED_EVENTS, where={"stream_id": stream.id})
                batch += Batch.of(
                    *(Delete(collection=QUEUED_EVENTS, key=one.value.key) for one in waiting),
                    Delete(collection=EVENT_STREAMS, key=stream.id),
                )
        return batch

    async def _may_hear(self, stream: EventStream) -> bool:
        owner = await self._store.get(PRINCIPALS, stream.owner_id)
        resource = ResourceApplication(client_id=stream.audience, display_name="")
        if owner is None or not owner.value.enabled or not await self._inspectors.speaks_for(owner.value, resource):
            return False
        return not stream.everyone or await self._inspectors.holds(owner.value, self._action)

    async def _concerns(self, stream: EventStream, happened: Happened) -> bool:
        if happened.type not in stream.requested or happened.tenant_id not in (None, stream.tenant_id):
            return False
        who = happened.principal_id
        if who is None:
            return True
        if who in stream.removed:
            return False
        return stream.everyone or who in stream.added or await self._had_token(who, stream.audience)

    async def _had_token(self, principal_id: str, audience: str) -> bool:
        """Whether a token of the principal for the audience may be alive. One with more sign-ins than we look through is assumed to."""
        rows = await self._store.read_log(
            SIGN_INS,
            where={"principal_id": principal_id, "error_code": 0},
            since=microseconds(self._clock.now() - _LIVES),
            limit=_LOOKED_AT,
        )
        return len(rows) == _LOOKED_AT or any(row.event.resource_client_id == audience for row in rows)

    def _event(self, stream: EventStream, happened: Happened, place: str, number: int) -> QueuedEvent:
        identifier = self._entropy.guid()
        return QueuedEvent(
            key=f"{stream.id}|{place}|{number:06d}|{identifier}",
            id=identifier,
            stream_id=stream.id,
            at=self._clock.now(),
            subject=subject_of(stream, happened.principal_id, user=happened.user),
            type=happened.type,
            members=happened.members,
        )

    # From queued events to receivers ----------------------------------------------------------------------------------

    async def _pushed(self, stream: EventStream) -> None:
        try:
            await self.push(stream)
        except Failure as failure:
            _log.warning("events of stream %s could not be pushed: %s", stream.id, failure)

    async def _taken(self, stream: EventStream, event: QueuedEvent, *, private: bool) -> bool:
        await self._signer.refresh()
        text = self._signer.sign_event(event_claims(stream, event))
        header = None
        if stream.authorization is not None:
            header = self._custody.unseal(stream.authorization, context=authorization_context(stream.id)).decode()
        try:
            status = await self._receivers.push(stream.endpoint or "", text, authorization=header, private=private)
        except Failure as failure:
            _log.info("the receiver of stream %s could not be reached: %s", stream.id, failure)
            return False
        return status == _ACCEPTED

    async def _give_up(self, stream: EventStream) -> None:
        row = await self._store.get(EVENT_STREAMS, stream.id)
        if row is None:
            return
        ended = replace(row.value, status=StreamStatus.DISABLED, reason="its receiver took no events for too long")
        waiting = await self._store.all(QUEUED_EVENTS, where={"stream_id": stream.id})
        with suppress(CommitRefused):
            await self._store.commit(
                Batch.of(
                    Put(collection=EVENT_STREAMS, value=ended, expect=row.version),
                    *(Delete(collection=QUEUED_EVENTS, key=one.value.key) for one in waiting),
                )
            )
            self._telemetry.count(EVENTS_PUSHED, len(waiting), outcome="dropped")


def subject_of(stream: EventStream, principal_id: str | None, *, user: bool) -> JsonObject:
    """Whom an event is about (RFC 9493), as the resource's tokens name him: `iss` and `sub`; a user, whose `sub` differs by resource, by `oid`."""
    if principal_id is None:
        return {"format": "complex", "tenant": {"format": "opaque", "id": stream.tenant_id}}
    if user:
        return {"format": "opaque", "id": principal_id}
    return {"format": "iss_sub", "iss": stream.subject_issuer, "sub": principal_id}


def event_claims(stream: EventStream, event: QueuedEvent) -> JsonObject:
    """The claims of a security event token (RFC 8417): one event, no `sub`, no `exp`."""
    at = int(event.at.timestamp())
    stamp = {} if event.type is EventType.VERIFICATION else {"event_timestamp": at}
    return {
        "iss": stream.issuer,
        "jti": event.id,
        "iat": at,
        "aud": stream.audience,
        "sub_id": event.subject,
        "events": {event.type.value: {**stamp, **event.members}},
    }


def authorization_context(stream_id: str) -> str:
    """What a stream's sealed header is bound to."""
    return f"event-stream:{stream_id}"


def _waking(woken: asyncio.Event) -> Callable[[Sequence[Change]], None]:
    def wake(_: Sequence[Change]) -> None:
        woken.set()

    return wake
