"""X.509 as the key ring and the authorities write it: pure builders, every time and serial number passed in.

RFC 5280 decides the extensions and their criticality. Names are in the subject alternative name only; no client is left to read
a common name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from idplane.jose import PrivateKey, PublicKey, b64url
from idplane.ports.world import Entropy

__all__ = ["Authority", "Issuer", "Leaf", "Validity", "key_id", "name_of", "new_serial", "root_certificate", "self_signed"]

_BACKDATE = timedelta(minutes=15)
_SERIAL_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """From when until when, in whole seconds since certificates know nothing finer."""

    not_before: datetime
    not_after: datetime

    @classmethod
    def starting(cls, now: datetime, lifetime: timedelta, *, backdate: timedelta = _BACKDATE) -> Validity:
        """`lifetime` from now, and `backdate` before it for clocks that are behind ours."""
        start = now.replace(microsecond=0)
        return cls(not_before=start - backdate, not_after=start + lifetime)


def new_serial(entropy: Entropy) -> int:
    """A serial number that nobody can predict: positive and at most 20 octets (RFC 5280 section 4.1.2.2)."""
    return int.from_bytes(b"\x01" + entropy.bytes(_SERIAL_BYTES))


def key_id(certificate_der: bytes) -> str:
    """The `kid` and `x5t` of a key: its certificate's SHA-1 thumbprint, as Entra's are. An identifier, not a protection."""
    return b64url(hashlib.sha1(certificate_der, usedforsecurity=False).digest())


def name_of(common_name: str) -> x509.Name:
    """A subject of ours with a common name for people to read."""
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "idplane"), x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    )


def self_signed(private_key: PrivateKey, subject: x509.Name, validity: Validity, serial: int) -> bytes:
    """The certificate, in DER, that a token-signing key is published with: `x5c` has room for nothing else."""
    builder = _builder(subject, subject, private_key.public_key(), validity, serial)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return builder.sign(private_key, SHA256()).public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """What an authority's certificate is to say. `extensions` (with their criticality) narrow what it can sign."""

    subject: x509.Name
    validity: Validity
    serial: int
    path_length: int = 0
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = ()

    def extend(self, builder: x509.CertificateBuilder, public_key: PublicKey) -> x509.CertificateBuilder:
        """The builder with everything that makes a certificate an authority's."""
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=self.path_length), critical=True)
        builder = builder.add_extension(_key_usage(authority=True), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        for extension, critical in self.extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder


def root_certificate(private_key: ec.EllipticCurvePrivateKey, authority: Authority) -> x509.Certificate:
    """An authority that vouches for itself."""
    public_key = private_key.public_key()
    builder = _builder(authority.subject, authority.subject, public_key, authority.validity, authority.serial)
    return authority.extend(builder, public_key).sign(private_key, SHA256())


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a certificate for an end is to say."""

    public_key: PublicKey = field(repr=False)
    subject: x509.Name
    names: Sequence[x509.GeneralName]
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH
    validity: Validity


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A certificate authority: its certificate, the key that belongs to it, and the certificate above it if there is one."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    anchor: x509.Certificate | None = None

    @property
    def pem(self) -> bytes:
        """What others are to trust, for trust stores."""
        return (self.anchor or self.certificate).public_bytes(Encoding.PEM)

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What has to be sent after a leaf, so that whoever trusts `pem` can verify it."""
        return (self.certificate,) if self.anchor else ()

    def sign_authority(self, public_key: ec.EllipticCurvePublicKey, authority: Authority) -> x509.Certificate:
        """A subordinate authority's certificate."""
        builder = _builder(authority.subject, self.certificate.subject, public_key, authority.validity, authority.serial)
        builder = authority.extend(builder, public_key).add_extension(self._own_key(), critical=False)
        return builder.sign(self.private_key, SHA256())

    def sign(self, leaf: Leaf, serial: int) -> x509.Certificate:
        """The leaf's certificate, which never outlives the authority."""
        authority_ends = self.certificate.not_valid_after_utc
        validity = Validity(not_before=leaf.validity.not_before, not_after=min(leaf.validity.not_after, authority_ends))
        builder = _builder(leaf.subject, self.certificate.subject, leaf.public_key, validity, serial)
        for extension, critical in self._leaf_extensions(leaf):
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.private_key, SHA256())

    def _leaf_extensions(self, leaf: Leaf) -> tuple[tuple[x509.ExtensionType, bool], ...]:
        return (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_key_usage(authority=False), True),
            (x509.ExtendedKeyUsage([leaf.usage]), False),
            (x509.SubjectAlternativeName(leaf.names), False),
            (x509.SubjectKeyIdentifier.from_public_key(leaf.public_key), False),
            (self._own_key(), False),
        )

    def _own_key(self) -> x509.AuthorityKeyIdentifier:
        own_key = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_key)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: PublicKey, validity: Validity, serial: int
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=public_key,
        serial_number=serial,
        not_valid_before=validity.not_before,
        not_valid_after=validity.not_after,
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    """An authority signs certificates and revocation lists; an end signs handshakes and assertions."""
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
