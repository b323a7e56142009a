"""Machines with SSH host keys, made and certified by OpenSSH's own ssh-keygen."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from tests.attacks.authorities import ssh_keygen
from tests.attacks.joining import Answer, JoinWorld, challenge_of, join_world
from tests.needed import program
from tests.unit.directory.hosts_world import VM

from idplane.agent.attestors import Attestor, attestor_of
from idplane.jose import make_csr, new_ec_key
from idplane.jose.statements import sign_statement
from idplane.model.enrollments import JoinMethod, Trust, join_statement

pytestmark = [
    pytest.mark.wide,
    program("ssh-keygen"),
]
PRINCIPAL = ("principal", "stock.example.com")


@pytest.fixture
async def world() -> AsyncIterator[JoinWorld]:
    async with join_world() as world:
        yield world


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A host's key and two authorities'."""
    for name, kind in (("host", "ed25519"), ("ca", "ed25519"), ("stranger", "ed25519")):
        ssh_keygen("-t", kind, "-N", "", "-f", name, folder=tmp_path)
    return tmp_path


def attestor(keys: Path, name: str = "host") -> Attestor:
    return attestor_of(f"ssh:{keys / name}")


def line(keys: Path, name: str) -> str:
    return " ".join((keys / f"{name}.pub").read_text().split()[:2])


def fingerprint(keys: Path, name: str = "host") -> tuple[str, str]:
    digest = hashlib.sha256(base64.b64decode(line(keys, name).split()[1])).digest()
    return "fingerprint", f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def certify(keys: Path, *options: str, by: str = "ca", host: bool = True, principals: str = "stock.example.com") -> None:
    named = ("-n", principals) if principals else ()
    validity = () if any(one == "-V" for one in options) else ("-V", "20200101:20400101")
    ssh_keygen("-s", by, *(("-h",) if host else ()), "-I", "stock", *named, *validity, *options, "host.pub", folder=keys)


async def refused(world: JoinWorld, answer: Answer, words: str) -> None:
    assert answer.code == (403, "ENROLLMENT_REFUSED"), answer.body
    event = await world.last_event()
    assert words in f"{answer.message} {event.properties['reason']}"
    assert not await world.agents()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_a_machine_with_a_known_host_key(world: JoinWorld, tmp_path: Path, kind: str) -> None:
    ssh_keygen("-t", kind, "-N", "", "-f", "host", folder=tmp_path)
    await world.enrollment(JoinMethod.SSH, facts=(fingerprint(tmp_path),))
    answer, machine = await world.by(attestor(tmp_path))
    assert answer.status == 200, (await world.last_event()).properties
    assert machine is not None
    assert (await machine.host()).status == 200


async def test_a_machine_with_another_host_key(world: JoinWorld, keys: Path) -> None:
    await world.enrollment(JoinMethod.SSH, facts=(fingerprint(keys),))
    answer, _ = await world.by(attestor(keys, "stranger"))
    await refused(world, answer, "no enrollment asks")


async def test_somebody_else_s_public_key(world: JoinWorld, keys: Path) -> None:
    await world.enrollment(JoinMethod.SSH, facts=(fingerprint(keys),))
    challenge = await world.send("POST", "/agent/v1/challenges", {"method": "ssh"})
    csr = make_csr(new_ec_key(), "agent")
    nonce = challenge_of(challenge, csr).nonce
    mine = load_ssh_private_key((keys / "stranger").read_bytes(), None)
    own = load_ssh_private_key((keys / "host").read_bytes(), None)
    for key, statement in (
        (mine, join_statement(JoinMethod.SSH, nonce, csr)),
        (own, join_statement(JoinMethod.X509, nonce, csr)),
        (own, join_statement(JoinMethod.SSH, bytes(32), csr)),
        (own, join_statement(JoinMethod.SSH, nonce, csr + b"x")),
        (own, nonce),
    ):
        signature = base64.b64encode(sign_statement(key, statement)).decode()
        evidence = {"publicKey": line(keys, "host"), "signature": signature}
        answer = await world.join(JoinMethod.SSH, evidence, csr=csr, challenge=challenge.body["challenge"])
        await refused(world, answer, "not signed by the host key")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_a_host_certificate(world: JoinWorld, keys: Path, kind: str) -> None:
    (keys / "ca").unlink()
    ssh_keygen("-t", kind, "-N", "", "-f", "ca", folder=keys)
    certify(keys)
    await world.enrollment(JoinMethod.SSH, trust=Trust(ssh_authority=line(keys, "ca")), facts=(PRINCIPAL,))
    answer, _ = await world.by(attestor(keys))
    assert answer.status == 200, (await world.last_event()).properties
    (agent,) = await world.agents()
    assert {PRINCIPAL, ("keyId", "stock"), fingerprint(keys)} <= set(agent.facts)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"by": "stranger"}, "another authority"),
        ({"host": False}, "a user's"),
        ({"principals": "other.example.com"}, "no enrollment asks"),
        ({"principals": ""}, "principals"),
        ({"options": ("-V", "20200101:20210101")}, "not valid now"),
        ({"options": ("-V", "20390101:20400101")}, "not valid now"),
        ({"options": ("-O", "critical:odd@example.com=x")}, "critical options"),
        (None, "no enrollment asks"),
    ],
)
async def test_certificates_that_prove_nothing(world: JoinWorld, keys: Path, made: dict[str, Any] | None, words: str) -> None:
    await world.enrollment(JoinMethod.SSH, trust=Trust(ssh_authority=line(keys, "ca")), facts=(PRINCIPAL,))
    if made is not None:
        certify(keys, *made.pop("options", ()), **made)
    answer, _ = await world.by(attestor(keys))
    await refused(world, answer, words)


async def test_an_authority_that_signs_over_sha1(world: JoinWorld, keys: Path) -> None:
    (keys / "ca").unlink()
    ssh_keygen("-t", "rsa", "-N", "", "-f", "ca", folder=keys)
    certify(keys, "-t", "ssh-rsa")
    await world.enrollment(JoinMethod.SSH, trust=Trust(ssh_authority=line(keys, "ca")), facts=(PRINCIPAL,))
    answer, _ = await world.by(attestor(keys))
    await refused(world, answer, "SHA-1")


async def test_a_certificate_for_another_key(world: JoinWorld, keys: Path) -> None:
    certify(keys)
    await world.enrollment(JoinMethod.SSH, trust=Trust(ssh_authority=line(keys, "ca")), facts=(PRINCIPAL,))
    shutil.copy(keys / "host-cert.pub", keys / "stranger-cert.pub")
    answer, _ = await world.by(attestor(keys, "stranger"))
    await refused(world, answer, "not one for the host key")


async def test_what_a_certificate_says_proves_nothing_to_whoever_knows_a_key_only(world: JoinWorld, keys: Path) -> None:
    """An enrollment that names a key takes no word of a certificate that anybody may have made."""
    certify(keys, by="stranger")
    await world.enrollment(JoinMethod.SSH, facts=(PRINCIPAL, ("keyType", "ssh-ed25519")))
    answer, _ = await world.by(attestor(keys))
    await refused(world, answer, "")
    await world.enrollment(JoinMethod.SSH, "key", facts=(fingerprint(keys),))
    joined, _ = await world.by(attestor(keys))
    assert joined.body["hosts"] == [VM.key]
    (agent,) = await world.agents()
    assert dict(agent.facts) == dict([fingerprint(keys), ("keyType", "ssh-ed25519")])
