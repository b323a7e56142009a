"""The kernel's socket tables: which socket of this machine is at the other end of a TCP connection (sock_diag(7)). Linux only.

One exact question for each connection instead of reading `/proc/net/tcp`: it costs some microseconds however many sockets there are,
needs no privilege, and answers for the network namespace that the netlink socket was made in, also from outside of it.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import NamedTuple, Protocol, TypeAlias

__all__ = ["ClientSocket", "NamedSocket", "SocketTables", "is_elsewhere", "is_tables_socket"]

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_ANY_COOKIE = b"\xff" * 8
_ALL_STATES = 0xFFFFFFFF
_MAX_ANSWER = 4096
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI")
_PORTS = struct.Struct("!HH")
_STATE_OFFSET = _HEADER.size + 1
_ID_OFFSET = _HEADER.size + 4
_ID_SIZE = 48
_TAIL = struct.Struct("=IIIII")
_NAMES_SIZE = 36
"""Ports and addresses, the part of an id that names the connection; interface and cookie follow."""
_SO_NETNS_COOKIE = 71
# include/net/tcp_states.h: those in which a process can hold the socket and be waiting for an answer.
_HELD_STATES = frozenset({1, 4, 5, 8})  # ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT

_Address: TypeAlias = tuple[str, int, int]
"""Host, port, scope."""


class NamedSocket(Protocol):
    """A connected socket, as far as it is asked here."""

    def getsockname(self) -> tuple[str, int] | tuple[str, int, int, int]:
        """Our end."""
        ...

    def getpeername(self) -> tuple[str, int] | tuple[str, int, int, int]:
        """The other end."""
        ...


class ClientSocket(NamedTuple):
    """The other end of a connection, as the kernel knows it. Equal only if it is the very same socket in the same place."""

    inode: int
    uid: int
    """Of whoever made the socket, as the user namespace of the tables' socket sees it."""
    cookie: bytes
    """Unique for as long as the machine runs."""


class SocketTables:
    """The TCP sockets of one network namespace. Owns its netlink socket."""

    def __init__(self, netlink: socket.socket) -> None:
        self._netlink = netlink
        self._sequence = 0
        netlink.setblocking(False)

    @classmethod
    def here(cls) -> SocketTables:
        """Those of this process' namespace; raises OSError where there are none to be had."""
        return cls(socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG))

    def client(self, accepted: NamedSocket) -> ClientSocket | None:
        """The socket that the peer of an accepted connection holds; None if it is not in this namespace, or nobody holds it any more."""
        try:
            ours, theirs = accepted.getsockname(), accepted.getpeername()
            return self._ask(_address(*theirs), _address(*ours))
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Let go of the netlink socket."""
        self._netlink.close()

    def _ask(self, source: _Address, destination: _Address) -> ClientSocket | None:
        """The kernel answers before `send` returns, so nothing is waited for."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        names = _names(source, destination)
        mapped = _names(*(_mapped(one) for one in (source, destination)))
        family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
        body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES) + names + struct.pack("=I", source[2]) + _ANY_COOKIE
        header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, self._sequence, 0)
        self._netlink.sendto(header + body, (0, 0))
        while True:
            answer, (sender, _) = self._netlink.recvfrom(_MAX_ANSWER)
            # An answer to an earlier question, or another process' invention, is none.
            if sender == 0 and _HEADER.unpack_from(answer)[3] == self._sequence:
                return _client(answer, frozenset((names, mapped)))


def is_elsewhere(sock: socket.socket, *, unknown: bool) -> bool:
    """Whether a socket lies in another network namespace than ours; `unknown` where the kernel does not tell (before Linux 5.14)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        try:
            return _namespace(sock) != _namespace(own)
        except OSError:
            return unknown


def is_tables_socket(candidate: socket.socket, beside: socket.socket) -> bool:
    """Whether a socket is one for `SocketTables`, made in the network namespace that `beside` lies in."""
    protocol = candidate.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)
    if (candidate.family, protocol) != (socket.AF_NETLINK, _NETLINK_SOCK_DIAG):
        return False
    try:
        return _namespace(candidate) == _namespace(beside)
    except OSError:  # before Linux 5.14; a wrong one only finds nothing
        return True


def _namespace(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)


def _address(host: str, port: int, _flow: int = 0, scope: int = 0) -> _Address:
    """An address as the tables have it: IPv4 that came to an IPv6 listener is IPv4 there."""
    plain = host.partition("%")[0]
    if ":" in plain:
        mapped = ipaddress.IPv6Address(plain).ipv4_mapped
        if mapped is not None:
            return str(mapped), port, 0
    return plain, port, scope


def _names(source: _Address, destination: _Address) -> bytes:
    """Ports and addresses of `struct inet_diag_sockid` (include/uapi/linux/inet_diag.h)."""
    packed = [ipaddress.ip_address(host).packed.ljust(16, b"\0") for host, _, _ in (source, destination)]
    return _PORTS.pack(source[1], destination[1]) + packed[0] + packed[1]


def _mapped(address: _Address) -> _Address:
    """How a client's own IPv6 socket names an IPv4 address that it connected to (Java's usual way)."""
    host, port, scope = address
    return (host if ":" in host else f"::ffff:{host}"), port, scope


def _client(answer: bytes, names: frozenset[bytes]) -> ClientSocket | None:
    """What a `struct inet_diag_msg` says of the socket that was asked for. A listener, which the kernel may name instead, is another."""
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY or len(answer) < _ID_OFFSET + _ID_SIZE + _TAIL.size:
        return None
    _, _, _, uid, inode = _TAIL.unpack_from(answer, _ID_OFFSET + _ID_SIZE)
    named = answer[_ID_OFFSET : _ID_OFFSET + _NAMES_SIZE] in names
    if answer[_STATE_OFFSET] not in _HELD_STATES or not named or inode == 0:
        return None
    return ClientSocket(inode, uid, answer[_ID_OFFSET + _ID_SIZE - 8 : _ID_OFFSET + _ID_SIZE])
