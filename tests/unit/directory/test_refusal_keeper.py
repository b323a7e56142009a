"""What is refused is kept, and no more of it than there is room for: nobody displaces what others were refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.directory.refusals import KEPT, RefusalKeeper, Room
from idplane.model.attributes import Attributes
from idplane.model.calls import Call
from idplane.model.failure import Failure, FailureKind
from idplane.model.refusals import Evidence, Refusal, attributes_document, refusal_key
from idplane.ports.collections import REFUSALS, SETTINGS
from idplane.ports.store import ABSENT, Batch, Put, Store
from idplane.ports.telemetry import REFUSALS_NOT_KEPT, Metric, NoTelemetry
from idplane.store.codec import encode
from idplane.testing.store_samples import setting
from idplane.testing.worlds import FakeClock, memory_store

ANN = Evidence(proved=True, tenant_id="t", principal_id="ann", client_id="c", caller_name="Ann")


class Counted(NoTelemetry):
    """What was counted."""

    def __init__(self) -> None:
        self.counts: list[tuple[str, dict[str, str]]] = []

    def count(self, metric: Metric, amount: float = 1, /, **labels: str) -> None:
        self.counts += [(metric.name, labels)] * int(amount)


class World:
    """A keeper over a store."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store, self.clock, self.telemetry = store, clock, Counted()
        self.keeper = RefusalKeeper(store=store, clock=clock, telemetry=self.telemetry)
        self.made = 0

    def note(self, evidence: Evidence | None = ANN, *, surface: str = "management", **changes: Any) -> str:
        failure = changes.pop("failure", None) or Failure(FailureKind.FORBIDDEN, "no")
        self.made += 1
        call = Call(
            request_id=f"{self.made:08x}-0000-4000-8000-000000000000",
            correlation_id="c",
            received_at=self.clock.now(),
            **{"client_address": "192.0.2.1", "method": "GET", "url": "/x", **changes},
        )
        if evidence is not None:
            failure.with_evidence(evidence)
        self.keeper.note(failure, call, surface=surface, status=403)
        return call.request_id

    async def kept(self) -> list[Refusal]:
        await self.keeper.flush()
        return [one.value for one in await self.store.all(REFUSALS)]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = FakeClock()
    store = await memory_store(clock)
    made = World(store, clock)
    yield made
    await made.keeper.close()
    await store.close()


async def test_what_was_noted_is_found_at_once(world: World) -> None:
    refusal_id = world.note()
    found = await world.keeper.find(refusal_id.upper())
    assert found is not None
    assert (found.id, found.kind, found.principal_id, found.surface) == (refusal_id, "FORBIDDEN", "ann", "management")
    assert await world.keeper.find("another") is None


async def test_the_newest_come_first(world: World) -> None:
    ids = []
    for _ in range(5):
        ids.append(world.note())
        world.clock.advance(1)
    assert [one.id for one in await world.kept()] == ids[::-1]


async def test_the_position_in_the_feed_is_the_last_that_was_heard_of(world: World) -> None:
    before = world.note()
    position = await world.store.commit(Batch.of(Put(collection=SETTINGS, value=setting("x"), expect=ABSENT)))
    after = world.note()
    assert {one.id: one.position for one in await world.kept()} == {before: None, after: position}


@pytest.mark.parametrize(
    ("kind", "surface", "evidence"),
    [
        (FailureKind.UNAVAILABLE, "management", ANN),
        (FailureKind.STORAGE_FULL, "management", ANN),
        (FailureKind.REFUSAL_NOT_FOUND, "management", ANN),
        (FailureKind.DEVICE_CODE_PENDING, "token", None),
        (FailureKind.DEVICE_CODE_SLOW_DOWN, "token", None),
        (FailureKind.PATH_NOT_FOUND, "token", None),
        (FailureKind.METHOD_NOT_ALLOWED, "token", None),
        (FailureKind.TOKEN_MISSING, "vault", None),
    ],
)
async def test_what_is_no_refusal(world: World, kind: FailureKind, surface: str, evidence: Evidence | None) -> None:
    world.note(evidence, surface=surface, failure=Failure(kind))
    assert await world.kept() == []
    assert world.telemetry.counts == []


async def test_paths_are_kept_where_it_is_known_who_asks(world: World) -> None:
    world.note(failure=Failure(FailureKind.PATH_NOT_FOUND))
    assert len(await world.kept()) == 1


# Room ----------------------------------------------------------------------------------------------------------------


async def test_one_principal_fills_no_more_than_its_share(world: World) -> None:
    for _ in range(500):
        world.note()
    world.note(replace(ANN, principal_id="bob"))
    kept = await world.kept()
    assert sum(one.principal_id == "ann" for one in kept) == 100
    assert sum(one.principal_id == "bob" for one in kept) == 1
    assert world.telemetry.counts == [(REFUSALS_NOT_KEPT.name, {"why": "rate"})] * 400
    world.clock.advance(600)
    world.note()
    assert len(await world.kept()) == 102


async def test_looking_whether_things_are_there_displaces_nothing_that_was_forbidden(world: World) -> None:
    for _ in range(500):
        world.note(failure=Failure(FailureKind.RESOURCE_NOT_FOUND))
    refusal_id = world.note()
    assert await world.keeper.find(refusal_id) is not None


async def test_strangers_share_one_room(world: World) -> None:
    for at in range(2000):
        world.note(None, client_address=f"198.51.{at // 200}.{at % 200}")
    assert len(await world.kept()) == 300
    assert await world.keeper.find(world.note()) is not None


async def test_a_stranger_has_as_little_room_from_a_whole_network_of_ipv6(world: World) -> None:
    for at in range(200):
        world.note(None, client_address=f"2001:db8::{at:x}")
    assert len(await world.kept()) == 30
    assert await world.keeper.find(world.note(None, client_address="2001:db8:0:1::1")) is not None


@pytest.mark.parametrize("address", [None, "", "no address", "fe80::1%eth0", "::ffff:192.0.2.1"])
async def test_whatever_address_there_is(world: World, address: str | None) -> None:
    for _ in range(40):
        world.note(None, client_address=address)
    assert len(await world.kept()) == 30


async def test_a_name_that_is_only_claimed_is_a_strangers(world: World) -> None:
    for _ in range(40):
        world.note(replace(ANN, proved=False))
    assert len(await world.kept()) == 30
    assert await world.keeper.find(world.note()) is not None


async def test_nothing_waits_without_end(world: World) -> None:
    for at in range(1500):
        world.note(replace(ANN, principal_id=f"p{at}"))
    assert ("refusals_not_kept_total", {"why": "room"}) in world.telemetry.counts
    assert len(await world.kept()) == 1000


async def test_a_store_that_is_gone_costs_the_records_alone(world: World) -> None:
    await world.store.close()
    world.note()
    await world.keeper.flush()
    assert world.telemetry.counts == [("refusals_not_kept_total", {"why": "store"})]


# Time ----------------------------------------------------------------------------------------------------------------


async def test_what_is_too_old_goes(world: World) -> None:
    old = world.note()
    world.clock.advance(KEPT - timedelta(seconds=1))
    young = world.note()
    assert await world.keeper.turn() > world.clock.now()
    assert await world.keeper.find(old) is not None
    world.clock.advance(2)
    await world.keeper.turn()
    assert await world.keeper.find(old) is None
    assert await world.keeper.find(young) is not None


async def test_of_too_many_the_oldest_go_and_strangers_make_room_for_strangers(world: World) -> None:
    small = RefusalKeeper(store=world.store, clock=world.clock, room=Room(proved=5, strangers=2))
    proved, strange = [], []
    for at in range(9):
        proved.append(world.note(replace(ANN, principal_id=f"p{at}")))
        strange.append(world.note(None, client_address=f"192.0.2.{at}"))
        world.clock.advance(1)
    await world.keeper.flush()
    await small.turn()
    assert {one.id for one in await world.kept()} == {*proved[-5:], *strange[-2:]}


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.lists(st.integers(0, 4_000_000_000_000_000), min_size=2, unique=True))
def test_keys_sort_the_newest_first(moments: list[int]) -> None:
    instants = [_EPOCH + timedelta(microseconds=one) for one in moments]
    assert sorted(instants, key=refusal_key) == sorted(instants, reverse=True)


# What is in a record --------------------------------------------------------------------------------------------------

_JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


async def test_what_looks_like_a_secret_is_taken_out(world: World) -> None:
    failure = Failure(
        FailureKind.SCOPE_INVALID,
        f"the scope {_JWT} is not valid",
        scope=f"client_secret=hunter2secret {_JWT}",
        more="x" * 5000,
        control="a\x1b[31mb",
    )
    world.note(failure=failure, url=f"/a/{_JWT}", user_agent=f"curl Bearer {_JWT}")
    (kept,) = await world.kept()
    text = encode(kept)
    assert _JWT not in text
    assert "hunter2secret" not in text
    assert "\\u001b" not in text
    assert len(kept.facts["more"]) == 1024


async def test_attributes_are_kept_as_json(world: World) -> None:
    attributes = Attributes(request={"a:b": ("x", 1, True, world.clock.now())})
    document = attributes_document(attributes)
    assert document == {"request": {"a:b": ["x", 1, True, world.clock.now().isoformat()]}}
    world.note(replace(ANN, attributes=attributes))
    (kept,) = await world.kept()
    assert kept.attributes == document


def test_what_stands_nearest_to_the_cause_stays() -> None:
    failure = Failure(FailureKind.FORBIDDEN).with_evidence(ANN)
    assert failure.with_evidence(Evidence()).evidence is ANN
    assert "ann" not in repr(failure)
