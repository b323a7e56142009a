"""Floods: thousands of connections that come to nothing, and as many as there may be that are kept. Nothing stays, and others get in."""

from __future__ import annotations

import json
import resource
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.attacks.targets import Target
from tests.stories.planes import Up
from tests.stories.workloads import Owner, require_namespaces

from idplane.model.dialects import Dialect

pytestmark = pytest.mark.wide

RESET = struct.pack("ii", 1, 0)
MEMORY = 8 * 1024 * 1024
"""Bytes that the process may have kept after a flood, which is what its allocator does not give back."""
TLS_BUFFERS = 128 * 256 * 1024
"""What asyncio reads into: so much for each connection with TLS, of which there may be so many at once."""


class Plane:
    """An `idplane up` process with a listener of each dialect, watched from outside."""

    def __init__(self, up: Up) -> None:
        self.up = up
        Owner(up).machine("vm")
        self.process = Path(f"/proc/{up.process.pid}")

    def target(self, dialect: Dialect) -> Target:
        printed = self.up.cli("env", "--as", "vm", "--dialect", dialect, "--json")
        assert printed.returncode == 0, printed.stderr
        target = Target.named(dialect, json.loads(printed.stdout)["variables"])
        for _ in range(20):
            target.assert_serves()
        return target

    @property
    def descriptors(self) -> int:
        return len(list((self.process / "fd").iterdir()))

    @property
    def memory(self) -> int:
        """Bytes that are resident."""
        return int((self.process / "statm").read_text().split()[1]) * resource.getpagesize()

    def settle(self, target: Target, descriptors: int) -> None:
        """Serve on until the flood is worked off, which takes as many requests as it takes."""
        for _ in range(2000):
            assert target.ask(target.good()).status == 200
            if self.descriptors <= descriptors:
                return
        raise AssertionError(f"{self.descriptors} descriptors are open, {descriptors} were")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    up = Up(tmp_path_factory.mktemp("floods") / "data", "--profile", "open")  # azure answers twenty a second
    yield Plane(up)
    assert up.stop() == 0


def abort(port: int, raw: bytes, *, reset: bool) -> None:
    with socket.socket() as connection:
        connection.connect(("127.0.0.1", port))
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        try:
            connection.sendall(raw)
            if not reset:
                connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            return


def pieces(target: Target) -> list[bytes]:
    """What clients that go away may have sent before: nothing, parts of a request, a whole one, one that must be fetched for."""
    good = target.good(close=False)
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50)
    return [
        b"",
        good[:1],
        good[:40],
        good[:-1],
        good,
        good * 3,
        good.replace(b"vault.azure.net", b"management.azure.com"),
        hello,
    ]


def flood(target: Target, connections: int) -> None:
    sent = pieces(target)
    for number in range(connections):
        abort(target.port, sent[number % len(sent)], reset=number % 10 != 0)


@pytest.mark.parametrize(
    ("dialect", "connections", "room"), [(Dialect.IMDS, 10_000, MEMORY), (Dialect.SERVICE_FABRIC, 2_000, MEMORY + TLS_BUFFERS)]
)
def test_aborted_connections_leave_nothing(plane: Plane, dialect: Dialect, connections: int, room: int) -> None:
    """Nothing that grows with their number: what the first of them took, and as many at once as may be, is enough for the rest."""
    target = plane.target(dialect)
    descriptors = plane.descriptors
    flood(target, 1_000)
    plane.settle(target, descriptors)
    memory = plane.memory
    flood(target, connections)
    plane.settle(target, descriptors)
    assert plane.memory - memory < room
    target.assert_serves()


def test_aborted_connections_inside_a_run_leave_nothing(plane: Plane) -> None:
    require_namespaces()
    outside = plane.target(Dialect.IMDS)
    descriptors, memory = plane.descriptors, plane.memory
    code = (
        "import socket, struct\n"
        "from azure.identity import ManagedIdentityCredential\n"
        "def served(): return ManagedIdentityCredential().get_token('https://vault.azure.net/.default').token.count('.')\n"
        "assert served() == 2\n"
        "for number in range(2_000):\n"
        "    with socket.create_connection(('169.254.169.254', 80), timeout=30) as connection:\n"
        "        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n"
        "        connection.sendall(b'GET /metadata/versions HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'[:number % 50])\n"
        "print(served())\n"
    )
    ended = plane.up.cli("run", "--as", "vm", "--", sys.executable, "-c", code)
    assert (ended.stdout, ended.returncode) == ("2\n", 0), ended.stderr
    plane.settle(outside, descriptors)
    assert plane.memory - memory < MEMORY


@pytest.mark.parametrize("dialect", [Dialect.IMDS, Dialect.SERVICE_FABRIC])
def test_more_connections_than_places_keep_nobody_out(plane: Plane, dialect: Dialect) -> None:
    """Held open, half of them in the middle of a request: whoever comes next is served, at this listener and at another."""
    target, other = plane.target(dialect), plane.target(Dialect.APP_SERVICE)
    descriptors = plane.descriptors
    with ExitStack() as held:
        for number in range(800):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=30))
            connection.sendall(target.good()[:-1] if number % 2 else b"")
            if number % 100 == 99:
                target.assert_serves()
                other.assert_serves()
        assert plane.descriptors < descriptors + 600
    plane.settle(other, descriptors)


def test_without_descriptors_a_newcomer_still_gets_in(plane: Plane) -> None:
    """As if the rest of the process had used them up."""
    target = plane.target(Dialect.IMDS)
    limits = resource.prlimit(plane.up.process.pid, resource.RLIMIT_NOFILE)
    descriptors = plane.descriptors
    resource.prlimit(plane.up.process.pid, resource.RLIMIT_NOFILE, (descriptors + 8, limits[1]))
    try:
        with ExitStack() as held:
            for _ in range(50):
                held.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=30))
                target.assert_serves()
            assert plane.descriptors <= descriptors + 8
    finally:
        resource.prlimit(plane.up.process.pid, resource.RLIMIT_NOFILE, limits)
    plane.settle(target, descriptors)
