"""Enrollments and agents as Resource Manager keeps them: who may write which, what is refused, and what goes with what."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.attacks.authorities import Authority
from tests.unit.providers.surface_plane import COMPUTE, CORE, FOREIGN, GROUP, SUB, OpenPlane, Plane, Reply, uai, vm

from idplane.jose import new_ec_key
from idplane.model.directory import Agent, AgentState, Credential, CredentialKind
from idplane.model.enrollments import AgentSighting, AgentSightings, Enrollment, JoinMethod
from idplane.model.ids import ResourceId
from idplane.ports.collections import (
    AGENT_SIGHTINGS,
    AGENTS,
    CARRIAGES,
    CREDENTIALS,
    ENROLLMENTS,
    IDENTITY_ASSIGNMENTS,
    JOIN_TOKENS,
)
from idplane.ports.store import ABSENT, Batch, Put

VERSION = "2026-11-01"
ENROLLMENT = "Idplane.Workloads/enrollments"
AGENT = "Idplane.Workloads/agents"
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGm/2Wo8eJYbyjJr6xW9mPYeHxQb7DwQbWZy5E0cUu1x"
DIGEST = "0123456789abcdef" * 4
CA = Authority().pem
X509 = {"method": "x509", "certificateAuthorities": CA, "facts": {"dns": "stock.example.com"}}
OIDC = {"method": "oidc", "issuer": "https://cluster.example.com", "facts": {"subject": "s"}}
TOKEN = {"method": "token"}


def at(name: str = "rack", host: str | None = None) -> str:
    return f"{host or vm('stock')}/providers/{ENROLLMENT}/{name}"


async def ask(plane: Plane, method: str, url: str, body: object = None, **options: Any) -> Reply:
    return await plane.call(method, url, body, version=VERSION, **options)


async def write(plane: Plane, properties: object, name: str = "rack", host: str | None = None, **options: Any) -> Reply:
    return await ask(plane, "PUT", at(name, host), {"properties": properties}, **options)


async def joined(plane: Plane, name: str = "rack", number: int = 1, **members: Any) -> Agent:
    """An agent that an enrollment has let in, with a certificate for its host's identity."""
    found = await plane.store.get(ENROLLMENTS, f"{ResourceId.parse(vm('stock')).key}|{name}")
    assert found is not None
    enrollment: Enrollment = found.value
    made = Agent(
        id=f"aaaaaaaa-0000-4000-8000-{number:012x}",
        display_name="stock (rack)",
        certificate=b"",
        thumbprint=f"{number:064x}",
        enrolled_at=plane.clock.now(),
        hosts=(enrollment.host.key,),
        method=enrollment.method.value,
        facts=(("dns", "a"), ("dns", "b"), ("serial", "7")),
        enrollment=enrollment.id,
        host=enrollment.host,
        addresses=("192.0.2.1",),
    )
    made = replace(made, **members)
    (assigned,) = await plane.store.all(IDENTITY_ASSIGNMENTS, where={"host_key": enrollment.host.key})
    held = Credential(
        id=f"credential-{number}",
        principal_id=assigned.value.principal_id,
        client_id=assigned.value.client_id,
        kind=CredentialKind.IDENTITY_CERTIFICATE,
        not_before=plane.clock.now(),
        not_after=plane.clock.now() + timedelta(days=1),
        host=enrollment.host.key,
        agent_id=made.id,
    )
    await plane.store.commit(
        Batch.of(
            Put(collection=AGENTS, value=made, expect=ABSENT),
            Put(collection=CREDENTIALS, value=held, expect=ABSENT),
        )
    )
    return made


def agent_url(agent: Agent, host: str | None = None) -> str:
    return f"{host or vm('stock')}/providers/{AGENT}/{agent.id}"


@pytest.fixture
async def plane(open_plane: OpenPlane) -> Plane:
    opened = await open_plane()
    await opened.machine("stock", {"type": "SystemAssigned"})
    await opened.machine("shop", {"type": "SystemAssigned"})
    return opened


# Enrollments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (TOKEN, TOKEN),
        (X509, X509),
        ({**X509, "expression": "claims['uri'] matches 'spiffe://*'"}, None),
        ({"method": "ssh", "publicKey": f"{SSH} root@stock"}, {"method": "ssh", "facts": {"fingerprint": "*"}}),
        ({"method": "ssh", "certificateAuthority": SSH, "facts": {"principal": ["a", "b"]}}, None),
        ({"method": "tpm", "endorsementKey": DIGEST.upper()}, {"method": "tpm", "facts": {"endorsementKey": DIGEST}}),
        (
            {
                "method": "tpm",
                "certificateAuthorities": CA,
                "facts": {"serial": "7"},
                "pcrs": {"bank": "sha256", "registers": [0, 7], "digest": DIGEST},
            },
            None,
        ),
        ({**OIDC, "audience": "us"}, {**OIDC, "audience": "us", "facts": {"subject": "s", "issuer": OIDC["issuer"]}}),
        ({**OIDC, "facts": {"kubernetes.io/node/name": "n"}}, None),
    ],
)
async def test_an_enrollment_s_life(plane: Plane, given: dict[str, Any], kept: dict[str, Any] | None) -> None:
    made = await write(plane, given)
    assert made.status == 201, made.body
    shown = dict(made.body["properties"])
    assert shown.pop("enrollmentId")
    assert shown.pop("provisioningState") == "Succeeded"
    if kept is None:
        shown["facts"] = {name: value for name, value in shown["facts"].items() if name in given["facts"]}
    elif kept.get("facts") == {"fingerprint": "*"}:
        assert shown["facts"]["fingerprint"].startswith("SHA256:")
        kept = {**kept, "facts": shown["facts"]}
    assert shown == (kept or given)
    assert await plane.get(at("RACK"), version=VERSION) == made.body
    again = await write(plane, made.body["properties"])
    assert (again.status, again.body["properties"]) == (200, made.body["properties"]), again.body
    listed = await plane.get(f"{SUB}/providers/{ENROLLMENT}", version=VERSION)
    assert [one["id"] for one in listed["value"]] == [at("rack")]
    assert (await ask(plane, "DELETE", at())).status == 200
    assert (await ask(plane, "DELETE", at())).status == 204
    assert (await ask(plane, "GET", at())).code == "ResourceNotFound"


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({}, "properties.method"),
        ({"method": "password"}, "properties.method"),
        ({"method": "Token"}, "properties.method"),
        ({"method": 5}, "properties.method"),
        ({**TOKEN, "facts": {"dns": "x"}}, "properties.facts"),
        ({**TOKEN, "secret": "x"}, "properties.secret"),
        ({**X509, "facts": {}}, "properties.facts"),
        ({**X509, "facts": None}, "properties.facts"),
        ({**X509, "facts": {"DNS": "x"}}, "properties.facts.DNS"),
        ({**X509, "facts": {"dns": ""}}, "properties.facts.dns"),
        ({**X509, "facts": {"dns": []}}, "properties.facts.dns"),
        ({**X509, "facts": {"dns": [5]}}, "properties.facts.dns"),
        ({**X509, "facts": {"dns": "x" * 1025}}, "properties.facts.dns"),
        ({**X509, "facts": {"dns": ["x"] * 17}}, "properties.facts.dns"),
        ({**X509, "expression": "claims['dns'] is 'x'"}, "properties.expression"),
        ({**X509, "expression": "claims['cn'] eq 'x'"}, "properties.cn"),
        ({**X509, "certificateAuthorities": None}, "properties.certificateAuthorities"),
        ({**X509, "certificateAuthorities": "x"}, "properties.certificateAuthorities"),
        ({**X509, "certificateAuthorities": CA * 9}, "properties.certificateAuthorities"),
        ({**X509, "certificateAuthorities": CA + "x" * 66_000}, "properties.certificateAuthorities"),
        ({"method": "ssh", "facts": {"keyType": "ssh-ed25519"}}, "properties.publicKey"),
        ({"method": "ssh", "publicKey": SSH, "certificateAuthority": SSH}, "properties.publicKey"),
        ({"method": "ssh", "publicKey": "ssh-dss AAAA"}, "properties.publicKey"),
        ({"method": "ssh", "publicKey": "x"}, "properties.publicKey"),
        ({"method": "ssh", "certificateAuthority": SSH}, "properties.facts"),
        ({"method": "ssh", "publicKey": SSH, "facts": {"principal": "x"}}, "properties.certificateAuthority"),
        ({"method": "ssh", "publicKey": SSH, "expression": "claims['keyId'] eq 'x'"}, "properties.certificateAuthority"),
        ({"method": "tpm"}, "properties.endorsementKey"),
        ({"method": "tpm", "endorsementKey": "x" * 64}, "properties.endorsementKey"),
        ({"method": "tpm", "endorsementKey": DIGEST, "certificateAuthorities": CA}, "properties.endorsementKey"),
        ({"method": "tpm", "endorsementKey": DIGEST, "facts": {"serial": "7"}}, "properties.certificateAuthorities"),
        ({"method": "tpm", "certificateAuthorities": CA}, "properties.facts"),
        ({"method": "tpm", "endorsementKey": DIGEST, "pcrs": {}}, "properties.pcrs.bank"),
        (
            {"method": "tpm", "endorsementKey": DIGEST, "pcrs": {"bank": "sha1", "registers": [0], "digest": DIGEST}},
            "properties.pcrs.bank",
        ),
        (
            {"method": "tpm", "endorsementKey": DIGEST, "pcrs": {"bank": "sha256", "registers": [24], "digest": DIGEST}},
            "properties.pcrs.registers",
        ),
        (
            {"method": "tpm", "endorsementKey": DIGEST, "pcrs": {"bank": "sha256", "registers": [True], "digest": DIGEST}},
            "properties.pcrs.registers",
        ),
        (
            {"method": "tpm", "endorsementKey": DIGEST, "pcrs": {"bank": "sha256", "registers": [0], "digest": "x"}},
            "properties.pcrs.digest",
        ),
        ({**OIDC, "issuer": None}, "properties.issuer"),
        ({**OIDC, "issuer": "cluster.example.com"}, "properties.issuer"),
        ({**OIDC, "issuer": "https://cluster.example.com?x"}, "properties.issuer"),
        ({**OIDC, "facts": {"": "x"}}, "properties.facts."),
        ({**TOKEN, "carries": ["x"]}, "properties.carries[0]"),
        ({**TOKEN, "carries": [SUB]}, "properties.carries[0]"),
        ({**TOKEN, "carries": [GROUP] * 65}, "properties.carries"),
    ],
)
async def test_rules_that_are_refused(plane: Plane, given: dict[str, Any], where: str) -> None:
    reply = await write(plane, given)
    assert reply.status == 400, reply.body
    assert f"'{where}'" in reply.message, reply.message
    assert not await plane.store.all(ENROLLMENTS)


async def test_a_server_s_certificate_is_no_authority(plane: Plane) -> None:
    leaf = Authority().leaf(new_ec_key().public_key())
    pem = leaf.public_bytes(Encoding.PEM)
    reply = await write(plane, {**X509, "certificateAuthorities": pem.decode()})
    assert reply.status == 400


@pytest.mark.parametrize(
    ("host", "code"),
    [
        (GROUP, "EnrollmentScopeInvalid"),
        (SUB, "EnrollmentScopeInvalid"),
        (uai("front-end"), "EnrollmentScopeInvalid"),
        (vm("nobody"), "ResourceNotFound"),
    ],
)
async def test_hosts_that_are_none(plane: Plane, host: str, code: str) -> None:
    await plane.identity("front-end")
    assert (await write(plane, TOKEN, host=host)).code == code


@pytest.mark.parametrize("name", ["", "-x", "x-", "a b", "é", "a" * 65, "a\u200bb", "..", "%2e%2e"])
async def test_names_that_are_refused(plane: Plane, name: str) -> None:
    reply = await write(plane, TOKEN, name)
    assert reply.status in (400, 404, 405), reply.body
    assert not await plane.store.all(ENROLLMENTS)


async def test_whoever_may_not_give_access_lets_no_machine_in(plane: Plane) -> None:
    for by, properties in (("reader", TOKEN), ("contributor", TOKEN), ("nobody", TOKEN), ("stranger", TOKEN)):
        assert (await write(plane, properties, by=by)).status in (401, 403)
    assert (await write(plane, TOKEN)).status == 201
    for by in ("reader", "contributor", "nobody"):
        assert (await ask(plane, "POST", f"{at()}/issueToken", {}, by=by)).code == "AuthorizationFailed"
    assert (await write(plane, TOKEN, by="contributor")).code == "AuthorizationFailed"
    assert not await plane.store.all(JOIN_TOKENS)
    assert (await ask(plane, "DELETE", at(), by="reader")).code == "AuthorizationFailed"
    assert (await ask(plane, "DELETE", at(), by="contributor")).status == 200


async def test_what_is_carried_needs_the_same_right_there(plane: Plane) -> None:
    await plane.person("stock-owner", ("Owner", vm("stock")), ("Reader", SUB))
    assert (await write(plane, {**TOKEN, "carries": [vm("shop")]}, by="stock-owner")).code == "LinkedAuthorizationFailed"
    assert (await write(plane, {**TOKEN, "carries": [vm("nobody")]}, by="stock-owner")).code == "LinkedAuthorizationFailed"
    foreign = vm("shop").replace(SUB, f"/subscriptions/{FOREIGN}")
    assert (await write(plane, {**TOKEN, "carries": [foreign]})).status in (403, 404)
    made = await write(plane, {**TOKEN, "carries": [vm("SHOP"), vm("stock")]})
    assert made.body["properties"]["carries"] == [vm("shop")]
    assert (await write(plane, TOKEN)).status == 200
    assert not await plane.store.all(CARRIAGES)


async def test_a_join_token(plane: Plane) -> None:
    await write(plane, TOKEN)
    made = await ask(plane, "POST", f"{at()}/issueToken", {"expiresInSeconds": 600})
    assert made.status == 200
    (row,) = await plane.store.all(JOIN_TOKENS)
    assert row.value.expires_at == plane.clock.now() + timedelta(minutes=10)
    assert made.body["tokenId"] == row.value.id
    secret = made.body["token"].rpartition("_")[2]
    assert secret not in str(await plane.events())
    assert secret not in str(row)
    default = await ask(plane, "POST", f"{at()}/issueToken")
    assert datetime.fromisoformat(default.body["expiresAt"]) == plane.clock.now() + timedelta(hours=1)
    for body in ({"expiresInSeconds": 86401}, {"expiresInSeconds": 0}, {"expiresInSeconds": "60"}, {"x": 1}):
        assert (await ask(plane, "POST", f"{at()}/issueToken", body)).status == 400
    assert (await ask(plane, "POST", f"{at('other')}/issueToken")).status == 404
    await write(plane, X509, "certificates")
    assert (await ask(plane, "POST", f"{at('certificates')}/issueToken")).status == 400
    plane.clock.advance(3601)
    await ask(plane, "POST", f"{at()}/issueToken")
    assert len(await plane.store.all(JOIN_TOKENS)) == 1


async def test_agents_live_by_their_enrollment_s_rule(plane: Plane) -> None:
    await write(plane, X509)
    await joined(plane)
    await write(plane, {**X509, "carries": [vm("shop")]})
    (agent,) = await plane.store.all(AGENTS)
    assert agent.value.hosts == (ResourceId.parse(vm("stock")).key, ResourceId.parse(vm("shop")).key)
    await write(plane, {**X509, "facts": {"dns": "other.example.com"}})
    assert not await plane.store.all(AGENTS)
    assert not await plane.store.all(CREDENTIALS)


async def test_agents_and_tokens_go_with_their_enrollment_and_with_their_host(plane: Plane) -> None:
    for ending in (at(), vm("stock")):
        await write(plane, TOKEN)
        await ask(plane, "POST", f"{at()}/issueToken")
        await joined(plane)
        reply = await plane.call("DELETE", ending, version=VERSION if ending == at() else COMPUTE)
        assert reply.status in (200, 202, 204), reply.body
        assert not await plane.store.all(AGENTS)
        assert not await plane.store.all(JOIN_TOKENS)
        assert not await plane.store.all(ENROLLMENTS)


def join_ahead_of_the_next_commit(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a machine use the join token between what the next request reads and what it writes."""
    commit = plane.store.commit

    async def overtaken(batch: Batch) -> int:
        monkeypatch.undo()
        (token,) = await plane.store.all(JOIN_TOKENS)
        used = replace(token.value, used_at=plane.clock.now())
        await commit(Batch.of(Put(collection=JOIN_TOKENS, value=used, expect=token.version)))
        await joined(plane)
        return await commit(batch)

    monkeypatch.setattr(plane.store, "commit", overtaken)


async def test_a_machine_that_joins_while_its_enrollment_ends_ends_with_it(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(plane, TOKEN)
    await ask(plane, "POST", f"{at()}/issueToken")
    join_ahead_of_the_next_commit(plane, monkeypatch)
    assert (await ask(plane, "DELETE", at())).status in (200, 204)
    assert not await plane.store.all(AGENTS)


async def test_what_was_carried_goes_and_the_enrollment_stays(plane: Plane) -> None:
    await write(plane, {**TOKEN, "carries": [vm("shop")]})
    await plane.call("DELETE", vm("shop"), version=COMPUTE)
    assert not await plane.store.all(CARRIAGES)
    assert "carries" not in (await plane.get(at(), version=VERSION))["properties"]


async def test_a_whole_group_goes(plane: Plane) -> None:
    await write(plane, {**TOKEN, "carries": [vm("shop")]})
    await write(plane, {**TOKEN, "carries": [vm("stock")]}, host=vm("shop"))
    await joined(plane)
    assert (await plane.call("DELETE", GROUP)).status in (200, 202)
    for _ in range(50):
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    assert not await plane.store.all(ENROLLMENTS)
    assert not await plane.store.all(AGENTS)


async def test_enrollments_and_agents_move_with_their_host(plane: Plane) -> None:
    target = f"{SUB}/resourceGroups/Depot"
    await plane.put(target, {"location": "westeurope"})
    await write(plane, {**TOKEN, "carries": [vm("shop")]})
    agent = await joined(plane)
    body = {"resources": [vm("stock"), vm("shop")], "targetResourceGroup": target}
    assert (await plane.call("POST", f"{GROUP}/moveResources", body, version=CORE)).status in (200, 202, 204)
    for _ in range(50):
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    moved = vm("stock").replace(GROUP, target)
    shown = await plane.get(at(host=moved), version=VERSION)
    assert shown["properties"]["carries"] == [vm("shop").replace(GROUP, target)]
    assert (await plane.get(agent_url(agent, moved), version=VERSION))["properties"]["enrollment"] == "rack"
    assert (await ask(plane, "GET", agent_url(agent))).status == 404


# Agents --------------------------------------------------------------------------------------------------------------


async def test_an_agent_is_shown(plane: Plane) -> None:
    await write(plane, TOKEN)
    agent = await joined(plane)
    seen = AgentSightings(shard="00", seen={agent.id: AgentSighting(at=plane.clock.now(), address="::1", version="idplane/1")})
    await plane.store.commit(Batch.of(Put(collection=AGENT_SIGHTINGS, value=seen, expect=ABSENT)))
    shown = await plane.get(agent_url(agent), version=VERSION, by="reader")
    properties = shown["properties"]
    assert (shown["name"], properties["state"], properties["enrollment"]) == (agent.id, "active", "rack")
    assert properties["facts"] == {"dns": ["a", "b"], "serial": "7"}
    assert (properties["lastSeen"]["address"], properties["lastSeen"]["version"]) == ("::1", "idplane/1")
    for scope in (vm("stock"), GROUP, SUB):
        listed = await plane.get(f"{scope}/providers/{AGENT}", version=VERSION)
        assert listed["value"] == [shown]
    assert (await ask(plane, "GET", agent_url(agent, vm("shop")))).status == 404
    assert (await ask(plane, "PUT", agent_url(agent), {})).status == 405
    assert (await ask(plane, "GET", agent_url(agent), by="nobody")).code == "AuthorizationFailed"


async def test_a_ban(plane: Plane) -> None:
    await write(plane, TOKEN)
    agent = await joined(plane)
    for by in ("reader", "nobody"):
        assert (await ask(plane, "POST", f"{agent_url(agent)}/ban", by=by)).code == "AuthorizationFailed"
    banned = await ask(plane, "POST", f"{agent_url(agent)}/ban", by="contributor")
    assert (banned.status, banned.body["properties"]["state"]) == (200, "banned")
    assert "contributor" in banned.body["properties"]["stateReason"]
    assert not await plane.store.all(CREDENTIALS)
    assert (await plane.events())[-1].operation == f"{AGENT}/ban/action"
    assert (await ask(plane, "POST", f"{agent_url(agent)}/ban", by="contributor")).status == 200
    for word in ("POST", "DELETE"):
        url = f"{agent_url(agent)}/unban" if word == "POST" else agent_url(agent)
        assert (await ask(plane, word, url, by="contributor")).code == "AuthorizationFailed"
    served = await ask(plane, "POST", f"{agent_url(agent)}/unban")
    assert served.body["properties"]["state"] == "active"
    assert "stateReason" not in served.body["properties"]
    assert (await ask(plane, "DELETE", agent_url(agent), by="contributor")).status == 200
    assert (await ask(plane, "POST", f"{agent_url(agent)}/ban")).status == 404


async def test_a_locked_agent_is_never_unlocked(plane: Plane) -> None:
    await write(plane, X509)
    agent = await joined(plane, state=AgentState.LOCKED, state_because="two places")
    refused = await ask(plane, "POST", f"{agent_url(agent)}/unban")
    assert refused.status == 409
    assert "join anew" in refused.message
    assert (await ask(plane, "DELETE", agent_url(agent))).status == 200


async def test_methods_have_their_names() -> None:
    assert [one.value for one in JoinMethod] == ["token", "x509", "ssh", "tpm", "oidc"]


async def test_a_machine_that_joins_while_its_enrollment_is_given_more_acts_for_it_too(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(plane, TOKEN)
    await ask(plane, "POST", f"{at()}/issueToken")
    join_ahead_of_the_next_commit(plane, monkeypatch)
    assert (await write(plane, {**TOKEN, "carries": [vm("shop")]})).status == 200
    (agent,) = await plane.store.all(AGENTS)
    assert agent.value.hosts == (ResourceId.parse(vm("stock")).key, ResourceId.parse(vm("shop")).key)
