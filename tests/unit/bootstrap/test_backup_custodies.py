"""Backup, check and restore where keys are sealed by a passphrase or a token: nothing is needed but the database and that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner
from tests.needed import postgres
from tests.needed import token as a_token
from tests.unit.bootstrap.installations import Living, folder_of, furnish, living

from idplane.bootstrap.admin import Installation, back_up, examine, of_settings, put_back
from idplane.bootstrap.custody import CustodySection, KeySection
from idplane.bootstrap.server_settings import read_server_settings
from idplane.cli.main import idplane
from idplane.store.backup import BackupProblem
from idplane.testing.postgres_cluster import Cluster
from idplane.testing.softhsm import SoftHsm

pytestmark = pytest.mark.wide  # scrypt takes its time, which is what it is for

MACHINE = "providers/Microsoft.Compute/virtualMachines/vm?api-version=2024-07-01"


def _words(folder: Path, text: str, name: str = "words") -> CustodySection:
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return CustodySection(kind="passphrase", file=str(path))


def _sealed_by(custody: CustodySection, folder: Path) -> Installation:
    return replace(folder_of(folder), custody=custody)


async def _used(installation: Installation) -> Living:
    async with living(installation) as one:
        await furnish(one)
    return one


def _found(secrets: list[bytes], file: Path) -> list[bytes]:
    content = file.read_bytes()
    return [one for one in secrets if one in content]


def _is_empty(installation: Installation) -> bool:
    return not Path(installation.address).exists()


async def _round_trip(source: Installation, target: Installation, before: Living, backup: Path) -> None:
    await back_up(source, backup)
    assert not _found(before.secrets, backup)
    await put_back(target, backup)
    outcome = await examine(target)
    assert outcome.findings == []
    assert outcome.examined["seals"] >= 3
    async with living(target, before.operator) as after:
        assert (await after.arm("GET", f"{after.group}/{MACHINE}"))[0] == 200
    assert not source.key_file.exists()
    assert not target.key_file.exists()


async def test_a_passphrase_suffices(tmp_path: Path) -> None:
    custody = _words(tmp_path, "correct horse battery staple")
    source = _sealed_by(custody, tmp_path / "source")
    await _round_trip(source, _sealed_by(custody, tmp_path / "target"), await _used(source), tmp_path / "backup")


async def test_another_passphrase_makes_and_takes_no_backup(tmp_path: Path) -> None:
    right, wrong = _words(tmp_path, "correct horse battery staple"), _words(tmp_path, "incorrect horse", "others")
    source = _sealed_by(right, tmp_path / "source")
    async with living(source):
        pass
    with pytest.raises(BackupProblem, match="does not belong to the database: nothing was written"):
        await back_up(replace(source, custody=wrong), tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    await back_up(source, tmp_path / "backup")
    target = _sealed_by(wrong, tmp_path / "target")
    with pytest.raises(BackupProblem, match="not made with this key custody"):
        await put_back(target, tmp_path / "backup")
    assert _is_empty(target)
    outcome = await examine(replace(source, custody=wrong))
    assert {one.check for one in outcome.findings} == {"seals"}


async def test_a_backup_from_before_a_move_opens_with_the_earlier_key_beside_the_new_one(tmp_path: Path) -> None:
    by_file = folder_of(tmp_path / "source")
    async with living(by_file):
        pass
    await back_up(by_file, tmp_path / "backup")
    phrase = _words(tmp_path, "correct horse battery staple")
    also = CustodySection(kind="passphrase", file=phrase.file, also=(KeySection(file=str(by_file.key_file)),))
    with pytest.raises(BackupProblem, match="not made with this key custody"):
        await put_back(_sealed_by(phrase, tmp_path / "alone"), tmp_path / "backup")
    target = _sealed_by(also, tmp_path / "target")
    await put_back(target, tmp_path / "backup")
    assert (await examine(target)).good


@pytest.mark.parametrize(
    ("custody", "words"),
    [
        (CustodySection(kind="passphrase"), "needs one of file, credential and ask"),
        (CustodySection(kind="passphrase", file="/absent"), "passphrase file /absent cannot be used"),
        (CustodySection(kind="pkcs11", pin_file="/pin", token="t"), 'needs module = "..."'),
        (CustodySection(file="/absent"), "the key file /absent is missing: no backup holds it"),
    ],
)
async def test_what_does_not_suffice_is_one_sentence_and_makes_nothing(
    tmp_path: Path, custody: CustodySection, words: str
) -> None:
    source = folder_of(tmp_path / "source")
    async with living(source):
        pass
    await back_up(source, tmp_path / "backup")
    lacking = replace(source, custody=custody)
    for attempt in (back_up(lacking, tmp_path / "second"), examine(lacking)):
        with pytest.raises(BackupProblem, match=words):
            await attempt
    target = _sealed_by(custody, tmp_path / "target")
    with pytest.raises(BackupProblem, match=words):
        await put_back(target, tmp_path / "backup")
    assert not (tmp_path / "second").exists()
    assert _is_empty(target)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    with a_token(tmp_path_factory.mktemp("hsm")) as made:
        yield made


def _in_token(token: SoftHsm, key: str = "a") -> CustodySection:
    place = token.place(key)
    return CustodySection(
        kind="pkcs11", module=str(place.module), token=place.token, label=place.key, pin_file=str(place.pin_file)
    )


@pytest.mark.wide
async def test_a_token_suffices(token: SoftHsm, tmp_path: Path) -> None:
    source = _sealed_by(_in_token(token), tmp_path / "source")
    before = await _used_in_token(source)
    await _round_trip(source, _sealed_by(_in_token(token), tmp_path / "target"), before, tmp_path / "backup")
    with pytest.raises(BackupProblem, match="not made with this key custody"):
        await put_back(_sealed_by(_in_token(token, "b"), tmp_path / "stranger"), tmp_path / "backup")


async def _used_in_token(installation: Installation) -> Living:
    async with living(installation) as one:
        path = f"{one.group}/{MACHINE}"
        await one.arm("PUT", f"{one.group}?api-version=2022-09-01", {"location": "westeurope"})
        machine = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
        assert (await one.arm("PUT", path, machine))[0] in {200, 201}
    return one


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with postgres() as found:
        yield found


async def _config(running: Cluster, folder: Path, name: str, custody: CustodySection) -> Path:
    connection = await asyncpg.connect(running.url("postgres"))
    await connection.execute(f"create database {name}")
    await connection.close()
    members = {"kind": custody.kind, "module": custody.module, "token": custody.token, "label": custody.label}
    named = {**members, "file": custody.file, "pin_file": custody.pin_file}
    lines = "\n".join(f'{key} = "{value}"' for key, value in named.items() if value is not None)
    path = folder / f"{name}.toml"
    path.write_text(
        f'[server]\npublic_url = "https://localhost"\ndata = "{name}"\n[database]\nurl = "{running.url(name)}"\n[custody]\n{lines}\n'
    )
    return path


@pytest.mark.wide
@pytest.mark.parametrize("kind", ["passphrase", "pkcs11"])
def test_the_commands_by_a_server_s_settings(token: SoftHsm, running: Cluster, tmp_path: Path, kind: str) -> None:
    custody = _words(tmp_path, "correct horse battery staple") if kind == "passphrase" else _in_token(token)
    source, target = (asyncio.run(_config(running, tmp_path, f"{one}_{kind}", custody)) for one in ("source", "target"))
    asyncio.run(_used_in_token(of_settings(read_server_settings(source))))
    backup = str(tmp_path / "backup")
    assert _command("backup", "--config", str(source), backup)["file"] == backup
    assert _command("restore", "--config", str(target), backup)["rows"]
    assert _command("check", "--config", str(target))["good"] is True
    counted = _command("rewrap", "--check", "--config", str(target))
    assert (counted["elsewhere"], counted["moved"]) == (0, 0)


def _command(*arguments: str) -> dict[str, object]:
    answer = CliRunner().invoke(idplane, ["admin", *arguments, "--json"])
    assert answer.exit_code == 0, answer.output
    found: dict[str, object] = json.loads(answer.output)
    return found
