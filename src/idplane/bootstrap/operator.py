"""The operator's key: what the owner of a data folder proves itself to the token service with.

The file is written before the installation that trusts it is committed, so a crash between the two leaves a file that the next start
replaces, never an installation that nobody can enter.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from idplane.ports.world import Clock, Entropy

__all__ = ["OPERATOR_FILE", "make_operator_pem", "operator_certificate", "write_private_file"]

OPERATOR_FILE = "operator.pem"
_VALIDITY = timedelta(days=3650)
_BACKDATE = timedelta(minutes=5)


def make_operator_pem(clock: Clock, entropy: Entropy) -> bytes:
    """A new RSA-2048 key with a self-signed certificate, PEM: the form that `CertificateCredential` and the Azure CLI read."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idplane operator")])
    now = clock.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(entropy.bytes(16)) >> 1)
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + _VALIDITY)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def operator_certificate(path: Path) -> bytes | None:
    """The certificate in an operator file, DER; None if there is no usable file."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None
    return certificate.public_bytes(serialization.Encoding.DER)


def write_private_file(path: Path, content: bytes) -> None:
    """Create or replace a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
