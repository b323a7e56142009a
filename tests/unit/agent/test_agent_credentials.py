"""Certificates of identities: born here, renewed at half life, replaced when refused, gone when the identity is."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

import pytest
from tests.unit.agent.agent_world import (
    ARM,
    OTHER_VM,
    SHARED,
    SYSTEM,
    TENANT,
    VM,
    AgentWorld,
    change,
    get,
    settle,
    token_error,
    token_target,
)

from idplane.agent.host import Dialect
from idplane.jose import parse
from idplane.model.failure import Failure, FailureKind

VAULT = "https://vault.azure.net"
CERTIFICATES = "/agent/v1/certificates"


async def fetch(world: AgentWorld, resource: str) -> None:
    await world.agent.token(VM, None, resource)


def live_thumbprints(world: AgentWorld) -> list[object]:
    return [parse(form["client_assertion"]).header["x5t#S256"] for form in world.server.forms]


async def test_an_assertion_is_what_the_token_service_wants(world: AgentWorld) -> None:
    await fetch(world, ARM)
    (form,) = world.server.forms
    assert form["grant_type"] == "client_credentials"
    assert form["client_id"] == SYSTEM.client_id
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assertion = parse(form["client_assertion"])
    now = int(world.clock.now().timestamp())
    assert assertion.header["alg"] == "ES256"
    assert assertion.header["x5t#S256"] in world.server.certificates
    assert assertion.claims["iss"] == assertion.claims["sub"] == SYSTEM.client_id
    assert assertion.claims["aud"] == f"https://localhost:8443/{TENANT}/oauth2/token"
    assert assertion.claims["exp"] == now + 900
    assert assertion.claims["workload"] == {}


async def test_the_assertion_names_the_run(world: AgentWorld) -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    listening = await world.agent.listen(sock, host=VM, dialect=Dialect.IMDS, run_id="run-7")
    await world.ask(listening.address, get(token_target()))
    workload = parse(world.server.forms[0]["client_assertion"]).claims["workload"]
    assert isinstance(workload, dict)
    assert (workload["run_id"], workload["pid"], workload["uid"]) == ("run-7", os.getpid(), os.getuid())
    assert "binding" not in workload


async def test_an_assertion_is_reused_for_five_minutes(world: AgentWorld) -> None:
    assertions = []
    for number, passed in enumerate((0, 100, 199, 2, 600)):
        world.clock.advance(passed)
        await fetch(world, f"r{number}")
        assertions.append(world.server.forms[-1]["client_assertion"])
    assert assertions[0] == assertions[1] == assertions[2] != assertions[3] != assertions[4]


async def test_a_clock_that_was_set_back_makes_a_new_assertion(world: AgentWorld) -> None:
    await fetch(world, "a")
    world.clock.set(world.clock.now() - timedelta(seconds=30))
    await fetch(world, "b")
    assert world.server.forms[0]["client_assertion"] != world.server.forms[1]["client_assertion"]


async def test_a_certificate_is_renewed_at_half_life_in_the_background(world: AgentWorld) -> None:
    await fetch(world, "a")
    world.clock.advance(timedelta(hours=11, minutes=59))
    await fetch(world, "b")
    assert world.server.count(CERTIFICATES) == 1
    world.clock.advance(timedelta(minutes=1))
    await fetch(world, "c")
    await settle()
    assert world.server.count(CERTIFICATES) == 2
    await fetch(world, "d")
    first, second, third, fourth = live_thumbprints(world)
    assert first == second == third != fourth


async def test_a_renewal_that_fails_is_repeated_and_the_present_one_serves(world: AgentWorld) -> None:
    await fetch(world, "a")
    world.clock.advance(timedelta(hours=12))
    real, failing = world.server._certificate, 0

    def refuse(wanted: dict[str, str]) -> object:
        nonlocal failing
        failing += 1
        raise Failure(FailureKind.UNAVAILABLE, "no")

    world.server._certificate = refuse  # type: ignore[method-assign,assignment]  # the server's outage
    for number in range(3):
        await fetch(world, f"b{number}")
        await settle()
    assert failing == 1
    world.server._certificate = real  # type: ignore[method-assign]  # the end of it
    world.clock.advance(61)
    await fetch(world, "c")
    await settle()
    await fetch(world, "d")
    assert live_thumbprints(world)[-1] != live_thumbprints(world)[0]


async def test_an_expired_certificate_is_not_used(world: AgentWorld) -> None:
    await fetch(world, "a")
    world.clock.advance(timedelta(hours=24))
    await fetch(world, "b")
    first, second = live_thumbprints(world)
    assert first != second


async def test_an_assertion_does_not_outlive_its_certificate(world: AgentWorld) -> None:
    world.server.certificate_lifetime = timedelta(minutes=4)
    await fetch(world, "a")
    claims = parse(world.server.forms[0]["client_assertion"]).claims
    assert claims["exp"] == int(world.clock.now().timestamp()) + 240


async def test_a_refused_certificate_is_replaced_once(world: AgentWorld) -> None:
    await fetch(world, "a")
    world.server.certificates.clear()
    await fetch(world, "b")
    assert world.server.count(CERTIFICATES) == 2
    assert world.server.token_requests == 3


async def test_a_certificate_that_stays_refused_is_the_token_services_answer(world: AgentWorld) -> None:
    world.server.token_answer = token_error(401, "invalid_client", 700027)
    with pytest.raises(Failure) as caught:
        await fetch(world, "a")
    assert caught.value.kind is FailureKind.ASSERTION_INVALID
    assert "700027" in caught.value.data["answer"]
    assert world.server.token_requests == 3


@pytest.mark.parametrize(
    ("collection", "key"),
    [
        ("identity_assignments", f"{VM.key}|{SYSTEM.principal_id}"),
        ("principals", SYSTEM.principal_id),
        ("resources", VM.key),
        ("credentials", "credential-1"),
    ],
)
async def test_a_removal_takes_the_key_away(world: AgentWorld, collection: str, key: str) -> None:
    await fetch(world, ARM)
    world.agent.apply([change(collection, key, subject=None, deleted=True)])
    assert len(world.agent._source._credentials) == 0
    await fetch(world, ARM)
    first, second = live_thumbprints(world)
    assert first != second


async def test_a_removal_leaves_other_keys_alone(world: AgentWorld) -> None:
    world.server.hosts = {VM.key: [SHARED], OTHER_VM.key: [SHARED]}
    await world.agent.token(VM, None, ARM)
    await world.agent.token(OTHER_VM, None, ARM)
    world.agent.apply([change("identity_assignments", f"{VM.key}|{SHARED.principal_id}", subject=VM.key, deleted=True)])
    assert set(world.agent._source._credentials._held) == {(OTHER_VM.key, SHARED.principal_id)}


async def test_a_renewals_own_deletion_of_its_predecessor_costs_no_token(world: AgentWorld) -> None:
    """The server deletes the old certificate in the commit that stores the new one, and the feed tells of it before the answer."""
    await fetch(world, ARM)
    world.clock.advance(timedelta(hours=12))
    real = world.server._certificate

    def tells(wanted: dict[str, str]) -> object:
        answer = real(wanted)
        world.agent.apply([change("credentials", "credential-1", subject=SYSTEM.principal_id, deleted=True)])
        return answer

    world.server._certificate = tells  # type: ignore[method-assign,assignment]  # as an embedded server does
    await fetch(world, "b")
    await settle()
    count = world.server.token_requests
    await fetch(world, "b")
    await fetch(world, "c")
    assert world.server.token_requests == count + 1
    assert world.server.count(CERTIFICATES) == 2


async def test_a_certificate_that_arrives_after_its_identity_has_gone_is_not_kept(world: AgentWorld) -> None:
    real = world.server._certificate

    def goes(wanted: dict[str, str]) -> object:
        answer = real(wanted)
        world.server.hosts[VM.key] = []
        world.agent.apply([change("identity_assignments", f"{VM.key}|{SYSTEM.principal_id}", subject=VM.key, deleted=True)])
        return answer

    world.server._certificate = goes  # type: ignore[method-assign,assignment]  # a removal at the worst moment
    with pytest.raises(Failure) as caught:
        await fetch(world, ARM)
    assert caught.value.kind is FailureKind.IDENTITY_NOT_FOUND
    assert len(world.agent._source._credentials) == 0
    assert world.server.token_requests == 0


async def test_every_proof_to_the_server_is_new_and_short(world: AgentWorld) -> None:
    await fetch(world, ARM)
    proofs = [parse(proof) for proof in world.server.proofs]
    assert len({proof.claims["jti"] for proof in proofs}) == len(proofs) == 2
    for proof in proofs:
        assert proof.header["alg"] == "ES256"
        assert proof.claims["iss"] == proof.claims["sub"] == "agent-1"
        assert proof.claims["aud"] == "idplane-agent"
        assert 0 < int(str(proof.claims["exp"])) - int(str(proof.claims["iat"])) <= 300


async def test_nothing_secret_shows_in_a_repr(world: AgentWorld) -> None:
    await fetch(world, ARM)
    (held,) = world.agent._source._credentials._held.values()
    assert world.server.forms[0]["client_assertion"] not in repr(held)
    assert "PrivateKey" not in repr(held)
