import base64
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.keys.keys_world import KeyWorld, a_key_world

from idplane.jose import PrivateKey, certificate_thumbprint, make_csr, new_ec_key, new_rsa_key
from idplane.keys.credentials import requested_key
from idplane.model.directory import CredentialKind, Principal, PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import AZURE
from idplane.testing.worlds import FakeClock

PRINCIPAL = Principal(
    id="11111111-1111-1111-1111-111111111111",
    tenant_id="22222222-2222-2222-2222-222222222222",
    client_id="33333333-3333-3333-3333-333333333333",
    display_name="stock-vm",
    type=PrincipalType.MANAGED_IDENTITY,
    created_at=FakeClock().now(),
)
HOST = "/subscriptions/x/resourcegroups/g/providers/microsoft.compute/virtualmachines/stock-vm"
KEY = new_ec_key()


@pytest.fixture
async def key_world() -> AsyncIterator[KeyWorld]:
    async with a_key_world() as world:
        yield world


async def test_an_identity_gets_a_certificate_that_names_it(key_world: KeyWorld) -> None:
    authority = await key_world.credentials()
    credential = authority.issue_identity(make_csr(KEY, "admin"), PRINCIPAL, HOST, "agent-1")
    assert credential.certificate is not None
    certificate = x509.load_der_x509_certificate(credential.certificate)
    assert certificate.public_key() == KEY.public_key()
    assert [one.value for one in certificate.subject] == [PRINCIPAL.client_id]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(f"urn:idplane:identity:{PRINCIPAL.id}")]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert (credential.kind, credential.principal_id, credential.client_id) == (
        CredentialKind.IDENTITY_CERTIFICATE,
        PRINCIPAL.id,
        PRINCIPAL.client_id,
    )
    assert (credential.host, credential.agent_id) == (HOST, "agent-1")
    assert credential.thumbprint == certificate_thumbprint(credential.certificate)


@pytest.mark.parametrize("key", [KEY, new_rsa_key()])
async def test_identity_certificates_verify_for_clients_and_for_nothing_else(key_world: KeyWorld, key: PrivateKey) -> None:
    authority = await key_world.credentials()
    credential = authority.issue_identity(make_csr(key, "localhost"), PRINCIPAL, HOST, "agent-1")
    assert credential.certificate is not None
    certificate = x509.load_der_x509_certificate(credential.certificate)
    builder = PolicyBuilder().store(Store([x509.load_pem_x509_certificate(authority.certificate_pem)]))
    verified = builder.time(key_world.clock.now()).build_client_verifier().verify(certificate, [])
    assert verified.subjects == [x509.UniformResourceIdentifier(f"urn:idplane:identity:{PRINCIPAL.id}")]
    with pytest.raises(VerificationError):
        builder.time(key_world.clock.now()).build_server_verifier(x509.DNSName("localhost")).verify(certificate, [])
    with pytest.raises(VerificationError):
        builder.time(credential.not_after + timedelta(seconds=1)).build_client_verifier().verify(certificate, [])


async def test_lifetimes_come_from_the_profile(key_world: KeyWorld) -> None:
    key_world.profile = AZURE
    credential = (await key_world.credentials()).issue_identity(make_csr(KEY, "x"), PRINCIPAL, HOST, "agent-1")
    now = key_world.clock.now()
    assert (credential.not_before, credential.not_after) == (now - timedelta(minutes=15), now + timedelta(days=90))


async def test_every_certificate_is_another(key_world: KeyWorld) -> None:
    authority = await key_world.credentials()
    made = [authority.issue_identity(make_csr(KEY, "x"), PRINCIPAL, HOST, "agent-1") for _ in range(5)]
    assert len({one.thumbprint for one in made}) == len({one.id for one in made}) == 5


async def test_an_agent_gets_a_certificate_that_names_it(key_world: KeyWorld) -> None:
    authority = await key_world.credentials()
    certificate = x509.load_der_x509_certificate(authority.issue_agent(make_csr(KEY, "root"), "agent-1"))
    assert [one.value for one in certificate.subject] == ["agent-1"]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("urn:idplane:agent:agent-1")]


async def test_what_the_request_asks_for_is_ignored(key_world: KeyWorld) -> None:
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another identity")]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), critical=False)
        .add_attribute(x509.oid.AttributeOID.CHALLENGE_PASSWORD, b"swordfish")
        .sign(KEY, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    plain = (await key_world.credentials()).issue_identity(make_csr(KEY, "x"), PRINCIPAL, HOST, "a")
    asked = (await key_world.credentials()).issue_identity(request, PRINCIPAL, HOST, "a")
    assert plain.certificate is not None
    assert asked.certificate is not None
    one, two = (x509.load_der_x509_certificate(it) for it in (plain.certificate, asked.certificate))
    assert one.subject == two.subject
    assert list(one.extensions) == list(two.extensions)


def refused(csr: bytes) -> str:
    with pytest.raises(Failure) as caught:
        requested_key(csr)
    assert caught.value.kind is FailureKind.CSR_INVALID
    return caught.value.detail


def signed_request(key: PrivateKey | ed25519.Ed25519PrivateKey, algorithm: hashes.HashAlgorithm | None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)  # type: ignore[arg-type]  # every algorithm that it can refuse later


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(public_exponent=65537, key_size=1024),
        rsa.generate_private_key(public_exponent=3, key_size=2048),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
    ],
)
def test_weak_and_unusual_keys_are_refused(key: PrivateKey) -> None:
    assert "key" in refused(signed_request(key, hashes.SHA256()))


def test_other_signatures_are_refused() -> None:
    assert "key" in refused(signed_request(ed25519.Ed25519PrivateKey.generate(), None))
    for algorithm in (hashes.SHA224(), hashes.SHA3_256()):
        assert "SHA-2" in refused(signed_request(KEY, algorithm))


def test_a_request_for_somebody_elses_key_is_refused() -> None:
    """The attacker swaps the public key in a request that was signed with another one."""
    other = new_ec_key()
    mine, theirs = make_csr(KEY, "x"), KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    point = other.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert theirs in mine
    assert "verify" in refused(mine.replace(theirs, point))


@pytest.mark.parametrize(
    "csr",
    [
        b"",
        b"0",
        b"garbage",
        make_csr(KEY, "x")[:-1],
        make_csr(KEY, "x") + b"\x00",
        bytes(8193),
        base64.b64encode(make_csr(KEY, "x")),
    ],
)
def test_what_is_no_request_is_refused(csr: bytes) -> None:
    refused(csr)


def test_size_is_bounded_before_anything_is_read() -> None:
    assert "large" in refused(make_csr(KEY, "x") + bytes(8192))


@given(at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_damage_never_yields_another_key(at: int, bit: int) -> None:
    """What was signed cannot change; only the count of unused bits at the signature's end can, when those bits are zero."""
    csr = bytearray(make_csr(KEY, "an identity"))
    csr[at % len(csr)] ^= 1 << bit
    try:
        key = requested_key(bytes(csr))
    except Failure:
        return
    assert key == KEY.public_key()
    assert x509.load_der_x509_csr(bytes(csr)).tbs_certrequest_bytes in make_csr(KEY, "an identity")


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_in_order(csr: bytes) -> None:
    refused(csr)
