"""Where servers' spans go: an OpenTelemetry collector that keeps what it is sent, byte for byte."""

from __future__ import annotations

import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from faults.stage.network import Network

__all__ = ["ENDPOINT", "collecting"]

_PORT: Final = 4318
ENDPOINT: Final = f"http://{Network.address}:{_PORT}"


def collecting(folder: Path) -> ThreadingHTTPServer:
    """A collector that writes a file for each request that it gets; until `shutdown`. The network has to be there."""
    numbers = itertools.count()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            (folder / f"{next(numbers)}.otlp").write_bytes(str(self.headers).encode() + content)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    folder.mkdir()
    server = ThreadingHTTPServer((Network.address, _PORT), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
