"""Must-show 4: code runs as one machine, unmodified, and gets that machine's identity, whatever it tries."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.stories.planes import IDPLANE, Up

from idplane.jose import parse

GROUP = "resourceGroups/shop"
COMPUTE = "providers/Microsoft.Compute/virtualMachines"


class Shop:
    """A plane with two machines that have identities of their own, and a vault that the first may read."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.scope = f"/subscriptions/{up.info['subscription_id']}/{GROUP}"
        self._put(self.scope, "2024-11-01", {})
        self.first = self.machine("vm-a")
        self.other = self.machine("vm-b")

    def run(self, program: str, *arguments: str, resource: str = "vm-a", options: tuple[str, ...] = ()) -> Any:
        """Run a Python program as a machine and read the JSON that it prints."""
        code = textwrap.dedent(program)
        ended = self.up.cli("run", "--as", resource, *options, "--", sys.executable, "-c", code, *arguments)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def machine(self, name: str) -> dict[str, Any]:
        return self._put(f"{self.scope}/{COMPUTE}/{name}", "2024-11-01", {"identity": {"type": "SystemAssigned"}})

    def _put(self, path: str, version: str, body: dict[str, Any]) -> dict[str, Any]:
        status, answer = self.up.arm("PUT", f"{path}?api-version={version}", {"location": "westeurope", **body})
        assert status in {200, 201}, answer
        result: dict[str, Any] = answer
        return result


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    up = Up(tmp_path_factory.mktemp("shop") / "data")
    yield Shop(up)
    up.stop()


SDK = """
    import json
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
    tokens = [credential().get_token("https://vault.azure.net/.default").token
              for credential in (DefaultAzureCredential, ManagedIdentityCredential)]
    print(json.dumps(tokens))
"""


@pytest.mark.parametrize("options", [(), ("--isolation", "env")], ids=["namespace", "env"])
@pytest.mark.parametrize("machine", ["vm-a", "vm-b"])
def test_the_sdk_gets_the_machines_identity(shop: Shop, machine: str, options: tuple[str, ...]) -> None:
    expected = {"vm-a": shop.first, "vm-b": shop.other}[machine]["identity"]["principalId"]
    tokens = shop.run(SDK, resource=machine, options=options)
    assert [parse(token).claims["oid"] for token in tokens] == [expected, expected]


def test_production_urls_lead_to_the_plane(shop: Shop) -> None:
    program = """
        import json, urllib.error, urllib.request
        def status(url):
            try:
                return urllib.request.urlopen(url, timeout=10).status
            except urllib.error.HTTPError as refusal:
                return refusal.code
        print(json.dumps([status(url) for url in (
            "https://login.microsoftonline.com/common/discovery/instance?api-version=1.1&authorization_endpoint="
            "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
            "https://management.azure.com/subscriptions?api-version=2022-12-01",
            "https://graph.microsoft.com/beta/auditLogs/signIns",
            "https://nothing-here.vault.azure.net/secrets?api-version=7.4",
        )]))
    """
    instance, *guarded = shop.run(program)
    assert instance == 200
    assert set(guarded) <= {401, 404}
    assert guarded[0] == 401


ATTEMPTS = """
    import json, socket, sys
    def ask(host_header, path, extra=""):
        with socket.create_connection(("169.254.169.254", 80), 10) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\\r\\nHost: {host_header}\\r\\nMetadata: true\\r\\n{extra}Connection: close\\r\\n\\r\\n".encode())
            answer = b""
            while more := connection.recv(65536):
                answer += more
        return answer.decode()
    other = json.loads(sys.argv[1])
    resource = "resource=https://management.azure.com/&api-version=2018-02-01"
    base = "/metadata/identity/oauth2/token"
    names = ("client_id", "clientid", "object_id", "principal_id", "principalId", "msi_res_id", "mi_res_id", "msi-res-id", "resource_id")
    values = (other["id"], other["identity"]["principalId"], other["id"].upper(), "*", "")
    answers = [ask("169.254.169.254", f"{base}?{resource}&{name}={value}") for name in names for value in values]
    answers += [ask("169.254.169.254", path) for path in (
        f"//metadata/identity/oauth2/token?{resource}", f"{base}/?{resource}", f"{base}/../token?{resource}",
        f"{other['id']}{base}?{resource}", f"http://169.254.169.254{base}?{resource}", f"{base}%2f?{resource}")]
    answers += [ask(host, f"{base}?{resource}") for host in ("vm-b", other["id"], "localhost", "management.azure.com")]
    answers += [ask("169.254.169.254", f"{base}?{resource}", extra) for extra in (
        f"X-Forwarded-For: 10.0.0.1\\r\\n", f"X-Identity-Header: {other['id']}\\r\\n", f"x-ms-host: {other['id']}\\r\\n")]
    print(json.dumps(answers))
"""


def test_no_trick_gets_another_machines_identity(shop: Shop) -> None:
    answers = shop.run(ATTEMPTS, json.dumps(shop.other))
    assert len(answers) > 50
    own, theirs = shop.first["identity"]["principalId"], shop.other["identity"]["principalId"]
    for answer in answers:
        head, _, body = answer.partition("\r\n\r\n")
        assert theirs not in body
        if head.startswith("HTTP/1.1 200"):
            assert parse(json.loads(body)["access_token"]).claims["oid"] == own


def test_the_workload_has_neither_the_operators_key_nor_the_control_socket(shop: Shop) -> None:
    folder = shop.up.data
    program = "import json, pathlib, sys; print(json.dumps(sorted(str(one) for one in pathlib.Path(sys.argv[1]).iterdir())))"
    seen = [Path(one).name for one in shop.run(program, str(folder))]
    assert not {"operator.pem", "control.sock", "custody.key", "idplane.sqlite"} & set(seen)
    nested = shop.up.cli(
        "run",
        "--as",
        "vm-a",
        "--",
        sys.executable,
        "-c",
        "from idplane.cli.main import main; main()",
        "status",
        "--data",
        str(folder),
    )
    assert nested.returncode == 3


def test_an_identity_that_is_gone_is_gone_inside_too(shop: Shop) -> None:
    shop.machine("vm-c")
    program = """
        import json, sys, urllib.error, urllib.request
        def ask():
            url = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
            try:
                return urllib.request.urlopen(urllib.request.Request(url, headers={"Metadata": "true"})).status
            except urllib.error.HTTPError as refusal:
                return json.load(refusal)["error_description"]
        print(json.dumps(ask()), flush=True)
        sys.stdin.readline()
        print(json.dumps(ask()), flush=True)
    """
    arguments = [
        *IDPLANE,
        "run",
        "--data",
        str(shop.up.data),
        "--as",
        "vm-c",
        "--",
        sys.executable,
        "-c",
        textwrap.dedent(program),
    ]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    assert json.loads(process.stdout.readline()) == 200
    status, _ = shop.up.arm("DELETE", f"{shop.scope}/{COMPUTE}/vm-c?api-version=2024-11-01")
    assert status in {200, 202, 204}
    rest, _ = process.communicate("\n")
    assert json.loads(rest).startswith("Identity not found (refusal id ")


def test_the_sign_in_log_names_the_machine(shop: Shop) -> None:
    shop.run(SDK)
    shown = shop.up.cli("log", "signins", "--json")
    assert shown.returncode == 0, shown.stderr
    names = {event["servicePrincipalName"] for event in json.loads(shown.stdout)}
    assert {"vm-a", "idplane operator"} <= names
