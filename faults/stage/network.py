"""Machines as network namespaces on one bridge, and the ways in which a network fails between them."""

from __future__ import annotations

import enum
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Cut", "Network", "Place", "left_over"]

_BRIDGE: Final = "stage"
_TABLE: Final = "inet cut"
_NAMED: Final = Path("/run/netns")


class Cut(enum.StrEnum):
    """How a network is cut."""

    DROPPED = "dropped"
    """Packets vanish: nobody is told anything."""
    RESET = "reset"
    """Whoever sends is told at once that the connection is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A machine: a name and an address, and a network namespace behind both."""

    name: str
    address: str
    keeper: int | None = None
    """The process that keeps its own view of the file system, if it has one."""

    @property
    def entering(self) -> tuple[str, ...]:
        """What goes before a command that is to run there. It becomes the command: no process stands between."""
        view = () if self.keeper is None else (f"--mount=/proc/{self.keeper}/ns/mnt",)
        return ("nsenter", f"--net={_NAMED / self.name}", *view, "--")

    def run(self, *command: str, text: str = "") -> str:
        """Run a short command there; its output. Raises `CalledProcessError`."""
        return subprocess.run([*self.entering, *command], input=text, check=True, capture_output=True, text=True).stdout

    @contextmanager
    def cut_off(self, peers: Iterable[Place], how: Cut) -> Iterator[None]:
        """No packet passes between this machine and `peers`, in either direction, as long as this lasts; then all is as before."""
        self.run("nft", "-f", "-", text=_rules([peer.address for peer in peers], how))
        try:
            yield
        finally:
            self.run("nft", "delete", "table", *_TABLE.split())


def _rules(addresses: Sequence[str], how: Cut) -> str:
    peers = f"{{ {', '.join(addresses)} }}"
    # The resets themselves must get through.
    resets = ("tcp flags rst accept", "meta l4proto tcp reject with tcp reset")
    verdicts = (*resets, "drop") if how is Cut.RESET else ("drop",)
    chains = (("output", "daddr"), ("input", "saddr"))
    lines = [
        f"chain {hook} {{ type filter hook {hook} priority 0; "
        + " ".join(f"ip {side} {peers} {verdict};" for verdict in verdicts)
        + " }"
        for hook, side in chains
    ]
    return f"table {_TABLE} {{\n" + "\n".join(lines) + "\n}\n"


class Network:
    """A bridge with machines on it: 10.77.0.0/16, this process at 10.77.0.1."""

    address: Final = "10.77.0.1"

    def __init__(self) -> None:
        self._count = 0
        self._keepers: list[subprocess.Popen[str]] = []
        _ip("link", "add", _BRIDGE, "type", "bridge")
        _ip("address", "add", f"{self.address}/16", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")

    def place(self, name: str, last: int, *, extra: Iterable[str] = (), folders: Iterable[str] = ()) -> Place:
        """A new machine at 10.77.0.`last`.

        `extra` are addresses that only it has, on its loopback device; `folders` are replaced by empty ones that only it sees.
        """
        self._count += 1
        folders = tuple(folders)
        if folders:
            self._keepers.append(_new_view(name, folders))
        keeper = self._keepers[-1].pid if folders else None
        place, link = Place(name=name, address=f"10.77.0.{last}", keeper=keeper), f"v{self._count}"
        _ip("netns", "add", name)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", link, "master", _BRIDGE, "up")
        commands = ["link set lo up", f"address add {place.address}/16 dev eth0", "link set eth0 up"]
        commands += [f"address add {address}/32 dev lo" for address in extra]
        place.run("ip", "-batch", "-", text="\n".join(commands) + "\n")
        # In a network of their own unprivileged programs may have low ports, as in containers.
        place.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start")
        return place

    def close(self) -> None:
        """Take all machines away."""
        for keeper in self._keepers:
            keeper.communicate()
        for name in left_over():
            _ip("netns", "delete", name)
        _ip("link", "delete", _BRIDGE)


def _new_view(name: str, folders: Iterable[str]) -> subprocess.Popen[str]:
    """A mount namespace, and the process that keeps it until its input ends.

    A file cannot keep it: whether such a namespace may be mounted is decided by numbers that some kernels give out in any order.
    """
    script = 'for folder in "$@"; do mount -t tmpfs -o mode=0755 own "$folder"; done; echo made; read -r _ || true'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", *folders]
    keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert keeper.stdout is not None
    if keeper.stdout.readline() != "made\n":
        raise OSError(f"no mount namespace could be made for {name}")
    return keeper


def left_over() -> list[str]:
    """The names of machines that there are."""
    return sorted(entry.name for entry in _NAMED.iterdir()) if _NAMED.is_dir() else []


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, stdout=subprocess.DEVNULL)
