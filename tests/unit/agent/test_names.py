"""The name server inside a run."""

import asyncio
import contextlib
import socket

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.agent.names import Names, NameServer
from idplane.keys.tls import AZURE_DOMAINS
from idplane.model.azure import PUBLIC_HOSTS, VAULT_DOMAIN

OFFLINE = Names(network=False)
ONLINE = Names(network=True)


def asked(name: str, kind: str = "A", names: Names = OFFLINE) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    answer = names.answer(query.to_wire())
    assert answer is not None
    message = dns.message.from_wire(answer)
    assert message.id == query.id
    return message


def addresses(message: dns.message.Message) -> list[str]:
    return [item.to_text() for rrset in message.answer for item in rrset]


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("management.azure.com", "127.0.0.1"),
        ("LOGIN.microsoftonline.COM", "127.0.0.1"),
        ("login.windows.net.", "127.0.0.1"),
        ("sts.windows.net", "127.0.0.1"),
        ("graph.microsoft.com", "127.0.0.1"),
        ("contoso.vault.azure.net", "127.0.0.1"),
        ("westeurope.oic.prod-aks.azure.com", "127.0.0.1"),
        ("global.oic.prod-arc.azure.com", "127.0.0.1"),
        ("contoso.vault.localhost", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("metadata.azure.internal", "169.254.169.254"),
    ],
)
def test_our_names_have_an_address(name: str, address: str) -> None:
    assert addresses(asked(name)) == [address]


def test_every_name_that_the_server_serves_leads_to_it() -> None:
    for host in (*(host for hosts in PUBLIC_HOSTS.values() for host in hosts), f"any.{VAULT_DOMAIN}"):
        assert addresses(asked(host)) == ["127.0.0.1"]
        assert any(host == domain or host.endswith(f".{domain}") for domain in AZURE_DOMAINS)


@pytest.mark.parametrize("kind", ["AAAA", "HTTPS", "MX", "TXT", "CNAME"])
def test_our_names_have_nothing_else(kind: str) -> None:
    message = asked("management.azure.com", kind)
    assert (message.rcode(), addresses(message)) == (dns.rcode.NOERROR, [])


@pytest.mark.parametrize(
    "name",
    [
        "example.com",
        "vault.azure.net.evil.com",
        "evilvault.azure.net",
        "azure.net",
        "xmanagement.azure.com",
        "a.management.azure.com",
        ".",
    ],
)
def test_other_names_do_not_exist_or_are_left_to_the_network(name: str) -> None:
    assert asked(name).rcode() == dns.rcode.NXDOMAIN
    assert asked(name, names=ONLINE).rcode() == dns.rcode.REFUSED


def test_other_classes_are_refused() -> None:
    query = dns.message.make_query("management.azure.com", "A", rdclass=dns.rdataclass.CH)
    answer = OFFLINE.answer(query.to_wire())
    assert answer is not None
    assert dns.message.from_wire(answer).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("opcode", [dns.opcode.NOTIFY, dns.opcode.STATUS, dns.opcode.UPDATE])
def test_other_operations_are_refused(opcode: dns.opcode.Opcode) -> None:
    query = bytearray(dns.message.make_query("management.azure.com", "A").to_wire())
    query[2] = opcode << 3
    answer = OFFLINE.answer(bytes(query))
    assert answer is not None
    assert answer[3] & 0xF in {dns.rcode.NOTIMP, dns.rcode.FORMERR}


def test_replies_are_not_answered() -> None:
    reply = dns.message.make_response(dns.message.make_query("management.azure.com", "A"))
    assert OFFLINE.answer(reply.to_wire()) is None


def test_extensions_are_tolerated() -> None:
    query = dns.message.make_query("management.azure.com", "A", use_edns=0, want_dnssec=True, payload=4096)
    answer = OFFLINE.answer(query.to_wire())
    assert answer is not None
    assert addresses(dns.message.from_wire(answer)) == ["127.0.0.1"]


@pytest.mark.parametrize(
    "noise", [b"", b"\0", b"\0" * 11, b"\x12\x34" + b"\xff" * 20, b"\x12\x34\x01\0\0\x01" + b"\0" * 6 + b"\xc0\x0c"]
)
def test_noise_gets_a_format_error_or_nothing(noise: bytes) -> None:
    answer = OFFLINE.answer(noise)
    assert answer is None or (answer[:2] == noise[:2] and answer[3] & 0xF in {dns.rcode.FORMERR, dns.rcode.NOTIMP})


@given(st.binary(max_size=600))
def test_nothing_raises(noise: bytes) -> None:
    for names in (OFFLINE, ONLINE):
        answer = names.answer(noise)
        assert answer is None or len(answer) >= 12


@given(st.data())
def test_no_altered_query_raises(data: st.DataObject) -> None:
    query = bytearray(dns.message.make_query("contoso.vault.azure.net", "A", use_edns=0).to_wire())
    for _ in range(data.draw(st.integers(1, 6))):
        query[data.draw(st.integers(0, len(query) - 1))] = data.draw(st.integers(0, 255))
    OFFLINE.answer(bytes(query))


async def served() -> tuple[NameServer, tuple[str, int], tuple[str, int]]:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    tcp = socket.create_server(("127.0.0.1", 0))
    udp.setblocking(False)
    return await NameServer.open(udp, tcp, OFFLINE), udp.getsockname(), tcp.getsockname()


async def test_several_queries_share_a_connection_and_noise_ends_it() -> None:
    server, _, address = await served()
    reader, writer = await asyncio.open_connection(*address)
    query = dns.message.make_query("management.azure.com", "A").to_wire()
    framed = len(query).to_bytes(2) + query
    writer.write(framed + framed)
    for _ in range(2):
        answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
        assert addresses(dns.message.from_wire(answer)) == ["127.0.0.1"]
    writer.write(b"\xff\xff")
    assert await reader.read() == b""
    writer.close()
    await server.close()


async def test_a_connection_has_only_so_many_queries() -> None:
    server, _, address = await served()
    reader, writer = await asyncio.open_connection(*address)
    query = dns.message.make_query("management.azure.com", "A").to_wire()
    writer.write((len(query).to_bytes(2) + query) * 100)
    answers = 0
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        for answers in range(1, 101):  # noqa: B007 - counted up to where the connection ends
            await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    assert answers < 100
    writer.close()
    await server.close()


async def test_closing_ends_connections_and_frees_the_sockets() -> None:
    server, udp_address, tcp_address = await served()
    reader, writer = await asyncio.open_connection(*tcp_address)
    writer.write(b"\0")
    await writer.drain()
    await server.close()
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        await asyncio.sleep(0)
        again.bind(udp_address)


def test_flags_say_that_recursion_is_available() -> None:
    assert asked("management.azure.com").flags & dns.flags.RA
