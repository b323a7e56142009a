"""Moves and what is locked or disabled."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.providers.moving import (
    FAR,
    OTHER,
    SECOND,
    WEB,
    ask_to_move,
    moved_away,
    open_moves,
)
from tests.unit.providers.surface_plane import (
    COMPUTE,
    GROUP,
    SUB,
    OpenPlane,
    vm,
)

from idplane.ports.collections import (
    SUBSCRIPTIONS,
)
from idplane.ports.store import Batch, Put

# Locks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["CanNotDelete", "ReadOnly"])
@pytest.mark.parametrize("place", [SUB, GROUP, "site", "slot"])
async def test_what_is_locked_stays(open_plane: OpenPlane, level: str, place: str) -> None:
    plane = await open_moves(open_plane)
    site = f"{GROUP}/providers/Microsoft.Web/sites/shop"
    for url in (site, f"{site}/slots/blue"):
        await plane.put(url, {"location": "westeurope"}, version=WEB)
    scope = {"site": site, "slot": f"{site}/slots/blue"}.get(place, place)
    lock = f"{scope}/providers/Microsoft.Authorization/locks/l"
    await plane.put(lock, {"properties": {"level": level}}, version="2016-09-01")
    reply = await ask_to_move(plane, site, to=FAR)
    assert (reply.status, reply.code) == (409, "ScopeLocked")
    assert (await plane.call("DELETE", lock, version="2016-09-01")).status in (200, 204)
    await moved_away(plane, site, to=FAR)


async def test_a_group_that_may_not_change_takes_nothing_in(open_plane: OpenPlane) -> None:
    plane = await open_moves(open_plane)
    await plane.machine("vm")
    lock = f"{OTHER}/providers/Microsoft.Authorization/locks/l"
    await plane.put(lock, {"properties": {"level": "ReadOnly"}}, version="2016-09-01")
    assert (await ask_to_move(plane, vm("vm"))).code == "ScopeLocked"
    refused = await ask_to_move(plane, vm("vm"), word="validateMoveResources")
    assert (await plane.call("GET", refused.headers["location"])).code == "ScopeLocked"
    # What may not be deleted there may well come there.
    await plane.put(lock, {"properties": {"level": "CanNotDelete"}}, version="2016-09-01")
    await moved_away(plane, vm("vm"))


async def test_a_disabled_subscription_takes_nothing_in(open_plane: OpenPlane) -> None:
    plane = await open_moves(open_plane)
    await plane.machine("vm")
    found = await plane.store.get(SUBSCRIPTIONS, SECOND)
    assert found is not None
    disabled = replace(found.value, state="Disabled")
    await plane.store.commit(Batch.of(Put(collection=SUBSCRIPTIONS, value=disabled, expect=found.version)))
    assert (await ask_to_move(plane, vm("vm"), to=FAR)).status == 409
    assert (await plane.get(vm("vm"), version=COMPUTE))["id"] == vm("vm")
