"""`idplane az` with a stand-in for the Azure CLI: what it is given, when it is set up anew, and what passes through.

The real one is driven in `clients/`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.run_world import PLANE_PORT, RunWorld, run_world

CLIENT = "11111111-1111-1111-1111-111111111111"
STAND_IN = f"""#!{sys.executable}
import json, os, pathlib, subprocess, sys
arguments = sys.argv[1:]
with open(os.environ["AZ_CALLS"], "a") as calls:
    calls.write(json.dumps(dict(arguments=arguments, variables=dict(os.environ))) + "\\n")
home = pathlib.Path(os.environ["AZURE_CONFIG_DIR"])
if arguments[0] in ("cloud", "login") and os.environ.get("AZ_FAILS"):
    sys.exit("ERROR: the stand-in fails")
if arguments[0] == "cloud":
    home.mkdir(exist_ok=True)
    (home / "clouds.config").write_text("[idplane]\\nendpoint_resource_manager = x\\n")
elif arguments[0] == "login":
    user = arguments[arguments.index("--username") + 1]
    entry = dict(environmentName=os.environ["AZURE_CLOUD_NAME"], user=dict(name=user))
    (home / "azureProfile.json").write_text("\\ufeff" + json.dumps(dict(subscriptions=[entry])), encoding="utf-8")
    (home / "service_principal_entries.json").write_text(json.dumps([dict(client_id=user)]))
elif arguments[0] == "sh":
    os.execvp("sh", arguments)
"""
Az = Callable[..., "subprocess.CompletedProcess[str]"]


class Calls:
    """What the stand-in was started with."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def take(self) -> list[Mapping[str, Any]]:
        found = [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []
        self.file.unlink(missing_ok=True)
        return found

    def words(self) -> list[str]:
        return [" ".join(call["arguments"][:2]) for call in self.take()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RunWorld]:
    with run_world(tmp_path / "data") as world:
        yield world


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    return Calls(tmp_path / "calls")


@pytest.fixture
def variables(tmp_path: Path, calls: Calls) -> dict[str, str]:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "az").write_text(STAND_IN)
    (folder / "az").chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return {**kept, "PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(home), "AZ_CALLS": str(calls.file)}


@pytest.fixture
def az(world: RunWorld, variables: dict[str, str]) -> Az:
    def call(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return world.idplane("az", *arguments, **{"env": variables, **options})

    return call


def describe(world: RunWorld, **changed: object) -> None:
    file = world.folder / "plane.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


# Set-up


def test_the_first_call_sets_up_and_later_ones_do_not(az: Az, calls: Calls) -> None:
    assert az("group", "list").returncode == 0
    assert calls.words() == ["cloud register", "login --service-principal", "group list"]
    assert az("group", "list").returncode == 0
    assert calls.words() == ["group list"]


def test_what_changed_is_done_again_and_nothing_else(az: Az, calls: Calls, world: RunWorld) -> None:
    az("version")
    calls.take()
    describe(world, arm="https://localhost:1234")
    az("version")
    assert calls.words() == ["cloud update", "version"]
    (world.folder / "operator.pem").write_text("another key")
    az("version")
    assert calls.words() == ["login --service-principal", "version"]
    describe(world, operator_client_id="22222222-2222-2222-2222-222222222222")
    az("version")
    assert calls.words() == ["login --service-principal", "version"]


@pytest.mark.parametrize("file", ["azureProfile.json", "service_principal_entries.json", "clouds.config", "idplane.json"])
@pytest.mark.parametrize("content", [None, "\udcff"])
def test_what_is_lost_is_made_again(az: Az, calls: Calls, world: RunWorld, file: str, content: str | None) -> None:
    az("version")
    path = world.folder / "azure-cli" / file
    path.unlink() if content is None else path.write_text(content, errors="surrogateescape")
    calls.take()
    assert az("version").returncode == 0
    assert len(calls.take()) >= 2
    az("version")
    assert calls.words() == ["version"]


def test_somebody_else_stays_signed_in(az: Az, calls: Calls, world: RunWorld) -> None:
    az("version")
    other = {"environmentName": "idplane", "user": {"name": "somebody else"}}
    (world.folder / "azure-cli" / "azureProfile.json").write_text(json.dumps({"subscriptions": [other]}))
    calls.take()
    az("version")
    assert calls.words() == ["version"]


def test_whoever_is_signed_in_to_another_cloud_does_not_count(az: Az, calls: Calls, world: RunWorld) -> None:
    az("version")
    other = {"environmentName": "AzureCloud", "user": {"name": CLIENT}}
    (world.folder / "azure-cli" / "azureProfile.json").write_text(json.dumps({"subscriptions": [other]}))
    calls.take()
    az("version")
    assert calls.words() == ["login --service-principal", "version"]


def test_a_failed_set_up_is_one_sentence_and_is_tried_again(az: Az, calls: Calls, variables: dict[str, str]) -> None:
    failed = az("version", env={**variables, "AZ_FAILS": "1"})
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == ("idplane: 'az cloud' failed while it was being set up for the plane: ERROR: the stand-in fails\n")
    calls.take()
    assert az("version").returncode == 0
    assert len(calls.take()) == 3


def test_commands_started_together_set_up_once(world: RunWorld, calls: Calls, variables: dict[str, str]) -> None:
    command = world.command("az", "--data", str(world.folder), "version")
    together = [subprocess.Popen(command, env=variables) for _ in range(3)]
    assert [one.wait(60) for one in together] == [0, 0, 0]
    assert sorted(calls.words()) == ["cloud register", "login --service-principal", "version", "version", "version"]


# What az is given


def test_az_sees_the_plane_and_nothing_of_the_users(az: Az, calls: Calls, world: RunWorld, variables: dict[str, str]) -> None:
    own = {"AZURE_CONFIG_DIR": "/mine", "ARM_CLOUD_METADATA_URL": "https://elsewhere", "AZURE_CLOUD_NAME": "AzureCloud"}
    az("version", env={**variables, **own, "REQUESTS_CA_BUNDLE": "/mine.pem", "AZURE_DEFAULTS_GROUP": "g"})
    for call in calls.take():
        seen = call["variables"]
        assert seen["AZURE_CONFIG_DIR"] == str(world.folder / "azure-cli")
        assert "ARM_CLOUD_METADATA_URL" not in seen
        assert seen.get("AZURE_CLOUD_NAME") == (None if call["arguments"][0] == "cloud" else "idplane")
        assert (world.folder / "ca.pem").read_text() in Path(seen["REQUESTS_CA_BUNDLE"]).read_text()
        assert seen["AZURE_CORE_INSTANCE_DISCOVERY"] == seen["AZURE_CORE_COLLECT_TELEMETRY"] == "false"
        assert seen["AZURE_DEFAULTS_GROUP"] == "g"
    assert list(Path(variables["HOME"]).iterdir()) == []


def test_its_folder_is_its_owners_alone(az: Az, world: RunWorld) -> None:
    az("version")
    assert (world.folder / "azure-cli").stat().st_mode & 0o777 == 0o700


def test_no_command_line_holds_a_secret(az: Az, calls: Calls, world: RunWorld) -> None:
    az("version")
    made = calls.take()
    lines = [" ".join(call["arguments"]) for call in made]
    secret = re.fullmatch(r"http://run:([0-9a-f]{64})@127\.0\.0\.1:\d+", made[-1]["variables"]["HTTPS_PROXY"])
    assert secret
    assert not any(secret[1] in line or "the operator's key" in line for line in lines)
    assert f"--certificate {world.folder / 'operator.pem'} " in lines[1]


def test_vault_names_are_reached_through_a_tunnel_that_ends_with_az(az: Az, world: RunWorld) -> None:
    script = "echo $HTTPS_PROXY; echo $NO_PROXY; kill -9 $$"
    ended = az("sh", "-c", script)
    assert ended.returncode == -signal.SIGKILL
    proxy, bypassed = ended.stdout.splitlines()
    assert "localhost" not in bypassed
    port = int(proxy.rpartition(":")[2])
    world.wait_until(lambda: not world.runs.tunnels.count)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_proxy_of_the_users_stays_and_is_not_asked_for_the_plane(az: Az, calls: Calls, variables: dict[str, str]) -> None:
    az("version", env={**variables, "https_proxy": "http://proxy.example:3128"})
    seen = calls.take()[-1]["variables"]
    assert seen["https_proxy"] == "http://proxy.example:3128"
    assert "HTTPS_PROXY" not in seen
    assert "localhost" in seen["NO_PROXY"].split(",")


# What passes through


@pytest.mark.parametrize("code", [0, 3])
def test_exit_code_and_streams_are_az_s(az: Az, code: int) -> None:
    ended = az("sh", "-c", f"cat; echo words >&2; exit {code}", stdin=None, input="what goes in")
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "what goes in", "words\n")


def test_arguments_pass_verbatim(az: Az, calls: Calls) -> None:
    words = ["rest", "", "a b", "--data", "x", "--help", "--json", "-h", "--", "*", "$HOME", "caf\u00e9"]
    az(*words)
    assert calls.take()[-1]["arguments"] == words


def test_options_alone_are_az_s(az: Az, calls: Calls) -> None:
    az("--version")
    assert calls.take()[-1]["arguments"] == ["--version"]
    az("--", "--help")
    assert calls.take()[-1]["arguments"] == ["--help"]


def test_the_process_is_az(world: RunWorld, variables: dict[str, str]) -> None:
    command = world.command("az", "--data", str(world.folder), "sh", "-c", "echo $$; cat")
    with subprocess.Popen(command, env=variables, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        process.communicate()


# Refusals


def test_without_az_there_is_one_sentence_that_says_how_to_get_it(world: RunWorld, variables: dict[str, str]) -> None:
    ended = world.idplane("az", "version", env={**variables, "PATH": "/nowhere"})
    assert (ended.returncode, ended.stdout) == (127, "")
    assert ended.stderr.startswith("idplane: the Azure CLI is not installed: ")
    assert ended.stderr.count("\n") == 1
    named = world.idplane("az", "--az", "/nowhere/az", "version", env=variables)
    assert (named.returncode, named.stderr) == (127, "idplane: /nowhere/az is not a program\n")


def test_az_may_be_named(world: RunWorld, variables: dict[str, str], calls: Calls, tmp_path: Path) -> None:
    named = world.idplane("az", "--az", str(tmp_path / "bin" / "az"), "version", env={**variables, "PATH": os.environ["PATH"]})
    assert named.returncode == 0
    assert calls.words()[-1] == "version"


def test_a_program_that_is_none_is_one_sentence(world: RunWorld, variables: dict[str, str], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/nowhere\n")
    broken.chmod(0o755)
    ended = world.idplane("az", "--az", str(broken), "version", env=variables)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"idplane: {broken} can't be run: No such file or directory\n"


def test_json_is_for_set_up_only(az: Az) -> None:
    assert az("--json", "group", "list").returncode == 2


# As commands


def test_set_up_as_commands_does_the_same(az: Az, calls: Calls, world: RunWorld, variables: dict[str, str]) -> None:
    printed = az("setup").stdout
    subprocess.run(["sh", "-e", "-c", f"{printed}\naz version"], env=variables, check=True, timeout=60)
    by_hand = calls.take()
    assert az("version").returncode == 0
    by_us = calls.take()
    assert [call["arguments"][0] for call in by_hand] == ["cloud", "login", "version"]
    names = ("AZURE_CONFIG_DIR", "REQUESTS_CA_BUNDLE", "AZURE_CLOUD_NAME", "AZURE_CORE_INSTANCE_DISCOVERY")
    assert [by_hand[-1]["variables"][name] for name in names] == [by_us[-1]["variables"][name] for name in names]
    assert f"https://localhost:{PLANE_PORT}" in by_hand[0]["arguments"]
    assert by_hand[1]["arguments"] == by_us[1]["arguments"]


def test_set_up_as_json_names_the_same_commands(az: Az, world: RunWorld) -> None:
    document = json.loads(az("--json", "setup").stdout)
    assert [one[:2] for one in document["commands"]] == [["az", "cloud"], ["az", "login"]]
    assert document["variables"]["AZURE_CONFIG_DIR"] == str(world.folder / "azure-cli")


def test_set_up_starts_nothing(az: Az, calls: Calls, world: RunWorld) -> None:
    az("setup")
    assert calls.take() == []
    assert not (world.folder / "azure-cli").exists()
