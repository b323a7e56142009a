"""Between a private key in use and the sealed bytes in the store; and what shows that nobody changed a key's record behind our back."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cryptography import x509

from idplane.jose import PrivateKey, load_private_key, private_key_der
from idplane.keys.certificates import key_id
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyPurpose, SigningKey
from idplane.ports.world import HeldKey, KeyCustody

__all__ = ["check_intact", "check_mark", "marked", "private_context", "sealed_private_key", "unsealed_private_key"]

_HELD: Final = b"held by the custody:"
"""In front of a reference; PKCS#8 begins with another byte."""
_FIRST_FORMAT: Final = b"\x01"
"""Of seals (`store.sealed`): programs that seal in it know no marks, and drop them from what they rewrite."""


def sealed_private_key(private_key: PrivateKey, kid: str, custody: KeyCustody) -> bytes:
    """The private key, to be opened again only for the same key id."""
    plain = _HELD + private_key.reference if isinstance(private_key, HeldKey) else private_key_der(private_key)
    return custody.seal(plain, context=private_context(kid))


def unsealed_private_key(key: SigningKey, custody: KeyCustody) -> PrivateKey:
    """The key's private part; raises `Failure(INTERNAL)` if the seal does not hold or certificate and key do not belong together.

    That is also what makes the public part trustworthy: whoever can write to the database, but not use the custody, cannot
    slip in a key of their own to verify tokens with.
    """
    plain = custody.unseal(key.sealed, context=private_context(key.id))
    held = plain.startswith(_HELD)
    private_key = custody.authority_key(plain.removeprefix(_HELD)) if held else load_private_key(plain, trusted=True)
    if key_id(key.certificate) != key.id or _public_key(key.certificate) != private_key.public_key():
        raise Failure(FailureKind.INTERNAL, "a stored key does not belong to its certificate")
    return private_key


def marked(key: SigningKey, custody: KeyCustody) -> SigningKey:
    """The record as it is stored. A tainted key's private part is not: nobody can make it good again by a change of the record."""
    kept = replace(key, sealed=b"") if key.tainted else key
    return replace(kept, mark=custody.seal(b"", context=kept.described))


def check_intact(key: SigningKey, custody: KeyCustody) -> None:
    """Raises `Failure(INTERNAL)` unless the record is as some process wrote it that has the custody, and can be used by ours."""
    check_mark(key, custody)
    if key.tainted:
        return
    if key.purpose is KeyPurpose.LOG:  # an Ed25519 key, which the log itself reads
        custody.unseal(key.sealed, context=private_context(key.id))
    else:
        unsealed_private_key(key, custody)


def check_mark(key: SigningKey, custody: KeyCustody) -> None:
    """Raises `Failure(INTERNAL)` if the record says something else than when it was marked, `Failure(UNAVAILABLE)` as the custody does."""
    if not key.mark and key.sealed.startswith(_FIRST_FORMAT):
        return
    custody.unseal(key.mark, context=key.described)


def private_context(kid: str) -> str:
    """What a private key is sealed for."""
    return f"signing-key:{kid}"


def _public_key(certificate: bytes) -> object:
    return x509.load_der_x509_certificate(certificate).public_key()
