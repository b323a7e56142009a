"""Events that an earlier program wrote are found by their resource group, too."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from idplane.ports.collections import ACTIVITY, group_key_of
from idplane.store.schema import migrations
from idplane.store.sqlite import SqliteStore
from idplane.store.sqlite_connection import _statements
from idplane.testing.worlds import FakeClock

SUBSCRIPTION = "/subscriptions/00000051-0000-4000-8000-000000000051"
IDS = (
    SUBSCRIPTION,
    f"{SUBSCRIPTION}/resourcegroups/web",
    f"{SUBSCRIPTION}/resourcegroups/web/providers/a.b/c/d",
    f"{SUBSCRIPTION}/providers/a.b/resourcegroups/web",
    "/",
    "/providers/a.b/c/d",
    "no id",
)


async def test_older_events_learn_their_group(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(sqlite3.connect(path, isolation_level=None)) as older:
        older.execute("create table schema_version (version integer primary key, name text, applied_at text)")
        for one in migrations("sqlite"):
            if one.version < 10:
                for statement in _statements(one.sql):
                    older.execute(statement)
                older.execute("insert into schema_version values (?, ?, '')", (one.version, one.name))
        for key in IDS:
            values = ("{}", 1, "t", None, key, "c", "p")
            older.execute(
                "insert into activity_log (doc, at, tenant_id, subscription_id, resource_key, correlation_id, caller_id) "
                "values (?, ?, ?, ?, ?, ?, ?)",
                values,
            )
    await (await SqliteStore.open(path, clock=FakeClock())).close()
    with closing(sqlite3.connect(path)) as database:
        found = dict(database.execute("select resource_key, group_key from activity_log"))
    assert found == {key: group_key_of(key) for key in IDS}
    assert ACTIVITY.columns["group_key"]


@pytest.mark.parametrize(
    "identifier", ["/SUBSCRIPTIONS/x/resourceGroups/Web/providers/a.b/c/d", "/subscriptions/X/resourcegroups/WEB"]
)
def test_a_group_s_key_is_lower_case(identifier: str) -> None:
    assert group_key_of(identifier) == "/subscriptions/x/resourcegroups/web"


@pytest.mark.parametrize(
    "identifier", ["/subscriptions/x/resourcegroups", "/subscriptions/x/resourcegroups/", "/a/x/resourcegroups/y", ""]
)
def test_what_lies_in_no_group_has_no_key(identifier: str) -> None:
    assert group_key_of(identifier) is None
