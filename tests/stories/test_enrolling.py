"""A machine joins a running plane: by the commands, and over TLS as an agent on it would."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.attacks.authorities import Authority
from tests.stories.planes import Up

from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.cli.main import idplane
from idplane.jose import Algorithm, Signer, b64url, certificate_thumbprint, make_csr, new_ec_key


class Operator:
    """Someone at a terminal."""

    def __init__(self, up: Up) -> None:
        self.up = up
        group = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/racks"
        up.arm("PUT", f"{group}?api-version=2022-12-01", {"location": "westeurope"})
        self.machine = f"{group}/providers/Microsoft.Compute/virtualMachines/stock-vm"
        body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}}
        up.arm("PUT", f"{self.machine}?api-version=2024-11-01", body)

    def does(self, command: str, word: str, *rest: str) -> Result:
        return CliRunner().invoke(idplane, [command, word, *rest, "--data", str(self.up.data)])

    def says(self, *words: str) -> str:
        ended = self.does(*words)
        assert ended.exit_code == 0, ended.output
        return ended.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.says(*words, "--json"))

    def refused(self, *words: str, code: int = 1) -> str:
        ended = self.does(*words)
        assert (ended.exit_code, ended.stdout) == (code, "")
        return ended.stderr


class Machine:
    """An agent's connections to the plane: mutual TLS once it has a certificate."""

    def __init__(self, up: Up) -> None:
        self.port = int(up.info["port"])
        self.ca = up.info["ca_file"]
        self.key = new_ec_key()
        self.certificate: bytes | None = None
        self.agent_id = ""

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        context = ssl.create_default_context(cafile=self.ca)
        headers = {"Content-Type": "application/json"}
        if self.certificate is not None:
            _load(context, self.key, self.certificate)
            headers["Authorization"] = f"Bearer {self._proof()}"
        connection = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=20)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def join(self, token: str) -> tuple[int, Any]:
        csr = base64.b64encode(make_csr(self.key, "agent")).decode()
        body = {"method": "token", "evidence": {"token": token}, "csr": csr}
        status, answer = self.ask("POST", "/agent/v1/enrollments", body)
        if status == 200:
            self.agent_id, self.certificate = answer["agentId"], base64.b64decode(answer["certificate"])
        return status, answer

    def _proof(self) -> str:
        assert self.certificate is not None
        now = int(SystemClock().now().timestamp())
        claims = {"iss": self.agent_id, "sub": self.agent_id, "aud": "idplane-agent", "iat": now, "exp": now + 60}
        thumbprint = b64url(bytes.fromhex(certificate_thumbprint(self.certificate)))
        return Signer(self.key, Algorithm.ES256, {"x5t#S256": thumbprint}).sign({**claims, "jti": SystemEntropy().guid()})


def _load(context: ssl.SSLContext, key: ec.EllipticCurvePrivateKey, certificate: bytes) -> None:
    """`ssl` reads only files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.pem"
        path.touch(mode=0o600)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private + x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM))
        context.load_cert_chain(path)


def _ssh_key(folder: Path) -> None:
    """A host's key, as ssh-keygen writes it."""
    key = ed25519.Ed25519PrivateKey.generate()
    (folder / "host").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    (folder / "host.pub").write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" root@host\n")


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    up = Up(tmp_path_factory.mktemp("plane") / "data")
    yield Operator(up)
    up.stop()


def test_a_machine_joins_and_is_banned(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "token"
    said = operator.says("enroll", "token", "stock-vm", "--out", str(file))
    token = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token not in said
    assert "is there already" in operator.refused("enroll", "token", "stock-vm", "--out", str(file))
    machine, thief = Machine(operator.up), Machine(operator.up)
    assert machine.join(token)[0] == 200
    status, answer = thief.join(token)
    assert (status, answer["error"]["code"]) == (403, "ENROLLMENT_REFUSED")
    path = f"/agent/v1/host?id={operator.machine}"
    assert machine.ask("GET", path)[0] == 200

    (shown,) = operator.json("agents", "list", "stock-vm")
    assert shown["name"] == machine.agent_id
    assert machine.agent_id in operator.says("agents", "list")
    told = operator.says("agents", "show", machine.agent_id[:8])
    assert "active" in told
    assert "127.0.0.1" in told
    assert "is banned" in operator.says("agents", "ban", machine.agent_id[:8])
    assert machine.ask("GET", path)[1]["error"]["code"] == "AGENT_BANNED"
    operator.says("agents", "unban", machine.agent_id)
    assert machine.ask("GET", path)[0] == 200
    assert operator.json("agents", "remove", machine.agent_id)["removed"] == machine.agent_id
    assert machine.ask("GET", path)[0] == 401
    assert "there is no agent" in operator.refused("agents", "show", machine.agent_id)


def test_what_machines_join_by(operator: Operator, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text(Authority().pem)
    _ssh_key(tmp_path)
    added = operator.says("enroll", "add", "stock-vm", "rack", "--x509", str(authority), "--fact", "dns=stock.example.com")
    assert added == "rack lets machines become hosts of stock-vm by x509, dns=stock.example.com\n"
    operator.says("enroll", "add", "stock-vm", "ssh", "--ssh-key", str(tmp_path / "host.pub"))
    operator.says("enroll", "add", "stock-vm", "chip", "--tpm", "ab" * 32, "--pcrs", f"0,7={'cd' * 32}")
    issuer = "https://token.actions.githubusercontent.com"
    operator.says("enroll", "add", "stock-vm", "ci", "--oidc", issuer, "--fact", "repository=contoso/shop")
    listed = operator.says("enroll", "list", "stock-vm")
    for words in (
        "x509, dns=stock.example.com",
        "ssh, fingerprint=SHA256:",
        "tpm, endorsementKey=abab",
        "repository=contoso/shop",
    ):
        assert words in listed
    assert {one["name"] for one in operator.json("enroll", "list")} >= {"rack", "ssh", "chip", "ci"}
    assert "add --replace" in operator.refused("enroll", "add", "stock-vm", "rack", "--x509", str(authority))
    assert operator.says("enroll", "remove", "stock-vm", "rack") == "removed rack of stock-vm\n"
    assert "has nothing named" in operator.refused("enroll", "remove", "stock-vm", "rack")


@pytest.mark.parametrize(
    "options",
    [(), ("--x509", "a", "--oidc", "b"), ("--tpm", "a", "--fact", "x"), ("--tpm", "a", "--pcrs", "x"), ("--facts", "a")],
)
def test_options_that_make_no_sense(operator: Operator, options: tuple[str, ...]) -> None:
    operator.refused("enroll", "add", "stock-vm", "odd", *options, code=2)


def test_private_keys_stay_where_they_are(operator: Operator, tmp_path: Path) -> None:
    _ssh_key(tmp_path)
    assert "holds a private key" in operator.refused("enroll", "add", "stock-vm", "odd", "--ssh-key", str(tmp_path / "host"))
