"""A transport of Azure's own clients that keeps what went over the wire, as the validator reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest
from clients.descriptions import Operation, operations_of

if TYPE_CHECKING:
    from tests.stories.planes import Up

__all__ = ["AUDIENCE", "Bearer", "Exchange", "Recorder", "Wire", "written"]

AUDIENCE = "https://management.azure.com"
_KEPT = ("content-type", "location", "azure-asyncoperation", "retry-after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its answer."""

    method: str
    url: str
    sent: Any
    status: int
    headers: Mapping[str, str]
    received: Any

    @property
    def path(self) -> str:
        """The request's path, decoded."""
        return unquote(urlsplit(self.url).path)

    @property
    def version(self) -> str:
        """The api-version that was asked."""
        return dict(parse_qsl(urlsplit(self.url).query)).get("api-version", "")

    @property
    def refused(self) -> bool:
        """Whether it is an error."""
        return self.status >= 400

    @property
    def known_to_the_command(self) -> bool:
        """Whether `oav validate-traffic` finds its operation; where it finds none it passes over the exchange, or fails on it."""
        return "//" not in self.path and any(one.has_a_namespace for one, _ in self.operations())

    def operations(self) -> Iterator[tuple[Operation, dict[str, str]]]:
        """The described operations that it is an instance of, with the parameters of its path."""
        return operations_of(self.method, self.path, self.version)

    def document(self) -> dict[str, Any]:
        """The exchange as `oav validate-traffic` reads it."""
        request: dict[str, Any] = {"headers": {"Content-Type": "application/json"}, "method": self.method, "url": self.url}
        response: dict[str, Any] = {"statusCode": str(self.status), "headers": dict(self.headers)}
        if self.sent is not None:
            request["body"] = self.sent
        if self.received is not None:
            response["body"] = self.received
        return {"liveRequest": request, "liveResponse": response}


class Recorder(RequestsTransport):  # type: ignore[misc]  # azure-core exports it by a module attribute that mypy cannot see into
    """azure-core's ordinary transport, with a memory. Credentials are not remembered."""

    def __init__(self, ca_file: str) -> None:
        super().__init__(connection_verify=ca_file)
        self.exchanges: list[Exchange] = []

    def send(self, request: Any, **options: Any) -> Any:
        """Send and note."""
        response = super().send(request, **options)
        text = response.internal_response.content
        sent = getattr(request, "content", None) or getattr(request, "data", None)
        self.exchanges.append(
            Exchange(
                method=request.method,
                url=request.url,
                sent=json.loads(sent) if sent else None,
                status=response.status_code,
                headers={name: value for name, value in response.headers.items() if name.lower() in _KEPT},
                received=json.loads(text) if text else None,
            )
        )
        return response

    def close(self) -> None:
        """Stays open: clients close what they use, and one is used by several."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whoever has a token, as a credential of Azure's clients."""

    token: str = field(repr=False)

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        """The one token; it outlives the tests."""
        return AccessToken(self.token, 2**40)


class Wire:
    """A live plane, and everything that is said to it."""

    def __init__(self, up: Up) -> None:
        self.url = str(up.info["arm"])
        self.tenant = str(up.info["tenant_id"])
        self.subscription_id = str(up.info["subscription_id"])
        self.subscription = f"/subscriptions/{self.subscription_id}"
        self.up = up
        self.ca_file = str(up.info["ca_file"])
        self.token = up.operator_token(AUDIENCE)
        self.transport = Recorder(self.ca_file)

    def client(self, kind: Any, token: str | None = None, **options: Any) -> Any:
        """One of Azure's management clients, of the plane's owner or of a token's bearer."""
        scopes = [f"{AUDIENCE}/.default"]
        options = {"base_url": self.url, "credential_scopes": scopes, "transport": self.transport, "retry_total": 0, **options}
        return kind(Bearer(token or self.token), self.subscription_id, **options)

    def token_of(self, resource: str) -> str:
        """What a resource's own identity gets for Resource Manager."""
        ended = self.up.cli("token", "--as", resource, "--resource", AUDIENCE, "--json")
        token: str = json.loads(ended.stdout)["access_token"]
        return token

    def call(self, method: str, path: str, version: str, body: Any = None, **query: str) -> Any:
        """A request by itself; its status, and the body of the answer."""
        headers = {"authorization": f"Bearer {self.token}", "accept": "application/json"}
        parameters = {"api-version": version, **query}
        request = HttpRequest(method, f"{self.url}{path}", params=parameters, headers=headers, json=body)
        self.transport.send(request)
        answer = self.transport.exchanges[-1]
        return answer.status, answer.received

    def settle(self) -> None:
        """Wait for the operation that the last answer tells of."""
        headers = {name.lower(): value for name, value in self.transport.exchanges[-1].headers.items()}
        place = headers.get("location") or headers["azure-asyncoperation"]
        while True:
            self.transport.send(HttpRequest("GET", place, headers={"authorization": f"Bearer {self.token}"}))
            answer = self.transport.exchanges[-1]
            if answer.status != 202 and (answer.received or {}).get("status") not in ("Running", "InProgress", "Accepted"):
                return

    def again(self, exchange: Exchange, token: str) -> int:
        """The same request by another bearer; the status."""
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        self.transport.send(HttpRequest(exchange.method, exchange.url, headers=headers, json=exchange.sent))
        return self.transport.exchanges[-1].status

    def good(self, method: str, path: str, version: str, body: Any = None, **query: str) -> Any:
        """A request that is served; the body of the answer."""
        status, received = self.call(method, path, version, body, **query)
        assert status < 400, (method, path, status, received)
        return received

    def refused(self, expected: tuple[int, str], method: str, path: str, version: str, body: Any = None, **query: str) -> None:
        """A request that is refused with this status and code."""
        status, received = self.call(method, path, version, body, **query)
        told = (received or {}).get("error", received or {}).get("code", "")
        assert (status, told) == expected, (method, path, received)


def written(exchanges: list[Exchange], folder: Path) -> list[dict[str, Any]]:
    """Write a file for each exchange; the index tells which operations each is confirmed against."""
    index = []
    for number, one in enumerate(exchanges):
        file = folder / f"{number:04}.json"
        file.write_text(json.dumps(one.document(), indent=1))
        for operation, parameters in one.operations():
            index.append(
                {"file": str(file), "description": operation.description, "operation": operation.name, "parameters": parameters}
            )
    return index
