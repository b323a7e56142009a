"""Bad input to the token endpoints on a host: IMDS and App Service, byte by byte over their real sockets.

What is meant to get past their checks rather than being just wrong is in `tests/attacks`.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.stories.edge import errors_logged

from idplane.agent.host import Dialect
from idplane.testing.local import LocalPlane

RESOURCE = "resource=https://vault.azure.net"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One listener and a request that it serves."""

    port: int
    path: str
    query: str
    header: str
    """What proves that the caller means it: `Metadata: true`, or the secret."""
    dialect: Dialect

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def send(self, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            received = b""
            try:
                connection.sendall(data)
                while more := connection.recv(65536):
                    received += more
            except ConnectionError:
                return received
        return received

    def ask(
        self,
        *headers: str,
        line: str | None = None,
        target: str | None = None,
        host: str | None = None,
        proof: bool = True,
        body: bytes = b"",
    ) -> tuple[int, Any]:
        """One request, with what it needs unless it is said otherwise; status (0 for none) and decoded body."""
        asked = line or f"GET {target or f'{self.path}?{self.query}'} HTTP/1.1"
        lines = [asked, f"Host: {host or self.host}", *((self.header,) if proof else ()), *headers, "Connection: close", "", ""]
        return read(self.send("\r\n".join(lines).encode("latin-1") + body))


def read(answer: bytes) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
        return 0, None
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    content = body[: int(length[1])] if length else b""
    return int(head.split()[1]), json.loads(content) if content else None


def refused(answer: tuple[int, Any], *statuses: int) -> str:
    """The words of a refusal in the dialect that says `error_description` or `message`."""
    status, body = answer
    assert status in statuses, answer
    words = body.get("error_description") or body.get("message") or body.get("error")
    assert isinstance(words, str), answer
    assert "access_token" not in body
    return words


@pytest.fixture(scope="module")
def plane() -> Iterator[LocalPlane]:
    plane = LocalPlane()
    with errors_logged() as records:
        yield plane
    assert not records
    plane.close()


@pytest.fixture(scope="module")
def endpoints(plane: LocalPlane) -> dict[Dialect, Endpoint]:
    machine = plane.virtual_machine("bad-input")
    imds = plane.environment(machine, dialect=Dialect.IMDS)
    app = plane.environment(machine)
    served = urlsplit(app["IDENTITY_ENDPOINT"])
    return {
        Dialect.IMDS: Endpoint(
            port=urlsplit(imds["AZURE_POD_IDENTITY_AUTHORITY_HOST"]).port or 0,
            path="/metadata/identity/oauth2/token",
            query=f"api-version=2018-02-01&{RESOURCE}",
            header="Metadata: true",
            dialect=Dialect.IMDS,
        ),
        Dialect.APP_SERVICE: Endpoint(
            port=served.port or 0,
            path=served.path,
            query=f"api-version=2019-08-01&{RESOURCE}",
            header=f"X-IDENTITY-HEADER: {app['IDENTITY_HEADER']}",
            dialect=Dialect.APP_SERVICE,
        ),
    }


@pytest.fixture(params=[Dialect.IMDS, Dialect.APP_SERVICE], ids=["imds", "app service"])
def endpoint(request: pytest.FixtureRequest, endpoints: dict[Dialect, Endpoint]) -> Endpoint:
    found = endpoints[request.param]
    status, body = found.ask()
    assert (status, body["token_type"]) == (200, "Bearer")
    return found


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD", "PROPFIND"])
def test_other_methods(endpoint: Endpoint, method: str) -> None:
    status, body = endpoint.ask(line=f"{method} {endpoint.path}?{endpoint.query} HTTP/1.1")
    assert status == 405
    assert body is None or refused((status, body), 405)


@pytest.mark.parametrize("method", ["get", "GETT", "X" * 500, "CONNECT"])
def test_no_methods(endpoint: Endpoint, method: str) -> None:
    refused(endpoint.ask(line=f"{method} {endpoint.path}?{endpoint.query} HTTP/1.1"), 400, 404, 405)


PATHS = (
    "/", "*", "/x", "{path}/x", "{path}/..", "{path}/../token", "/..{path}", "/.{path}", "/./{path}", "///{path}", "{path}//", "{path}%2f", "{path}%00",
    "/%2e%2e{path}", "/%6detadata/identity/oauth2/token", "{path};x", "{path}\\", "\\{path}", "/{path}%0d%0aX: y", "/" + "a" * 5000,
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_other_paths(endpoint: Endpoint, path: str) -> None:
    refused(endpoint.ask(target=f"{path.format(path=endpoint.path)}?{endpoint.query}"), 400, 404)


QUERIES = (
    "", "&", "api-version", "api-version=", "{version}", "{version}&resource=", "{version}&resource", "resource=x&api-version=2017-01-01", "resource=x&api-version=x",
    "resource=x&api-version=9999-99-99", "resource=x&{version}&{version}", "resource=x&resource=x&{version}", "resource=%ff&{version}", "resource=%zz&{version}",
    "resource=%00&{version}", "resource=%0d%0a&{version}", "resource=a%0d%0aX:%20y&{version}", "resource=" + "a" * 3000 + "&{version}", "resource=nobody&{version}",
    "resource=https://nobody.example&{version}", "resource=[]&{version}", "&".join(f"a{n}=b" for n in range(100)) + "&resource=x&{version}",
    "resource=https://vault.azure.net/.default https://management.azure.com/.default&{version}".replace(" ", "%20"),
    "{good}&client_id=", "{good}&client_id=x", "{good}&client_id=%00", "{good}&client_id=a&object_id=b", "{good}&client_id=a&client_id=b", "{good}&client_id=*",
    "{good}&client_id=' or 1=1".replace(" ", "%20"), "{good}&msi_res_id=/subscriptions/../x", "{good}&msi_res_id=" + "/a" * 900, "{good}&object_id=" + "1" * 2000,
    "{good}&bypass_cache=maybe", "{good}&token_sha256_to_refresh=x", "{good}&token_sha256_to_refresh=" + "g" * 64, "{good}&xms_cc=<>", "{good}&xms_cc=" + "a," * 100,
)  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_bad_queries(endpoint: Endpoint, query: str) -> None:
    version = endpoint.query.partition("&")[0]
    asked = query.format(version=version, good=endpoint.query)
    words = refused(endpoint.ask(target=f"{endpoint.path}?{asked}"), 400, 431)
    assert "\r" not in words.partition("Trace ID")[0].rstrip("\r\n")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "api-version=x",
        "api-version=2021-02-01&format=xml",
        "api-version=2021-02-01&format=" + "a" * 999,
        "api-version=2021-02-01&api-version=2021-02-01",
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        "/metadata/instance",
        "/metadata/instance/compute",
        "/metadata/instance/nothing/here",
        "/metadata/instance/compute/../compute",
    ],
)
def test_bad_questions_about_the_instance(endpoints: dict[Dialect, Endpoint], path: str, query: str) -> None:
    status, body = endpoints[Dialect.IMDS].ask(target=f"{path}?{query}")
    assert status in {400, 404}
    assert body["error"]


TOO_MUCH: dict[str, tuple[tuple[str, ...], bytes]] = {
    "many headers": (tuple("a: b" for _ in range(500)), b""),
    "a long header": (("X: " + "y" * 20_000,), b""),
    "a long name": (("X" * 20_000 + ": y",), b""),
    "a large body": (("Content-Length: 50000",), b"x" * 50_000),
}


@pytest.mark.parametrize("case", TOO_MUCH)
def test_too_much(endpoint: Endpoint, case: str) -> None:
    headers, body = TOO_MUCH[case]
    refused(endpoint.ask(*headers, body=body), 400, 413, 431)


GARBAGE = (
    b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET  / HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"\0" * 100, b"GET /\xff HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\nHost: x\n\n",
)  # fmt: skip


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_what_is_not_http(endpoint: Endpoint, data: bytes) -> None:
    refused(read(endpoint.send(data)), 400, 404)


def test_requests_that_come_at_once_are_answered_in_order(endpoint: Endpoint) -> None:
    good = f"GET {endpoint.path}?{endpoint.query} HTTP/1.1\r\nHost: {endpoint.host}\r\n{endpoint.header}\r\n\r\n"
    other = f"GET /nothing HTTP/1.1\r\nHost: {endpoint.host}\r\n{endpoint.header}\r\n\r\n"
    answer = endpoint.send((good + other + good + "nonsense\r\n\r\n").encode())
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)] == [200, 404, 200, 400]


def test_every_refusal_has_an_id(endpoint: Endpoint) -> None:
    for data in (b"nonsense\r\n\r\n", f"GET / HTTP/1.1\r\nHost: {endpoint.host}\r\nConnection: close\r\n\r\n".encode()):
        head = endpoint.send(data).partition(b"\r\n\r\n")[0]
        assert re.search(rb"\r\nx-ms-request-id: [0-9a-f-]{36}", head, re.IGNORECASE), head
