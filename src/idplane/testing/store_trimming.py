"""What holds for a store whose logs are trimmed: part of `StoreConformance`, for which it is a file of its own."""

# ruff: noqa: D102, PLR2004 - as in store_conformance

from __future__ import annotations

from datetime import timedelta

import pytest

from idplane.ports.collections import ACTIVITY, SETTINGS, SIGN_INS, microseconds
from idplane.ports.store import Append, Batch, Change, CommitRefused, Order, Require, Store, Trim
from idplane.testing import store_samples as sample

__all__ = ["TrimConformance"]


async def _fill(store: Store, count: int) -> None:
    for number in range(count):
        event = sample.activity(str(number), sample.NOW + timedelta(seconds=number))
        await store.commit(Batch.of(Append(log=ACTIVITY, event=event)))


class TrimConformance:
    """Trimmed logs. Subclasses provide the fixture `store`."""

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
