"""Machines with tokens of other issuers: Kubernetes, GitHub Actions, anything that speaks OpenID Connect."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.attacks.joining import Answer, JoinWorld, join_world
from tests.unit.directory.hosts_world import OTHER_VM, VM

from idplane.agent.attestors import attestor_of
from idplane.jose import Algorithm, Signer, b64url, new_rsa_key
from idplane.model.enrollments import JoinMethod, Trust
from idplane.model.failure import Failure, FailureKind

pytestmark = pytest.mark.wide  # a server of its own for each token

CLUSTER = "https://cluster.example.com"
GITHUB = "https://token.actions.githubusercontent.com"
AUDIENCE = "idplane-agent:https://localhost"
NODE_POD: dict[str, Any] = {
    "sub": "system:serviceaccount:idplane:agent",
    "kubernetes.io": {
        "namespace": "idplane",
        "node": {"name": "node-7", "uid": "n-7"},
        "pod": {"name": "agent-x7", "uid": "p-7"},
        "serviceaccount": {"name": "agent", "uid": "s-1"},
        "warnafter": 1790000000,
    },
}
KEY, STRANGER = new_rsa_key(), new_rsa_key()


@dataclass
class Issuers:
    """What outside issuers publish, and who was asked."""

    asked: list[str] = field(default_factory=list)
    down: bool = False

    async def fetch(self, url: str, *, private: bool = False) -> bytes:
        del private
        self.asked.append(url)
        if self.down:
            raise Failure(FailureKind.ISSUER_UNREACHABLE, "it does not answer")
        issuer = url.partition("/.well-known")[0].removesuffix("/keys")
        if url.endswith("/keys"):
            numbers = KEY.public_key().public_numbers()
            key = {"kty": "RSA", "kid": "k", "n": _number(numbers.n), "e": _number(numbers.e)}
            return json.dumps({"keys": [key]}).encode()
        return json.dumps({"issuer": issuer, "jwks_uri": f"{issuer}/keys"}).encode()


def _number(value: int) -> str:
    return b64url(value.to_bytes((value.bit_length() + 7) // 8))


@pytest.fixture
def issuers() -> Issuers:
    return Issuers()


@pytest.fixture
async def world(issuers: Issuers) -> AsyncIterator[JoinWorld]:
    async with join_world(replicas=2, documents=issuers) as world:
        yield world


def token(
    world: JoinWorld,
    *,
    key: rsa.RSAPrivateKey = KEY,
    header: Mapping[str, object] | None = None,
    **changes: Any,
) -> str:
    now = int(world.clock.now().timestamp())
    claims = {
        "iss": CLUSTER,
        "aud": [AUDIENCE],
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "jti": world.entropy.guid(),
        **NODE_POD,
        **changes,
    }
    told = {name: value for name, value in claims.items() if value is not None}
    return Signer(key, Algorithm.RS256, {"kid": "k", **(header or {})}).sign(told)


async def enrolled(world: JoinWorld) -> None:
    facts = (("issuer", CLUSTER), ("kubernetes.io/node/name", "node-7"), ("subject", str(NODE_POD["sub"])))
    await world.enrollment(JoinMethod.OIDC, trust=Trust(issuer=CLUSTER), facts=facts)


async def show(world: JoinWorld, text: object, replica: int = 0) -> Answer:
    return await world.join(JoinMethod.OIDC, {"token": text}, replica=replica)


async def refused(world: JoinWorld, answer: Answer, words: str) -> None:
    assert answer.code == (403, "ENROLLMENT_REFUSED"), answer.body
    event = await world.last_event()
    assert words in f"{answer.message} {event.properties['reason']}"


async def test_a_pod_on_a_node(world: JoinWorld, tmp_path: Path) -> None:
    await enrolled(world)
    file = tmp_path / "token"
    file.write_text(token(world) + "\n")
    answer, machine = await world.by(attestor_of(f"oidc:{file}"))
    assert answer.status == 200, (await world.last_event()).properties
    assert machine is not None
    assert (await machine.host()).status == 200
    (agent,) = await world.agents()
    assert ("kubernetes.io/pod/uid", "p-7") in agent.facts
    later: dict[str, Any] = {"kubernetes.io": {**NODE_POD["kubernetes.io"], "pod": {"uid": "p-8"}}}
    file.write_text(token(world, **later))
    again, _ = await world.by(attestor_of(f"oidc:{file}"), replica=1)
    assert again.status == 200
    assert (await machine.host()).code == (401, "AGENT_UNKNOWN")


async def test_a_job_of_github_actions(world: JoinWorld) -> None:
    await world.enrollment(
        JoinMethod.OIDC,
        trust=Trust(issuer=GITHUB, audience="https://idplane.example.com"),
        facts=(("issuer", GITHUB),),
        expression="claims['repository'] eq 'contoso/shop' and claims['subject'] matches 'repo:contoso/shop:ref:refs/heads/*'",
    )
    job: dict[str, Any] = {
        "iss": GITHUB,
        "aud": "https://idplane.example.com",
        "sub": "repo:contoso/shop:ref:refs/heads/main",
        "repository": "contoso/shop",
        "run_attempt": "1",
    }
    await refused(world, await show(world, token(world, **{**job, "sub": "repo:contoso/shop:pull_request"})), "no enrollment")
    await refused(world, await show(world, token(world, **{**job, "repository": "Contoso/shop"})), "no enrollment")
    assert (await show(world, token(world, **job))).status == 200


async def test_a_token_counts_once_on_all_replicas(world: JoinWorld) -> None:
    await enrolled(world)
    text = token(world)
    assert (await show(world, text)).status == 200
    for replica in (0, 1):
        await refused(world, await show(world, text, replica), "used before")
    nameless = token(world, jti=None)
    assert (await show(world, nameless)).status == 200
    await refused(world, await show(world, nameless, 1), "used before")
    head, _, signature = nameless.rpartition(".")
    await refused(world, await show(world, f"{head}.{signature[::-1]}"), "")
    assert len(await world.agents()) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iss": "https://evil.example.com"}, "no enrollment asks"),
        ({"iss": "https://cluster.example.com/"}, "no enrollment asks"),
        ({"iss": "https://CLUSTER.example.com"}, "no enrollment asks"),
        ({"iss": None}, "names no issuer"),
        ({"sub": None}, "names no issuer"),
        ({"sub": "system:serviceaccount:idplane:Agent"}, "no enrollment asks"),
        ({"sub": "system:serviceaccount:idplane:agent "}, "no enrollment asks"),
        ({"kubernetes.io": {"node": {"name": "node-8"}}}, "no enrollment asks"),
        ({"kubernetes.io": None, "kubernetes.io/node/name": "node-8"}, "no enrollment asks"),
        ({"aud": "idplane-agent:https://other.example.com"}, "another audience"),
        ({"aud": "idplane-agent"}, "another audience"),
        ({"aud": f"{AUDIENCE}/"}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": {"x": AUDIENCE}}, "another audience"),
        ({"exp": None}, "can't be read"),
        ({"iat": None}, "can't be read"),
        ({"exp": "soon"}, "can't be read"),
        ({"exp": 1e300}, "can't be read"),
        ({"exp": 1}, "expired"),
        ({"exp": 32503680000}, "longer than 24 hours"),
        ({"nbf": 4102444800}, "not valid yet"),
    ],
)
async def test_claims_that_prove_nothing(world: JoinWorld, changes: dict[str, Any], words: str) -> None:
    await enrolled(world)
    await refused(world, await show(world, token(world, **changes)), words)
    assert not await world.agents()


async def test_a_token_that_is_over(world: JoinWorld) -> None:
    await enrolled(world)
    text = token(world)
    world.clock.advance(3600)
    await refused(world, await show(world, text), "expired")


async def test_signatures_that_prove_nothing(world: JoinWorld, issuers: Issuers) -> None:
    await enrolled(world)
    good = token(world)
    head, body, signature = good.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"k"}').decode().rstrip("=")
    for text in (
        token(world, key=STRANGER),
        token(world, header={"kid": "other"}),
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        f"{head}.{body}.{signature[:-8]}AAAAAAAA",
    ):
        await refused(world, await show(world, text), "")
    assert not await world.agents()
    issuers.down = True
    await refused(world, await show(world, good, 1), "can't be asked for its keys")


async def test_a_stranger_s_token_makes_no_request(world: JoinWorld, issuers: Issuers) -> None:
    await enrolled(world)
    await refused(world, await show(world, token(world, iss="https://evil.example.com")), "no enrollment asks")
    await refused(world, await show(world, token(world, aud="elsewhere")), "another audience")
    assert not issuers.asked


@pytest.mark.parametrize("text", ["", "x", "a.b.c", 5, None, "é.b.c", "x" * 20_000])
async def test_what_is_no_token(world: JoinWorld, text: object) -> None:
    await enrolled(world)
    assert (await show(world, text)).code == (403, "ENROLLMENT_REFUSED")


async def test_two_nodes_are_two_hosts(world: JoinWorld) -> None:
    await enrolled(world)
    await world.enrollment(
        JoinMethod.OIDC,
        host=OTHER_VM,
        trust=Trust(issuer=CLUSTER),
        facts=(("issuer", CLUSTER), ("kubernetes.io/node/name", "node-8")),
    )
    assert (await show(world, token(world))).body["hosts"] == [VM.key]
    elsewhere: dict[str, Any] = {"kubernetes.io": {"node": {"name": "node-8"}}}
    other = token(world, **elsewhere)
    assert (await show(world, other)).body["hosts"] == [OTHER_VM.key]
