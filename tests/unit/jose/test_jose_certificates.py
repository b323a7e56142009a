import hashlib
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.unit.jose.jose_keys import EC_KEY, RSA_KEY

from idplane.jose import (
    certificate_thumbprint,
    load_private_key,
    make_csr,
    new_ec_key,
    private_key_der,
    public_key_of,
)
from idplane.model.failure import Failure, FailureKind

Signing = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey


def certificate(key: Signing) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=datetime(2026, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(2027, 1, 1, tzinfo=UTC),
    )
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()).public_bytes(Encoding.DER)


def test_public_keys_come_out_of_certificates() -> None:
    for key in (RSA_KEY, EC_KEY):
        assert public_key_of(certificate(key)) == key.public_key()


@pytest.mark.parametrize("der", [b"", b"0", b"\x30\x82\xff\xff", b"not a certificate", b"\x00" * 500])
def test_garbage_is_no_certificate(der: bytes) -> None:
    with pytest.raises(Failure) as caught:
        public_key_of(der)
    assert caught.value.kind is FailureKind.INVALID_PARAMETER


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=1024),
    ],
)
def test_other_kinds_of_key_are_refused(key: Signing) -> None:
    with pytest.raises(Failure) as caught:
        public_key_of(certificate(key))
    assert caught.value.kind is FailureKind.INVALID_PARAMETER


def test_private_keys_survive_being_written() -> None:
    for key in (RSA_KEY, EC_KEY):
        for trusted in (True, False):
            assert load_private_key(private_key_der(key), trusted=trusted).private_numbers() == key.private_numbers()


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"garbage",
        ec.generate_private_key(ec.SECP521R1()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    ],
    ids=["empty", "garbage", "another curve", "another kind"],
)
def test_what_is_no_usable_private_key_is_refused(der: bytes) -> None:
    with pytest.raises(Failure) as caught:
        load_private_key(der)
    assert caught.value.kind is FailureKind.INTERNAL


def test_a_damaged_rsa_key_is_noticed_when_it_is_not_trusted() -> None:
    der = bytearray(private_key_der(RSA_KEY))
    der[600] ^= 1
    with pytest.raises(Failure):
        load_private_key(bytes(der))


def test_a_request_proves_possession_of_its_key() -> None:
    key = new_ec_key()
    request = x509.load_der_x509_csr(make_csr(key, "an identity"))
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()
    assert [one.value for one in request.subject] == ["an identity"]


def test_thumbprints_are_sha256_in_hex() -> None:
    assert certificate_thumbprint(b"der") == hashlib.sha256(b"der").hexdigest()
