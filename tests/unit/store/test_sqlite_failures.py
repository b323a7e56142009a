import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import ACTIVITY, COLLECTIONS, LOGS, RESOURCES, SETTINGS, SIGN_INS
from idplane.ports.store import ABSENT, Append, Batch, Change, Collection, ColumnValue, Order, Put, Versioned
from idplane.store.schema import migrations
from idplane.store.sqlite import SqliteStore
from idplane.store.tables import Selection
from idplane.testing import store_samples as sample
from idplane.testing.worlds import FakeClock, memory_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(path, clock=FakeClock())
    yield opened
    await opened.close()


async def _put(store: SqliteStore, name: str, value: str = "") -> int:
    return await store.commit(Batch.of(Put(collection=SETTINGS, value=sample.setting(name, value), expect=ABSENT)))


@contextmanager
def _full_disk(store: SqliteStore, *, spare: int = 0) -> Iterator[None]:
    """SQLite's own limit fails exactly where a full disk does: in the middle of a statement, with the same error."""
    execute = store._writing.execute
    (pages,) = execute("pragma page_count").fetchone()
    execute(f"pragma max_page_count = {pages + spare}")
    yield
    execute("pragma max_page_count = 4294967294")


def _large(number: int) -> Batch:
    return Batch.of(Put(collection=RESOURCES, value=sample.resource(f"{sample.GROUP}{number}", x="x" * 200_000), expect=ABSENT))


async def test_a_full_disk_refuses_and_loses_nothing(store: SqliteStore) -> None:
    await _put(store, "before")
    heard: list[Change] = []
    store.subscribe(heard.extend)
    with _full_disk(store):
        with pytest.raises(Failure) as caught:
            await store.commit(_large(1))
        assert caught.value.kind is FailureKind.STORAGE_FULL
        assert await store.get(SETTINGS, "before") is not None
    assert heard == []
    assert await store.position() == 1
    assert await store.commit(_large(1)) == 2


async def test_what_fits_beside_a_huge_batch_is_kept(store: SqliteStore) -> None:
    with _full_disk(store, spare=8):
        large = [store.commit(_large(number)) for number in range(3)]
        small = [_put(store, str(number)) for number in range(3)]
        results = await asyncio.gather(*large, *small, return_exceptions=True)
    assert all(isinstance(one, Failure) and one.kind is FailureKind.STORAGE_FULL for one in results[:3])
    assert sorted(one for one in results[3:] if isinstance(one, int)) == [1, 2, 3]
    assert len(await store.all(SETTINGS)) == len(await store.changes(0)) == 3


async def test_a_database_that_another_process_locks_is_unavailable_until_it_lets_go(store: SqliteStore, path: Path) -> None:
    store._writing.execute("pragma busy_timeout = 10")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(Failure) as caught:
            await _put(store, "a")
        assert caught.value.kind is FailureKind.UNAVAILABLE
        assert await store.get(SETTINGS, "a") is None  # reading goes on
        other.execute("rollback")
    assert await _put(store, "a") == 1


def _holds(path: Path) -> bool:
    """Whether this process has a file open."""
    wanted = path.stat()
    for one in Path("/dev/fd").iterdir():
        with suppress(OSError):  # what was open to list them
            if os.path.samestat(os.fstat(int(one.name)), wanted):
                return True
    return False


@pytest.fixture
def foreign(path: Path) -> Iterator[Path]:
    path.write_bytes(b"no database" * 1000)
    yield path
    assert path.read_bytes() == b"no database" * 1000


async def test_a_file_that_is_no_database_is_unavailable_and_left_alone(foreign: Path) -> None:
    with pytest.raises(Failure) as caught:
        await SqliteStore.open(foreign, clock=FakeClock())
    assert caught.value.kind is FailureKind.UNAVAILABLE
    assert not _holds(foreign), "nothing of it stays open"


async def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        await SqliteStore.open(tmp_path / "absent" / "db", clock=FakeClock())
    assert caught.value.kind is FailureKind.UNAVAILABLE


async def test_a_damaged_document_is_unavailable_and_its_neighbours_are_not(store: SqliteStore, path: Path) -> None:
    await _put(store, "a")
    await _put(store, "b")
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("update settings set doc = '{' where key = 'a'")
    with pytest.raises(Failure) as caught:
        await store.get(SETTINGS, "a")
    assert caught.value.kind is FailureKind.UNAVAILABLE
    assert await store.get(SETTINGS, "b") == Versioned(sample.setting("b"), 1)


async def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    await (await SqliteStore.open(path, clock=FakeClock())).close()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("insert into schema_version values (9999, 'later', '', null)")
    with pytest.raises(Failure) as caught:
        await SqliteStore.open(path, clock=FakeClock())
    known = migrations("sqlite")[-1].version
    assert caught.value.detail == (
        f"the database was written by a newer idplane (its schema is 9999, this program knows {known}): use the newer one"
    )


@pytest.mark.parametrize("log", ["activity_log", "sign_ins"])
@pytest.mark.parametrize("change", ["update {} set doc = ''", "delete from {}"])
async def test_logs_are_append_only(store: SqliteStore, path: Path, log: str, change: str) -> None:
    await store.commit(
        Batch.of(Append(log=ACTIVITY, event=sample.activity("1")), Append(log=SIGN_INS, event=sample.sign_in("1")))
    )
    with closing(sqlite3.connect(path)) as other, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        other.execute(change.format(log))


async def test_the_files_are_private(store: SqliteStore, path: Path) -> None:
    await _put(store, "a")
    files = list(path.parent.iterdir())
    assert len(files) == 3
    assert {one.stat().st_mode & 0o777 for one in files} == {0o600}


async def test_a_commit_waits_for_the_disk(store: SqliteStore) -> None:
    assert store._writing.execute("pragma synchronous").fetchone() == (2,)
    assert store._writing.execute("pragma journal_mode").fetchone() == ("wal",)
    assert store._writing.execute("pragma foreign_keys").fetchone() == (1,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        store._reading.execute("delete from settings")


async def test_private_stores_share_nothing_and_leave_nothing() -> None:
    one, two = await memory_store(), await memory_store()
    await _put(one, "a")
    assert await two.get(SETTINGS, "a") is None
    folders = [store.path.parent for store in (one, two)]
    await one.close()
    await two.close()
    assert not any(folder.exists() for folder in folders)


async def test_a_listener_that_raises_keeps_nothing_from_the_others(store: SqliteStore) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("listener")

    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
    heard: list[Change] = []
    store.subscribe(broken)
    store.subscribe(heard.extend)
    assert await _put(store, "a") == len(heard) == 1
    assert reported == ["a store listener raised"]


async def test_closing_folds_the_log_back_into_the_file(path: Path) -> None:
    store = await SqliteStore.open(path, clock=FakeClock())
    await _put(store, "a")
    await store.close()
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("column", ["tenant_id", "principal_id", "client_id", "correlation_id", "token_id", "error_code"])
async def test_no_page_of_a_log_needs_sorting(store: SqliteStore, column: str) -> None:
    table = store._tables.log(LOGS[1])
    searches: tuple[Mapping[str, ColumnValue] | None, ...] = ({column: 1}, None)
    for where in searches:
        text, parameters = table.select(where=where, since=1, until=9, position=5, order=Order.NEWEST_FIRST, limit=10)
        plan = " ".join(row[3] for row in store._reading.execute(f"explain query plan {text}", parameters))
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda it: it.name)
async def test_no_page_of_records_needs_scanning_or_sorting(store: SqliteStore, collection: Collection[object]) -> None:
    table = store._tables.collection(collection)
    searches = [table.select(Selection({column: "x"}, None), "k", 10) for column in collection.columns]
    if collection.name == "resources":
        searches.append(table.select(Selection({"type": "x"}, ("path", "/x")), "k", 10))
        searches.append(table.select(Selection(None, ("path", "/x")), "k", 10))
        searches.append(table.select(Selection(None, ("path", "/x")), "/x/y", 10))
    elif "scope_key" in collection.columns:
        searches.append(table.select(Selection(None, ("scope_key", "/x")), None, 10))
        searches.append(table.select(Selection(None, ("scope_key", "/x")), "/x/y\x1fk", 10))
    for text, parameters in [*searches, table.select(Selection(None, None), "k", 10)]:
        plan = " ".join(row[3] for row in store._reading.execute(f"explain query plan {text}", parameters))
        assert "TEMP B-TREE" not in plan, text
        assert "SCAN" not in plan, text
