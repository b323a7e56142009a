"""The PROXY protocol's header, byte for byte: what it says is taken, everything else is refused, and nothing behind it is touched."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.web.proxy_header import LONGEST, Client, MalformedHeader, Proxies, read_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
FOUR = socket.inet_aton("192.0.2.7") + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 40000, 8443)
SIX = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack("!HH", 40000, 8443)
)
MAPPED = socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.7") * 2 + struct.pack("!HH", 40000, 8443)
HELLO = b"\x16\x03\x01"


class _Bytes:
    def __init__(self, content: bytes) -> None:
        self.rest = content

    async def exactly(self, size: int) -> bytes:
        if len(self.rest) < size:
            raise MalformedHeader("it ends early")
        found, self.rest = self.rest[:size], self.rest[size:]
        return found


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (v2(0x21, 0x11, FOUR), ("192.0.2.7", 40000)),
        (v2(0x21, 0x21, SIX), ("2001:db8::7", 40000)),
        (v2(0x21, 0x21, MAPPED), ("192.0.2.7", 40000)),
        (v2(0x21, 0x11, FOUR + b"\x04\x00\x02xx"), ("192.0.2.7", 40000)),
        (v2(0x21, 0x11, FOUR + bytes(LONGEST - 16 - len(FOUR))), ("192.0.2.7", 40000)),
        (v2(0x20, 0x00, b""), None),
        (v2(0x20, 0x11, FOUR), None),
        (v2(0x21, 0x00, b"whatever"), None),
        (v2(0x21, 0x31, bytes(216)), None),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 8443\r\n", ("192.0.2.7", 40000)),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 8443\r\n", ("2001:db8::7", 40000)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff:f...f ffff:f...f 65535 65535\r\n", None),
    ],
)
async def test_who_the_client_is(header: bytes, client: Client | None) -> None:
    source = _Bytes(header + HELLO)
    assert await read_header(source) == client
    assert source.rest == HELLO


@pytest.mark.parametrize(
    "header",
    [
        HELLO + bytes(100),
        b"GET / HTTP/1.1\r\n\r\n",
        SIGNATURE[:-1] + b"X" + bytes(40),
        v2(0x11, 0x11, FOUR),
        v2(0x22, 0x11, FOUR),
        v2(0x2F, 0x11, FOUR),
        v2(0x21, 0x12, FOUR),
        v2(0x21, 0x41, FOUR),
        v2(0x21, 0x11, FOUR[:-1]),
        v2(0x21, 0x21, FOUR),
        v2(0x21, 0x11, FOUR)[:-1],
        v2(0x21, 0x11, FOUR + bytes(LONGEST)),
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 0xFFFF),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 40000\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 8443 \r\n",
        b"PROXY TCP4  192.0.2.7 10.0.0.1 40000 8443\r\n",
        b"PROXY TCP4 2001:db8::7 10.0.0.1 40000 8443\r\n",
        b"PROXY TCP6 192.0.2.7 10.0.0.1 40000 8443\r\n",
        b"PROXY TCP4 192.0.2.7 nobody 40000 8443\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 8443\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 -1 8443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 \u0661 8443\r\n".encode(),
        b"PROXY UDP4 192.0.2.7 10.0.0.1 40000 8443\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 8443\n" + bytes(100),
        b"PROXY " + b"x" * 200 + b"\r\n",
    ],
)
async def test_what_is_no_header(header: bytes) -> None:
    with pytest.raises(MalformedHeader):
        await read_header(_Bytes(header))


@given(
    st.one_of(
        st.binary(max_size=300), st.binary(max_size=300).map(SIGNATURE.__add__), st.binary(max_size=120).map(b"PROXY ".__add__)
    )
)
async def test_any_bytes_are_a_header_or_refused(content: bytes) -> None:
    source = _Bytes(content)
    try:
        client = await read_header(source)
    except MalformedHeader:
        return
    assert client is None or 0 <= client[1] <= 65535
    assert len(content) - len(source.rest) <= LONGEST


class TestProxies:
    def test_by_networks_and_addresses(self) -> None:
        proxies = Proxies.parse(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"])
        assert all(one in proxies for one in ("10.255.0.1", "192.0.2.1", "2001:db8::1", "::ffff:10.0.0.1", "2001:db8::1%eth0"))
        assert not any(one in proxies for one in ("11.0.0.1", "192.0.2.2", "2001:db9::1", "::ffff:11.0.0.1", "127.0.0.1"))

    def test_nobody_unless_named(self) -> None:
        assert "127.0.0.1" not in Proxies()

    @pytest.mark.parametrize("text", ["", "balancer", "10.0.0.1/8", "10.0.0.0/33", "*"])
    def test_what_is_no_network(self, text: str) -> None:
        with pytest.raises(ValueError, match=r".+"):
            Proxies.parse([text])
