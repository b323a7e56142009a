"""`idplane keys` against a server over PostgreSQL, and agents on hosts that follow what is done to the authorities by themselves."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.needed import postgres
from tests.servers.server_world import IDPLANE, Installation
from tests.upgrade.agents_world import ARM, VAULT, Agent, until
from tests.upgrade.programs import TODAY

from idplane.agent.state import load_state
from idplane.testing.versions import version_for

pytestmark = pytest.mark.wide

_READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
_KEYS = "/providers/Idplane.Security/keys"


@dataclass
class Site:
    """One server, an operator's folder elsewhere, and a machine that it knows by its SSH host key and by tokens."""

    servers: Installation
    folder: Path
    agents: dict[str, Agent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.servers.ports["one"] = self.servers.public_port
        self.servers.start("one")
        self.operator = self.servers.operator()
        self.given = self.folder / "given-ca.pem"
        shutil.copy(self.operator / "ca.pem", self.given)
        self.subscription = json.loads((self.operator / "plane.json").read_text())["subscription_id"]
        scope = f"/subscriptions/{self.subscription}/resourceGroups/racks"
        self.manage("PUT", scope, {"location": "westeurope"})
        self.machine = f"{scope}/providers/Microsoft.Compute/virtualMachines/vm"
        body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
        self.principal = self.manage("PUT", self.machine, body)["identity"]["principalId"]

    def command(self, *words: str, at: tuple[str, ...] | None = None) -> subprocess.CompletedProcess[str]:
        """A command of the operator's, from a folder with nothing but what an operator is given."""
        where = ("--data", str(self.operator)) if at is None else at
        return subprocess.run([*IDPLANE, *words, *where], capture_output=True, text=True, check=False)

    def does(self, *words: str) -> Any:
        ended = self.command(*words, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def refused(self, *words: str, code: int = 1) -> str:
        ended = self.command(*words)
        assert (ended.returncode, ended.stdout) == (code, ""), ended
        return ended.stderr

    def keys(self, purpose: str) -> dict[str, dict[str, Any]]:
        found = {one["name"]: one["properties"] for one in self.does("keys", "list")["keys"]}
        return {name: one for name, one in found.items() if one["purpose"] == purpose}

    def signs(self, purpose: str) -> str:
        [name] = [name for name, one in self.keys(purpose).items() if one["signs"]]
        return name

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> tuple[int, dict[str, Any]]:
        version = "2026-11-01" if path.startswith(_KEYS) else version_for(path)
        headers = {"Authorization": f"Bearer {token or self.token()}"}
        with closing(self.servers.client()) as client:
            return client.ask(method, f"{path}?api-version={version}", document=body, headers=headers)

    def token(self) -> str:
        """The operator's, fresh."""
        with closing(self.servers.client()) as client:
            return str(client.token()[1]["access_token"])

    def manage(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        status, answer = self.ask(method, path, body)
        assert status < 300, answer
        return answer

    def follow(self) -> None:
        """What an operator does whose copy of `ca.pem` is old: take the server's."""
        shutil.copy(self.folder / "one" / "ca.pem", self.operator / "ca.pem")

    def shown_by(self, anchor: Path) -> bool:
        """Whether the listener shows something that this file vouches for."""
        try:
            with (
                socket.create_connection(("127.0.0.1", self.servers.public_port)) as bare,
                ssl.create_default_context(cafile=anchor).wrap_socket(bare, server_hostname="localhost"),
            ):
                return True
        except ssl.SSLCertVerificationError:
            return False

    def agent(self, name: str, join: str | None = None) -> Agent:
        """Start an agent in its folder, which trusts what it was given in the beginning."""
        config = self.folder / f"{name}-agent.toml"
        config.write_text(f'[[endpoint]]\ndialect = "imds"\nenv_file = "{self.folder}/{name}.env"\n')
        server = ("--server", f"https://localhost:{self.servers.public_port}", "--ca", str(self.given))
        more = () if join is None else ("--join", join)
        made = Agent(TODAY, *server, "--config", str(config), "--data", str(self.folder / f"{name}-agent"), *more)
        self.agents[name] = made
        return made

    def by_token(self) -> str:
        path = self.folder / "join-token"
        self.does("enroll", "token", "vm", "--out", str(path))
        return f"token:{path}"

    def by_ssh(self) -> str:
        key, path = ed25519.Ed25519PrivateKey.generate(), self.folder / "host"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        path.chmod(0o600)
        path.with_suffix(".pub").write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
        self.does("enroll", "add", "vm", "ssh", "--ssh-key", str(path.with_suffix(".pub")))
        return f"ssh:{path}"

    def trusts(self, name: str) -> tuple[int, int]:
        """How many authorities count for an agent, and how many it knows as tainted."""
        state = load_state(self.folder / f"{name}-agent")
        return state.trust.counts if state is not None else (0, 0)

    def identity(self, name: str) -> str | None:
        """Who an agent is by now."""
        state = load_state(self.folder / f"{name}-agent")
        return state.agent_id if state is not None else None

    def stop(self, name: str) -> None:
        self.agents.pop(name).stop()

    def end(self) -> None:
        for one in self.agents.values():
            one.process.kill()
            one.process.communicate()
        self.servers.stop_all()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with postgres() as running:
        servers = Installation.create(tmp_path, running)
        try:
            made = Site(servers, tmp_path)
        except BaseException:
            servers.stop_all()
            raise
        yield made
        made.end()


def _serves(agent: Agent, resource: str = VAULT) -> bool:
    return agent.imds(resource)[0] == 200


def test_agents_follow_the_authorities_by_themselves(site: Site) -> None:
    stays, away = site.agent("stays", site.by_ssh()), site.agent("away", site.by_token())
    assert _serves(stays)
    assert _serves(away)

    # The next TLS authority is published, and everybody has it before it signs.
    before = site.signs("tls-authority")
    told = site.does("keys", "rotate", "tls-authority")
    assert (told["before"], told["active"]) == (before, before)
    until(lambda: {site.trusts("stays"), site.trusts("away")} == {(2, 0)}, "agents hear of the next authority")
    assert "already" in site.refused("keys", "rotate", "tls-authority")
    assert site.signs("tls-authority") == before

    # It signs while one agent is away, whose file has the old one only.
    site.stop("away")
    assert site.does("keys", "rotate", "tls-authority", "--now")["active"] == told["next"]
    until(lambda: not site.shown_by(site.given), "the listener shows the new authority's certificate")
    site.follow()
    assert site.shown_by(site.operator / "ca.pem")
    away = site.agent("away")
    assert _serves(away)
    assert _serves(stays, "https://storage.azure.com")

    # The old one is tainted: agents drop it by the word of the new one, and the given file counts for nothing.
    site.does("keys", "taint", before, "--yes")
    until(lambda: {site.trusts("stays"), site.trusts("away")} == {(1, 1)}, "agents hear of its end")
    assert _serves(away, "https://storage.azure.com")
    site.stop("away")

    # What the credential authority issued counts no more: who can prove himself again does so, and goes on.
    identity = stays.info["agentId"]
    credentials = site.signs("credential-authority")
    site.does("keys", "taint", credentials, "--yes")
    until(lambda: site.identity("stays") != identity, "it joins again")
    until(partial(_serves, stays, "https://graph.microsoft.com"), "tokens are served again")
    assert site.signs("credential-authority") != credentials
    # A token to join by is spent: such a host says so, and serves nothing.
    away = site.agent("away")
    until(lambda: not _serves(away, "https://graph.microsoft.com"), "the other is refused")


def test_keys_by_hand(site: Site) -> None:
    listed = {one["properties"]["purpose"] for one in site.does("keys", "list")["keys"]}
    assert listed == {"token", "credential-authority", "tls-authority", "log", "key-encryption"}
    assert "LAST SIGNED ENDS" in site.command("keys", "list").stdout

    # Tokens: what a tainted key signed is refused, and revoking ends the others, too.
    held = site.token()
    first = site.signs("token")
    assert site.does("keys", "rotate")["before"] == first
    assert site.ask("GET", _KEYS, token=held)[0] == 200
    site.does("keys", "taint", first, "--yes")
    assert site.ask("GET", _KEYS, token=held)[0] == 401
    later = site.token()
    site.does("keys", "revoke", first, "--yes")
    assert site.ask("GET", _KEYS, token=later)[0] == 401
    assert site.keys("token")[first]["state"] == "tainted"

    # The log: each move is a checkpoint, and who verifies can follow up to the taint.
    at = ("--config", str(site.servers.config("admin")))
    given = site.folder / "log.keys"
    given.write_text(site.command("log", "keys", at=at).stdout)
    kept = site.folder / "kept"
    assert site.command("log", "checkpoint", "--save", str(kept)).returncode == 0
    site.does("keys", "rotate", "log")
    assert site.command("log", "verify", "--key", str(given), at=at).returncode == 0
    saved = ("log", "checkpoint", "--save", str(kept), "--key", str(given))
    until(lambda: site.command(*saved).returncode == 0, "the first key leads to the second")
    stolen = site.signs("log")
    site.does("keys", "taint", stolen, "--yes")
    ended = site.command("log", "verify", "--checkpoint", str(kept), at=at)
    assert ended.returncode == 0, ended.stdout
    until(lambda: "not signed by the log's key" in site.command(*saved).stderr, "and neither to the third")
    given.write_text(site.command("log", "keys", at=at).stdout)
    assert site.command(*saved).returncode == 0
    bundle = site.folder / "log.bundle"
    assert site.command("log", "bundle", str(bundle), at=at).returncode == 0
    assert site.command("log", "verify", "--offline", str(bundle), "--key", str(given), at=()).returncode == 0


def test_what_is_refused(site: Site) -> None:
    names = {purpose: site.signs(purpose) for purpose in ("token", "log", "tls-authority", "credential-authority")}
    assert "'nonsense' is not one of" in site.refused("keys", "rotate", "nonsense", code=2)
    for word in ("taint", "revoke"):
        assert "there is no key 'nobodys'" in site.refused("keys", word, "nobodys", "--yes")
    assert "signs no tokens" in site.refused("keys", "revoke", names["log"], "--yes")
    assert site.command("keys", "taint", names["token"]).returncode == 1, "nobody said yes"
    for purpose, name in names.items():
        assert site.signs(purpose) == name, "nothing of this has changed anything"

    # Whoever may read all there is may not move a key.
    agent = site.agent("reader", site.by_token())
    grant = f"/providers/Microsoft.Authorization/roleAssignments/{'0' * 8}-0000-4000-8000-{'0' * 12}"
    definition = f"/providers/Microsoft.Authorization/roleDefinitions/{_READER}"
    site.manage("PUT", grant, {"properties": {"roleDefinitionId": definition, "principalId": site.principal}})
    reader = agent.imds(ARM)[1]["access_token"]
    assert site.ask("GET", _KEYS, token=reader)[0] == 200
    for name in names.values():
        for word in ("rotate", "taint", "revoke"):
            assert site.ask("POST", f"{_KEYS}/{name}/{word}", {}, token=reader)[0] == 403

    # The only key there is can be tainted, once.
    for purpose in ("token", "log", "credential-authority"):
        site.does("keys", "taint", names[purpose], "--yes")
        assert "is tainted already" in site.refused("keys", "taint", names[purpose], "--yes")
        assert site.signs(purpose) != names[purpose]
