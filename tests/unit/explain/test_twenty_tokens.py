"""Refusals of the token service and of tokens, each by a real request: explained by its id, mended exactly as told, and then none any more."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import timedelta

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from tests.interop.issuers import EXCHANGE, LocalIssuer, local_issuer
from tests.unit.explain.explain_world import ARM, VAULT, ExplainWorld, Reply

from idplane.explain.model import StepKind
from idplane.testing.local import Application, ManagedIdentity

_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def test_a_client_that_is_disabled(world: ExplainWorld) -> None:
    app = world.plane.application("stock")
    world.graph("PATCH", f"/servicePrincipals/{app.principal_id}", {"accountEnabled": False})
    refused = world.token_request(app)
    assert refused.status == 401
    told = world.mend(refused.id)
    assert told.summary == "stock is disabled: it gets no tokens, and those that it has count for nothing."
    assert world.token_request(app).ok
    assert world.explain(refused.id).now is not None


def test_a_secret_that_has_expired(world: ExplainWorld) -> None:
    app = world.plane.application("stock")
    ends = (world.plane.clock.now() + timedelta(minutes=10)).isoformat()
    short = world.graph(
        "POST", f"/servicePrincipals/{app.principal_id}/addPassword", {"passwordCredential": {"endDateTime": ends}}
    )
    assert world.token_request(app, client_secret=short["secretText"]).ok
    world.plane.advance(timedelta(hours=1))
    refused = world.token_request(app, client_secret=short["secretText"])
    assert refused.body["error_codes"] == [7000222]
    told = world.explain(refused.id)
    assert "it ended on " in told.decided.why
    assert told.decided.id == short["keyId"]
    made = world.apply(told.fixes)
    assert world.token_request(app, client_secret=made["secretText"]).ok


def test_a_secret_that_is_wrong(world: ExplainWorld) -> None:
    app = world.plane.application("stock")
    refused = world.token_request(app, client_secret="no-such-secret")
    told = world.explain(refused.id)
    assert told.nearest is not None
    assert "is another secret, valid until" in told.nearest.why
    made = world.apply(told.fixes)
    assert world.token_request(app, client_secret=made["secretText"]).ok


def test_a_client_id_with_a_slip(world: ExplainWorld) -> None:
    app = world.plane.application("stock")
    last = "0" if app.client_id[-1] != "0" else "1"
    wrong = Application(client_id=app.client_id[:-1] + last, principal_id=app.principal_id, secret=app.secret)
    told = world.explain(world.token_request(wrong).id)
    assert told.nearest is not None
    assert told.nearest.name == "stock"
    assert told.fixes[0].text == f"Ask as '{app.client_id}', which is stock"
    assert world.token_request(app).ok


def test_an_object_id_in_place_of_a_client_id(world: ExplainWorld) -> None:
    app = world.plane.application("stock")
    wrong = Application(client_id=app.principal_id, principal_id=app.principal_id, secret=app.secret)
    told = world.explain(world.token_request(wrong).id)
    assert told.nearest is not None
    assert told.nearest.why.endswith("is its object id; tokens are asked for under its client id")
    assert told.fixes[0].text.startswith(f"Ask as '{app.client_id}'")


def test_a_client_that_was_deleted(world: ExplainWorld) -> None:
    app = world.plane.application("stock")
    assert world.token_request(app).ok
    world.graph("DELETE", f"/servicePrincipals/{app.principal_id}")
    told = world.explain(world.token_request(app).id)
    assert "any more: 'stock' had it, and got its last token on " in told.summary


def test_a_resource_with_a_slip(world: ExplainWorld) -> None:
    app = world.plane.application("stock")
    refused = world.token_request(app, "https://vualt.azure.net")
    told = world.explain(refused.id)
    assert told.nearest is not None
    assert told.nearest.name == VAULT
    assert told.fixes[0].text == f"Ask for a token for '{VAULT}' instead"
    assert world.token_request(app, VAULT).ok


def test_a_resource_that_is_not_registered(world: ExplainWorld) -> None:
    app = world.plane.application("stock")
    refused = world.token_request(app, "api://orders-of-ours")
    told = world.mend(refused.id)
    assert told.decided.kind is StepKind.AUDIENCE
    assert world.token_request(app, "api://orders-of-ours").ok


def test_a_token_for_something_else(world: ExplainWorld) -> None:
    app = world.plane.application("stock")
    group = world.plane.resource_group()
    world.plane.grant(app, "Reader", group)
    refused = world.send("GET", f"{group}?api-version=2024-11-01", token=world.token(app, VAULT))
    assert refused.status == 401
    told = world.explain(refused.id)
    assert told.fixes[0].text.startswith(f"Ask for a token for '{ARM}'")
    assert world.send("GET", f"{group}?api-version=2024-11-01", token=world.token(app, ARM)).ok


def test_tokens_that_were_revoked(world: ExplainWorld) -> None:
    app = world.plane.application("stock")
    group = world.plane.resource_group()
    world.plane.grant(app, "Reader", group)
    token = world.token(app)
    path = "/providers/Idplane.Authority/revokeTokens"
    world.plane.call("POST", path, {"principalId": app.principal_id}, api_version="2026-11-01")
    refused = world.send("GET", f"{group}?api-version=2024-11-01", token=token)
    assert refused.status == 401
    told = world.explain(refused.id)
    assert "all tokens of stock that had been issued were revoked on " in told.decided.why
    assert " by idplane operator" in told.decided.why
    assert told.fixes[0].text == "Get a new token: one that is issued now counts"
    assert world.send("GET", f"{group}?api-version=2024-11-01", token=world.token(app)).ok


def test_a_token_of_a_principal_that_was_disabled_since(world: ExplainWorld) -> None:
    app = world.plane.application("stock")
    group = world.plane.resource_group()
    world.plane.grant(app, "Reader", group)
    token = world.token(app)
    world.graph("PATCH", f"/servicePrincipals/{app.principal_id}", {"accountEnabled": False})
    refused = world.send("GET", f"{group}?api-version=2024-11-01", token=token)
    assert refused.status == 401
    told = world.mend(refused.id)
    assert told.decided.name == "stock"
    assert world.send("GET", f"{group}?api-version=2024-11-01", token=token).ok


# Assertions -------------------------------------------------------------------------------------------------------------------


def test_an_assertion_for_another_endpoint(world: ExplainWorld) -> None:
    app, sign = _signing(world)
    refused = _asserted(world, app, sign(aud="https://login.example/token"))
    assert refused.body["error_codes"] == [700023]
    told = world.explain(refused.id)
    assert told.decided.why == "its audience is 'https://login.example/token', which is not this tenant's token endpoint"
    told_audience = told.fixes[0].text.rpartition(" '")[2].rstrip("'")
    assert _asserted(world, app, sign(aud=told_audience)).ok


def test_an_assertion_outside_its_time(world: ExplainWorld) -> None:
    app, sign = _signing(world)
    refused = _asserted(world, app, sign(exp=int(world.plane.clock.now().timestamp()) - 3600))
    told = world.explain(refused.id)
    assert "not within its valid time range" in told.decided.why
    assert told.fixes[0].text.startswith("Sign a new assertion, valid from now")
    assert _asserted(world, app, sign()).ok


def test_an_assertion_that_counts_once(world: ExplainWorld) -> None:
    app, sign = _signing(world)
    owner = world.graph("GET", f"/applications?$filter=appId eq '{app.client_id}'")["value"][0]["id"]
    world.graph("PATCH", f"/applications/{owner}", {"authenticationBehaviors": {"clientAssertionUse": "once"}}, version="beta")
    assertion = sign(jti="one")
    assert _asserted(world, app, assertion).ok
    refused = _asserted(world, app, assertion)
    told = world.explain(refused.id)
    assert told.fixes[0].text == "Sign a new assertion for each request, each with a 'jti' of its own"
    assert _asserted(world, app, sign(jti="two")).ok
    world.apply(told.fixes)
    assert world.token_request(app, VAULT, client_assertion=assertion, client_assertion_type=_JWT_BEARER).ok


def _signing(world: ExplainWorld) -> tuple[Application, Callable[..., str]]:
    """An application with a certificate, and what signs its assertions."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stock")])
    now = world.plane.clock.now()
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=30))
    ).sign(key, hashes.SHA256())
    app = world.plane.application("stock", certificate=made.public_bytes(serialization.Encoding.PEM))
    digest = base64.urlsafe_b64encode(made.fingerprint(hashes.SHA256())).decode().rstrip("=")

    def sign(**claims: object) -> str:
        at = int(now.timestamp())
        usual = {"iss": app.client_id, "sub": app.client_id, "aud": f"{world.plane.url}/{world.plane.tenant_id}/oauth2/token"}
        return jwt.encode({**usual, "exp": at + 600, **claims}, key, algorithm="RS256", headers={"x5t#S256": digest})

    return app, sign


def _asserted(world: ExplainWorld, app: Application, assertion: str) -> Reply:
    return world.token_request(app, client_assertion=assertion, client_assertion_type=_JWT_BEARER)


# Federation -------------------------------------------------------------------------------------------------------------------

_SUBJECT = "repo:contoso/stock:ref:refs/heads/main"


@pytest.fixture(scope="module")
def issuer() -> Iterator[LocalIssuer]:
    with local_issuer() as found:
        yield found


def _exchange(world: ExplainWorld, identity: ManagedIdentity | Application, issuer: LocalIssuer, **claims: str) -> Reply:
    now = int(world.plane.clock.now().timestamp())
    token = issuer.token({"sub": _SUBJECT, "aud": EXCHANGE, "iat": now, "nbf": now, "exp": now + 600, **claims})
    client = Application(client_id=identity.client_id, principal_id=identity.principal_id, secret="")
    return world.token_request(client, client_assertion=token, client_assertion_type=_JWT_BEARER)


def _identity(world: ExplainWorld, issuer: LocalIssuer) -> ManagedIdentity:
    world.plane.trust_issuers(issuer.url)
    return world.plane.user_assigned_identity("builder")


def test_nobody_is_trusted_yet(world: ExplainWorld, issuer: LocalIssuer) -> None:
    identity = _identity(world, issuer)
    refused = _exchange(world, identity, issuer)
    assert refused.body["error_codes"] == [70021]
    told = world.mend(refused.id)
    assert told.fixes[0].text == f"Let builder trust tokens of issuer '{issuer.url}' and subject '{_SUBJECT}'"
    assert _exchange(world, identity, issuer).ok
    assert world.explain(refused.id).now is not None


def test_a_subject_that_differs_in_case_only(world: ExplainWorld, issuer: LocalIssuer) -> None:
    identity = _identity(world, issuer)
    world.plane.federate(identity, issuer.url, _SUBJECT.replace("contoso", "Contoso"), name="main")
    refused = _exchange(world, identity, issuer)
    assert refused.body["error_codes"] == [7002138]
    told = world.mend(refused.id)
    assert told.nearest is not None
    assert told.nearest.name == "main"
    assert "(they differ in upper and lower case only)" in told.nearest.why
    assert _exchange(world, identity, issuer).ok


def test_an_audience_that_differs(world: ExplainWorld, issuer: LocalIssuer) -> None:
    identity = _identity(world, issuer)
    world.plane.federate(identity, issuer.url, _SUBJECT, name="main")
    told = world.mend(_exchange(world, identity, issuer, aud="api://ours").id)
    assert told.nearest is not None
    assert told.nearest.why == f"its audience is '{EXCHANGE}', the token's 'api://ours'"
    assert _exchange(world, identity, issuer, aud="api://ours").ok


def test_an_issuer_that_differs_in_its_slash(world: ExplainWorld, issuer: LocalIssuer) -> None:
    identity = _identity(world, issuer)
    world.plane.federate(identity, f"{issuer.url}/", _SUBJECT, name="main")
    told = world.mend(_exchange(world, identity, issuer).id)
    assert told.nearest is not None
    assert "(they differ in the final slash only)" in told.nearest.why
    assert _exchange(world, identity, issuer).ok


def test_a_federated_application(world: ExplainWorld, issuer: LocalIssuer) -> None:
    """Its credentials are changed through Graph."""
    world.plane.trust_issuers(issuer.url)
    app = world.plane.application("builder")
    owner = world.graph("GET", f"/applications?$filter=appId eq '{app.client_id}'")["value"][0]["id"]
    trust = {"name": "main", "issuer": issuer.url, "subject": "somebody", "audiences": [EXCHANGE]}
    world.graph("POST", f"/applications/{owner}/federatedIdentityCredentials", trust)
    told = world.mend(_exchange(world, app, issuer).id)
    assert told.nearest is not None
    assert told.nearest.why == f"its subject is 'somebody', the token's '{_SUBJECT}'"
    assert _exchange(world, app, issuer).ok


def test_claims_that_do_not_match(world: ExplainWorld, issuer: LocalIssuer) -> None:
    """Each comparison of the expression is told, with the token's own value; the credential itself is changed by whoever knows what it is for."""
    identity = _identity(world, issuer)
    expression = "claims['sub'] matches 'repo:contoso/*' and claims['environment'] eq 'production'"
    world.plane.federate(identity, issuer.url, name="main", expression=expression)
    told = world.mend(_exchange(world, identity, issuer, environment="staging").id)
    assert told.nearest is not None
    assert [(one.text, one.holds, one.left) for one in told.nearest.clauses] == [
        ("claims['sub'] matches 'repo:contoso/*'", True, f"'{_SUBJECT}'"),
        ("claims['environment'] eq 'production'", False, "'staging'"),
    ]
    assert _exchange(world, identity, issuer, environment="staging").ok
