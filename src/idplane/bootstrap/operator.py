"""The operator's key: what the owner of a data folder proves itself to the token service with.

The file is written before the installation that trusts it is committed, so a crash between the two leaves a file that the next start
replaces, never an installation that nobody can enter.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from idplane.jose import Algorithm, Signer, b64url, certificate_thumbprint, new_rsa_key
from idplane.ports.world import Clock, Entropy

__all__ = ["OPERATOR_FILE", "OperatorKey", "write_private_file", "write_public_file"]

OPERATOR_FILE = "operator.pem"
_VALIDITY = timedelta(days=3650)
_BACKDATE = timedelta(days=365)
"""So that a clock that was ahead at the first start, and is set right, does not lock the operator out."""
_ASSERTION_SECONDS = 300
_PROBE = b"idplane: does this key belong to its certificate?"
_PADDING = padding.PKCS1v15()
_SHA256 = hashes.SHA256()


class OperatorKey:
    """An RSA-2048 key with its self-signed certificate, parsed once. RSA, because `CertificateCredential` and `az` read no other."""

    def __init__(self, key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._validity = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        self._certificate = certificate
        self.certificate = certificate.public_bytes(serialization.Encoding.DER)
        thumbprint = b64url(bytes.fromhex(certificate_thumbprint(self.certificate)))
        self._signer = Signer(key, Algorithm.RS256, {"typ": "JWT", "alg": "RS256", "x5t#S256": thumbprint})

    def valid_at(self, now: datetime) -> bool:
        """Whether the token service would take the certificate."""
        return self._validity[0] <= now < self._validity[1]

    def __repr__(self) -> str:
        return f"OperatorKey({certificate_thumbprint(self.certificate)[:16]})"

    @classmethod
    def create(cls, clock: Clock, entropy: Entropy) -> OperatorKey:
        """A new key and certificate."""
        key = new_rsa_key()
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
        return cls(key, certificate)

    @classmethod
    def from_pem(cls, pem: bytes) -> OperatorKey:
        """The key in an operator file. Raises `ValueError` if it holds none, or one that is not its certificate's.

        OpenSSL's own check of an RSA key takes 30 ms of each start; one signature that its certificate verifies takes less than one.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
        except (TypeError, UnsupportedAlgorithm) as error:
            raise ValueError("the operator's key cannot be read without more than the file") from error
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("the operator's key is not an RSA key")  # noqa: TRY004 - the file is wrong, not a caller's type
        certificate = x509.load_pem_x509_certificate(pem)
        if not _belongs(key, certificate):
            raise ValueError("the operator's key is not the one of its certificate")
        return cls(key, certificate)

    def pem(self) -> bytes:
        """Private key and certificate, PEM: the form that `CertificateCredential` and the Azure CLI read."""
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private + self._certificate.public_bytes(serialization.Encoding.PEM)

    def token_request(
        self, *, client_id: str, token_endpoint: str, resource: str, clock: Clock, entropy: Entropy
    ) -> dict[str, str]:
        """The form that asks the token service for a token as the operator (RFC 7523 section 2.2)."""
        now = int(clock.now().timestamp())
        assertion = self._signer.sign(
            {
                "aud": token_endpoint,
                "iss": client_id,
                "sub": client_id,
                "jti": entropy.guid(),
                "nbf": now,
                "exp": now + _ASSERTION_SECONDS,
            }
        )
        return {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
            "scope": f"{resource}/.default",
        }


def _belongs(key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> bool:
    public_key = certificate.public_key()
    if not isinstance(public_key, rsa.RSAPublicKey):
        return False
    try:
        public_key.verify(key.sign(_PROBE, _PADDING, _SHA256), _PROBE, _PADDING, _SHA256)
    except (InvalidSignature, InternalError):
        return False
    return True


def write_private_file(path: Path, content: bytes) -> None:
    """Create or replace a file that only its owner may read, whole or not at all. Raises `OSError`."""
    _write(path, content, 0o600)


def write_public_file(path: Path, content: bytes) -> None:
    """Create or replace a file that others may read, as far as they get into its folder. Raises `OSError`."""
    _write(path, content, 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
