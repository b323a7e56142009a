"""One total table of Resource Manager's words."""

import base64
import json
import re
from datetime import UTC, datetime

import pytest

from idplane.model.failure import Category, Failure, FailureKind
from idplane.web.arm_errors import challenge, describe, envelope, error_of
from idplane.web.http import Origin
from idplane.web.metadata import cloud_metadata

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_ORIGIN = Origin(
    authority="https://localhost:8443",
    management="https://localhost:8443",
    graph="https://localhost:8443",
    portal="https://localhost:8443/portal",
    vault_domain="vault.localhost:8443",
)


@pytest.mark.parametrize("kind", FailureKind)
def test_every_kind_has_a_status_a_code_and_words(kind: FailureKind) -> None:
    for detail in ("", "something with {braces} and 'quotes'"):
        error = error_of(Failure(kind, detail, name="{oid}"), request_id="r")
        assert error.status == kind.category.value
        assert re.fullmatch(r"[A-Z][A-Za-z]+", error.code)
        assert error.message
        assert describe(Failure(kind, detail)) == (error.status, error.code)


def test_internal_failures_tell_nothing_but_the_id() -> None:
    error = error_of(Failure(FailureKind.INTERNAL, "secret detail", code="Secret"), request_id="the-id")
    assert error.code == "InternalServerError"
    assert "secret" not in error.message.lower()
    assert "the-id" in error.message


def test_the_texts_that_clients_and_people_know() -> None:
    forbidden = error_of(Failure(FailureKind.FORBIDDEN, name="app", oid="o", action="A/b/write", scope="/s"))
    assert (forbidden.status, forbidden.code) == (403, "AuthorizationFailed")
    assert forbidden.message == (
        "The client 'app' with object id 'o' does not have authorization to perform action 'A/b/write' over scope '/s' or the scope "
        "is invalid. If access was recently granted, please refresh your credentials."
    )
    linked = error_of(
        Failure(FailureKind.LINKED_FORBIDDEN, name="n", oid="o", action="w", scope="/s", linked_action="a", linked_scope="/l")
    )
    assert (linked.status, linked.code) == (403, "LinkedAuthorizationFailed")
    assert (
        "has permission to perform action 'w' on scope '/s'; however, it does not have permission to perform action 'a'"
        in linked.message
    )
    missing = error_of(Failure(FailureKind.MISSING_API_VERSION))
    assert (missing.status, missing.code) == (400, "MissingApiVersionParameter")


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (FailureKind.TOKEN_MISSING, 401, "AuthenticationFailed"),
        (FailureKind.TOKEN_INVALID, 401, "InvalidAuthenticationToken"),
        (FailureKind.TOKEN_EXPIRED, 401, "ExpiredAuthenticationToken"),
        (FailureKind.TOKEN_AUDIENCE, 401, "InvalidAuthenticationTokenAudience"),
        (FailureKind.TOKEN_TENANT, 401, "InvalidAuthenticationTokenTenant"),
        (FailureKind.GROUP_NOT_FOUND, 404, "ResourceGroupNotFound"),
        (FailureKind.RESOURCE_NOT_FOUND, 404, "ResourceNotFound"),
        (FailureKind.ROLE_ASSIGNMENT_EXISTS, 409, "RoleAssignmentExists"),
        (FailureKind.ROLE_ASSIGNMENT_UPDATE, 400, "RoleAssignmentUpdateNotPermitted"),
        (FailureKind.PRINCIPAL_NOT_FOUND, 400, "PrincipalNotFound"),
        (FailureKind.API_VERSION_NOT_REGISTERED, 400, "NoRegisteredProviderFound"),
        (FailureKind.INVALID_API_VERSION, 400, "InvalidApiVersionParameter"),
        (FailureKind.UNKNOWN_TYPE, 404, "InvalidResourceType"),
        (FailureKind.LOCATION_REQUIRED, 400, "LocationRequired"),
        (FailureKind.INVALID_IDENTITY, 400, "InvalidParameter"),
        (FailureKind.LOCKED, 409, "ScopeLocked"),
        (FailureKind.STORAGE_FULL, 503, "ServiceUnavailable"),
    ],
)
def test_codes(kind: FailureKind, status: int, code: str) -> None:
    assert describe(Failure(kind)) == (status, code)


def test_a_failure_can_name_its_own_code_and_target() -> None:
    error = error_of(Failure(FailureKind.CONFLICT, "no", code="OperationNotAllowed", target="power"))
    assert envelope(error) == {"error": {"code": "OperationNotAllowed", "message": "No.", "target": "power"}}


def test_challenges_are_one_header_line_for_every_kind() -> None:
    for kind in FailureKind:
        if kind.category is Category.UNAUTHENTICATED:
            line = challenge(Failure(kind, "a\r\nb"), authority="https://a", tenant_id="t", now=_NOW)
            assert line.startswith('Bearer authorization_uri="https://a/t", error="')
            assert line.count('"') % 2 == 0
            assert not set(line) & set("\r\n")


def test_a_revoked_token_gets_a_claims_challenge() -> None:
    line = challenge(Failure(FailureKind.TOKEN_REVOKED, "", follows="true"), authority="https://a", tenant_id="t", now=_NOW)
    found = re.search(r'error="insufficient_claims", claims="([^"]+)"', line)
    assert found is not None
    assert json.loads(base64.b64decode(found[1])) == {
        "access_token": {"nbf": {"essential": True, "value": str(int(_NOW.timestamp()))}}
    }


def test_a_client_that_follows_no_claims_challenge_is_told_plainly() -> None:
    line = challenge(Failure(FailureKind.TOKEN_REVOKED), authority="https://a", tenant_id="t", now=_NOW)
    assert 'error="invalid_token"' in line
    assert "claims" not in line


def test_the_cloud_is_described_as_registration_reads_it() -> None:
    described = cloud_metadata(_ORIGIN)
    assert described["name"]
    assert described["authentication"]["loginEndpoint"] == "https://localhost:8443"  # type: ignore[index]  # JSON
    assert described["authentication"]["audiences"][0] == "https://localhost:8443/"  # type: ignore[index]  # JSON
    assert described["suffixes"]["keyVaultDns"] == "vault.localhost:8443"  # type: ignore[index]  # JSON
