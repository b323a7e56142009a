"""A client assertion that somebody else has seen, shown to another server than the one that took it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import asyncpg
import pytest
from tests.attacks.joining import JoinWorld, join_world
from tests.attacks.replaying import Client, client_of
from tests.attacks.table import met, met_each
from tests.needed import postgres

from idplane.ports.collections import SIGN_INS
from idplane.store.postgres import PostgresStore
from idplane.testing.postgres_cluster import Cluster
from idplane.testing.worlds import FakeClock


@pytest.fixture
async def world() -> AsyncIterator[JoinWorld]:
    async with join_world(replicas=2) as opened:
        yield opened


async def records(world: JoinWorld) -> list[tuple[int, bool]]:
    """Codes of all sign-ins, and whether a token came of them."""
    return [(row.event.error_code, row.event.token_id is not None) for row in await world.store.read_log(SIGN_INS, limit=1000)]


async def test_what_one_server_took_no_other_takes(world: JoinWorld) -> None:
    client = await client_of(world)
    assertion = client.assertion()
    assert (await client.token(assertion, replica=0)).status == 200
    for replica in (1, 0, 1):
        answer = await client.token(assertion, replica=replica)
        assert (answer.status, answer.body["error"], answer.body["error_codes"]) == (401, "invalid_client", [50013])
        assert assertion not in str(answer.body)
        await met("assertion-again", world, answer)
    assert Counter(await records(world)) == {(0, True): 1, (50013, False): 3}
    assert (await client.token(client.assertion(), replica=1)).status == 200


async def test_a_server_that_starts_later_knows_as_well(world: JoinWorld) -> None:
    client = await client_of(world)
    assertion = client.assertion()
    assert (await client.token(assertion)).status == 200
    world.clock.advance(timedelta(minutes=9))
    await world.servers[1].close()
    world.servers[1] = await type(world.servers[1]).open(world.servers[0].world)
    assert (await client.token(assertion, replica=1)).status == 401


async def _hundred(world: JoinWorld, client: Client) -> None:
    assertion = client.assertion()
    answers = await asyncio.gather(*(client.token(assertion, replica=at % 2) for at in range(100)))
    assert Counter(one.status for one in answers) == {200: 1, 401: 99}
    assert Counter(await records(world)) == {(0, True): 1, (50013, False): 99}
    await met_each("assertion-at-once", world, [one for one in answers if one.status != 200])


async def test_of_a_hundred_at_once_on_two_servers_one_wins(world: JoinWorld) -> None:
    await _hundred(world, await client_of(world))


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with postgres() as found:
        yield found


@pytest.mark.wide
async def test_of_a_hundred_at_once_over_postgresql_one_wins(running: Cluster) -> None:
    connection = await asyncpg.connect(running.url("postgres"))
    await connection.execute("create database replaying")
    await connection.close()
    stores = [await PostgresStore.open(running.url("replaying"), clock=FakeClock()) for _ in range(2)]
    async with join_world(stores=stores) as world:
        await _hundred(world, await client_of(world))
