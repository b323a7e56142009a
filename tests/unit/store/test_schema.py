import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import COLLECTIONS, LOGS
from idplane.store.opening import open_store
from idplane.store.schema import Migration, migrations, outstanding
from idplane.store.sqlite import SqliteStore
from idplane.testing.worlds import FakeClock

_DATABASES = ("sqlite", "postgres")


def _migration(version: int) -> Migration:
    return Migration(version=version, name=str(version), sql="")


def test_both_databases_have_the_same_migrations() -> None:
    sqlite, postgres = ([one.name for one in migrations(database)] for database in _DATABASES)
    assert sqlite == postgres
    assert sqlite


@pytest.mark.parametrize("database", _DATABASES)
def test_migrations_are_numbered_from_one_in_their_order(database: str) -> None:
    found = [one.version for one in migrations(database)]
    assert found[0] == 1
    assert found == sorted(set(found))
    assert all(re.fullmatch(r"\d{4}_[a-z_]+", one.name) for one in migrations(database))


@pytest.mark.parametrize(("applied", "expected"), [(0, [1, 2, 3]), (1, [2, 3]), (3, [])])
def test_what_was_applied_is_not_applied_again(applied: int, expected: list[int]) -> None:
    known = [_migration(version) for version in (1, 2, 3)]
    assert [one.version for one in outstanding(known, applied)] == expected


def test_a_newer_database_is_refused() -> None:
    with pytest.raises(Failure, match="newer idplane") as caught:
        outstanding([_migration(1)], 2)
    assert caught.value.kind is FailureKind.UNAVAILABLE


async def test_the_tables_are_what_the_collections_declare(tmp_path: Path) -> None:
    await (await SqliteStore.open(tmp_path / "db", clock=FakeClock())).close()
    with closing(sqlite3.connect(tmp_path / "db")) as database:
        for collection in COLLECTIONS:
            columns = {row[1] for row in database.execute(f"pragma table_info({collection.name})")}
            # `path` repeats the key and is read from it.
            assert columns == {"key", "version", "doc", *collection.columns} - {"path"}
        for log in LOGS:
            columns = {row[1] for row in database.execute(f"pragma table_info({log.name})")}
            assert columns == {"position", "doc", "seal", *log.columns}
        assert database.execute("select version, name from schema_version").fetchall() == [
            (1, "0001_initial"),
            (2, "0002_federated_credentials"),
            (3, "0003_bindings"),
            (4, "0004_deployments"),
            (5, "0005_locks_and_management_groups"),
            (6, "0006_applications"),
            (7, "0007_users_and_groups"),
            (8, "0008_deny_assignments"),
            (9, "0009_long_operations"),
            (10, "0010_log_retention"),
            (11, "0011_predefined_tags"),
            (16, "0016_log_tree"),
        ]


async def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        await (await SqliteStore.open(tmp_path / "db", clock=FakeClock())).close()
    with closing(sqlite3.connect(tmp_path / "db")) as database:
        assert database.execute("select count(*) from schema_version").fetchone() == (len(migrations("sqlite")),)


async def test_a_path_means_sqlite(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "db", clock=FakeClock())
    assert isinstance(store, SqliteStore)
    await store.close()


@pytest.mark.parametrize("address", ["postgresql://idplane@127.0.0.1:1/x", "postgres://idplane@127.0.0.1:1/x"])
async def test_a_url_means_postgresql(address: str) -> None:
    with pytest.raises(Failure) as caught:
        await open_store(address, clock=FakeClock())
    assert caught.value.kind is FailureKind.UNAVAILABLE
