"""Machines with certificates of their owner's authority."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.attacks.authorities import Authority, named, pem_files
from tests.attacks.joining import Answer, JoinWorld, challenge_of, join_world
from tests.attacks.table import met
from tests.unit.directory.hosts_world import OTHER_VM, VM

from idplane.agent.attestors import attestor_of
from idplane.jose import make_csr, new_ec_key
from idplane.jose.statements import sign_statement
from idplane.model.enrollments import JoinMethod, Trust, join_statement
from idplane.model.events import EventStatus
from idplane.model.failure import Failure

DNS = ("dns", "stock.example.com")


@pytest.fixture
async def world() -> AsyncIterator[JoinWorld]:
    async with join_world(replicas=2) as world:
        yield world


@pytest.fixture
def authority() -> Authority:
    return Authority()


async def challenged(world: JoinWorld, method: str = "x509", replica: int = 0) -> Answer:
    return await world.send("POST", "/agent/v1/challenges", {"method": method}, replica=replica)


async def show(
    world: JoinWorld, key: Any, chain: Sequence[x509.Certificate], *, challenge: Answer | None = None, signed: Any = None
) -> Answer:
    """What a machine that writes its own evidence gets."""
    answer = challenge or await challenged(world)
    csr = make_csr(new_ec_key(), "agent")
    statement = join_statement(JoinMethod.X509, challenge_of(answer, csr).nonce, csr)
    evidence = {
        "chain": [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in chain],
        "signature": base64.b64encode(sign_statement(signed or key, statement)).decode(),
    }
    return await world.join(JoinMethod.X509, evidence, csr=csr, challenge=answer.body["challenge"])


async def refused(world: JoinWorld, answer: Answer, words: str, row: str | None = None) -> None:
    assert answer.code == (403, "ENROLLMENT_REFUSED"), answer.body
    event = await world.last_event()
    assert (event.status, event.sub_status) == (EventStatus.FAILED, "ENROLLMENT_REFUSED")
    assert words in f"{answer.message} {event.properties['reason']}"
    assert not await world.agents()
    if row is not None:
        await met(row, world, answer)


@pytest.mark.parametrize(
    "key", [new_ec_key(), ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)], ids=["ec", "ed", "rsa"]
)
async def test_a_machine_with_a_certificate(world: JoinWorld, authority: Authority, tmp_path: Path, key: Any) -> None:
    await world.enrollment(JoinMethod.X509, trust=Trust(authorities=authority.pem), facts=(DNS,))
    below = Authority("Rack 7", authority, path_length=0)
    leaf = below.leaf(key.public_key())
    attestor = attestor_of(f"x509:{pem_files(tmp_path, key, leaf, below.certificate)}")
    answer, machine = await world.by(attestor)
    assert answer.status == 200, (await world.last_event()).properties
    assert machine is not None
    (agent,) = await world.agents()
    assert DNS in agent.facts
    assert ("serial", f"{leaf.serial_number:x}") in agent.facts
    _, successor = await world.by(attestor, replica=1)
    assert successor is not None
    assert (await machine.host()).code == (401, "AGENT_UNKNOWN")
    assert (await successor.host()).status == 200


async def test_who_asks_for_what(world: JoinWorld, authority: Authority) -> None:
    """The same authority vouches for many machines: names decide which host each is."""
    trust = Trust(authorities=authority.pem)
    await world.enrollment(JoinMethod.X509, trust=trust, facts=(DNS,))
    await world.enrollment(
        JoinMethod.X509, host=OTHER_VM, trust=trust, expression="claims['dns'] matches 'other-*.example.com'"
    )
    key = new_ec_key()
    joined = await show(world, key, [authority.leaf(key.public_key(), "other-9.example.com")])
    assert joined.body["hosts"] == [OTHER_VM.key]
    joined = await show(world, key, [authority.leaf(key.public_key())])
    assert joined.body["hosts"] == [VM.key]


@pytest.mark.parametrize("name", ["other.example.com", "STOCK.example.com", "stock.example.com.evil.example", "*.example.com"])
async def test_other_names(world: JoinWorld, authority: Authority, name: str) -> None:
    await world.enrollment(JoinMethod.X509, trust=Trust(authorities=authority.pem), facts=(DNS,))
    key = new_ec_key()
    await refused(world, await show(world, key, [authority.leaf(key.public_key(), name)]), "no enrollment asks")


async def test_several_that_fit_are_none(world: JoinWorld, authority: Authority) -> None:
    for host in (VM, OTHER_VM):
        await world.enrollment(JoinMethod.X509, host=host, trust=Trust(authorities=authority.pem), facts=(DNS,))
    key = new_ec_key()
    answer = await show(world, key, [authority.leaf(key.public_key())])
    await refused(world, answer, "several enrollments")
    assert "vm" not in answer.message.lower()


async def test_chains_that_prove_nothing(world: JoinWorld, authority: Authority) -> None:
    await world.enrollment(JoinMethod.X509, trust=Trust(authorities=authority.pem), facts=(DNS,))
    key = new_ec_key()
    public = key.public_key()
    stranger, twin = Authority("Stranger"), Authority()
    machine = Authority("machine", authority, path_length=0)
    machine.certificate = authority.leaf(machine.key.public_key(), "machine")
    deep = Authority("deep", Authority("middle", authority, path_length=0), path_length=0)
    unknown = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
    chains = [
        [stranger.leaf(public)],
        [stranger.leaf(public), stranger.certificate],
        [twin.leaf(public), twin.certificate],
        [machine.leaf(public), machine.certificate],
        [deep.leaf(public), deep.certificate, deep.above.certificate],  # type: ignore[union-attr]  # it has one
        [deep.leaf(public)],
        [authority.leaf(public, usage=(ExtendedKeyUsageOID.SERVER_AUTH,))],
        [authority.leaf(public, usage=())],
        [authority.leaf(public, days=1)],
        [authority.leaf(public, further=(unknown,))],
    ]
    for chain in chains:
        await refused(world, await show(world, key, chain), "does not chain")


async def test_loops_and_long_chains_end(world: JoinWorld, authority: Authority) -> None:
    await world.enrollment(JoinMethod.X509, trust=Trust(authorities=authority.pem), facts=(DNS,))
    key = new_ec_key()
    left, right = Authority("left", path_length=None), Authority("right", path_length=None)
    cross = [
        left._sign(named("right"), right.key.public_key(), [(x509.BasicConstraints(ca=True, path_length=None), True)]),
        right._sign(named("left"), left.key.public_key(), [(x509.BasicConstraints(ca=True, path_length=None), True)]),
    ]
    leaf = left.leaf(key.public_key())
    await refused(world, await show(world, key, [leaf, *cross, *cross, *cross]), "does not chain")
    await refused(world, await show(world, key, [leaf, *cross * 4]), "1 to 8 certificates", "chain-long")
    chain = [Authority("0", authority, path_length=None)]
    for at in range(1, 7):
        chain.append(Authority(str(at), chain[-1], path_length=None))
    certificates = [one.certificate for one in reversed(chain)]
    await refused(world, await show(world, key, [chain[-1].leaf(key.public_key()), *certificates]), "does not chain")


async def test_a_certificate_of_somebody_else(world: JoinWorld, authority: Authority) -> None:
    await world.enrollment(JoinMethod.X509, trust=Trust(authorities=authority.pem), facts=(DNS,))
    key = new_ec_key()
    answer = await show(world, key, [authority.leaf(key.public_key())], signed=new_ec_key())
    await refused(world, answer, "not signed by the certificate's key")


async def test_challenges_count_once_for_their_method_and_time(world: JoinWorld, authority: Authority) -> None:
    await world.enrollment(JoinMethod.X509, trust=Trust(authorities=authority.pem), facts=(DNS,))
    key = new_ec_key()
    chain = [authority.leaf(key.public_key())]
    await refused(
        world, await show(world, key, chain, challenge=await challenged(world, "ssh")), "for another method", "nonce-other"
    )
    old = await challenged(world, replica=1)
    world.clock.advance(120)
    await refused(world, await show(world, key, chain, challenge=old), "expired", "nonce-other")
    fresh = await challenged(world, replica=1)
    assert (await show(world, key, chain, challenge=fresh)).status == 200
    again = await show(world, key, chain, challenge=fresh)
    await met("nonce-again", world, again)
    assert "used before" in again.message


@pytest.mark.parametrize("text", ["", "x", "AAAA", "A" * 9000, "\u00e9", 5, None])
async def test_challenges_of_nobody(world: JoinWorld, authority: Authority, text: object) -> None:
    answer = await world.join(JoinMethod.X509, {"chain": [], "signature": ""}, challenge=text)
    assert answer.status in (400, 403)
    assert not await world.agents()


@pytest.mark.parametrize(
    "evidence",
    [
        {},
        {"chain": "x", "signature": "AA=="},
        {"chain": [], "signature": "AA=="},
        {"chain": [5], "signature": "AA=="},
        {"chain": ["!"], "signature": "AA=="},
        {"chain": ["AAAA"] * 9, "signature": "AA=="},
        {"chain": ["AAAA"], "signature": "AA=="},
        {"chain": [None], "signature": None},
    ],
)
async def test_evidence_that_is_none(world: JoinWorld, evidence: object) -> None:
    challenge = (await challenged(world)).body["challenge"]
    answer = await world.join(JoinMethod.X509, evidence, challenge=challenge)
    assert answer.code == (403, "ENROLLMENT_REFUSED")


async def test_certificates_that_are_too_large(world: JoinWorld, authority: Authority) -> None:
    key = new_ec_key()
    vast = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x04\x82\xc3\x50" + b"a" * 50_000), False)
    answer = await show(world, key, [authority.leaf(key.public_key(), further=(vast,))])
    await met("certificate-vast", world, answer)
    weak = rsa.generate_private_key(65537, 1024)
    with pytest.raises(Failure):
        sign_statement(weak, b"x")
    await refused(
        world, await show(world, key, [authority.leaf(weak.public_key())]), "neither RSA of 2048 to 8192 bits", "key-odd"
    )


@pytest.mark.parametrize("argument", ["", "a", "a,", ",b"])
def test_arguments_that_name_no_files(argument: str) -> None:
    with pytest.raises(ValueError, match="needs two files"):
        attestor_of(f"x509:{argument}")


async def test_files_that_will_not_do(world: JoinWorld, authority: Authority, tmp_path: Path) -> None:
    key = new_ec_key()
    argument = pem_files(tmp_path, key, authority.leaf(new_ec_key().public_key()))
    answer, _ = await _tried(world, f"x509:{argument}")
    assert "is not the key of" in answer
    (tmp_path / "key.pem").chmod(0o644)
    answer, _ = await _tried(world, f"x509:{argument}")
    assert "by everybody" in answer
    (tmp_path / "chain.pem").write_text("nothing")
    answer, _ = await _tried(world, f"x509:{argument}")
    assert "holds no certificates" in answer
    answer, _ = await _tried(world, f"x509:{tmp_path / 'none'},{tmp_path / 'none'}")
    assert "can't be read" in answer


async def _tried(world: JoinWorld, text: str) -> tuple[str, object]:
    with pytest.raises(Failure) as caught:
        await world.by(attestor_of(text))
    return caught.value.detail, caught.value.kind
