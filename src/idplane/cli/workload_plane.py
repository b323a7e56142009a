"""Records below resources of the running plane (Idplane.Workloads), read and written through Resource Manager as its operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from idplane.cli.client import PlaneClient
from idplane.cli.description import PlaneDescription, read_plane
from idplane.cli.operator import ARM_RESOURCE, operator_access
from idplane.cli.output import CommandError
from idplane.cli.paging import id_of, pages
from idplane.model.bindings import SYSTEM_ASSIGNED
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["WorkloadPlane"]

_API_VERSION = "2026-11-01"
_IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
_IDENTITIES_VERSION = "2024-11-30"
_RESOURCES_VERSION = "2021-04-01"
_NO_CONTENT = 204


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadPlane:
    """A plane, and the operator's access to it. Needs nothing on this machine but the folder: the plane may be servers elsewhere."""

    description: PlaneDescription
    client: PlaneClient
    token: str = field(repr=False)

    @classmethod
    def open(cls, data: Path) -> WorkloadPlane:
        """The plane of a data folder, or of an operator's folder; raises `CommandError`."""
        description = read_plane(data)
        client = PlaneClient(Path(description.ca_file))
        return cls(description=description, client=client, token=operator_access(data, description, client, ARM_RESOURCE))

    def resolve(self, text: str) -> ResourceId:
        """The resource that a person means by a full id, or by a name that no other resource has; raises `CommandError`."""
        if text.startswith("/"):
            try:
                return ResourceId.parse(text)
            except Failure as failure:
                raise CommandError(failure.detail) from failure
        url = self._url(f"{self._subscription}/resources", _RESOURCES_VERSION)
        return ResourceId.parse(id_of(text, pages(self.client, url, self.token), "resource"))

    def identity(self, text: str) -> str:
        """`SystemAssigned`, or the id of a user-assigned identity that is there or, given as a full id, may yet be."""
        if text.lower() in {"system", SYSTEM_ASSIGNED.lower()}:
            return SYSTEM_ASSIGNED
        if text.startswith("/"):
            return text
        url = self._url(f"{self._subscription}/providers/{_IDENTITIES}", _IDENTITIES_VERSION)
        return id_of(text, pages(self.client, url, self.token), "user-assigned identity")

    def list(self, host: ResourceId | None, kind: str) -> list[JsonObject]:
        """Of one resource, or of all in the subscription."""
        scope = str(host) if host is not None else self._subscription
        return [*pages(self.client, self._url(f"{scope}/providers/{kind}"), self.token)]

    def names(self, host: ResourceId, kind: str) -> frozenset[str]:
        """Of the records of a resource, in lower case."""
        return frozenset(str(one.get("name")).lower() for one in self.list(host, kind))

    def write(
        self, host: ResourceId, kind: str, name: str, body: JsonObject, headers: Mapping[str, str] | None = None
    ) -> JsonObject:
        """The record as it is now."""
        return self.client.send("PUT", self._at(host, kind, name), token=self.token, body=body, headers=headers).body

    def act(self, host: ResourceId, kind: str, name: str, word: str, body: JsonObject) -> JsonObject:
        """What an action on a record answers."""
        return self.client.send("POST", self._at(host, kind, name, word), token=self.token, body=body).body

    def delete(self, host: ResourceId, kind: str, name: str) -> None:
        """Raises `CommandError` when there is nothing to delete."""
        if self.client.send("DELETE", self._at(host, kind, name), token=self.token).status == _NO_CONTENT:
            raise CommandError(f"{host.name} has nothing named '{name}'")

    @property
    def _subscription(self) -> str:
        return f"/subscriptions/{self.description.subscription_id}"

    def _at(self, host: ResourceId, kind: str, name: str, word: str | None = None) -> str:
        try:
            identifier = host.extension(kind, name)
        except Failure as failure:
            raise CommandError(f"'{name}' can't be a name here") from failure
        return self._url(f"{identifier}/{word}" if word else str(identifier))

    def _url(self, path: str, version: str = _API_VERSION) -> str:
        return f"{self.description.arm}{quote(path)}?api-version={version}"
