"""Backup and restore of a data folder: everything comes back, nothing secret is in it, and nothing doubtful goes in."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.unit.bootstrap.installations import Living, folder_of, furnish, living

from idplane.bootstrap.admin import Installation, back_up, examine, put_back
from idplane.bootstrap.world import SystemClock
from idplane.ports.collections import ACTIVITY, AGENTS, SIGN_INS
from idplane.ports.store import Order
from idplane.store.backup import BackupProblem
from idplane.store.datafolder import DataFolder
from idplane.store.restore import FEED_LEAP
from idplane.store.schema import SCHEMA_VERSION_TABLE, migrations
from idplane.store.sqlite_connection import apply_migration

MACHINE = "providers/Microsoft.Compute/virtualMachines/vm?api-version=2024-07-01"


@pytest.fixture
async def source(tmp_path: Path) -> tuple[Installation, Living, Path]:
    """An installation that was used, what is known of it, and its backup."""
    installation = folder_of(tmp_path / "source")
    async with living(installation) as one:
        await furnish(one)
        await one.plane.server.log.turn()
        backup = tmp_path / "backup.jsonl"
        await back_up(installation, backup)  # while it is running
    return installation, one, backup


def content(installation: Installation) -> bytes | None:
    path = Path(str(installation.address))
    return path.read_bytes() if path.exists() else None


def empty(source: Installation, path: Path) -> Installation:
    """A new folder with the installation's key file."""
    target = folder_of(path)
    shutil.copy(source.key_file, target.key_file)
    return target


async def test_everything_is_back(source: tuple[Installation, Living, Path], tmp_path: Path) -> None:
    installation, before, backup = source
    old_token = await _later_token(installation, before)
    target = empty(installation, tmp_path / "target")
    await put_back(target, backup)
    outcome = await examine(target)
    assert outcome.findings == []
    assert outcome.examined["seals"] >= 4
    async with living(target, before.operator) as after:
        status, machine = await after.arm("GET", f"{after.group}/{MACHINE}")
        assert status == 200
        assert isinstance(machine, dict)
        assert machine["identity"]["principalId"]
        # What was issued before the backup, and before the restore, still verifies.
        assert (await after.arm("GET", f"{after.group}/{MACHINE}", token=old_token))[0] == 200
        store = after.plane.server.world.store
        assert await store.position() > FEED_LEAP
        events = await store.read_log(ACTIVITY, order=Order.OLDEST_FIRST, limit=1000)
        assert len(events) >= 4
        assert len({one.position for one in events}) == len(events)
        assert len(await store.read_log(SIGN_INS, limit=1000)) >= 4
        assert len(await store.all(AGENTS)) == 1


async def _later_token(installation: Installation, before: Living) -> str:
    async with living(installation, before.operator) as one:
        return await one.token("https://management.azure.com")


async def test_a_backup_and_a_dump_hold_no_key_token_or_secret(source: tuple[Installation, Living, Path]) -> None:
    installation, one, backup = source
    with closing(sqlite3.connect(str(installation.address))) as connection:
        dump = "\n".join(connection.iterdump()).encode()
    files = [path.read_bytes() for path in Path(str(installation.address)).parent.glob("idplane.sqlite*")]
    custody = base64.b64decode(installation.key_file.read_bytes().splitlines()[-1])
    assert len(one.secrets) > 10
    for content in (backup.read_bytes(), dump, *files):
        for secret in (*one.secrets, custody):
            for form in (secret, base64.b64encode(secret)[:-3], base64.urlsafe_b64encode(secret)[:-3], secret.hex().encode()):
                assert form not in content
        assert b"PRIVATE KEY" not in content
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


async def test_a_backup_is_never_overwritten(source: tuple[Installation, Living, Path]) -> None:
    installation, _, backup = source
    before = backup.read_bytes()
    with pytest.raises(BackupProblem, match="there already"):
        await back_up(installation, backup)
    assert backup.read_bytes() == before
    assert [path.name for path in backup.parent.iterdir() if path.name.endswith(".new")] == []


async def test_where_something_is_nothing_goes(source: tuple[Installation, Living, Path], tmp_path: Path) -> None:
    installation, _, backup = source
    before = content(installation)
    with pytest.raises(BackupProblem, match="there is a database already"):
        await put_back(installation, backup)
    assert content(installation) == before
    target = empty(installation, tmp_path / "target")
    await put_back(target, backup)
    with pytest.raises(BackupProblem, match="there is a database already"):
        await put_back(target, backup)


async def test_without_its_custody_a_backup_is_worth_nothing(source: tuple[Installation, Living, Path], tmp_path: Path) -> None:
    _, _, backup = source
    target = folder_of(tmp_path / "target")
    with pytest.raises(BackupProblem, match="no backup holds it"):
        await put_back(target, backup)
    async with living(folder_of(tmp_path / "stranger")):
        pass
    shutil.copy(tmp_path / "stranger" / "custody.key", target.key_file)
    with pytest.raises(BackupProblem, match="not made with this key custody"):
        await put_back(target, backup)
    assert content(target) is None


async def test_a_custody_of_another_installation_makes_no_backup(
    source: tuple[Installation, Living, Path], tmp_path: Path
) -> None:
    installation, _, _ = source
    async with living(folder_of(tmp_path / "stranger")):
        pass
    shutil.copy(tmp_path / "stranger" / "custody.key", installation.key_file)
    with pytest.raises(BackupProblem, match="does not belong"):
        await back_up(installation, tmp_path / "second.jsonl")
    assert not (tmp_path / "second.jsonl").exists()


def lines_of(backup: Path) -> list[bytes]:
    return backup.read_bytes().splitlines(keepends=True)


def _edit_row(lines: list[bytes]) -> list[bytes]:
    at = next(number for number, line in enumerate(lines) if b"displayName" in line or b"display_name" in line)
    return [*lines[:at], lines[at].replace(b"shop", b"shoq").replace(b"embedded", b"embeddee"), *lines[at + 1 :]]


def _edit_and_redo_the_digest(lines: list[bytes]) -> list[bytes]:
    edited = [line.replace(b"westeurope", b"easteurope") for line in lines[:-1]]
    end = json.loads(lines[-1])
    end["end"]["sha256"] = hashlib.sha256(b"".join(edited)).hexdigest()
    return [*edited, json.dumps(end, separators=(",", ":")).encode() + b"\n"]


def _newer(lines: list[bytes]) -> list[bytes]:
    head = json.loads(lines[0])
    head["migrations"].append(9000)
    return [json.dumps(head).encode() + b"\n", *lines[1:]]


def _other_schema(lines: list[bytes]) -> list[bytes]:
    head = json.loads(lines[0])
    head["migrations"] = [-5]
    return [json.dumps(head).encode() + b"\n", *lines[1:]]


def _drop_a_row(lines: list[bytes]) -> list[bytes]:
    at = next(number for number, line in enumerate(lines) if line.startswith(b"["))
    return [*lines[:at], *lines[at + 1 :]]


def _a_key_that_is_none(doc: str) -> Callable[[list[bytes]], list[bytes]]:
    table = b'{"table":"signing_keys","columns":["key","doc"]}\n'
    return lambda lines: [lines[0], table, json.dumps(["k", doc]).encode() + b"\n", *lines[1:]]


DAMAGES: list[tuple[Callable[[list[bytes]], list[bytes]], str]] = [
    (lambda _: [], "not whole"),
    (lambda lines: lines[:1], "not whole"),
    (lambda lines: lines[:-1], "not whole"),
    (lambda lines: [*lines[:-1], lines[-1][:-10]], "not whole"),
    (lambda lines: [*lines, lines[1]], "goes on behind its end"),
    (lambda lines: lines[1:], "not a backup"),
    (lambda _: [b"hello\n"], "not a backup"),
    (lambda _: [b"{}\n"], "not a backup"),
    (lambda lines: [*lines[:3], b"\xff\xfe\n", *lines[3:]], "edited or damaged"),
    (lambda lines: [*lines[:2], b"[1]\n", *lines[2:]], "edited or damaged"),
    (lambda lines: [lines[0], b'["row"]\n', *lines[1:]], "edited or damaged"),
    *((_a_key_that_is_none(doc), "edited or damaged") for doc in ("", "[]", '{"purpose":"token","sealed":"!"}')),
    (_drop_a_row, "digest is another one"),
    (_edit_row, "digest is another one"),
    (_edit_and_redo_the_digest, "seal is for another content"),
    (_newer, "newer idplane"),
    (_other_schema, "no idplane ever had"),
]


async def test_a_backup_that_is_not_as_it_was_written_is_refused_whole(
    source: tuple[Installation, Living, Path], tmp_path: Path
) -> None:
    installation, _, backup = source
    damaged = tmp_path / "damaged.jsonl"
    for number, (damage, said) in enumerate(DAMAGES):
        damaged.write_bytes(b"".join(damage(lines_of(backup))))
        target = empty(installation, tmp_path / str(number))
        with pytest.raises(BackupProblem, match=said) as refused:
            await put_back(target, damaged)
        assert "\n" not in str(refused.value)
        assert {path.name for path in (tmp_path / str(number)).iterdir()} <= {"custody.key", "lock"}


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
import idplane.store.{module} as module
from idplane.bootstrap.admin import back_up, of_folder, put_back
inner, count = module.{function}, 0
def counted(*arguments):
    global count
    count += 1
    if count == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return inner(*arguments)
module.{function} = counted
asyncio.run({call}(of_folder(Path(sys.argv[1])), Path(sys.argv[2])))
"""


def killed(folder: Path, backup: Path, **where: object) -> int:
    script = _KILLED.format(**where)
    return subprocess.run([sys.executable, "-c", script, str(folder), str(backup)], check=False, timeout=60).returncode


async def test_killed_in_the_middle_a_restore_leaves_nothing_and_a_backup_no_file(
    source: tuple[Installation, Living, Path], tmp_path: Path
) -> None:
    installation, _, backup = source
    target = empty(installation, tmp_path / "target")
    for at in (2, 9):
        assert (
            killed(tmp_path / "target", backup, module="restore", function="_insert", at=at, call="put_back") == -signal.SIGKILL
        )
        assert content(target) is None
    second = tmp_path / "second.jsonl"
    died = killed(tmp_path / "source", second, module="backup", function="_written", at=100, call="back_up")
    assert (died, second.exists()) == (-signal.SIGKILL, False)
    await put_back(target, backup)
    assert (await examine(target)).good
    assert [path.name for path in (tmp_path / "target").iterdir() if "restoring" in path.name] == []


async def test_a_folder_in_use_is_not_restored_into(source: tuple[Installation, Living, Path], tmp_path: Path) -> None:
    installation, _, backup = source
    target = empty(installation, tmp_path / "target")
    with DataFolder.open(tmp_path / "target"), pytest.raises(BackupProblem, match="already running"):
        await put_back(target, backup)


async def test_an_older_schema_is_brought_up_to_date(source: tuple[Installation, Living, Path], tmp_path: Path) -> None:
    """A backup of the first schema: what later ones add is added as it would have been to the database itself."""
    installation, _, _ = source
    old = empty(installation, tmp_path / "old")
    connection = sqlite3.connect(str(old.address), isolation_level=None)
    connection.execute(SCHEMA_VERSION_TABLE)
    apply_migration(connection, migrations("sqlite")[0], SystemClock().now())
    connection.execute('insert into settings values (\'x\', 1, \'{"name": "x", "value": "y"}\')')
    connection.close()
    await back_up(old, tmp_path / "old.jsonl")
    target = empty(installation, tmp_path / "target")
    await put_back(target, tmp_path / "old.jsonl")
    async with living(target) as one:
        assert (await one.arm("GET", "/subscriptions?api-version=2022-12-01"))[0] == 200
