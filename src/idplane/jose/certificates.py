"""Keys, certificates and certificate requests as agent and server both handle them.

Private keys are made by OpenSSL's own generator: `ports.Entropy` cannot feed it, and should not.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509.oid import NameOID

from idplane.model.failure import Failure, FailureKind

__all__ = [
    "PrivateKey",
    "PublicKey",
    "certificate_thumbprint",
    "is_acceptable_key",
    "load_private_key",
    "make_csr",
    "new_ec_key",
    "new_rsa_key",
    "private_key_der",
    "public_key_of",
]

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_RSA_BITS: Final = 2048
# Verification grows with the square of the length; a foreign key must not be a way to keep us busy.
_RSA_MAX_BITS: Final = 8192


def new_ec_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key; 13 microseconds."""
    return ec.generate_private_key(ec.SECP256R1())


def new_rsa_key() -> rsa.RSAPrivateKey:
    """An RSA-2048 key; 44 ms in the median and 250 ms at worst, without the GIL: call it off the event loop."""
    return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)


def private_key_der(private_key: PrivateKey) -> bytes:
    """Unencrypted PKCS#8 DER: for sealing, never for writing as it is."""
    return private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def load_private_key(der: bytes, *, trusted: bool = False) -> PrivateKey:
    """A private key from unencrypted PKCS#8 DER; raises `Failure(INTERNAL)` if it is none, or of a kind that we do not use.

    `trusted` skips the check that an RSA key's numbers belong together, which takes 37 ms with the GIL held. Only for keys that
    we wrote ourselves and whose seal authenticates them (performance.md section 10, rule 1).
    """
    try:
        key = load_der_private_key(der, password=None, unsafe_skip_rsa_key_validation=trusted)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Failure(FailureKind.INTERNAL, "a private key could not be read") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) or not is_acceptable_key(key.public_key()):
        raise Failure(FailureKind.INTERNAL, "a private key is of a kind that is not used here")
    return key


def is_acceptable_key(key: object) -> bool:
    """Whether a public key is one we deal in: P-256, or RSA of 2048 to 8192 bits."""
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA_BITS <= key.key_size <= _RSA_MAX_BITS
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def public_key_of(certificate_der: bytes) -> PublicKey:
    """The public key in a certificate; raises `Failure(INVALID_PARAMETER)` if there is none that we deal in."""
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise Failure(FailureKind.INVALID_PARAMETER, "the certificate could not be read") from error
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) or not is_acceptable_key(key):
        raise Failure(FailureKind.INVALID_PARAMETER, "the certificate's key is neither P-256 nor RSA of at least 2048 bits")
    return key


def certificate_thumbprint(der: bytes) -> str:
    """Hex SHA-256 of a certificate's DER: what `x5t#S256` says in base64url."""
    return hashlib.sha256(der).hexdigest()


def make_csr(private_key: PrivateKey, common_name: str) -> bytes:
    """A PKCS#10 request in DER. It proves possession of the key; the issuer takes no name from it."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(private_key, SHA256())
    return request.public_bytes(Encoding.DER)
