"""HAProxy in front of the servers: it passes TCP on, and asks each server's private listener whether it may have new connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from faults.stage.network import Place
from faults.stage.programs import Program

__all__ = ["BALANCED_PORT", "BALANCER_ADDRESS", "Backend", "balancer"]

BALANCED_PORT: Final = 443
BALANCER_ADDRESS: Final = "10.77.0.10"
"""Its machine's; the servers take from it alone who asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One server, as the balancer sees it."""

    name: str
    address: str
    port: int
    health_port: int


_CONFIGURATION: Final = """\
global
    maxconn 4000
    stats socket {stats} mode 600

defaults
    mode tcp
    timeout connect 1s
    timeout client 5m
    timeout server 5m
    timeout check 3s
    retries 3
    option redispatch 1

frontend public
    bind {address}:{port}
    default_backend servers

backend servers
    balance roundrobin
    option httpchk GET /readyz
    default-server check inter 1s fastinter 500ms fall 3 rise 1
"""


def balancer(place: Place, folder: Path, backends: Sequence[Backend], *, logs: Path) -> Program:
    """HAProxy with a configuration for these servers, not yet started."""
    file = folder / "haproxy.cfg"
    text = _CONFIGURATION.format(address=place.address, port=BALANCED_PORT, stats=folder / "haproxy.sock")
    file.write_text(text + "".join(map(_line, backends)), encoding="ascii")
    # -W would be a master process with a worker: one process is what is killed and measured here.
    return Program(name="haproxy", place=place, command=["haproxy", "-db", "-f", str(file)], log=logs / "haproxy.log")


def _line(backend: Backend) -> str:
    check = f"addr {backend.address} port {backend.health_port}"
    return f"    server {backend.name} {backend.address}:{backend.port} send-proxy-v2 {check}\n"
