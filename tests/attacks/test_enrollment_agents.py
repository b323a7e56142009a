"""What becomes of agents: renewals, copies of their state, bans, and what one may never get. Refusals are on record."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from tests.attacks.joining import UNHURRIED, Answer, JoinWorld, Machine, join_world
from tests.attacks.table import met, met_by, records, told
from tests.unit.directory.hosts_world import OTHER_VM, VM

from idplane.jose import Algorithm, Signer, b64url, certificate_thumbprint, make_csr, new_ec_key
from idplane.model.directory import AgentState
from idplane.model.enrollments import Carriage, JoinMethod
from idplane.model.events import EventStatus
from idplane.model.failure import FailureKind
from idplane.model.rates import EnrollmentRates, Rate
from idplane.ports.agent_records import credentials_ended
from idplane.ports.collections import ACTIVITY, AGENT_SIGHTINGS, AGENTS, CARRIAGES, CREDENTIALS, SIGN_INS
from idplane.ports.store import ABSENT, Batch, Delete, Put

HERE, THERE = "192.0.2.1", "203.0.113.9"


@pytest.fixture
async def world() -> AsyncIterator[JoinWorld]:
    async with join_world(replicas=2) as world:
        yield world


async def ban(world: JoinWorld, machine: Machine) -> None:
    found = await world.store.get(AGENTS, machine.agent_id)
    assert found is not None
    banned = replace(found.value, state=AgentState.BANNED)
    ended = await credentials_ended(world.store, machine.agent_id)
    await world.store.commit(ended + Batch.of(Put(collection=AGENTS, value=banned, expect=found.version)))


async def certified(machine: Machine) -> tuple[str, Signer]:
    """A certificate for the machine's identity, and what signs with its key."""
    key = new_ec_key()
    csr = base64.b64encode(make_csr(key, "x")).decode()
    body = {"host": str(VM), "principalId": machine.world.system.id, "csr": csr}
    answer = await machine.ask("POST", "/agent/v1/certificates", body)
    assert answer.status == 200, answer.body
    thumbprint = certificate_thumbprint(base64.b64decode(answer.body["certificate"]))
    return answer.body["credentialId"], Signer(key, Algorithm.ES256, {"x5t#S256": b64url(bytes.fromhex(thumbprint))})


async def token(machine: Machine, signer: Signer, *, connection: bytes | None = None, replica: int = 0) -> Answer:
    """What the token service answers to an assertion of the identity's key over a connection."""
    world = machine.world
    tenant, client = world.servers[0].installation.tenant.id, world.system.client_id
    now = int(world.clock.now().timestamp())
    assertion = signer.sign(
        {
            "aud": f"https://localhost/{tenant}/oauth2/token",
            "iss": client,
            "sub": client,
            "iat": now,
            "exp": now + 600,
            "jti": world.entropy.guid(),
        }
    )
    form = {
        "grant_type": "client_credentials",
        "client_id": client,
        "resource": "https://management.azure.com/",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    shown = machine.certificate if connection is None else connection
    return await world.send(
        "POST", f"/{tenant}/oauth2/token", urlencode(form).encode(), headers, replica=replica, certificate=shown or None
    )


# Renewals and copies -------------------------------------------------------------------------------------------------


async def test_a_renewed_certificate_replaces_its_predecessor(world: JoinWorld) -> None:
    machine = await world.joined()
    answer = await machine.renew()
    assert answer.body["hosts"] == [VM.key]
    assert (await machine.host()).status == 200, "until the successor is used"
    machine.accept(answer)
    assert (await machine.host()).status == 200
    record = await machine.record()
    assert record is not None
    assert record.confirmed
    lifetime = x509.load_der_x509_certificate(machine.certificate).not_valid_after_utc - world.clock.now()
    assert lifetime <= UNHURRIED.agent_certificate_lifetime


async def test_an_answer_that_got_lost_costs_nothing(world: JoinWorld) -> None:
    """The server has committed, and the agent has crashed before it wrote the successor down."""
    machine = await world.joined()
    for _ in range(3):
        await machine.renew()
        assert (await machine.host()).status == 200
    machine.accept(await machine.renew())
    assert (await machine.host()).status == 200


async def test_a_copy_that_falls_behind_locks_both(world: JoinWorld) -> None:
    machine = await world.joined(address=HERE)
    credential, signer = await certified(machine)
    copy = machine.copied(THERE)
    machine.accept(await machine.renew())
    assert (await machine.host()).status == 200
    answer = await copy.host()
    await _is_locked(world, machine, HERE, THERE)
    await met("copied", world, answer)
    count = len(await world.store.read_log(ACTIVITY, limit=100))
    for _ in range(5):
        assert (await copy.host()).code == (403, "AGENT_LOCKED")
    assert len(await world.store.read_log(ACTIVITY, limit=100)) == count, "it has just been told"
    assert (await machine.host()).code == (403, "AGENT_LOCKED")
    assert await world.store.get(CREDENTIALS, credential) is None
    assert (await token(machine, signer)).status == 401


async def test_a_copy_that_gets_ahead_locks_both(world: JoinWorld) -> None:
    machine = await world.joined(address=HERE)
    copy = machine.copied(THERE)
    copy.accept(await copy.renew())
    assert (await copy.host()).status == 200
    assert (await machine.host()).code == (403, "AGENT_LOCKED")
    await _is_locked(world, machine, HERE, THERE)
    assert (await copy.host()).code == (403, "AGENT_LOCKED")
    assert (await copy.renew()).code == (403, "AGENT_LOCKED")


async def test_two_that_renew_at_once_are_found_out(world: JoinWorld) -> None:
    machine = await world.joined(address=HERE)
    copy = machine.copied(THERE)
    theirs = await copy.renew()
    machine.accept(await machine.renew())
    copy.accept(theirs)
    assert (await machine.host()).status == 200
    assert (await copy.host()).code == (403, "AGENT_LOCKED")
    await _is_locked(world, machine, HERE, THERE)


async def _is_locked(world: JoinWorld, machine: Machine, *addresses: str) -> None:
    record = await machine.record()
    assert record is not None
    assert record.state is AgentState.LOCKED
    assert set(addresses) <= set(record.addresses)
    assert all(one in record.state_because for one in addresses)
    event = await world.last_event()
    assert event.operation == "Idplane.Workloads/agents/lock/action"
    assert event.resource_id.startswith(f"{VM}/providers/Idplane.Workloads/agents/")
    assert set(addresses) <= {event.properties["shownFrom"], event.properties["renewedFrom"]}


DOORS = {
    "token service": ("POST", "/{tenant}/oauth2/token"),
    "keys": ("GET", "/{tenant}/discovery/keys"),
    "Resource Manager": ("GET", "/subscriptions"),
    "Graph": ("GET", "/v1.0/users"),
    "log": ("GET", "/log/checkpoint"),
}


async def knock(machine: Machine, door: str, **more: Any) -> Answer:
    """Show the certificate where no agent's proof is asked for."""
    method, path = DOORS[door]
    path = path.format(tenant=machine.world.servers[0].installation.tenant.id)
    return await machine.world.send(
        method, path, b"", address=machine.address, replica=machine.replica, certificate=machine.certificate, **more
    )


@pytest.mark.parametrize("door", DOORS)
async def test_a_copy_locks_both_at_every_door(world: JoinWorld, door: str) -> None:
    machine = await world.joined(address=HERE)
    copy = machine.copied(THERE)
    machine.accept(await machine.renew())
    first = await knock(copy, door)
    assert (await machine.host()).status == 200, "its successor was not used yet"
    assert (await knock(copy, door)).status == first.status
    world.clock.advance(1)
    assert (await machine.host()).status == 200
    assert (await knock(copy, door)).status == first.status, "what it is worth there is another matter"
    await _is_locked(world, machine, HERE, THERE)
    for one in (machine, copy):
        assert (await one.host()).code == (403, "AGENT_LOCKED")


async def test_a_copy_at_the_token_service_gets_nothing(world: JoinWorld) -> None:
    machine = await world.joined(address=HERE)
    _, signer = await certified(machine)
    copy = machine.copied(THERE)
    machine.accept(await machine.renew())
    assert (await machine.host()).status == 200
    assert (await token(copy, signer)).status == 401
    world.clock.advance(1)
    await met("copied-elsewhere", world, await token(copy, signer))
    record = await machine.record()
    assert record is not None
    assert record.state is AgentState.LOCKED
    assert (await token(machine, signer)).status == 401, "nor does the host, from now on"


async def test_a_connection_from_before_the_renewal_locks_nobody(world: JoinWorld) -> None:
    """Its requests may have been under way when the agent renewed, for as long as a process can be frozen."""
    machine = await world.joined()
    before, began = machine.copied(HERE), world.clock.monotonic()
    machine.accept(await machine.renew())
    assert (await machine.host()).status == 200
    for _ in range(3):
        world.clock.advance(60)
        await knock(before, "token service", connected_at=began)
    assert (await machine.host()).status == 200
    await knock(before, "token service")
    assert (await machine.host()).code == (403, "AGENT_LOCKED")


async def test_certificates_that_never_were_the_agent_s_lock_nobody(world: JoinWorld) -> None:
    machine, other = await world.joined(), await world.joined(OTHER_VM)
    for stranger in (replace(other, agent_id=machine.agent_id), replace(machine, agent_id=other.agent_id)):
        await met("unknown", world, await stranger.host())
    assert (await machine.host()).status == 200
    assert (await other.host(OTHER_VM)).status == 200


async def test_a_replaced_certificate_that_is_over_is_only_refused(world: JoinWorld) -> None:
    machine = await world.joined()
    copy = machine.copied(THERE)
    world.clock.advance(timedelta(hours=13))
    machine.accept(await machine.renew())
    assert (await machine.host()).status == 200
    world.clock.advance(timedelta(hours=11, minutes=1))
    assert (await copy.host()).code == (401, "AGENT_UNKNOWN")
    assert (await machine.host()).status == 200


async def test_proofs_belong_to_their_connection(world: JoinWorld) -> None:
    machine, other = await world.joined(), await world.joined(OTHER_VM)
    for connection in (other.certificate, b"", b"nonsense"):
        answer = await machine.ask("GET", f"/agent/v1/host?id={VM}", connection=connection)
        await met("unknown", world, answer)
    proof = machine.proof()
    headers = {"Authorization": f"Bearer {proof}"}
    first = await world.send("GET", f"/agent/v1/host?id={VM}", None, headers, certificate=machine.certificate)
    assert first.status == 200
    again = await world.send("GET", f"/agent/v1/host?id={VM}", None, headers, certificate=other.certificate, replica=1)
    assert again.code == (401, "AGENT_UNKNOWN")


async def test_a_name_in_the_request_is_no_name_in_the_certificate(world: JoinWorld) -> None:
    """Nothing of a certificate request counts but its key."""
    key = new_ec_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "embedded")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    names = [x509.UniformResourceIdentifier("urn:idplane:agent:embedded"), x509.DNSName("localhost")]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    csr = builder.sign(key, hashes.SHA256())
    text = await world.token(await world.enrollment(JoinMethod.TOKEN))
    answer = await world.join(JoinMethod.TOKEN, {"token": text}, csr=csr.public_bytes(Encoding.DER))
    made = x509.load_der_x509_certificate(base64.b64decode(answer.body["certificate"]))
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    found = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(found) == [x509.UniformResourceIdentifier(f"urn:idplane:agent:{answer.body['agentId']}")]
    assert made.subject.rfc4514_string() == f"CN={answer.body['agentId']}"
    record = told(await records(world), (await world.last_event()).operation_id)
    met_by("csr-names", answer=f"{answer.status}, a certificate with our names and no others", record=record)


@pytest.mark.parametrize("csr", [b"", b"x", b"\x30\x03\x02\x01\x00", b"A" * 9000])
async def test_requests_that_are_none(world: JoinWorld, csr: bytes) -> None:
    text = await world.token(await world.enrollment(JoinMethod.TOKEN))
    await met("csr-bent", world, await world.join(JoinMethod.TOKEN, {"token": text}, csr=csr))
    assert (await world.join(JoinMethod.TOKEN, {"token": text})).status == 200, "the token is still good"


# What an agent may get -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [
        lambda _: ("GET", f"/agent/v1/host?id={OTHER_VM}", None),
        lambda it: ("POST", "/agent/v1/certificates", {"host": str(OTHER_VM), "principalId": it.shared.id, "csr": _csr()}),
        lambda _: ("POST", "/agent/v1/projected-tokens", {"host": str(OTHER_VM)}),
    ],
    ids=["description", "identity", "projected token"],
)
async def test_other_hosts(world: JoinWorld, ask: Callable[[JoinWorld], tuple[str, str, object]]) -> None:
    machine = await world.joined()
    answer = await machine.ask(*ask(world))
    await met("other-host", world, answer)
    event = await world.last_event()
    assert (event.status, event.sub_status, event.operation_id) == (
        EventStatus.FAILED,
        "HOST_NOT_BOUND",
        answer.body["error"]["requestId"],
    )
    assert (await machine.host()).status == 200, "its own is served"


async def test_another_host_s_identity_under_the_own_name(world: JoinWorld) -> None:
    machine = await world.joined()
    body = {"host": str(VM), "principalId": world.shared.id, "csr": _csr()}
    await met("other-identity", world, await machine.ask("POST", "/agent/v1/certificates", body))
    assert ((await world.last_event()).sub_status, (await machine.host()).status) == ("NOT_ENTITLED", 200)
    count = len(await world.store.read_log(ACTIVITY, limit=100))
    for _ in range(3):
        assert (await machine.ask("POST", "/agent/v1/certificates", body)).status == 400
    assert len(await world.store.read_log(ACTIVITY, limit=100)) == count, "once a minute: an agent must not fill the log"


async def test_what_is_carried_is_served_while_it_is_carried(world: JoinWorld) -> None:
    enrollment = await world.enrollment(JoinMethod.TOKEN)
    carriage = Carriage(enrollment_id=enrollment.id, resource=OTHER_VM)
    await world.store.commit(Batch.of(Put(collection=CARRIAGES, value=carriage, expect=ABSENT)))
    key = new_ec_key()
    answer = await world.join(JoinMethod.TOKEN, {"token": await world.token(enrollment)}, key=key)
    assert answer.body["hosts"] == [VM.key, OTHER_VM.key]
    machine = world.machine(answer, key)
    assert machine is not None
    assert (await machine.host(OTHER_VM)).status == 200
    await world.store.commit(Batch.of(Delete(collection=CARRIAGES, key=carriage.key)))
    assert (await machine.host(OTHER_VM)).code == (403, "HOST_NOT_BOUND")
    body = {"host": str(OTHER_VM), "principalId": world.shared.id, "csr": _csr()}
    assert (await machine.ask("POST", "/agent/v1/certificates", body)).code == (403, "HOST_NOT_BOUND")


async def test_identities_are_proved_by_their_agent_s_connection_only(world: JoinWorld) -> None:
    machine, other = await world.joined(), await world.joined(OTHER_VM)
    _, signer = await certified(machine)
    good = await token(machine, signer)
    assert good.status == 200, good.body
    for replica in (0, 1):
        for connection in (other.certificate, b""):
            stolen = await token(machine, signer, connection=connection, replica=replica)
            await met("stolen-key", world, stolen)
            assert "does not prove the agent" in stolen.body["error_description"]
            (record,) = await world.store.read_log(SIGN_INS, limit=1)
            assert (record.event.error_code, record.event.principal_id) != (0, None)
    machine.accept(await machine.renew())
    assert (await token(machine, signer)).status == 200, "an identity's certificate outlives its agent's"


# Bans ----------------------------------------------------------------------------------------------------------------


async def test_a_ban_counts_at_the_next_request_on_every_replica(world: JoinWorld) -> None:
    machine = await world.joined()
    _, signer = await certified(machine)
    await ban(world, machine)
    for replica in (0, 1):
        machine.replica = replica
        answer = await machine.host()
        await met("banned", world, answer)
        event = await world.last_event()
        assert (event.sub_status, event.operation_id) == ("AGENT_BANNED", answer.body["error"]["requestId"])
        assert (await machine.renew()).code == (403, "AGENT_BANNED")
        assert (await token(machine, signer, replica=replica)).status == 401


async def test_a_ban_ends_the_wait_for_changes_at_once(world: JoinWorld) -> None:
    machine = await world.joined()
    position = await world.store.position()
    waiting = asyncio.ensure_future(machine.ask("GET", f"/agent/v1/changes?after={position}&wait=30"))
    for _ in range(20):
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    assert not waiting.done()
    await ban(world, machine)
    assert (await waiting).code == (403, "AGENT_BANNED")


async def test_a_removed_agent_hears_it_at_once(world: JoinWorld) -> None:
    machine = await world.joined()
    position = await world.store.position()
    waiting = asyncio.ensure_future(machine.ask("GET", f"/agent/v1/changes?after={position}&wait=30"))
    for _ in range(20):
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    await world.store.commit(Batch.of(Delete(collection=AGENTS, key=machine.agent_id)))
    assert (await waiting).code == (401, "AGENT_UNKNOWN")


async def test_when_agents_were_seen_is_written_once_a_minute(world: JoinWorld) -> None:
    machine = await world.joined(address=HERE)
    first, second = world.servers
    before = await world.store.position()
    for _ in range(5):
        await machine.host()
    assert await world.store.position() == before, "a request writes nothing"
    await first.sightings.turn()
    world.clock.advance(30)
    machine.replica, machine.address = 1, THERE
    await machine.host()
    await second.sightings.turn()
    await second.sightings.turn()
    (row,) = await world.store.all(AGENT_SIGHTINGS)
    assert row.value.seen[machine.agent_id].address == THERE
    assert row.version == 2
    world.clock.advance(timedelta(days=91))
    other = await world.joined(OTHER_VM, address=HERE, name="other")
    await other.host(OTHER_VM)
    await first.sightings.turn()
    rows = {name for one in await world.store.all(AGENT_SIGHTINGS) for name in one.value.seen}
    assert other.agent_id in rows


# Floods --------------------------------------------------------------------------------------------------------------


async def test_attempts_are_counted_by_address_and_altogether() -> None:
    rates = EnrollmentRates(address=Rate(3, 1), altogether=Rate(5, 1))
    async with join_world(profile=replace(UNHURRIED, enrollment_rates=rates)) as world:
        codes = [(await world.join(JoinMethod.TOKEN, {"token": "x"}, address=HERE)).status for _ in range(4)]
        assert codes == [403, 403, 403, 429]
        await met("join-flood", world, await world.join(JoinMethod.TOKEN, {"token": "x"}, address=HERE))
        asked = [await world.send("POST", "/agent/v1/challenges", {"method": "ssh"}, address=THERE) for _ in range(3)]
        assert [one.status for one in asked] == [200, 200, 429]
        assert asked[-1].code == (429, FailureKind.THROTTLED.name)
        world.clock.advance(2)
        assert (await world.join(JoinMethod.TOKEN, {"token": "x"}, address=THERE)).status == 403


async def test_a_refusal_is_on_record_with_its_id(world: JoinWorld) -> None:
    answer = await world.join(JoinMethod.TOKEN, {"token": "x"}, address=THERE)
    event = await world.last_event()
    assert event.operation_id == answer.body["error"]["requestId"]
    assert (event.status, event.client_address) == (EventStatus.FAILED, THERE)
    assert json.dumps(dict(event.properties))


def _csr() -> str:
    return base64.b64encode(make_csr(new_ec_key(), "x")).decode()
