"""A program that tries whatever it is told to, from wherever it runs: one JSON line in, one JSON line out.

    {"do": "exchange", "address": "169.254.169.254", "port": 80, "text": "GET / HTTP/1.1\\r\\n\\r\\n"}

Needs the standard library only, so that it can run anywhere; tests also import it, to try the same from outside.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["exchange", "listening_ports", "reach_process", "reach_sockets"]

_SECONDS = 2.0
_PTRACE_ATTACH = 16
_PTRACE_DETACH = 17
_PIDFD_GETFD = 438
_LISTENING = "0A"


def exchange(address: str, port: int, text: str, *, tls: bool = False, name: str = "localhost") -> str:
    """Send bytes as they are; everything that comes back, or why nothing did."""
    answer = b""
    try:
        plain = socket.create_connection((address, port), _SECONDS)
        with _wrapped(plain, name) if tls else plain as sock:
            sock.sendall(text.encode("latin-1"))
            while part := sock.recv(65536):
                answer += part
    except (OSError, UnicodeError) as error:
        return answer.decode("latin-1") or f"{type(error).__name__}: {error}"
    return answer.decode("latin-1")


def _wrapped(plain: socket.socket, name: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=name)


def listening_ports(table: str = "/proc/net/tcp") -> list[int]:
    """The ports that something listens on, as the kernel shows them in this network namespace."""
    rows = [line.split() for line in Path(table).read_text(encoding="ascii").splitlines()[1:]]
    return sorted({int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENING})


def reach_process(pid: int) -> dict[str, str]:
    """Every way into another process; what came of each, `refused` where nothing did."""
    process = Path(f"/proc/{pid}")
    ways: dict[str, Callable[[], object]] = {
        "network namespace": lambda: os.open(process / "ns/net", os.O_RDONLY),
        "mount namespace": lambda: os.open(process / "ns/mnt", os.O_RDONLY),
        "user namespace": lambda: os.open(process / "ns/user", os.O_RDONLY),
        "join by pidfd": lambda: _join(pid),
        "trace": lambda: _trace(pid),
        "take a descriptor": lambda: _take_descriptor(pid),
        "open a descriptor": lambda: _open_descriptor(process),
        "memory": lambda: os.open(process / "mem", os.O_RDONLY),
        "environment": lambda: len((process / "environ").read_bytes()),
        "root": lambda: len(list((process / "root").iterdir())),
        "working folder": lambda: len(list((process / "cwd").iterdir())),
    }
    return {name: _outcome(way) for name, way in ways.items()}


def reach_sockets(*paths: str) -> dict[str, str]:
    """Connect to Unix sockets, and to all abstract ones that this namespace shows."""
    shown = [line.split()[-1] for line in Path("/proc/net/unix").read_text(encoding="utf-8").splitlines() if "@" in line]
    addresses = [*paths, *(f"\0{name[1:]}" for name in shown)]
    return {address: _outcome(partial(_connect, address)) for address in addresses}


def _outcome(way: Callable[[], object]) -> str:
    try:
        return f"got {way()!r}"
    except OSError:
        return "refused"


def _libc(call: str, *arguments: Any) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = getattr(libc, call)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), call)
    return result


def _join(pid: int) -> str:
    descriptor = os.pidfd_open(pid)
    for kind in (0x1000_0000, 0x4000_0000, 0x0002_0000):  # user, network, mount
        try:
            _libc("setns", descriptor, kind)
        except OSError:
            continue
        return f"joined {kind:x}"
    raise PermissionError


def _trace(pid: int) -> str:
    _libc("ptrace", _PTRACE_ATTACH, pid, None, None)
    os.waitpid(pid, 0)
    _libc("ptrace", _PTRACE_DETACH, pid, None, None)
    return "traced"


def _take_descriptor(pid: int) -> str:
    process = os.pidfd_open(pid)
    for number in range(64):
        try:
            return f"took {_libc('syscall', _PIDFD_GETFD, process, number, 0)}"
        except OSError:
            continue
    raise PermissionError


def _open_descriptor(process: Path) -> str:
    """Their numbers can be listed by whoever has the same user id; what is behind them must not be had."""
    for link in (process / "fd").iterdir():
        try:
            return f"opened {os.open(link, os.O_RDONLY | os.O_NONBLOCK)}"
        except OSError:
            continue
    raise PermissionError


def _connect(address: str) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_SECONDS)
        sock.connect(address)
    return "connected"


_ALL: dict[str, Callable[..., Any]] = {one.__name__: one for one in (exchange, listening_ports, reach_process, reach_sockets)}


def _serve() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(_ALL[asked.pop("do")](*asked.pop("with", ()), **asked)), flush=True)  # noqa: T201 - its answers


if __name__ == "__main__":
    _serve()
