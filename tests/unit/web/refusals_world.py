"""A plane over HTTPS, with clients that are refused."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from idplane.testing.local import LocalPlane
from idplane.testing.values import HostResource, ManagedIdentity

ARM = "https://management.azure.com"
VAULT = "https://vault.azure.net"
GRAPH = "https://graph.microsoft.com"
REFUSALS = "/providers/Idplane.Diagnostics/refusals"
VERSION = "2026-11-01"
UNKNOWN = "00000000-0000-4000-8000-00000000dead"


@dataclass(frozen=True)
class Told:
    """What a client was told."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def id(self) -> str:
        return self.headers["x-ms-request-id"]


def ask(
    url: str, method: str = "GET", *, headers: Mapping[str, str] | None = None, body: bytes | None = None, ca: str = ""
) -> Told:
    """One request to wherever a URL leads."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = (
        http.client.HTTPSConnection(parts.hostname, parts.port, context=ssl.create_default_context(cafile=ca), timeout=30)
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    )
    with closing(connection):
        connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, dict(headers or {}))
        answer = connection.getresponse()
        content = answer.read()
    told = json.loads(content) if content[:1] in {b"{", b"["} else content.decode()
    return Told(answer.status, {name.lower(): value for name, value in answer.getheaders()}, told)


def identity(machine: HostResource) -> ManagedIdentity:
    """The system-assigned identity of a machine that has one."""
    assert machine.identity is not None
    return machine.identity


@dataclass
class Edge:
    """Requests to a plane, each by whoever its token speaks for."""

    plane: LocalPlane

    def send(self, method: str, path: str, *, token: str | None = None, body: Any = None, host: str | None = None) -> Told:
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        content = None if body is None else json.dumps(body).encode()
        return ask(f"{host or self.plane.url}{path}", method, headers=headers, body=content, ca=str(self.plane.ca_file))

    def arm(self, method: str, path: str, token: str | None, body: Any = None, version: str = "2022-12-01") -> Told:
        return self.send(method, f"{path}?api-version={version}", token=token, body=body)

    def operator(self, resource: str = ARM) -> str:
        return str(self.plane.operator_token(resource)["access_token"])

    def workload(self, machine: HostResource, resource: str = ARM) -> str:
        """A token as a program on a machine gets it."""
        answer = self.endpoint(machine, f"api-version=2019-08-01&resource={quote(resource, safe='')}")
        assert answer.status == 200, answer.body
        return str(answer.body["access_token"])

    def endpoint(self, machine: HostResource, query: str, **headers: str) -> Told:
        variables = self.plane.environment(machine)
        sent = {"X-IDENTITY-HEADER": variables["IDENTITY_HEADER"], **headers}
        return ask(f"{variables['IDENTITY_ENDPOINT']}?{query}", headers=sent)

    def application(self, client_id: str, secret: str, scope: str = f"{ARM}/.default") -> Told:
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, "scope": scope}
        return ask(
            f"{self.plane.url}/{self.plane.tenant_id}/oauth2/v2.0/token",
            "POST",
            headers={"content-type": "application/x-www-form-urlencoded"},
            body=urlencode(form).encode(),
            ca=str(self.plane.ca_file),
        )

    def explained(self, refusal_id: str, token: str | None = None) -> Told:
        return self.arm("GET", f"{REFUSALS}/{refusal_id}", token or self.operator(), version=VERSION)

    def properties(self, refusal_id: str, token: str | None = None) -> Any:
        answer = self.explained(refusal_id, token)
        assert answer.status == 200, answer.body
        return answer.body["properties"]
