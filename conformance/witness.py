"""Stands between a program and its token endpoint, and tells afterwards how often it was asked: `witness.py PROGRAM [ARGUMENT]...`.

For endpoints that variables lead to. Requests pass unchanged, but for the address in `Host`, which is the endpoint's own. The last line
on standard output is `{"asked": N}`: requests for tokens, without the probes by which some SDKs look for IMDS. Standard library only.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit, urlunsplit

__all__ = ["LEADING", "Witness", "main"]

LEADING = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST")
"""Variables that lead to an endpoint over HTTP."""
_OPENING = ("metadata", "x-identity-header", "secret")
"""Headers of which a request for a token has one, and a probe none."""
_HOPS = ("connection", "content-length", "transfer-encoding")
_SECONDS = 60


class Witness(ThreadingHTTPServer):
    """A forwarder on a port of its own."""

    daemon_threads = True

    def __init__(self, there: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.there = there
        """Host and port of the endpoint."""
        self.asked = 0
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_port}"

    def saw_a_request(self) -> None:
        """Count one."""
        with self._lock:
            self.asked += 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Witness

    def do_GET(self) -> None:
        if any(name in self.headers for name in _OPENING):
            self.server.saw_a_request()
        body = self._body() or None
        headers = {name: value for name, value in self.headers.items() if name.lower() not in {*_HOPS, "host"}}
        connection = http.client.HTTPConnection(self.server.there, timeout=_SECONDS)
        try:
            # As it was sent: `self.path` has its leading slashes made one.
            connection.request(self.command, self.requestline.split(" ")[1], body, {**headers, "Host": self.server.there})
            self._answer(connection.getresponse())
        finally:
            connection.close()

    def do_POST(self) -> None:
        self.do_GET()

    def _body(self) -> bytes:
        """What came with the request; MSAL for Go sends its form in chunks."""
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        body = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOPS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main(command: list[str]) -> int:
    """The program's exit code."""
    leading = {name: urlsplit(os.environ[name]) for name in LEADING if os.environ.get(name, "").startswith("http://")}
    there = {url.netloc for url in leading.values()}
    if len(there) != 1:
        raise SystemExit("there is not one endpoint that variables lead to")
    with Witness(there.pop()) as witness:
        threading.Thread(target=witness.serve_forever, daemon=True).start()
        moved = {name: urlunsplit(url._replace(netloc=witness.address)) for name, url in leading.items()}
        code = subprocess.run(command, env={**os.environ, **moved}, check=False).returncode
        witness.shutdown()
    print(json.dumps({"asked": witness.asked}), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
