"""The part of the store conformance suite about the feed itself: what is not in it, and how it ends.

Users import it from `idplane.testing.store_conformance`.
"""
# ruff: noqa: D102, PLR2004 - a test's name says what it asserts, and its numbers are the expected values

from __future__ import annotations

import pytest

from idplane.ports.collections import LEASES, SETTINGS
from idplane.ports.store import Batch, Change, CommitRefused, Delete, Put, Store, TrimChanges, Versioned
from idplane.testing import store_samples as sample

__all__ = ["FeedConformance"]


class FeedConformance:
    """What holds of the feed. Subclasses provide the fixture `store`."""

    async def test_the_feed_tells_nothing_of_what_nobody_follows(self, store: Store) -> None:
        heard: list[Change] = []
        store.subscribe(heard.extend)
        before = await _put(store, "a")
        await store.commit(Batch.of(sample.create(LEASES, sample.lease())))
        renewed = Put(collection=LEASES, value=sample.lease(holder="two"), expect=1)
        assert await store.commit(Batch.of(renewed)) == before
        assert await store.get(LEASES, "purge") == Versioned(sample.lease(holder="two"), 2)
        with pytest.raises(CommitRefused):
            await store.commit(Batch.of(renewed))
        await store.commit(Batch.of(Delete(collection=LEASES, key="purge", expect=2)))
        assert await store.position() == before == len(await store.changes(0)) == len(heard)

    @pytest.mark.parametrize(
        ("keep", "limit", "first"), [(10, 100, 1), (100, 100, 1), (3, 100, 8), (3, 2, 3), (0, 100, 11), (0, 9, 10)], ids=str
    )
    async def test_the_oldest_rows_of_the_feed_can_go(self, store: Store, keep: int, limit: int, first: int) -> None:
        for number in range(10):
            await _put(store, str(number))
        await store.commit(Batch.of(TrimChanges(keep=keep, limit=limit)))
        assert [one.position for one in await store.changes(0)] == list(range(first, 11))
        assert await store.position() == 10
        assert await _put(store, "next") == 11
        assert [one.position for one in await store.changes(10)] == [11]

    async def test_a_store_knows_its_own_changes_at_once(self, store: Store) -> None:
        await _put(store, "a")
        assert store.freshness() == 0.0


async def _put(store: Store, name: str) -> int:
    return await store.commit(Batch.of(sample.create(SETTINGS, sample.setting(name))))
