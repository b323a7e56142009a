"""Streams of security events: who makes one, and what its owner may do with it (OpenID Shared Signals Framework 1.0 section 8).

A stream is about one resource application's tokens and belongs to the principal that made it, who alone sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol
from urllib.parse import urlsplit

from idplane.model.directory import Principal, ResourceApplication
from idplane.model.failure import Failure, FailureKind
from idplane.model.security_events import Delivery, EventStream, EventType, QueuedEvent, StreamStatus
from idplane.ports.collections import EVENT_STREAMS, PRINCIPALS, QUEUED_EVENTS, TENANTS
from idplane.ports.store import ABSENT, Batch, CommitRefused, Delete, Put, Store, Versioned
from idplane.ports.world import Clock, Entropy, KeyCustody
from idplane.sts.inspectors import Inspectors
from idplane.sts.security_events import EventSigner, authorization_context, event_claims

__all__ = ["EventStreams", "Polled", "StreamWish"]

_STREAMS: Final = 8
"""Of one owner."""
_SUBJECTS: Final = 1000
_ATTEMPTS: Final = 5
_POLL_MOST: Final = 100
_POLL_SECONDS: Final = 20.0
_MAX_TEXT: Final = 2048
_OFFERED: Final = frozenset(EventType) - {EventType.VERIFICATION}


class _Audiences(Protocol):
    async def resolve(self, resource: str, *, tenant_id: str) -> ResourceApplication:
        """The application that a resource string names."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamWish:
    """What a receiver asks for; None is what it does not say."""

    issuer: str
    delivery: Delivery | None = None
    endpoint: str | None = None
    authorization: str | None = field(default=None, repr=False)
    requested: tuple[str, ...] | None = None
    description: str | None = None
    audience: str | None = None
    """A resource, if it is not the asking application itself."""
    everyone: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """An answer to a poll (RFC 8936 section 2.3): signed events by their `jti`."""

    events: Mapping[str, str]
    more: bool


class EventStreams:
    """What owners do with their streams. Raises `Failure`: STREAM_NOT_FOUND for another's as for none, FORBIDDEN, INVALID_PARAMETER."""

    def __init__(  # noqa: PLR0913 - its whole world, spelled out
        self,
        *,
        store: Store,
        signer: EventSigner,
        audiences: _Audiences,
        inspectors: Inspectors,
        action: str,
        custody: KeyCustody,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        """`action` is the right at the tenant's root to hear of every principal."""
        self._store = store
        self._signer = signer
        self._audiences = audiences
        self._inspectors = inspectors
        self._action = action
        self._custody = custody
        self._clock = clock
        self._entropy = entropy

    async def create(self, owner: Principal, wish: StreamWish) -> EventStream:
        """A new stream; raises STREAM_EXISTS for an owner that has enough of them."""
        resource = await self._audiences.resolve(wish.audience or owner.client_id, tenant_id=owner.tenant_id)
        if not await self._inspectors.speaks_for(owner, resource):
            raise Failure(FailureKind.FORBIDDEN, "the caller is not the resource, and does not hold its role to inspect tokens")
        if await self._store.count(EVENT_STREAMS, where={"owner_id": owner.id}, limit=_STREAMS) >= _STREAMS:
            raise Failure(FailureKind.STREAM_EXISTS, f"the caller has {_STREAMS} streams already")
        tenant = await self._store.get(TENANTS, owner.tenant_id)
        assert tenant is not None  # the owner's
        blank = EventStream(
            id=self._entropy.guid(),
            tenant_id=owner.tenant_id,
            owner_id=owner.id,
            audience=resource.client_id,
            issuer=wish.issuer,
            subject_issuer=tenant.value.issuer_v2 if resource.token_version == 2 else tenant.value.issuer_v1,  # noqa: PLR2004 - its own name
            delivery=Delivery.POLL,
            requested=(),
            since=await self._store.position(),
            created_at=self._clock.now(),
        )
        stream = await self._wished(owner, blank, wish)
        await self._store.commit(Batch.of(Put(collection=EVENT_STREAMS, value=stream, expect=ABSENT)))
        return stream

    async def all(self, owner: Principal) -> tuple[EventStream, ...]:
        """The owner's."""
        return tuple(row.value for row in await self._store.all(EVENT_STREAMS, where={"owner_id": owner.id}))

    async def get(self, owner: Principal, stream_id: str) -> EventStream:
        """One of the owner's."""
        return (await self._own(owner, stream_id)).value

    async def change(self, owner: Principal, stream_id: str, wish: StreamWish, *, whole: bool) -> EventStream:
        """Another configuration; with `whole`, what is not said becomes what it is by default."""

        async def wished(old: EventStream) -> EventStream:
            kept = replace(old, requested=(), description=None, everyone=False) if whole else old
            return await self._wished(owner, kept, wish, known=not whole)

        for _ in range(_ATTEMPTS):
            row = await self._own(owner, stream_id)
            stream = await wished(row.value)
            with suppress(CommitRefused):
                await self._store.commit(Batch.of(Put(collection=EVENT_STREAMS, value=stream, expect=row.version)))
                return stream
        raise Failure(FailureKind.UNAVAILABLE, "the stream keeps changing; try again")

    async def delete(self, owner: Principal, stream_id: str) -> None:
        """Ends a stream, with what waits in it."""
        row = await self._own(owner, stream_id)
        waiting = await self._store.all(QUEUED_EVENTS, where={"stream_id": stream_id})
        gone = (Delete(collection=QUEUED_EVENTS, key=one.value.key) for one in waiting)
        await self._store.commit(Batch.of(*gone, Delete(collection=EVENT_STREAMS, key=row.value.id)))

    async def set_status(self, owner: Principal, stream_id: str, status: str, reason: str | None) -> EventStream:
        """Pause, end or resume the flow of events."""
        if status not in {one.value for one in StreamStatus}:
            raise Failure(FailureKind.INVALID_PARAMETER, "the status is none of enabled, paused, disabled", parameter="status")
        wanted = StreamStatus(status)
        return await self._edit(
            owner, stream_id, lambda old: replace(old, status=wanted, reason=(reason or "")[:_MAX_TEXT] or None)
        )

    async def add_subject(self, owner: Principal, stream_id: str, principal_id: str) -> None:
        """Hear of a principal, whatever it has tokens for. Whether there is such a principal is not told."""

        def added(old: EventStream) -> EventStream:
            return replace(old, added=_with(old.added, principal_id), removed=tuple(set(old.removed) - {principal_id}))

        await self._edit(owner, stream_id, added)

    async def remove_subject(self, owner: Principal, stream_id: str, principal_id: str) -> None:
        """Hear of a principal no more."""

        def removed(old: EventStream) -> EventStream:
            return replace(old, removed=_with(old.removed, principal_id), added=tuple(set(old.added) - {principal_id}))

        await self._edit(owner, stream_id, removed)

    async def verify(self, owner: Principal, stream_id: str, state: str | None) -> None:
        """Send a verification event (section 8.1.4)."""
        stream = await self.get(owner, stream_id)
        if stream.status is StreamStatus.DISABLED:
            raise Failure(FailureKind.INVALID_PARAMETER, "the stream is disabled", parameter="status")
        identifier, place = self._entropy.guid(), await self._store.position()
        event = QueuedEvent(
            key=f"{stream.id}|{place:020d}|{0:06d}|{identifier}",
            id=identifier,
            stream_id=stream.id,
            at=self._clock.now(),
            subject={"format": "opaque", "id": stream.id},
            type=EventType.VERIFICATION,
            members={} if state is None else {"state": state[:_MAX_TEXT]},
        )
        # The stream is written as well, since what waits in queues is not in the feed: this is what wakes who pushes.
        row = await self._own(owner, stream_id)
        await self._store.commit(
            Batch.of(
                Put(collection=QUEUED_EVENTS, value=event, expect=ABSENT),
                Put(collection=EVENT_STREAMS, value=row.value, expect=row.version),
            )
        )

    async def poll(self, owner: Principal, stream_id: str, *, acknowledged: Collection[str], most: int, wait: bool) -> Polled:
        """Drop what the receiver has, and give it what waits (RFC 8936); with `wait`, for a while if nothing does."""
        stream = await self.get(owner, stream_id)
        if stream.delivery is not Delivery.POLL:
            raise Failure(FailureKind.INVALID_PARAMETER, "events of the stream are pushed", parameter="delivery")
        await self._drop(stream, acknowledged)
        if stream.status is not StreamStatus.ENABLED or most == 0:
            return Polled(events={}, more=False)
        most = min(most, _POLL_MOST)
        rows = await self._waiting(stream, most)
        deadline = self._clock.monotonic() + _POLL_SECONDS
        while wait and not rows and self._clock.monotonic() < deadline:
            await self._clock.sleep(0.25)
            rows = await self._waiting(stream, most)
        await self._signer.refresh()
        events = {row.id: self._signer.sign_event(event_claims(stream, row)) for row in rows[:most]}
        return Polled(events=events, more=len(rows) > most)

    async def owner_of(self, principal_id: str) -> Principal:
        """The caller's own record; raises `Failure(TOKEN_REVOKED)`."""
        row = await self._store.get(PRINCIPALS, principal_id)
        if row is None:
            raise Failure(FailureKind.TOKEN_REVOKED, "the principal that the token was issued to no longer exists")
        return row.value

    async def _waiting(self, stream: EventStream, most: int) -> Sequence[QueuedEvent]:
        page = await self._store.page(QUEUED_EVENTS, where={"stream_id": stream.id}, limit=most + 1)
        return [row.value for row in page.items]

    async def _drop(self, stream: EventStream, acknowledged: Collection[str]) -> None:
        if not acknowledged:
            return
        waiting = await self._store.all(QUEUED_EVENTS, where={"stream_id": stream.id})
        held = [row.value for row in waiting if row.value.id in acknowledged]
        if held:
            await self._store.commit(Batch.of(*(Delete(collection=QUEUED_EVENTS, key=one.key) for one in held)))

    async def _edit(self, owner: Principal, stream_id: str, change: Callable[[EventStream], EventStream]) -> EventStream:
        for _ in range(_ATTEMPTS):
            row = await self._own(owner, stream_id)
            changed = change(row.value)
            with suppress(CommitRefused):
                await self._store.commit(Batch.of(Put(collection=EVENT_STREAMS, value=changed, expect=row.version)))
                return changed
        raise Failure(FailureKind.UNAVAILABLE, "the stream keeps changing; try again")

    async def _own(self, owner: Principal, stream_id: str) -> Versioned[EventStream]:
        row = await self._store.get(EVENT_STREAMS, stream_id)
        if row is None or row.value.owner_id != owner.id:
            raise Failure(FailureKind.STREAM_NOT_FOUND, "there is no such stream")
        return row

    async def _wished(self, owner: Principal, old: EventStream, wish: StreamWish, *, known: bool = False) -> EventStream:
        everyone = old.everyone if wish.everyone is None else wish.everyone
        if everyone and not await self._inspectors.holds(owner, self._action):
            raise Failure(FailureKind.FORBIDDEN, f"hearing of every principal needs {self._action} at the tenant's root")
        delivery = wish.delivery or old.delivery
        endpoint = wish.endpoint or (old.endpoint if known else None)
        sealed = old.authorization if known and wish.delivery is None else None
        if wish.authorization is not None:
            sealed = self._custody.seal(_header(wish.authorization), context=authorization_context(old.id))
        requested = old.requested if wish.requested is None else _offered(wish.requested)
        return replace(
            old,
            delivery=delivery,
            endpoint=_endpoint(endpoint) if delivery is Delivery.PUSH else None,
            authorization=sealed if delivery is Delivery.PUSH else None,
            requested=requested or tuple(sorted(_OFFERED)),
            description=old.description if wish.description is None else wish.description[:_MAX_TEXT],
            everyone=everyone,
        )


def _offered(names: Collection[str]) -> tuple[EventType, ...]:
    """Those asked for that there are: others are left out, as the framework says."""
    return tuple(sorted(one for one in _OFFERED if one.value in names))


def _header(text: str) -> bytes:
    if not text.isascii() or not text.isprintable() or len(text) > _MAX_TEXT:
        raise Failure(FailureKind.INVALID_PARAMETER, "the authorization header is not one", parameter="authorization_header")
    return text.encode("ascii")


def _endpoint(url: str | None) -> str:
    """An address that may be tried. Where it leads is judged at each push, as its name may lead elsewhere by then."""
    refused = Failure(FailureKind.INVALID_PARAMETER, "the endpoint is not an https address", parameter="endpoint_url")
    if url is None or len(url) > _MAX_TEXT or not url.isascii() or not url.isprintable() or " " in url:
        raise refused
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.username is None and parts.password is None and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise refused from error
    if not usable or parts.scheme not in ("https", "http") or parts.fragment:
        raise refused
    return url


def _with(names: tuple[str, ...], one: str) -> tuple[str, ...]:
    if len(names) >= _SUBJECTS and one not in names:
        raise Failure(
            FailureKind.INVALID_PARAMETER, f"a stream has at most {_SUBJECTS} subjects of its own", parameter="subject"
        )
    return (*(it for it in names if it != one), one)
