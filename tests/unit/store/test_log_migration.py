"""Events that an earlier program wrote are found by their resource group, too."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from idplane.model.ids import ResourceId
from idplane.ports.collections import LOGS, group_key_of
from idplane.ports.store import Order
from idplane.providers.activity_filters import activity_query
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


@pytest.mark.parametrize(
    "text",
    [
        "",
        " and resourceGroupName eq 'web'",
        f" and resourceUri eq '{SUBSCRIPTION}/resourceGroups/web'",
        " and correlationId eq 'c' and resourceGroupName eq 'web'",
        " and status eq 'Failed'",
    ],
)
@pytest.mark.parametrize("scope", [SUBSCRIPTION, "/"])
async def test_whatever_is_asked_a_page_is_one_range_of_one_index(tmp_path: Path, text: str, scope: str) -> None:
    store = await SqliteStore.open(tmp_path / "db", clock=FakeClock())
    query = activity_query(f"eventTimestamp ge 2026-01-01T00:00:00Z{text}", ResourceId.parse(scope))
    subscription = ResourceId.parse(scope).subscription
    query = replace(query, columns={**query.columns, "tenant_id": "t", "subscription_id": subscription})
    table = store._tables.log(LOGS[0])
    statement, parameters = table.select(
        where=query.where, since=query.since, until=None, position=5, order=Order.NEWEST_FIRST, limit=10
    )
    plan = " ".join(row[3] for row in store._reading.execute(f"explain query plan {statement}", parameters))
    await store.close()
    chosen = next(iter(query.where))
    assert f"INDEX activity_log_{chosen} (" in plan
    assert "TEMP B-TREE" not in plan
    assert "at>" in plan
