"""Certificate authorities of attackers and of those who are attacked."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from idplane.jose import new_ec_key

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass
class Authority:
    """An authority, at the root or below another one."""

    name: str = "Rack CA"
    above: Authority | None = None
    path_length: int | None = 1
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_ec_key)

    def __post_init__(self) -> None:
        self.certificate = (self.above or self)._sign(
            named(self.name), self.key.public_key(), [(x509.BasicConstraints(ca=True, path_length=self.path_length), True)]
        )

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def _sign(
        self,
        subject: x509.Name,
        key: Any,
        extensions: list[tuple[x509.ExtensionType, bool]],
        *,
        days: int = 36500,
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            named(self.name), subject, key, x509.random_serial_number(), LONG_AGO, LONG_AGO + timedelta(days=days)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())

    def leaf(
        self,
        key: Any,
        name: str = "stock.example.com",
        *,
        usage: tuple[x509.ObjectIdentifier, ...] = CLIENT,
        days: int = 36500,
        further: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    ) -> x509.Certificate:
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.SubjectAlternativeName([x509.DNSName(name)]), False),
            *further,
        ]
        if usage:
            extensions.append((x509.ExtendedKeyUsage(list(usage)), False))
        return self._sign(named(name), key, extensions, days=days)


def pem_files(folder: Path, key: Any, *chain: x509.Certificate) -> str:
    """The argument of `--join x509:`."""
    certificate, private = folder / "chain.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return f"{certificate},{private}"


def ssh_keygen(*arguments: str, folder: Path) -> None:
    """OpenSSH's own program."""
    subprocess.run(["ssh-keygen", "-q", *arguments], cwd=folder, check=True, capture_output=True)
