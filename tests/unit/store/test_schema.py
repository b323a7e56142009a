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
from idplane.store.sqlite_connection import migrate
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


@pytest.mark.parametrize(("applied", "expected"), [([], [1, 2, 3]), ([1], [2, 3]), ([1, 3], [2]), ([1, 2, 3], [])])
def test_what_was_applied_is_not_applied_again(applied: list[int], expected: list[int]) -> None:
    known = [_migration(version) for version in (1, 2, 3)]
    assert [one.version for one in outstanding(known, {version: version for version in applied})] == expected


@pytest.mark.parametrize("newer", [{2: 2}, {2: 1, 3: 2}, {3: 3, 2: 1}])
def test_a_database_that_is_too_new_is_refused(newer: dict[int, int]) -> None:
    with pytest.raises(Failure, match=rf"newer idplane \(its schema is {max(newer)}, this program knows 1\)") as caught:
        outstanding([_migration(1)], {1: 1, **newer})
    assert caught.value.kind is FailureKind.UNAVAILABLE


@pytest.mark.parametrize("newer", [{2: 1}, {2: 1, 3: 1}])
def test_a_newer_database_that_says_so_can_be_worked_on(newer: dict[int, int]) -> None:
    assert outstanding([_migration(1)], {1: 1, **newer}) == ()


@pytest.mark.parametrize(
    ("version", "sql", "oldest"),
    [
        (11, "", 11),
        (12, "-- Oldest program: 0001", 12),
        (13, "", 12),
        (17, "-- Adds a table.\n-- Oldest program: 0014\ncreate table x (y);", 14),
        (17, "-- Oldest program: 0017", 17),
    ],
)
def test_a_migration_says_which_programs_can_go_on(version: int, sql: str, oldest: int) -> None:
    assert Migration(version=version, name="x", sql=sql).oldest_program == oldest


_SMALL = ("agents", "resources")
"""Tables that an index is made on in a moment, in any installation."""


@pytest.mark.parametrize("database", _DATABASES)
def test_from_0012_on_migrations_only_add(database: str) -> None:
    """Servers of the version before go on working, and no statement holds a large table locked."""
    for one in migrations(database)[11:]:
        made = "|".join([*_SMALL, *re.findall(r"create table (\w+)", one.sql)])
        statements = re.sub(r"--[^\n]*\n|(?s:\$\$.*?\$\$)|(?s:\bbegin\b.*?\bend\b)", "", one.sql).split(";")
        allowed = (
            r"|create (table|trigger|function) .*|insert into .*",
            rf"(create (unique )?index \w+ on|alter table) ({made}) .*",
            r"alter table \w+ add column \w+ \w+( collate \"C\")?( not null default \S+| default \S+)?",
        )
        for statement in statements:
            words = " ".join(statement.split())
            assert any(re.fullmatch(one, words) for one in allowed), words


def test_a_database_records_which_programs_can_work_on_it(tmp_path: Path) -> None:
    newer = [
        *migrations("sqlite"),
        Migration(version=9000, name="9000_more", sql="create table more (x);\n-- Oldest program: 0012"),
    ]
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as database:
        migrate(database, FakeClock().now(), newer)
        migrate(database, FakeClock().now())
        with pytest.raises(Failure, match="its schema is 9000, this program knows 11"):
            migrate(database, FakeClock().now(), migrations("sqlite")[:11])


async def test_the_tables_are_what_the_collections_declare(tmp_path: Path) -> None:
    await (await SqliteStore.open(tmp_path / "db", clock=FakeClock())).close()
    with closing(sqlite3.connect(tmp_path / "db")) as database:
        for collection in COLLECTIONS:
            columns = {row[1] for row in database.execute(f"pragma table_info({collection.name})")}
            # `path` repeats the key and is read from it, `location` from the document.
            assert columns == {"key", "version", "doc", *collection.columns} - {"path", "location"}
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
            (12, "0012_leases"),
            (13, "0013_enrollments"),
            (15, "0015_security_events"),
            (16, "0016_log_tree"),
            (17, "0017_refusals"),
            (18, "0018_portal"),
            (19, "0019_sorted_lists"),
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
