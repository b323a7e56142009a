"""Client assertions: the sloppiness of real clients passes (managed-identity-endpoints.md section 6.3), everything else does not."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from tests.unit.sts.sts_world import (
    AUTHORITY,
    OTHER_TENANT_ID,
    TENANT_ID,
    KeyPair,
    StsWorld,
    foreign_rsa_pair,
    key_pair,
    padded,
    replacing,
    rsa_pair,
)

from idplane.directory.clients import certificate_credential
from idplane.jose import Algorithm, b64url, new_ec_key
from idplane.jose.signatures import Signer
from idplane.model.directory import CredentialKind
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import CREDENTIALS
from idplane.ports.store import Delete

DOMAIN = "contoso.onmicrosoft.com"


@pytest.fixture
async def world() -> AsyncIterator[StsWorld]:
    opened = await StsWorld.open()
    yield opened
    await opened.store.close()


async def outcome(world: StsWorld, assertion: str, **changes: str | None) -> FailureKind | None:
    """None for a token, else why not."""
    try:
        await world.service.issue(world.by_assertion(assertion, **changes), world.call())
    except Failure as failure:
        return failure.kind
    return None


def standard(data: bytes) -> str:
    return base64.b64encode(data).decode()


class TestSloppyClients:
    @pytest.mark.parametrize("algorithm", [Algorithm.RS256, Algorithm.PS256])
    @pytest.mark.parametrize("spelling", [b64url, padded, standard])
    @pytest.mark.parametrize("name", ["x5t", "x5t#S256"])
    async def test_any_thumbprint_with_any_algorithm(
        self, world: StsWorld, algorithm: Algorithm, spelling: Any, name: str
    ) -> None:
        digest = rsa_pair().sha1 if name == "x5t" else rsa_pair().sha256
        assert await outcome(world, world.assertion(rsa_pair(), algorithm, header={name: spelling(digest)})) is None

    @pytest.mark.parametrize("x5c", ["MIIB\r\nsome text", ["MIIB", "MIIC"], [], None, 7])
    async def test_x5c_is_not_read(self, world: StsWorld, x5c: object) -> None:
        header = {"x5t": b64url(rsa_pair().sha1), "x5c": x5c}
        assert await outcome(world, world.assertion(rsa_pair(), header=header)) is None

    async def test_padded_segments(self, world: StsWorld) -> None:
        header = {"alg": "PS256", "typ": "JWT", "x5t#S256": padded(rsa_pair().sha256)}
        assert await outcome(world, by_hand(world, rsa_pair(), header, segment=padded)) is None

    async def test_fractions_of_seconds(self, world: StsWorld) -> None:
        now = world.clock.now().timestamp() + 0.25
        assert await outcome(world, world.assertion(rsa_pair(), claims={"iat": now, "nbf": now, "exp": now + 600})) is None

    async def test_times_as_text(self, world: StsWorld) -> None:
        now = int(world.clock.now().timestamp())
        claims = {"iat": None, "nbf": str(now), "exp": str(now + 600)}  # as MSAL.NET writes them
        assert await outcome(world, world.assertion(rsa_pair(), claims=claims)) is None

    @pytest.mark.parametrize("left_out", ["nbf", "iat", "jti"])
    async def test_optional_claims(self, world: StsWorld, left_out: str) -> None:
        assert await outcome(world, world.assertion(rsa_pair(), claims={left_out: None})) is None

    async def test_one_assertion_many_times(self, world: StsWorld) -> None:
        assertion = world.assertion(rsa_pair())
        assert [await outcome(world, assertion) for _ in range(5)] == [None] * 5

    async def test_elliptic_key(self, world: StsWorld) -> None:
        pair = key_pair(new_ec_key())
        await world.commit(
            replacing(CREDENTIALS, certificate_credential(world.app, certificate=pair.certificate, entropy=world.entropy))
        )
        assert await outcome(world, world.assertion(pair, Algorithm.ES256)) is None

    @pytest.mark.parametrize(
        "audience",
        [
            f"{AUTHORITY}/{TENANT_ID}/oauth2/v2.0/token",
            f"{AUTHORITY}/{TENANT_ID}/oauth2/token",
            f"{AUTHORITY}/{TENANT_ID}/v2.0",
            f"{AUTHORITY}/{TENANT_ID}/",
            f"{AUTHORITY}/{TENANT_ID}",
            f"{AUTHORITY}/{DOMAIN}/oauth2/v2.0/token",
            f"{AUTHORITY}/{DOMAIN.upper()}/OAuth2/v2.0/token",
            [f"{AUTHORITY}/{DOMAIN}/oauth2/token"],
            f"https://login.microsoftonline.com/{TENANT_ID}/v2.0",
            f"https://sts.windows.net/{TENANT_ID}/",
        ],
    )
    async def test_audiences(self, world: StsWorld, audience: object) -> None:
        assert await outcome(world, world.assertion(rsa_pair(), claims={"aud": audience})) is None

    @pytest.mark.parametrize(("nbf", "exp"), [(299, 600), (-600, -299), (0, 3600), (0, 3899)])
    async def test_clock_tolerance(self, world: StsWorld, nbf: int, exp: int) -> None:
        now = int(world.clock.now().timestamp())
        claims = {"nbf": now + nbf, "iat": now + nbf, "exp": now + exp}
        assert await outcome(world, world.assertion(rsa_pair(), claims=claims)) is None


class TestRefusals:
    @pytest.mark.parametrize(
        ("claims", "kind"),
        [
            ({"iss": "another"}, FailureKind.ASSERTION_INVALID),
            ({"iss": None}, FailureKind.ASSERTION_INVALID),
            ({"sub": "another"}, FailureKind.ASSERTION_INVALID),
            ({"sub": ["a"]}, FailureKind.ASSERTION_INVALID),
            ({"exp": None}, FailureKind.ASSERTION_INVALID),
            ({"exp": "soon"}, FailureKind.ASSERTION_INVALID),
            ({"exp": ""}, FailureKind.ASSERTION_INVALID),
            ({"exp": "1e9"}, FailureKind.ASSERTION_INVALID),
            ({"exp": "١٢٣"}, FailureKind.ASSERTION_INVALID),
            ({"exp": "0"}, FailureKind.ASSERTION_TIME),
            ({"exp": True}, FailureKind.ASSERTION_INVALID),
            ({"nbf": "now"}, FailureKind.ASSERTION_INVALID),
            ({"iat": -1}, FailureKind.ASSERTION_INVALID),
            ({"aud": None}, FailureKind.ASSERTION_AUDIENCE),
            ({"aud": ""}, FailureKind.ASSERTION_AUDIENCE),
            ({"aud": 7}, FailureKind.ASSERTION_AUDIENCE),
            ({"aud": []}, FailureKind.ASSERTION_AUDIENCE),
            ({"aud": [f"{AUTHORITY}/{TENANT_ID}", "https://elsewhere"]}, FailureKind.ASSERTION_AUDIENCE),
            ({"aud": f"{AUTHORITY}/{OTHER_TENANT_ID}/oauth2/v2.0/token"}, FailureKind.ASSERTION_AUDIENCE),
            ({"aud": f"https://localhost/{TENANT_ID}/oauth2/v2.0/token"}, FailureKind.ASSERTION_AUDIENCE),
            ({"aud": f"http://localhost:8443/{TENANT_ID}/oauth2/v2.0/token"}, FailureKind.ASSERTION_AUDIENCE),
            ({"aud": f"{AUTHORITY}/common/oauth2/v2.0/token"}, FailureKind.ASSERTION_AUDIENCE),
            ({"aud": f"{AUTHORITY}/{TENANT_ID}/oauth2/v2.0/token/x"}, FailureKind.ASSERTION_AUDIENCE),
        ],
    )
    async def test_claims(self, world: StsWorld, claims: dict[str, object], kind: FailureKind) -> None:
        assert await outcome(world, world.assertion(rsa_pair(), claims=claims)) is kind

    @pytest.mark.parametrize(
        ("nbf", "iat", "exp"), [(301, 0, 900), (0, 301, 900), (-900, -900, -300), (0, 0, 3901), (0, 0, 10**10)]
    )
    async def test_times(self, world: StsWorld, nbf: int, iat: int, exp: int) -> None:
        now = int(world.clock.now().timestamp())
        claims = {"nbf": now + nbf, "iat": now + iat, "exp": now + exp}
        assert await outcome(world, world.assertion(rsa_pair(), claims=claims)) is FailureKind.ASSERTION_TIME

    async def test_accepted_assertion_expires_all_the_same(self, world: StsWorld) -> None:
        assertion = world.assertion(rsa_pair())
        assert await outcome(world, assertion) is None
        world.clock.advance(timedelta(minutes=15))
        assert await outcome(world, assertion) is FailureKind.ASSERTION_TIME

    async def test_accepted_assertion_dies_with_its_credential(self, world: StsWorld) -> None:
        assertion = world.assertion(rsa_pair())
        assert await outcome(world, assertion) is None
        rows = await world.store.all(CREDENTIALS, where={"principal_id": world.app.id, "kind": CredentialKind.CERTIFICATE})
        await world.commit(*(Delete(collection=CREDENTIALS, key=row.value.id) for row in rows))
        assert await outcome(world, assertion) is FailureKind.ASSERTION_INVALID

    async def test_accepted_assertion_is_no_good_for_another_client(self, world: StsWorld) -> None:
        request = world.by_agent(world.system)
        await world.service.issue(request, world.call())
        with pytest.raises(Failure) as raised:
            await world.service.issue(replace(request, client_id=world.app.client_id), world.call())
        assert raised.value.kind is FailureKind.ASSERTION_INVALID

    async def test_foreign_certificate(self, world: StsWorld) -> None:
        assert await outcome(world, world.assertion(foreign_rsa_pair())) is FailureKind.ASSERTION_INVALID

    async def test_foreign_key_under_a_registered_thumbprint(self, world: StsWorld) -> None:
        header = {"x5t#S256": b64url(rsa_pair().sha256), "x5c": [standard(foreign_rsa_pair().certificate)]}
        assert await outcome(world, world.assertion(foreign_rsa_pair(), header=header)) is FailureKind.ASSERTION_INVALID

    @pytest.mark.parametrize(
        "header",
        [
            {},
            {"kid": "x"},
            {"x5t": 7},
            {"x5t": "!"},
            {"x5t#S256": "AAAA"},
            {"x5t#S256": b64url(bytes(20))},
            {"x5t": b64url(bytes(32))},
            {"x5t": "ü"},
            {"x5t#S256": b64url(bytes(32))},
        ],
    )
    async def test_headers_that_name_no_certificate(self, world: StsWorld, header: dict[str, object]) -> None:
        assert await outcome(world, world.assertion(rsa_pair(), header=header)) is FailureKind.ASSERTION_INVALID

    async def test_identity_certificates_are_not_found_by_sha1(self, world: StsWorld) -> None:
        certificate = world.system_credential.certificate
        assert certificate is not None
        pair = KeyPair(key=world.agent_pair.key, certificate=certificate)
        client = world.system.client_id
        assertion = world.assertion(pair, Algorithm.ES256, {"iss": client, "sub": client}, {"x5t": b64url(pair.sha1)})
        assert await outcome(world, assertion, client_id=client) is FailureKind.ASSERTION_INVALID

    async def test_certificate_that_is_not_valid_any_more(self, world: StsWorld) -> None:
        now = world.clock.now()
        pair = key_pair(rsa_pair().key, starts=now - timedelta(days=9), ends=now)
        await world.commit(
            replacing(CREDENTIALS, certificate_credential(world.app, certificate=pair.certificate, entropy=world.entropy))
        )
        assert await outcome(world, world.assertion(pair)) is FailureKind.ASSERTION_INVALID

    @pytest.mark.parametrize("algorithm", ["none", "None", "", "HS256", "RS512", "ES256", None, 7])
    async def test_algorithms(self, world: StsWorld, algorithm: object) -> None:
        header = {"alg": algorithm, "x5t#S256": b64url(rsa_pair().sha256)}
        assert await outcome(world, by_hand(world, rsa_pair(), header)) is FailureKind.ASSERTION_INVALID

    async def test_public_key_as_hmac_secret(self, world: StsWorld) -> None:
        public = (
            rsa_pair()
            .key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        header = {"alg": "HS256", "x5t#S256": b64url(rsa_pair().sha256)}
        for secret in (public, rsa_pair().certificate):
            signing_input = f"{encoded(header)}.{encoded(world.assertion_claims({}))}"
            mac = hmac.digest(secret, signing_input.encode(), hashlib.sha256)
            assert await outcome(world, f"{signing_input}.{b64url(mac)}") is FailureKind.ASSERTION_INVALID

    async def test_tampered(self, world: StsWorld) -> None:
        header, _, signature = world.assertion(rsa_pair()).split(".")
        claims = encoded(world.assertion_claims({"jti": "two"}))
        assert await outcome(world, f"{header}.{claims}.{signature}") is FailureKind.ASSERTION_INVALID

    @pytest.mark.parametrize("text", [".", "..", "a.b.c", "x" * 20_000, "ü.ü.ü", "e30.e30.", "e30.e30.AA\n"])
    async def test_not_an_assertion(self, world: StsWorld, text: str) -> None:
        assert await outcome(world, text) is FailureKind.ASSERTION_INVALID

    @pytest.mark.parametrize("kind", [None, "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"])
    async def test_assertion_types(self, world: StsWorld, kind: str | None) -> None:
        assertion = world.assertion(rsa_pair())
        assert await outcome(world, assertion, client_assertion_type=kind) is FailureKind.INVALID_PARAMETER


def encoded(document: Mapping[str, object]) -> str:
    return b64url(json.dumps(document).encode())


def by_hand(world: StsWorld, pair: KeyPair, header: Mapping[str, object], segment: Any = b64url) -> str:
    """An assertion as a client with its own encoder makes it, signed as RFC 7518 says for PS256."""
    claims = world.assertion_claims({})
    signing_input = ".".join(segment(json.dumps(part).encode()) for part in (header, claims))
    signed = Signer(pair.key, Algorithm.PS256, {})._make_signature(signing_input.encode())
    return f"{signing_input}.{b64url(signed)}"
