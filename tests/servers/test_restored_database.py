"""Yesterday's database put back behind servers that run: they notice and end, and what an operator does next works."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.attacks.table import met_by
from tests.needed import postgres
from tests.servers.server_world import IDPLANE, Installation, Keeping, psql

from idplane.jose import make_csr, new_ec_key
from idplane.testing.postgres_cluster import Cluster

pytestmark = pytest.mark.wide

GROUP = "resourceGroups/shop"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with postgres() as running:
        yield running


@pytest.fixture
def servers(cluster: Cluster, tmp_path: Path) -> Iterator[Installation]:
    made = Installation.create(tmp_path, cluster)
    yield made
    made.stop_all()


class Operator:
    """What somebody does over the API, at one server."""

    def __init__(self, servers: Installation, name: str = "one") -> None:
        self.client: Keeping = servers.client(servers.ports[name])
        status, answer = self.client.token()
        assert status == 200, answer
        self.token = str(answer["access_token"])
        (subscription,) = self._list("/subscriptions?api-version=2022-12-01")
        self.base = f"/subscriptions/{subscription['subscriptionId']}"

    def _list(self, path: str) -> list[dict[str, str]]:
        _, answer = self.client.ask("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        found = answer["value"]
        assert isinstance(found, list)
        return found

    def arm(self, method: str, path: str, version: str, body: object = None) -> tuple[int, dict[str, object]]:
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.client.ask(method, f"{self.base}/{path}?api-version={version}", document=body, headers=headers)

    def machine(self, name: str) -> None:
        body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
        status, answer = self.arm("PUT", f"{VM}/{name}", "2024-07-01", body)
        assert status in {200, 201}, answer

    def join_token(self) -> str:
        place = f"{VM}/kept/providers/Idplane.Workloads/enrollments/rack"
        status, answer = self.arm("PUT", place, "2026-11-01", {"properties": {"method": "token"}})
        assert status in {200, 201}, answer
        status, answer = self.arm("POST", f"{place}/issueToken", "2026-11-01", {})
        assert status == 200, answer
        return str(answer["token"])

    def join(self, token: str) -> int:
        csr = base64.b64encode(make_csr(new_ec_key(), "agent")).decode()
        body = {"method": "token", "evidence": {"token": token}, "csr": csr, "protocol": 1}
        return self.client.ask("POST", "/agent/v1/enrollments", document=body)[0]


def keep(servers: Installation, path: Path, more_than: int) -> int:
    """Keep the newest checkpoint elsewhere, once it covers more records than that; how many it covers."""
    until = time.monotonic() + 30
    newest = servers.folder / "one" / "log.checkpoint"
    while time.monotonic() < until:
        note = newest.read_text() if newest.exists() else "\n0"
        if int(note.splitlines()[1]) > more_than:
            path.write_text(note)
            return int(note.splitlines()[1])
        threading.Event().wait(0.05)
    raise AssertionError("no checkpoint")


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*IDPLANE, *map(str, arguments)], check=False, capture_output=True, text=True)


def test_yesterday_s_database_behind_running_servers(cluster: Cluster, servers: Installation) -> None:
    folder, database = servers.folder, urlsplit(servers.url).path[1:]
    dump = folder / "yesterday.dump"
    servers.start("one", "two")
    operator = Operator(servers)
    operator.arm("PUT", GROUP, "2022-09-01", {"location": "westeurope"})
    for name in ("kept", "revoked"):
        operator.machine(name)
    token = operator.join_token()
    size = keep(servers, folder / "kept-before", 5)
    subprocess.run([cluster.binaries / "pg_dump", "-Fc", "-f", dump, servers.url], check=True)

    assert operator.join(token) == 200
    assert operator.arm("DELETE", f"{VM}/revoked", "2024-07-01")[0] in {200, 202, 204}
    operator.machine("today")
    keep(servers, folder / "kept-after", size + 1)
    subprocess.run(
        [cluster.binaries / "pg_restore", "--clean", "--if-exists", "--single-transaction", "-d", servers.url, dump], check=True
    )
    signed = psql(cluster, database, "select coalesce(max(size), 0) from log_checkpoints")

    operator.client.close()

    # Nobody serves what went back: a cache of today's and the records of yesterday's would be neither.
    for name in ("one", "two"):
        process = servers.processes.pop(name)
        assert process.wait(60) == 1
        assert process.stdout is not None
        process.stdout.close()
    assert "database" in servers.logs()
    assert psql(cluster, database, "select coalesce(max(size), 0) from log_checkpoints") == signed, (
        "nothing was signed on top of it"
    )

    found = command("log", "verify", "--config", servers.config("one"), "--checkpoint", folder / "kept-after")
    assert (found.returncode, "rolled back" in found.stdout) == (1, True), found
    met_by("restored", answer="the servers end with exit code 1", record="`idplane log verify`: rolled back")
    found = command("log", "verify", "--config", servers.config("one"), "--checkpoint", folder / "kept-before")
    assert found.returncode == 0, found

    # By way of a backup: so the feed begins anew, for agents that followed today's, and no join token comes back.
    backup = folder / "yesterday.jsonl"
    found = command("admin", "backup", "--config", servers.config("one"), backup)
    assert found.returncode == 0, found
    old, servers.url = servers.url, cluster.url(f"{database}_again")
    psql(cluster, "postgres", f"create database {database}_again")
    found = command("admin", "restore", "--config", servers.config("one"), backup)
    assert found.returncode == 0, found
    found = command("admin", "check", "--config", servers.config("one"), "--json")
    assert json.loads(found.stdout)["good"], found
    found = command("log", "verify", "--config", servers.config("one"), "--checkpoint", folder / "kept-before")
    assert found.returncode == 0, found
    for name in ("one", "two"):
        (folder / name / "log.checkpoint").unlink()
    servers.start("one", "two")

    again = Operator(servers, "two")
    assert (
        again.client.ask("GET", f"{again.base}?api-version=2022-12-01", headers={"Authorization": f"Bearer {operator.token}"})[
            0
        ]
        == 200
    )
    assert again.join(token) == 403, "used yesterday or today, it is good for nobody"
    assert [again.arm("GET", f"{VM}/{name}", "2024-07-01")[0] for name in ("kept", "revoked", "today")] == [200, 200, 404]
    assert again.join(again.join_token()) == 200
    again.client.close()
    assert keep(servers, folder / "kept-again", size) > size
    found = command("log", "verify", "--config", servers.config("one"), "--checkpoint", folder / "kept-before")
    assert found.returncode == 0, found
    assert old != servers.url
