"""Programs that run as resources of a real plane, and what the plane's owner does for them in one line each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from tests.needed import missing
from tests.stories.planes import IDPLANE, Up, send

from idplane.rbac import BUILT_IN_ROLES

GROUP = "contoso"
_STEERING = ("AZURE_", "IDENTITY_", "MSI_", "IMDS_", "REQUESTS_", "SSL_", "CURL_", "NODE_EXTRA_")
_WITNESS = Path(__file__).with_name("witness")
_ENTER = "from idplane.cli import isolation; isolation.enter(); isolation.seal()"
_VERSIONS = {
    "resources": "2024-11-01",
    "compute": "2024-11-01",
    "managedidentity": "2024-11-30",
    "keyvault": "2023-07-01",
    "authorization": "2022-04-01",
}


def why_no_namespaces() -> str:
    """The reason why this system does not let its users make namespaces; empty where it does."""
    tried = subprocess.run([sys.executable, "-c", _ENTER], capture_output=True, text=True, timeout=60, check=False)
    if tried.returncode == 0:
        return ""
    assert "IsolationForbidden" in tried.stderr, tried.stderr
    return f"this system does not let its users make namespaces ({tried.stderr.strip().rpartition(': ')[2]})"


def require_namespaces() -> None:
    """Skip where this system does not let its users make namespaces; in CI that is a failure."""
    if sentence := why_no_namespaces():
        missing(sentence)


def plain_environment(**more: str) -> dict[str, str]:
    """The environment without anything that steers Azure clients, and with `more`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_STEERING)} | more


class Owner:
    """The owner of a plane, at work in the group `contoso`."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.ca_file = str(up.info["ca_file"])
        self.call("PUT", self.id(), {"location": "westeurope"})

    def id(self, kind: str = "", name: str = "") -> str:
        """The id of the group, or of a resource in it."""
        scope = f"/subscriptions/{self.up.info['subscription_id']}/resourceGroups/{GROUP}"
        return f"{scope}/providers/{kind}/{name}" if kind else scope

    def ask(self, method: str, identifier: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        """A Resource Manager call, whatever the answer."""
        _, provider, rest = identifier.rpartition("/providers/Microsoft.")
        version = _VERSIONS[rest.split("/")[0].lower() if provider else "resources"]
        return self.up.arm(method, f"{identifier}?api-version={version}", body, **options)

    def call(self, method: str, identifier: str, body: Any = None) -> Any:
        """A Resource Manager call that succeeds; its body."""
        status, answer = self.ask(method, identifier, body)
        assert status < 400, answer
        return answer

    def machine(self, name: str, *identities: str, system: bool = True) -> Any:
        """A virtual machine with a system-assigned identity, user-assigned ones, both or neither."""
        kinds = [kind for kind, wanted in (("SystemAssigned", system), ("UserAssigned", bool(identities))) if wanted]
        block: dict[str, Any] = {"type": ", ".join(kinds) or "None"}
        if identities:
            block["userAssignedIdentities"] = {identity: {} for identity in identities}
        identifier = self.id("Microsoft.Compute/virtualMachines", name)
        return self.call("PUT", identifier, {"location": "westeurope", "identity": block, "properties": {}})

    def vault(self, name: str, **secrets: str) -> str:
        """A vault with these secrets; its id."""
        identifier = self.id("Microsoft.KeyVault/vaults", name)
        tenant = self.up.info["tenant_id"]
        properties = {"tenantId": tenant, "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True}
        self.call("PUT", identifier, {"location": "westeurope", "properties": properties})
        if secrets:
            self.grant(self.principal_id, "Key Vault Secrets Officer", identifier)
        for secret, value in secrets.items():
            token = self.up.operator_token("https://vault.azure.net")
            status, answer = self.vault_request("PUT", name, secret.replace("_", "-"), token=token, value=value)
            assert status == 200, answer
        return identifier

    def vault_request(self, method: str, vault: str, secret: str, *, token: str, value: str | None = None) -> tuple[int, Any]:
        """One bare request to a vault."""
        headers = {
            "host": f"{vault}.{self.up.info['vault_suffix']}",
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
        }
        body = None if value is None else json.dumps({"value": value})
        with closing(self.up.connect()) as connection:
            return send(connection, method, f"/secrets/{secret}?api-version=7.4", body, headers)

    def grant(self, principal_id: str, role: str, scope: str) -> str:
        """Assign a built-in role; the assignment's id."""
        role_id = next(one.id for one in BUILT_IN_ROLES.values() if one.name == role)
        properties = {
            "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{role_id}",
            "principalId": principal_id,
            "principalType": "ServicePrincipal",
        }
        identifier = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        made: str = self.call("PUT", identifier, {"properties": properties})["id"]
        return made

    @cached_property
    def principal_id(self) -> str:
        """The owner's own object id."""
        shown = self.up.cli("token", "--operator", "--resource", "https://management.azure.com")
        return next(line.split()[-1] for line in shown.stdout.splitlines() if line.startswith("oid "))

    def log(self, kind: str) -> list[Any]:
        """`activity` or `signins`, oldest first."""
        shown = self.up.cli("log", kind, "--json")
        assert shown.returncode == 0, shown.stderr
        return sorted(json.loads(shown.stdout), key=_instant)


def _instant(event: Mapping[str, Any]) -> str:
    return str(event.get("eventTimestamp") or event.get("createdDateTime"))


class Workload:
    """A program that runs as a resource, line by line over its standard streams."""

    def __init__(self, data: Path, resource: str, command: Sequence[str], *options: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*IDPLANE, "run", "--data", str(data), "--as", resource, *options, "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=plain_environment(**environment),
        )

    def hear(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the program ended with {self.process.wait(10)}"
        return line.rstrip("\n")

    def say(self, line: str = "") -> str:
        """Give it a line; what it says to that."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=30)


class Witness:
    """Notes of the HTTP requests that a program sends."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0
        self.environment = {"PYTHONPATH": str(_WITNESS), "WITNESS_NOTES": str(file)}

    def since(self) -> list[str]:
        """What was sent since the last look: method, host, path."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        self._read, new = len(lines), lines[self._read :]
        return new
