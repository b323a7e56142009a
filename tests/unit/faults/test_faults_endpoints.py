import base64
import json
from typing import Any

import pytest
from faults.loads.endpoints import DIALECTS, AskedFor, claims_of, heard
from faults.loads.http import Answer
from faults.outcomes import Result

NOW = 1_000_000.0
ASKED = AskedFor(resource="https://vault.azure.net", identity="me")


def token(**claims: Any) -> str:
    said = {"oid": "me", "aud": "https://vault.azure.net", "exp": NOW + 3600, **claims}
    return ".".join(("e30", base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("="), "c2ln"))


def result(status: int, body: Any, dialect: str = "imds") -> Result:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return heard(Answer(status=status, headers={}, body=content), ASKED, NOW, DIALECTS[dialect].refusal).result


def test_a_token_for_whoever_asked_is_a_success() -> None:
    assert result(200, {"access_token": token()}) is Result.OK
    assert result(200, {"access_token": token(aud="https://vault.azure.net/")}) is Result.OK


@pytest.mark.parametrize(
    "said",
    [{"oid": "you"}, {"aud": "https://graph.microsoft.com"}, {"exp": NOW - 1}, {"exp": NOW + 59}],
    ids=["another's", "for another resource", "ended", "about to end"],
)
def test_another_token_is_worse_than_none(said: dict[str, Any]) -> None:
    assert result(200, {"access_token": token(**said)}) is Result.WRONG


def test_a_success_without_a_token_is_none() -> None:
    assert result(200, {}) is Result.WRONG
    assert result(200, {"access_token": "x.y"}) is Result.WRONG


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("imds", {"error": "service_unavailable"}),
        ("app-service", {"statusCode": 503, "message": "no"}),
        ("app-service-2017", {"StatusCode": 503, "Message": "no"}),
        ("machine-learning", {"statusCode": 503, "message": "no"}),
        ("service-fabric", {"error": {"code": "InternalServerError"}}),
        ("cloud-shell", {"error": {"code": "ServiceUnavailable"}}),
    ],
)
def test_a_refusal_is_in_the_dialects_own_form(dialect: str, body: dict[str, Any]) -> None:
    assert result(503, body, dialect) is Result.RETRY
    assert result(429, body, dialect) is Result.RETRY
    assert result(400, body, dialect) is Result.DENIED
    assert result(500, body, dialect) is Result.BROKEN
    assert result(503, {"other": "words"}, dialect) is Result.BROKEN
    assert result(503, b"<html>", dialect) is Result.BROKEN


def test_what_is_no_token_says_nothing() -> None:
    assert claims_of("") == claims_of("a.b.c") == claims_of("a.W10.c") == {}


@pytest.mark.parametrize(
    ("dialect", "variables", "target", "header"),
    [
        ("imds", {}, "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=r", ("Metadata", "true")),
        (
            "app-service",
            {"IDENTITY_ENDPOINT": "http://127.0.0.1:1/msi/token", "IDENTITY_HEADER": "s"},
            "/msi/token?api-version=2019-08-01&resource=r",
            ("X-IDENTITY-HEADER", "s"),
        ),
        ("cloud-shell", {"MSI_ENDPOINT": "http://127.0.0.1:1/oauth2/token"}, "/oauth2/token", ("Metadata", "true")),
    ],
)
def test_each_dialect_is_asked_as_its_clients_do(
    dialect: str, variables: dict[str, str], target: str, header: tuple[str, str]
) -> None:
    method, asked, headers, body = DIALECTS[dialect].request(variables, "r")
    assert (method, body) == (("POST", b"resource=r") if dialect == "cloud-shell" else ("GET", b""))
    assert asked == target
    assert header in headers.items()
