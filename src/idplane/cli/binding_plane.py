"""Bindings of the running plane, read and written through Resource Manager as its operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from idplane.cli.client import PlaneClient
from idplane.cli.description import PlaneDescription, read_plane
from idplane.cli.link import ask
from idplane.cli.operator import ARM_RESOURCE, operator_access
from idplane.cli.output import CommandError
from idplane.cli.paging import pages
from idplane.model.bindings import SYSTEM_ASSIGNED
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["BindingPlane"]

_TYPE = "Idplane.Workloads/bindings"
_API_VERSION = "2026-11-01"
_IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
_IDENTITIES_VERSION = "2024-11-30"
_NO_CONTENT = 204


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingPlane:
    """The plane, and the operator's access to it."""

    data: Path
    description: PlaneDescription
    client: PlaneClient
    token: str = field(repr=False)

    @classmethod
    def open(cls, data: Path) -> BindingPlane:
        """The plane on a data folder; raises `CommandError`."""
        description = read_plane(data)
        client = PlaneClient(Path(description.ca_file))
        token = operator_access(data, description, client, ARM_RESOURCE)
        return cls(data=data, description=description, client=client, token=token)

    def resolve(self, text: str) -> ResourceId:
        """The resource that a person means; raises `CommandError`."""
        return ResourceId.parse(str(ask(self.data, {"operation": "resolve", "resource": text}).get("resource")))

    def identity(self, text: str) -> str:
        """`SystemAssigned`, or the id of a user-assigned identity that is there or, given as a full id, may yet be."""
        if text.lower() in {"system", SYSTEM_ASSIGNED.lower()}:
            return SYSTEM_ASSIGNED
        if text.startswith("/"):
            return text
        url = self._url(f"/subscriptions/{self.description.subscription_id}/providers/{_IDENTITIES}", _IDENTITIES_VERSION)
        found = [one for one in pages(self.client, url, self.token) if str(one.get("name")).lower() == text.lower()]
        if not found:
            raise CommandError(f"there is no user-assigned identity named '{text}'")
        if len(found) > 1:
            ids = ", ".join(str(one.get("id")) for one in found)
            raise CommandError(f"'{text}' may mean any of these; use a full id: {ids}")
        return str(found[0].get("id"))

    def bindings(self, host: ResourceId | None) -> list[JsonObject]:
        """Of one resource, or of all."""
        scope = str(host) if host is not None else f"/subscriptions/{self.description.subscription_id}"
        return list(pages(self.client, self._url(f"{scope}/providers/{_TYPE}"), self.token))

    def names(self, host: ResourceId) -> frozenset[str]:
        """Of the bindings of a resource, in lower case."""
        return frozenset(str(one.get("name")).lower() for one in self.bindings(host))

    def write(self, host: ResourceId, name: str, body: JsonObject, headers: Mapping[str, str]) -> JsonObject:
        """The binding as it is now."""
        return self.client.send("PUT", self._at(host, name), token=self.token, body=body, headers=headers).body

    def delete(self, host: ResourceId, name: str) -> None:
        """Raises `CommandError` when somebody else has been faster."""
        if self.client.send("DELETE", self._at(host, name), token=self.token).status == _NO_CONTENT:
            raise CommandError(f"{host.name} has no binding named '{name}'")

    def _at(self, host: ResourceId, name: str) -> str:
        try:
            return self._url(str(host.extension(_TYPE, name)))
        except Failure as failure:
            raise CommandError(f"'{name}' is no name for a binding") from failure

    def _url(self, path: str, version: str = _API_VERSION) -> str:
        return f"{self.description.arm}{quote(path)}?api-version={version}"
