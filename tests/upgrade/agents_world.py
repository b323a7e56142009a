"""An agent of one version on a host, and the server of another that admitted it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.interop.test_dialects import CLEAN, ENDPOINTS
from tests.stories.planes import Up
from tests.upgrade.programs import Program

from idplane.model.dialects import Dialect
from idplane.testing.versions import version_for

__all__ = ["ARM", "SERVED", "VAULT", "Agent", "Machine", "claims", "until"]

ARM = "https://management.azure.com"
VAULT = "https://vault.azure.net"
SERVED = tuple(one for one in ENDPOINTS if one is not Dialect.ARC)
"""Arc's clients read from one folder of the whole system only, which tests leave alone; it differs on the host, not towards servers."""
_INSIDE = Path(__file__).with_name("inside_every_dialect.py")
_SECONDS = 60.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first answer that is something."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail(f"it never came to that: {what}")


def claims(token: str) -> dict[str, Any]:
    """What is in a token."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


class Agent:
    """A running `idplane agent` of some version."""

    def __init__(self, program: Program, *arguments: str) -> None:
        command = [*program.command, "agent", *arguments, "--json"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=program.environment, cwd="/"
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{program.name}: {self.process.communicate()[1]}"
        self.info: dict[str, Any] = json.loads(line)

    def imds(self, resource: str = VAULT) -> tuple[int, dict[str, Any]]:
        """A bare request, and the answer."""
        [where] = [one["at"] for one in self.info["endpoints"] if one["dialect"] == Dialect.IMDS.value]
        url = f"http://{where}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}"
        request = urllib.request.Request(url, headers={"Metadata": "true"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read())

    def stop(self) -> None:
        """End it; it must not have ended by itself."""
        assert self.process.poll() is None, self.process.communicate()[1]
        self.process.terminate()
        self.process.communicate()


class Machine:
    """A virtual machine in a plane, and the folder of the agent on it."""

    def __init__(self, folder: Path, up: Up) -> None:
        self.folder, self.up = folder, up
        scope = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/hosts"
        self.id = f"{scope}/providers/Microsoft.Compute/virtualMachines/vm"
        self.manage("PUT", scope, {"location": "westeurope"})
        body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
        self.principal_id = self.manage("PUT", self.id, body)["identity"]["principalId"]
        self.config = folder / "agent.toml"
        tables = "".join(_endpoint(folder, one) for one in SERVED)
        self.tokens = folder / "projected"
        self.config.write_text(
            f'{tables}[[endpoint]]\ndialect = "workload-identity"\ntoken_folder = "{self.tokens}"\n'
            f'client_id = "{self.principal_id}"\nenv_file = "{folder}/workload.env"\n'
        )

    def manage(self, method: str, path: str, body: Any = None) -> Any:
        """A request of the owner's that succeeds."""
        status, answer = self.up.arm(method, f"{path}?api-version={version_for(path)}", body)
        assert status < 300, answer
        return answer

    def cli(self, *arguments: str) -> str:
        """A command of the server's own version."""
        words = arguments[:2] if arguments[0] in {"enroll", "agents"} else arguments[:1]
        rest = arguments[len(words) :]
        ended = subprocess.run(
            [*self.up.program, *words, *rest, "--data", str(self.up.data)],
            env=self.up.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def agent(self, program: Program, *, joins: bool = False) -> Agent:
        """Start a version of the agent in the machine's folder."""
        more: tuple[str, ...] = ()
        if joins:
            file = self.folder / "join-token"
            self.cli("enroll", "token", "vm", "--out", str(file))
            more = ("--join", f"token:{file}")
        server = ("--server", self.up.info["arm"], "--ca", str(self.up.info["ca_file"]), "--config", str(self.config))
        return Agent(program, *server, "--data", str(self.folder / "agent"), *more)

    def served(self) -> dict[str, str]:
        """A token by the real client in each dialect."""
        variables = {one.value: self._variables(one) for one in SERVED}
        ended = subprocess.run(
            [sys.executable, str(_INSIDE), json.dumps(variables)], env=CLEAN, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        found: dict[str, str] = json.loads(ended.stdout)
        return found

    def projected(self) -> str:
        """The workload's own token, of its file."""
        return self._written(self.tokens / "azure-identity-token")

    def accepts(self, token: str) -> bool:
        """Whether Resource Manager lets a token in."""
        return self.up.arm("GET", "/subscriptions?api-version=2022-12-01", token=token)[0] == 200

    def age(self) -> None:
        """Make the agent's certificate look as if half of its life were over."""
        path = self.folder / "agent" / "agent.json"
        state = json.loads(path.read_text())
        before, after = (datetime.fromisoformat(state[name]) for name in ("notBefore", "notAfter"))
        state["notBefore"] = (before - 10 * (after - before)).isoformat()
        path.write_text(json.dumps(state))

    def shown(self) -> dict[str, Any]:
        """What the server knows of the agent."""
        found = json.loads(self.cli("agents", "list", "--json"))
        [one] = found
        properties: dict[str, Any] = one["properties"]
        return properties

    def _variables(self, dialect: Dialect) -> dict[str, str]:
        lines = self._written(self.folder / f"{dialect.value}.env").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def _written(self, path: Path) -> str:
        """What an agent writes, at once or as soon as it has heard from a server."""
        until(path.exists, f"{path} is there")
        return path.read_text()


def _endpoint(folder: Path, dialect: Dialect) -> str:
    name = folder / dialect.value
    return f'[[endpoint]]\ndialect = "{dialect.value}"\nenv_file = "{name}.env"\nsecret_file = "{name}.secret"\n'
