"""What `idplane admin check` finds: rows that were changed behind the API."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.attacks.table import met_by
from tests.unit.bootstrap.installations import folder_of, furnish, living

from idplane.bootstrap.admin import Installation, examine, of_folder
from idplane.bootstrap.server import Server
from idplane.bootstrap.world import SystemEntropy, World
from idplane.cli.admin_check import command
from idplane.model.profile import OPEN
from idplane.ports.collections import SIGN_INS
from idplane.ports.store import Append, Batch
from idplane.store.backup import BackupProblem
from idplane.store.custody import FileCustody
from idplane.store.opening import open_store
from idplane.testing import store_samples as sample
from idplane.testing.worlds import FakeClock


@pytest.fixture
async def installation(tmp_path: Path) -> Installation:
    found = folder_of(tmp_path / "plane")
    async with living(found) as one:
        await furnish(one)
    return found


def change(installation: Installation, *statements: str) -> None:
    """As somebody with the database's file and SQL would."""
    with closing(sqlite3.connect(str(installation.address), isolation_level=None)) as connection:
        for name, table in connection.execute("select name, tbl_name from sqlite_schema where type = 'trigger'").fetchall():
            assert table
            connection.execute(f"drop trigger {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement


async def test_what_nobody_touched_is_good(installation: Installation) -> None:
    outcome = await examine(installation)
    assert (outcome.findings, outcome.good) == ([], True)
    assert all(outcome.examined[name] > 0 for name in ("records", "references", "owners", "seals", "logs", "tree"))


CHANGES = [
    ("update principals set client_id = 'x' where type = 'ManagedIdentity'", "records", "client_id"),
    (
        "update resources set doc = replace(doc, 'shopvault', 'shopvaulx') where name = 'shopvault'",
        "records",
        "say something else",
    ),
    ("update role_assignments set role_id = 'b24988ac-6180-42a0-ab88-20f7382dd24c'", "records", "role_id"),
    ('update role_assignments set doc = replace(doc, \'"scope":"/"\', \'"scope":"/x"\')', "records", "scope_key"),
    ("update settings set doc = '{' where key in (select key from settings limit 1)", "records", "cannot be read"),
    ("update settings set doc = '[]' where key in (select key from settings limit 1)", "records", "cannot be read"),
    ("update tenants set version = 0", "records", "impossible version"),
    ("update settings set key = 'other' where key in (select key from settings limit 1)", "records", "key"),
    ("delete from tenants", "references", "tenants"),
    ("delete from resources where type = 'microsoft.compute/virtualmachines'", "references", "resources"),
    ("delete from principals where type = 'ManagedIdentity'", "references", "principals"),
    ("delete from resources where type = 'microsoft.compute/virtualmachines'", "owners", "identity of no resource"),
    ('update signing_keys set doc = replace(doc, \'"sealed":"\', \'"sealed":"AAAA\')', "seals", "does not open"),
    (
        "update signing_keys set doc = (select doc from signing_keys where purpose = 'token') where purpose = 'tls-authority'",
        "records",
        "purpose",
    ),
    ('update secrets set doc = replace(doc, \'"sealed":"\', \'"sealed":"AAAA\')', "seals", "does not open"),
    ("update sign_ins set error_code = 1 where position = 1", "logs", "error_code"),
    ("update sign_ins set doc = replace(doc, 'client_id', 'client_ix') where position = 2", "logs", "cannot be read"),
    ("update activity_log set position = -position where position = 2", "logs", "does not come behind"),
    (
        "update activity_log set doc = replace(doc, 'westeurope', 'x'), caller_id = 'nobody' where position = 1",
        "logs",
        "caller_id",
    ),
]


async def test_what_was_changed_behind_the_api_is_found(installation: Installation, tmp_path: Path) -> None:
    assert installation.folder is not None
    for number, (statement, check, said) in enumerate(CHANGES):
        changed = of_folder(Path(shutil.copytree(installation.folder, tmp_path / str(number))))
        change(changed, statement)
        outcome = await examine(changed)
        assert any(said in one.what for one in outcome.findings if one.check == check), (statement, outcome.findings)


async def test_an_edited_log_record_that_agrees_with_itself_is_named(installation: Installation) -> None:
    change(installation, 'update sign_ins set doc = replace(doc, \'"user_agent":"\', \'"user_agent":"x\') where position = 2')
    (found,) = (await examine(installation)).findings
    assert (found.check, found.table, found.key) == ("tree", "sign_ins", "2")
    assert "is not what was recorded" in found.what
    code, findings = run(["--data", str(installation.folder)])
    assert [one["key"] for one in findings] == ["2"]
    met_by("log-edited", answer=f"`idplane admin check`: exit code {code}", record="its output names the record")


async def test_how_much_of_the_logs_was_looked_at_is_told(tmp_path: Path) -> None:
    installation, clock = folder_of(tmp_path / "plane"), FakeClock()
    store = await open_store(installation.address, clock=clock)
    custody = FileCustody.open(installation.key_file, entropy=SystemEntropy(), create=True)
    server = await Server.open(World(clock=clock, entropy=SystemEntropy(), store=store, custody=custody, profile=OPEN))
    for number in range(4):
        await store.commit(Batch.of(Append(log=SIGN_INS, event=sample.sign_in(server.world.entropy.guid(), clock.now()))))
        await server.log.turn()
        clock.advance(timedelta(minutes=11))
        assert number == len(await store.read_log(SIGN_INS)) - 1
    await server.close()
    await store.close()
    part, whole = await examine(installation, newest=2), await examine(installation)
    assert (part.findings, part.examined["tree"]) == ([], 2)
    assert (part.passed_over["tree"], whole.passed_over["tree"]) == (whole.examined["tree"] - 2, 0)
    shown = beside(["--data", str(installation.folder), "--json"])
    assert json.loads(shown.output)["checks"]["tree"]["passedOver"] == 0


async def test_the_command_says_so_in_words_and_json(installation: Installation) -> None:
    folder = str(installation.folder)
    assert run(["--data", folder]) == (0, [])
    change(installation, "update tenants set domain = 'x'", "update settings set key = '[bold]x' where key = 'home-user'")
    code, findings = run(["--data", folder])
    assert code == 2
    met_by("row-changed", answer=f"`idplane admin check`: exit code {code}", record="its output names the row")
    assert {(one["check"], one["table"]) for one in findings} == {("records", "tenants"), ("records", "settings")}
    shown = beside(["--data", folder])
    assert shown.exit_code == 2
    assert "'[bold]x'" in shown.output


def beside(arguments: list[str]) -> Result:
    """The command has an event loop of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(CliRunner().invoke, command, arguments).result()


def run(arguments: list[str]) -> tuple[int, list[dict[str, str]]]:
    result = beside([*arguments, "--json"])
    return result.exit_code, json.loads(result.output)["findings"]


BROKEN: list[tuple[Callable[[Installation], object], str]] = [
    (lambda it: Path(str(it.address)).unlink(), "there is no database"),
    (lambda it: it.key_file.unlink(), "key file .* is missing"),
    (lambda it: Path(str(it.address)).write_bytes(b"x" * 8192), "not a database|damaged"),
    (
        lambda it: change(it, "insert into schema_version (version, name, applied_at) values (9000, 'x', 'x')"),
        "different: 9000",
    ),
]


async def test_what_cannot_be_checked_is_one_sentence(installation: Installation, tmp_path: Path) -> None:
    assert installation.folder is not None
    for number, (break_it, said) in enumerate(BROKEN):
        broken = of_folder(Path(shutil.copytree(installation.folder, tmp_path / str(number))))
        break_it(broken)
        with pytest.raises(BackupProblem, match=said):
            await examine(broken)


@pytest.mark.parametrize("arguments", [[], ["--data", "x", "--config", "y"]])
def test_one_installation_at_a_time(arguments: list[str]) -> None:
    result = CliRunner().invoke(command, arguments)
    assert (result.exit_code, "--config FILE" in result.output) == (2, True)


async def test_a_tree_taken_away_as_a_whole_is_missed(installation: Installation) -> None:
    change(
        installation, "delete from log_checkpoints", "delete from log_entries", "delete from signing_keys where purpose = 'log'"
    )
    assert "tree" in {one.check for one in (await examine(installation)).findings}
