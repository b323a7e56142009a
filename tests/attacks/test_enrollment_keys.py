"""SSH host keys and TPM structures without the programs that make them: what a server must stand from strangers."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.attacks.joining import JoinWorld, join_world

from idplane.agent.attestors import attestor_of
from idplane.directory.tpm_credentials import kdf_a, kdf_e
from idplane.directory.tpm_structures import hash_of, read_public, read_quote, verify_signature
from idplane.jose import new_ec_key
from idplane.model.enrollments import JoinMethod
from idplane.model.failure import Failure, FailureKind

SHA256 = 0x000B


@pytest.fixture
async def world() -> AsyncIterator[JoinWorld]:
    async with join_world() as world:
        yield world


async def test_a_host_key_of_openssh(world: JoinWorld, tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    file = tmp_path / "host"
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    blob = base64.b64decode(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    await world.enrollment(JoinMethod.SSH, facts=(("fingerprint", f"SHA256:{digest}"),))
    answer, machine = await world.by(attestor_of(f"ssh:{file}"))
    assert answer.status == 200, (await world.last_event()).properties
    assert machine is not None
    (tmp_path / "host-cert.pub").write_text("ssh-ed25519-cert-v01@openssh.com AAAA")
    answer, _ = await world.by(attestor_of(f"ssh:{file}"))
    assert answer.code == (403, "ENROLLMENT_REFUSED")


@pytest.mark.parametrize(
    "evidence",
    [
        {},
        {"publicKey": "x", "signature": "AA=="},
        {"publicKey": "ssh-ed25519 AAAA", "signature": "AA=="},
        {"publicKey": "ssh-dss AAAAB3NzaC1kc3MAAAAA", "signature": "AA=="},
        {"publicKey": 5, "signature": "AA=="},
        {"publicKey": "ssh-ed25519 " + "A" * 20_000, "signature": "AA=="},
    ],
)
async def test_host_keys_that_are_none(world: JoinWorld, evidence: object) -> None:
    challenge = (await world.send("POST", "/agent/v1/challenges", {"method": "ssh"})).body["challenge"]
    assert (await world.join(JoinMethod.SSH, evidence, challenge=challenge)).code == (403, "ENROLLMENT_REFUSED")


@pytest.mark.parametrize("argument", ["ssh", "token", "oidc", "x509", "password:x", "", "TPM", "tpm2"])
def test_ways_to_join_that_are_none(argument: str) -> None:
    with pytest.raises(ValueError, match="join"):
        attestor_of(argument)


# TPMs ----------------------------------------------------------------------------------------------------------------


def sized(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def public(key: ec.EllipticCurvePublicKey, attributes: int, *, symmetric: bytes = b"\x00\x10", curve: int = 3) -> bytes:
    """TPM2B_PUBLIC of a P-256 key."""
    numbers = key.public_numbers()
    area = struct.pack(">HHI", 0x23, SHA256, attributes) + sized(b"") + symmetric + b"\x00\x10" + struct.pack(">H", curve)
    return sized(area + b"\x00\x10" + sized(numbers.x.to_bytes(32)) + sized(numbers.y.to_bytes(32)))


RESTRICTED = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16
AES = b"\x00\x06\x00\x80\x00\x43"


def test_what_a_public_area_says() -> None:
    key = new_ec_key().public_key()
    attestation = read_public(public(key, RESTRICTED | 1 << 18), "key")
    endorsement = read_public(public(key, RESTRICTED | 1 << 17, symmetric=AES), "key")
    assert (attestation.is_attestation, attestation.is_endorsement) == (True, False)
    assert (endorsement.is_attestation, endorsement.is_endorsement) == (False, True)
    assert endorsement.symmetric_bits == 128
    assert attestation.name[:2] == b"\x00\x0b"
    assert attestation.name[2:] == hashlib.sha256(attestation.area).digest()


@pytest.mark.parametrize("missing", [1 << 1, 1 << 4, 1 << 5, 1 << 16, 1 << 18])
def test_keys_that_prove_nothing(missing: int) -> None:
    attributes = (RESTRICTED | 1 << 18) & ~missing
    assert not read_public(public(new_ec_key().public_key(), attributes), "key").is_attestation
    both = RESTRICTED | 1 << 17 | 1 << 18
    assert not read_public(public(new_ec_key().public_key(), both, symmetric=AES), "key").is_attestation


def refused(data: bytes) -> None:
    with pytest.raises(Failure) as caught:
        read_public(data, "key")
    assert caught.value.kind is FailureKind.ENROLLMENT_REFUSED


def test_public_areas_that_are_none() -> None:
    good = public(new_ec_key().public_key(), RESTRICTED)
    for length in range(len(good)):
        refused(good[:length])
    refused(good + b"x")
    refused(bytes(4096))
    refused(public(new_ec_key().public_key(), RESTRICTED, curve=9))
    refused(public(new_ec_key().public_key(), RESTRICTED, symmetric=b"\x00\x06\x00\x80\x00\x42"))
    off = bytearray(good)
    off[-1] ^= 1
    refused(bytes(off))


@given(st.binary(max_size=300))
def test_anything_at_all_is_read_or_refused(data: bytes) -> None:
    key = new_ec_key().public_key()
    for read in (lambda: read_public(data, "key"), lambda: read_quote(data), lambda: verify_signature(key, data, b"")):
        with pytest.raises(Failure) as caught:
            read()
        assert caught.value.kind is FailureKind.ENROLLMENT_REFUSED


def test_keys_are_derived_as_the_specification_has_it() -> None:
    """Against SP 800-108 and the concatenation written out, for lengths of one and two rounds."""
    algorithm = hash_of(SHA256)
    long = kdf_a(algorithm, b"k", "STORAGE", b"n", b"", 512)
    assert long[:16] != kdf_a(algorithm, b"k", "STORAGE", b"n", b"", 128)
    assert len(long) == 64
    assert kdf_e(algorithm, b"z", "IDENTITY", b"a", b"b") == hashlib.sha256(b"\0\0\0\1zIDENTITY\0ab").digest()


async def test_challenges_for_chips_that_are_none(world: JoinWorld) -> None:
    for body in ({}, {"ekPublic": "!", "akPublic": "!"}, {"ekPublic": "AAAA", "akPublic": "AAAA"}, {"ekPublic": 5}):
        answer = await world.send("POST", "/agent/v1/challenges", {"method": "tpm", **body})
        assert answer.code == (403, "ENROLLMENT_REFUSED")
        assert (await world.last_event()).operation_id == answer.body["error"]["requestId"]
    large = {"method": "tpm", "ekPublic": "A" * 20_000}
    assert (await world.send("POST", "/agent/v1/challenges", large)).code == (413, "BODY_TOO_LARGE")
