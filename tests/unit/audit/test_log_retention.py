"""Logs are kept as long as the installation says, or its profile, and no writer or reader is disturbed when events go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from idplane.audit.retention import LogRetention, days_of, keep_log
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import AZURE, OPEN
from idplane.ports.collections import ACTIVITY, SIGN_INS
from idplane.ports.store import Append, Batch, Order, Store
from idplane.testing import store_samples as sample
from idplane.testing.worlds import FakeClock, memory_store

DAY = timedelta(days=1)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = await memory_store(FakeClock())
    for age in (100, 91, 89, 31, 29, 0):
        at = sample.NOW - age * DAY
        signed_in = replace(sample.sign_in(str(age)), at=at)
        await opened.commit(
            Batch.of(Append(log=ACTIVITY, event=sample.activity(str(age), at)), Append(log=SIGN_INS, event=signed_in))
        )
    yield opened
    await opened.close()


async def ages(store: Store) -> tuple[list[str], list[str]]:
    activity = await store.read_log(ACTIVITY, order=Order.OLDEST_FIRST)
    sign_ins = await store.read_log(SIGN_INS, order=Order.OLDEST_FIRST)
    return [one.event.id for one in activity], [one.event.id for one in sign_ins]


async def test_the_profile_decides(store: Store) -> None:
    everything = await ages(store)
    await LogRetention(store=store, profile=OPEN).turn(sample.NOW)
    assert await ages(store) == everything
    await LogRetention(store=store, profile=AZURE).turn(sample.NOW)
    assert await ages(store) == (["89", "31", "29", "0"], ["29", "0"])


async def test_a_setting_goes_before_the_profile(store: Store) -> None:
    retention = LogRetention(store=store, profile=AZURE)
    await keep_log(store, ACTIVITY.name, "30d")
    await keep_log(store, SIGN_INS.name, "forever")
    await retention.turn(sample.NOW)
    assert await ages(store) == (["29", "0"], ["100", "91", "89", "31", "29", "0"])
    await keep_log(store, SIGN_INS.name, "profile")
    await keep_log(store, SIGN_INS.name, "profile")
    await retention.turn(sample.NOW)
    assert (await ages(store))[1] == ["29", "0"]


async def test_the_last_event_stays_until_there_is_another(store: Store) -> None:
    retention = LogRetention(store=store, profile=AZURE)
    later = sample.NOW + 200 * DAY
    await retention.turn(later)
    assert await ages(store) == (["0"], ["0"])
    await store.commit(Batch.of(Append(log=ACTIVITY, event=sample.activity("new", later))))
    await retention.turn(later)
    assert await ages(store) == (["new"], ["0"])


async def test_more_than_fit_in_one_commit_go_in_one_turn(store: Store) -> None:
    old = [Append(log=ACTIVITY, event=sample.activity(f"old-{number}", sample.NOW - 200 * DAY)) for number in range(1200)]
    await store.commit(Batch.of(*old))
    await LogRetention(store=store, profile=AZURE).turn(sample.NOW)
    # The newest position is one of the old ones: it stays.
    assert (await ages(store))[0] == ["89", "31", "29", "0", "old-1199"]


@pytest.mark.parametrize(("text", "days"), [("1", 1), ("90d", 90), ("36500", 36_500), ("forever", None)])
def test_lengths(text: str, days: int | None) -> None:
    assert days_of(text) == days


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "99999", "30h", "d", "for ever", "\u0661"])
async def test_lengths_that_are_refused(store: Store, text: str) -> None:
    with pytest.raises(Failure) as refused:
        await keep_log(store, ACTIVITY.name, text)
    assert refused.value.kind is FailureKind.INVALID_PARAMETER
