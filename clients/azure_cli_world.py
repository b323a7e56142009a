"""The Azure CLI in two hands: `idplane az`, which is the operator's, and `az` itself with a configuration folder of its own."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stories.planes import IDPLANE, Up

__all__ = ["Az", "grant", "new_group", "new_identity", "operator_az", "own_az", "put", "signed_in"]

_SECONDS = 180
_READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


@dataclass(frozen=True)
class Az:
    """One way to start `az`. Every call is a process; its answer is the JSON that it prints."""

    command: tuple[str, ...]
    environment: Mapping[str, str]

    def __call__(self, *arguments: str, text: str | None = None) -> Any:
        """What a command answers; it has to succeed. `text` is its standard input."""
        ended = self.run(*arguments, text=text)
        assert ended.returncode == 0, f"az {' '.join(arguments)} ended with {ended.returncode}: {ended.stderr}"
        return json.loads(ended.stdout) if ended.stdout.strip() else None

    def refused(self, *arguments: str, code: int = 1) -> str:
        """What a command says that has to fail."""
        ended = self.run(*arguments)
        assert ended.returncode == code, f"az {' '.join(arguments)} ended with {ended.returncode}: {ended.stdout}{ended.stderr}"
        return ended.stderr

    def run(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """One process, ended."""
        return subprocess.run(
            [*self.command, *arguments],
            env=dict(self.environment),
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    def within(self, *launcher: str, **variables: str) -> Az:
        """The same, started by another program or with further variables."""
        return Az(command=(*launcher, *self.command), environment={**self.environment, **variables})


def operator_az(up: Up, azure_cli: Path, home: Path) -> Az:
    """`idplane az` of a person whose home is that folder."""
    command = (*IDPLANE, "az", "--data", str(up.data), "--az", str(azure_cli))
    return Az(command=command, environment=_environment(home))


def own_az(azure_cli: Path, home: Path) -> Az:
    """`az` alone, which keeps its configuration in the folder that is its home."""
    return Az(command=(str(azure_cli),), environment=_environment(home))


def signed_in(az: Az, *options: str) -> dict[str, Any]:
    """The claims of the token that `az` has, for Resource Manager unless the options say otherwise."""
    token: str = az("account", "get-access-token", *options)["accessToken"]
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


# What stories need beforehand, without a start of `az` for each.


def put(up: Up, identifier: str, version: str, body: Any) -> Any:
    """A resource, put by a plain request."""
    status, answer = up.arm("PUT", f"{identifier}?api-version={version}", body)
    assert status < 400, answer
    return answer


def new_group(up: Up, name: str) -> str:
    """The id of a new group."""
    identifier = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/{name}"
    put(up, identifier, "2024-11-01", {"location": "westeurope"})
    return identifier


def new_identity(up: Up, group: str, name: str) -> dict[str, str]:
    """A user-assigned identity: its `id`, `principalId` and `clientId`."""
    identifier = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    made = put(up, identifier, "2024-11-30", {"location": "westeurope"})
    return {"id": made["id"], **made["properties"]}


def grant(up: Up, principal_id: str, scope: str) -> None:
    """Let a principal read a scope."""
    properties = {
        "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{_READER}",
        "principalId": principal_id,
        "principalType": "ServicePrincipal",
    }
    identifier = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    put(up, identifier, "2022-04-01", {"properties": properties})


def _environment(home: Path) -> dict[str, str]:
    """This process' own, without what would lead `az` elsewhere or into somebody's real configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "ARM_", "IDENTITY_", "MSI_"))}
    return {**kept, "HOME": str(home), "AZURE_CORE_NO_COLOR": "1", "AZURE_CORE_COLLECT_TELEMETRY": "false"}
