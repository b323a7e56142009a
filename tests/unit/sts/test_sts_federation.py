"""Other issuers' tokens as client assertions: what is exchanged, and everything that is not (MIE sections 6.3 and 6.4)."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.unit.sts.sts_world import ARM, OTHER_TENANT_ID, StsWorld, replacing

from idplane.directory.clients import federated_credential, new_application_principal
from idplane.jose import Algorithm, PrivateKey, PublicKey, Signer, b64url, new_ec_key, new_rsa_key
from idplane.model.directory import Principal
from idplane.model.events import SignIn
from idplane.model.failure import Failure, FailureKind
from idplane.model.federation import ClaimsExpression, FederatedCredential, Trust
from idplane.model.profile import AZURE, OPEN
from idplane.ports.collections import FEDERATED_CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS, TENANTS
from idplane.ports.store import Delete
from idplane.sts.federation import EXCHANGE_ID
from idplane.sts.refusals import refusal_of, sentence

ISSUER = "https://issuer.example/oidc"
SUBJECT = "repo:contoso/stock:ref:refs/heads/main"
EXCHANGE = "api://AzureADTokenExchange"
KEYS = "https://keys.example/jwks"


@functools.cache
def rsa_key() -> PrivateKey:
    return new_rsa_key()


@functools.cache
def other_rsa_key() -> PrivateKey:
    return new_rsa_key()


@functools.cache
def ec_key() -> PrivateKey:
    return new_ec_key()


def jwk(key: PublicKey, kid: str, **more: object) -> dict[str, object]:
    def number(value: int) -> str:
        return b64url(value.to_bytes((value.bit_length() + 7) // 8))

    if isinstance(key, RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "kid": kid, "n": number(numbers.n), "e": number(numbers.e), **more}
    assert isinstance(key, EllipticCurvePublicKey)
    point = key.public_numbers()
    return {"kty": "EC", "crv": "P-256", "kid": kid, "x": number(point.x), "y": number(point.y), **more}


@dataclass(frozen=True, slots=True)
class Scene:
    world: StsWorld

    def publish(self, *keys: Mapping[str, object], issuer: str = ISSUER, says: str | None = None, at: str = KEYS) -> None:
        document = {"issuer": says or issuer, "jwks_uri": at}
        documents = self.world.published.documents
        documents[issuer.removesuffix("/") + "/.well-known/openid-configuration"] = json.dumps(document).encode()
        documents[at] = json.dumps({"keys": keys}).encode()

    async def trust(self, principal: Principal | None = None, *, name: str = "stock", **changes: Any) -> FederatedCredential:
        trust = Trust(**{"issuer": ISSUER, "subject": SUBJECT, "audiences": (EXCHANGE,), **changes})
        made = federated_credential(
            principal or self.world.user, name=name, trust=trust, entropy=self.world.entropy, now=self.world.clock.now()
        )
        await self.world.commit(replacing(FEDERATED_CREDENTIALS, made))
        return made

    def claims(self, **changes: object) -> dict[str, object]:
        now = int(self.world.clock.now().timestamp())
        claims = {"iss": ISSUER, "sub": SUBJECT, "aud": EXCHANGE, "iat": now, "nbf": now, "exp": now + 300, "jti": "j1"}
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    def token(self, key: PrivateKey | None = None, algorithm: Algorithm = Algorithm.RS256, **changes: Any) -> str:
        header = changes.pop("header", {"kid": "one"})
        assert isinstance(header, dict)
        return Signer(key or rsa_key(), algorithm, header).sign(self.claims(**changes))

    async def exchange(self, token: str, principal: Principal | None = None, **changes: str | None) -> str:
        client = (principal or self.world.user).client_id
        request = self.world.by_assertion(token, client_id=client, **changes)
        return (await self.world.service.issue(request, self.world.call())).access_token

    async def refused(self, token: str, principal: Principal | None = None, **changes: str | None) -> Failure:
        with pytest.raises(Failure) as caught:
            await self.exchange(token, principal, **changes)
        assert caught.value.kind.category.value < 500
        return caught.value

    async def last(self) -> SignIn:
        return (await self.world.sign_ins())[-1]


_OPENED: list[StsWorld] = []


@pytest.fixture(autouse=True)
async def closing() -> AsyncIterator[None]:
    """Close what a test opened."""
    yield
    while _OPENED:
        await _OPENED.pop().store.close()


async def scene(*, profile: Any = OPEN) -> Scene:
    made = Scene(await StsWorld.open(profile=profile))
    _OPENED.append(made.world)
    made.publish(jwk(rsa_key().public_key(), "one"), jwk(ec_key().public_key(), "two"))
    return made


@pytest.mark.parametrize(
    ("key", "kid", "algorithm"),
    [(rsa_key, "one", Algorithm.RS256), (rsa_key, "one", Algorithm.PS256), (ec_key, "two", Algorithm.ES256)],
)
async def test_a_matching_token_is_exchanged_and_recorded(key: Any, kid: str, algorithm: Algorithm) -> None:
    it = await scene()
    credential = await it.trust()
    for _ in range(2):  # projected tokens are shown again and again
        token = await it.exchange(it.token(key(), algorithm, header={"kid": kid}))
        caller = await it.world.authenticator.authenticate(token, (ARM,))
        assert (caller.principal_id, caller.host) == (it.world.user.id, None)
    record = await it.last()
    assert (record.credential_kind, record.credential_id, record.error_code) == ("federated", credential.id, 0)
    assert record.federated is not None
    assert (record.federated.issuer, record.federated.subject, record.federated.token_id) == (ISSUER, SUBJECT, "j1")
    assert len(it.world.published.asked) == 2


@pytest.mark.parametrize("algorithm", [Algorithm.PS256, Algorithm.ES256])
async def test_profile_azure_takes_rs256_only(algorithm: Algorithm) -> None:
    it = await scene(profile=AZURE)
    await it.trust()
    key, kid = (ec_key(), "two") if algorithm is Algorithm.ES256 else (rsa_key(), "one")
    refused = await it.refused(it.token(key, algorithm, header={"kid": kid}))
    assert refusal_of(refused.kind).code == 50013
    await it.exchange(it.token())


@pytest.mark.parametrize(
    ("claims", "code", "differs"),
    [
        ({"aud": "api://somewhere"}, 700212, "audience"),
        ({"aud": EXCHANGE.lower()}, 700212, "audience"),
        ({"aud": EXCHANGE_ID}, 700212, "audience"),
        ({"aud": None}, 700212, "audience"),
        ({"aud": ["x", 5]}, 700212, "audience"),
        ({"sub": SUBJECT.upper()}, 7002138, "subject"),
        ({"sub": SUBJECT + "2"}, 700213, "subject"),
        ({"sub": None}, 700213, "subject"),
        ({"sub": 5}, 700213, "subject"),
        ({"iss": ISSUER + "/"}, 700211, "issuer"),
        ({"iss": ISSUER.upper()}, 700211, "issuer"),
        ({"iss": "https://elsewhere.example"}, 700211, "issuer"),
    ],
)
async def test_near_misses_are_refused_without_asking_anyone(claims: dict[str, Any], code: int, differs: str) -> None:
    it = await scene()
    credential = await it.trust()
    refused = await it.refused(it.token(**claims))
    assert refusal_of(refused.kind).code == code
    assert it.world.published.asked == []
    record = await it.last()
    assert (record.error_code, record.principal_id) == (code, it.world.user.id)
    assert record.federated is not None
    assert (record.federated.nearest, record.federated.differs) == (credential.id, differs)
    assert sentence(refused).startswith("No matching federated identity record found for presented assertion")


async def test_the_nearest_of_several_is_named() -> None:
    it = await scene()
    await it.trust(name="elsewhere", issuer="https://elsewhere.example")
    right = await it.trust(name="other-branch", subject=SUBJECT + "2")
    await it.trust(name="nothing-right", subject="x", audiences=("api://x",))
    await it.refused(it.token(sub="someone"))
    record = await it.last()
    assert record.federated is not None
    assert record.federated.nearest == right.id


async def test_without_any_credential() -> None:
    it = await scene()
    assert refusal_of((await it.refused(it.token())).kind).code == 70021
    assert it.world.published.asked == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": -301}, 700024),
        ({"exp": None}, 700027),
        ({"exp": "soon"}, 700027),
        ({"nbf": 301}, 700024),
        ({"iat": 301}, 700024),
    ],
)
async def test_times(changes: dict[str, object], code: int) -> None:
    it = await scene()
    await it.trust()
    now = int(it.world.clock.now().timestamp())
    claims: dict[str, Any] = {name: now + value if isinstance(value, int) else value for name, value in changes.items()}
    assert refusal_of((await it.refused(it.token(**claims))).kind).code == code


async def test_a_day_is_not_too_long() -> None:
    it = await scene()
    await it.trust()
    await it.exchange(it.token(exp=int(it.world.clock.now().timestamp()) + 86400))


def _resigned(token: str, header: dict[str, object], sign: Any) -> str:
    body = f"{b64url(json.dumps(header).encode())}.{token.split('.')[1]}"
    return f"{body}.{b64url(sign(body.encode()))}"


async def test_forged_signatures() -> None:
    it = await scene()
    await it.trust()
    good = it.token()
    public = rsa_key().public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    mine = jwk(other_rsa_key().public_key(), "one")
    forged = [
        _resigned(good, {"alg": "none", "kid": "one"}, lambda _: b""),
        _resigned(good, {"alg": "HS256", "kid": "one"}, lambda data: hmac.digest(pem, data, hashlib.sha256)),
        _resigned(good, {"alg": "RS256", "kid": "one"}, lambda _: b""),
        it.token(other_rsa_key()),
        it.token(header={}),
        it.token(header={"kid": "three"}),
        it.token(other_rsa_key(), header={"kid": "one", "jku": "https://attacker.example/jwks"}),
        it.token(other_rsa_key(), header={"kid": "one", "x5u": "https://attacker.example/certificate"}),
        it.token(other_rsa_key(), header={"kid": "one", "jwk": mine}),
        it.token(other_rsa_key(), header={"kid": "one", "x5c": [base64.b64encode(b"x").decode()]}),
        it.token(rsa_key(), header={"kid": "two"}),  # the key of that id is an elliptic one
        it.token(ec_key(), Algorithm.ES256, header={"kid": "one"}),
        good.rpartition(".")[0] + "." + b64url(b"x" * 256),
    ]
    for token in forged:
        refused = await it.refused(token)
        assert refusal_of(refused.kind).code == 50013, token
    assert {url for url, _ in it.world.published.asked} <= set(it.world.published.documents)
    await it.exchange(good)


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [{"kty": "oct", "kid": "one", "k": "c2VjcmV0"}],
        ["twice"],
        ["for encryption"],
        ["for another algorithm"],
        [{"kty": "RSA", "kid": "one", "n": "AQAB", "e": "AQAB"}],
        [{"kty": "RSA", "kid": "one"}],
        [{"kty": "EC", "crv": "P-256", "kid": "one", "x": "AQ", "y": "AQ"}],
        [5, None, "x"],
    ],
)
async def test_keys_that_are_not_used(keys: list[Any]) -> None:
    it = await scene()
    await it.trust()
    key = rsa_key().public_key()
    named = {
        "twice": [jwk(key, "one"), jwk(other_rsa_key().public_key(), "one")],
        "for encryption": [jwk(key, "one", use="enc")],
        "for another algorithm": [jwk(key, "one", alg="RS512")],
    }
    chosen = named.get(keys[0], keys) if keys and isinstance(keys[0], str) else keys
    it.publish(*chosen)
    for _ in range(3):
        assert refusal_of((await it.refused(it.token())).kind).code == 50013
    assert len(it.world.published.asked) == 2  # an issuer without a usable key is no reason to ask and ask


@pytest.mark.parametrize(
    "broken", ["gone", "no json", "array", "other issuer", "no address", "keys gone", "too many", "no list"]
)
async def test_issuers_that_cannot_be_used(broken: str) -> None:
    it = await scene()
    await it.trust()
    documents = it.world.published.documents
    discovery = f"{ISSUER}/.well-known/openid-configuration"
    match broken:
        case "gone":
            documents.clear()
        case "no json":
            documents[discovery] = b"<html>"
        case "array":
            documents[discovery] = b"[]"
        case "other issuer":
            it.publish(jwk(rsa_key().public_key(), "one"), says="https://issuer.example")
        case "no address":
            documents[discovery] = json.dumps({"issuer": ISSUER}).encode()
        case "keys gone":
            del documents[KEYS]
        case "too many":
            it.publish(*(jwk(ec_key().public_key(), str(number)) for number in range(101)))
        case _:
            documents[KEYS] = b'{"keys": {}}'
    for _ in range(3):
        assert refusal_of((await it.refused(it.token())).kind).code == 50166
    assert len(it.world.published.asked) <= 2  # a failure is remembered
    it.publish(jwk(rsa_key().public_key(), "one"))
    it.world.clock.advance(31)
    await it.exchange(it.token())


async def test_many_at_once_ask_once() -> None:
    it = await scene()
    await it.trust()
    token = it.token()
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(it.exchange, token)
    assert len(it.world.published.asked) == 2


async def test_rotated_keys_are_found_and_unknown_ones_are_no_flood() -> None:
    it = await scene()
    await it.trust()
    await it.exchange(it.token())
    for number in range(10):
        await it.refused(it.token(header={"kid": f"new-{number}"}))
    assert len(it.world.published.asked) == 2
    it.publish(jwk(other_rsa_key().public_key(), "next"))
    it.world.clock.advance(61)
    await it.exchange(it.token(other_rsa_key(), header={"kid": "next"}))
    assert len(it.world.published.asked) == 4
    await it.refused(it.token())  # what the issuer withdrew is not trusted any more


async def test_unknown_keys_are_no_flood_of_an_issuer_that_is_down() -> None:
    it = await scene()
    await it.trust()
    await it.exchange(it.token())
    it.world.published.documents.clear()
    it.world.clock.advance(61)
    for number in range(10):
        await it.refused(it.token(header={"kid": f"new-{number}"}))
    assert len(it.world.published.asked) == 3
    await it.exchange(it.token())


async def test_an_outage_is_survived_for_hours_and_no_longer() -> None:
    it = await scene()
    await it.trust()
    await it.exchange(it.token())
    it.world.published.documents.clear()
    it.world.clock.advance(timedelta(hours=2))
    await it.exchange(it.token())
    it.world.clock.advance(timedelta(hours=5))
    assert (await it.refused(it.token())).kind is FailureKind.ISSUER_UNREACHABLE


_HOME = "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("issuer", "keys", "private"),
    [
        (_HOME, f"{_HOME}/jwks", [True, True]),
        (_HOME, "http://127.0.0.1:9/jwks", [True, False]),
        (ISSUER, KEYS, [False, False]),
        (ISSUER, f"{_HOME}/jwks", [False, False]),
    ],
)
async def test_only_named_issuers_may_be_private_and_only_on_their_own_host(
    issuer: str, keys: str, private: list[bool]
) -> None:
    it = await scene()
    await it.world.commit(replacing(TENANTS, replace(it.world.tenant, private_issuers=(_HOME,))))
    await it.trust(issuer=issuer)
    it.publish(jwk(rsa_key().public_key(), "one"), issuer=issuer, at=keys)
    await it.exchange(it.token(iss=issuer))
    assert [allowed for _, allowed in it.world.published.asked] == private


async def test_an_expression_decides() -> None:
    it = await scene()
    expression = "claims['sub'] matches 'repo:contoso/*' and claims['job_workflow_ref'] eq 'contoso/ci@v1'"
    credential = await it.trust(subject=None, expression=ClaimsExpression(value=expression))
    await it.exchange(it.token(job_workflow_ref="contoso/ci@v1"))
    refusals: tuple[dict[str, Any], ...] = (
        {},
        {"job_workflow_ref": "contoso/ci@v2"},
        {"sub": "repo:evil/x", "job_workflow_ref": "contoso/ci@v1"},
    )
    for claims in refusals:
        refused = await it.refused(it.token(**claims))
        assert refused.kind is FailureKind.FEDERATION_SUBJECT
        record = await it.last()
        assert record.federated is not None
        assert (record.federated.nearest, record.federated.differs) == (credential.id, "claimsMatchingExpression")


async def test_a_credential_that_is_gone_proves_nothing() -> None:
    it = await scene()
    credential = await it.trust()
    await it.exchange(it.token())
    await it.world.commit(Delete(collection=FEDERATED_CREDENTIALS, key=credential.key))
    assert (await it.refused(it.token())).kind is FailureKind.FEDERATION_NONE


async def test_the_clients_own_assertions_are_what_they_were() -> None:
    it = await scene()
    await it.trust(it.world.app)
    refused = await it.refused(it.token(iss="someone"), it.world.app)
    assert refused.kind is FailureKind.ASSERTION_INVALID
    assert (await it.last()).federated is None


# A managed identity as an application's credential -----------------------------------------------------------------------


async def _own_token(it: Scene, principal: Principal, audience: str = EXCHANGE) -> str:
    request = replace(it.world.by_agent(principal), audience=audience)
    return (await it.world.service.issue(request, it.world.call())).access_token


async def test_a_managed_identity_acts_as_an_application() -> None:
    it = await scene(profile=AZURE)
    await it.trust(it.world.app, issuer=it.world.tenant.issuer_v2, subject=it.world.user.id)
    assertion = await _own_token(it, it.world.user)
    token = await it.exchange(assertion, it.world.app)
    assert (await it.world.authenticator.authenticate(token, (ARM,))).principal_id == it.world.app.id
    assert it.world.published.asked == []
    for row in await it.world.store.all(IDENTITY_ASSIGNMENTS, where={"principal_id": it.world.user.id}):
        await it.world.commit(Delete(collection=IDENTITY_ASSIGNMENTS, key=row.value.key))
    assert refusal_of((await it.refused(assertion, it.world.app)).kind).code == 50013


async def test_a_managed_identity_acts_in_another_tenant() -> None:
    it = await scene(profile=AZURE)
    away = new_application_principal(
        tenant_id=OTHER_TENANT_ID, display_name="away", entropy=it.world.entropy, now=it.world.clock.now()
    )
    await it.world.commit(replacing(PRINCIPALS, away))
    await it.trust(away, issuer=it.world.tenant.issuer_v2, subject=it.world.user.id)
    token = await it.exchange(await _own_token(it, it.world.user), away, tenant=OTHER_TENANT_ID)
    assert (await it.world.authenticator.authenticate(token, (ARM,))).tenant_id == OTHER_TENANT_ID


async def test_own_tokens_that_are_not_exchanged() -> None:
    it = await scene(profile=AZURE)
    tenant = it.world.tenant
    await it.trust(it.world.app, name="user", issuer=tenant.issuer_v2, subject=it.world.user.id)
    await it.trust(it.world.app, name="system", issuer=tenant.issuer_v2, subject=it.world.system.id)
    await it.trust(it.world.app, name="self", issuer=tenant.issuer_v2, subject=it.world.app.id)
    good = await _own_token(it, it.world.user)
    themselves = (await it.world.service.issue(it.world.by_secret(audience=EXCHANGE), it.world.call())).access_token
    cases = [
        (await _own_token(it, it.world.user, ARM), 700211),  # a token of version 1 has the other issuer
        (await _own_token(it, it.world.system), 700222),
        (themselves, 700222),
        (it.token(iss=tenant.issuer_v2, sub=it.world.user.id, aud=EXCHANGE_ID), 50013),
        (it.token(iss=tenant.issuer_v2, sub=it.world.user.id, aud=EXCHANGE), 700212),
    ]
    for token, code in cases:
        assert refusal_of((await it.refused(token, it.world.app)).kind).code == code
    it.world.clock.advance(timedelta(hours=25))
    assert refusal_of((await it.refused(good, it.world.app)).kind).code == 700024


async def test_the_exchange_audience_is_named_by_its_uri() -> None:
    it = await scene(profile=AZURE)
    await it.trust(it.world.app, issuer=it.world.tenant.issuer_v2, subject=it.world.user.id, audiences=(EXCHANGE_ID,))
    assert refusal_of((await it.refused(await _own_token(it, it.world.user), it.world.app)).kind).code == 700214


async def test_profile_open_lets_system_assigned_identities_act() -> None:
    it = await scene(profile=OPEN)
    await it.trust(it.world.app, issuer=it.world.tenant.issuer_v2, subject=it.world.system.id)
    await it.exchange(await _own_token(it, it.world.system), it.world.app)
