"""The PROXY protocol's header, versions 1 and 2: what a balancer that passes TCP on says of the connection ahead of its first byte.

The source is HAProxy's proxy-protocol.txt. Only an address is taken from it; what else a header may carry is skipped. Who may send one at
all is for `Proxies` to say: a header of anybody else's is no header.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Protocol, TypeAlias

__all__ = ["LONGEST", "Client", "MalformedHeader", "Proxies", "read_header"]

Client: TypeAlias = tuple[str, int]
"""Address and port."""

LONGEST: Final = 4096
"""Bytes of a header with all that may stand behind its addresses; balancers add some hundred at most."""
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_TEXT: Final = b"PROXY "
_LONGEST_LINE: Final = 107
_VERSION: Final = 0x20
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_WITHOUT_ADDRESS: Final = frozenset({0x00, 0x31})
"""Unspecified, and Unix streams, whose names mean nothing here."""
_FOUR, _SIX = struct.Struct("!4s4sHH"), struct.Struct("!16s16sHH")
_MAX_PORT: Final = 65535
_WORDS: Final = 6


class MalformedHeader(Exception):  # noqa: N818 - it says what is so, as the protocol's words do
    """What came is no header; its text says in which way, without anything of it."""


class Bytes(Protocol):
    """Where a header is read from."""

    async def exactly(self, size: int) -> bytes:
        """So many bytes and not one more: what follows is another reader's. Raises `MalformedHeader` when they end early."""
        ...


@dataclass(frozen=True, slots=True)
class Proxies:
    """The addresses whose connections begin with a header; from all others none may."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Proxies:
        """Of networks (`10.0.0.0/8`) and single addresses. Raises `ValueError` that says what is wrong with one."""
        return cls(tuple(ip_network(text) for text in texts))

    def __contains__(self, address: str) -> bool:
        """Whether a connection from this address begins with a header."""
        plain = _plain(ip_address(address.partition("%")[0]))
        return any(plain in network for network in self.networks)


async def read_header(source: Bytes) -> Client | None:
    """Take a header off: who the client is, or None where that is the balancer itself or nobody that has an address.

    Raises `MalformedHeader`; the connection is of no use then.
    """
    start = await source.exactly(len(_SIGNATURE))
    if start == _SIGNATURE:
        return await _binary(source)
    if start.startswith(_TEXT):
        return await _text(source, start)
    raise MalformedHeader("it begins with no header")


async def _binary(source: Bytes) -> Client | None:
    command, family, length = struct.unpack("!BBH", await source.exactly(4))
    if command not in (_LOCAL, _PROXY):
        raise MalformedHeader("its version or command is unknown")
    if length > LONGEST - len(_SIGNATURE) - 4:
        raise MalformedHeader("it is too long")
    body = await source.exactly(length) if length else b""
    if command == _LOCAL or family in _WITHOUT_ADDRESS:
        return None
    if family not in (_TCP4, _TCP6):
        raise MalformedHeader("it is about no stream")
    form = _FOUR if family == _TCP4 else _SIX
    if length < form.size:
        raise MalformedHeader("it lacks the addresses")
    packed, _, port, _ = form.unpack_from(body)
    return str(_plain(ip_address(packed))), port


async def _text(source: Bytes, start: bytes) -> Client | None:
    line = bytearray(start)
    while not line.endswith(b"\r\n"):
        if len(line) >= _LONGEST_LINE:
            raise MalformedHeader("its line is too long")
        line += await source.exactly(1)
    try:
        words = line[:-2].decode("ascii").split(" ")
    except UnicodeDecodeError as error:
        raise MalformedHeader("its line is not ASCII") from error
    if words[1] == "UNKNOWN":
        return None
    if len(words) != _WORDS or words[1] not in {"TCP4", "TCP6"}:
        raise MalformedHeader("its line has other words")
    kind = IPv4Address if words[1] == "TCP4" else IPv6Address
    try:
        client, _ = kind(words[2]), kind(words[3])
    except ValueError as error:
        raise MalformedHeader("its line has no addresses of its family") from error
    port, _ = _port(words[4]), _port(words[5])
    return str(_plain(client)), port


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > _MAX_PORT:
        raise MalformedHeader("its line has no ports")
    return int(text)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """IPv4 in IPv6's clothes, as listeners on `[::]` see it, is the IPv4 address (RFC 4291 section 2.5.5.2)."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
