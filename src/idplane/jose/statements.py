"""Signatures of machines' own keys over statements: what certificates of other authorities and SSH hosts are proved with.

RSASSA-PSS with SHA-256, ECDSA with the hash that is as long as the curve, Ed25519: the key decides, and nothing is negotiated.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from idplane.model.failure import Failure, FailureKind

__all__ = ["StatementKey", "is_statement_key", "sign_statement", "verify_statement"]

StatementKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
_RSA_BITS: Final = 2048
# Verification grows with the square of the length; a foreign key must not be a way to keep us busy.
_RSA_MAX_BITS: Final = 8192
_MAX_EXPONENT: Final = 1 << 32
_PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)
_CURVES: Final[dict[type[ec.EllipticCurve], hashes.HashAlgorithm]] = {
    ec.SECP256R1: hashes.SHA256(),
    ec.SECP384R1: hashes.SHA384(),
    ec.SECP521R1: hashes.SHA512(),
}


def is_statement_key(key: object) -> bool:
    """Whether a public key is of a kind and length that is accepted."""
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA_BITS <= key.key_size <= _RSA_MAX_BITS and key.public_numbers().e < _MAX_EXPONENT
    if isinstance(key, ec.EllipticCurvePublicKey):
        return type(key.curve) in _CURVES
    return isinstance(key, ed25519.Ed25519PublicKey)


def sign_statement(key: object, statement: bytes) -> bytes:
    """The signature; raises `Failure(UNAVAILABLE)` for a key of another kind."""
    if isinstance(key, rsa.RSAPrivateKey) and is_statement_key(key.public_key()):
        return key.sign(statement, _PSS, hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey) and is_statement_key(key.public_key()):
        return key.sign(statement, ec.ECDSA(_CURVES[type(key.curve)]))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(statement)
    raise Failure(FailureKind.UNAVAILABLE, "the key is neither RSA of 2048 to 8192 bits, nor ECDSA, nor Ed25519")


def verify_statement(key: object, signature: bytes, statement: bytes) -> bool:
    """Whether the key made the signature; False for keys that are not accepted."""
    if not is_statement_key(key):
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, statement, _PSS, hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, statement, ec.ECDSA(_CURVES[type(key.curve)]))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, statement)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True
