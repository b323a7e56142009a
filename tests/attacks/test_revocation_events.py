"""Security events: who hears of whom, what a receiver can rely on, and where events are never sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

import jwt
import pytest
from tests.attacks.test_revocation_introspection import API, Desk
from tests.unit.sts.sts_world import ARM, TENANT_ID, StsWorld, shared_ring

from idplane.bootstrap.event_push import HttpEventReceivers
from idplane.directory.audiences import Audiences
from idplane.directory.identities import removal_of
from idplane.directory.revocation import revoke_principal
from idplane.model.directory import Principal
from idplane.model.failure import Failure, FailureKind
from idplane.model.security_events import Delivery, EventStream, EventType, StreamStatus
from idplane.ports.collections import EVENT_CURSORS, EVENT_STREAMS, PRINCIPALS, QUEUED_EVENTS
from idplane.ports.store import ANY, Batch, Delete, Put, Store, TrimChanges
from idplane.providers.token_revocation import STREAMS
from idplane.rbac import AccessControl
from idplane.sts.event_streams import EventStreams, StreamWish
from idplane.sts.inspectors import Inspectors
from idplane.sts.security_events import SecurityEvents
from idplane.testing.worlds import MemoryCustody

ISSUER = f"https://localhost:8443/{TENANT_ID}"
REVOKED = (EventType.SESSION_REVOKED.value,)
"""Of a principal that it never met, a transmitter says too much rather than too little: its claims may have changed, too."""
ENDPOINT = "https://receiver.example/events"


@dataclass
class Receiver:
    """Takes what it is told to take."""

    statuses: list[int] = field(default_factory=list)
    got: list[str] = field(default_factory=list)
    headers: list[str | None] = field(default_factory=list)

    async def push(self, url: str, event: str, *, authorization: str | None, private: bool) -> int:
        assert url == ENDPOINT
        assert not private
        await asyncio.sleep(0)
        self.got.append(event)
        self.headers.append(authorization)
        status = self.statuses.pop(0) if self.statuses else 202
        if status == 0:
            raise Failure(FailureKind.ISSUER_UNREACHABLE)
        return status


class Post:
    """A transmitter, and an API that hears of its callers."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.world, self.store = desk, desk.world, desk.world.store
        self.receiver = Receiver()
        self.custody = MemoryCustody()
        self.events = self.transmitter()
        inspectors = Inspectors(store=self.store, access=AccessControl(store=self.store))
        self.streams = EventStreams(
            store=self.store,
            signer=shared_ring(),
            audiences=Audiences(store=self.store),
            inspectors=inspectors,
            action=STREAMS,
            custody=self.custody,
            clock=self.world.clock,
            entropy=self.world.entropy,
        )

    def transmitter(self, store: Store | None = None) -> SecurityEvents:
        """One process's."""
        kept = store or self.store
        return SecurityEvents(
            store=kept,
            signer=shared_ring(),
            receivers=self.receiver,
            inspectors=Inspectors(store=self.store, access=AccessControl(store=self.store)),
            action=STREAMS,
            custody=self.custody,
            clock=self.world.clock,
            entropy=self.world.entropy,
        )

    async def pushed(self) -> EventStream:
        wish = StreamWish(
            issuer=ISSUER,
            delivery=Delivery.PUSH,
            endpoint=ENDPOINT,
            authorization="Bearer the-receivers-own",
            requested=REVOKED,
        )
        return await self.streams.create(self.desk.api, wish)

    async def polled(self) -> EventStream:
        return await self.streams.create(self.desk.api, StreamWish(issuer=ISSUER, delivery=Delivery.POLL, requested=REVOKED))

    async def revoke(self, principal: Principal) -> None:
        row = await self.store.get(PRINCIPALS, principal.id)
        assert row is not None
        await self.store.commit(await revoke_principal(self.store, row, entropy=self.world.entropy, now=self.world.clock.now()))

    async def sent(self) -> list[str]:
        """What the receiver got by now."""
        await self.events.turn()
        for row in await self.store.all(EVENT_STREAMS):
            await self.events.push(row.value)
        return self.receiver.got

    def read(self, event: str) -> dict[str, object]:
        keys = {one["kid"]: jwt.PyJWK(one).key for one in shared_ring().jwks()["keys"]}  # type: ignore[attr-defined]  # JSON
        header = jwt.get_unverified_header(event)
        assert header["typ"] == "secevent+jwt"
        audience = self.desk.api.client_id
        return jwt.decode(
            event, keys[header["kid"]], algorithms=["RS256"], audience=audience, issuer=ISSUER, options={"verify_iat": False}
        )


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    world = await StsWorld.open()
    yield Post(await Desk(world).open())
    await world.store.close()


async def test_a_resource_hears_of_those_that_had_its_tokens_and_of_nobody_else(post: Post) -> None:
    await post.pushed()
    await post.desk.token()  # of the world's application, for the API
    await post.desk.token(ARM, client=post.desk.stranger)
    await post.revoke(post.world.app)
    await post.revoke(post.desk.stranger)
    told = [post.read(one) for one in await post.sent()]
    assert [one["sub_id"]["sub"] for one in told] == [post.world.app.id]  # type: ignore[index]  # JSON
    assert list(told[0]["events"]) == [EventType.SESSION_REVOKED.value]  # type: ignore[call-overload]  # JSON
    assert post.receiver.headers == ["Bearer the-receivers-own"]


async def test_a_receivers_header_is_sealed_at_rest(post: Post) -> None:
    stream = await post.pushed()
    row = await post.store.get(EVENT_STREAMS, stream.id)
    assert row is not None
    assert b"the-receivers-own" not in (row.value.authorization or b"")
    assert "authorization" not in repr(row.value)


async def test_strangers_get_no_stream_and_see_none(post: Post) -> None:
    stream = await post.polled()
    stranger = post.desk.stranger
    for audience in (API, ARM):
        with pytest.raises(Failure) as refusal:
            await post.streams.create(stranger, StreamWish(issuer=ISSUER, audience=audience))
        assert refusal.value.kind is FailureKind.FORBIDDEN
    with pytest.raises(Failure) as refusal:
        await post.streams.create(post.desk.api, StreamWish(issuer=ISSUER, everyone=True))
    assert refusal.value.kind is FailureKind.FORBIDDEN
    for forbidden in (
        post.streams.get(stranger, stream.id),
        post.streams.delete(stranger, stream.id),
        post.streams.verify(stranger, stream.id, "x"),
        post.streams.poll(stranger, stream.id, acknowledged=(), most=1, wait=False),
        post.streams.set_status(stranger, stream.id, "disabled", None),
        post.streams.add_subject(stranger, stream.id, stranger.id),
        post.streams.change(stranger, stream.id, StreamWish(issuer=ISSUER), whole=True),
    ):
        with pytest.raises(Failure) as refusal:
            await forbidden
        assert refusal.value.kind is FailureKind.STREAM_NOT_FOUND
    assert await post.streams.all(stranger) == ()


async def test_an_owner_that_is_disabled_or_gone_hears_no_more(post: Post) -> None:
    await post.pushed()
    await post.desk.token()
    await post.store.commit(Batch.of(Put(collection=PRINCIPALS, value=replace(post.desk.api, enabled=False), expect=ANY)))
    await post.revoke(post.world.app)
    assert await post.sent() == []
    rows = await post.store.all(EVENT_STREAMS)
    assert len(rows) == 1
    await post.store.commit(await removal_of(post.store, post.desk.api.id))
    assert await post.sent() == []
    assert await post.store.all(EVENT_STREAMS) == ()


async def test_what_is_not_taken_is_sent_again_by_the_same_id_and_in_order(post: Post) -> None:
    await post.pushed()
    await post.desk.token()
    post.receiver.statuses = [500, 0, 302]
    await post.revoke(post.world.app)
    await post.revoke(post.world.app)
    for _ in range(3):
        await post.sent()
        await post.sent()  # too early: nothing is sent
        post.world.clock.advance(timedelta(seconds=70))
    await post.sent()
    names = [post.read(one)["jti"] for one in post.receiver.got]
    assert len(names) == 5
    assert len(set(names[:4])) == 1
    assert names[4] != names[0]
    assert await post.store.all(QUEUED_EVENTS) == ()


async def test_two_transmitters_queue_an_event_once(post: Post) -> None:
    await post.pushed()
    await post.desk.token()
    await post.revoke(post.world.app)
    await asyncio.gather(*(post.transmitter().turn() for _ in range(5)))
    assert len(await post.store.all(QUEUED_EVENTS)) == 1


class _KilledError(Exception):
    pass


class _Dying:
    """A store whose process ends right before, or right after, a commit."""

    def __init__(self, store: Store, *, after: bool) -> None:
        self._store, self._after = store, after

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def commit(self, batch: Batch) -> int:
        if self._after:
            await self._store.commit(batch)
        raise _KilledError


@pytest.mark.parametrize("after", [False, True])
async def test_a_transmitter_that_dies_loses_nothing(post: Post, after: bool) -> None:  # noqa: FBT001 - a parameter of the test
    await post.pushed()
    await post.desk.token()
    await post.revoke(post.world.app)
    dying: Callable[..., Store] = _Dying  # type: ignore[assignment]  # it is a store by what it hands on
    with suppress(_KilledError):
        await post.transmitter(dying(post.store, after=after)).turn()
    assert len(await post.sent()) == 1


async def test_a_lost_part_of_the_feed_is_told_as_a_revocation_of_everyone(post: Post) -> None:
    await post.pushed()
    await post.revoke(post.world.app)
    await post.events.turn()
    for _ in range(5):
        await post.revoke(post.world.app)
    await post.store.commit(Batch.of(TrimChanges(keep=1, limit=1000)))
    assert await post.store.all(EVENT_CURSORS)
    told = [post.read(one) for one in await post.sent()]
    tenant = {"format": "complex", "tenant": {"format": "opaque", "id": TENANT_ID}}
    assert tenant in [one["sub_id"] for one in told]


async def test_polled_events_stay_until_they_are_acknowledged(post: Post) -> None:
    stream = await post.polled()
    await post.desk.token()
    await post.revoke(post.world.app)
    await post.events.turn()
    first = await post.streams.poll(post.desk.api, stream.id, acknowledged=(), most=10, wait=False)
    again = await post.streams.poll(post.desk.api, stream.id, acknowledged=("nonsense",), most=10, wait=False)
    assert list(first.events) == list(again.events)
    assert len(first.events) == 1
    done = await post.streams.poll(post.desk.api, stream.id, acknowledged=first.events, most=10, wait=False)
    assert not done.events


async def test_an_event_is_no_token(post: Post) -> None:
    """It is signed by the key that signs tokens; nothing of ours takes it for one."""
    await post.pushed()
    await post.desk.token()
    await post.revoke(post.world.app)
    event = (await post.sent())[0]
    with pytest.raises(Failure) as refusal:
        await post.world.authenticator.authenticate(event, {post.desk.api.client_id, ISSUER, ARM})
    assert refusal.value.kind is FailureKind.TOKEN_INVALID
    assert await post.desk.asked_by(post.desk.api, event) == {"active": False}


async def test_a_forged_event_is_told_by_its_signature(post: Post) -> None:
    await post.pushed()
    await post.desk.token()
    await post.revoke(post.world.app)
    event = (await post.sent())[0]
    head, body, _ = event.split(".")
    forged = jwt.encode(jwt.decode(event, options={"verify_signature": False}), "x" * 32, algorithm="HS256")
    for one in (f"{head}.{body}.", forged, f"{head}.{body}.{'A' * 342}"):
        with pytest.raises((jwt.InvalidTokenError, AssertionError)):
            post.read(one)


async def test_a_paused_stream_keeps_and_a_disabled_one_does_not(post: Post) -> None:
    stream = await post.pushed()
    await post.desk.token()
    await post.streams.set_status(post.desk.api, stream.id, "paused", "upgrade")
    await post.revoke(post.world.app)
    assert await post.sent() == []
    await post.streams.set_status(post.desk.api, stream.id, "enabled", None)
    assert len(await post.sent()) == 1
    await post.streams.set_status(post.desk.api, stream.id, "disabled", None)
    await post.revoke(post.world.app)
    await post.sent()
    changed = await post.streams.set_status(post.desk.api, stream.id, "enabled", None)
    assert changed.status is StreamStatus.ENABLED
    assert len(await post.sent()) == 1


async def test_a_verification_carries_the_receivers_state(post: Post) -> None:
    stream = await post.pushed()
    await post.streams.verify(post.desk.api, stream.id, "a state")
    event = post.read((await post.sent())[0])
    assert event["events"] == {EventType.VERIFICATION.value: {"state": "a state"}}


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a/", "https://", "https://a b/", "https://user@a/", "https://a:0/", "https://a/#x", "https://ä/", "x" * 3000],
)
async def test_what_is_no_address_is_refused(post: Post, url: str) -> None:
    with pytest.raises(Failure) as refusal:
        await post.streams.create(post.desk.api, StreamWish(issuer=ISSUER, delivery=Delivery.PUSH, endpoint=url))
    assert refusal.value.kind is FailureKind.INVALID_PARAMETER


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x", "https://169.254.169.254/metadata", "https://10.0.0.1/", "https://[::1]/", "https://localhost/",
        "https://0.0.0.0/", "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "http://192.0.2.1/", "http://example.com/",
    ],
)  # fmt: skip
async def test_nothing_is_pushed_to_addresses_that_are_not_public(url: str) -> None:
    with pytest.raises(Failure) as refusal:
        await HttpEventReceivers().push(url, "x.y.z", authorization=None, private=False)
    assert refusal.value.kind is FailureKind.ISSUER_UNREACHABLE


@asynccontextmanager
async def answering(text: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(65536))
        writer.write(text)
        with suppress(ConnectionError, ssl.SSLError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/events?x=1", asked


async def test_an_event_is_pushed_as_the_rfc_says() -> None:
    async with answering(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n") as (url, asked):
        assert await HttpEventReceivers().push(url, "a.b.c", authorization="Bearer x", private=True) == 202
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert body == b"a.b.c"
    assert head.startswith(b"POST /events?x=1 HTTP/1.1\r\n")
    for line in (b"Content-Type: application/secevent+jwt", b"Authorization: Bearer x", b"Content-Length: 5"):
        assert line in head.split(b"\r\n")


async def test_no_redirect_is_followed() -> None:
    async with answering(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n") as (inside, asked_inside):
        text = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % inside.encode()
        async with answering(text) as (url, asked):
            assert await HttpEventReceivers().push(url, "a.b.c", authorization=None, private=True) == 307
    assert len(asked) == 1
    assert asked_inside == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000,
    ],
)
async def test_an_answer_that_is_none_is_a_failure(text: bytes) -> None:
    async with answering(text) as (url, _):
        with pytest.raises(Failure) as refusal:
            await HttpEventReceivers().push(url, "a.b.c", authorization=None, private=True)
    assert refusal.value.kind is FailureKind.ISSUER_UNREACHABLE


async def test_a_removed_subject_is_not_told_of(post: Post) -> None:
    stream = await post.pushed()
    await post.desk.token()
    await post.streams.remove_subject(post.desk.api, stream.id, post.world.app.id)
    await post.revoke(post.world.app)
    assert await post.sent() == []
    await post.streams.add_subject(post.desk.api, stream.id, post.world.app.id)
    await post.revoke(post.world.app)
    assert len(await post.sent()) == 1
    await post.store.commit(Batch.of(Delete(collection=EVENT_STREAMS, key=stream.id)))
