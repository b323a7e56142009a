"""The store suite on PostgreSQL, over a cluster of its own made from Debian's package."""

import asyncio
import itertools
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from tests.needed import postgres

from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import ACTIVITY, SETTINGS, SIGN_INS
from idplane.ports.store import ABSENT, ANY, Append, Batch, Change, CommitRefused, Expect, Order, RefusedBecause, Require
from idplane.store.listeners import Listeners
from idplane.store.opening import open_store
from idplane.store.postgres import PostgresStore
from idplane.store.postgres_connections import Address, Connections
from idplane.store.postgres_feed import PostgresFeed
from idplane.store.sqlite import SqliteStore
from idplane.testing import store_samples as sample
from idplane.testing.postgres_cluster import Cluster
from idplane.testing.store_conformance import Opener, SharedStoreConformance, StoreConformance, committer, verify_acknowledged
from idplane.testing.worlds import FakeClock

pytestmark = pytest.mark.wide

_numbers = itertools.count()
_SOCKET = ".s.PGSQL.5432"


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with postgres() as found:
        yield found


@pytest.fixture
async def url(server: Cluster) -> str:
    name = f"t{next(_numbers)}"
    connection = await asyncpg.connect(server.url("postgres"))
    await connection.execute(f"create database {name}")
    await connection.close()
    return server.url(name)


class TestPostgres(StoreConformance, SharedStoreConformance):
    @pytest.fixture
    def opener(self, url: str) -> Opener:
        return lambda: PostgresStore.open(url, clock=FakeClock())

    async def test_what_a_killed_replica_acknowledged_is_there(self, url: str) -> None:
        with subprocess.Popen(committer(url), stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220 - nothing else to do meanwhile
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(100)]
            process.kill()
            told += process.stdout.readlines()
        store = await PostgresStore.open(url, clock=FakeClock())
        await verify_acknowledged(store, [line.strip() for line in told if line.endswith("\n")])
        await store.close()


class TestReplicas:
    @pytest.fixture
    async def replicas(self, url: str) -> AsyncIterator[tuple[PostgresStore, PostgresStore, FakeClock]]:
        clock = FakeClock()
        one, two = await PostgresStore.open(url, clock=clock), await PostgresStore.open(url, clock=clock)
        yield one, two, clock
        await one.close()
        await two.close()

    async def test_a_replica_hears_of_the_others_commits_by_notification(
        self, replicas: tuple[PostgresStore, PostgresStore, FakeClock]
    ) -> None:
        one, two, _ = replicas
        heard = _Heard(two)
        await _put(one, "a")
        await heard.until("a")
        assert tuple(heard.changes) == await one.changes(0)

    async def test_everybody_hears_everything_once_and_in_order(
        self, replicas: tuple[PostgresStore, PostgresStore, FakeClock]
    ) -> None:
        one, two, _ = replicas
        ears = _Heard(one), _Heard(two)
        await asyncio.gather(
            *(_put(store, f"{index}-{number}") for number in range(30) for index, store in enumerate((one, two)))
        )
        for heard in ears:
            await heard.until_count(60)
            assert tuple(heard.changes) == await one.changes(0)

    async def test_the_beat_covers_a_lost_notification(
        self, replicas: tuple[PostgresStore, PostgresStore, FakeClock], url: str
    ) -> None:
        one, two, clock = replicas
        heard = _Heard(two)
        connection = await asyncpg.connect(url)
        for name in ("a", "b"):
            # A row that nobody was notified of, as when the listening connection was down at that moment.
            await connection.execute("update feed_end set position = position + 1")
            await connection.execute("insert into changes select position, 'settings', $1, null, 0 from feed_end", name)
            before = two.heard_at
            clock.advance(1)
            await heard.until(name)
            assert two.heard_at > before
        await connection.close()
        assert await one.position() == 2

    async def test_a_broken_listening_connection_is_replaced(
        self, replicas: tuple[PostgresStore, PostgresStore, FakeClock], url: str
    ) -> None:
        one, two, clock = replicas
        heard = _Heard(two)
        connection = await asyncpg.connect(url)
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()"
        )
        await connection.close()
        await _put(one, "a")
        clock.advance(1)
        await heard.until("a")
        await _put(one, "b")
        await heard.until("b")

    async def test_a_connection_that_lives_and_was_never_told_to_listen_is_replaced(self, url: str, tmp_path: Path) -> None:
        """Its answer did not come in time, while the connection stayed."""
        clock = FakeClock()
        store = await PostgresStore.open(url, clock=clock)
        async with _deaf_once(url, tmp_path) as (deaf, told):
            address = Address(url=deaf, statement_seconds=0.5)
            connections = Connections(address, limit=1)
            feed = PostgresFeed(address, connections, Listeners(), clock=clock, heard=await store.position())
            await feed.listen()
            assert len(told) == 1
            following = asyncio.ensure_future(feed.follow(beat=3600))
            async with asyncio.timeout(20):
                while len(told) < 2:  # noqa: ASYNC110 - looks from outside, at what went over the wire
                    await asyncio.sleep(0.01)
                await _put(store, "a")
                while feed.heard < await store.position():  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await feed.hang_up()
            await connections.close()
        await store.close()

    async def test_a_replica_that_holds_the_turn_is_waited_for(
        self, replicas: tuple[PostgresStore, PostgresStore, FakeClock], url: str
    ) -> None:
        one, two, _ = replicas
        connection = await asyncpg.connect(url)
        await connection.execute("begin; update feed_end set position = position + 1")
        waiting = asyncio.ensure_future(_put(one, "a"))
        await two.commit(Batch.of(Append(log=ACTIVITY, event=sample.activity("1"))))  # takes no turn
        assert await two.position() == 0
        assert not waiting.done()
        await connection.execute("rollback")
        assert await waiting == 1
        await connection.close()

    @pytest.mark.parametrize("expect", [2, 0, ABSENT], ids=str)
    async def test_an_event_with_checks_takes_no_turn_and_is_refused_for_its_checks(
        self, replicas: tuple[PostgresStore, PostgresStore, FakeClock], url: str, expect: int | Expect
    ) -> None:
        one, _, _ = replicas
        await _put(one, "a")
        connection = await asyncpg.connect(url)
        await connection.execute("begin; update feed_end set position = position")
        event = Append(log=SIGN_INS, event=sample.sign_in("1"))
        for right in (1, ANY):
            await one.commit(Batch.of(Require(collection=SETTINGS, key="a", expect=right), event))
        await one.commit(Batch.of(event, Require(collection=SETTINGS, key="b", expect=ABSENT)))
        with pytest.raises(CommitRefused) as caught:
            await one.commit(Batch.of(Require(collection=SETTINGS, key="a", expect=expect), event))
        assert (caught.value.because, caught.value.key) == (RefusedBecause.VERSION, "a")
        with pytest.raises(CommitRefused):
            await one.commit(Batch.of(Require(collection=SETTINGS, key="b", expect=ANY), event))
        assert len(await one.read_log(SIGN_INS)) == 3
        await connection.close()

    async def test_a_read_that_is_given_up_leaves_no_transaction_to_the_next(self, url: str) -> None:
        """What is acknowledged later over the same connection would end with it."""
        store = await PostgresStore.open(url, clock=FakeClock(), connections=1)
        connection = await asyncpg.connect(url)
        await connection.execute("begin; select pg_advisory_xact_lock(1768190060, hashtext('sign_ins'))")
        reading = asyncio.ensure_future(store.read_log(SIGN_INS, order=Order.OLDEST_FIRST))
        while not await connection.fetchval("select count(*) from pg_locks where not granted"):
            assert not reading.done()
        reading.cancel()
        await asyncio.wait({reading})
        await connection.execute("rollback")
        await store.commit(Batch.of(Append(log=SIGN_INS, event=sample.sign_in("1"))))
        await store.close()
        assert await connection.fetchval("select count(*) from sign_ins") == 1
        await connection.close()


class TestServer:
    async def test_a_server_that_is_not_there_is_unavailable(self, server: Cluster) -> None:
        for address in (server.url("absent"), "postgresql://idplane@/x?host=/absent", "postgresql://idplane@127.0.0.1:1/x"):
            with pytest.raises(Failure) as caught:
                await open_store(address, clock=FakeClock())
            assert caught.value.kind is FailureKind.UNAVAILABLE

    async def test_a_crashed_server_loses_nothing_and_serves_again(self) -> None:
        with postgres("-c fsync=on") as running:
            store = await PostgresStore.open(running.url("postgres"), clock=FakeClock())
            await _put(store, "a")
            running.stop()
            for attempt in (
                _put(store, "b"),
                store.get(SETTINGS, "a"),
                store.position(),
                store.read_log(ACTIVITY, order=Order.OLDEST_FIRST),
            ):
                with pytest.raises(Failure) as caught:
                    await attempt
                assert caught.value.kind is FailureKind.UNAVAILABLE
            running.start()
            assert await store.get(SETTINGS, "a") is not None
            assert await _put(store, "c") == 2
            await store.close()

    async def test_a_newer_database_is_refused(self, url: str) -> None:
        await (await PostgresStore.open(url, clock=FakeClock())).close()
        connection = await asyncpg.connect(url)
        await connection.execute("insert into schema_version values (9999, 'later', '')")
        await connection.close()
        with pytest.raises(Failure, match=r"written by a newer idplane \(its schema is 9999, this program knows \d+\)"):
            await PostgresStore.open(url, clock=FakeClock())

    async def test_replicas_that_start_together_migrate_once(self, url: str) -> None:
        stores = await asyncio.gather(*(PostgresStore.open(url, clock=FakeClock()) for _ in range(4)))
        for store in stores:
            await store.close()

    @pytest.mark.parametrize("log", ["activity_log", "sign_ins"])
    @pytest.mark.parametrize("change", ["update {} set doc = ''", "delete from {}", "truncate {}"])
    async def test_logs_are_append_only(self, url: str, log: str, change: str) -> None:
        store = await PostgresStore.open(url, clock=FakeClock())
        await store.commit(
            Batch.of(Append(log=ACTIVITY, event=sample.activity("1")), Append(log=SIGN_INS, event=sample.sign_in("1")))
        )
        await store.close()
        connection = await asyncpg.connect(url)
        with pytest.raises(asyncpg.PostgresError, match="append-only"):
            await connection.execute(change.format(log))
        await connection.close()

    async def test_the_schema_is_the_one_of_sqlite(self, url: str, tmp_path: Path) -> None:
        await (await PostgresStore.open(url, clock=FakeClock())).close()
        await (await SqliteStore.open(tmp_path / "db", clock=FakeClock())).close()
        connection = await asyncpg.connect(url)
        rows = await connection.fetch(
            "select table_name, column_name, is_nullable = 'NO' from information_schema.columns where table_schema = 'public'"
        )
        indexes = await connection.fetch("select tablename, indexname from pg_indexes where schemaname = 'public'")
        await connection.close()
        sqlite = sqlite3.connect(tmp_path / "db")
        expected = sqlite.execute(
            'select m.name, c.name, c."notnull" or c.pk from sqlite_schema m, pragma_table_info(m.name) c'
            " where m.type = 'table' and m.name not like 'sqlite_%'"
        ).fetchall()
        named = sqlite.execute("select tbl_name, name from sqlite_schema where type = 'index' and sql is not null").fetchall()
        sqlite.close()
        only_postgres = {("feed_end", "only_row", True), ("feed_end", "position", True)}
        assert {tuple(row) for row in rows} - only_postgres == {(table, column, bool(set_)) for table, column, set_ in expected}
        assert {tuple(row) for row in indexes} >= set(named)


@asynccontextmanager
async def _deaf_once(url: str, folder: Path) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A way to the server on which the first request to listen is lost, and the requests that were made."""
    (far_folder,) = parse_qs(urlsplit(url).query)["host"]
    told = list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far = await asyncio.open_unix_connection(f"{far_folder}/{_SOCKET}")

        async def back() -> None:
            while content := await far_reader.read(1 << 16):
                writer.write(content)
            writer.close()

        answering = asyncio.ensure_future(back())
        while content := await reader.read(1 << 16):
            if b"LISTEN" in content:
                told.append(content)
                if len(told) == 1:
                    continue
            far.write(content)
        far.close()
        await asyncio.gather(answering, return_exceptions=True)

    relay = await asyncio.start_unix_server(serve, folder / _SOCKET)
    yield url.replace(far_folder, str(folder)), told
    relay.close()


class _Heard:
    """What one replica's listeners were told."""

    def __init__(self, store: PostgresStore) -> None:
        self.changes: list[Change] = []
        self._news = asyncio.Event()
        store.subscribe(self._hear)

    def _hear(self, changes: Sequence[Change]) -> None:
        self.changes.extend(changes)
        self._news.set()

    async def until(self, key: str) -> None:
        while key not in {one.key for one in self.changes}:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 10)

    async def until_count(self, count: int) -> None:
        while len(self.changes) < count:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 10)


async def _put(store: PostgresStore, name: str) -> int:
    return await store.commit(Batch.of(sample.create(SETTINGS, sample.setting(name))))
