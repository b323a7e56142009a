"""Backups of PostgreSQL and into it, a data folder's included; what follows a restored database starts afresh."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.needed import postgres
from tests.unit.bootstrap.installations import Living, folder_of, furnish, living

from idplane.bootstrap.admin import Installation, back_up, examine, put_back
from idplane.bootstrap.world import SystemClock
from idplane.ports.collections import ACTIVITY
from idplane.ports.store import Order
from idplane.store.backup import BackupProblem
from idplane.store.postgres import PostgresStore
from idplane.testing.postgres_cluster import Cluster

pytestmark = pytest.mark.wide


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with postgres() as found:
        yield found


async def database(running: Cluster, name: str) -> str:
    connection = await asyncpg.connect(running.url("postgres"))
    await connection.execute(f"create database {name}")
    await connection.close()
    return running.url(name)


async def shared(running: Cluster, name: str, folder: Path, key: Path | None = None) -> Installation:
    key_file = folder_of(folder).key_file
    if key is not None:
        shutil.copy(key, key_file)
    return Installation(address=await database(running, name), key_file=key_file)


MACHINE = "providers/Microsoft.Compute/virtualMachines/vm?api-version=2024-07-01"


async def works(installation: Installation, before: Living, old: str) -> None:
    outcome = await examine(installation)
    assert outcome.findings == []
    assert outcome.examined["logs"] > 0
    async with living(installation, before.operator) as one:
        assert (await one.arm("GET", f"{one.group}/{MACHINE}"))[0] == 200
        assert (await one.arm("GET", f"{one.group}/{MACHINE}", token=old))[0] == 200
        assert (await one.arm("PUT", f"{one.group}more?api-version=2022-09-01", {"location": "westeurope"}))[0] in {200, 201}
        events = await one.plane.server.world.store.read_log(ACTIVITY, order=Order.OLDEST_FIRST, limit=1000)
        assert len({one.position for one in events}) == len(events)
    assert (await examine(installation)).good


async def test_round_trips_between_both_databases(running: Cluster, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "folder")
    async with living(folder) as one:
        await furnish(one)
        token = await one.token("https://management.azure.com")
    for number, make in enumerate(("postgres", "postgres", "sqlite")):
        backup = tmp_path / f"{number}.jsonl"
        rows = await back_up(folder, backup)
        assert rows["sign_ins"] > 0
        where = tmp_path / f"place{number}"
        if make == "postgres":
            target = await shared(running, f"trip{number}", where, folder.key_file)
        else:
            target = folder_of(where)
            shutil.copy(folder.key_file, target.key_file)
        await put_back(target, backup)
        await works(target, one, token)
        folder = target


async def test_a_dump_holds_no_secret_and_a_used_database_is_refused(running: Cluster, tmp_path: Path) -> None:
    installation = await shared(running, "used", tmp_path / "used")
    async with living(installation) as one:
        await furnish(one)
    backup = tmp_path / "used.jsonl"
    await back_up(installation, backup)
    dump = subprocess.run(  # noqa: ASYNC221 - nothing else is going on
        [running.binaries / "pg_dump", str(installation.address)], capture_output=True, check=True
    ).stdout
    assert len(dump) > 10_000
    for content in (dump, backup.read_bytes()):
        for secret in one.secrets:
            assert secret not in content
            assert secret.hex().encode() not in content
    with pytest.raises(BackupProblem, match="not empty"):
        await put_back(installation, backup)
    with pytest.raises(BackupProblem, match="is there already"):
        await back_up(installation, backup)
    assert (await examine(installation)).good


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
import idplane.store.postgres_restore as module
from idplane.bootstrap.admin import Installation, put_back
inner = module._copy
async def copied(connection, verified, tables, shape, rows):
    await inner(connection, verified, tables, shape, rows)
    if shape.name == sys.argv[4]:
        os.kill(os.getpid(), signal.SIGKILL)
module._copy = copied
asyncio.run(put_back(Installation(address=sys.argv[1], key_file=Path(sys.argv[2])), Path(sys.argv[3])))
"""


async def test_killed_in_the_middle_nothing_is_there(running: Cluster, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "folder")
    async with living(folder) as one:
        await furnish(one)
    backup = tmp_path / "backup.jsonl"
    await back_up(folder, backup)
    target = await shared(running, "killed", tmp_path / "target", folder.key_file)
    for table in ("credentials", "tenants"):
        arguments = [sys.executable, "-c", _KILLED, str(target.address), str(target.key_file), str(backup), table]
        died = subprocess.run(arguments, check=False, timeout=60, env=dict(os.environ))  # noqa: ASYNC221 - as above
        assert died.returncode == -signal.SIGKILL
    connection = await asyncpg.connect(str(target.address))
    assert await connection.fetchval("select count(*) from information_schema.tables where table_schema = 'public'") == 0
    await connection.close()
    await put_back(target, backup)
    assert (await examine(target)).good


async def test_who_followed_a_later_state_sees_that_it_went_back(running: Cluster, tmp_path: Path) -> None:
    installation = await shared(running, "followed", tmp_path / "followed")
    async with living(installation) as one:
        await furnish(one)
    backup = tmp_path / "followed.jsonl"
    await back_up(installation, backup)
    clock = SystemClock()
    store = await PostgresStore.open(str(installation.address), clock=clock, beat_seconds=0.05)
    try:
        end = await store.position()
        # As an operator does: the database goes, and the backup comes in its place.
        admin = await asyncpg.connect(running.url("postgres"))
        await admin.execute("drop database followed with (force)")
        await admin.execute("create database followed")
        await admin.close()
        await put_back(installation, backup)
        async with asyncio.timeout(30):
            while store.freshness() != float("inf"):
                await clock.sleep(0.05)
        assert await store.position() > end
    finally:
        await store.close()


async def test_an_edited_log_record_is_named_by_the_check(running: Cluster, tmp_path: Path) -> None:
    installation = await shared(running, "edited", tmp_path / "edited")
    async with living(installation) as one:
        await furnish(one)
    assert (await examine(installation)).good
    connection = await asyncpg.connect(str(installation.address))
    await connection.execute("set session_replication_role = replica")
    position = await connection.fetchval(
        'update sign_ins set doc = replace(doc::text, \'"user_agent":"\', \'"user_agent":"x\') '
        "where position = (select max(position) from sign_ins) returning position"
    )
    await connection.close()
    (found,) = (await examine(installation)).findings
    assert (found.check, found.table, found.key) == ("tree", "sign_ins", str(position))
