"""Namespaces of a run, made by the process that becomes the workload (design section 4). Linux only, needs no root.

    enter()           new user, network and mount namespaces; `lo` up with the platform's two addresses
    listen()          the sockets that answer inside; the agent accepts on them from outside
    grow()            folders that this system does not have, and its own around them
    cover()           the files that a workload would find on an Azure machine, over those of this one
    seal()            a second user and mount namespace: what was mounted and configured can no longer be undone

After `seal` even a workload that runs as root holds no capability over the network namespace, and cannot uncover the data folder
with the operator's key in it, since mounts that come from a more privileged namespace are locked (mount_namespaces(7)).

Ids map to themselves, so files, `id` and `whoami` look as before. The caller must be single-threaded (unshare(2)).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DNS_ADDRESS", "IMDS_ADDRESS", "IsolationForbidden", "RunSockets", "cover", "enter", "grow", "listen", "seal"]

IMDS_ADDRESS = "169.254.169.254"
DNS_ADDRESS = "168.63.129.16"
"""The address at which Azure's own resolver answers in every virtual network."""

_CLONE_NEWNS = 0x0002_0000
_CLONE_NEWUSER = 0x1000_0000
_CLONE_NEWNET = 0x4000_0000
_MS_NOSUID = 0x2
_MS_NODEV = 0x4
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SLAVE = 0x8_0000

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_IFF_UP = 0x1
_NAME_BYTES = 16
_ONE_HOST = "255.255.255.255"

_NETLINK_SOCK_DIAG = 4
_BACKLOG = 128
_SMALL = "mode=0755,size=1m"


class IsolationForbidden(Exception):  # noqa: N818 - an outcome that the caller words
    """This system does not let its users make namespaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSockets:
    """What answers inside a run."""

    endpoint: socket.socket | None
    """None where the dialect has no endpoint."""
    names_udp: socket.socket
    names_tcp: socket.socket
    https: socket.socket
    plane: socket.socket | None
    """None when the plane's own port is 443, which `https` serves."""
    callers: socket.socket
    """By which the agent asks the kernel who connects; no socket that is served."""

    def named(self) -> dict[str, socket.socket]:
        """Those that there are, by the names that the agent knows them by."""
        named = {
            "endpoint": self.endpoint,
            "names_udp": self.names_udp,
            "names_tcp": self.names_tcp,
            "https": self.https,
            "callers": self.callers,
            "plane": self.plane,
        }
        return {name: sock for name, sock in named.items() if sock is not None}


def enter() -> None:
    """Move this process into its own user, network and mount namespaces; raises `IsolationForbidden`."""
    try:
        _unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWNS)
        _configure_loopback()
        _mount(None, "/", None, _MS_REC | _MS_SLAVE)
    except OSError as error:
        raise IsolationForbidden(os.strerror(error.errno or errno.EPERM)) from error
    # As containers do: in a private network namespace low ports need no protection. Where /proc/sys can't be written they keep it.
    with contextlib.suppress(OSError):
        Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0", encoding="ascii")


def listen(plane_port: int, endpoint: tuple[str, int] | None) -> RunSockets:
    """Bind everything that answers inside, tokens at `endpoint` if there is one."""
    return RunSockets(
        endpoint=_tcp(*endpoint) if endpoint else None,
        names_udp=_bound(socket.SOCK_DGRAM, DNS_ADDRESS, 53),
        names_tcp=_tcp(DNS_ADDRESS, 53),
        https=_tcp("127.0.0.1", 443),
        callers=socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG),
        plane=None if plane_port == 443 else _tcp("127.0.0.1", plane_port),  # noqa: PLR2004 - the port of https
    )


def grow(path: Path) -> None:
    """An empty in-memory folder at `path`, of which this system may have a part, all of it, or nothing; nothing reaches the disk.

    Where a parent is missing, the deepest one that exists is made anew in memory, with everything that it holds bound into it.
    """
    if path.is_dir():
        _mount("idplane", str(path), "tmpfs", _MS_NOSUID | _MS_NODEV, _SMALL)
        return
    parent = next(one for one in path.parents if one.is_dir())
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        held = os.listdir(descriptor)  # noqa: PTH208 - the folder that is about to be covered
        _mount("idplane", str(parent), "tmpfs", _MS_NOSUID | _MS_NODEV, _SMALL)
        for name in held:
            _bind_again(descriptor, name, parent / name)
    finally:
        os.close(descriptor)
    path.mkdir(parents=True)


def _bind_again(folder: int, name: str, target: Path) -> None:
    """Put an entry of a covered folder where it was."""
    kind = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if stat.S_ISLNK(kind):
        target.symlink_to(os.readlink(name, dir_fd=folder))
        return
    if stat.S_ISDIR(kind):
        target.mkdir()
    else:
        target.touch()
    _mount(f"/proc/self/fd/{folder}/{name}", str(target), None, _MS_BIND | _MS_REC)


def cover(folder: Path, files: Mapping[str, bytes], masked: Mapping[str, str]) -> None:
    """Hide `folder` under an in-memory one, write `files` (name → content) into it, and put them over the paths in `masked`.

    `masked` maps a path of this system to one of the names, or to an empty text for a folder that is to look empty; paths that do
    not exist are left out. Nothing reaches the disk, and all of it is gone with the last process of the run.
    """
    _mount("idplane", str(folder), "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=16m")
    for name, content in files.items():
        path = folder / name
        path.write_bytes(content)
        path.chmod(0o444)
    empty = folder / "empty"
    empty.mkdir()
    for target, name in masked.items():
        if Path(target).exists():
            _mount(str(folder / name if name else empty), target, None, _MS_BIND)


def seal() -> None:
    """Leave every capability over what was set up behind; raises `IsolationForbidden`."""
    try:
        _unshare(_CLONE_NEWUSER | _CLONE_NEWNS)
    except OSError as error:
        raise IsolationForbidden(os.strerror(error.errno or errno.EPERM)) from error


def _unshare(flags: int) -> None:
    uid, gid = os.geteuid(), os.getegid()
    _check(ctypes.CDLL(None, use_errno=True).unshare(flags))
    # Without this the kernel refuses an unprivileged gid_map (user_namespaces(7)).
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]))


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _configure_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack(f"{_NAME_BYTES}sh22x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, _SIOCGIFFLAGS, request), _NAME_BYTES)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack(f"{_NAME_BYTES}sh22x", b"lo", flags | _IFF_UP))
        for alias, address in ((b"lo:1", IMDS_ADDRESS), (b"lo:2", DNS_ADDRESS)):
            fcntl.ioctl(control, _SIOCSIFADDR, _address_request(alias, address))
            fcntl.ioctl(control, _SIOCSIFNETMASK, _address_request(alias, _ONE_HOST))


def _address_request(name: bytes, address: str) -> bytes:
    """A `struct ifreq` with a `sockaddr_in` (netdevice(7))."""
    return struct.pack(f"{_NAME_BYTES}sHH4s16x", name, socket.AF_INET, 0, socket.inet_aton(address))


def _tcp(address: str, port: int) -> socket.socket:
    sock = _bound(socket.SOCK_STREAM, address, port)
    sock.listen(_BACKLOG)
    return sock


def _bound(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    return sock
