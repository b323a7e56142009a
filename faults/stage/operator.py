"""The installation's operator: signs in, and calls Resource Manager and Graph, through the balancer or at one server."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from faults.loads.endpoints import claims_of
from faults.stage.programs import StageError
from faults.stage.servers import PORT, PUBLIC_NAME, Server, idplane
from idplane.bootstrap.operator import OperatorKey
from idplane.bootstrap.world import SystemClock, SystemEntropy

__all__ = ["MANAGEMENT", "Operator"]

MANAGEMENT: Final = "https://management.azure.com"
_TOKEN_SECONDS: Final = 600
_PATIENCE: Final = 20.0
_TRIES: Final = 5
_VERSIONS: Final = {
    "Microsoft.Compute": "2024-11-01",
    "Microsoft.ManagedIdentity": "2024-11-30",
    "Microsoft.Authorization": "2022-04-01",
    "Microsoft.KeyVault": "2023-07-01",
    "Idplane.Workloads": "2026-11-01",
    "Idplane.Security": "2026-11-01",
}


@dataclass(kw_only=True)
class Operator:
    """Whoever has the folder that `idplane admin operator` makes."""

    folder: Path
    plane: Mapping[str, Any]
    key: OperatorKey = field(repr=False)
    told: set[str] = field(default_factory=set, repr=False)
    """Every token and assertion that it had."""
    _tokens: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict, repr=False)

    @classmethod
    def create(cls, server: Server, folder: Path) -> Operator:
        """A new operator, let in with a server's settings. Raises `StageError`."""
        command = idplane("admin", "operator", "--config", str(server.folder / "server.toml"), "--out", str(folder))
        made = subprocess.run([*server.place.entering, *command], check=False, capture_output=True, text=True)
        if made.returncode != 0:
            raise StageError(f"no operator was let in: {made.stderr}")
        plane = json.loads((folder / "plane.json").read_bytes())
        return cls(folder=folder, plane=plane, key=OperatorKey.from_pem((folder / "operator.pem").read_bytes()))

    @property
    def file(self) -> Path:
        """Its key's."""
        return self.folder / "operator.pem"

    @property
    def ca_file(self) -> Path:
        """The authority behind the servers' certificates."""
        return self.folder / "ca.pem"

    @property
    def object_id(self) -> str:
        """Its own."""
        return str(claims_of(self.token(MANAGEMENT))["oid"])

    @property
    def group(self) -> str:
        """The resource group that everything is in."""
        return f"/subscriptions/{self.plane['subscription_id']}/resourceGroups/stage"

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str],
        at: Server | None = None,
        host: str = PUBLIC_NAME,
    ) -> tuple[int, Any]:
        """One bare request, through the balancer or to one server; status and JSON. Raises `StageError` without an answer."""
        for left in range(_TRIES - 1, -1, -1):
            try:
                return self._request(method, path, body, headers={"Host": host, **headers}, at=at)
            except (OSError, http.client.HTTPException) as error:
                # Before the request was sent there is no harm in sending it again.
                if not left or not (method == "GET" or isinstance(error, ssl.SSLError | ConnectionRefusedError)):
                    raise StageError(f"{method} {path}: {type(error).__name__}: {error}") from error
            time.sleep(1.0)
        raise AssertionError("the last try returns or raises")

    def _request(
        self, method: str, path: str, body: bytes, *, headers: Mapping[str, str], at: Server | None
    ) -> tuple[int, Any]:
        where, port = (at.place.address, PORT) if at else (PUBLIC_NAME, 443)
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with closing(http.client.HTTPSConnection(where, port, context=context, timeout=_PATIENCE)) as connection:
            connection.request(method, path, body or None, dict(headers))
            answer = connection.getresponse()
            content = answer.read()
        return answer.status, json.loads(content) if content else None

    def token(self, resource: str, *, at: Server | None = None) -> str:
        """A token of the operator's own, kept for a while for each server. Raises `StageError`."""
        kept, until = self._tokens.get((resource, at.name if at else ""), ("", 0.0))
        if time.monotonic() < until:
            return kept
        status, answer = self._sign_in(resource, at)
        if status != 200:
            raise StageError(f"the operator got no token: {status} {answer}")
        token = str(answer["access_token"])
        self.told.add(token)
        self._tokens[resource, at.name if at else ""] = (token, time.monotonic() + _TOKEN_SECONDS)
        return token

    def sign_in_status(self, at: Server) -> int:
        """The status with which a server answers a request for a token now; 503 if it does not take connections."""
        try:
            status, answer = self._sign_in(MANAGEMENT, at)
        except StageError:
            return 503
        if status == 200:
            self.told.add(str(answer["access_token"]))
        return status

    def _sign_in(self, resource: str, at: Server | None) -> tuple[int, Any]:
        endpoint = f"/{self.plane['tenant_id']}/oauth2/v2.0/token"
        form = self.key.token_request(
            client_id=str(self.plane["operator_client_id"]),
            token_endpoint=f"{self.plane['authority']}{endpoint}",
            resource=resource,
            clock=SystemClock(),
            entropy=SystemEntropy(),
        )
        self.told.add(form["client_assertion"])
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return self.request("POST", endpoint, urlencode(form).encode(), headers=headers, at=at)

    def signing_key(self) -> str:
        """The id of the key that signs tokens now."""
        found = self.listing("/providers/Idplane.Security/keys")
        return next(str(one["name"]) for one in found if one["properties"]["purpose"] == "token" and one["properties"]["signs"])

    def rotate_key(self) -> None:
        """Let the next key sign tokens."""
        self.call("POST", f"/providers/Idplane.Security/keys/{self.signing_key()}/rotate", {})

    def taint_key(self) -> None:
        """Let the key that signs tokens now count for nothing any more, by `idplane keys`. Raises `StageError`."""
        command = idplane("keys", "taint", self.signing_key(), "--yes", "--data", str(self.folder))
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise StageError(f"idplane keys taint: {done.stderr}")
        self._tokens.clear()

    def ask(self, method: str, path: str, body: Any = None, *, at: Server | None = None) -> tuple[int, Any]:
        """A call of Resource Manager, whatever its answer; the api-version is added where the path has none."""
        provider = path.rpartition("/providers/")[2].split("/")[0]
        target = path if "?" in path else f"{path}?api-version={_VERSIONS.get(provider, '2024-11-01')}"
        headers = {"Authorization": f"Bearer {self.token(MANAGEMENT, at=at)}", "Content-Type": "application/json"}
        return self.request(method, target, b"" if body is None else json.dumps(body).encode(), headers=headers, at=at)

    def call(self, method: str, path: str, body: Any = None, *, at: Server | None = None) -> Any:
        """A call of Resource Manager that succeeds; its body. Raises `StageError`."""
        status, answer = self.ask(method, path, body, at=at)
        if status >= 400:
            raise StageError(f"{method} {path}: {status} {answer}")
        return answer

    def listing(self, path: str, *, at: Server | None = None) -> Iterator[Any]:
        """All entries of a list, page by page."""
        while path:
            page = self.call("GET", path, at=at)
            yield from page["value"]
            following = urlsplit(page.get("nextLink") or "")
            path = f"{following.path}?{following.query}" if following.path else ""

    def grant(self, principal: str, role: str, scope: str) -> None:
        """Give a built-in role, by its id."""
        role_id = f"/providers/Microsoft.Authorization/roleDefinitions/{role}"
        properties = {"roleDefinitionId": role_id, "principalId": principal, "principalType": "ServicePrincipal"}
        self.call(
            "PUT", f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}", {"properties": properties}
        )

    def set_secret(self, vault: str, name: str, value: str) -> None:
        """Put a secret into a vault. Raises `StageError`."""
        headers = {"Authorization": f"Bearer {self.token('https://vault.azure.net')}", "Content-Type": "application/json"}
        host = f"{vault}.{self.plane['vault_suffix']}"
        path = f"/secrets/{name}?api-version=7.4"
        status, answer = self.request("PUT", path, json.dumps({"value": value}).encode(), headers=headers, host=host)
        if status != 200:
            raise StageError(f"the secret could not be set: {status} {answer}")
