"""Graph leaves somebody who can assign roles in the tenant, unless it is told that this is meant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.graph.graph_world import TENANT, GraphWorld

from idplane.model.directory import Subscription
from idplane.ports.collections import ACTIVITY, SUBSCRIPTIONS

LAST = (412, "CannotDeleteLastRbacAdminAssignment")


@pytest.fixture
async def world() -> AsyncIterator[GraphWorld]:
    opened = await GraphWorld.open()
    await opened.add(SUBSCRIPTIONS, Subscription(id="33333333-3333-4333-8333-333333333333", tenant_id=TENANT, display_name="s"))
    yield opened
    await opened.store.close()


@pytest.mark.parametrize(("method", "body"), [("DELETE", None), ("PATCH", {"accountEnabled": False})])
async def test_the_last_owner_is_neither_deleted_nor_disabled(world: GraphWorld, method: str, body: Any) -> None:
    path = f"/servicePrincipals/{world.admin.id}"
    answer = await world.call(method, path, body)
    assert answer.refusal == LAST
    logged = await world.store.read_log(ACTIVITY)
    assert (logged[0].event.status.value, logged[0].event.sub_status) == ("Failed", LAST[1])
    assert (await world.call("GET", path)).status == 200
    assert (await world.call("PATCH", path, {"notes": "stays"})).status == 204
    second = await world.application("second")
    await world.own(second)
    assert (await world.call(method, path, body)).status == 204
    assert (await world.call(method, f"/servicePrincipals/{second.id}", body, caller=second)).refusal == LAST
    assert (await world.call(method, f"/servicePrincipals/{second.id}?force=true", body, caller=second)).status == 204


async def test_a_group_that_owns_keeps_a_member(world: GraphWorld) -> None:
    group = await world.call(
        "POST", "/groups", {"displayName": "g", "mailEnabled": False, "mailNickname": "g", "securityEnabled": True}
    )
    member = await world.application("member")
    found = await world.principal(group["id"])
    assert found is not None
    await world.own(found)
    assert (await world.call("DELETE", f"/servicePrincipals/{world.admin.id}")).refusal == LAST, "an empty group owns nothing"
    reference = {"@odata.id": f"https://localhost:8443/v1.0/directoryObjects/{member.id}"}
    assert (await world.call("POST", f"/groups/{found.id}/members/$ref", reference)).status == 204
    await world.own(member)
    assert (await world.call("DELETE", f"/servicePrincipals/{world.admin.id}")).status == 204
    paths = (f"/servicePrincipals/{member.id}", f"/groups/{found.id}")
    assert (await world.call("DELETE", paths[0], caller=member)).refusal == LAST
    assert (await world.call("DELETE", paths[1], caller=member)).status == 204, "the member owns by itself, too"
