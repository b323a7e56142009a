"""The authorities for listeners, judged by OpenSSL (in `ssl` and on the command line) and by `cryptography`'s own verifier."""

import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from tests.needed import program
from tests.unit.keys.keys_world import KeyWorld, a_key_world

from idplane.bootstrap.world import SystemClock
from idplane.jose import new_ec_key
from idplane.keys import CredentialAuthority, RunAuthority, TlsAuthority, TlsIdentity
from idplane.keys.certificates import Issuer, Leaf, Validity, name_of, new_serial
from idplane.keys.names import LOOPBACK, PermittedNames, general_name
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyPurpose, KeyState
from idplane.ports.collections import SIGNING_KEYS
from idplane.ports.store import Batch, Put
from idplane.ports.world import Clock
from idplane.testing.worlds import FakeClock, SeededEntropy

ENTROPY = SeededEntropy("authorities")


@pytest.fixture
async def key_world() -> AsyncIterator[KeyWorld]:
    async with a_key_world() as world:
        yield world


async def installation(clock: Clock, *hosts: str) -> TlsAuthority:
    async with a_key_world() as world:
        return await TlsAuthority.open(store=world.store, custody=world.custody, clock=clock, entropy=ENTROPY, hosts=hosts)


def issuer_of(authority: TlsAuthority | RunAuthority) -> Issuer:
    return authority.issuer if isinstance(authority, TlsAuthority) else authority._certificates.issuer


def forged(authority: TlsAuthority | RunAuthority, names: Sequence[str], now: datetime) -> TlsIdentity:
    """What a thief of the authority's key would sign."""
    issuer, key = issuer_of(authority), new_ec_key()
    leaf = Leaf(
        public_key=key.public_key(),
        subject=name_of("anything"),
        names=[general_name(name) for name in names],
        usage=ExtendedKeyUsageOID.SERVER_AUTH,
        validity=Validity.starting(now, timedelta(days=30)),
    )
    chain = (issuer.sign(leaf, new_serial(ENTROPY)), *issuer.chain)
    return TlsIdentity(
        certificate_chain_pem=b"".join(one.public_bytes(Encoding.PEM) for one in chain),
        key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        not_after=now,
    )


def chain_of(identity: TlsIdentity) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(identity.certificate_chain_pem)


def verified(ca_pem: bytes, identity: TlsIdentity, name: str, now: datetime) -> bool:
    """By the web's rules, as rustls and browsers have them."""
    leaf, *others = chain_of(identity)
    verifier = PolicyBuilder().store(Store([x509.load_pem_x509_certificate(ca_pem)])).time(now)
    try:
        verifier.build_server_verifier(general_name(name)).verify(leaf, others)
    except VerificationError:
        return False
    return True


def shaken_hands(ca_pem: bytes, identity: TlsIdentity, name: str, folder: Path) -> bool:
    """A TLS handshake in memory between Python's client, at its strictest, and a server with this identity."""
    files = folder / "chain.pem", folder / "key.pem"
    files[0].write_bytes(identity.certificate_chain_pem)
    files[1].write_bytes(identity.key_pem)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(*files)
    client_context = ssl.create_default_context(cadata=ca_pem.decode())
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    done = set[int]()
    while len(done) < 2:
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(id(side))
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return True


LOCAL = ["localhost", "127.0.0.1", "127.9.9.9", "::1", "kv.vault.localhost"]
FOREIGN = ["example.com", "localhost.example.com", "notlocalhost", "10.0.0.1", "128.0.0.1", "::2"]
AZURE = ["management.azure.com", "login.microsoftonline.com", "kv.vault.azure.net", "graph.microsoft.com", "login.windows.net"]
NOT_AZURE = ["example.com", "azure.com.example.com", "notazure.com", "localhost", "127.0.0.1", "::1"]


async def test_the_installations_names_verify() -> None:
    clock = FakeClock()
    authority = await installation(clock)
    identity = authority.issue(LOCAL)
    for name in LOCAL:
        assert verified(authority.ca_pem, identity, name, clock.now())
    assert not verified(authority.ca_pem, identity, "other.localhost", clock.now())


async def test_nothing_foreign_verifies_whoever_has_the_installations_key(tmp_path: Path) -> None:
    clock = SystemClock()
    authority = await installation(clock)
    for name in FOREIGN:
        identity = forged(authority, [name], clock.now())
        assert not verified(authority.ca_pem, identity, name, clock.now())
        assert not shaken_hands(authority.ca_pem, identity, name, tmp_path)
    mixed = forged(authority, ["localhost", "example.com"], clock.now())
    assert not verified(authority.ca_pem, mixed, "localhost", clock.now())
    assert not shaken_hands(authority.ca_pem, mixed, "localhost", tmp_path)


async def test_openssl_shakes_hands_with_the_installations_names(tmp_path: Path) -> None:
    authority = await installation(SystemClock())
    identity = authority.issue(["localhost", "127.0.0.1", "::1", "*.vault.localhost"])
    for name in ("localhost", "127.0.0.1", "::1", "kv.vault.localhost"):
        assert shaken_hands(authority.ca_pem, identity, name, tmp_path)
    assert not shaken_hands(authority.ca_pem, identity, "127.0.0.2", tmp_path)


def test_a_runs_names_verify_and_no_others(tmp_path: Path) -> None:
    clock = SystemClock()
    authority = RunAuthority.create(clock, ENTROPY)
    identity = authority.issue([*AZURE, "*.vault.azure.net"])
    for name in AZURE:
        assert verified(authority.ca_pem, identity, name, clock.now())
        assert shaken_hands(authority.ca_pem, identity, name, tmp_path)
    for name in NOT_AZURE:
        stolen = forged(authority, [name], clock.now())
        assert not verified(authority.ca_pem, stolen, name, clock.now())
        assert not shaken_hands(authority.ca_pem, stolen, name, tmp_path)


async def test_the_authorities_do_not_vouch_for_one_another(tmp_path: Path) -> None:
    clock = SystemClock()
    one, two, run = await installation(clock), await installation(clock), RunAuthority.create(clock, ENTROPY)
    identity = one.issue(["localhost"])
    for other in (two, run):
        assert not verified(other.ca_pem, identity, "localhost", clock.now())
        assert not shaken_hands(other.ca_pem, identity, "localhost", tmp_path)


@program("openssl")
async def test_the_openssl_command_agrees_at_its_strictest(tmp_path: Path) -> None:
    clock = SystemClock()
    for authority, good, bad in (
        (await installation(clock), LOCAL, FOREIGN),
        (RunAuthority.create(clock, ENTROPY), AZURE, NOT_AZURE),
    ):
        (tmp_path / "ca.pem").write_bytes(authority.ca_pem)
        assert openssl_verify(authority.issue(good), tmp_path)
        for name in bad:
            assert not openssl_verify(forged(authority, [name], clock.now()), tmp_path)


def openssl_verify(identity: TlsIdentity, folder: Path) -> bool:
    chain = folder / "chain.pem"
    chain.write_bytes(identity.certificate_chain_pem)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(folder / "ca.pem")]
    outcome = subprocess.run([*command, "-untrusted", str(chain), str(chain)], capture_output=True, check=False)
    return outcome.returncode == 0


async def test_names_beyond_the_authority_are_not_even_signed() -> None:
    authority = await installation(FakeClock())
    run = RunAuthority.create(FakeClock(), ENTROPY)
    for issue, names in ((authority.issue, FOREIGN), (run.issue, NOT_AZURE)):
        for name in (*names, "", "a b", "a..b", "-a.localhost", "localhost/", "*", "a.*.localhost", "ö.localhost", "x" * 300):
            with pytest.raises(Failure) as caught:
                issue([name])
            assert caught.value.kind is FailureKind.INVALID_PARAMETER
    with pytest.raises(ValueError, match="name"):
        authority.issue([])


def test_a_runs_authority_is_for_domains_only() -> None:
    for domains in ([], ["127.0.0.1"], ["azure.com", "::1"]):
        with pytest.raises(ValueError, match="host names"):
            RunAuthority.create(FakeClock(), ENTROPY, domains=domains)
    narrow = RunAuthority.create(FakeClock(), ENTROPY, domains=["azure.com"])
    with pytest.raises(Failure):
        narrow.issue(["graph.microsoft.com"])


def extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> tuple[object, bool]:
    found = certificate.extensions.get_extension_for_class(kind)
    return found.value, found.critical


async def test_certificates_say_what_every_tls_stack_wants() -> None:
    clock = FakeClock()
    authority = await installation(clock)
    identity = authority.issue(["localhost", "127.0.0.1"])
    leaf, issuing = chain_of(identity)
    assert extension(leaf, x509.BasicConstraints) == (x509.BasicConstraints(ca=False, path_length=None), True)
    assert extension(leaf, x509.ExtendedKeyUsage) == (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    assert extension(leaf, x509.SubjectAlternativeName) == (names, False)
    usage, critical = extension(leaf, x509.KeyUsage)
    assert isinstance(usage, x509.KeyUsage)
    assert (usage.digital_signature, usage.key_cert_sign, critical) == (True, False, True)
    assert not leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=397)
    assert leaf.not_valid_before_utc == clock.now() - timedelta(minutes=15)
    assert identity.not_after == leaf.not_valid_after_utc
    assert (extension(issuing, x509.NameConstraints), extension(issuing, x509.BasicConstraints)) == (
        (LOOPBACK.extension(), True),
        (x509.BasicConstraints(ca=True, path_length=0), True),
    )


async def test_the_root_is_constrained_too_and_its_key_is_gone() -> None:
    authority = await installation(FakeClock())
    root = x509.load_pem_x509_certificate(authority.ca_pem)
    assert extension(root, x509.NameConstraints) == (LOOPBACK.extension(), True)
    assert extension(root, x509.BasicConstraints) == (x509.BasicConstraints(ca=True, path_length=1), True)
    assert issuer_of(authority).private_key.public_key() != root.public_key()


def test_a_runs_certificates_die_with_its_authority() -> None:
    clock = FakeClock()
    identity = RunAuthority.create(clock, ENTROPY, lifetime=timedelta(hours=2)).issue(["management.azure.com"])
    assert identity.not_after == clock.now() + timedelta(hours=2)
    assert RunAuthority.create(clock, ENTROPY).issue(["azure.com"]).not_after == clock.now() + timedelta(days=7)


def test_serial_numbers_are_positive_and_short_enough() -> None:
    serials = {new_serial(ENTROPY) for _ in range(100)}
    assert len(serials) == 100
    assert all(0 < serial < 2**159 for serial in serials)


# Keeping


async def test_the_authority_is_the_same_after_a_restart(key_world: KeyWorld) -> None:
    first = await key_world.tls()
    assert (await key_world.tls()).ca_pem == first.ca_pem
    credentials = await key_world.credentials()
    assert (await key_world.credentials()).certificate_pem == credentials.certificate_pem
    assert first.ca_pem != credentials.certificate_pem


async def test_hosts_widen_the_authority_and_need_a_new_one_once(key_world: KeyWorld) -> None:
    local = await key_world.tls()
    wide = await key_world.tls("plane.example.com", "10.1.2.3")
    assert wide.ca_pem != local.ca_pem
    wide.issue(["localhost", "plane.example.com", "vault.plane.example.com", "10.1.2.3"])
    for name in ("example.com", "10.1.2.4"):
        with pytest.raises(Failure):
            wide.issue([name])
    again = await key_world.tls("10.1.2.3")
    assert issuer_of(again).pem == issuer_of(wide).pem
    assert issuer_of(local).pem in again.ca_pem
    states = [row.value.state for row in await key_world.store.all(SIGNING_KEYS)]
    assert sorted(states) == [KeyState.ACTIVE, KeyState.RETIRED]


async def test_hosts_must_be_names_or_addresses(key_world: KeyWorld) -> None:
    with pytest.raises(Failure) as caught:
        await key_world.tls("https://plane.example.com")
    assert caught.value.kind is FailureKind.INVALID_PARAMETER


async def test_an_authority_near_its_end_is_replaced(key_world: KeyWorld) -> None:
    first = await key_world.tls()
    signed_first = issuer_of(first).pem
    key_world.clock.advance(timedelta(days=7 * 365))
    assert issuer_of(await key_world.tls()).pem == signed_first
    key_world.clock.advance(timedelta(days=3 * 365 - 400))
    assert issuer_of(await key_world.tls()).pem != signed_first


async def test_a_root_planted_in_the_database_is_not_handed_out(key_world: KeyWorld) -> None:
    await key_world.tls()
    (record,) = await key_world.store.all(SIGNING_KEYS, where={"purpose": KeyPurpose.TLS_AUTHORITY.value})
    foreign = issuer_of(await installation(key_world.clock)).anchor
    assert foreign is not None
    for anchor in (foreign.public_bytes(Encoding.DER), record.value.certificate, b"garbage", b""):
        current = await key_world.store.get(SIGNING_KEYS, record.value.id)
        assert current is not None
        planted = replace(record.value, anchor=anchor)
        await key_world.store.commit(Batch.of(Put(collection=SIGNING_KEYS, value=planted, expect=current.version)))
        with pytest.raises(Failure) as caught:
            await key_world.tls()
        assert caught.value.kind is FailureKind.INTERNAL


async def test_nothing_of_an_authority_shows(key_world: KeyWorld) -> None:
    tls, run = await key_world.tls(), RunAuthority.create(FakeClock(), ENTROPY)
    credentials: CredentialAuthority = await key_world.credentials()
    identity = tls.issue(["localhost"])
    shown = " ".join(repr(one) for one in (tls, run, credentials, identity, issuer_of(tls), tls.keys, run._certificates))
    assert "PRIVATE" not in shown
    assert "openssl" not in shown.lower().replace("rust.x509", "")


# Names


@pytest.mark.parametrize("text", ["a" * 64, "a.", "a-.b", "a_b.c"])
def test_labels_have_their_limits(text: str) -> None:
    if text in {"a.", "a_b.c"}:
        assert general_name(text).value == text.removesuffix(".")
    else:
        with pytest.raises(Failure):
            general_name(text)


def test_names_compare_without_case_and_by_whole_labels() -> None:
    permitted = PermittedNames(domains=("azure.com",))
    assert permitted.permit(general_name("Management.AZURE.com"))
    assert permitted.permit(general_name("*.azure.com"))
    assert not permitted.permit(general_name("notazure.com"))
    assert not permitted.permit(general_name("*.com"))
    assert not permitted.permit(general_name("1.2.3.4"))


async def test_a_clock_that_was_wrong_for_a_while_costs_nobody_the_authority_they_trust(key_world: KeyWorld) -> None:
    first = await key_world.tls()
    for years in (20, -20):
        key_world.clock.set(key_world.clock.now() + timedelta(days=365 * years))
        elsewhen = await key_world.tls()
        assert issuer_of(elsewhen).pem != issuer_of(first).pem  # nobody could use the first one then
        assert issuer_of(await key_world.tls()).pem == issuer_of(elsewhen).pem
        key_world.clock.set(key_world.clock.now() - timedelta(days=365 * years))
        assert issuer_of(await key_world.tls()).pem == issuer_of(first).pem
