"""`idplane log verify` and its companions, on a folder that no plane runs on, and without any."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from idplane.bootstrap.log_keeping import LogKeeping
from idplane.bootstrap.world import SystemEntropy, World
from idplane.cli.log import command
from idplane.model.profile import OPEN
from idplane.ports.collections import ACTIVITY, SIGN_INS
from idplane.ports.store import Append, Batch
from idplane.store.custody import FileCustody
from idplane.store.sqlite import SqliteStore
from idplane.testing import store_samples as sample
from idplane.testing.worlds import FakeClock

TENANT = "11111111-1111-4111-8111-111111111111"
RECORD = "99999999-9999-4999-8999-000000000001"


async def _fill(folder: Path, beats: Sequence[int]) -> None:
    clock = FakeClock()
    store = await SqliteStore.open(folder / "idplane.sqlite", clock=clock)
    custody = FileCustody.open(folder / "custody.key", entropy=SystemEntropy())
    world = World(clock=clock, entropy=SystemEntropy(), store=store, custody=custody, profile=OPEN)
    keeping = await LogKeeping.open(world, tenant_id=TENANT, file=folder / "log.checkpoint")
    number = 0
    for count in beats:
        for _ in range(count):
            number += 1
            made = f"99999999-9999-4999-8999-{number:012}"
            appends: object = Append(log=SIGN_INS, event=sample.sign_in(made, clock.now()))
            if number % 2 == 0:
                appends = Append(log=ACTIVITY, event=sample.activity(made, clock.now()))
            await store.commit(Batch.of(appends))
        await keeping.turn()
        clock.advance(700)
    await store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log of 30 records under two checkpoints."""
    data = tmp_path / "data"
    data.mkdir()
    asyncio.run(_fill(data, (20, 10)))
    return data


@pytest.fixture
def keys(folder: Path, tmp_path: Path) -> Path:
    file = tmp_path / "log.keys"
    file.write_text(_run("keys", "--data", str(folder)).output)
    return file


@pytest.fixture
def bundle(folder: Path, tmp_path: Path) -> Path:
    file = tmp_path / "log.bundle"
    said = _run("bundle", str(file), "--data", str(folder))
    assert said.output.endswith("log.bundle: 30 records\n")
    assert file.stat().st_mode & 0o077 == 0
    return file


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def _sql(folder: Path, text: str, *parameters: object) -> None:
    with closing(sqlite3.connect(folder / "idplane.sqlite", isolation_level=None)) as connection:
        for (name,) in connection.execute("select name from sqlite_schema where type = 'trigger'").fetchall():
            connection.execute(f"drop trigger {name}")
        connection.execute(text, parameters)


def _kept(folder: Path) -> str:
    return str(folder / "log.checkpoint")


def test_a_sound_log(folder: Path) -> None:
    said = _run("verify", "--data", str(folder), "--checkpoint", _kept(folder))
    assert said.exit_code == 0
    assert said.output.startswith("30 records are what was recorded, 0 were removed in their time, 0 are not in the tree yet;")
    told = json.loads(_run("verify", "--data", str(folder), "--json").output)
    assert told["sound"] is True
    assert (told["size"], told["checkpoints"]) == (30, 2)


def test_an_altered_record(folder: Path) -> None:
    _sql(folder, "update sign_ins set doc = replace(doc, 'Ann', 'Eve') where position = 1")
    said = _run("verify", "--data", str(folder))
    assert said.exit_code == 1
    assert said.output.startswith(f"altered: sign_ins 1 (id {RECORD}, 2026-01-01T12:00:00.000000Z)")
    assert _run("verify", "--data", str(folder), "--json").exit_code == 1


def test_an_older_database(folder: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.mkdir()
    asyncio.run(_fill(older, (5,)))
    (older / "custody.key").write_bytes((folder / "custody.key").read_bytes())
    said = _run("verify", "--data", str(older), "--checkpoint", _kept(folder))
    assert said.exit_code == 1


def test_several_checkpoints_in_one_file(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "kept"
    note = (folder / "log.checkpoint").read_text()
    file.write_text(f"{note}\n{note}")
    assert _run("verify", "--data", str(folder), "--checkpoint", str(file)).exit_code == 0
    file.write_text(f"{note}\n{note.replace('30', '31', 1)}")
    said = _run("verify", "--data", str(folder), "--checkpoint", str(file))
    assert said.exit_code == 1
    assert "kept elsewhere" in said.output


def test_without_database_or_server(folder: Path, keys: Path, bundle: Path) -> None:
    kept = folder / "log.checkpoint"
    elsewhere = keys.parent / "kept"
    elsewhere.write_text(kept.read_text())
    arguments = ("verify", "--offline", str(bundle), "--key", str(keys), "--checkpoint", str(elsewhere))
    said = _run(*arguments)
    assert (said.exit_code, said.output[:31]) == (0, "30 records are what was recorde")
    lines = bundle.read_bytes().splitlines(keepends=True)
    for changed, words in (
        ([*lines[:-1]], "there are 29 entries"),
        ([lines[0], *lines[2:]], "rewritten"),
        ([lines[0], lines[2], lines[1], *lines[3:]], "rewritten"),
        ([*lines[:5], lines[5].replace(b"Ann", b"Eve").replace(b"virtualMachines", b"virtualmachines"), *lines[6:]], "altered"),
    ):
        bundle.write_bytes(b"".join(changed))
        said = _run(*arguments)
        assert said.exit_code == 1
        assert words in said.output
    bundle.write_bytes(b"".join(lines[:5]) + b"nonsense\n")
    assert "line 6 is damaged" in _run(*arguments).output


def test_a_bundle_needs_keys(bundle: Path, keys: Path, tmp_path: Path) -> None:
    assert "name the log's keys with --key" in _run("verify", "--offline", str(bundle)).output
    wrong = tmp_path / "wrong"
    wrong.write_text("nonsense")
    assert "not a verifier key" in _run("verify", "--offline", str(bundle), "--key", str(wrong)).output
    assert "can't be read as a bundle" in _run("verify", "--offline", str(wrong), "--key", str(keys)).output


def test_a_proof(folder: Path, keys: Path, tmp_path: Path) -> None:
    file = tmp_path / "proof"
    file.write_text(_run("prove", RECORD, "--data", str(folder), "--checkpoint", _kept(folder)).output)
    elsewhere = tmp_path / "kept"
    elsewhere.write_text((folder / "log.checkpoint").read_text())
    said = _run("check-proof", str(file), "--key", str(keys), "--checkpoint", str(elsewhere))
    assert said.exit_code == 0
    assert said.output.startswith(f"sign_ins 1 (id {RECORD}, ")
    assert _run("check-proof", str(file), "--data", str(folder)).exit_code == 0
    proof = json.loads(file.read_text())
    for member, value, words in (
        ("doc", proof["doc"].replace("Ann", "Eve"), "not the one that is in the log"),
        ("index", proof["index"] + 1, "is not in the log"),
        ("index", 99, "was changed"),
        ("hashes", proof["hashes"][1:], "was changed"),
        ("hashes", proof["hashes"][::-1], "is not in the log"),
        ("checkpoint", proof["checkpoint"].replace("time 2026", "time 2025"), "not signed by a key"),
        ("checkpoint", "x", "not a signed note"),
        ("form", "other", "not a proof"),
        ("entry", "!", "was changed"),
    ):
        file.write_text(json.dumps({**proof, member: value}))
        said = _run("check-proof", str(file), "--key", str(keys))
        assert said.exit_code == 1, member
        assert words in said.output, member


def test_what_cannot_be_proved(folder: Path) -> None:
    for record, words in (
        ("nothing", "there is no record"),
        ("sign_ins:999", "there is no record"),
        ("other:1", "there is no log"),
        ("7", "there is no record"),
    ):
        said = _run("prove", record, "--data", str(folder))
        assert said.exit_code == 1
        assert words in said.output
    assert json.loads(_run("prove", "activity_log:3", "--data", str(folder)).output)["doc"]
    _sql(folder, "update sign_ins set doc = replace(doc, 'Ann', 'Eve') where position = 1")
    assert "was altered" in _run("prove", "sign_ins:1", "--data", str(folder)).output


def test_places_without_a_log(tmp_path: Path) -> None:
    assert "there is no idplane.sqlite" in _run("verify", "--data", str(tmp_path)).output
    (tmp_path / "idplane.sqlite").write_bytes(b"no database at all" * 100)
    said = _run("verify", "--data", str(tmp_path))
    assert said.exit_code == 1
    assert said.exception is not None


def test_without_the_custody_keys_must_be_named(folder: Path, keys: Path) -> None:
    (folder / "custody.key").unlink()
    assert "name a file with --key" in _run("verify", "--data", str(folder)).output
    assert _run("verify", "--data", str(folder), "--key", str(keys)).exit_code == 0
