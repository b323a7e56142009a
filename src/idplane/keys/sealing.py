"""Between a private key in use and the sealed bytes in the store."""

from __future__ import annotations

from cryptography import x509

from idplane.jose import PrivateKey, load_private_key, private_key_der
from idplane.keys.certificates import key_id
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import SigningKey
from idplane.ports.world import KeyCustody

__all__ = ["sealed_private_key", "unsealed_private_key"]


def sealed_private_key(private_key: PrivateKey, kid: str, custody: KeyCustody) -> bytes:
    """The private key, to be opened again only for the same key id."""
    return custody.seal(private_key_der(private_key), context=_context(kid))


def unsealed_private_key(key: SigningKey, custody: KeyCustody) -> PrivateKey:
    """The key's private part; raises `Failure(INTERNAL)` if the seal does not hold or certificate and key do not belong together.

    That is also what makes the public part trustworthy: whoever can write to the database, but not use the custody, cannot
    slip in a key of their own to verify tokens with.
    """
    private_key = load_private_key(custody.unseal(key.sealed, context=_context(key.id)), trusted=True)
    if key_id(key.certificate) != key.id or _public_key(key.certificate) != private_key.public_key():
        raise Failure(FailureKind.INTERNAL, "a stored key does not belong to its certificate")
    return private_key


def _public_key(certificate: bytes) -> object:
    return x509.load_der_x509_certificate(certificate).public_key()


def _context(kid: str) -> str:
    return f"signing-key:{kid}"
