"""A run with a network: it reaches other machines, and still neither this machine's loopback nor a metadata service but its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import textwrap
from threading import Thread

import pytest
from tests.needed import program
from tests.stories.planes import Up

pytestmark = [
    *([] if shutil.which("pasta") else [program("slirp4netns")]),
    pytest.mark.skipif(not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="needs /dev/net/tun"),
]

PROGRAM = """
    import json, socket, sys, urllib.request
    def reach(address, port):
        try:
            with socket.create_connection((address, int(port)), 3) as connection:
                return connection.recv(100).decode()
        except OSError as error:
            return type(error).__name__
    with urllib.request.urlopen("https://login.microsoftonline.com/common/discovery/instance?api-version=1.1"
            "&authorization_endpoint=https://login.microsoftonline.com/common/oauth2/v2.0/authorize") as answer:
        inside = answer.status
    print(json.dumps([reach(sys.argv[1], sys.argv[2]), reach("127.0.0.1", sys.argv[3]), inside]))
"""


def _own_address() -> str:
    """This machine's address towards others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.200", 9))
        except OSError:
            pytest.skip("this machine has no network")
        address: str = probe.getsockname()[0]
    return address


def _greet(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"hello")


def test_a_run_with_a_network_reaches_out_but_not_back(up: Up) -> None:
    scope = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/net"
    machine = f"{scope}/providers/Microsoft.Compute/virtualMachines/vm-n"
    for path in (scope, machine):
        assert up.arm("PUT", f"{path}?api-version=2024-11-01", {"location": "westeurope"})[0] in {200, 201}
    address = _own_address()
    with socket.create_server((address, 0)) as outside, socket.create_server(("127.0.0.1", 0)) as loopback:
        Thread(target=_greet, args=(outside,), daemon=True).start()
        ports = (str(outside.getsockname()[1]), str(loopback.getsockname()[1]))
        program = [sys.executable, "-c", textwrap.dedent(PROGRAM), address, *ports]
        ended = up.cli("run", "--as", "vm-n", "--network", "--", *program)
    assert ended.returncode == 0, ended.stderr
    # pasta gives the namespace this machine's own address, so the address means the run itself there.
    reached = "hello" if shutil.which("slirp4netns") else "ConnectionRefusedError"
    assert json.loads(ended.stdout) == [reached, "ConnectionRefusedError", 200]
