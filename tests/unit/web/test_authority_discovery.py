import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.sts.sts_world import ARM, AUTHORITY, TENANT_ID, StsWorld, assert_golden, shared_ring

from idplane.jose import parse
from idplane.model.failure import Failure, FailureKind
from idplane.web.authority import AuthoritySurface
from idplane.web.discovery import instance_discovery
from idplane.web.http import HttpRequest, HttpResponse, Origin
from idplane.web.origins import Origins

ORIGIN = Origin(
    authority=AUTHORITY,
    management=AUTHORITY,
    graph=AUTHORITY,
    portal=f"{AUTHORITY}/portal",
    vault_domain="vault.localhost:8443",
)
INSIDE = Origin(
    authority="https://login.microsoftonline.com",
    management="https://management.azure.com",
    graph="https://graph.microsoft.com",
    portal="https://portal.azure.com",
    vault_domain="vault.azure.net",
)
V2 = "v2.0/.well-known/openid-configuration"
V1 = ".well-known/openid-configuration"


@pytest.fixture
async def world() -> AsyncIterator[StsWorld]:
    opened = await StsWorld.open()
    yield opened
    await opened.store.close()


async def get(
    world: StsWorld, path: str, *, query: tuple[tuple[str, str], ...] = (), method: str = "GET", origin: Origin = ORIGIN
) -> HttpResponse:
    surface = AuthoritySurface(tokens=world.service, devices=world.devices, ring=shared_ring(), store=world.store)
    sent = HttpRequest(method=method, path=path, query=query, headers={}, body=b"", origin=origin, call=world.call())
    try:
        return await surface.handle(sent)
    except Failure as failure:
        return surface.refuse(failure, sent)


async def document(world: StsWorld, path: str, **more: Any) -> Any:
    answer = await get(world, path, **more)
    assert answer.status == 200
    return json.loads(answer.body)


@pytest.mark.parametrize(("name", "path"), [("openid_v2", V2), ("openid_v1", V1)])
async def test_golden(world: StsWorld, name: str, path: str) -> None:
    answer = await get(world, f"/{TENANT_ID}/{path}")
    assert_golden(f"authority/{name}.json", {"headers": dict(answer.headers), "body": json.loads(answer.body)})


@pytest.mark.parametrize("path", [V1, V2])
async def test_domain_in_any_case_gives_the_same_document(world: StsWorld, path: str) -> None:
    by_id = await document(world, f"/{TENANT_ID}/{path}")
    assert await document(world, f"/Contoso.onmicrosoft.com/{path}") == by_id
    assert await document(world, f"/{TENANT_ID.upper()}/{path.upper()}") == by_id


async def test_issuers(world: StsWorld) -> None:
    inside = await document(world, f"/{TENANT_ID}/{V2}", origin=INSIDE)
    assert inside["issuer"] == world.tenant.issuer_v2
    assert (await document(world, f"/{TENANT_ID}/{V1}"))["issuer"] == world.tenant.issuer_v1


@pytest.mark.parametrize("name", ["common", "organizations", "Common"])
async def test_names_that_mean_any_tenant(world: StsWorld, name: str) -> None:
    found = await document(world, f"/{name}/{V2}")
    assert found["token_endpoint"] == f"{AUTHORITY}/{name.lower()}/oauth2/v2.0/token"
    assert found["issuer"] == f"{AUTHORITY}/{{tenantid}}/v2.0"
    assert (await document(world, f"/{name}/{V1}"))["issuer"] == "https://sts.windows.net/{tenantid}/"


async def test_everything_listed_is_served(world: StsWorld) -> None:
    for version in (V1, V2):
        found = await document(world, f"/{TENANT_ID}/{version}")
        assert (await get(world, found["jwks_uri"].removeprefix(AUTHORITY))).status == 200
        assert (await get(world, found["token_endpoint"].removeprefix(AUTHORITY), method="POST")).status == 400
        assert found["grant_types_supported"][0] == "client_credentials"
    found = await document(world, f"/{TENANT_ID}/{V2}")
    assert found["grant_types_supported"][1:] == ["refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]
    assert (await get(world, found["device_authorization_endpoint"].removeprefix(AUTHORITY), method="POST")).status == 400


async def test_keys_verify_tokens(world: StsWorld) -> None:
    issued = await world.service.issue(world.by_secret(audience=ARM), world.call())
    kid = parse(issued.access_token).key_id
    for path in ("discovery/keys", "discovery/v2.0/keys"):
        keys = (await document(world, f"/{TENANT_ID}/{path}"))["keys"]
        assert [key["kid"] for key in keys if key["kid"] == kid] == [kid]
        assert all("d" not in key for key in keys)


@pytest.mark.parametrize("path", [V1, V2, "discovery/keys", "discovery/v2.0/keys"])
async def test_unknown_tenants(world: StsWorld, path: str) -> None:
    answer = await get(world, f"/nobody.example/{path}")
    assert (answer.status, json.loads(answer.body)["error_codes"]) == (400, [90002])


async def test_an_authority_with_a_slash_at_its_end(world: StsWorld) -> None:
    """As msal's own default has it: `https://login.microsoftonline.com/common/`."""
    assert (await get(world, f"/common//{V2}")).body == (await get(world, f"/common/{V2}")).body
    assert (await get(world, f"//{TENANT_ID}/{V2}")).status == 404


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE"])
async def test_documents_are_only_read(world: StsWorld, method: str) -> None:
    answer = await get(world, f"/{TENANT_ID}/{V2}", method=method)
    assert (answer.status, dict(answer.headers)["Allow"]) == (400, "GET")


def endpoint(host: str, tenant: str = TENANT_ID) -> str:
    return f"https://{host}/{tenant}/oauth2/v2.0/authorize"


async def test_instance_golden(world: StsWorld) -> None:
    query = (("api-version", "1.1"), ("authorization_endpoint", endpoint("localhost:8443")))
    answer = await get(world, "/common/discovery/instance", query=query)
    assert_golden("authority/instance.json", {"headers": dict(answer.headers), "body": json.loads(answer.body)})


@pytest.mark.parametrize(
    "host", ["login.microsoftonline.com", "login.windows.net", "login.microsoftonline.us", "Localhost:8443"]
)
def test_known_instances(host: str) -> None:
    found = instance_discovery(endpoint(host), "1.1", ORIGIN)
    assert found["tenant_discovery_endpoint"] == f"https://{host.lower()}/{TENANT_ID}/v2.0/.well-known/openid-configuration"


def test_own_metadata_keeps_the_port() -> None:
    found: Any = instance_discovery(endpoint("localhost:8443"), "1.1", ORIGIN)
    own = [it for it in found["metadata"] if "localhost:8443" in it["aliases"]]
    assert [it["preferred_network"] for it in own] == ["localhost:8443"]


def test_inside_a_run_there_is_only_azure() -> None:
    found: Any = instance_discovery(endpoint("login.microsoftonline.com"), "1.1", INSIDE)
    assert [it["preferred_network"] for it in found["metadata"]].count("login.microsoftonline.com") == 1


def test_a_run_by_variables_has_the_planes_own_name_vouched_for() -> None:
    origin = Origins.azure(8443).match("login.microsoftonline.com")
    assert origin is not None
    found: Any = instance_discovery(endpoint("localhost:8443"), "1.1", origin)
    assert [it["preferred_network"] for it in found["metadata"] if "localhost:8443" in it["aliases"]] == ["localhost:8443"]
    for stranger in ("localhost:9443", "evil.example", "evil.example:8443"):
        with pytest.raises(Failure):
            instance_discovery(endpoint(stranger), "1.1", origin)


def test_msals_question_without_the_port_is_answered_with_it() -> None:
    origin = Origins.azure(8443).match("login.microsoftonline.com")
    assert origin is not None
    found: Any = instance_discovery(endpoint("localhost"), "1.0", origin)
    assert found["tenant_discovery_endpoint"].startswith("https://localhost:8443/")


def test_version_1_0_has_no_metadata() -> None:
    assert set(instance_discovery(endpoint("login.windows.net"), "1.0", ORIGIN)) == {"tenant_discovery_endpoint"}


@pytest.mark.parametrize(
    ("asked", "api_version", "kind"),
    [
        (None, "1.1", FailureKind.MISSING_PARAMETER),
        (endpoint("localhost:8443"), "2.0", FailureKind.INVALID_PARAMETER),
        (endpoint("evil.example"), "1.1", FailureKind.INSTANCE_UNKNOWN),
        (endpoint("localhost:9443"), "1.1", FailureKind.INSTANCE_UNKNOWN),
        (endpoint("localhost"), "1.1", FailureKind.INSTANCE_UNKNOWN),
        (endpoint("evil.example@login.microsoftonline.com"), "1.1", FailureKind.INSTANCE_UNKNOWN),
        (endpoint("login.microsoftonline.com", ""), "1.1", FailureKind.INSTANCE_UNKNOWN),
        ("http://login.microsoftonline.com/t/", "1.1", FailureKind.INSTANCE_UNKNOWN),
        ("https://localhost:port/t/", "1.1", FailureKind.INSTANCE_UNKNOWN),
        ("https://[::1/t/", "1.1", FailureKind.INSTANCE_UNKNOWN),
        ("login.microsoftonline.com", None, FailureKind.INSTANCE_UNKNOWN),
        ("", None, FailureKind.INSTANCE_UNKNOWN),
    ],
)
def test_instances_that_are_refused(asked: str | None, api_version: str | None, kind: FailureKind) -> None:
    with pytest.raises(Failure) as raised:
        instance_discovery(asked, api_version, ORIGIN)
    assert raised.value.kind is kind


async def test_unknown_instance_on_the_wire(world: StsWorld) -> None:
    answer = await get(world, "/common/discovery/instance", query=(("authorization_endpoint", endpoint("evil.example")),))
    body = json.loads(answer.body)
    assert (answer.status, body["error"], body["error_codes"]) == (400, "invalid_instance", [50049])


async def test_instance_discovery_is_of_no_tenant(world: StsWorld) -> None:
    assert (await get(world, f"/{TENANT_ID}/discovery/instance")).status == 404
