"""What every store must do, as tests that can be applied to any adapter.

Subclass in a test module and say how to open the store; the tests are coroutines, for anyio's pytest plugin (`anyio_mode = "auto"`):

    class TestMine(StoreConformance, SharedStoreConformance):
        @pytest.fixture
        def opener(self, tmp_path: Path) -> Opener:
            return lambda: MyStore.open(tmp_path / "db")

`StoreConformance` needs a store that is empty at the start of each test. `SharedStoreConformance` also needs every call of the opener within
one test to open the same database. `acknowledge` and `verify_acknowledged` are the two halves of a durability test: run the first in a
process that is killed (`committer` is such a command for the project's own stores), give what it printed to the second.
"""
# ruff: noqa: D102, PLR2004 - a test's name says what it asserts, and its numbers are the expected values

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyState
from idplane.ports.collections import (
    ACTIVITY,
    AGENTS,
    IDENTITY_ASSIGNMENTS,
    PORTAL_LINKS,
    PORTAL_SESSIONS,
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    SETTINGS,
    SIGN_INS,
    SIGNING_KEYS,
    TENANTS,
)
from idplane.ports.store import (
    ABSENT,
    ANY,
    Append,
    Batch,
    Change,
    CommitRefused,
    Delete,
    Put,
    RefusedBecause,
    Require,
    Store,
    Versioned,
)
from idplane.testing import store_samples as sample
from idplane.testing.store_constraints import REFUSALS
from idplane.testing.store_feed import FeedConformance
from idplane.testing.store_logs import LogConformance
from idplane.testing.store_pages import OrderedPageConformance
from idplane.testing.store_people import IN_THE_PORTAL
from idplane.testing.store_refusals import Refusal
from idplane.testing.store_sharing import Opener, SharedStoreConformance, acknowledge, committer, verify_acknowledged

__all__ = ["Opener", "SharedStoreConformance", "StoreConformance", "acknowledge", "committer", "verify_acknowledged"]


class StoreConformance(LogConformance, FeedConformance, OrderedPageConformance):
    """What holds for a store on its own. Subclasses provide the fixture `opener`."""

    @pytest.fixture
    async def store(self, opener: Opener) -> AsyncIterator[Store]:
        opened = await opener()
        yield opened
        await opened.close()

    # Records and versions

    async def test_every_record_comes_back_as_it_was_written(self, store: Store) -> None:
        batch = sample.everything()
        await store.commit(batch)
        for one in batch.operations:
            assert isinstance(one, Put)
            assert await store.get(one.collection, one.collection.key(one.value)) == Versioned(one.value, 1)

    async def test_an_absent_record_is_none(self, store: Store) -> None:
        assert await store.get(TENANTS, "absent") is None
        assert (await store.page(TENANTS)).items == ()

    async def test_a_version_counts_the_writes(self, store: Store) -> None:
        for expect, name in ((ABSENT, "a"), (1, "b"), (ANY, "c"), (3, "d")):
            await store.commit(Batch.of(Put(collection=TENANTS, value=sample.tenant("t", name), expect=expect)))
        assert await store.get(TENANTS, "t") == Versioned(sample.tenant("t", "d"), 4)

    async def test_a_record_made_again_starts_again(self, store: Store) -> None:
        await _put(store, "a")
        await store.commit(Batch.of(Delete(collection=SETTINGS, key="a", expect=1)))
        assert await store.get(SETTINGS, "a") is None
        await _put(store, "a")
        assert await store.get(SETTINGS, "a") == Versioned(sample.setting("a"), 1)

    @pytest.mark.parametrize("expect", [ABSENT, 1, 3, 0, -1, 2**40], ids=str)
    async def test_a_write_at_another_version_is_refused(self, store: Store, expect: int) -> None:
        await _put(store, "a", "1")
        await store.commit(Batch.of(Put(collection=SETTINGS, value=sample.setting("a", "2"), expect=1)))
        stale = Put(collection=SETTINGS, value=sample.setting("a", "stale"), expect=expect)
        await _refused(store, Batch.of(stale), RefusedBecause.VERSION, "settings", "a")
        await _refused(store, Batch.of(Delete(collection=SETTINGS, key="a", expect=expect)), RefusedBecause.VERSION)
        assert await store.get(SETTINGS, "a") == Versioned(sample.setting("a", "2"), 2)

    async def test_an_absent_record_can_be_neither_replaced_nor_removed_at_a_version(self, store: Store) -> None:
        await _refused(store, Batch.of(Put(collection=SETTINGS, value=sample.setting("a"), expect=1)), RefusedBecause.VERSION)
        await _refused(store, Batch.of(Delete(collection=SETTINGS, key="a", expect=1)), RefusedBecause.VERSION)

    async def test_removing_whatever_is_there_may_find_nothing(self, store: Store) -> None:
        before = await store.position()
        await store.commit(Batch.of(Delete(collection=SETTINGS, key="a"), Delete(collection=SETTINGS, key="a", expect=ABSENT)))
        assert await store.changes(before) == ()

    async def test_require_guards_what_the_batch_does_not_write(self, store: Store) -> None:
        await _put(store, "a")
        met = (("a", 1), ("a", ANY), ("b", ABSENT))
        await store.commit(Batch.of(*(Require(collection=SETTINGS, key=key, expect=expect) for key, expect in met)))
        for key, expect in (("a", 2), ("a", ABSENT), ("b", 1), ("b", ANY)):
            guard = Require(collection=SETTINGS, key=key, expect=expect)
            write = sample.create(SETTINGS, sample.setting("c"))
            await _refused(store, Batch.of(write, guard), RefusedBecause.VERSION, "settings", key)
        assert await store.get(SETTINGS, "c") is None

    async def test_the_empty_batch_is_the_position(self, store: Store) -> None:
        await _put(store, "a")
        assert await store.commit(Batch()) == await store.position() == 1

    # Atomicity, order and constraints

    async def test_a_refused_batch_leaves_nothing(self, store: Store) -> None:
        await _put(store, "a")
        heard: list[Change] = []
        store.subscribe(heard.extend)
        batch = Batch.of(
            Append(log=ACTIVITY, event=sample.activity("1")),
            sample.create(SETTINGS, sample.setting("b")),
            Delete(collection=SETTINGS, key="a"),
            Require(collection=SETTINGS, key="absent", expect=1),
        )
        await _refused(store, batch, RefusedBecause.VERSION, "settings", "absent")
        assert [one.value.name for one in await store.all(SETTINGS)] == ["a"]
        assert await store.read_log(ACTIVITY) == ()
        assert heard == []
        assert await store.position() == 1

    async def test_a_batch_sees_its_own_writes_in_order(self, store: Store) -> None:
        await store.commit(
            Batch.of(
                sample.create(SETTINGS, sample.setting("a", "1")),
                Require(collection=SETTINGS, key="a", expect=1),
                Put(collection=SETTINGS, value=sample.setting("a", "2"), expect=1),
                Delete(collection=SETTINGS, key="a", expect=2),
                sample.create(SETTINGS, sample.setting("a", "3")),
            )
        )
        assert await store.get(SETTINGS, "a") == Versioned(sample.setting("a", "3"), 1)

    @pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
    async def test_a_constraint_refuses(self, store: Store, case: Refusal) -> None:
        await store.commit(case.before)
        position = await store.position()
        await _refused(store, case.offending, case.because, case.collection, case.key)
        assert await store.position() == position

    async def test_a_replacement_keeps_the_constraints(self, store: Store) -> None:
        keys = [sample.signing_key("a", KeyState.ACTIVE), sample.signing_key("b", KeyState.PREPARED)]
        await store.commit(Batch.of(*(sample.create(SIGNING_KEYS, key) for key in keys)))
        for expect in (1, ANY):
            second = Put(collection=SIGNING_KEYS, value=sample.signing_key("b", KeyState.ACTIVE), expect=expect)
            await _refused(store, Batch.of(second), RefusedBecause.UNIQUE, "signing_keys", "b")

    async def test_keys_may_change_places_within_a_batch(self, store: Store) -> None:
        states = KeyState
        await store.commit(
            Batch.of(
                *(
                    sample.create(SIGNING_KEYS, sample.signing_key(*key))
                    for key in (("a", states.ACTIVE), ("b", states.PREPARED))
                )
            )
        )
        turned = (("a", states.RETIRED), ("b", states.ACTIVE))
        await store.commit(
            Batch.of(*(Put(collection=SIGNING_KEYS, value=sample.signing_key(*key), expect=1) for key in turned))
        )
        (active,) = await store.all(SIGNING_KEYS, where={"purpose": "token", "state": "active"})
        assert active.value.id == "b"

    async def test_a_user_takes_what_it_is_signed_in_with_along(self, store: Store) -> None:
        # Programs that know of no portal delete users, too.
        await store.commit(IN_THE_PORTAL)
        await store.commit(Batch.of(Delete(collection=PRINCIPALS, key="ada", expect=1)))
        assert await store.all(PORTAL_LINKS) == ()
        assert await store.all(PORTAL_SESSIONS) == ()

    async def test_children_go_before_their_parents(self, store: Store) -> None:
        await store.commit(sample.everything())
        principal = Delete(collection=PRINCIPALS, key="ann")
        children = [
            Delete(collection=one.collection, key=one.collection.key(one.value))
            for one in sample.everything().operations
            if isinstance(one, Put)
            and one.collection.name
            in {"identity_assignments", "credentials", "federated_credentials", "role_assignments", "app_role_assignments"}
        ]
        await _refused(store, Batch.of(principal, *children), RefusedBecause.REFERENCE, "principals", "ann")
        await store.commit(Batch.of(*children, principal))
        assert await store.all(ROLE_ASSIGNMENTS) == ()
        assert await store.all(IDENTITY_ASSIGNMENTS) == ()

    # Pages

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(names=st.sets(st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=8)), limit=st.integers(1, 7))
    async def test_pages_joined_are_all_in_key_order(self, store: Store, names: set[str], limit: int) -> None:
        await _clear(store)
        await store.commit(Batch.of(*(sample.create(SETTINGS, sample.setting(name)) for name in names)))
        found, after = list[str](), None
        while True:
            page = await store.page(SETTINGS, after=after, limit=limit)
            found += [one.value.name for one in page.items]
            assert len(page.items) == limit or page.after is None
            if page.after is None:
                break
            after = page.after
        assert found == sorted(names, key=str.encode)
        assert found == [one.value.name for one in await store.all(SETTINGS)]

    async def test_where_selects_by_all_columns(self, store: Store) -> None:
        groups = ["rga", "rgb"]
        ids = [
            f"{sample.GROUP}-{group}/providers/Microsoft.Compute/virtualMachines/{name}" for group in groups for name in "xy"
        ]
        parents = [sample.resource(f"{sample.GROUP}-{group}") for group in groups]
        await store.commit(Batch.of(*(sample.create(RESOURCES, one) for one in (*parents, *map(sample.resource, ids)))))
        machines = {"type": "microsoft.compute/virtualmachines"}
        assert len(await store.all(RESOURCES, where=machines)) == 4
        assert [str(one.value.id) for one in await store.all(RESOURCES, where={**machines, "name": "y"})] == ids[1::2]
        grouped = {**machines, "group_key": f"{sample.GROUP}-rga".lower()}
        assert [str(one.value.id) for one in (await store.page(RESOURCES, where=grouped)).items] == ids[:2]
        assert [one.value.type for one in await store.all(RESOURCES, where={"parent_key": None})] == [parents[0].type] * 2
        assert await store.all(RESOURCES, where={"name": "z"}) == ()

    async def test_under_means_whole_segments(self, store: Store) -> None:
        groups = [f"{sample.GROUP}{suffix}" for suffix in ("", "-2", ".3", "0", "~")]
        machines = [f"{group}/providers/Microsoft.Compute/virtualMachines/vm" for group in groups]
        await store.commit(Batch.of(*(sample.create(RESOURCES, sample.resource(one)) for one in (*groups, *machines))))
        below = await store.all(RESOURCES, under=("path", sample.GROUP.lower()))
        assert [str(one.value.id) for one in below] == [groups[0], machines[0]]
        only = await store.page(
            RESOURCES, where={"type": "microsoft.compute/virtualmachines"}, under=("path", sample.GROUP.lower()), limit=1
        )
        assert ([str(one.value.id) for one in only.items], only.after) == ([machines[0]], None)

    async def test_under_pages_and_other_columns(self, store: Store) -> None:
        scopes = ["/a", "/a/b", "/a/b/c", "/a-b", "/a0", "/A/d"]
        assignments = [sample.role_assignment(str(index), scope=scope) for index, scope in enumerate(scopes)]
        await store.commit(Batch.of(sample.create(PRINCIPALS, sample.principal("ann"))))
        await store.commit(Batch.of(*(sample.create(ROLE_ASSIGNMENTS, one) for one in assignments)))
        first = await store.page(ROLE_ASSIGNMENTS, under=("scope_key", "/a"), limit=3)
        rest = await store.page(ROLE_ASSIGNMENTS, under=("scope_key", "/a"), limit=3, after=first.after)
        assert [one.value.scope for one in (*first.items, *rest.items)] == ["/a", "/a/b", "/a/b/c", "/A/d"]
        for other in ("", "/", "/a", "/a/b\x1fzz", "no place"):
            early = await store.page(ROLE_ASSIGNMENTS, under=("scope_key", "/a"), after=other)
            assert {one.value.scope for one in early.items} <= set(scopes) - {"/a-b", "/a0"}

    async def test_pages_of_a_subtree_follow_its_column_and_then_the_key(self, store: Store) -> None:
        await store.commit(Batch.of(sample.create(PRINCIPALS, sample.principal("ann"))))
        scopes = ["/a/c", "/a", "/a/b", "/a/c", "/a/b"]
        roles = [replace(sample.role_assignment(str(it), scope=scope), role_id=f"role{it}") for it, scope in enumerate(scopes)]
        await store.commit(Batch.of(*(sample.create(ROLE_ASSIGNMENTS, one) for one in roles)))
        seen: list[tuple[str, str]] = []
        after: str | None = None
        while True:
            page = await store.page(ROLE_ASSIGNMENTS, under=("scope_key", "/a"), limit=1, after=after)
            seen += [(one.value.scope, one.value.id) for one in page.items]
            after = page.after
            if after is None:
                break
        assert seen == sorted(seen)
        assert len(set(seen)) == len(scopes)

    async def test_a_page_behind_a_record_that_has_gone_starts_where_it_was(self, store: Store) -> None:
        await store.commit(Batch.of(sample.create(PRINCIPALS, sample.principal("ann"))))
        roles = [sample.role_assignment(str(index), scope=f"/a/{index}") for index in range(3)]
        await store.commit(Batch.of(*(sample.create(ROLE_ASSIGNMENTS, one) for one in roles)))
        first = await store.page(ROLE_ASSIGNMENTS, under=("scope_key", "/a"), limit=1)
        await store.commit(Batch.of(Delete(collection=ROLE_ASSIGNMENTS, key=first.items[0].value.id)))
        rest = await store.page(ROLE_ASSIGNMENTS, under=("scope_key", "/a"), after=first.after)
        assert [one.value.scope for one in rest.items] == ["/a/1", "/a/2"]
        assert await store.all(ROLE_ASSIGNMENTS, under=("scope_key", "")) == await store.all(ROLE_ASSIGNMENTS)

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_a_page_has_at_least_one_record(self, store: Store, limit: int) -> None:
        with pytest.raises(ValueError, match="at least one"):
            await store.page(SETTINGS, limit=limit)

    # What cannot be stored

    @pytest.mark.parametrize("name", ["nul\x00", "\ud800", "x" * 5000, "é" * 2000], ids=["nul", "surrogate", "long", "wide"])
    async def test_a_key_that_cannot_be_kept_is_refused_and_never_found(self, store: Store, name: str) -> None:
        with pytest.raises(Failure) as caught:
            await _put(store, name)
        assert caught.value.kind is FailureKind.INVALID_PARAMETER
        assert await store.get(SETTINGS, name) is None
        assert (await store.page(SETTINGS, after=name)).items == ()
        assert await store.all(PRINCIPALS, where={"client_id": name}) == ()
        assert await store.read_log(SIGN_INS, where={"client_id": name}) == ()

    async def test_a_document_that_is_not_text_is_refused(self, store: Store) -> None:
        with pytest.raises(Failure) as caught:
            await store.commit(Batch.of(sample.create(RESOURCES, sample.resource(sample.GROUP, x="\ud800"))))
        assert caught.value.kind is FailureKind.INVALID_PARAMETER

    async def test_documents_may_hold_what_keys_may_not(self, store: Store) -> None:
        value = sample.resource(sample.GROUP, text="nul\x00" + "x" * 100_000)
        await store.commit(Batch.of(sample.create(RESOURCES, value)))
        assert await store.get(RESOURCES, sample.GROUP.lower()) == Versioned(value, 1)

    async def test_records_are_counted_as_far_as_asked(self, store: Store) -> None:
        await store.commit(
            Batch.of(*(sample.create(RESOURCES, sample.resource(f"{sample.GROUP}-{number}")) for number in range(5)))
        )
        everything = await store.all(RESOURCES)
        where = {"type": everything[0].value.type.lower()}
        assert [await store.count(RESOURCES, where=where, limit=limit) for limit in (1, 4, 5, 100)] == [1, 4, 5, 5]
        under = ("path", everything[0].value.id.key)
        assert await store.count(RESOURCES, under=under, limit=100) == len(await store.all(RESOURCES, under=under)) == 1
        assert await store.count(RESOURCES, where={"name": "absent"}, limit=100) == 0
        assert await store.count(RESOURCES, where={"name": "nul\x00"}, limit=100) == 0

    # Feed and listeners

    async def test_the_feed_has_a_row_for_each_record_written_or_removed(self, store: Store) -> None:
        await store.commit(sample.everything())
        before = await store.position()
        fed = [it for it in sample.everything().operations if isinstance(it, Put) and it.collection.fed]
        assert before == len(await store.changes(0)) == len(fed)
        after = await store.commit(
            Batch.of(
                Delete(collection=ROLE_ASSIGNMENTS, key="assignment"),
                Put(collection=PRINCIPALS, value=sample.principal("ann"), expect=1),
                Require(collection=PRINCIPALS, key="ann", expect=2),
                Append(log=ACTIVITY, event=sample.activity("1")),
                Delete(collection=SETTINGS, key="home", subject="told"),
                Delete(collection=AGENTS, key="agent"),
            )
        )
        rows = [
            ("role_assignments", "assignment", "ann", True),
            ("principals", "ann", "ann", False),
            ("settings", "home", "told", True),
            ("agents", "agent", None, True),
        ]
        feed = await store.changes(before)
        assert [(one.collection, one.key, one.subject, one.deleted) for one in feed] == rows
        assert [one.position for one in feed] == list(range(before + 1, before + 5))
        assert after == await store.position() == feed[-1].position
        assert await store.changes(before, limit=2) == feed[:2]
        assert await store.changes(after) == ()

    async def test_listeners_hear_before_the_commit_is_acknowledged(self, store: Store) -> None:
        heard: list[Change] = []
        store.subscribe(heard.extend)
        for number in range(5):
            position = await _put(store, str(number))
            assert heard[-1].key == str(number)
            assert heard[-1].position == position
        assert tuple(heard) == await store.changes(0)

    async def test_many_committers_are_heard_in_feed_order(self, store: Store) -> None:
        heard: list[Change] = []
        store.subscribe(heard.extend)
        await asyncio.gather(*(_put(store, str(number)) for number in range(50)))
        assert tuple(heard) == await store.changes(0)
        assert len(heard) == 50

    async def test_a_listener_that_stopped_hears_no_more(self, store: Store) -> None:
        heard: list[Change] = []
        stops = [store.subscribe(heard.extend), store.subscribe(heard.extend)]
        await _put(store, "a")
        stops[0]()
        stops[0]()
        await _put(store, "b")
        assert [one.key for one in heard] == ["a", "a", "b"]

    async def test_appends_alone_are_not_in_the_feed(self, store: Store) -> None:
        await _put(store, "a")
        heard: list[Change] = []
        store.subscribe(heard.extend)
        position = await store.commit(Batch.of(Append(log=ACTIVITY, event=sample.activity("1"))))
        assert (position, heard) == (1, [])

    # Concurrency

    async def test_exactly_one_of_many_wins_a_version(self, store: Store) -> None:
        await _put(store, "a")
        writes = (Put(collection=SETTINGS, value=sample.setting("a", str(number)), expect=1) for number in range(20))
        results = await asyncio.gather(*(store.commit(Batch.of(one)) for one in writes), return_exceptions=True)
        winners = [number for number, result in enumerate(results) if isinstance(result, int)]
        assert len(winners) == 1
        assert all(isinstance(one, CommitRefused) for number, one in enumerate(results) if number not in winners)
        assert await store.get(SETTINGS, "a") == Versioned(sample.setting("a", str(winners[0])), 2)

    async def test_refused_batches_leave_their_neighbours_alone(self, store: Store) -> None:
        def batch(number: int) -> Batch:
            written = Batch.of(sample.create(SETTINGS, sample.setting(f"{number:02}")))
            event = Batch.of(Append(log=ACTIVITY, event=sample.activity(str(number))))
            if number % 3 == 0:
                return written + event + Batch.of(Require(collection=SETTINGS, key="absent", expect=1))
            return event if number % 3 == 1 else written + event

        results = await asyncio.gather(*(store.commit(batch(number)) for number in range(60)), return_exceptions=True)
        assert [isinstance(one, CommitRefused) for one in results] == [number % 3 == 0 for number in range(60)]
        assert [one.value.name for one in await store.all(SETTINGS)] == [f"{number:02}" for number in range(2, 60, 3)]
        assert len(await store.read_log(ACTIVITY)) == 40
        assert [one.key for one in await store.changes(0)] != []
        assert await store.position() == len(await store.changes(0)) == 20

    async def test_counters_never_lose_an_increment(self, store: Store) -> None:
        await _put(store, "count", "0")

        async def increment() -> None:
            while True:
                current = await store.get(SETTINGS, "count")
                assert current is not None
                value = sample.setting("count", str(int(current.value.value) + 1))
                try:
                    await store.commit(Batch.of(Put(collection=SETTINGS, value=value, expect=current.version)))
                except CommitRefused:
                    continue
                return

        await asyncio.gather(*(increment() for _ in range(12)))
        assert await store.get(SETTINGS, "count") == Versioned(sample.setting("count", "12"), 13)

    async def test_a_committer_that_gives_up_disturbs_nobody(self, store: Store) -> None:
        heard: list[Change] = []
        store.subscribe(heard.extend)
        tasks = [asyncio.ensure_future(_put(store, f"{number:02}")) for number in range(40)]
        await asyncio.wait(tasks[:1])
        for task in tasks[1::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, int) for one in results[::2])
        await _put(store, "last")
        kept = {one.value.name for one in await store.all(SETTINGS)}
        assert {one.key for one in heard} == kept
        assert kept >= {f"{number:02}" for number in range(0, 40, 2)}

    # Closing

    async def test_closing_settles_what_was_submitted(self, store: Store) -> None:
        tasks = [asyncio.ensure_future(_put(store, str(number))) for number in range(20)]
        await asyncio.wait(tasks[:1])
        await store.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, int) for one in results)

    async def test_a_closed_store_is_unavailable(self, store: Store) -> None:
        await store.close()
        await store.close()
        for attempt in (_put(store, "a"), store.get(SETTINGS, "a"), store.position(), store.read_log(ACTIVITY)):
            with pytest.raises(Failure) as caught:
                await attempt
            assert caught.value.kind is FailureKind.UNAVAILABLE


async def _put(store: Store, name: str, value: str = "") -> int:
    return await store.commit(Batch.of(sample.create(SETTINGS, sample.setting(name, value))))


async def _clear(store: Store) -> None:
    names = [one.value.name for one in await store.all(SETTINGS)]
    await store.commit(Batch.of(*(Delete(collection=SETTINGS, key=name) for name in names)))


async def _refused(store: Store, batch: Batch, because: RefusedBecause, *where: str) -> None:
    with pytest.raises(CommitRefused) as caught:
        await store.commit(batch)
    assert caught.value.because is because
    assert not where or (caught.value.collection, caught.value.key) == where
