"""Lists of several selections: pages joined are what sorting all of them gives, each record once, and only what is let through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idplane.model.directory import Principal
from idplane.ports.collections import PRINCIPALS
from idplane.ports.sorting import Sort
from idplane.ports.store import Batch, Delete, Store, order_place
from idplane.testing import store_samples as sample
from idplane.testing.worlds import memory_store
from idplane.web.portal.lists import Part, Question

TENANTS = ["a", "b", "c"]
ROWS = st.lists(st.tuples(st.sampled_from(TENANTS), st.text("xyz", max_size=2), st.booleans()), max_size=14)
PARTS = st.lists(st.sampled_from([*TENANTS, None]), max_size=4)


def part_of(tenant: str | None) -> Part:
    return Part() if tenant is None else Part(where={"tenant_id": tenant})


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = await memory_store()
    yield opened
    await opened.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, tenants=PARTS, descending=st.booleans(), limit=st.integers(1, 4))
async def test_joined_pages_are_one_order(
    store: Store,
    rows: list[tuple[str, str, bool]],
    tenants: list[str | None],
    descending: bool,  # noqa: FBT001 - drawn
    limit: int,
) -> None:
    made = [
        replace(sample.principal(f"p{number}"), tenant_id=tenant, display_name=name, enabled=kept)
        for number, (tenant, name, kept) in enumerate(rows)
    ]
    order = Sort("display_name", descending)
    old = [Delete(collection=PRINCIPALS, key=one.value.id) for one in await store.all(PRINCIPALS)]
    await store.commit(Batch.of(*old, *(sample.create(PRINCIPALS, one) for one in made)))
    question = Question(store=store, parts=[part_of(one) for one in tenants], order=order, limit=limit)

    async def kept(principal: Principal) -> bool:
        return principal.enabled

    found: list[str] = []
    after: str | None = None
    while True:
        page = await question.page(PRINCIPALS, after, kept)
        assert len(page.items) <= limit
        found += [one.value.id for one in page.items]
        after = page.after
        if after is None:
            break
    wanted = [one for one in made if one.enabled and (None in tenants or one.tenant_id in tenants)]
    ranked = sorted(wanted, key=lambda it: order.rank(order_place(PRINCIPALS, it, order)), reverse=descending)
    assert found == [one.id for one in ranked]


async def test_who_may_see_little_of_much_goes_on_from_where_was_looked(store: Store) -> None:
    made = [replace(sample.principal(f"p{number:03}"), display_name=f"n{number:03}") for number in range(200)]
    await store.commit(Batch.of(*(sample.create(PRINCIPALS, one) for one in made)))
    question = Question(store=store, parts=[Part()], order=Sort("display_name"), limit=2)

    async def last(principal: Principal) -> bool:
        return principal.id == "p199"

    first = await question.page(PRINCIPALS, None, last)
    assert first.items == ()
    assert first.after is not None
    found, after = list[str](), first.after
    for _ in range(10):
        page = await question.page(PRINCIPALS, after, last)
        found += [one.value.id for one in page.items]
        if page.after is None:
            break
        after = page.after
    assert found == ["p199"]
