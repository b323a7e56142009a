"""The matrix of revocations over PostgreSQL: two servers that share nothing but the database."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import asyncpg
import pytest
from tests.needed import postgres
from tests.stories.test_revocation_matrix import ROWS, Stage, check

from idplane.bootstrap.server import Server
from idplane.bootstrap.world import World
from idplane.model.profile import Profile
from idplane.store.postgres import PostgresStore
from idplane.testing.local import LocalPlane
from idplane.testing.postgres_cluster import Cluster
from idplane.testing.worlds import MemoryCustody

pytestmark = pytest.mark.wide

_numbers = itertools.count()
CUSTODY = MemoryCustody()


class _PostgresPlane(LocalPlane):
    def __init__(self, url: str) -> None:
        self._url = url
        super().__init__()

    async def _world(self, profile: Profile) -> World:
        store = await PostgresStore.open(self._url, clock=self.clock)
        return World(clock=self.clock, entropy=self._entropy, store=store, custody=CUSTODY, profile=profile)

    async def another(self) -> Server:
        return await Server.open(await self._world(self._plane.server.world.profile))


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with postgres() as found:
        yield found


@pytest.fixture
def plane(running: Cluster) -> Iterator[_PostgresPlane]:
    import asyncio  # noqa: PLC0415 - for one statement

    name = f"m{next(_numbers)}"

    async def made() -> None:
        connection = await asyncpg.connect(running.url("postgres"))
        await connection.execute(f"create database {name}")
        await connection.close()

    asyncio.run(made())
    opened = _PostgresPlane(running.url(name))
    with opened.names():
        yield opened
    opened.close()


@pytest.mark.parametrize("name", ROWS)
def test_every_cell(plane: _PostgresPlane, name: str) -> None:
    other = plane.run(plane.another())
    try:
        check(Stage(plane, other, user_assigned=ROWS[name].user_assigned), name)
    finally:
        plane.run(other.close())
        plane.run(other.world.store.close())
