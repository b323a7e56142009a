"""IMDS over real sockets: what is answered, and in which words requests are refused (MIE section 1)."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest
from tests.unit.agent.agent_world import (
    ARM,
    OTHER_VM,
    REFUSED,
    SECOND,
    SHARED,
    SYSTEM,
    TENANT,
    VM,
    AgentWorld,
    Known,
    get,
    token_error,
    token_target,
)

from idplane.agent.instance import VERSIONS
from idplane.jose import parse

REQUIRED = "Required metadata header not specified"
NOT_FOUND = "Identity not found"
HOST = "Host: 169.254.169.254"
METADATA = "Metadata: true"


async def test_a_token_is_answered_as_recorded(world: AgentWorld) -> None:
    address = await world.imds()
    response = await world.ask(address, get(token_target()))
    assert response.status == 200
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.headers["server"].startswith("IMDS/")
    assert "cache-control" not in response.headers
    assert "connection" not in response.headers
    body = response.json
    assert list(body) == [
        "access_token",
        "client_id",
        "expires_in",
        "expires_on",
        "ext_expires_in",
        "not_before",
        "resource",
        "token_type",
    ]
    assert all(isinstance(value, str) for value in body.values())
    claims = parse(str(body["access_token"])).claims
    assert body["client_id"] == SYSTEM.client_id
    assert body["expires_in"] == "3600"
    assert body["expires_on"] == str(claims["exp"])
    assert body["not_before"] == str(claims["nbf"])
    assert body["ext_expires_in"] == "86399"
    assert body["resource"] == ARM
    assert body["token_type"] == "Bearer"


async def test_seconds_left_are_counted_when_the_answer_is_given(world: AgentWorld) -> None:
    address = await world.imds()
    client = await world.connect(address)
    for passed, left in ((0, "3600"), (1, "3599"), (1000, "2599")):
        world.clock.advance(passed)
        await client.send(get(token_target()))
        assert (await client.response()).json["expires_in"] == left
    assert world.server.token_requests == 1


@pytest.mark.parametrize(
    "resource",
    [
        "https://vault.azure.net",
        "https://vault.azure.net/",
        "api://AzureADTokenExchange",
        "11111111-2222-3333-4444-555555555555",
    ],
)
async def test_the_resource_is_echoed_byte_for_byte(world: AgentWorld, resource: str) -> None:
    response = await world.ask(await world.imds(), get(token_target(resource)))
    assert response.json["resource"] == resource
    assert world.server.forms[0]["resource"] == resource


async def test_encoded_and_raw_values_are_the_same_request(world: AgentWorld) -> None:
    address = await world.imds()
    for resource in ("https://vault.azure.net/", "https%3A%2F%2Fvault.azure.net%2F", "https%3a%2f%2fvault.azure.net/"):
        response = await world.ask(address, get(token_target(resource)))
        assert response.json["resource"] == "https://vault.azure.net/"
    assert world.server.token_requests == 1


@pytest.mark.parametrize(
    "path",
    [
        "/metadata/identity/oauth2/token",
        "/metadata/identity/oauth2/token/",
        "//metadata/identity/oauth2/token",
        "//metadata/identity/oauth2/token/",
        "/Metadata/Identity/OAuth2/Token",
        "/METADATA/identity/oauth2/token",
        "http://169.254.169.254/metadata/identity/oauth2/token",
        "HTTP://169.254.169.254:80/metadata/identity/oauth2/token",
    ],
)
async def test_path_quirks_of_real_clients_are_accepted(world: AgentWorld, path: str) -> None:
    response = await world.ask(await world.imds(), get(f"{path}?resource={ARM}&api-version=2018-02-01"))
    assert response.status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/metadata",
        "/metadata/identity",
        "/metadata/identity/oauth2/token2",
        "/metadata/identity/oauth2/token//",
        "///metadata/identity/oauth2/token",
        "/metadata//identity/oauth2/token",
        "/metadata/identity/../identity/oauth2/token",
        "/metadata/./identity/oauth2/token",
        "/x/../metadata/identity/oauth2/token",
        "/metadata%2fidentity%2foauth2%2ftoken",
        "/metadata/identity/oauth2/%74oken",
        "/metadata/identity/oauth2/token%00",
        "/metadata\\identity\\oauth2\\token",
        "/metadata/identity/oauth2/token;x=1",
        "*",
        "https://169.254.169.254/metadata/identity/oauth2/token",
        "http://user@169.254.169.254/metadata/identity/oauth2/token",
    ],
)
async def test_path_tricks_find_nothing(world: AgentWorld, path: str) -> None:
    response = await world.ask(await world.imds(), get(f"{path}?resource={ARM}&api-version=2018-02-01"))
    assert response.status in {400, 404}
    assert set(response.json) == {"error", "error_description"}
    assert response.headers["x-ms-request-id"]
    assert world.server.token_requests == 0


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ([HOST], (400, REQUIRED)),
        ([HOST, "Metadata: false"], (400, REQUIRED)),
        ([HOST, "Metadata:"], (400, REQUIRED)),
        ([HOST, "Metadata: true, true"], (400, REQUIRED)),
        ([HOST, METADATA, METADATA], (400, REQUIRED)),
        ([HOST, METADATA, "metadata: false"], (400, REQUIRED)),
        ([HOST, "X-Metadata: true"], (400, REQUIRED)),
        ([HOST, METADATA, "X-Forwarded-For: 10.0.0.1"], (400, "Requests that were forwarded by a proxy are not served")),
        ([HOST, METADATA, "x-forwarded-for:"], (400, "Requests that were forwarded by a proxy are not served")),
        (["Host: evil.example", METADATA], (400, "The Host header names a host that is not served here")),
        (["Host: 169.254.169.254.evil.example", METADATA], (400, "The Host header names a host that is not served here")),
        (["Host: 169.254.169.254:8080", METADATA], (400, "The Host header names a host that is not served here")),
        ([METADATA], (400, "The Host header names a host that is not served here")),
        ([HOST, HOST, METADATA], (400, "The Host header names a host that is not served here")),
        (["Host:", METADATA], (400, "The Host header names a host that is not served here")),
    ],
)
async def test_headers_that_are_refused(world: AgentWorld, headers: list[str], refusal: tuple[int, str]) -> None:
    response = await world.ask(await world.imds(), get(token_target(), *headers))
    assert response.error == refusal
    assert response.json["error"] == "invalid_request"
    assert response.headers["x-ms-request-id"]
    assert not world.server.requests


@pytest.mark.parametrize("header", ["Metadata: true", "metadata: true", "METADATA: TRUE", "mEtAdAtA:   True  "])
async def test_the_metadata_header_is_read_without_case(world: AgentWorld, header: str) -> None:
    assert (await world.ask(await world.imds(), get(token_target(), HOST, header))).status == 200


async def test_a_listener_answers_to_its_own_address(world: AgentWorld) -> None:
    address = await world.imds()
    for name in ("127.0.0.1", "localhost", "LOCALHOST"):
        assert (await world.ask(address, get(token_target(), f"Host: {name}:{address[1]}", METADATA))).status == 200
    assert (await world.ask(address, get(token_target(), "Host: localhost", METADATA))).status == 400


async def test_a_foreign_host_in_an_absolute_target_is_refused(world: AgentWorld) -> None:
    response = await world.ask(await world.imds(), get("http://evil.example" + token_target()))
    assert response.error == (400, "The request target names a host that is not served here")


async def test_a_listener_may_do_without_the_metadata_header(world: AgentWorld) -> None:
    address = await world.imds(require_metadata=False)
    assert (await world.ask(address, get(token_target(), HOST))).status == 200
    assert (await world.ask(address, get(token_target(), HOST, "X-Forwarded-For: 1.2.3.4"))).status == 400
    assert (await world.ask(address, get(token_target(), "Host: evil.example"))).status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "HEAD"])
async def test_other_methods_are_refused(world: AgentWorld, method: str) -> None:
    response = await world.ask(await world.imds(), get(token_target(), method=method))
    assert response.status == 405
    assert response.headers["allow"] == "GET"
    assert method == "HEAD" or response.json["error"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("query", "description"),
    [
        ("api-version=2018-02-01", "Required query variable 'resource' is missing"),
        ("api-version=2018-02-01&resource=", "Required query variable 'resource' is missing"),
        ("api-version=2018-02-01&resource", "Required query variable 'resource' is missing"),
        (f"api-version=2018-02-01&resource={ARM}&resource={ARM}", "Query parameter 'resource' is repeated"),
        (f"api-version=2018-02-01&resource={ARM}&RESOURCE=x", "Query parameter 'resource' is repeated"),
        (f"api-version=2018-02-01&api-version=2018-02-01&resource={ARM}", "Query parameter 'api-version' is repeated"),
        (f"api-version=2018-02-01&resource={ARM}&x=1&x=2", "Query parameter 'x' is repeated"),
        ("api-version=2018-02-01&resource=%zz", "The query is malformed"),
        ("api-version=2018-02-01&resource=%ff%fe", "The query is malformed"),
        ("api-version=2018-02-01&resource=a%00b", "The query is malformed"),
        ("api-version=2018-02-01&resource=a%0d%0aSet-Cookie:x", "The query is malformed"),
        ("api-version=2018-02-01&resource=" + "x" * 2049, "The query is malformed"),
        ("api-version=2018-02-01&resource=x&" + "&".join(f"p{n}=1" for n in range(40)), "Too many query parameters"),
        (f"api-version=2018-02-01&resource={ARM}&bypass_cache=yes", "Query variable 'bypass_cache' is neither true nor false"),
        (f"api-version=2018-02-01&resource={ARM}&xms_cc=a b", "Query variable 'xms_cc' is not a list of capabilities"),
        (
            f"api-version=2018-02-01&resource={ARM}&token_sha256_to_refresh=abc",
            "Query variable 'token_sha256_to_refresh' is not a SHA-256",
        ),
        (
            f"api-version=2018-02-01&resource={ARM}&client_id=a&object_id=b",
            "Only one identity may be named in a request, got: client_id, object_id",
        ),
        (
            f"api-version=2018-02-01&resource={ARM}&client_id=a&clientid=a",
            "Only one identity may be named in a request, got: client_id, clientid",
        ),
    ],
)
async def test_queries_that_are_refused(world: AgentWorld, query: str, description: str) -> None:
    raw = get("/metadata/identity/oauth2/token?" + query.replace(" ", "%20"))
    response = await world.ask(await world.imds(), raw)
    assert response.error == (400, description)
    assert response.json["error"] == "invalid_request"
    assert world.server.token_requests == 0


@pytest.mark.parametrize(
    "version",
    ["", "&api-version=", "&api-version=2018-01-31", "&api-version=latest", "&api-version=2018-13-01", "&api-version=1.0"],
)
async def test_a_bad_version_is_answered_with_the_newest(world: AgentWorld, version: str) -> None:
    response = await world.ask(await world.imds(), get(f"/metadata/identity/oauth2/token?resource={ARM}{version}"))
    assert response.status == 400
    assert response.json == {
        "error": "Bad request. api-version is invalid or was not specified in the request. "
        "For more information refer to aka.ms/azureimds",
        "newest-versions": ["2025-04-07", "2024-07-17", "2024-03-15"],
    }


@pytest.mark.parametrize("version", ["2018-02-01", "2019-08-01", "2023-07-01", "2030-01-01", "2019-07-01-preview"])
async def test_any_well_formed_version_gets_a_token(world: AgentWorld, version: str) -> None:
    response = await world.ask(await world.imds(), get(f"/metadata/identity/oauth2/token?api-version={version}&resource={ARM}"))
    assert response.status == 200


async def test_probes_without_the_header_are_refused_at_once(world: AgentWorld) -> None:
    address = await world.imds()
    for target in ("/metadata/identity/oauth2/token", "/metadata/identity/oauth2/token?api-version=2018-02-01", token_target()):
        response = await world.ask(address, get(target, HOST, "Accept: application/json"))
        assert response.error == (400, REQUIRED)
        assert NOT_FOUND not in response.body.decode()
    assert not world.server.requests


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("service", ["getplatformmetadata", "issuecredential"])
@pytest.mark.parametrize("headers", [[HOST], [HOST, METADATA]])
async def test_bound_credentials_are_absent_with_and_without_the_header(
    world: AgentWorld, method: str, service: str, headers: list[str]
) -> None:
    raw = get(f"/metadata/identity/{service}?cred-api-version=2.0", *headers, method=method)
    response = await world.ask(await world.imds(), raw)
    assert response.status == 404
    assert response.json["error"] == "not_found"


CLIENT_ID = ("client_id", "clientid", "Client_Id")
OBJECT_ID = ("object_id", "principal_id", "principalId")
RESOURCE_ID = ("msi_res_id", "mi_res_id", "msi-res-id", "resource_id")


@pytest.mark.parametrize("spelling", [*CLIENT_ID, *OBJECT_ID, *RESOURCE_ID])
@pytest.mark.parametrize("change_case", [str.lower, str.upper])
async def test_an_identity_is_named_in_every_spelling(world: AgentWorld, spelling: str, change_case: object) -> None:
    assert callable(change_case)
    world.server.hosts[VM.key] = [SYSTEM, SHARED, SECOND]
    assert SHARED.resource_id is not None
    value = SHARED.client_id if spelling in CLIENT_ID else SHARED.principal_id if spelling in OBJECT_ID else SHARED.resource_id
    response = await world.ask(await world.imds(), get(token_target(**{spelling: str(change_case(value))})))
    assert response.json["client_id"] == SHARED.client_id


@pytest.mark.parametrize(
    "selector",
    [
        {"client_id": SECOND.client_id},
        {"client_id": SHARED.principal_id},
        {"object_id": SHARED.client_id},
        {"msi_res_id": str(SECOND.resource_id)},
        {"msi_res_id": str(VM)},
        {"msi_res_id": "not an id"},
        {"msi_res_id": ""},
        {"client_id": ""},
        {"client_id": "*"},
        {"object_id": f"{SHARED.principal_id}'"},
    ],
)
async def test_an_identity_that_is_not_here_is_never_replaced_by_another(world: AgentWorld, selector: dict[str, str]) -> None:
    world.server.hosts[VM.key] = [SYSTEM, SHARED]
    world.server.hosts[OTHER_VM.key] = [SECOND]
    raw = get(token_target(**{name: value.replace(" ", "%20") for name, value in selector.items()}))
    response = await world.ask(await world.imds(), raw)
    assert response.error == (400, NOT_FOUND)
    assert world.server.token_requests == 0


@pytest.mark.parametrize(
    ("identities", "expected"),
    [
        ([SYSTEM], SYSTEM),
        ([SHARED], SHARED),
        ([SHARED, SYSTEM], SYSTEM),
        ([SHARED, SECOND, SYSTEM], SYSTEM),
        (
            [SHARED, SECOND],
            "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request",
        ),
        ([], NOT_FOUND),
    ],
)
async def test_without_a_selector(world: AgentWorld, identities: list[Known], expected: Known | str) -> None:
    world.server.hosts[VM.key] = identities
    response = await world.ask(await world.imds(), get(token_target()))
    if isinstance(expected, Known):
        assert response.json["client_id"] == expected.client_id
    else:
        assert response.error == (400, expected)


async def test_a_host_that_is_gone_has_no_identity(world: AgentWorld) -> None:
    world.server.hosts.clear()
    response = await world.ask(await world.imds(), get(token_target()))
    assert response.error == (400, NOT_FOUND)
    assert response.headers["x-ms-request-id"] == REFUSED  # the server's: it knows more of it


async def test_the_token_services_own_error_is_repeated(world: AgentWorld) -> None:
    world.server.token_answer = refusal = token_error(400, "invalid_resource", 500011)
    response = await world.ask(await world.imds(), get(token_target("https://nowhere.example")))
    assert response.status == 400
    assert response.json == json.loads(refusal.body)
    assert response.json["error_codes"] == [500011]
    assert response.headers["x-ms-request-id"]


async def test_an_outage_is_503_and_over_when_it_is_over(world: AgentWorld) -> None:
    address = await world.imds()
    world.server.down = True
    response = await world.ask(address, get(token_target()))
    assert response.status == 503
    assert response.json["error"] == "service_unavailable"
    world.server.down = False
    assert (await world.ask(address, get(token_target()))).status == 200


async def test_a_server_that_never_answers_is_an_outage_in_the_end(world: AgentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idplane.agent.endpoint._FETCH_SECONDS", 0)
    address = await world.imds()
    world.server.gate = asyncio.Event()
    response = await world.ask(address, get(token_target()))
    assert response.status == 503
    assert response.json["error"] == "service_unavailable"
    world.server.gate.set()
    monkeypatch.undo()
    assert (await world.ask(address, get(token_target()))).status == 200


async def test_capabilities_reach_the_token_service_and_keep_tokens_apart(world: AgentWorld) -> None:
    address = await world.imds()
    for query in ({"xms_cc": "CP1"}, {"xms_cc": "CP1"}, {}, {"xms_cc": ""}):
        assert (await world.ask(address, get(token_target(**query)))).status == 200
    assert [form.get("claims") for form in world.server.forms] == ['{"access_token":{"xms_cc":{"values":["CP1"]}}}', None]


async def test_bypass_cache_fetches_anew_and_keeps_what_it_got(world: AgentWorld) -> None:
    address = await world.imds()
    tokens = [
        (await world.ask(address, get(token_target(**query)))).json["access_token"]
        for query in ({}, {"bypass_cache": "false"}, {"bypass_cache": "True"}, {})
    ]
    assert tokens[0] == tokens[1] != tokens[2] == tokens[3]


async def test_a_refused_token_is_replaced_only_if_it_is_the_cached_one(world: AgentWorld) -> None:
    address = await world.imds()
    first = str((await world.ask(address, get(token_target()))).json["access_token"])
    digest = hashlib.sha256(first.encode()).hexdigest()
    other = await world.ask(address, get(token_target(token_sha256_to_refresh="0" * 64)))
    assert other.json["access_token"] == first
    second = (await world.ask(address, get(token_target(token_sha256_to_refresh=digest.upper())))).json["access_token"]
    assert second != first
    again = await world.ask(address, get(token_target(token_sha256_to_refresh=digest)))
    assert again.json["access_token"] == second
    assert world.server.token_requests == 2


async def test_identity_info(world: AgentWorld) -> None:
    address = await world.imds()
    response = await world.ask(address, get("/metadata/identity/info?api-version=2018-02-01"))
    assert response.json == {"tenantId": TENANT}
    assert (await world.ask(address, get("/metadata/identity/info"))).status == 400
    assert (await world.ask(address, get("/metadata/identity/info?api-version=2018-02-01", HOST))).error == (400, REQUIRED)


async def test_versions(world: AgentWorld) -> None:
    address = await world.imds()
    assert (await world.ask(address, get("/metadata/versions"))).json == {"apiVersions": list(VERSIONS)}
    assert (await world.ask(address, get("/metadata/versions", HOST))).error == (400, REQUIRED)


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (
            "?api-version=2021-02-01",
            b'{"compute":{"name":"stock-vm","osProfile":{"computerName":"stock"}},"network":{"interface":[]}}',
        ),
        ("/compute?api-version=2021-02-01", b'{"name":"stock-vm","osProfile":{"computerName":"stock"}}'),
        ("/compute/?api-version=2025-04-07&format=JSON", b'{"name":"stock-vm","osProfile":{"computerName":"stock"}}'),
        ("/compute/name?api-version=2020-06-01&format=text", b"stock-vm"),
        ("/Compute/osprofile/COMPUTERNAME?api-version=2020-06-01&format=text", b"stock"),
        ("?api-version=2021-02-01&format=text", b"compute/\nnetwork/"),
        ("/compute?api-version=2021-02-01&format=text", b"name\nosProfile/"),
        ("/network/interface?api-version=2021-02-01", b"[]"),
    ],
)
async def test_the_instance_document(world: AgentWorld, target: str, body: bytes) -> None:
    response = await world.ask(await world.imds(), get("/metadata/instance" + target))
    assert (response.status, response.body) == (200, body)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("", 400),
        ("?api-version=2018-02-02", 400),
        ("?api-version=2030-01-01", 400),
        ("/compute/name?api-version=2021-02-01", 400),
        ("/compute?api-version=2021-02-01&format=xml", 400),
        ("/compute/nothing?api-version=2021-02-01", 404),
        ("/compute/name/deeper?api-version=2021-02-01&format=text", 404),
        ("/network/interface/0?api-version=2021-02-01", 404),
        ("/network/interface/-1?api-version=2021-02-01", 404),
        ("/compute//name?api-version=2021-02-01", 404),
    ],
)
async def test_the_instance_document_refuses(world: AgentWorld, target: str, status: int) -> None:
    response = await world.ask(await world.imds(), get("/metadata/instance" + target))
    assert response.status == status
    assert "error" in response.json


async def test_the_attested_document_is_not_offered(world: AgentWorld) -> None:
    response = await world.ask(await world.imds(), get("/metadata/attested/document?api-version=2021-02-01"))
    assert response.status == 404
