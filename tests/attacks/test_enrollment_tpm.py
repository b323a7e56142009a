"""TPMs, with real ones in software: swtpm, and tpm2-tools as the agent calls them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from tests.attacks.joining import Answer, JoinWorld, challenge_of, join_world
from tests.needed import program
from tests.unit.directory.hosts_world import OTHER_VM

from idplane.agent.attestors import Attestor, attestor_of
from idplane.directory.tpm_structures import read_public
from idplane.jose import make_csr, new_ec_key
from idplane.model.enrollments import JoinMethod, PcrRule, Trust

pytestmark = [
    pytest.mark.wide,
    program("swtpm", "tpm2_quote"),
]


@dataclass(frozen=True)
class Chip:
    """A software TPM that is running."""

    tcti: str
    folder: Path

    def attestor(self) -> Attestor:
        return attestor_of(f"tpm:{self.tcti}")

    def tool(self, command: str, *arguments: str) -> bytes:
        done = subprocess.run(
            [f"tpm2_{command}", *arguments],
            env={"PATH": "/usr/bin:/bin", "TPM2TOOLS_TCTI": self.tcti},
            cwd=self.folder,
            capture_output=True,
            check=True,
        )
        return done.stdout

    async def endorsement(self) -> str:
        """What an enrollment names the chip by."""
        body = await self.attestor().challenge_body()
        key = read_public(base64.b64decode(str(body["ekPublic"])), "key").key
        return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()

    def registers(self, *which: int) -> str:
        self.tool("pcrread", f"sha256:{','.join(map(str, which))}", "-o", "registers")
        return hashlib.sha256((self.folder / "registers").read_bytes()).hexdigest()


@contextmanager
def chip(folder: Path) -> Iterator[Chip]:
    folder.mkdir()
    port = _two_ports()
    process = subprocess.Popen(
        [
            *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}"),
            *("--server", f"type=tcp,port={port},bindaddr=127.0.0.1", "--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1"),
            *("--flags", "not-need-init,startup-clear"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    made = Chip(f"swtpm:host=127.0.0.1,port={port}", folder)
    try:
        _await_chip(made, process)
        yield made
    finally:
        process.kill()
        process.wait()


def _two_ports() -> int:
    """A free port whose successor is free, too: tpm2-tools expect the chip's control port there."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with contextlib.suppress(OSError):
                second.bind(("127.0.0.1", port + 1))
                return port


def _await_chip(made: Chip, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with contextlib.suppress(subprocess.CalledProcessError):
            made.tool("getrandom", "4")
            return
    raise AssertionError("swtpm did not start")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chip]:
    with chip(tmp_path_factory.mktemp("tpm") / "one") as made:
        yield made


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chip]:
    with chip(tmp_path_factory.mktemp("tpm") / "other") as made:
        yield made


@pytest.fixture
async def world() -> AsyncIterator[JoinWorld]:
    async with join_world(replicas=2) as world:
        yield world


async def enrolled(world: JoinWorld, chip: Chip, **trust: Any) -> None:
    facts = (("endorsementKey", await chip.endorsement()),)
    await world.enrollment(JoinMethod.TPM, facts=facts, trust=Trust(**trust))


async def evidence(world: JoinWorld, chip: Chip, csr: bytes) -> tuple[Answer, dict[str, Any]]:
    """A challenge, and what the chip makes of it."""
    attestor = chip.attestor()
    asked = {"method": "tpm", **await attestor.challenge_body()}
    challenge = await world.send("POST", "/agent/v1/challenges", asked)
    assert challenge.status == 200, challenge.body
    return challenge, {**await attestor.evidence(challenge_of(challenge, csr))}


async def refused(world: JoinWorld, challenge: Answer, members: object, csr: bytes, *words: str) -> None:
    answer = await world.join(JoinMethod.TPM, members, csr=csr, challenge=challenge.body["challenge"])
    assert answer.code == (403, "ENROLLMENT_REFUSED"), answer.body
    event = await world.last_event()
    told = f"{answer.message} {event.properties['reason']}"
    assert any(word in told for word in words), told
    assert not await world.agents()


async def test_a_machine_with_the_chip_joins_and_joins_again(world: JoinWorld, one: Chip) -> None:
    await enrolled(world, one)
    first, machine = await world.by(one.attestor())
    assert first.status == 200, (first.body, (await world.last_event()).properties)
    assert machine is not None
    assert (await machine.host()).status == 200
    again, successor = await world.by(one.attestor(), replica=1)
    assert again.status == 200
    assert successor is not None
    assert (await machine.host()).code == (401, "AGENT_UNKNOWN")
    assert (await successor.host()).status == 200
    (agent,) = await world.agents()
    assert agent.facts == (("endorsementKey", await one.endorsement()),)


async def test_another_chip_does_not(world: JoinWorld, one: Chip, other: Chip) -> None:
    await enrolled(world, one)
    answer, _ = await world.by(other.attestor())
    assert answer.code == (403, "ENROLLMENT_REFUSED")
    assert (await world.last_event()).properties["reason"] == "no enrollment asks for such facts"


async def test_the_attestation_key_of_another_chip(world: JoinWorld, one: Chip, other: Chip) -> None:
    """The secret for a key that is not in the endorsement key's chip can't be read there."""
    await enrolled(world, one)
    mine, theirs = await one.attestor().challenge_body(), await other.attestor().challenge_body()
    asked = {**mine, "method": "tpm", "akPublic": theirs["akPublic"]}
    challenge = await world.send("POST", "/agent/v1/challenges", asked)
    csr = make_csr(new_ec_key(), "agent")
    _, members = await evidence(world, other, csr)
    both = {"ekPublic": mine["ekPublic"], "akPublic": theirs["akPublic"]}
    await refused(world, challenge, {**members, **both}, csr, "could not read the challenge")
    await refused(world, challenge, members, csr, "not those that the challenge was made for")


async def test_a_quote_that_is_shown_again(world: JoinWorld, one: Chip) -> None:
    await enrolled(world, one)
    csr = make_csr(new_ec_key(), "agent")
    challenge, members = await evidence(world, one, csr)
    fresh, newer = await evidence(world, one, csr)
    await refused(world, fresh, {**members, "credential": newer["credential"]}, csr, "not those that the challenge")
    stale = {name: members[name] for name in ("quoted", "signature")}
    await refused(world, fresh, {**newer, **stale}, csr, "not signed by its attestation key")
    await refused(world, challenge, members, make_csr(new_ec_key(), "agent"), "not over this challenge and request")
    joined = await world.join(JoinMethod.TPM, members, csr=csr, challenge=challenge.body["challenge"])
    assert joined.status == 200
    again = await world.join(JoinMethod.TPM, members, csr=csr, challenge=challenge.body["challenge"], replica=1)
    assert again.code == (403, "ENROLLMENT_REFUSED")
    assert "used before" in again.message


async def test_what_was_measured(world: JoinWorld, one: Chip) -> None:
    rule = PcrRule(bank="sha256", registers=(0, 16), digest=one.registers(0, 16))
    await enrolled(world, one, pcrs=rule)
    answer, _ = await world.by(one.attestor())
    assert answer.status == 200, (await world.last_event()).properties
    one.tool("pcrextend", f"16:sha256={'11' * 32}")
    try:
        answer, _ = await world.by(one.attestor())
        assert answer.code == (403, "ENROLLMENT_REFUSED")
        assert "other values" in str((await world.last_event()).properties["reason"])
    finally:
        one.tool("pcrreset", "16")


async def test_values_that_were_not_quoted(world: JoinWorld, one: Chip) -> None:
    await enrolled(world, one, pcrs=PcrRule(bank="sha256", registers=(16,), digest=hashlib.sha256(b"\x11" * 32).hexdigest()))
    csr = make_csr(new_ec_key(), "agent")
    challenge, members = await evidence(world, one, csr)
    lies = {**members["pcrValues"], "16": "11" * 32}
    await refused(world, challenge, {**members, "pcrValues": lies}, csr, "not those that were quoted")
    for values in (None, {}, {"16": "11" * 32}, {"x": "11" * 32}, {"16": 5}, [1]):
        await refused(world, challenge, {**members, "pcrValues": values}, csr, "values")


@pytest.mark.parametrize(
    "attributes",
    [
        "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign",
        "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt",
        "sensitivedataorigin|userwithauth|restricted|sign",
    ],
)
async def test_keys_that_sign_for_others_or_leave_the_chip(world: JoinWorld, one: Chip, attributes: str) -> None:
    await enrolled(world, one)
    kind = "ecc256:aes128cfb" if "decrypt" in attributes else "ecc256:ecdsa:null"
    one.tool("createprimary", "-C", "o", "-G", kind, "-a", attributes, "-c", "odd.ctx")
    one.tool("readpublic", "-c", "odd.ctx", "-o", "odd.pub")
    one.tool("flushcontext", "-t")
    odd = base64.b64encode((one.folder / "odd.pub").read_bytes()).decode()
    asked = {"method": "tpm", **await one.attestor().challenge_body(), "akPublic": odd}
    answer = await world.send("POST", "/agent/v1/challenges", asked)
    assert answer.code == (403, "ENROLLMENT_REFUSED")
    assert "attestation key" in answer.message


async def test_the_maker_s_certificate(world: JoinWorld, one: Chip, other: Chip) -> None:
    maker = new_ec_key()
    authorities = _authority(maker)
    await world.enrollment(
        JoinMethod.TPM, trust=Trust(authorities=authorities), facts=(("manufacturer", "id:49445000"), ("serial", "7"))
    )
    csr = make_csr(new_ec_key(), "agent")
    challenge, members = await evidence(world, one, csr)
    key = read_public(base64.b64decode(members["ekPublic"]), "key").key
    await refused(world, challenge, members, csr, "no enrollment asks")
    theirs = (await other.attestor().challenge_body())["ekPublic"]
    stranger = read_public(base64.b64decode(str(theirs)), "key").key
    await refused(world, challenge, {**members, "ekCertificate": _certified(maker, stranger)}, csr, "another endorsement key")
    forged = _certified(new_ec_key(), key)
    await refused(world, challenge, {**members, "ekCertificate": forged}, csr, "does not chain")
    good = {**members, "ekCertificate": _certified(maker, key)}
    answer = await world.join(JoinMethod.TPM, good, csr=csr, challenge=challenge.body["challenge"])
    assert answer.status == 200, (await world.last_event()).properties
    (agent,) = await world.agents()
    assert ("manufacturer", "id:49445000") in agent.facts


async def test_two_enrollments_of_one_chip_are_none(world: JoinWorld, one: Chip) -> None:
    await enrolled(world, one)
    await world.enrollment(JoinMethod.TPM, host=OTHER_VM, facts=(("endorsementKey", await one.endorsement()),))
    answer, _ = await world.by(one.attestor())
    assert answer.code == (403, "ENROLLMENT_REFUSED")
    assert "other-vm" not in answer.message
    joined, _ = await world.by(one.attestor(), host=str(OTHER_VM))
    assert joined.body["hosts"] == [OTHER_VM.key]


def _authority(key: ec.EllipticCurvePrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Maker")])
    now = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=36500))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _certified(maker: ec.EllipticCurvePrivateKey, key: Any) -> str:
    """As the TCG's profile has them: no subject, and the chip's maker in the alternative name."""
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Maker")])
    now = datetime(2020, 1, 1, tzinfo=UTC)
    chip_name = x509.Name([x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.1"), "id:49445000")])
    builder = x509.CertificateBuilder(issuer, x509.Name([]), key, 7, now, now + timedelta(days=36500))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DirectoryName(chip_name)]), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.1")]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return base64.b64encode(builder.sign(maker, hashes.SHA256()).public_bytes(Encoding.DER)).decode()
