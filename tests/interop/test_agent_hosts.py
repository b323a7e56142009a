"""An agent on a host of its own, as an operator starts it: real clients in every dialect, servers and agents that are killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.test_dialects import CLEAN, CLIENTS, ENDPOINTS, PROGRAM
from tests.stories.planes import IDPLANE, Up

from idplane.model.dialects import Dialect
from idplane.testing.versions import version_for

pytestmark = pytest.mark.wide

SERVED = tuple(one for one in ENDPOINTS if one is not Dialect.ARC)
VAULT = "https://vault.azure.net"


class Agent:
    """A running `idplane agent`."""

    def __init__(self, *arguments: str) -> None:
        command = [*IDPLANE, "agent", *arguments, "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.info: dict[str, Any] = json.loads(line)

    def at(self, dialect: Dialect) -> str:
        [where] = [one["at"] for one in self.info["endpoints"] if one["dialect"] == dialect.value]
        return str(where)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Its end, and what it wrote."""
        self.process.send_signal(number)
        return self.process.communicate()[1]


class Host:
    """A plane, a machine in it, and the folder of that machine's agent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.up = self.start_plane()
        self.vm = f"/subscriptions/{self.up.info['subscription_id']}/resourceGroups/hosts/providers/Microsoft.Compute/virtualMachines/vm"
        self.manage("PUT", self.vm.partition("/providers/")[0], {"location": "westeurope"})
        body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
        self.principal_id = self.manage("PUT", self.vm, body)["identity"]["principalId"]
        self.config = folder / "agent.toml"
        self.config.write_text("".join(self.table(one) for one in SERVED))

    def manage(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = self.up.arm(method, f"{path}?api-version={version_for(path)}", body)
        assert status < 300, answer
        return answer

    def start_plane(self) -> Up:
        return Up(self.folder / "plane", "--port", str(self.port), "--no-rates")

    def table(self, dialect: Dialect) -> str:
        name = self.folder / dialect.value
        return f'[[endpoint]]\ndialect = "{dialect.value}"\nenv_file = "{name}.env"\nsecret_file = "{name}.secret"\n'

    def variables(self, dialect: Dialect) -> dict[str, str]:
        lines = (self.folder / f"{dialect.value}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def join_token(self) -> Path:
        path = self.folder / "join-token"
        command = [*IDPLANE, "enroll", "token", "vm", "--data", str(self.folder / "plane"), "--out", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        return path

    def agent(self, *more: str) -> Agent:
        ca = str(self.folder / "plane" / "ca.pem")
        common = ("--server", f"https://localhost:{self.port}", "--ca", ca, "--config", str(self.config))
        return Agent(*common, "--data", str(self.folder / "agent"), *more)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    try:
        yield made
    finally:
        made.up.stop()


@pytest.fixture
def agent(host: Host) -> Iterator[Agent]:
    made = host.agent("--join", f"token:{host.join_token()}")
    yield made
    made.stop()


def imds(agent: Agent, resource: str = VAULT) -> tuple[int, dict[str, Any]]:
    url = f"http://{agent.at(Dialect.IMDS)}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}"
    request = urllib.request.Request(url, headers={"Metadata": "true"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())


def until_served(agent: Agent, resource: str) -> dict[str, Any]:
    """Ask as clients do, which try again; the bound is a request's own."""
    for _ in range(3000):
        status, answer = imds(agent, resource)
        if status == 200:
            return answer
    raise AssertionError("the server is back, and the agent does not find it")


def test_real_clients_in_every_dialect(host: Host, agent: Agent) -> None:
    assert agent.process.poll() is None
    for dialect in SERVED:
        variables = host.variables(dialect)
        ended = subprocess.run(
            [sys.executable, PROGRAM, json.dumps({"none": ""}), host.up.info["tenant_id"]],
            env={**CLEAN, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        given = json.loads(ended.stdout)
        # msal's own way into Cloud Shell has its address built in.
        for client in ("sync", "aio") if dialect is Dialect.CLOUD_SHELL else CLIENTS:
            assert given[f"{client} none"] == host.principal_id, (dialect, client)


def test_a_server_that_is_killed_costs_what_is_not_in_memory_until_it_is_back(host: Host, agent: Agent) -> None:
    assert imds(agent)[0] == 200
    host.up.kill()
    status, cached = imds(agent)
    assert status == 200
    status, refused = imds(agent, "https://graph.microsoft.com")
    assert (status, refused["error"]) == (503, "service_unavailable")
    host.up = host.start_plane()
    until_served(agent, "https://graph.microsoft.com")
    assert imds(agent)[1]["access_token"] == cached["access_token"]
    until_refused_by(host, agent)


def until_refused_by(host: Host, agent: Agent) -> None:
    """Changes are heard again: a deleted machine gets nothing."""
    host.manage("DELETE", host.vm)
    for _ in range(3000):
        if imds(agent)[0] != 200:
            return
    raise AssertionError("a deleted machine is still served")


def test_an_agent_that_is_killed_goes_on_where_it_was(host: Host, agent: Agent) -> None:
    assert imds(agent)[0] == 200
    before = host.variables(Dialect.APP_SERVICE)["IDENTITY_HEADER"]
    agent.stop(signal.SIGKILL)
    (host.folder / "join-token").unlink()
    again = host.agent()
    try:
        assert again.info["agentId"] == agent.info["agentId"]
        assert imds(again)[0] == 200
        assert host.variables(Dialect.APP_SERVICE)["IDENTITY_HEADER"] == before
    finally:
        again.stop()


def test_commands_work_beside_an_agent(host: Host, agent: Agent) -> None:
    folder = str(host.folder / "agent")

    def idplane(*arguments: str) -> str:
        ended = subprocess.run([*IDPLANE, *arguments], capture_output=True, text=True, cwd="/", check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    status = json.loads(idplane("agent", "status", "--data", folder, "--json"))
    assert (status["running"], status["agentId"]) == (True, agent.info["agentId"])
    assert json.loads(idplane("token", "--as", "vm", "--resource", VAULT, "--data", folder, "--json"))["client_id"]
    assert "IDENTITY_ENDPOINT" in idplane("env", "--as", "vm", "--data", folder)
    shown = idplane("run", "--as", "vm", "--isolation", "env", "--data", folder, "--", "env")
    assert "IDENTITY_HEADER=" in shown
    assert "HTTPS_PROXY" not in shown.replace(os.environ.get("HTTPS_PROXY", "-"), "")
    agent.stop()
    ended = subprocess.run([*IDPLANE, "agent", "status", "--data", folder], capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert agent.info["agentId"] in ended.stdout


def test_an_agent_logs_no_secret(host: Host) -> None:
    secret = host.join_token()
    text = secret.read_text().strip()
    agent = host.agent("--join", f"token:{secret}")
    token = imds(agent)[1]["access_token"]
    log = agent.stop()
    for one in (text, token, token.split(".")[2], "PRIVATE KEY", host.variables(Dialect.APP_SERVICE)["IDENTITY_HEADER"]):
        assert one not in log
