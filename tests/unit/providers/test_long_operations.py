"""Answers with 202, and what is told to whom about how it ended."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.providers.surface_plane import AWAY, FOREIGN, GROUP, SUB, OpenPlane, Plane

from idplane.model.failure import Failure, FailureKind
from idplane.model.long_operations import KEPT, LongOperation
from idplane.ports.collections import LONG_OPERATIONS, RESOURCES
from idplane.ports.store import ABSENT, Batch, Put


async def _deleted(plane: Plane, group: str = GROUP, *, by: str = "owner") -> str:
    reply = await plane.call("DELETE", group, by=by)
    assert (reply.status, reply.body) == (202, None)
    assert reply.headers["retry-after"] == "1"
    return reply.headers["location"]


async def test_a_deleted_group_is_gone_when_the_202_is_read(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.machine("one")
    address = await _deleted(plane)
    assert address.startswith(f"https://localhost:8443{SUB}/operationresults/")
    assert await plane.store.all(RESOURCES) == ()
    for _ in range(2):
        reply = await plane.call("GET", address)
        assert (reply.status, reply.body) == (200, None)


async def test_whoever_began_it_hears_of_it_even_when_his_rights_went_with_it(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.person("guest", ("Contributor", GROUP))
    address = await _deleted(plane, by="guest")
    assert (await plane.call("GET", address, by="guest")).status == 200
    assert (await plane.call("GET", GROUP, by="guest")).status == 403


@pytest.mark.parametrize("by", ["contributor", "reader", "nobody"])
async def test_nobody_else_hears_of_it(open_plane: OpenPlane, by: str) -> None:
    plane = await open_plane()
    reply = await plane.call("GET", await _deleted(plane), by=by)
    assert (reply.status, reply.code) == (404, "ResourceNotFound")


async def test_no_other_tenant_hears_of_it(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    address = await _deleted(plane)
    assert (await plane.call("GET", address, by="stranger")).status == 401
    moved = address.replace(SUB.rpartition("/")[2], FOREIGN)
    assert (await plane.call("GET", moved, by="stranger")).status == 404
    found = (await plane.store.all(LONG_OPERATIONS))[0].value
    foreign = replace(found, id="0" * 46, tenant_id=AWAY, principal_id=plane.people["stranger"])
    await plane.store.commit(Batch.of(Put(collection=LONG_OPERATIONS, value=foreign, expect=ABSENT)))
    assert (await plane.call("GET", f"{SUB}/operationresults/{'0' * 46}")).status == 404


async def test_there_is_no_list_and_no_other_method(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    address = await _deleted(plane)
    for method in ("PUT", "PATCH", "DELETE"):
        assert (await plane.call(method, address, {})).status == 405
    assert (await plane.call("GET", f"{SUB}/operationresults")).status in (404, 405)
    assert (await plane.call("GET", f"{SUB}/operationresults/guess")).status == 404
    assert (await plane.call("GET", address, by=None)).status == 401


async def test_an_end_is_forgotten_and_swept_by_later_ones(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    address = await _deleted(plane)
    plane.clock.advance(KEPT - timedelta(seconds=1))
    assert (await plane.call("GET", address)).status == 200
    plane.clock.advance(timedelta(seconds=1))
    assert (await plane.call("GET", address)).status == 404
    await plane.put(GROUP, {"location": "westeurope"})
    await _deleted(plane)
    assert len(await plane.store.all(LONG_OPERATIONS)) == 1


async def test_a_group_that_is_not_there_begins_nothing(open_plane: OpenPlane) -> None:
    plane = await open_plane(group=False)
    reply = await plane.call("DELETE", GROUP)
    assert (reply.status, reply.code) == (404, "ResourceGroupNotFound")
    assert await plane.store.all(LONG_OPERATIONS) == ()


async def test_a_failed_end_is_told_in_its_own_words(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    failure = Failure(FailureKind.CONFLICT, "The words.", code="TheCode")
    one = LongOperation(
        id="1" * 46,
        tenant_id="a1000000-0000-4000-8000-000000000001",
        subscription_id=SUB.rpartition("/")[2],
        principal_id=plane.people["owner"],
        began_at=plane.clock.now(),
        status=204,
        failure=failure.kind.name,
        detail=failure.detail,
        data=dict(failure.data),
    )
    await plane.store.commit(Batch.of(Put(collection=LONG_OPERATIONS, value=one, expect=ABSENT)))
    reply = await plane.call("GET", f"{SUB}/operationResults/{one.id}")
    assert (reply.status, reply.code, reply.message) == (409, "TheCode", "The words.")
