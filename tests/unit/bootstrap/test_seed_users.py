"""The user whom every tenant has from its first start, whenever that was."""

from collections.abc import AsyncIterator

import pytest

from idplane.bootstrap.seed import ensure_installation
from idplane.bootstrap.world import World
from idplane.directory.identities import removal_of
from idplane.model.directory import HOME_USER, PrincipalType
from idplane.model.profile import AZURE
from idplane.ports.collections import PRINCIPALS, ROLE_ASSIGNMENTS, SETTINGS
from idplane.ports.store import Batch, Delete
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = FakeClock()
    opened = World(
        clock=clock, entropy=SeededEntropy(), store=await memory_store(clock), custody=MemoryCustody(), profile=AZURE
    )
    yield opened
    await opened.store.close()


async def users(world: World) -> list[str]:
    rows = await world.store.all(PRINCIPALS, where={"type": PrincipalType.USER.value})
    return [row.value.caller_name for row in rows]


async def test_the_first_start_makes_an_owner_without_a_credential(world: World) -> None:
    made = await ensure_installation(world)
    assert await users(world) == ["admin@idplane.onmicrosoft.com"]
    (role,) = await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": made.user_id})
    assert (role.value.scope, role.value.principal_type) == ("/", "User")


async def test_later_starts_make_no_other(world: World) -> None:
    first = await ensure_installation(world)
    assert await ensure_installation(world) == first
    assert len(await users(world)) == 1


async def test_an_older_installation_gets_one(world: World) -> None:
    made = await ensure_installation(world)
    older = await removal_of(world.store, made.user_id) + Batch.of(Delete(collection=SETTINGS, key=HOME_USER))
    await world.store.commit(older)
    assert (await ensure_installation(world)).user_id != made.user_id
    assert await users(world) == ["admin@idplane.onmicrosoft.com"]


async def test_whoever_was_deleted_stays_deleted(world: World) -> None:
    made = await ensure_installation(world)
    await world.store.commit(await removal_of(world.store, made.user_id))
    assert (await ensure_installation(world)).user_id == made.user_id
    assert await users(world) == []
