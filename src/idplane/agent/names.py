"""The name server inside a run: Azure's public names lead to idplane, and nothing else is made up.

Owns the answers and the two sockets that they go out by. Knows no other resolver: when a run may use the network, names that are not
ours are REFUSED, so that the client asks its next server; without a network they do not exist (NXDOMAIN), which a client is told at once
instead of waiting.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from idplane.model.azure import ISSUER_DOMAINS, PUBLIC_HOSTS, VAULT_DOMAIN

__all__ = ["NameServer", "Names"]

_NAMES = frozenset(host for hosts in PUBLIC_HOSTS.values() for host in hosts)
_DOMAINS = (VAULT_DOMAIN, *ISSUER_DOMAINS, "localhost")
"""Every name below is ours; `localhost` for `{vault}.vault.localhost`, which glibc does not resolve by itself."""
_METADATA = "metadata.azure.internal"
_METADATA_ADDRESS = "169.254.169.254"
_HERE = "127.0.0.1"
_TTL = 60
_LARGEST_UDP = 4096
_LARGEST_TCP = 4096
_CONNECTIONS = 64
_QUERIES = 32
_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What is answered. Pure: a query in, the answer out."""

    network: bool
    """Whether the run has another name server to ask."""
    azure: bool = True
    """Whether Azure's public names are ours."""

    def answer(self, query: bytes) -> bytes | None:
        """The reply to one message, or None for what deserves none: noise, and replies. Never raises."""
        try:
            return self._reply(query)
        except (dns.exception.DNSException, ValueError, struct.error):
            return _format_error(query)

    def _reply(self, query: bytes) -> bytes | None:
        message = dns.message.from_wire(query, ignore_trailing=True)
        if message.flags & dns.flags.QR:
            return None
        response = dns.message.make_response(message, recursion_available=True)
        if message.opcode() != dns.opcode.QUERY:
            response.set_rcode(dns.rcode.NOTIMP)
        elif len(message.question) != 1:
            response.set_rcode(dns.rcode.FORMERR)
        else:
            self._fill(response)
        return response.to_wire()

    def _fill(self, response: dns.message.Message) -> None:
        question = response.question[0]
        address = _address(question.name.to_text(omit_final_dot=True).lower(), azure=self.azure)
        if question.rdclass != dns.rdataclass.IN:
            response.set_rcode(dns.rcode.REFUSED)
        elif address is None:
            response.set_rcode(dns.rcode.REFUSED if self.network else dns.rcode.NXDOMAIN)
        elif question.rdtype in {dns.rdatatype.A, dns.rdatatype.ANY}:
            response.answer.append(dns.rrset.from_text(question.name, _TTL, dns.rdataclass.IN, dns.rdatatype.A, address))


def _address(name: str, *, azure: bool) -> str | None:
    if name == _METADATA:
        return _METADATA_ADDRESS
    if azure and (name in _NAMES or any(name == domain or name.endswith(f".{domain}") for domain in _DOMAINS)):
        return _HERE
    return None


def _format_error(query: bytes) -> bytes | None:
    """FORMERR with the query's id (RFC 1035 section 4.1.1), so that a client does not wait; None when there is no header to answer."""
    if len(query) < 12 or query[2] & 0x80:  # noqa: PLR2004 - a DNS header's length, and its QR bit
        return None
    return query[:2] + bytes((0x80 | query[2] & 0x79, 0x80 | int(dns.rcode.FORMERR))) + bytes(8)


_Answer: TypeAlias = Callable[[bytes], bytes | None]


class NameServer:
    """Serves one run's name sockets from `open` to `close`."""

    def __init__(self, transport: asyncio.DatagramTransport, server: asyncio.Server, connections: _Connections) -> None:
        self._transport = transport
        self._server = server
        self._connections = connections

    @classmethod
    async def open(cls, udp: socket.socket, tcp: socket.socket, names: Names) -> NameServer:
        """Answer on a bound datagram socket and a listening stream socket; both are closed with the server."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(names.answer), sock=udp)
        connections = _Connections(names.answer)
        server = await asyncio.start_server(connections.serve, sock=tcp, limit=_LARGEST_TCP)
        return cls(transport, server, connections)

    async def close(self) -> None:
        """Stop answering."""
        self._transport.close()
        self._server.close()
        await self._connections.close()


class _Datagrams(asyncio.DatagramProtocol):
    """Queries over UDP: one datagram, one answer."""

    def __init__(self, answer: _Answer) -> None:
        self._answer = answer
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # which the event loop's own class does not inherit

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._answer(data) if len(data) <= _LARGEST_UDP else None
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


class _Connections:
    """Queries over TCP (RFC 7766), bounded in number, length and time."""

    def __init__(self, answer: _Answer) -> None:
        self._answer = answer
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        if task is None or len(self._open) >= _CONNECTIONS:
            writer.close()
            return
        self._open[task] = writer
        try:
            async with asyncio.timeout(_SECONDS):
                await self._converse(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            return
        finally:
            del self._open[task]
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(_QUERIES):
            length = int.from_bytes(await reader.readexactly(2))
            if length > _LARGEST_TCP:
                return
            answer = self._answer(await reader.readexactly(length))
            if answer is None:
                return
            writer.write(len(answer).to_bytes(2) + answer)
            await writer.drain()

    async def close(self) -> None:
        """End all connections."""
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*self._open, return_exceptions=True)
