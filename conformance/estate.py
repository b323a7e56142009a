"""The plane under test: one `idplane up` with a host of each kind, identities, and an application that trusts one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.stories.applications import add_application, new_pem
from tests.stories.planes import Up

from conformance.cells import CELLS, Cell, Client
from idplane.model.federation import Trust

__all__ = ["RESOURCE", "Estate", "Identity"]

RESOURCE = "https://vault.azure.net"
"""What tokens are asked for."""
_EXCHANGE = "api://AzureADTokenExchange"
_APPLICATION_SECONDS = 3900
_POD = "kubernetes"
"""The host whose code shows a token of its own; it is trusted to be `blue`."""
_NOBODY = "00000000-0000-0000-0000-00000000abcd"
_LOCATION = "westeurope"
_VERSIONS = {
    "resourceGroups": "2024-11-01",
    "Microsoft.ManagedIdentity": "2024-11-30",
    "Microsoft.Compute": "2024-11-01",
    "Microsoft.Web": "2024-11-01",
    "Microsoft.HybridCompute": "2024-07-10",
    "Microsoft.ServiceFabric": "2024-04-01",
    "Microsoft.MachineLearningServices": "2024-10-01",
    "Microsoft.ContainerService": "2024-10-01",
}
_HOSTS: Mapping[str, tuple[str, bool, tuple[str, ...], Mapping[str, Any]]] = {
    "machine": ("Microsoft.Compute/virtualMachines/machine", True, ("blue", "green"), {}),
    "lonely-machine": ("Microsoft.Compute/virtualMachines/lonely-machine", False, ("blue",), {}),
    "web-app": ("Microsoft.Web/sites/web-app", True, (), {"kind": "app,linux"}),
    "slot": ("Microsoft.Web/sites/web-app/slots/staging", True, ("blue", "green"), {"kind": "app,linux"}),
    "function-app": ("Microsoft.Web/sites/function-app", True, ("blue", "green"), {"kind": "functionapp"}),
    "arc-machine": ("Microsoft.HybridCompute/machines/arc-machine", True, (), {}),
    "cluster": ("Microsoft.ServiceFabric/managedClusters/cluster", True, ("blue", "green"), {"sku": {"name": "Standard"}}),
    "kubernetes": (
        "Microsoft.ContainerService/managedClusters/kubernetes",
        True,
        (),
        {"properties": {"oidcIssuerProfile": {"enabled": True}}},
    ),
    "workspace": ("Microsoft.MachineLearningServices/workspaces/workspace", True, ("blue", "green"), {}),
}
"""Each host's id within the group, whether it has an identity of its own, which others it bears, and what else its body has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A principal, and what its tokens say of it."""

    object_id: str
    client_id: str
    resource_id: str | None
    """The claim `xms_mirid`; None for the application."""
    seconds: int = 86700
    """How long its tokens last (MIE section 9.4)."""

    def name(self, kind: str) -> str:
        """How it is named in a request."""
        return {"client_id": self.client_id, "object_id": self.object_id, "resource_id": self.resource_id or ""}[kind]


class Estate:
    """A running plane; a context manager."""

    def __init__(self, folder: Path) -> None:
        data = folder / "data"
        self._certificate = folder / "job.pem"
        pem = new_pem()
        self._certificate.write_bytes(pem)
        self.up = Up(data)
        self.tenant_id = str(self.up.info["tenant_id"])
        try:
            self._token = self.up.operator_token("https://management.azure.com")
            self._group = f"/subscriptions/{self.up.info['subscription_id']}/resourceGroups/conformance"
            self._put("")
            self.shared = {name: self._user_assigned(name) for name in ("blue", "green")}
            self._hosts = {name: self._host(name) for name in _HOSTS}
            self._federate(_POD, "shop/cart", "blue")
        finally:
            self.up.stop()
        issuer = f"https://login.microsoftonline.com/{self.tenant_id}/v2.0"
        trust = Trust(issuer=issuer, subject=self.shared["blue"].object_id, audiences=(_EXCHANGE,))
        application = add_application(data, self.tenant_id, pem, trust)
        self._application = Identity(
            object_id=application.principal_id, client_id=application.client_id, resource_id=None, seconds=_APPLICATION_SECONDS
        )
        self._secret = application.secret
        self.up = Up(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.up.stop()

    def host(self, name: str) -> str:
        """A host's resource id."""
        return self._hosts[name][0]

    def default(self, host: str) -> Identity | None:
        """The identity of the host's own."""
        return self.shared["blue"] if host == _POD else self._hosts[host][1]

    def meant(self, cell: Cell, host: str) -> Identity | None:
        """Whose token a cell must get; None if nobody's."""
        if cell.identity == "own":
            return self.default(host)
        return {**self.shared, "application": self._application}.get(cell.identity)

    def request(self, name: str) -> dict[str, Any]:
        """What a program is asked in a cell (README.md, the protocol)."""
        cell = CELLS[name]
        asked: dict[str, Any] = {"id": name, "client": cell.client, "selector": None, "resource": RESOURCE}
        if cell.kind is not None:
            shown = (
                _NOBODY if cell.identity == "nobody" else self.shared.get(cell.identity, self.shared["blue"]).name(cell.kind)
            )
            asked["selector"] = {"kind": cell.kind, "value": shown}
        if cell.times > 1:
            asked["times"] = cell.times
        if cell.identity == "application":
            asked |= {"tenant": self.tenant_id, "client_id": self._application.client_id}
        match cell.client:
            case Client.CLIENT_SECRET:
                asked["secret"] = self._secret
            case Client.CLIENT_CERTIFICATE:
                asked["certificate"] = str(self._certificate)
            case Client.CLIENT_ASSERTION:
                asked["assertion_resource"] = _EXCHANGE
            case _:
                pass
        return asked

    def _user_assigned(self, name: str) -> Identity:
        made = self._put(f"Microsoft.ManagedIdentity/userAssignedIdentities/{name}")
        properties = made["properties"]
        return Identity(object_id=properties["principalId"], client_id=properties["clientId"], resource_id=made["id"])

    def _host(self, name: str) -> tuple[str, Identity | None]:
        path, system, shared, more = _HOSTS[name]
        kinds = [kind for kind, wanted in (("SystemAssigned", system), ("UserAssigned", bool(shared))) if wanted]
        block: dict[str, Any] = {"type": ", ".join(kinds)}
        if shared:
            block["userAssignedIdentities"] = {self.shared[one].resource_id: {} for one in shared}
        made = self._put(path, {**more, "identity": block})
        if not system:
            return made["id"], None
        own = self._call("GET", f"{made['id']}/providers/Microsoft.ManagedIdentity/identities/default", "2024-11-30")
        properties = own["properties"]
        identity = Identity(object_id=properties["principalId"], client_id=properties["clientId"], resource_id=made["id"])
        return made["id"], identity

    def _federate(self, host: str, account: str, identity: str) -> None:
        ended = self.up.cli("federate", "--as", self.host(host), "--service-account", account, identity)
        if ended.returncode != 0:
            raise RuntimeError(ended.stderr)

    def _put(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        identifier = f"{self._group}/providers/{path}" if path else self._group
        version = _VERSIONS[path.partition("/")[0] or "resourceGroups"]
        return self._call("PUT", identifier, version, {"location": _LOCATION, **(body or {})})

    def _call(self, method: str, identifier: str, version: str, body: Any = None) -> Any:
        status, answer = self.up.arm(method, f"{identifier}?api-version={version}", body, token=self._token)
        if status not in {200, 201}:
            raise RuntimeError(f"{method} {identifier}: {status} {answer}")
        return answer
