"""Bad requests to the token endpoints, instance discovery and the agent API: Entra's own words for each, and no secret repeated."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from tests.stories.edge import ARM, VAULT, Edge, Seen, assert_refused, errors_logged

from idplane.testing.local import LocalPlane

GUID = "11111111-2222-4333-8444-555555555555"
TOKEN_V1, TOKEN_V2 = "/{tenant}/oauth2/token", "/{tenant}/oauth2/v2.0/token"


@pytest.fixture(scope="module")
def plane() -> Iterator[LocalPlane]:
    plane = LocalPlane()
    yield plane
    plane.close()


@pytest.fixture(scope="module")
def edge(plane: LocalPlane) -> Iterator[Edge]:
    """The edge; nothing that is sent to it may turn out to be a bug."""
    with errors_logged() as records:
        yield Edge(plane)
    assert not records


def token(edge: Edge, form: str, *, path: str = TOKEN_V2, headers: tuple[tuple[str, str], ...] = ()) -> Seen:
    given = headers or (("content-type", "application/x-www-form-urlencoded"),)
    return edge.ask("POST", path, headers=given, body=form.encode("latin-1"))


FORMS = {
    "nothing": "",
    "no form": "hello",
    "bad escapes": "grant_type=%zz",
    "not UTF-8": "grant_type=\xff",
    "JSON": '{"grant_type": "client_credentials"}',
    "no grant": "client_id=x",
    "another grant": "grant_type=password&username=a&password=hunter2",
    "a grant twice": "grant_type=client_credentials&grant_type=client_credentials",
    "a client twice": "grant_type=client_credentials&client_id=a&client_id=b&client_secret=hunter2",
    "no client": "grant_type=client_credentials&client_secret=hunter2&scope=https://vault.azure.net/.default",
    "an unknown client": f"grant_type=client_credentials&client_id={GUID}&client_secret=hunter2&scope=https://vault.azure.net/.default",
    "a client that is no id": "grant_type=client_credentials&client_id=%00'--&client_secret=hunter2&scope=x/.default",
    "two credentials": f"grant_type=client_credentials&client_id={GUID}&client_secret=hunter2&client_assertion=a.b.c&scope=x/.default",
    "an assertion of another type": f"grant_type=client_credentials&client_id={GUID}&client_assertion=a.b.c&client_assertion_type=saml&scope=x/.default",
    "an assertion that is none": f"grant_type=client_credentials&client_id={GUID}&client_assertion=hello&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "too many fields": "&".join(f"a{n}=b" for n in range(100)),
    "a long field": "grant_type=" + "a" * 60_000,
    "too long": "grant_type=" + "a" * 70_000,
    "claims that are no JSON": f"grant_type=client_credentials&client_id={GUID}&client_secret=hunter2&claims={{&scope=https://vault.azure.net/.default",
    "deep claims": f"grant_type=client_credentials&client_id={GUID}&client_secret=hunter2&claims={'[' * 20_000}&scope=https://vault.azure.net/.default",
}


@pytest.mark.parametrize("path", [TOKEN_V1, TOKEN_V2])
@pytest.mark.parametrize("case", FORMS)
def test_bad_forms_are_refused_and_no_secret_is_repeated(edge: Edge, case: str, path: str) -> None:
    seen = token(edge, FORMS[case], path=path)
    assert_refused(seen, 400, 401, 413)
    assert seen.json["trace_id"] == seen.headers["x-ms-request-id"]
    assert seen.json["error_codes"]
    assert "hunter2" not in seen.body.decode()


def test_a_clients_own_mistakes_are_told_apart(edge: Edge, plane: LocalPlane) -> None:
    application = plane.application("mistaken")
    base = f"grant_type=client_credentials&client_id={application.client_id}"
    right = f"{base}&client_secret={quote(application.secret)}"
    cases = {
        f"{base}&client_secret=wrong&scope={VAULT}/.default": ("invalid_client", "secret"),
        f"{base}&scope={VAULT}/.default": ("invalid_client", "client_assertion"),
        right: ("invalid_request", "scope"),
        f"{right}&scope=openid": ("invalid_scope", "openid"),
        f"{right}&scope=https://nobody.example/.default": ("invalid_resource", "nobody.example"),
        f"{right}&scope={VAULT}/.default {ARM}/.default": ("invalid_scope", "scope"),
        f"{right}&resource={VAULT}": ("invalid_request", "scope"),
        f"{right}&scope={'a' * 5000}/.default": ("invalid_resource", "not found"),
        f"{right}&scope={VAULT}/.default&claims={{": ("invalid_request", "claims"),
        f"{right}&scope={VAULT}/.default&claims={'[' * 10_000}": ("invalid_request", "claims"),
    }
    for form, (error, word) in cases.items():
        seen = token(edge, form)
        assert_refused(seen, 400, 401)
        assert (seen.code, word in seen.text) == (error, True), (form[:200], seen)
        assert application.secret not in seen.body.decode()
    assert token(edge, f"{right}&scope={VAULT}/.default").status == 200


@pytest.mark.parametrize(
    "authorization",
    ["Basic", "Basic !", "Basic eDp5", "Basic " + "A" * 30_000, "Bearer x", "Digest x", "Basic \xff", "Basic Og=="],
)
def test_basic_authentication_is_read_strictly(edge: Edge, authorization: str) -> None:
    headers = (("content-type", "application/x-www-form-urlencoded"), ("authorization", authorization))
    assert_refused(token(edge, f"grant_type=client_credentials&scope={VAULT}/.default", headers=headers), 400, 401)


@pytest.mark.parametrize(
    "tenant",
    [
        "common",
        "organizations",
        "consumers",
        "00000000-0000-0000-0000-000000000000",
        "nobody.example",
        "a" * 300,
        "%27",
        "adfs",
        "%7Btenantid%7D",
    ],
)
def test_unknown_tenants_get_no_token(edge: Edge, tenant: str) -> None:
    assert_refused(token(edge, "grant_type=client_credentials", path=f"/{tenant}/oauth2/v2.0/token"), 400)


INSTANCES = (
    "", "x", "http://login.microsoftonline.com/common", "https://evil.example/common/oauth2", "https://login.microsoftonline.com.evil.example/x",
    "https://login.microsoftonline.com@evil.example/x", "https://evil.example#login.microsoftonline.com/x", "https://[::1", "https://localhost:99999/x",
    "https://login.microsoftonline.com:x/y", "https://login.microsoftonline.com", "javascript:alert(1)", "https://" + "a" * 4000, "//login.microsoftonline.com/x",
)  # fmt: skip


@pytest.mark.parametrize("endpoint", INSTANCES)
def test_unknown_instances_are_not_vouched_for(edge: Edge, endpoint: str) -> None:
    seen = edge.ask("GET", f"/common/discovery/instance?api-version=1.1&authorization_endpoint={quote(endpoint, safe='')}")
    assert_refused(seen, 400)


@pytest.mark.parametrize(
    "target",
    [
        "/agent/v1/host?id=x",
        "/agent/v1/changes?after=-1",
        "/agent/v1/certificates",
        "/agent/v1/refusals",
        "/agent/v1",
        "/agent/v1/unknown",
        "/agent",
    ],
)
def test_the_agent_api_knows_agents_only(edge: Edge, target: str) -> None:
    for bearer in (None, "", "x", edge.operator(ARM), "a" * 20_000):
        for method in ("GET", "POST", "DELETE"):
            seen = edge.ask(method, target, token=bearer)
            assert_refused(seen, 401)
            assert seen.json["error"]["requestId"] == seen.headers["x-ms-request-id"]
