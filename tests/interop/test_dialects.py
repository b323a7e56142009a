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
from tests.stories.planes import Up
from tests.stories.workloads import require_namespaces

from idplane.model.dialects import Dialect
from idplane.testing.local import LocalPlane

pytestmark = pytest.mark.wide

PROGRAM = str(Path(__file__).with_name("inside_dialects.py"))
WAYS = ("none", "client_id", "object_id", "resource_id")
CLIENTS = ("sync", "aio", "msal")
REFUSED = {"ClientAuthenticationError", "CredentialUnavailableError", "ValueError", "KeyError"}
EVERY_WAY = dict.fromkeys(WAYS, "ok")
CLIENT_ID_ONLY = {"none": "ok", "client_id": "ok"}
"""What each dialect lets code name; anything else is refused, by the client itself or by us."""
ENDPOINTS = tuple(one for one in Dialect if one is not Dialect.WORKLOAD_IDENTITY)
"""Workload identity has none (`test_workload_identity.py`)."""
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
                assert got in REFUSED, (client, way)


def ignores_names(dialect: Dialect) -> bool:
    """msal sends no name of an identity there, and says so in its log."""
    return dialect in {Dialect.SERVICE_FABRIC, Dialect.CLOUD_SHELL}


@pytest.mark.parametrize("dialect", [one for one in ENDPOINTS if one is not Dialect.ARC])
def test_by_variables(idplane: LocalPlane, dialect: Dialect) -> None:
    shared = idplane.user_assigned_identity("shared")
    machine = idplane.virtual_machine("vm", identities=[shared])
    assert machine.identity is not None
    ways = {"none": "", "client_id": shared.client_id, "object_id": shared.principal_id, "resource_id": shared.id}
    ended = subprocess.run(
        [sys.executable, PROGRAM, json.dumps(ways), idplane.tenant_id],
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


@pytest.mark.parametrize("dialect", ENDPOINTS)
def test_inside_a_run(fleet: Fleet, dialect: Dialect) -> None:
    ended = fleet.run("--dialect", dialect, "--", sys.executable, PROGRAM, json.dumps(fleet.ways), fleet.up.info["tenant_id"])
    assert ended.returncode == 0, ended.stderr
    check(dialect, json.loads(ended.stdout), fleet.system, fleet.shared)


@pytest.mark.parametrize("dialect", [one for one in ENDPOINTS if one is not Dialect.IMDS])
def test_only_the_hosts_own_endpoint_answers(fleet: Fleet, dialect: Dialect) -> None:
    code = "import socket; socket.create_connection(('169.254.169.254', 80), timeout=5)"
    ended = fleet.run("--dialect", dialect, "--", sys.executable, "-c", code)
    assert ended.returncode == 1
    assert "ConnectionRefusedError" in ended.stderr


def listing() -> dict[str, list[str]]:
    return {path: sorted(one.name for one in Path(path).iterdir()) for path in ("/opt", "/var/opt")}


def test_arcs_folders_leave_everything_else_in_place(fleet: Fleet) -> None:
    code = (
        "import json, os\n"
        "shown = {path: sorted(os.listdir(path)) for path in ('/opt', '/var/opt', '/opt/azcmagent/bin')}\n"
        "told = os.stat('/opt/azcmagent/bin/himds').st_size > 0\n"
        "print(json.dumps([shown, os.stat('/var/opt/azcmagent/tokens').st_mode & 0o777, told]))"
    )
    before = listing()
    ended = fleet.run("--dialect", "arc", "--", sys.executable, "-c", code)
    assert ended.returncode == 0, ended.stderr
    inside, mode, told = json.loads(ended.stdout)
    for path, names in before.items():
        assert inside[path] == sorted({*names, "azcmagent"})
    assert (inside["/opt/azcmagent/bin"], mode, told) == (["himds"], 0o700, True)
    assert listing() == before


def test_arc_is_found_by_its_program_alone(fleet: Fleet) -> None:
    """As msal finds it on a machine where nobody set variables."""
    command = ["env", "-u", "IDENTITY_ENDPOINT", "-u", "IMDS_ENDPOINT", sys.executable, PROGRAM]
    # Without variables azure-identity would try IMDS again and again, for most of a minute on a busy machine.
    ended = fleet.run("--dialect", "arc", "--", *command, json.dumps(fleet.ways), fleet.up.info["tenant_id"], "msal")
    assert ended.returncode == 0, ended.stderr
    check(Dialect.ARC, json.loads(ended.stdout), fleet.system, fleet.shared, ("msal",))


def test_forged_arc_files_inside_a_run(fleet: Fleet) -> None:
    """The workload owns the folder, and gains nothing by writing to it."""
    code = (
        "import json, os, urllib.request, urllib.error\n"
        "url = 'http://localhost:40342/metadata/identity/oauth2/token?api-version=2020-06-01&resource=https://vault.azure.net'\n"
        "folder = '/var/opt/azcmagent/tokens/'\n"
        "def ask(key=None):\n"
        "    headers = {'Metadata': 'true'} | ({'Authorization': 'Basic ' + key} if key is not None else {})\n"
        "    try:\n"
        "        return urllib.request.urlopen(urllib.request.Request(url, headers=headers)).status, None\n"
        "    except urllib.error.HTTPError as error:\n"
        "        return error.code, (error.headers['WWW-Authenticate'] or '').partition('=')[2]\n"
        "path = ask()[1]\n"
        "good = open(path).read()\n"
        "open(folder + 'mine.key', 'w').write('m' * 96)\n"
        "open(folder + 'large.key', 'w').write('l' * 4097)\n"
        "os.symlink('/etc/hostname', folder + 'link.key')\n"
        "forged = [ask(open(folder + name).read().strip())[0] for name in ('mine.key', 'large.key', 'link.key')]\n"
        "print(json.dumps([forged, ask(good)[0], ask(good)[0]]))\n"
    )
    ended = fleet.run("--dialect", "arc", "--", sys.executable, "-c", code)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == [[401, 401, 401], 200, 401]


@pytest.mark.parametrize("dialect", [one for one in ENDPOINTS if one is not Dialect.ARC])
def test_variables_for_any_program(fleet: Fleet, dialect: Dialect) -> None:
    printed = fleet.up.cli("env", "--as", "vm", "--dialect", dialect, "--json")
    assert printed.returncode == 0, printed.stderr
    opened = json.loads(printed.stdout)
    ended = subprocess.run(
        [sys.executable, PROGRAM, json.dumps({"none": ""}), fleet.up.info["tenant_id"]],
        env={**CLEAN, **opened["variables"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(ended.stdout)["sync none"] == fleet.system
    assert fleet.up.cli("env", "--revoke", opened["id"]).returncode == 0


@pytest.mark.parametrize("dialect", [Dialect.SERVICE_FABRIC, Dialect.MACHINE_LEARNING, Dialect.IMDS])
def test_a_run_without_a_namespace(fleet: Fleet, dialect: Dialect) -> None:
    arguments = (sys.executable, PROGRAM, json.dumps(fleet.ways), fleet.up.info["tenant_id"])
    ended = fleet.run("--isolation", "env", "--dialect", dialect, "--", *arguments)
    assert ended.returncode == 0, ended.stderr
    check(dialect, json.loads(ended.stdout), fleet.system, fleet.shared)
