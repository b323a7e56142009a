"""Credentials that an earlier program wrote stay what they are, although their tables are made again."""

import sqlite3
from contextlib import closing
from pathlib import Path

from idplane.model.directory import Application
from idplane.ports.collections import APPLICATIONS, CREDENTIALS, FEDERATED_CREDENTIALS, PRINCIPALS
from idplane.ports.store import Collection
from idplane.store.codec import encode
from idplane.store.schema import migrations
from idplane.store.sqlite import SqliteStore
from idplane.store.sqlite_connection import _statements
from idplane.testing import store_samples as sample
from idplane.testing.worlds import FakeClock


def _old(database: sqlite3.Connection, collection: Collection[object], value: object, *columns: str) -> None:
    found = {name: collection.columns[name](value) for name in columns}
    marks = ", ".join("?" for _ in range(3 + len(found)))
    database.execute(
        f"insert into {collection.name} ({', '.join(('key', 'version', 'doc', *found))}) values ({marks})",
        (collection.key(value), 7, encode(value), *found.values()),
    )


async def test_credentials_of_principals_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "db"
    ann, secret, trust = sample.principal("ann"), sample.credential(), sample.federated_credential()
    app = Application(id="app", client_id="c", tenant_id=sample.TENANT, display_name="Orders", created_at=sample.NOW)
    with closing(sqlite3.connect(path, isolation_level=None)) as older:
        older.execute("create table schema_version (version integer primary key, name text, applied_at text)")
        for one in migrations("sqlite"):
            if one.version < 6:
                for statement in _statements(one.sql):
                    older.execute(statement)
                older.execute("insert into schema_version values (?, ?, '')", (one.version, one.name))
        _old(older, PRINCIPALS, ann, "tenant_id", "client_id", "type", "display_name")  # type: ignore[arg-type]  # any collection
        _old(older, APPLICATIONS, app, "tenant_id", "client_id")  # type: ignore[arg-type]  # as above
        _old(older, CREDENTIALS, secret, "principal_id", "client_id", "kind", "thumbprint", "host_key")  # type: ignore[arg-type]  # as above
        _old(older, FEDERATED_CREDENTIALS, trust, "principal_id", "issuer", "subject")  # type: ignore[arg-type]  # as above
    store = await SqliteStore.open(path, clock=FakeClock())
    (kept,) = await store.all(CREDENTIALS, where={"principal_id": "ann", "application_id": None})
    assert (kept.value, kept.version) == (secret, 7)
    (trusted,) = await store.all(FEDERATED_CREDENTIALS, where={"principal_id": "ann", "issuer": trust.trust.issuer})
    assert (trusted.value, trusted.version) == (trust, 7)
    assert len(await store.all(APPLICATIONS, where={"display_name": "orders"})) == 1
    await store.close()
