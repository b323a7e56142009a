"""What holds for a store's logs, trimmed or whole: part of `StoreConformance`, for which it is a file of its own."""

# ruff: noqa: D102, PLR2004 - as in store_conformance

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from idplane.model.events import ActivityEvent
from idplane.ports.collections import ACTIVITY, SETTINGS, SIGN_INS, microseconds
from idplane.ports.store import Append, Batch, Change, CommitRefused, Logged, Order, Require, Store, Trim
from idplane.testing import store_samples as sample

__all__ = ["LogConformance"]


async def _fill(store: Store, count: int) -> None:
    for number in range(count):
        event = sample.activity(str(number), sample.NOW + timedelta(seconds=number))
        await store.commit(Batch.of(Append(log=ACTIVITY, event=event)))


class LogConformance:
    """Logs. Subclasses provide the fixture `store`."""

    async def test_events_come_back_newest_first_or_oldest_first(self, store: Store) -> None:
        events = [sample.activity(str(number), sample.NOW + timedelta(seconds=number // 2)) for number in range(7)]
        await store.commit(Batch.of(*(Append(log=ACTIVITY, event=event) for event in events)))
        oldest = await store.read_log(ACTIVITY, order=Order.OLDEST_FIRST)
        assert [one.event for one in oldest] == events
        assert [one.position for one in oldest] == sorted({one.position for one in oldest})
        assert await store.read_log(ACTIVITY) == oldest[::-1]

    @pytest.mark.parametrize("order", Order)
    @pytest.mark.parametrize("size", [1, 3, 100])
    async def test_log_pages_joined_are_the_log(self, store: Store, order: Order, size: int) -> None:
        await _fill(store, 10)
        whole = await store.read_log(ACTIVITY, order=order)
        found: list[Logged[ActivityEvent]] = []
        while page := await store.read_log(ACTIVITY, order=order, limit=size, position=found[-1].position if found else None):
            found += page
        assert tuple(found) == whole
        assert len(whole) == 10

    async def test_an_event_with_an_earlier_time_is_listed_by_time_but_followed_by_position(self, store: Store) -> None:
        for number, seconds in enumerate((5, 9, 1)):
            event = sample.activity(str(number), sample.NOW + timedelta(seconds=seconds))
            await store.commit(Batch.of(Append(log=ACTIVITY, event=event)))
        newest = await store.read_log(ACTIVITY)
        assert [one.event.id for one in newest] == ["1", "0", "2"]
        assert [one.event.id for one in await store.read_log(ACTIVITY, position=newest[1].position)] == ["2"]
        oldest = await store.read_log(ACTIVITY, order=Order.OLDEST_FIRST)
        assert [one.event.id for one in oldest] == ["0", "1", "2"]
        assert await store.read_log(ACTIVITY, order=Order.OLDEST_FIRST, position=oldest[1].position) == oldest[2:]

    async def test_a_time_window_is_half_open(self, store: Store) -> None:
        await _fill(store, 5)
        at = [microseconds(sample.NOW + timedelta(seconds=number)) for number in range(5)]
        for order in Order:
            window = await store.read_log(ACTIVITY, since=at[1], until=at[3], order=order)
            assert sorted(one.event.id for one in window) == ["1", "2"]
        assert await store.read_log(ACTIVITY, since=at[3], until=at[3]) == ()

    async def test_a_log_is_searched_by_its_columns(self, store: Store) -> None:
        events = [sample.activity("1"), sample.activity("2", resource_id="/x"), sample.activity("3", tenant_id="other")]
        await store.commit(Batch.of(*(Append(log=ACTIVITY, event=event) for event in events)))
        await store.commit(Batch.of(Append(log=SIGN_INS, event=sample.sign_in("4", error_code=7000215))))
        where = {"tenant_id": sample.TENANT, "resource_key": sample.VM.lower()}
        assert [one.event.id for one in await store.read_log(ACTIVITY, where=where)] == ["1"]
        assert len(await store.read_log(ACTIVITY, where={"subscription_id": None})) == 3
        assert [one.event.id for one in await store.read_log(SIGN_INS, where={"error_code": 7000215})] == ["4"]
        assert await store.read_log(SIGN_INS, where={"error_code": 0}) == ()

    async def test_a_log_is_counted_by_time_and_value(self, store: Store) -> None:
        codes = (0, 0, 7000215, 0, 50034, 0)
        for number, code in enumerate(codes):
            at = sample.NOW + timedelta(seconds=number)
            event = replace(sample.sign_in(str(number), error_code=code), at=at)
            await store.commit(Batch.of(Append(log=SIGN_INS, event=event)))
        since = microseconds(sample.NOW)
        where = {"tenant_id": sample.TENANT}
        told = {"since": since, "until": since + 5_000_000, "step": 2_000_000}
        found = await store.tally(SIGN_INS, "error_code", where=where, limit=100, **told)
        assert [(one.step, one.value, one.count) for one in found] == [(0, 0, 2), (1, 0, 1), (1, 7000215, 1), (2, 50034, 1)]
        newest = await store.tally(SIGN_INS, "error_code", where=where, limit=2, **told)
        assert [(one.step, one.value, one.count) for one in newest] == [(1, 0, 1), (2, 50034, 1)]
        assert await store.tally(SIGN_INS, "error_code", where={"tenant_id": "other"}, limit=9, **told) == ()
        assert await store.tally(SIGN_INS, "error_code", where={"tenant_id": "\0"}, limit=9, **told) == ()

    @pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 200])
    async def test_any_number_of_events_keeps_its_order(self, store: Store, count: int) -> None:
        await store.commit(Batch.of(*(Append(log=SIGN_INS, event=sample.sign_in(str(number))) for number in range(count))))
        found = await store.read_log(SIGN_INS, order=Order.OLDEST_FIRST, limit=1000)
        assert [one.event.id for one in found] == [str(number) for number in range(count)]

    async def test_a_trim_removes_the_oldest_that_are_old_enough(self, store: Store) -> None:
        await _fill(store, 10)
        before = microseconds(sample.NOW + timedelta(seconds=5))
        await store.commit(Batch.of(Trim(log=ACTIVITY, before=before, limit=3)))
        assert [one.event.id for one in await store.read_log(ACTIVITY, order=Order.OLDEST_FIRST)] == list("3456789")
        await store.commit(Batch.of(Trim(log=ACTIVITY, before=before, limit=100), Trim(log=SIGN_INS, before=before, limit=1)))
        assert [one.event.id for one in await store.read_log(ACTIVITY)] == list("98765")

    async def test_positions_go_on_behind_a_log_that_was_trimmed(self, store: Store) -> None:
        await _fill(store, 3)
        last = (await store.read_log(ACTIVITY))[0].position
        await store.commit(Batch.of(Trim(log=ACTIVITY, before=microseconds(sample.NOW + timedelta(days=1)), limit=100)))
        assert [one.position for one in await store.read_log(ACTIVITY)] == [last]
        await store.commit(Batch.of(Append(log=ACTIVITY, event=sample.activity("new"))))
        followed = await store.read_log(ACTIVITY, position=last, order=Order.OLDEST_FIRST)
        assert [one.event.id for one in followed] == ["new"]

    @pytest.mark.parametrize("order", Order)
    async def test_a_page_goes_on_when_what_it_stood_on_was_trimmed(self, store: Store, order: Order) -> None:
        await _fill(store, 10)
        first = await store.read_log(ACTIVITY, order=order, limit=4)
        cut = microseconds(sample.NOW + timedelta(seconds=7 if order is Order.NEWEST_FIRST else 4))
        await store.commit(Batch.of(Trim(log=ACTIVITY, before=cut, limit=100)))
        rest = await store.read_log(ACTIVITY, order=order, position=first[-1].position)
        assert [one.event.id for one in rest] == ([] if order is Order.NEWEST_FIRST else list("456789"))

    async def test_a_trim_tells_nobody_and_is_refused_with_its_batch(self, store: Store) -> None:
        await _fill(store, 3)
        heard: list[Change] = []
        stop = store.subscribe(heard.extend)
        trim = Trim(log=ACTIVITY, before=microseconds(sample.NOW + timedelta(days=1)), limit=100)
        position = await store.position()
        with pytest.raises(CommitRefused):
            await store.commit(Batch.of(trim, Require(collection=SETTINGS, key="absent", expect=1)))
        assert len(await store.read_log(ACTIVITY)) == 3
        await store.commit(Batch.of(trim))
        stop()
        assert (heard, await store.position(), len(await store.read_log(ACTIVITY))) == ([], position, 1)
