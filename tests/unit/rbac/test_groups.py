from collections.abc import AsyncIterator

import pytest

from idplane.directory.people import new_group, new_user
from idplane.model.directory import GroupDetails, Membership, Principal, UserDetails
from idplane.ports.collections import MEMBERSHIPS, PRINCIPALS
from idplane.ports.store import ABSENT, Batch, Delete, Put
from idplane.rbac import Groups
from idplane.store.sqlite import SqliteStore
from idplane.testing.worlds import FakeClock, SeededEntropy, memory_store

TENANT = "00000000-0000-4000-8000-00000000000a"


class World:
    def __init__(self, store: SqliteStore, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.entropy = SeededEntropy()
        self.groups = Groups(store=store)

    async def add(self, made: Principal) -> str:
        await self.store.commit(Batch.of(Put(collection=PRINCIPALS, value=made, expect=ABSENT)))
        return made.id

    async def group(self, name: str) -> str:
        details = GroupDetails(mail_nickname=name)
        now = self.clock.now()
        return await self.add(new_group(tenant_id=TENANT, display_name=name, details=details, entropy=self.entropy, now=now))

    async def user(self, name: str) -> str:
        details = UserDetails(user_principal_name=f"{name}@home.example")
        now = self.clock.now()
        return await self.add(new_user(tenant_id=TENANT, display_name=name, details=details, entropy=self.entropy, now=now))

    async def join(self, group: str, *members: str) -> None:
        made = (Membership(group_id=group, member_id=one) for one in members)
        await self.store.commit(Batch.of(*(Put(collection=MEMBERSHIPS, value=one, expect=ABSENT) for one in made)))

    async def leave(self, group: str, member: str) -> None:
        key = Membership(group_id=group, member_id=member).key
        await self.store.commit(Batch.of(Delete(collection=MEMBERSHIPS, key=key)))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = FakeClock()
    opened = World(await memory_store(clock), clock)
    yield opened
    opened.groups.close()
    await opened.store.close()


async def test_nobody_is_in_no_group(world: World) -> None:
    assert await world.groups.of("nobody") == ()
    assert await world.groups.of(await world.user("ada")) == ()


async def test_groups_of_groups_are_nearest_first(world: World) -> None:
    ada, team, floor, house = await world.user("ada"), *[await world.group(one) for one in ("team", "floor", "house")]
    await world.join(house, floor)
    await world.join(floor, team)
    await world.join(team, ada)
    assert await world.groups.of(ada) == (team, floor, house)
    assert await world.groups.of(team) == (floor, house)
    assert await world.groups.of(house) == ()


async def test_what_changes_anywhere_on_the_way_counts_at_once(world: World) -> None:
    ada, team, house = await world.user("ada"), await world.group("team"), await world.group("house")
    await world.join(team, ada)
    assert await world.groups.of(ada) == (team,)
    await world.join(house, team)
    assert await world.groups.of(ada) == (team, house)
    await world.leave(house, team)
    assert await world.groups.of(ada) == (team,)
    await world.leave(team, ada)
    assert await world.groups.of(ada) == ()


async def test_groups_that_contain_one_another(world: World) -> None:
    ada, one, two, three = await world.user("ada"), *[await world.group(str(number)) for number in range(3)]
    await world.join(two, one)
    await world.join(three, two)
    await world.join(one, three, ada)
    assert set(await world.groups.of(ada)) == {one, two, three}
    assert set(await world.groups.of(one)) == {two, three}


async def test_two_ways_into_a_group_are_one_membership(world: World) -> None:
    ada, left, right, top = await world.user("ada"), *[await world.group(one) for one in ("left", "right", "top")]
    await world.join(left, ada)
    await world.join(right, ada)
    await world.join(top, left, right)
    found = await world.groups.of(ada)
    assert sorted(found) == sorted((left, right, top))
    assert found[-1] == top


async def test_a_listener_that_was_closed_hears_nothing(world: World) -> None:
    other = Groups(store=world.store)
    ada, team = await world.user("ada"), await world.group("team")
    assert await other.of(ada) == ()
    other.close()
    await world.join(team, ada)
    assert await other.of(ada) == ()
    assert await world.groups.of(ada) == (team,)
