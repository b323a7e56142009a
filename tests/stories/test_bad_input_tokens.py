"""Bad tokens at every surface: whatever is wrong with one, the answer is a 401 in the surface's words that repeats nothing of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from tests.first_party import graph_grants
from tests.stories.edge import ARM, GRAPH, PORT, VAULT, Edge, Seen, assert_refused, errors_logged

from idplane.jose import Algorithm, Signer, b64url, new_rsa_key, parse
from idplane.keys import SigningPermit
from idplane.model.directory import Tenant
from idplane.ports.collections import PRINCIPALS, TENANTS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.testing.local import LocalPlane

Claims = dict[str, Any]


class Surface:
    """Where a bearer token is asked for, and the audience that it should have."""

    def __init__(self, target: str, audience: str, host: str = f"localhost:{PORT}") -> None:
        self.target = target
        self.audience = audience
        self.host = host

    def ask(self, edge: Edge, token: str) -> Seen:
        return edge.ask("GET", self.target, host=self.host, token=token)


SURFACES = {
    "management": Surface("/subscriptions/{subscription}/resourceGroups/tests?api-version=2024-11-01", ARM),
    "graph": Surface(
        "/beta/auditLogs/signIns?$filter=signInEventTypes/any(t:t eq 'servicePrincipal')".replace(" ", "%20"), GRAPH
    ),
    "vault": Surface("/secrets?api-version=7.4", VAULT, f"token-tests.vault.localhost:{PORT}"),
}


@pytest.fixture(scope="module")
def plane() -> Iterator[LocalPlane]:
    plane = LocalPlane()
    plane.vault("token-tests", password="hunter2")
    yield plane
    plane.close()


@pytest.fixture(scope="module")
def edge(plane: LocalPlane) -> Iterator[Edge]:
    """The edge; nothing that is sent to it may turn out to be a bug."""
    with errors_logged() as records:
        yield Edge(plane)
    assert not records


@pytest.fixture(scope="module")
def stranger() -> Iterator[LocalPlane]:
    plane = LocalPlane()
    yield plane
    plane.close()


@pytest.fixture(params=SURFACES)
def surface(request: pytest.FixtureRequest) -> Surface:
    return SURFACES[request.param]


@pytest.fixture
def good(edge: Edge, surface: Surface) -> str:
    token = edge.operator(surface.audience)
    assert surface.ask(edge, token).status == 200
    return token


def ours(plane: LocalPlane, claims: Claims) -> str:
    """A token under the plane's own key: what only a bug in the token service could make."""

    async def sign() -> str:
        return plane._plane.server.ring.sign(SigningPermit(claims=claims)).token

    token: str = plane.run(sign())
    return token


def claims_of(token: str) -> Claims:
    return dict(parse(token).claims)


def encoded(value: object) -> str:
    return b64url(json.dumps(value).encode())


def refused(seen: Seen, *, token: str = "") -> None:
    assert_refused(seen, 401)
    assert seen.headers["www-authenticate"].startswith("Bearer ")
    for part in token.split("."):
        assert len(part) < 12 or part not in seen.body.decode() + str(seen.headers)


FORMS: dict[str, Callable[[str], str]] = {
    "truncated": lambda token: token[:-20],
    "without a signature": lambda token: token.rpartition(".")[0],
    "with an empty signature": lambda token: token.rpartition(".")[0] + ".",
    "with another signature": lambda token: token.rpartition(".")[0] + "." + b64url(b"x" * 256),
    "with one bit changed": lambda token: token[:-30] + ("A" if token[-30] != "A" else "B") + token[-29:],
    "with a fourth part": lambda token: f"{token}.x",
    "with parts swapped": lambda token: ".".join(reversed(token.split("."))),
    "empty parts": lambda _: "..",
    "no token": lambda _: "hello",
    "too long": lambda token: token + "A" * 17_000,
    "an object with depth": lambda token: f"{b64url(b'{' + b'}' * 0)}.{b64url(b'[' * 5000)}.{token.split('.')[2]}",
    "not JSON": lambda token: f"{b64url(b'hello')}.{b64url(b'hello')}.{token.split('.')[2]}",
    "not an object": lambda token: f"{encoded([])}.{encoded([])}.{token.split('.')[2]}",
    "bytes that are no text": lambda token: f"{b64url(bytes(range(256)))}.{token.split('.')[1]}.{token.split('.')[2]}",
    "twice": lambda token: f"{token}, Bearer {token}",
    "quoted": lambda token: f'"{token}"',
    "with a blank inside": lambda token: token.replace(".", ". ", 1),
    "with a character beyond ASCII": lambda token: token + "\xe9",
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_token_is_refused(edge: Edge, surface: Surface, good: str, form: str) -> None:
    refused(surface.ask(edge, FORMS[form](good)), token=good)


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", "HS512", "RS512", "PS256", "ES256", "EdDSA", 5, None, ["RS256"]]
)
def test_a_token_does_not_choose_its_algorithm(
    plane: LocalPlane, edge: Edge, surface: Surface, good: str, algorithm: object
) -> None:
    """Unsigned, or signed with the public key as if it were a shared secret, in every form somebody could have it."""
    header = {**parse(good).header, "alg": algorithm}
    payload = good.split(".")[1]
    key = plane._plane.server.ring.public_key(str(header["kid"]))
    assert key is not None
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    secrets = [
        b"",
        key.certificate,
        *(key.key.public_bytes(one, public) for one in (serialization.Encoding.PEM, serialization.Encoding.DER)),
    ]
    for secret in secrets:
        signing_input = f"{encoded(header)}.{payload}"
        forged = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
        for signature in ("", b64url(forged), good.split(".")[2]):
            refused(surface.ask(edge, f"{signing_input}.{signature}"))


@pytest.mark.parametrize("hint", ["jwk", "jku", "x5u", "x5c", "crit", "kid"])
def test_a_token_does_not_bring_its_own_key(edge: Edge, surface: Surface, good: str, hint: str) -> None:
    key = new_rsa_key()
    numbers = key.public_key().public_numbers()
    jwk = {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(numbers.n.to_bytes(256)).decode().rstrip("=")}
    header: Claims = {**parse(good).header}
    header[hint] = {"jwk": jwk, "crit": ["exp"], "x5c": ["MII"]}.get(hint, "https://evil.example/keys")
    refused(surface.ask(edge, Signer(key, Algorithm.RS256, header).sign(claims_of(good))))


@pytest.mark.parametrize("kid", ["", "../../etc/passwd", "' or 1=1 --", "a" * 5000, "\0", 7, None, {}, []])
def test_key_ids_lead_nowhere(edge: Edge, surface: Surface, good: str, kid: object) -> None:
    header = {**parse(good).header, "kid": kid}
    refused(surface.ask(edge, f"{encoded(header)}.{good.split('.', 1)[1]}"))


def test_another_planes_token_is_refused(stranger: LocalPlane, edge: Edge, surface: Surface, good: str) -> None:
    foreign = stranger.operator_token(surface.audience)["access_token"]
    refused(surface.ask(edge, foreign), token=foreign)
    # Even when it claims to be ours, to the last claim.
    forged = ours(stranger, claims_of(good))
    refused(surface.ask(edge, forged))
    header = {**parse(forged).header, "kid": parse(good).header["kid"], "x5t": parse(good).header["kid"]}
    refused(surface.ask(edge, f"{encoded(header)}.{forged.split('.', 1)[1]}"))


WRONG: dict[str, Claims] = {
    "audience": {"aud": "https://storage.azure.com"},
    "audience with a suffix": {"aud": "https://management.azure.com.evil.example"},
    "audience list": {"aud": [ARM, GRAPH, VAULT]},
    "no audience": {"aud": None},
    "issuer": {"iss": "https://evil.example/"},
    "issuer list": {"iss": ["https://sts.windows.net/"]},
    "no issuer": {"iss": None},
    "tenant": {"tid": "00000000-0000-0000-0000-000000000000"},
    "tenant of another type": {"tid": 5},
    "principal": {"oid": "00000000-0000-0000-0000-000000000000"},
    "principal of another type": {"oid": {}},
    "client": {"appid": "00000000-0000-0000-0000-000000000000", "azp": "00000000-0000-0000-0000-000000000000"},
    "no start": {"nbf": None},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_we_would_never_have_signed_is_refused_under_our_own_signature(
    plane: LocalPlane, edge: Edge, surface: Surface, good: str, wrong: str
) -> None:
    claims = {name: value for name, value in {**claims_of(good), **WRONG[wrong]}.items() if value is not None}
    refused(surface.ask(edge, ours(plane, claims)))


def test_a_token_for_another_resource_is_refused_and_says_so(edge: Edge) -> None:
    for name, surface in SURFACES.items():
        for other in SURFACES.values():
            if other is not surface:
                seen = surface.ask(edge, edge.operator(other.audience))
                refused(seen)
                assert "audience" in seen.text.lower(), (name, seen)


def test_an_expired_token_is_refused_to_the_second(plane: LocalPlane, edge: Edge, surface: Surface, good: str) -> None:
    claims = claims_of(good)
    now = int(plane.clock.now().timestamp())
    seen = surface.ask(edge, ours(plane, {**claims, "nbf": now - 600, "exp": now - 1}))
    refused(seen)
    assert "expired" in seen.text.lower() or "expired" in seen.body.decode().lower()
    assert surface.ask(edge, ours(plane, {**claims, "exp": now + 60})).status == 200


def test_another_tenants_token_says_nothing_here(plane: LocalPlane, edge: Edge) -> None:
    """A second tenant of the same plane, with a principal that looks like the owner."""
    other = "22222222-2222-4222-8222-222222222222"
    now = plane.clock.now()
    tenant = Tenant(
        id=other,
        display_name="other",
        domain="other.example",
        issuer_v1=f"https://sts.windows.net/{other}/",
        issuer_v2=f"https://login.microsoftonline.com/{other}/v2.0",
        created_at=now,
    )
    operator = plane._plane.server.installation.operator
    twin = replace(
        operator,
        id="33333333-3333-4333-8333-333333333333",
        tenant_id=other,
        client_id="44444444-4444-4444-8444-444444444444",
        app_roles=graph_grants("AuditLog.Read.All"),
    )
    plane.run(
        plane.store.commit(
            Batch.of(
                Put(collection=TENANTS, value=tenant, expect=ABSENT), Put(collection=PRINCIPALS, value=twin, expect=ABSENT)
            )
        )
    )
    own = claims_of(edge.operator(ARM))
    theirs = {"tid": other, "iss": tenant.issuer_v1, "oid": twin.id, "appid": twin.client_id, "sub": twin.id}
    for name, surface in SURFACES.items():
        token = ours(plane, {**own, **theirs, "aud": surface.audience, "roles": ["AuditLog.Read.All"]})
        seen = surface.ask(edge, token)
        if name == "graph":
            assert seen.status == 200
            assert seen.json["value"] == []  # its own log, which is empty
        else:
            assert_refused(seen, 401, 403)
        # Nor does a claim of one tenant in a token of the other.
        for mixed in ({"tid": other}, {"oid": twin.id}, {"tid": other, "iss": tenant.issuer_v1}, {"appid": twin.client_id}):
            refused(surface.ask(edge, ours(plane, {**own, "aud": surface.audience, **mixed})))


HEADERS = {
    "missing": [],
    "empty": [("authorization", "")],
    "scheme only": [("authorization", "Bearer")],
    "scheme and a blank": [("authorization", "Bearer ")],
    "another scheme": [("authorization", "Basic eDp5")],
    "no scheme": [("authorization", "{token}")],
    "twice": [("authorization", "Bearer {token}"), ("authorization", "Bearer {token}")],
    "twice in two cases": [("Authorization", "Bearer {token}"), ("AUTHORIZATION", "Bearer {token}")],
    "a comma": [("authorization", "Bearer {token}, Basic eDp5")],
    "in another header": [("x-ms-authorization-auxiliary", "Bearer {token}"), ("cookie", "token={token}")],
    "underscores": [("authorization_", "Bearer {token}")],
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_token_comes_in_one_header_once(edge: Edge, surface: Surface, good: str, case: str) -> None:
    headers = [(name, value.replace("{token}", good)) for name, value in HEADERS[case]]
    refused(edge.ask("GET", surface.target, host=surface.host, headers=headers), token=good)
    inside = edge.ask("GET", f"{surface.target}&access_token={good}", host=surface.host)
    refused(inside, token=good)


def test_header_names_and_the_scheme_are_read_in_any_case(edge: Edge, surface: Surface, good: str) -> None:
    for name, scheme in (("AUTHORIZATION", "bearer"), ("authorization", "BEARER")):
        assert edge.ask("GET", surface.target, host=surface.host, headers=[(name, f"{scheme}  {good} ")]).status == 200


def test_an_expired_token_of_a_real_run_is_refused(plane: LocalPlane, edge: Edge) -> None:
    token = edge.operator(ARM)
    plane.clock.advance(timedelta(hours=2))
    try:
        seen = SURFACES["management"].ask(edge, token)
        assert_refused(seen, 401)
        assert seen.code == "ExpiredAuthenticationToken"
    finally:
        plane.clock.reset()
