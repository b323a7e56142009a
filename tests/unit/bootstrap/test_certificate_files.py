"""Certificates in files: renewed by whoever puts new ones there, kept while what is there is broken."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from idplane.bootstrap.certificate_files import CertificateFiles
from idplane.bootstrap.server import Server
from idplane.bootstrap.server_settings import read_server_settings
from idplane.bootstrap.settings_file import SettingsProblem
from idplane.bootstrap.world import SystemClock, SystemEntropy, World
from idplane.keys import RunAuthority, TlsIdentity
from idplane.model.failure import Failure
from idplane.model.profile import OPEN
from idplane.testing.worlds import FakeClock, MemoryCustody, memory_store


class Folder:
    """Settings, and the files that they name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "server.toml"
        self.config.write_text(
            '[server]\npublic_url = "https://id.test"\ndata = "data"\n[database]\nurl = "postgresql:///x"\n'
            '[tls]\ncertificate = "server.pem"\nkey = "server.key"\nauthority = "ca.pem"\n'
        )
        self.renew()

    def renew(self) -> TlsIdentity:
        """What certbot and its like do."""
        authority = RunAuthority.create(FakeClock(datetime.now(UTC)), SystemEntropy(), domains=("id.test",))
        made = authority.issue(["id.test"])
        self.put(made.certificate_chain_pem, made.key_pem, authority.ca_pem)
        return made

    def put(self, certificate: bytes, key: bytes, authority: bytes = b"") -> None:
        (self.path / "server.pem").write_bytes(certificate)
        (self.path / "server.key").touch(mode=0o600)
        (self.path / "server.key").write_bytes(key)
        (self.path / "ca.pem").write_bytes(authority)

    def files(self) -> CertificateFiles:
        found = CertificateFiles.of(read_server_settings(self.config))
        assert found is not None
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_new_files_count_at_once(folder: Folder) -> None:
    files = folder.files()
    before, authority = files.identity(), files.authority()
    assert files.identity() == before
    made = folder.renew()
    assert files.identity() == made
    assert files.authority() != authority


@pytest.mark.parametrize("broken", ["missing", "other key", "no certificate", "open to all"])
def test_what_is_broken_changes_nothing_and_is_told_once(folder: Folder, broken: str, caplog: pytest.LogCaptureFixture) -> None:
    files = folder.files()
    before, authority = files.identity(), files.authority()
    new = RunAuthority.create(FakeClock(datetime.now(UTC)), SystemEntropy(), domains=("id.test",)).issue(["id.test"])
    match broken:
        case "missing":
            (folder.path / "server.pem").unlink()
        case "other key":
            folder.put(new.certificate_chain_pem, before.key_pem, b"new authority")
        case "no certificate":
            folder.put(b"", new.key_pem)
        case _:
            folder.put(new.certificate_chain_pem, new.key_pem)
            (folder.path / "server.key").chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert [files.identity() for _ in range(3)] == [before] * 3
        assert files.authority() == authority
    assert sum("stays as it is" in one.getMessage() for one in caplog.records) == 1
    (folder.path / "server.key").chmod(0o600)
    made = folder.renew()
    assert files.identity() == made


def test_what_is_broken_at_the_start_is_told_to_whoever_starts_it(folder: Folder) -> None:
    folder.put(b"", b"")
    with pytest.raises((Failure, SettingsProblem)):
        folder.files()


async def test_a_listener_shows_the_new_certificate_at_its_next_turn(folder: Folder) -> None:
    store = await memory_store()
    world = World(clock=SystemClock(), entropy=SystemEntropy(), store=store, custody=MemoryCustody(), profile=OPEN)
    files = folder.files()
    server = await Server.open(world, anchors=files.authority)
    server.certificates.authority = files.authority
    told: list[bytes] = []
    server.certificates.publish = told.append
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        listener = await server.listen(sock, identity=files.identity)
        first = await shown(port)
        await server.certificates.turn()
        assert await shown(port) == first
        made = folder.renew()
        await server.certificates.turn()
        assert await shown(port) == leaf(made)
        assert told == [told[0], files.authority()]
        (folder.path / "server.pem").write_bytes(b"half of it")
        await server.certificates.turn()
        assert await shown(port) == leaf(made)
        await listener.close()
    await server.close()
    await store.close()


async def shown(port: int) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(found)


def leaf(identity: TlsIdentity) -> bytes:
    return x509.load_pem_x509_certificate(identity.certificate_chain_pem).public_bytes(Encoding.DER)
