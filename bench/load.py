"""The load generator: takes one JSON order a line on standard input. Started by `measure.Load`, maybe inside a run's namespace.

It starts the bare handler (`bare.py`) beside itself, since an answer costs less inside a namespace's loopback than outside, and says
first which process and ports that is, and which variables lead to tokens where it lives. Connections are kept alive with one request
outstanding on each; every connection sends its own share of the requests, over and over. The answer is the sorted latencies in
milliseconds, and the seconds that all of it took.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any


class Client:
    """One connection. `ask` sends the next of its requests, `hear` tells whether the answer is there."""

    def __init__(self, order: dict[str, Any], requests: Sequence[bytes]) -> None:
        self._socket = connect(*order["address"], tls=order["tls"], ca_file=order["ca_file"])
        self._challenged: bool = order["challenged"]
        self.fileno = self._socket.fileno
        self.turn_to(requests)

    def turn_to(self, requests: Sequence[bytes]) -> None:
        self._requests = cycle(requests)

    def ask(self) -> None:
        self._received = b""
        self._size = 0
        self._request = next(self._requests)
        self.started = time.perf_counter()
        self._socket.sendall(self._request)

    def hear(self) -> bool:
        data = self._socket.recv(1 << 16)
        if not data:
            raise SystemExit("the server closed a connection")
        self._received += data
        if not self._size:
            self._size = answer_size(self._received)
        if not self._size or len(self._received) < self._size:
            return False
        if self._challenged and self._received.startswith(b"HTTP/1.1 401"):
            self._meet_challenge()
            return False
        if not self._received.startswith(b"HTTP/1.1 200"):
            raise SystemExit(self._received[:600].decode())
        return True

    def _meet_challenge(self) -> None:
        """Arc's: the answer names a file; the same request again, with what the file holds."""
        path = self._received.partition(b"realm=")[2].partition(b"\r\n")[0]
        key = Path(path.decode()).read_bytes()
        head, blank, body = self._request.partition(b"\r\n\r\n")
        self._received = b""
        self._size = 0
        self._socket.sendall(head + b"\r\nAuthorization: Basic " + key + blank + body)


def connect(host: str, port: int, *, tls: bool, ca_file: str | None) -> socket.socket:
    connection = socket.create_connection((host, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not tls:
        return connection
    context = ssl.create_default_context(cafile=ca_file)
    if ca_file is None:  # Service Fabric's clients compare a thumbprint instead
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=host)


def answer_size(answer: bytes) -> int:
    """Bytes of head and body together; 0 while that is not known."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return 0
    start = answer[:end].lower().find(b"content-length:") + len(b"content-length:")
    return end + 4 + int(answer[start : answer.find(b"\r\n", start)])


def run(clients: Sequence[Client], count: int) -> list[float]:
    waiting = select.epoll()
    by_number = {client.fileno(): client for client in clients}
    latencies: list[float] = []
    left = count
    for number, client in by_number.items():
        waiting.register(number, select.EPOLLIN)
        client.ask()
        left -= 1
    busy = len(clients)
    while busy:
        for number, _ in waiting.poll():
            client = by_number[number]
            if not client.hear():
                continue
            latencies.append((time.perf_counter() - client.started) * 1000)
            if left > 0:
                left -= 1
                client.ask()
            else:
                busy -= 1
    waiting.close()
    return sorted(latencies)


def run_anew(order: dict[str, Any], requests: Sequence[bytes]) -> list[float]:
    """Each request on a connection of its own, from so many threads; the time includes the handshake."""
    context = ssl.create_default_context(cafile=order["ca_file"])
    host, port = order["address"]

    def ask(number: int) -> float:
        started = time.perf_counter()
        with socket.create_connection((host, port)) as plain, context.wrap_socket(plain, server_hostname=host) as connection:
            connection.sendall(requests[number % len(requests)])
            received = b""
            while not received or len(received) < (answer_size(received) or 1 << 30):
                received += connection.recv(1 << 16)
        if not received.startswith(b"HTTP/1.1 200"):
            raise SystemExit(received[:600].decode())
        return (time.perf_counter() - started) * 1000

    with ThreadPoolExecutor(order["connections"]) as threads:
        return sorted(threads.map(ask, range(order["count"])))


def main() -> None:
    bare = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("bare.py")), *sys.argv[1:]], stdout=subprocess.PIPE, text=True
    )
    assert bare.stdout is not None
    ports = [int(one) for one in bare.stdout.readline().split()]
    variables = {name: value for name, value in os.environ.items() if name.startswith(("IDENTITY_", "MSI_"))}  # noqa: TID251 - what is measured put them there
    print(json.dumps({"pid": bare.pid, "ports": ports, "own_pid": os.getpid(), "variables": variables}), flush=True)
    pools: dict[tuple[str, int], list[Client]] = {}
    for line in sys.stdin:
        order = json.loads(line)
        requests = [base64.b64decode(one) for one in order["requests"]]
        if order["anew"]:
            start = time.perf_counter()
            latencies = run_anew(order, requests)
            print(json.dumps({"latencies": latencies, "seconds": time.perf_counter() - start}), flush=True)
            continue
        shares = [requests[one :: order["connections"]] for one in range(order["connections"])]
        pool = pools.setdefault(tuple(order["address"]), [])
        pool += (Client(order, share) for share in shares[len(pool) :])
        clients = pool[: len(shares)]
        for client, share in zip(clients, shares, strict=True):
            client.turn_to(share)
        start = time.perf_counter()
        latencies = run(clients, order["count"])
        print(json.dumps({"latencies": latencies, "seconds": time.perf_counter() - start}), flush=True)
    bare.terminate()


if __name__ == "__main__":
    main()
