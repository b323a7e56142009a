"""App Service's dialect over real sockets (MIE section 2)."""

from __future__ import annotations

import socket

import pytest
from tests.unit.agent.agent_world import ARM, OTHER_VM, SECOND, SHARED, SYSTEM, VM, AgentWorld, get, token_error

from idplane.agent.host import Dialect
from idplane.jose import parse

SECRET = "0123456789abcdef"
NO_IDENTITY = "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."


def request(address: tuple[str, int], query: str, *headers: str, path: str = "/msi/token", method: str = "GET") -> bytes:
    lines = headers or (f"X-IDENTITY-HEADER: {SECRET}",)
    return get(f"{path}?{query}", f"Host: {address[0]}:{address[1]}", *lines, method=method)


QUERY = f"api-version=2019-08-01&resource={ARM}"


async def test_a_token_is_answered_as_recorded(world: AgentWorld) -> None:
    address = await world.app_service(SECRET)
    response = await world.ask(address, request(address, QUERY))
    assert response.status == 200
    body = response.json
    assert list(body) == ["access_token", "client_id", "expires_on", "not_before", "resource", "token_type"]
    assert body["expires_on"] == str(parse(str(body["access_token"])).claims["exp"])
    assert str(body["expires_on"]).isdigit()
    assert (body["resource"], body["client_id"], body["token_type"]) == (ARM, SYSTEM.client_id, "Bearer")


async def test_both_dialects_share_the_cache(world: AgentWorld) -> None:
    address, imds = await world.app_service(SECRET), await world.imds()
    first = await world.ask(address, request(address, QUERY))
    second = await world.ask(imds, get(f"/metadata/identity/oauth2/token?api-version=2018-02-01&resource={ARM}"))
    assert first.json["access_token"] == second.json["access_token"]


@pytest.mark.parametrize("path", ["/msi/token", "/msi/token/", "/MSI/token", "//msi/token"])
async def test_the_path_as_clients_write_it(world: AgentWorld, path: str) -> None:
    address = await world.app_service(SECRET)
    assert (await world.ask(address, request(address, QUERY, path=path))).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        ["Metadata: true"],
        ["X-IDENTITY-HEADER: "],
        [f"X-IDENTITY-HEADER: {SECRET}x"],
        [f"X-IDENTITY-HEADER: {SECRET[:-1]}"],
        [f"X-IDENTITY-HEADER: {SECRET.upper()}"],
        [f"X-IDENTITY-HEADER: {SECRET}", f"X-IDENTITY-HEADER: {SECRET}"],
        [f"X-IDENTITY-HEADER: {SECRET}", "x-identity-header: other"],
        [f"Secret: {SECRET}"],
    ],
)
async def test_without_the_secret_there_is_nothing(world: AgentWorld, headers: list[str]) -> None:
    address = await world.app_service(SECRET)
    response = await world.ask(address, request(address, QUERY, *headers))
    assert response.status == 401
    assert set(response.json) == {"statusCode", "message", "correlationId"}
    assert response.json["statusCode"] == 401
    assert not world.server.requests
    assert SECRET not in response.body.decode()


async def test_a_listener_without_a_secret_is_not_made(world: AgentWorld) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match="secret"):
            await world.agent.listen(sock, host=VM, dialect=Dialect.APP_SERVICE)


@pytest.mark.parametrize(
    ("raw_query", "status", "message"),
    [
        (f"resource={ARM}", 400, "The api-version is missing or not one of: 2019-08-01, 2025-03-30"),
        (f"api-version=2018-02-01&resource={ARM}", 400, "The api-version is missing or not one of: 2019-08-01, 2025-03-30"),
        ("api-version=2019-08-01", 400, "The parameter 'resource' is missing"),
        ("api-version=2019-08-01&resource=", 400, "The parameter 'resource' is missing"),
        (f"{QUERY}&resource=x", 400, "Query parameter 'resource' is repeated"),
        (f"{QUERY}&client_id=x", 400, NO_IDENTITY),
        (f"{QUERY}&principal_id={SECOND.principal_id}", 400, NO_IDENTITY),
        (f"{QUERY}&mi_res_id={SECOND.resource_id}", 400, NO_IDENTITY),
        (f"{QUERY}&client_id=x&mi_res_id=y", 400, "Only one identity may be named in a request, got: client_id, mi_res_id"),
    ],
)
async def test_queries_that_are_refused(world: AgentWorld, raw_query: str, status: int, message: str) -> None:
    world.server.hosts[OTHER_VM.key] = [SECOND]
    address = await world.app_service(SECRET)
    response = await world.ask(address, request(address, raw_query))
    assert (response.status, response.json["statusCode"], response.without_id(response.json["message"])) == (
        status,
        status,
        message,
    )
    assert response.json["correlationId"] == response.headers["x-ms-request-id"]


@pytest.mark.parametrize(
    "selector", [f"client_id={SHARED.client_id}", f"principal_id={SHARED.principal_id}", f"resource_id={SHARED.resource_id}"]
)
async def test_an_identity_can_be_named(world: AgentWorld, selector: str) -> None:
    world.server.hosts[VM.key] = [SYSTEM, SHARED]
    address = await world.app_service(SECRET)
    assert (await world.ask(address, request(address, f"{QUERY}&{selector}"))).json["client_id"] == SHARED.client_id


async def test_an_app_with_only_user_assigned_identities_must_name_one(world: AgentWorld) -> None:
    world.server.hosts[VM.key] = [SHARED]
    address = await world.app_service(SECRET)
    response = await world.ask(address, request(address, QUERY))
    assert (response.status, response.without_id(response.json["message"])) == (400, NO_IDENTITY)


async def test_other_refusals(world: AgentWorld) -> None:
    address = await world.app_service(SECRET)
    forwarded = request(address, QUERY, f"X-IDENTITY-HEADER: {SECRET}", "X-Forwarded-For: 1.2.3.4")
    assert (await world.ask(address, forwarded)).status == 400
    assert (await world.ask(address, request(address, QUERY, method="POST"))).headers["allow"] == "GET"
    assert (await world.ask(address, request(address, QUERY, path="/msi"))).status == 404
    imds_host = get(f"/msi/token?{QUERY}", "Host: 169.254.169.254", f"X-IDENTITY-HEADER: {SECRET}")
    assert (await world.ask(address, imds_host)).status == 400
    foreign = get(f"http://evil.example/msi/token?{QUERY}", f"Host: {address[0]}:{address[1]}", f"X-IDENTITY-HEADER: {SECRET}")
    assert (await world.ask(address, foreign)).status == 400


async def test_the_token_services_words_become_the_message(world: AgentWorld) -> None:
    world.server.token_answer = token_error(400, "invalid_resource", 500011)
    address = await world.app_service(SECRET)
    response = await world.ask(address, request(address, QUERY))
    assert response.status == 400
    assert "AADSTS500011" in str(response.json["message"])


async def test_an_outage(world: AgentWorld) -> None:
    world.server.down = True
    address = await world.app_service(SECRET)
    assert (await world.ask(address, request(address, QUERY))).status == 503
