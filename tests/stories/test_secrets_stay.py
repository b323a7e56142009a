"""A whole story with everything logged, and then a search: no token, secret, key or value is anywhere that it should not be."""

from __future__ import annotations

import base64
import json
import re
import ssl
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.stories.planes import Up, send

from idplane.bootstrap.operator import OPERATOR_FILE, OperatorKey

VALUE = "correct-horse-battery-staple-7391"
# `idplane`, with every logger of every library writing everything.
LOUD = "import logging, sys; logging.basicConfig(level=1, filename=sys.argv.pop(1)); from idplane.cli.main import main; main()"
OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
PROGRAM = """
import json, os, urllib.error, urllib.request
def ask(url, **headers):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers)).read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.read().decode()
imds = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource="
print(ask(imds + "https://vault.azure.net", Metadata="true"))
print(ask(imds + "https://nobody.example", Metadata="true"))
print(ask(imds + "https://vault.azure.net"))
"""


class LoudUp(Up):
    """A running plane whose process logs everything to a file."""

    def __init__(self, data: Path, log: Path, output: Path) -> None:
        arguments = [sys.executable, "-c", LOUD, str(log), "up", "--data", str(data), "--port", "0", "--json"]
        with output.open("wb") as errors:
            self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        self.data = data
        self.info = json.loads(self.process.stdout.readline())
        self._tls = ssl.create_default_context(cafile=self.info["ca_file"])
        self._operator = OperatorKey.from_pem((data / OPERATOR_FILE).read_bytes())


def refusals(up: LoudUp, token: str, host: str) -> list[str]:
    """Error bodies for requests that hold secrets in every place."""
    port = up.info["port"]
    bodies: list[str] = []
    tampered = token[:-10] + "AAAAAAAAAA"
    form = {"content-type": "application/x-www-form-urlencoded"}
    attempts: list[tuple[str, str, str | None, dict[str, str]]] = [
        ("GET", "/subscriptions?api-version=2022-12-01", None, {"authorization": f"Bearer {tampered}"}),
        ("GET", f"/nothing?token={token}", None, {"authorization": f"Bearer {token}"}),
        (
            "PUT",
            "/secrets/password?api-version=7.4",
            json.dumps({"value": VALUE, "tags": 5}),
            {"authorization": f"Bearer {token}", "host": host},
        ),
        ("PUT", "/secrets/password?api-version=7.4", '{"value": "' + VALUE, {"authorization": f"Bearer {token}", "host": host}),
        ("GET", "/secrets?api-version=7.4", None, {"authorization": f"Bearer {tampered}", "host": host}),
        (
            "POST",
            f"/{up.info['tenant_id']}/oauth2/v2.0/token",
            f"grant_type=client_credentials&client_id=x&client_secret={VALUE}",
            form,
        ),
        ("POST", f"/{up.info['tenant_id']}/oauth2/v2.0/token", f"client_assertion={token}&client_secret={VALUE}", form),
        ("GET", "/agent/v1/host", None, {"authorization": f"Bearer {token}"}),
        ("GET", "/beta/auditLogs/signIns", None, {"authorization": f"Bearer {token}"}),
        ("GET", f"/subscriptions?x={token}", None, {"host": f"localhost:{port}.evil", "authorization": f"Bearer {token}"}),
    ]
    for method, path, body, headers in attempts:
        with closing(up.connect()) as connection:
            status, answer = send(connection, method, path, body, headers)
        assert status >= 400, (method, path, answer)
        bodies.append(json.dumps(answer))
    return bodies


@pytest.fixture
def loud(tmp_path: Path) -> LoudUp:
    return LoudUp(tmp_path / "data", tmp_path / "everything.log", tmp_path / "stderr.txt")


def test_nothing_secret_is_written_said_or_shown(loud: LoudUp, tmp_path: Path) -> None:
    up = loud
    try:
        secrets, shown = story(up)
    finally:
        assert up.stop() == 0
    data = up.data
    secrets |= private_parts((data / "operator.pem").read_text())
    secrets |= {(data / "custody.key").read_text().splitlines()[1]}

    everything = (tmp_path / "everything.log").read_text(errors="replace")
    assert "HTTP connection made" in everything  # it did log everything
    shown["log"] = everything
    shown["stderr"] = (tmp_path / "stderr.txt").read_text()
    for file in data.rglob("*"):
        if file.is_file() and file.name not in {"operator.pem", "custody.key"}:
            shown[f"the file {file.name}"] = file.read_bytes().decode("latin-1")
    for place, text in shown.items():
        for secret in secrets:
            assert len(secret) > 16
            for spelling in (secret, base64.b64encode(secret.encode()).decode().rstrip("=")):
                assert spelling not in text, f"{spelling[:12]}... is in {place}"
        assert "PRIVATE KEY" not in text, place
        assert re.search(r"eyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{20,}", text) is None, f"a token is in {place}"


def story(up: LoudUp) -> tuple[set[str], dict[str, str]]:
    """What a plane is for, and what must not be seen of it; with what was said meanwhile."""
    arm = up.operator_token("https://management.azure.com")
    base = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/quiet"
    vault_id = f"{base}/providers/Microsoft.KeyVault/vaults/quiet-vault"
    properties = {"tenantId": up.info["tenant_id"], "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True}
    put(up, arm, base, "2024-11-01", {})
    put(up, arm, vault_id, "2023-07-01", {"properties": properties})
    machine = put(
        up,
        arm,
        f"{base}/providers/Microsoft.Compute/virtualMachines/quiet-vm",
        "2024-11-01",
        {"identity": {"type": "SystemAssigned"}},
    )
    operator = json.loads(base64.urlsafe_b64decode(arm.split(".")[1] + "=="))["oid"]
    for number, principal in enumerate((operator, machine["identity"]["principalId"])):
        put(
            up,
            arm,
            f"{vault_id}/providers/Microsoft.Authorization/roleAssignments/11111111-2222-4333-8444-55555555555{number}",
            "2022-04-01",
            {
                "properties": {
                    "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{OFFICER}",
                    "principalId": principal,
                    "principalType": "ServicePrincipal",
                }
            },
        )
    vault_token = up.operator_token("https://vault.azure.net")
    host = f"quiet-vault.{up.info['vault_suffix']}"
    headers = {"authorization": f"Bearer {vault_token}", "content-type": "application/json", "host": host}
    with closing(up.connect()) as connection:
        assert send(connection, "PUT", "/secrets/password?api-version=7.4", json.dumps({"value": VALUE}), headers)[0] == 200
        assert send(connection, "GET", "/secrets/password?api-version=7.4", None, headers)[1]["value"] == VALUE

    ran = up.cli("run", "--as", "quiet-vm", "--", sys.executable, "-c", PROGRAM)
    assert ran.returncode == 0, ran.stderr
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    printed = up.cli("env", "--as", "quiet-vm", "--json")
    shown = {f"refusal {number}": body for number, body in enumerate(refusals(up, vault_token, host))}
    shown |= {f"refusal of the metadata endpoint {number}": json.dumps(answer) for number, answer in enumerate(answers[1:])}
    shown["stderr of the run"] = ran.stderr
    shown["the sign-in log"] = up.cli("log", "signins", "--json").stdout
    shown["the activity log"] = up.cli("log", "activity", "--json").stdout
    for kind in ("activity", "signins"):
        for shape in ("jsonl", "otlp-json"):
            exported = up.cli("log", "export", kind, "--format", shape).stdout
            assert json.loads(exported.splitlines()[0])
            shown[f"the export of {kind} as {shape}"] = exported
    shown["status"] = up.cli("status", "--json").stdout
    shown["processes"] = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    shown["the process's environment"] = Path(f"/proc/{up.process.pid}/environ").read_bytes().decode("latin-1")
    secrets = {VALUE, arm, vault_token, answers[0]["access_token"]}
    secrets |= {token.rpartition(".")[2] for token in (arm, vault_token, answers[0]["access_token"])}
    if printed.returncode == 0:
        secrets |= {value for name, value in flat(json.loads(printed.stdout)) if name == "IDENTITY_HEADER"}
    return secrets, shown


def flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, one in value.items() for pair in flat(one, key)]
    return [(name, value)] if isinstance(value, str) else []


def put(up: LoudUp, token: str, path: str, version: str, body: dict[str, Any]) -> dict[str, Any]:
    status, answer = up.arm("PUT", f"{path}?api-version={version}", {"location": "westeurope", **body}, token=token)
    assert status in {200, 201}, answer
    found: dict[str, Any] = answer
    return found


def private_parts(pem: str) -> set[str]:
    """Lines of the private key's base64; the first one says which algorithm it is, which is no secret."""
    body = pem.partition("-----BEGIN PRIVATE KEY-----\n")[2].partition("-----END")[0]
    return set(body.strip().splitlines()[1:-1])
