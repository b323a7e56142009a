"""Data folders of earlier programs are opened by today's, with everything in them; and what becomes of those that go back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.servers.server_world import free_port
from tests.stories.planes import Up, send
from tests.stories.workloads import Owner
from tests.upgrade.programs import DECLARED, TODAY, Earlier, Program, declared

pytestmark = pytest.mark.wide

ARM = "https://management.azure.com"
VAULT = "https://vault.azure.net"
GRAPH = "https://graph.microsoft.com"

Start = Callable[[Program], Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a version's plane over the folder, at the same address each time."""
    started: list[Up] = []
    port = str(free_port())

    def run(program: Program) -> Up:
        options = ("--port", port, "--no-rates")
        started.append(
            Up(tmp_path / "data", *options, program=program.command, environment=program.environment),
        )
        return started[-1]

    yield run
    for up in started:
        if up.process.poll() is None:
            up.kill()


class Shop:
    """What stands in a plane, and the tokens that it gave out."""

    def __init__(self, up: Up) -> None:
        owner = Owner(up)
        shared = owner.id("Microsoft.ManagedIdentity/userAssignedIdentities", "shared")
        client_id = owner.call("PUT", shared, {"location": "westeurope"})["properties"]["clientId"]
        machine = owner.machine("vm", shared)
        vault = owner.vault("prices", bread="12")
        owner.grant(machine["identity"]["principalId"], "Key Vault Secrets User", vault)
        name = {"displayName": "Ada", "mailNickname": "ada", "accountEnabled": True}
        home = graph(up, "GET", "/v1.0/users")["value"][0]["userPrincipalName"].rpartition("@")[2]
        graph(up, "POST", "/v1.0/users", {**name, "userPrincipalName": f"ada@{home}"})
        self.tokens = {
            "operator": up.operator_token(ARM),
            "machine": workload_token(up, "--as", "vm"),
            "shared": workload_token(up, "--as", "vm", "--client-id", client_id),
        }

    def check_tokens(self, up: Up) -> None:
        """Each still counts for what it counted for."""
        owner = Owner.__new__(Owner)
        owner.up = up
        assert up.arm("GET", "/subscriptions?api-version=2022-12-01", token=self.tokens["operator"])[0] == 200
        status, answer = owner.vault_request("GET", "prices", "bread", token=self.tokens["machine"])
        assert (status, answer.get("value")) == (200, "12")
        assert owner.vault_request("GET", "prices", "bread", token=self.tokens["shared"])[0] == 403
        forged = self.tokens["machine"][:-8] + "AAAAAAAA"
        assert owner.vault_request("GET", "prices", "bread", token=forged)[0] == 401


def graph(up: Up, method: str, path: str, body: Any = None) -> Any:
    headers = {"authorization": f"Bearer {up.operator_token(GRAPH)}", "content-type": "application/json"}
    with closing(up.connect()) as connection:
        status, answer = send(connection, method, path, None if body is None else json.dumps(body), headers)
    assert status < 300, answer
    return answer


def workload_token(up: Up, *how: str) -> str:
    shown = up.cli("token", *how, "--resource", VAULT, "--json")
    assert shown.returncode == 0, shown.stderr
    return str(json.loads(shown.stdout)["access_token"])


def everything(up: Up) -> dict[str, Any]:
    """What a plane answers of all that stands in it."""
    scope = f"/subscriptions/{up.info['subscription_id']}"
    paths = {
        "resources": f"{scope}/resources?api-version=2024-11-01",
        "groups": f"{scope}/resourceGroups?api-version=2024-11-01",
        "roles": f"{scope}/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01",
        "definitions": f"{scope}/providers/Microsoft.Authorization/roleDefinitions?api-version=2022-04-01",
    }
    found = {name: up.arm("GET", path)[1] for name, path in paths.items()}
    found["machine"] = up.arm(
        "GET", f"{scope}/resourceGroups/contoso/providers/Microsoft.Compute/virtualMachines/vm?api-version=2024-11-01"
    )[1]
    found["users"] = graph(up, "GET", "/v1.0/users")
    # An identity's certificates come and go with the agent that holds their keys.
    principals = graph(up, "GET", "/v1.0/servicePrincipals")["value"]
    found["principals"] = [{name: value for name, value in one.items() if name != "keyCredentials"} for one in principals]
    return found


def records(up: Up, kind: str) -> dict[str, Any]:
    """The log, by the records' ids."""
    shown = up.cli("log", kind, "--json")
    assert shown.returncode == 0, shown.stderr
    return {one.get("eventDataId") or one["id"]: one for one in json.loads(shown.stdout)}


def verified(up: Up) -> int:
    """How many records the log's tree holds, all as they were."""
    shown = up.cli("log", "verify", "--json")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    report = json.loads(shown.stdout)
    assert report["findings"] == [], report
    return int(report["size"])


def check_work(up: Up, name: str) -> None:
    """Whatever one does with a plane can be done with this one."""
    owner = Owner(up)
    made = owner.machine(name)
    owner.grant(made["identity"]["principalId"], "Key Vault Secrets User", owner.id("Microsoft.KeyVault/vaults", "prices"))
    token = workload_token(up, "--as", name)
    assert owner.vault_request("GET", "prices", "bread", token=token)[1]["value"] == "12"
    owner.call("DELETE", made["id"])
    assert owner.vault_request("GET", "prices", "bread", token=token)[0] == 401


@pytest.mark.parametrize("name", DECLARED)
def test_a_data_folder_is_opened_with_everything_in_it(earlier: Earlier, start: Start, name: str) -> None:
    up = start(earlier(name))
    shop = Shop(up)
    kept, activity, sign_ins = everything(up), records(up, "activity"), records(up, "signins")
    assert up.stop() == 0

    up = start(TODAY)
    assert up.cli("status", "--json").returncode == 0
    shop.check_tokens(up)
    assert everything(up) == kept
    check_work(up, "another")
    assert activity.items() <= records(up, "activity").items()
    assert sign_ins.items() <= records(up, "signins").items()
    assert verified(up) >= len(activity) + len(sign_ins)
    assert up.stop() == 0
    checked = TODAY.run("admin", "check", "--data", str(up.data), "--json")
    assert checked.returncode == 0, checked.stdout


def test_a_program_before_servers_refuses_today_s_folder_and_leaves_it_alone(earlier: Earlier, start: Start) -> None:
    up = start(TODAY)
    shop = Shop(up)
    kept = everything(up)
    assert up.stop() == 0
    before = digests(up.data)

    refused = earlier("before-servers").run("up", "--data", str(up.data), "--port", "0", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("idplane: ")
    assert "the database was written by a newer idplane (its schema is " in refused.stderr
    assert (refused.stdout, refused.stderr.count("\n")) == ("", 1)
    assert digests(up.data) == before

    up = start(TODAY)
    assert everything(up) == kept
    shop.check_tokens(up)


def digests(folder: Path) -> dict[str, str]:
    """Of every file but locks and what the database keeps beside itself while it is open."""
    files = (one for one in folder.rglob("*") if one.is_file() and not one.name.endswith(("lock", "-shm", "-wal")))
    return {str(one): hashlib.sha256(one.read_bytes()).hexdigest() for one in files}


@pytest.mark.parametrize("name", declared("servers"))
def test_whoever_goes_back_one_version_loses_nothing(earlier: Earlier, start: Start, name: str) -> None:
    up = start(TODAY)
    shop = Shop(up)
    kept = everything(up)
    assert up.stop() == 0

    up = start(earlier(name))
    shop.check_tokens(up)
    assert everything(up) == kept
    check_work(up, "meanwhile")
    written = verified(up)
    assert up.stop() == 0

    up = start(TODAY)
    shop.check_tokens(up)
    assert everything(up) == kept
    assert verified(up) >= written


@pytest.mark.parametrize("name", declared("servers"))
def test_a_backup_is_restored(earlier: Earlier, start: Start, tmp_path: Path, name: str) -> None:
    up = start(earlier(name))
    shop = Shop(up)
    kept = everything(up)
    assert up.stop() == 0
    file = str(tmp_path / "backup")
    earlier(name).run("admin", "backup", "--data", str(up.data), file)

    folder = up.data.rename(tmp_path / "lost")
    up.data.mkdir(mode=0o700)
    for path in folder.iterdir():  # what a backup does not hold, and its owner keeps
        if path.is_file() and "sqlite" not in path.name and path.suffix in {".key", ".pem"}:
            path.rename(up.data / path.name)
    TODAY.run("admin", "restore", "--data", str(up.data), file)
    up = start(TODAY)
    shop.check_tokens(up)
    assert everything(up) == kept
