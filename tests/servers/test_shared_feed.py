"""What a server does when it can no longer hear what the others change."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlencode

import asyncpg
import pytest
from tests.needed import postgres
from tests.servers.server_world import psql

from idplane.bootstrap.embedded import InProcessUpstream
from idplane.bootstrap.operator import OperatorKey
from idplane.bootstrap.seed import trust_operator
from idplane.bootstrap.server import Server
from idplane.bootstrap.world import World
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import OPEN
from idplane.ports.collections import SETTINGS
from idplane.ports.store import Batch, Change, TrimChanges
from idplane.store.postgres import PostgresStore
from idplane.store.schema import Migration, migrations
from idplane.testing import store_samples as sample
from idplane.testing.postgres_cluster import Cluster
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy
from idplane.web.origins import Origins

pytestmark = pytest.mark.wide

_numbers = itertools.count()
_MORE = Migration(version=9000, name="9000_more", sql="create table more (x int);\nalter table settings add column y text;")
_WORSE = Migration(version=9001, name="9001_worse", sql="alter table settings drop column y;")
_NOW = (*migrations("postgres"),)
_LAST = _NOW[-1].version
_COMPATIBLE = Migration(version=9000, name=_MORE.name, sql=f"-- Oldest program: {_LAST:04}\n{_MORE.sql}")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with postgres() as running:
        yield running


@pytest.fixture
def url(cluster: Cluster) -> str:
    name = f"feed{next(_numbers)}"
    psql(cluster, "postgres", f"create database {name}")
    return cluster.url(name)


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    opened = await PostgresStore.open(url, clock=FakeClock())
    yield opened
    await opened.close()


class _Replica:
    """A server over the database, on a clock of its own."""

    def __init__(self, server: Server, clock: FakeClock, key: OperatorKey) -> None:
        self.server = server
        self.clock = clock
        self._key = key
        self._upstream = InProcessUpstream(server.app(Origins.local(443)), host="localhost")

    @classmethod
    async def open(cls, url: str, clock: FakeClock) -> _Replica:
        store = await PostgresStore.open(url, clock=clock)
        entropy = SeededEntropy(url)
        world = World(clock=clock, entropy=entropy, store=store, custody=MemoryCustody(), profile=OPEN)
        server = await Server.open(world)
        key = OperatorKey.create(clock, entropy)
        await trust_operator(world, server.installation.operator, key.certificate)
        return cls(server, clock, key)

    async def token(self) -> tuple[int, dict[str, object]]:
        tenant = self.server.installation.tenant.id
        path = f"/{tenant}/oauth2/v2.0/token"
        form = self._key.token_request(
            client_id=self.server.installation.operator.client_id,
            token_endpoint=f"https://localhost{path}",
            resource="https://management.azure.com",
            clock=self.clock,
            entropy=SeededEntropy(str(next(_numbers))),
        )
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = await self._upstream.send("POST", path, headers, urlencode(form).encode())
        return answer.status, json.loads(answer.body)

    async def status(self, path: str) -> int:
        return (await self._upstream.send("GET", path, {}, b"")).status

    async def close(self) -> None:
        await self.server.close()
        await self.server.world.store.close()


@pytest.fixture
async def replica(url: str) -> AsyncIterator[_Replica]:
    made = await _Replica.open(url, FakeClock())
    yield made
    await made.close()


async def _until(condition: Callable[[], bool], then: Callable[[], None]) -> None:
    for _ in range(6000):
        if condition():
            return
        then()
        await asyncio.wait({asyncio.ensure_future(asyncio.to_thread(int))}, timeout=1)
        await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=0.01)
    pytest.fail("it never came to that")


class TestStaleness:
    async def test_a_server_that_cannot_read_the_feed_issues_nothing_until_it_can(self, replica: _Replica, url: str) -> None:
        other = await asyncpg.connect(url)
        await other.execute("begin; lock table changes in access exclusive mode")
        assert (await replica.token())[0] == 200
        replica.clock.advance(4.9)
        assert replica.server.is_current()
        replica.clock.advance(0.2)
        assert not replica.server.is_current()
        status, body = await replica.token()
        assert status == 503
        assert "has not heard" in str(body["error_description"])
        for path in ("/subscriptions?api-version=2022-12-01", "/v1.0/users", "/agent/v1/changes"):
            assert await replica.status(path) == 503
        tenant = replica.server.installation.tenant.id
        for path in ("discovery/v2.0/keys", "v2.0/.well-known/openid-configuration"):
            assert await replica.status(f"/{tenant}/{path}") == 200
        await other.execute("rollback")
        await _until(replica.server.is_current, lambda: replica.clock.advance(1))
        assert (await replica.token())[0] == 200
        await other.close()

    async def test_a_server_without_a_database_issues_nothing_until_it_is_back(self) -> None:
        with postgres("-c fsync=on") as running:
            replica = await _Replica.open(running.url("postgres"), FakeClock())
            running.stop()
            status, _ = await replica.token()
            assert status == 503
            replica.clock.advance(10)
            assert not replica.server.is_current()
            running.start()
            await _until(replica.server.is_current, lambda: replica.clock.advance(1))
            assert (await replica.token())[0] == 200
            await replica.close()

    async def test_one_that_was_frozen_hears_first_and_answers_then(self, replica: _Replica) -> None:
        replica.clock.advance(600)
        assert (await replica.token())[0] == 503
        await _until(replica.server.is_current, lambda: replica.clock.advance(0.1))
        assert (await replica.token())[0] == 200

    async def test_one_that_missed_changes_for_good_never_answers_again(self, replica: _Replica, url: str) -> None:
        lost = await asyncpg.connect(url)
        end = await replica.server.world.store.position()
        await lost.execute("update feed_end set position = position + 10")
        await lost.execute("insert into changes select $1::bigint + 10, 'settings', 'a', null, 0", end)
        store = replica.server.world.store
        await _until(lambda: store.freshness() == float("inf"), lambda: replica.clock.advance(1))
        replica.clock.advance(1)
        assert (await replica.token())[0] == 503
        await lost.close()

    async def test_one_whose_database_went_back_in_time_never_answers_again(self, replica: _Replica, url: str) -> None:
        restored = await asyncpg.connect(url)
        await restored.execute("delete from changes where position > 1")
        await restored.execute("update feed_end set position = 1")
        store = replica.server.world.store
        await _until(lambda: store.freshness() == float("inf"), lambda: replica.clock.advance(1))
        assert (await replica.token())[0] == 503
        await restored.close()


class TestFeed:
    async def test_changes_arrive_within_a_beat_without_any_notification(self, url: str) -> None:
        """The listening connections die again and again; only reading every second is left."""
        clock = FakeClock()
        one, two = await PostgresStore.open(url, clock=clock), await PostgresStore.open(url, clock=clock)
        heard: list[Change] = []
        two.subscribe(heard.extend)
        killer = await asyncpg.connect(url)
        for number in range(5):
            await killer.execute("select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%'")
            await one.commit(Batch.of(sample.create(SETTINGS, sample.setting(str(number)))))
            clock.advance(1)
            await _until(lambda number=number: str(number) in {it.key for it in heard}, lambda: clock.advance(1))  # type: ignore[misc]  # bound now
        assert [it.position for it in heard] == list(range(1, 6))
        await killer.close()
        await one.close()
        await two.close()

    async def test_trimming_disturbs_nobody_who_follows(self, store: PostgresStore, url: str) -> None:
        two = await PostgresStore.open(url, clock=FakeClock())
        heard: list[Change] = []
        two.subscribe(heard.extend)
        for number in range(40):
            await store.commit(Batch.of(sample.create(SETTINGS, sample.setting(str(number)))))
            await store.commit(Batch.of(TrimChanges(keep=10, limit=5)))
        await _until(lambda: len(heard) == 40, lambda: None)
        assert [it.position for it in heard] == list(range(1, 41))
        assert len(await store.changes(0)) == 10
        assert two.freshness() < 5
        await two.close()


class TestUpgrade:
    async def test_two_versions_work_at_once_while_one_migrates(self, url: str) -> None:
        old = await PostgresStore.open(url, clock=FakeClock())
        done = asyncio.Event()

        async def work(store: PostgresStore, name: str) -> int:
            count = 0
            while not done.is_set():
                await store.commit(Batch.of(sample.create(SETTINGS, sample.setting(f"{name}{count}"))))
                count += 1
            return count

        working = asyncio.ensure_future(work(old, "old"))
        new = await PostgresStore.open(url, clock=FakeClock(), schema=(*_NOW, _COMPATIBLE))
        also = asyncio.ensure_future(work(new, "new"))
        again = await PostgresStore.open(url, clock=FakeClock())
        assert await again.get(SETTINGS, "old0") is not None
        while await new.count(SETTINGS, limit=200) < 200:
            await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=0.01)
        done.set()
        counts = await working, await also
        assert min(counts) > 0
        assert await new.position() == sum(counts)
        for store in (old, new, again):
            await store.close()

    @pytest.mark.parametrize("newer", [(_MORE, _WORSE), (_COMPATIBLE, _WORSE)], ids=["undeclared", "dropped"])
    async def test_what_is_too_new_is_refused_in_one_sentence(self, url: str, newer: tuple[Migration, ...]) -> None:
        await (await PostgresStore.open(url, clock=FakeClock(), schema=(*_NOW, *newer))).close()
        with pytest.raises(Failure, match=rf"newer idplane \(its schema is 9001, this program knows {_LAST}\)") as caught:
            await PostgresStore.open(url, clock=FakeClock())
        assert caught.value.kind is FailureKind.UNAVAILABLE

    async def test_a_migration_steps_back_from_a_table_that_is_in_use(self, url: str, store: PostgresStore) -> None:
        reader = await asyncpg.connect(url)
        await reader.execute("begin; select * from settings")
        migrating = asyncio.ensure_future(PostgresStore.open(url, clock=FakeClock(), schema=(*_NOW, _COMPATIBLE)))
        for number in range(30):
            await store.commit(Batch.of(sample.create(SETTINGS, sample.setting(str(number)))))
            await asyncio.wait({migrating}, timeout=0.1)
        assert not migrating.done()
        await reader.execute("commit")
        await (await migrating).close()
        await reader.close()


async def test_of_many_servers_that_start_on_an_empty_database_each_finds_the_same_installation(url: str) -> None:
    async def start() -> Server:
        store = await PostgresStore.open(url, clock=FakeClock(), connections=2)
        entropy = SeededEntropy(str(next(_numbers)))
        return await Server.open(World(clock=FakeClock(), entropy=entropy, store=store, custody=MemoryCustody(), profile=OPEN))

    servers = await asyncio.gather(*(start() for _ in range(6)))
    assert len({one.installation.tenant.id for one in servers}) == 1
    assert len({one.installation.user_id for one in servers}) == 1
    assert len({one.tls.ca_pem for one in servers}) == 1
    assert len({json.dumps(one.ring.jwks()) for one in servers}) == 1
    for one in servers:
        await one.close()
        await one.world.store.close()
