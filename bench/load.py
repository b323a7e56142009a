"""The load generator: takes one JSON order a line on standard input. Started by `measure.Load`, maybe inside a run's namespace.

It starts the bare handler (`bare.py`) beside itself, since an answer costs less inside a namespace's loopback than outside, and says
first which process and port that is. Each request of an order gets a connection of its own, kept alive with one request outstanding;
the answer is the sorted latencies in milliseconds.
"""

from __future__ import annotations

import base64
import json
import selectors
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path


def connect(host: str, port: int, ca_file: str | None) -> socket.socket:
    connection = socket.create_connection((host, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if ca_file is None:
        return connection
    return ssl.create_default_context(cafile=ca_file).wrap_socket(connection, server_hostname=host)


def is_complete(answer: bytes) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    start = answer[:end].lower().find(b"content-length:") + len(b"content-length:")
    stop = answer.find(b"\r\n", start)
    return len(answer) >= end + 4 + int(answer[start:stop])


def run(connections: list[socket.socket], requests: list[bytes], count: int) -> list[float]:
    selector = selectors.DefaultSelector()
    latencies: list[float] = []
    received = dict.fromkeys(connections, b"")
    started = {}
    left = count

    def ask(connection: socket.socket, request: bytes) -> None:
        received[connection] = b""
        started[connection] = time.perf_counter()
        connection.sendall(request)

    for connection, request in zip(connections, requests, strict=True):
        selector.register(connection, selectors.EVENT_READ, (connection, request))
        ask(connection, request)
        left -= 1
    while selector.get_map():
        for key, _ in selector.select():
            connection, request = key.data
            data = connection.recv(1 << 16)
            if not data:
                raise SystemExit("the server closed a connection")
            received[connection] += data
            if not is_complete(received[connection]):
                continue
            latencies.append((time.perf_counter() - started[connection]) * 1000)
            if not received[connection].startswith(b"HTTP/1.1 200"):
                raise SystemExit(received[connection][:600].decode())
            if left > 0:
                left -= 1
                ask(connection, request)
            else:
                selector.unregister(connection)
    return sorted(latencies)


def main() -> None:
    bare = subprocess.Popen([sys.executable, str(Path(__file__).with_name("bare.py"))], stdout=subprocess.PIPE, text=True)
    assert bare.stdout is not None
    print(json.dumps({"pid": bare.pid, "port": int(bare.stdout.readline())}), flush=True)
    pools: dict[tuple[str, int], list[socket.socket]] = {}
    for line in sys.stdin:
        order = json.loads(line)
        requests = [base64.b64decode(one) for one in order["requests"]]
        host, port = order["address"]
        connections = pools.setdefault((host, port), [])
        while len(connections) < len(requests):
            connections.append(connect(host, port, order["ca_file"]))
        print(json.dumps(run(connections[: len(requests)], requests, order["count"])), flush=True)
    bare.terminate()


if __name__ == "__main__":
    main()
