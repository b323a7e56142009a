"""The part of the store conformance suite about pages in another order than the keys', and those of what holds a text.

Users import it from `idplane.testing.store_conformance`.
"""
# ruff: noqa: D102 - a test's name says what it asserts

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idplane.model.directory import Principal
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import PRINCIPALS, RESOURCES, SECRETS
from idplane.ports.sorting import Place, Sort
from idplane.ports.store import Batch, Collection, ColumnValue, Delete, Store, order_place
from idplane.testing import store_samples as sample

__all__ = ["OrderedPageConformance", "walked"]

T = TypeVar("T")

_TEXTS = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=4) | st.sampled_from(
    ["a", "ab", "b", "%", "_"]
)


class OrderedPageConformance:
    """What holds for `Reads.page` with an order, and with a text."""

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        rows=st.lists(st.tuples(_TEXTS, st.none() | st.sampled_from(["/a", "/a/b", "/a-b"]), st.booleans()), max_size=12),
        order=st.builds(Sort, st.sampled_from(["display_name", "resource_key", "type", "client_id"]), st.booleans()),
        limit=st.integers(1, 5),
        narrowed=st.tuples(st.booleans(), st.booleans(), st.none() | _TEXTS),
    )
    async def test_pages_in_an_order_are_what_sorting_gives(
        self,
        store: Store,
        rows: list[tuple[str, str | None, bool]],
        order: Sort,
        limit: int,
        narrowed: tuple[bool, bool, str | None],
    ) -> None:
        made = [_principal(number, *row) for number, row in enumerate(rows)]
        old = [Delete(collection=PRINCIPALS, key=one.value.id) for one in await store.all(PRINCIPALS)]
        await store.commit(Batch.of(*old, *(sample.create(PRINCIPALS, one) for one in made)))
        where, under, text = narrowed
        wanted = [
            one
            for one in made
            if (not where or one.tenant_id == "even")
            and (not under or one.resource_id in {"/a", "/a/b"})
            and (text is None or text in one.display_name.lower())
        ]
        found = await walked(
            store,
            PRINCIPALS,
            order,
            limit=limit,
            where={"tenant_id": "even"} if where else None,
            under=("resource_key", "/a") if under else None,
            containing=None if text is None else ("display_name", text),
        )
        ranked = sorted(wanted, key=lambda it: order.rank(order_place(PRINCIPALS, it, order)), reverse=order.descending)
        assert [one.id for one in found] == [one.id for one in ranked]
        plain = await store.page(PRINCIPALS, containing=("display_name", text or ""))
        assert {one.value.id for one in plain.items} == {one.id for one in made if (text or "") in one.display_name.lower()}

    async def test_numbers_are_sorted_as_numbers(self, store: Store) -> None:
        await store.commit(sample.everything())
        added = [sample.secret(f"v{number}", number, name="Other") for number in (100, 9, 20)]
        await store.commit(Batch.of(*(sample.create(SECRETS, one) for one in added)))
        where: Mapping[str, ColumnValue] = {"name": "other"}
        for descending, wanted in ((False, [9, 20, 100]), (True, [100, 20, 9])):
            found = await walked(store, SECRETS, Sort("sequence", descending), limit=1, where=where)
            assert [one.sequence for one in found] == wanted

    async def test_a_path_is_a_column_to_sort_by_too(self, store: Store) -> None:
        names = [f"{sample.GROUP}{suffix}" for suffix in ("-b", "", "-a")]
        await store.commit(Batch.of(*(sample.create(RESOURCES, sample.resource(one)) for one in names)))
        found = await walked(store, RESOURCES, Sort("path", descending=True), limit=2)
        assert [str(one.id) for one in found] == sorted(names, reverse=True)

    async def test_locations_are_found_and_sorted_though_no_table_has_them(self, store: Store) -> None:
        places = ["westeurope", None, "eastus", "Zed", "eastus"]
        made = [replace(sample.resource(f"{sample.GROUP}-{number}"), location=place) for number, place in enumerate(places)]
        await store.commit(Batch.of(*(sample.create(RESOURCES, one) for one in made)))
        found = await walked(store, RESOURCES, Sort("location"), limit=2)
        assert [one.location for one in found] == ["Zed", "eastus", "eastus", "westeurope", None]
        narrowed = await store.page(RESOURCES, where={"location": "eastus"}, order=Sort("name", descending=True))
        assert [one.value.id.name[-1] for one in narrowed.items] == ["4", "2"]
        assert [one.value for one in await store.all(RESOURCES, where={"location": None})] == [made[1]]

    async def test_a_page_in_an_order_starts_behind_a_record_that_has_gone_or_moved(self, store: Store) -> None:
        made = [_principal(number, name, None, False) for number, name in enumerate("abcd")]
        await store.commit(Batch.of(*(sample.create(PRINCIPALS, one) for one in made)))
        order = Sort("display_name")
        first = await store.page(PRINCIPALS, order=order, limit=2)
        await store.commit(Batch.of(Delete(collection=PRINCIPALS, key=made[1].id)))
        rest = await store.page(PRINCIPALS, order=order, after=first.after)
        assert [one.value.display_name for one in rest.items] == ["c", "d"]

    @pytest.mark.parametrize(
        "after",
        ["", "x", "n", "n1:a", "t:a", "t9:short", "t-1:a", "i:a", "i1x:a", "i--1:a", "t²:ab", "i99999999999999999999999:a"],
    )
    async def test_a_place_that_is_none_is_refused(self, store: Store, after: str) -> None:
        with pytest.raises(Failure) as caught:
            await store.page(PRINCIPALS, order=Sort("display_name"), after=after)
        assert caught.value.kind is FailureKind.INVALID_PARAMETER

    @pytest.mark.parametrize("column", ["display_name", "resource_key"])
    @pytest.mark.parametrize(
        "place", [Place(5, "a"), Place("\x00", "a"), Place("a", "\ud800"), Place(None, ""), Place("", "")], ids=str
    )
    async def test_a_place_of_another_order_is_refused_or_finds_what_is_behind_it(
        self, store: Store, column: str, place: Place
    ) -> None:
        made = [_principal(number, name, None, False) for number, name in enumerate("abcd")]
        await store.commit(Batch.of(*(sample.create(PRINCIPALS, one) for one in made)))
        try:
            page = await store.page(PRINCIPALS, order=Sort(column), after=str(place))
        except Failure as failure:
            assert failure.kind is FailureKind.INVALID_PARAMETER  # noqa: PT017 - either is right
        else:
            assert {one.value.id for one in page.items} <= {one.id for one in made}

    @pytest.mark.parametrize("text", ["nul\x00", "\ud800"], ids=["nul", "surrogate"])
    async def test_a_text_that_cannot_be_kept_is_in_nothing(self, store: Store, text: str) -> None:
        await store.commit(sample.everything())
        assert (await store.page(PRINCIPALS, containing=("display_name", text))).items == ()


async def walked(  # noqa: PLR0913 - a query, spelled out
    store: Store,
    collection: Collection[T],
    order: Sort,
    *,
    limit: int,
    where: Mapping[str, ColumnValue] | None = None,
    under: tuple[str, str] | None = None,
    containing: tuple[str, str] | None = None,
) -> list[T]:
    """All records of a selection, page by page."""
    found: list[T] = []
    after: str | None = None
    while True:
        page = await store.page(
            collection, where=where, under=under, containing=containing, order=order, after=after, limit=limit
        )
        found += [one.value for one in page.items]
        after = page.after
        if after is None:
            return found
        assert len(page.items) == limit


def _principal(number: int, name: str, resource: str | None, even: bool) -> Principal:  # noqa: FBT001 - drawn
    made = sample.principal(f"p{number}")
    return replace(made, display_name=name, resource_id=resource, tenant_id="even" if even else "odd")
