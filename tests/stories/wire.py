"""Bytes to a plane's TLS listener and back, for requests that no HTTP client would send."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.stories.planes import Up

__all__ = ["Reply", "Wire", "assert_refusal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer; `status` is 0 when the connection ended without one."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """Opens connections to one plane."""

    def __init__(self, up: Up) -> None:
        self.port: int = up.info["port"]
        self.host = f"localhost:{self.port}"
        self._context = ssl.create_default_context(cafile=up.info["ca_file"])

    @contextmanager
    def open(self) -> Iterator[ssl.SSLSocket]:
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=30) as plain,
            self._context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            yield connection

    def request(self, line: str, *headers: str, body: bytes = b"", host: str | None = None, separator: str = "\r\n") -> bytes:
        """The bytes of a request with a Host header."""
        return separator.join((line, f"Host: {host or self.host}", *headers, "", "")).encode("latin-1") + body

    def ask(self, data: bytes) -> Reply:
        """Send bytes on a connection of their own and read one answer."""
        with self.open() as connection:
            connection.sendall(data)
            return read_reply(connection)


def read_reply(connection: socket.socket) -> Reply:
    """One answer off a connection, `100 Continue` skipped."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(1)
        if not more:
            return Reply(status=0, headers={}, body=received)
        received += more
    status, *lines = received.decode("latin-1").split("\r\n")
    if status.startswith("HTTP/1.1 100"):
        return read_reply(connection)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = b""
    while len(body) < int(headers.get("content-length", "0")):
        more = connection.recv(65536)
        assert more, "the answer ended early"
        body += more
    return Reply(status=int(status.split()[1]), headers=headers, body=body)


def assert_refusal(reply: Reply, *statuses: int) -> None:
    """The answer has one of the statuses, an id, and is an error of some dialect that tells nothing of the inside."""
    assert reply.status in statuses, reply
    assert len(reply.headers["x-ms-request-id"]) == 36
    error = reply.json["error"]
    assert (isinstance(error, dict) and error["code"] and error["message"]) or reply.json["error_description"], reply
    assert b"Traceback" not in reply.body
