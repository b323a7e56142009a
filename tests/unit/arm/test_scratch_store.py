"""A scratch store shows what the real one would show after the same commits, and the real one shows none of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idplane.arm.scratch import NotedEntropy, ScratchStore
from idplane.model.events import ActivityEvent, EventStatus
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.ports.collections import ACTIVITY, RESOURCES
from idplane.ports.sorting import Sort
from idplane.ports.store import ABSENT, ANY, Append, Batch, CommitRefused, Delete, Put, Require, Store
from idplane.testing.worlds import FakeClock, SeededEntropy, memory_store

NOW = FakeClock().now()
NAMES = ["a", "ab", "b", "c/x", "d"]
Step = tuple[str, str, int]


def resource(name: str, mark: int = 0) -> Resource:
    scope = "/providers/Test.Things/things"
    identifier = ResourceId.parse(f"{scope}/{name.replace('/', '/parts/')}")
    return Resource(
        id=identifier, type="Test.Things/" + ("odd" if mark % 2 else "even"), created_at=NOW, changed_at=NOW, location=str(mark)
    )


def operation(step: Step) -> Any:
    kind, name, mark = step
    one = resource(name, mark)
    if kind == "put":
        return Put(
            collection=RESOURCES,
            value=replace(one, id=ResourceId.parse(f"/providers/Test.Things/t/{name.replace('/', '-')}")),
            expect=ANY,
        )
    return Delete(collection=RESOURCES, key=f"/providers/test.things/t/{name.replace('/', '-')}", expect=ANY)


STEPS = st.lists(st.tuples(st.sampled_from(["put", "put", "delete"]), st.sampled_from(NAMES), st.integers(0, 3)), max_size=8)


async def walked(store: Any, **query: Any) -> list[Any]:
    """All pages of a selection, joined."""
    found: list[Any] = []
    after: str | None = None
    while True:
        page = await store.page(RESOURCES, after=after, limit=2, **query)
        found += page.items
        after = page.after
        if after is None:
            return found


async def everything(store: Any) -> Any:
    """What each way of reading gives."""
    orders = (Sort("type"), Sort("type", descending=True), Sort("group_key"), Sort("name", descending=True))
    return (
        [await walked(store, order=one) for one in orders],
        await walked(store, order=orders[0], containing=("name", "a"), where={"type": "test.things/odd"}),
        await walked(store, containing=("name", "b"), under=("path", "/providers/test.things/t")),
        await walked(store, containing=("group_key", "")),
        await walked(store, where={"type": "test.things/odd"}),
        await store.all(RESOURCES),
        await store.all(RESOURCES, where={"type": "test.things/even"}),
        await store.all(RESOURCES, under=("path", "/providers/test.things/t/a")),
        [await store.get(RESOURCES, f"/providers/test.things/t/{name.replace('/', '-')}") for name in NAMES],
    )


@settings(max_examples=40)
@given(STEPS, STEPS)
async def test_reads_are_those_of_a_real_store(before: list[Step], after: list[Step]) -> None:
    store: Store = await memory_store()
    try:
        for step in before:
            await store.commit(Batch.of(operation(step)))
        untouched = await everything(store)
        scratch = ScratchStore(store)
        for step in after:
            await scratch.commit(Batch.of(operation(step)))
        seen = await everything(scratch)
        assert await everything(store) == untouched
        for step in after:
            await store.commit(Batch.of(operation(step)))
        assert seen == await everything(store)
    finally:
        await store.close()


async def test_versions_are_expected_as_in_a_real_store() -> None:
    store = await memory_store()
    scratch = ScratchStore(store)
    one = resource("a")
    await scratch.commit(Batch.of(Put(collection=RESOURCES, value=one, expect=ABSENT)))
    refused = (
        Put(collection=RESOURCES, value=one, expect=ABSENT),
        Put(collection=RESOURCES, value=one, expect=2),
        Delete(collection=RESOURCES, key=one.id.key, expect=2),
        Require(collection=RESOURCES, key=one.id.key, expect=ABSENT),
        Require(collection=RESOURCES, key="none", expect=1),
    )
    for wrong in refused:
        fine = Put(collection=RESOURCES, value=resource("b"), expect=ANY)
        with pytest.raises(CommitRefused):
            await scratch.commit(Batch.of(fine, wrong))
    assert [found.value.id.name for found in await scratch.all(RESOURCES)] == ["a"]
    await scratch.commit(
        Batch.of(
            Require(collection=RESOURCES, key=one.id.key, expect=1), Delete(collection=RESOURCES, key=one.id.key, expect=1)
        )
    )
    assert await scratch.get(RESOURCES, one.id.key) is None
    await scratch.close()
    await store.close()


async def test_nothing_of_a_rehearsal_is_logged_or_told() -> None:
    store = await memory_store()
    scratch = ScratchStore(store)
    told: list[object] = []
    stop = scratch.subscribe(told.append)
    event = ActivityEvent(
        id="e", at=NOW, tenant_id="t", subscription_id=None, resource_id="/x", operation="o", status=EventStatus.SUCCEEDED
    )
    await scratch.commit(
        Batch.of(Append(log=ACTIVITY, event=event), Put(collection=RESOURCES, value=resource("a"), expect=ANY))
    )
    assert await scratch.read_log(ACTIVITY) == ()
    assert await scratch.changes(0) == ()
    assert await scratch.position() == 0
    assert told == []
    stop()
    await store.close()


def test_guids_that_were_given_out_are_noted() -> None:
    entropy = NotedEntropy(SeededEntropy())
    assert entropy.guids == set()
    assert {entropy.guid(), entropy.guid()} == entropy.guids
    assert len(entropy.bytes(4)) == 4
