"""What the benchmarks share: a running plane, load on a socket, and the CPU time of a process."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

IDPLANE = str(Path(sys.executable).with_name("idplane"))
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def running_plane() -> Iterator[tuple[Path, dict[str, Any], int]]:
    """A plane on a new data folder: the folder, its status document and its process id."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        process = subprocess.Popen(
            [IDPLANE, "up", "--data", str(data), "--port", "0", "--json"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            yield data, json.loads(process.stdout.readline()), process.pid
        finally:
            process.terminate()
            process.wait()


def idplane(data: Path, command: str, *arguments: str) -> Any:
    """The JSON that a command prints."""
    done = subprocess.run([IDPLANE, command, "--data", str(data), *arguments, "--json"], capture_output=True, check=True)
    return json.loads(done.stdout)


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used, from its scheduler statistics (nanoseconds)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def hammer(address: tuple[str, int], request: bytes, *, connections: int, requests: int) -> float:
    """Send `requests` requests over kept-alive connections, one outstanding on each; the seconds that took.

    Runs in a process of its own, so that its work is not the measured process' work.
    """
    code = (
        "import selectors,socket,sys,time\n"
        f"request={request!r}; n={connections}; left={requests}\n"
        f"s=[socket.create_connection({address!r}) for _ in range(n)]\n"
        "sel=selectors.DefaultSelector(); buf={}\n"
        "def expect(b):\n"
        "    h=b.find(b'\\r\\n\\r\\n')\n"
        "    if h<0: return False\n"
        "    i=b.lower().find(b'content-length:'); j=b.find(b'\\r\\n',i)\n"
        "    return len(b)>=h+4+int(b[i+15:j])\n"
        "t=time.perf_counter()\n"
        "for x in s: sel.register(x,selectors.EVENT_READ); buf[x]=b''; x.sendall(request); left-=1\n"
        "open_=n\n"
        "while open_:\n"
        "    for k,_ in sel.select():\n"
        "        x=k.fileobj; d=x.recv(65536)\n"
        "        if not d: raise SystemExit('closed')\n"
        "        buf[x]+=d\n"
        "        if expect(buf[x]):\n"
        "            if not buf[x].startswith(b'HTTP/1.1 200'): raise SystemExit(buf[x][:400])\n"
        "            buf[x]=b''\n"
        "            if left>0: left-=1; x.sendall(request)\n"
        "            else: open_-=1; sel.unregister(x)\n"
        "print(time.perf_counter()-t)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout)


def cpu_for_each(pid: int, requests: int, load: Callable[[], object]) -> float:
    """Microseconds of `pid`'s CPU time for each request of a load."""
    before = cpu_seconds(pid)
    load()
    return (cpu_seconds(pid) - before) / requests * 1e6


def median(values: list[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that a call takes."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def free_socket() -> socket.socket:
    """A listening socket on a free loopback port."""
    return socket.create_server(("127.0.0.1", 0), backlog=512)


class Management:
    """The operator's calls to Resource Manager over a kept-alive connection."""

    def __init__(self, data: Path, info: dict[str, Any]) -> None:
        self.group = f"/subscriptions/{info['subscription_id']}/resourceGroups/bench"
        token = idplane(data, "token", "--operator", "--resource", "https://management.azure.com")["access_token"]
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._connection = http.client.HTTPSConnection(
            urlsplit(info["arm"]).netloc, context=ssl.create_default_context(cafile=info["ca_file"])
        )
        self.call("PUT", f"{self.group}?api-version=2024-11-01", {"location": "westeurope"})

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call; exits with the answer when it is refused."""
        self._connection.request(method, path, None if body is None else json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise SystemExit(content.decode())
        return json.loads(content) if content else None

    def machine(self, name: str) -> str:
        """A virtual machine with a system-assigned identity; its id."""
        identifier = f"{self.group}/providers/Microsoft.Compute/virtualMachines/{name}"
        body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
        self.call("PUT", f"{identifier}?api-version=2024-11-01", body)
        return identifier


def management(data: Path, info: dict[str, Any]) -> Management:
    """Resource Manager of a running plane."""
    return Management(data, info)
