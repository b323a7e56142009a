"""Batches that are committed together come out as if each had been committed alone, in their order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from idplane.model.directory import Setting
from idplane.model.events import SignIn
from idplane.ports.collections import SETTINGS, SIGN_INS
from idplane.ports.store import ABSENT, ANY, Append, Batch, CommitRefused, Delete, Order, Put, Require, Store
from idplane.testing.worlds import memory_store

_NAMES = st.sampled_from(("a", "b"))
_EXPECTATIONS = st.sampled_from((ABSENT, ANY, 1, 2, 3))


def _append(number: int) -> object:
    event = SignIn(
        id=str(number),
        at=datetime(2026, 1, 1, tzinfo=UTC),
        tenant_id="",
        client_id="",
        principal_id=None,
        principal_name="",
        principal_type="",
        resource="",
        resource_name="",
        error_code=0,
        failure_reason="",
        correlation_id="",
        token_id=None,
        credential_kind="",
    )
    return Append(log=SIGN_INS, event=event)


_OPERATIONS = st.one_of(
    st.builds(lambda name, expect: Require(collection=SETTINGS, key=name, expect=expect), _NAMES, _EXPECTATIONS),
    st.builds(_append, st.integers(0, 99)),
    st.builds(
        lambda name, expect: Put(collection=SETTINGS, value=Setting(name=name, value=""), expect=expect), _NAMES, _EXPECTATIONS
    ),
    st.builds(lambda name, expect: Delete(collection=SETTINGS, key=name, expect=expect), _NAMES, _EXPECTATIONS),
)
_BATCHES = st.lists(st.lists(_OPERATIONS, min_size=1, max_size=4).map(lambda steps: Batch.of(*steps)), max_size=12)


@dataclass(frozen=True)
class _Outcome:
    answers: tuple[object, ...]
    settings: object
    log: tuple[str, ...]
    feed: object


async def _outcome(store: Store, answers: list[int | BaseException]) -> _Outcome:
    for answer in answers:
        assert isinstance(answer, int | CommitRefused)
    logged = await store.read_log(SIGN_INS, order=Order.OLDEST_FIRST)
    return _Outcome(
        answers=tuple((one.because, one.collection, one.key) if isinstance(one, CommitRefused) else one for one in answers),
        settings=await store.all(SETTINGS),
        log=tuple(item.event.id for item in logged),
        feed=await store.changes(0),
    )


async def _one_by_one(batches: list[Batch]) -> _Outcome:
    store = await memory_store()
    answers: list[int | BaseException] = []
    for batch in batches:
        answers += await asyncio.gather(store.commit(batch), return_exceptions=True)
    outcome = await _outcome(store, answers)
    await store.close()
    return outcome


async def _together(batches: list[Batch]) -> _Outcome:
    store = await memory_store()
    outcome = await _outcome(store, await asyncio.gather(*map(store.commit, batches), return_exceptions=True))
    await store.close()
    return outcome


@settings(max_examples=40)
@given(batches=_BATCHES)
def test_groups_change_nothing(batches: list[Batch]) -> None:
    assert asyncio.run(_together(batches)) == asyncio.run(_one_by_one(batches))
