"""What is attacked: a listener of each dialect, requests that no client would send, and a real client that must be served after each."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from azure.identity import ManagedIdentityCredential

from idplane.model.dialects import Dialect
from idplane.testing.local import HostResource, LocalPlane

__all__ = ["METADATA", "SECRET", "Answer", "Target", "answers", "assert_refused"]

RESOURCE = "https://vault.azure.net"
SECRET = (Dialect.APP_SERVICE, Dialect.APP_SERVICE_2017, Dialect.SERVICE_FABRIC, Dialect.MACHINE_LEARNING)
"""Dialects whose callers show a secret."""
METADATA = (Dialect.IMDS, Dialect.CLOUD_SHELL)
"""Dialects whose callers show that they mean it, and nothing more."""
_ENDPOINTS = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST")
_SECRETS = ("IDENTITY_HEADER", "MSI_SECRET")
_VERSIONS = {
    Dialect.IMDS: "2018-02-01",
    Dialect.APP_SERVICE: "2019-08-01",
    Dialect.APP_SERVICE_2017: "2017-09-01",
    Dialect.MACHINE_LEARNING: "2017-09-01",
    Dialect.SERVICE_FABRIC: "2019-07-01-preview",
}
_HEADERS = {Dialect.APP_SERVICE: "X-IDENTITY-HEADER", Dialect.IMDS: "Metadata", Dialect.CLOUD_SHELL: "Metadata"}
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer; status 0 if the connection ended without one."""

    status: int
    head: str = ""
    body: bytes = b""

    @property
    def words(self) -> tuple[str, str]:
        """The error's code and text, wherever the dialect has them; App Service has no codes."""
        document = json.loads(self.body)
        error = document.get("error")
        if isinstance(error, dict):
            return error["code"], error["message"]
        return error or "", document.get("error_description") or document.get("message") or document["Message"]


def answers(received: bytes) -> list[Answer]:
    """Everything that came back on a connection, taken apart by the lengths that were declared."""
    found = []
    while received:
        head, ended, rest = received.partition(b"\r\n\r\n")
        assert ended, received
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        size = int(length[1]) if length else 0
        found.append(Answer(status=int(head.split()[1]), head=head.decode("latin-1"), body=rest[:size]))
        received = rest[size:]
    return found


def assert_refused(answer: Answer, *statuses: int) -> str:
    """One of these statuses, an id, and words for a person; no token and no secret. The words."""
    assert answer.status in statuses, answer
    assert b"access_token" not in answer.body
    assert re.search(r"\r\nx-ms-request-id: [0-9a-f-]{36}", answer.head, re.IGNORECASE), answer
    text = answer.words[1]
    assert len(text) > 10, answer
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One listener, and what a good request to it is made of."""

    dialect: Dialect
    port: int
    path: str
    header: str
    """Name of the header that good callers send."""
    value: str
    variables: Mapping[str, str]
    tls: ssl.SSLContext | None = None
    address: str = "127.0.0.1"

    @classmethod
    def open(cls, plane: LocalPlane, host: HostResource, dialect: Dialect) -> Self:
        """A new listener of `dialect` for `host`."""
        return cls.named(dialect, plane.environment(host, dialect=dialect))

    @classmethod
    def named(cls, dialect: Dialect, variables: Mapping[str, str]) -> Self:
        """The listener that these variables lead to."""
        url = urlsplit(next(variables[name] for name in _ENDPOINTS if name in variables))
        assert url.port is not None
        return cls(
            dialect=dialect,
            port=url.port,
            path=url.path or "/metadata/identity/oauth2/token",
            header=_HEADERS.get(dialect, "Secret"),
            value=next((variables[name] for name in _SECRETS if name in variables), "true"),
            variables=variables,
            tls=_unchecked() if url.scheme == "https" else None,
        )

    @property
    def host(self) -> str:
        """What clients send as Host."""
        return f"{'localhost' if self.tls else self.address}:{self.port}"

    @property
    def target(self) -> str:
        """Path and query of a good request."""
        version = _VERSIONS.get(self.dialect)
        return f"{self.path}?{f'api-version={version}&' if version else ''}resource={RESOURCE}"

    @property
    def proof(self) -> str:
        """The header line that good callers send."""
        return f"{self.header}: {self.value}"

    def request(self, *headers: str, line: str | None = None, host: str | None = None, close: bool = True) -> bytes:
        """A request with exactly these headers beside Host."""
        lines = [line or f"GET {self.target} HTTP/1.1", f"Host: {self.host if host is None else host}", *headers]
        return "\r\n".join([*lines, *(["Connection: close"] if close else []), "", ""]).encode("latin-1")

    def good(self, *, close: bool = True) -> bytes:
        """A request that is served."""
        return self.request(self.proof, close=close)

    def connect(self) -> socket.socket:
        """A connection, over TLS where the dialect has it."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return plain if self.tls is None else self.tls.wrap_socket(plain, server_hostname="localhost")

    def send(self, data: bytes) -> list[Answer]:
        """Send bytes on a connection of their own, and the end of sending; everything that comes back until the other side ends."""
        received = b""
        with self.connect() as connection:
            try:
                connection.sendall(data)
                if self.tls is None:
                    connection.shutdown(socket.SHUT_WR)
                while more := connection.recv(65536):
                    received += more
            except ConnectionError:
                pass
        return answers(received)

    def ask(self, data: bytes) -> Answer:
        """Send bytes and get the one answer."""
        [answer] = self.send(data) or [Answer(status=0)]
        return answer

    def speaking(self, **changed: Any) -> Target:
        """The same listener, seen otherwise."""
        return replace(self, **changed)

    def assert_serves(self) -> None:
        """azure-identity, as it is, gets a token."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.variables.items():
                patch.setenv(name, value)
            with ManagedIdentityCredential() as credential:
                assert credential.get_token(f"{RESOURCE}/.default").token.count(".") == 2


def _unchecked() -> ssl.SSLContext:
    """Attackers do not check certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
