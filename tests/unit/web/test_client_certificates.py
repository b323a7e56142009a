"""Certificates that clients show: those of the credential authority reach the application, others end the handshake."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.unit.keys.keys_world import a_key_world

from idplane.bootstrap.server import context_for
from idplane.jose import make_csr, new_ec_key
from idplane.keys import CredentialAuthority
from idplane.web.serving import Listener


class _Witness:
    """Answers with the digest of the certificate that it was told of."""

    def __init__(self) -> None:
        self.began: list[float] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert callable(receive)
        shown = scope["idplane.client_certificate"]
        self.began.append(scope["idplane.connected_at"])
        body = b"none" if shown is None else hashlib.sha256(shown).hexdigest().encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})

    def refuse(self, *_: Any) -> Any:
        raise AssertionError("nothing here is refused")


class _Site:
    def __init__(self, address: tuple[str, int], trust: str, authority: CredentialAuthority, folder: Path) -> None:
        self.witness = _Witness()
        self.address = address
        self.trust = trust
        self.authority = authority
        self.folder = folder

    def client(self, authority: CredentialAuthority | None) -> tuple[ssl.SSLContext, bytes | None]:
        """A client's context, with an agent's certificate of that authority, and the certificate."""
        context = ssl.create_default_context(cadata=self.trust)
        if authority is None:
            return context, None
        key = new_ec_key()
        der = authority.issue_agent(make_csr(key, "rack-1"), "rack-1")
        pem = self.folder / "client.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem.write_bytes(private + ssl.DER_cert_to_PEM_cert(der).encode())
        context.load_cert_chain(pem)
        return context, der

    async def ask(self, context: ssl.SSLContext, *, times: int = 1) -> list[bytes]:
        reader, writer = await asyncio.open_connection(*self.address, ssl=context, server_hostname="localhost")
        answers = []
        try:
            for _ in range(times):
                writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                answers.append(await reader.readexactly(length))
            self.session = writer.get_extra_info("ssl_object").session
        finally:
            writer.close()
        return answers


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[_Site]:
    async with a_key_world() as keys:
        tls, authority = await keys.tls(), await keys.credentials()
        with socket.create_server(("127.0.0.1", 0)) as sock:
            made = _Site(sock.getsockname(), tls.ca_pem.decode(), authority, tmp_path)
            listener = Listener(made.witness)
            await listener.listen(sock, context_for(tls.issue(["localhost"]), client_authority=authority.certificate_pem))
            yield made
            await listener.close()


async def test_each_request_of_a_connection_carries_the_certificate_that_was_proved(site: _Site) -> None:
    context, der = site.client(site.authority)
    assert der is not None
    assert await site.ask(context, times=3) == [hashlib.sha256(der).hexdigest().encode()] * 3


async def test_each_request_of_a_connection_tells_when_it_began(site: _Site) -> None:
    context, _ = site.client(site.authority)
    for _ in range(2):
        await site.ask(context, times=3)
    first, second = site.witness.began[0], site.witness.began[3]
    assert first < second
    assert site.witness.began == [first] * 3 + [second] * 3


async def test_clients_without_a_certificate_are_served(site: _Site) -> None:
    context, _ = site.client(None)
    assert await site.ask(context) == [b"none"]


async def test_a_certificate_of_another_authority_ends_the_handshake(site: _Site) -> None:
    async with a_key_world() as elsewhere:
        context, _ = site.client(await elsewhere.credentials())
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await site.ask(context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_session_can_be_resumed(site: _Site, version: ssl.TLSVersion) -> None:
    context, _ = site.client(site.authority)
    context.maximum_version = version
    await site.ask(context)
    assert site.session is None or not site.session.has_ticket
