"""What must be so between servers that share a PostgreSQL, each with connections of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from tests.attacks.joining import join_world
from tests.needed import postgres

from idplane.model.enrollments import JoinMethod
from idplane.model.events import EventStatus
from idplane.ports.collections import ACTIVITY
from idplane.store.postgres import PostgresStore
from idplane.testing.postgres_cluster import Cluster
from idplane.testing.worlds import FakeClock

pytestmark = pytest.mark.wide


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with postgres() as found:
        yield found


async def test_of_a_hundred_uses_of_a_token_at_once_one_wins(running: Cluster) -> None:
    connection = await asyncpg.connect(running.url("postgres"))
    await connection.execute("create database joining")
    await connection.close()
    stores = [await PostgresStore.open(running.url("joining"), clock=FakeClock()) for _ in range(2)]
    async with join_world(stores=stores) as world:
        token = await world.token(await world.enrollment(JoinMethod.TOKEN))
        answers = await asyncio.gather(
            *(world.join(JoinMethod.TOKEN, {"token": token}, replica=at % 2, address=f"192.0.2.{at}") for at in range(100))
        )
        assert sorted(one.status for one in answers) == [200, *[403] * 99]
        assert len(await world.agents()) == 1
        events = [one.event.status for one in await world.store.read_log(ACTIVITY, limit=200)]
        assert events.count(EventStatus.FAILED) == 99
