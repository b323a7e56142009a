"""The process at the other end of a Unix socket, as the kernel vouches for it (unix(7), SO_PEERCRED)."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from idplane.agent.processes import has_ended
from idplane.model.failure import Failure, FailureKind

__all__ = ["Peer", "Process", "peer_of"]

# Not in Python's socket module yet (include/uapi/asm-generic/socket.h).
_SO_PEERPIDFD = 77


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that is told from all others for as long as its descriptor is open. Whoever holds it owns the descriptor."""

    pid: int
    descriptor: int
    """A pidfd (pidfd_open(2))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The process at the other end."""

    pid: int
    uid: int
    same_namespace: bool
    """Whether it lives in this process' user namespace."""


def peer_of(connection: socket.socket, held: ExitStack) -> tuple[Peer, int]:
    """The peer and a descriptor of its process, which `held` closes; raises `Failure(FORBIDDEN)` for one that can't be told.

    The descriptor comes first and the process must still live at the end, so nothing that was read belongs to a later process with
    the same number.
    """
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        pidfd = _peer_descriptor(connection, pid)
        held.callback(os.close, pidfd)
        same = _is_same_namespace(pid, uid)
    except OSError as error:
        raise Failure(FailureKind.FORBIDDEN, "the calling process could not be identified") from error
    if has_ended(pidfd):
        raise Failure(FailureKind.FORBIDDEN, "the calling process is gone")
    return Peer(pid=pid, uid=uid, same_namespace=same), pidfd


def _peer_descriptor(connection: socket.socket, pid: int) -> int:
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:  # before Linux 6.5
        return os.pidfd_open(pid)


def _is_same_namespace(pid: int, uid: int) -> bool:
    try:
        theirs = Path(f"/proc/{pid}/ns/user").stat()
    except PermissionError:
        if uid != 0:
            raise
        # Root's namespaces are not ours to see. Its id map is, and that of a run maps a single id.
        return Path(f"/proc/{pid}/uid_map").read_bytes() == Path("/proc/self/uid_map").read_bytes()
    ours = Path("/proc/self/ns/user").stat()
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)
