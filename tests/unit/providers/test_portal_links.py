from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.providers.management_world import CONTRIBUTOR, OWNER, READER, World, guid
from tests.unit.providers.people_world import ADA, EVE, OFF, open_directory

from idplane.model.failure import Failure, FailureKind
from idplane.model.portal import LINK_LIFETIME
from idplane.model.user_sessions import fingerprint
from idplane.ports.collections import ACTIVITY, PORTAL_LINKS


@pytest.fixture
async def world() -> AsyncIterator[World]:
    opened = await open_directory()
    yield opened
    await opened.store.close()


async def create(world: World, user: str = "first", *, caller: str = OWNER) -> Any:
    path = f"/providers/Idplane.Directory/portalLinks/{user}/create"
    answer: Any = (await world.call("POST", path, {}, caller=caller, version="2026-11-01")).body
    return answer["properties"]


@pytest.mark.parametrize("user", ["first", "FIRST", ADA, ADA.upper(), "ada@home.example", "ADA@home.example"])
async def test_a_link_is_for_the_user_that_is_named_and_its_code_is_kept_nowhere(world: World, user: str) -> None:
    made = await create(world, user)
    assert (made["user"], made["userId"]) == ("ada@home.example", ADA)
    assert made["link"].endswith(f"/portal/sign-in#{made['code']}")
    (kept,) = await world.store.all(PORTAL_LINKS)
    assert (kept.value.id, kept.value.principal_id, kept.value.made_by) == (fingerprint(made["code"]), ADA, OWNER)
    assert kept.value.expires_at == world.clock.now() + LINK_LIFETIME
    events = repr(await world.store.read_log(ACTIVITY, limit=10))
    assert made["code"] not in repr(kept) + events
    assert "Idplane.Directory/portalLinks/create/action" in events


@pytest.mark.parametrize("user", [EVE, "eve@home.example", OFF, "off@home.example", OWNER, "nobody", guid(0x99)])
async def test_there_is_none_for_who_could_not_sign_in(world: World, user: str) -> None:
    with pytest.raises(Failure) as raised:
        await create(world, user)
    assert raised.value.kind is FailureKind.INVALID_PARAMETER
    assert await world.store.all(PORTAL_LINKS) == ()


@pytest.mark.parametrize("caller", [CONTRIBUTOR, READER])
async def test_who_may_not_give_any_access_makes_none(world: World, caller: str) -> None:
    with pytest.raises(Failure) as raised:
        await create(world, caller=caller)
    assert raised.value.kind is FailureKind.FORBIDDEN
    assert await world.store.all(PORTAL_LINKS) == ()
