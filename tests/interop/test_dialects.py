"""Every dialect with the real Python clients, for every way to name an identity: by variables, and inside a run (MIE section 8.1)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.stories.planes import IDPLANE, Up
from tests.stories.workloads import require_namespaces

from idplane.model.dialects import Dialect
from idplane.testing.local import LocalPlane

PROGRAM = str(Path(__file__).with_name("inside_dialects.py"))
WAYS = ("none", "client_id", "object_id", "resource_id")
CLIENTS = ("sync", "aio", "msal")
ERROR = "ClientAuthenticationError"
EVERY_WAY = dict.fromkeys(WAYS, "ok")
CLIENT_ID_ONLY = {"none": "ok", "client_id": "ok"}
"""What each dialect lets code name; anything else is refused, by the client itself or by us."""
SUPPORTED: Mapping[Dialect, Mapping[str, str]] = {
    Dialect.IMDS: EVERY_WAY,
    Dialect.APP_SERVICE: EVERY_WAY,
    Dialect.APP_SERVICE_2017: CLIENT_ID_ONLY,
    Dialect.ARC: EVERY_WAY,
    Dialect.SERVICE_FABRIC: {"none": "ok"},
    Dialect.CLOUD_SHELL: {"none": "ok"},
    Dialect.MACHINE_LEARNING: CLIENT_ID_ONLY,
}
STEERING = ("AZURE_", "IDENTITY_", "MSI_", "IMDS_", "REQUESTS_", "SSL_", "HTTP_", "HTTPS_", "http_", "https_")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(STEERING)}


def check(dialect: Dialect, given: Mapping[str, str], system: str, shared: str, clients: tuple[str, ...] = CLIENTS) -> None:
    """Each supported cell is the identity that was meant, each other one an exception."""
    for client in clients:
        for way in WAYS:
            got = given[f"{client} {way}"]
            if way in SUPPORTED[dialect] or (client == "msal" and ignores_names(dialect)):
                named = way in SUPPORTED[dialect] and way != "none"
                assert got == (shared if named else system), (client, way)
            else:
                assert got in {ERROR, "ValueError", "KeyError"}, (client, way)


def ignores_names(dialect: Dialect) -> bool:
    """msal sends no name of an identity there, and says so in its log."""
    return dialect in {Dialect.SERVICE_FABRIC, Dialect.CLOUD_SHELL}


@pytest.mark.parametrize("dialect", [one for one in Dialect if one is not Dialect.ARC])
def test_by_variables(idplane: LocalPlane, dialect: Dialect) -> None:
    shared = idplane.user_assigned_identity("shared")
    machine = idplane.virtual_machine("vm", identities=[shared])
    assert machine.identity is not None
    ways = {"none": "", "client_id": shared.client_id, "object_id": shared.principal_id, "resource_id": shared.id}
    ended = subprocess.run(
        [sys.executable, PROGRAM, json.dumps(ways)],
        env={**CLEAN, **idplane.environment(machine, dialect=dialect)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    # msal's own way into Cloud Shell has its address built in, which exists inside a run only.
    clients = ("sync", "aio") if dialect is Dialect.CLOUD_SHELL else CLIENTS
    check(dialect, json.loads(ended.stdout), machine.identity.principal_id, shared.principal_id, clients)


class Fleet:
    """A machine with two identities on a plane of its own."""

    def __init__(self, up: Up) -> None:
        self.up = up
        group = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/fleet"
        self._put(group, "2024-11-01", {})
        shared = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shared"
        made = self._put(shared, "2024-11-30", {})
        block = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {shared: {}}}
        host = self._put(f"{group}/providers/Microsoft.Compute/virtualMachines/vm", "2024-11-01", {"identity": block})
        self.system = host["identity"]["principalId"]
        self.shared = made["properties"]["principalId"]
        client_id = made["properties"]["clientId"]
        self.ways = {"none": "", "client_id": client_id, "object_id": self.shared, "resource_id": made["id"]}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.up.cli("run", "--as", "vm", *arguments, env=CLEAN)

    def _put(self, path: str, version: str, body: dict[str, Any]) -> dict[str, Any]:
        status, answer = self.up.arm("PUT", f"{path}?api-version={version}", {"location": "westeurope", **body})
        assert status in {200, 201}, answer
        result: dict[str, Any] = answer
        return result


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    require_namespaces()
    up = Up(tmp_path_factory.mktemp("fleet") / "data")
    yield Fleet(up)
    up.stop()


@pytest.mark.parametrize("dialect", Dialect)
def test_inside_a_run(fleet: Fleet, dialect: Dialect) -> None:
    ended = fleet.run("--dialect", dialect, "--", sys.executable, PROGRAM, json.dumps(fleet.ways))
    assert ended.returncode == 0, ended.stderr
    check(dialect, json.loads(ended.stdout), fleet.system, fleet.shared)


@pytest.mark.parametrize("dialect", [one for one in Dialect if one is not Dialect.IMDS])
def test_only_the_hosts_own_endpoint_answers(fleet: Fleet, dialect: Dialect) -> None:
    code = "import socket; socket.create_connection(('169.254.169.254', 80), timeout=5)"
    ended = fleet.run("--dialect", dialect, "--", sys.executable, "-c", code)
    assert ended.returncode == 1
    assert "ConnectionRefusedError" in ended.stderr
