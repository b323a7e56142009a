"""The witness against an endpoint of the standard library's: what passes is unchanged, and only requests for tokens count."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from conformance import running
from conformance.__main__ import main
from conformance.catalogue import Language, parse_language
from conformance.witness import Witness


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = f"{self.requestline.rpartition(' ')[0]} {self.headers['host']} {self.rfile.read(length).decode()}".encode()
        self.send_response(418)
        self.send_header("X-Kept", "yes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the base class' name

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def witness(echo: str) -> Iterator[Witness]:
    with Witness(echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(witness: Witness, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str | None, str]:
    connection = http.client.HTTPConnection(witness.address, timeout=10)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    said = (answer.status, answer.headers["x-kept"], answer.read().decode())
    connection.close()
    return said


def test_requests_pass_unchanged_but_for_the_address(witness: Witness) -> None:
    path = "//metadata/identity/oauth2/token/?resource=https://x&b=%2F"
    assert ask(witness, "GET", path, Metadata="true") == (418, "yes", f"GET {path} {witness.there} ")
    assert ask(witness, "POST", "/p", "resource=x", Metadata="true") == (418, "yes", f"POST /p {witness.there} resource=x")


def test_only_requests_for_tokens_count(witness: Witness) -> None:
    ask(witness, "GET", "/probe")
    assert witness.asked == 0
    for headers in ({"Metadata": "true"}, {"X-IDENTITY-HEADER": "s"}, {"secret": "s"}):
        ask(witness, "GET", "/token", **headers)
    assert witness.asked == 3


# What is missing on a machine


def needing(*tools: str) -> Language:
    described = {"language": "Go", "needs": list(tools), "programs": {}}
    return parse_language("go", described, {})


def test_missing_tools_are_named() -> None:
    assert running.missing_tools(needing("sh", "no-such-tool-here")) == ("no-such-tool-here",)


def test_an_unknown_language_is_refused_by_name() -> None:
    with pytest.raises(SystemExit, match="no language cobol"):
        main(["--languages", "cobol"])


def test_the_cache_is_outside_of_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert running.cache_folder(needing()) == tmp_path / "idplane-conformance" / "go"
