"""A process on strings: runs each line of code that it is sent, and says what came out. Standard library, so that any Python runs it."""

from __future__ import annotations

import array
import ctypes
import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

REQUEST = (
    "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net{more} HTTP/1.1\r\n"
    "Host: 127.0.0.1:{port}\r\nMetadata: true\r\n\r\n"
)


REFUSAL = re.compile(r" \(refusal id [0-9a-f-]{36}\)$")
"""Behind what a refusal says: the id that explains it, another one each time."""


class Connection:
    """A kept connection to a token endpoint."""

    def __init__(
        self, port: int, descriptor: int | None = None, family: int = socket.AF_INET, address: str = "127.0.0.1"
    ) -> None:
        self.port = port
        if descriptor is None:
            self.socket = socket.socket(family)
            self.socket.connect((address, port))
        else:
            self.socket = socket.socket(fileno=descriptor)
        os.set_inheritable(self.socket.fileno(), True)  # what most languages' children get, unless told otherwise

    def send(self, more: str = "") -> None:
        self.socket.sendall(REQUEST.format(more=more, port=self.port).encode())

    def receive(self) -> list[Any]:
        """Status and error, or status and nothing."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._piece()
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        while len(body) < length:
            body += self._piece()
        answer = json.loads(body)
        assert ("access_token" in answer) is head.startswith(b"HTTP/1.1 200"), body
        return [int(head.split()[1]), REFUSAL.sub("", answer.get("error_description", "")) or None]

    def ask(self, more: str = "") -> list[Any]:
        self.send(more)
        return self.receive()

    def _piece(self) -> bytes:
        piece = self.socket.recv(65536)
        assert piece, "the endpoint ended the connection"
        return piece


def become(uid: int) -> None:
    """Another user, for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: as if the program had been started by that user


def enter_user_namespace() -> None:
    """Root of a namespace of one's own."""
    uid, gid = os.getuid(), os.getgid()
    assert ctypes.CDLL(None, use_errno=True).unshare(0x1000_0000) == 0
    for name, content in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path(f"/proc/self/{name}").write_text(content, encoding="utf-8")


def execute(path: str, *descriptors: int) -> None:
    """Become another program in the same process, keeping the strings and these descriptors."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    os.execv(path, [path, "-I", "-S", "-u", __file__])


def hand_over(path: str, descriptor: int) -> None:
    """Send a descriptor to whoever waits at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(path)
        channel.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))])


def expect(path: str) -> socket.socket:
    """A Unix socket at which a descriptor can be handed over to us."""
    channel = socket.socket(socket.AF_UNIX)
    channel.bind(path)
    channel.listen()
    return channel


def accept(channel: socket.socket) -> int:
    """The descriptor that was handed over."""
    connection, _ = channel.accept()
    with connection:
        _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(4))
    return int(array.array("i", ancillary[0][2])[0])


def main() -> None:
    """Lines of JSON: {"code", "value"?} in, the value or what went wrong out."""
    names = globals()
    sys.stdout.write('{"value": "ready"}\n')
    sys.stdout.flush()
    for line in sys.stdin:
        try:
            if line.startswith("!"):
                exec(line[1:], names)
                answer: dict[str, Any] = {"value": None}
            else:
                answer = {"value": eval(line, names)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the one at the strings hears of it
            answer = {"error": repr(error)}
        sys.stdout.write(json.dumps(answer, default=repr) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
