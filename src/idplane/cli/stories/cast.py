"""Who plays in the story: a plane, its owner, and the programs on its machines, each a real process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from idplane.bootstrap.world import SystemEntropy
from idplane.cli.client import PlaneAnswer, PlaneClient
from idplane.cli.description import read_plane
from idplane.cli.operator import GRAPH_RESOURCE, operator_access
from idplane.cli.output import CommandError
from idplane.rbac import BUILT_IN_ROLES

__all__ = ["Cast", "Program"]

_STORIES = Path(__file__).parent
_VERSIONS = {
    "Microsoft.Resources": "2024-11-01",
    "Microsoft.Compute": "2024-11-01",
    "Microsoft.ManagedIdentity": "2024-11-30",
    "Microsoft.KeyVault": "2023-07-01",
    "Microsoft.Authorization": "2022-04-01",
    "Idplane.Diagnostics": "2026-11-01",
}
_IDPLANE = (sys.executable, "-c", "from idplane.cli.main import main; main()")
_NAMESPACES = (sys.executable, "-c", "from idplane.cli import isolation; isolation.enter()")
"""Succeeds where users may make namespaces."""
_ERRORS = 400


class Program:
    """A program that runs as a machine and talks over its standard streams."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)  # noqa: S603 - our own command line

    def hear(self) -> str:
        """The next line that the program prints; raises `CommandError` when it ends instead."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise CommandError(f"a program of the demonstration ended with exit code {self._process.wait()}")
        return line.strip()

    def poke(self) -> str:
        """Make it try once more; what it says to that."""
        if self._process.stdin:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return self.hear()

    def end(self) -> None:
        """Let it finish."""
        self._process.communicate()


class Cast:
    """A plane in a process of its own, and its owner's hands. Ends with the `with` block."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def __enter__(self) -> Self:
        command = (*_IDPLANE, "up", "--data", str(self.data), "--port", "0", "--json")
        self._plane = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command line
        self.namespaces = subprocess.run(_NAMESPACES, check=False, capture_output=True).returncode == 0  # noqa: S603 - as above
        if not self._plane.stdout or not self._plane.stdout.readline():
            raise CommandError(f"the plane ended with exit code {self._plane.wait()}")
        self.plane = read_plane(self.data)
        self._client = PlaneClient(Path(self.plane.ca_file))
        self._entropy = SystemEntropy()
        self._tokens: dict[str, str] = {}
        self._programs: list[Program] = []
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for program in self._programs:
            program.end()
        self._plane.terminate()
        self._plane.communicate()

    def id(self, group: str, kind: str = "", name: str = "") -> str:
        """The id of a group, or of a resource in it."""
        scope = f"/subscriptions/{self.plane.subscription_id}/resourceGroups/{group}"
        return f"{scope}/providers/{kind}/{name}" if kind else scope

    def ask(self, method: str, identifier: str, body: object = None) -> PlaneAnswer:
        """A Resource Manager call as the owner, whatever the answer."""
        _, provider, rest = identifier.rpartition("/providers/")
        version = _VERSIONS[rest.split("/")[0] if provider else "Microsoft.Resources"]
        return self._client.request(
            method,
            f"{self.plane.arm}{identifier}?api-version={version}",
            headers={
                "Authorization": f"Bearer {self._token('https://management.azure.com')}",
                "Content-Type": "application/json",
            },
            body=None if body is None else json.dumps(body).encode(),
        )

    def call(self, method: str, identifier: str, body: object = None) -> Any:
        """A Resource Manager call that must succeed; its body."""
        answer = self.ask(method, identifier, body)
        if answer.status >= _ERRORS:
            raise CommandError(f"{method} {identifier} was refused: {answer.body}")
        return answer.body

    def grant(self, principal_id: str, role: str, scope: str) -> None:
        """Assign a built-in role."""
        role_id = next(one.id for one in BUILT_IN_ROLES.values() if one.name == role)
        self.call(
            "PUT",
            f"{scope}/providers/Microsoft.Authorization/roleAssignments/{self._entropy.guid()}",
            {
                "properties": {
                    "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{role_id}",
                    "principalId": principal_id,
                    "principalType": "ServicePrincipal",
                }
            },
        )

    def operator_principal(self) -> str:
        """The owner's object id, from the owner's own token."""
        return str(_claims(self._token("https://management.azure.com"))["oid"])

    def set_secret(self, vault: str, name: str, value: str) -> None:
        """Put a secret into a vault, as the owner."""
        answer = self._client.request(
            "PUT",
            f"{self.plane.arm}/secrets/{name}?api-version=7.4",
            headers={
                "Host": f"{vault}.{self.plane.vault_suffix}",
                "Authorization": f"Bearer {self._token('https://vault.azure.net')}",
                "Content-Type": "application/json",
            },
            body=json.dumps({"value": value}).encode(),
        )
        if answer.status >= _ERRORS:
            raise CommandError(f"the secret was refused: {answer.body}")

    def sign_ins(self, count: int) -> list[Any]:
        """The latest sign-ins of managed identities, newest first."""
        answer = self._client.get(
            f"{self.plane.graph}/beta/auditLogs/signIns",
            token=self._token(GRAPH_RESOURCE),
            query={"$filter": "signInEventTypes/any(t: t eq 'managedIdentity')", "$top": str(count)},
        )
        found = answer["value"]
        return found if isinstance(found, list) else []

    def explained(self, refusal: str) -> Any:
        """Why a request was refused, as `idplane explain` has it."""
        return self.call("GET", f"/providers/Idplane.Diagnostics/refusals/{refusal}")["properties"]["explanation"]

    def program(self, machine: str, file: str, *arguments: str) -> Program:
        """Start one of the story's programs as a machine."""
        isolation = ("--isolation", "namespace" if self.namespaces else "env")
        run = (*_IDPLANE, "run", "--data", str(self.data), "--as", machine, *isolation, "--")
        self._programs.append(Program((*run, sys.executable, str(_STORIES / file), *arguments)))
        return self._programs[-1]

    def _token(self, resource: str) -> str:
        if resource not in self._tokens:
            self._tokens[resource] = operator_access(self.data, self.plane, self._client, resource)
        return self._tokens[resource]


def _claims(token: str) -> dict[str, Any]:
    from idplane.jose import parse  # noqa: PLC0415 - needed once

    return dict(parse(token).claims)
