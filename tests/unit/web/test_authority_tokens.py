"""The token endpoints on the wire: bodies and headers against golden files, then everything that must be refused."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.sts.sts_world import ARM, AUTHORITY, TENANT_ID, StsWorld, assert_golden, rsa_pair, shared_ring

from idplane.jose import parse
from idplane.model.failure import Failure, FailureKind
from idplane.web.authority import AuthoritySurface
from idplane.web.http import HttpRequest, HttpResponse, Origin
from idplane.web.oauth_errors import oauth_error, oauth_status

FORM = "application/x-www-form-urlencoded"
ORIGIN = Origin(
    authority=AUTHORITY,
    management=AUTHORITY,
    graph=AUTHORITY,
    portal=f"{AUTHORITY}/portal",
    vault_domain="vault.localhost:8443",
)
V1, V2 = f"/{TENANT_ID}/oauth2/token", f"/{TENANT_ID}/oauth2/v2.0/token"


@pytest.fixture
async def world() -> AsyncIterator[StsWorld]:
    opened = await StsWorld.open()
    yield opened
    await opened.store.close()


def request(
    world: StsWorld,
    path: str,
    body: bytes | Mapping[str, str] | None = None,
    *,
    method: str | None = None,
    query: tuple[tuple[str, str], ...] = (),
    headers: Mapping[str, str] | None = None,
) -> HttpRequest:
    sent = {"content-type": FORM, **(headers or {})} if body is not None else headers or {}
    return HttpRequest(
        method=method or ("GET" if body is None else "POST"),
        path=path,
        query=query,
        headers={name: (value,) for name, value in sent.items()},
        body=urlencode(body).encode() if isinstance(body, Mapping) else body or b"",
        origin=ORIGIN,
        call=world.call(),
    )


async def ask(world: StsWorld, sent: HttpRequest) -> HttpResponse:
    """What the edge would send: the answer, or the failure in this surface's words."""
    surface = AuthoritySurface(tokens=world.service, devices=world.devices, ring=shared_ring(), store=world.store)
    try:
        return await surface.handle(sent)
    except Failure as failure:
        return surface.refuse(failure, sent)


def form(world: StsWorld, **changes: str | None) -> dict[str, str]:
    fields = {
        "grant_type": "client_credentials",
        "client_id": world.app.client_id,
        "client_secret": world.secret,
        "scope": f"{ARM}/.default",
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


async def refused(world: StsWorld, sent: HttpRequest) -> tuple[int, str, int]:
    """Status, error and AADSTS number of a refusal, whose shape is checked on the way."""
    answer = await ask(world, sent)
    body: Any = json.loads(answer.body)
    assert set(body) == {
        "error",
        "error_description",
        "error_codes",
        "timestamp",
        "trace_id",
        "correlation_id",
        "error_uri",
    }
    (code,) = body["error_codes"]
    assert body["error_description"].startswith(f"AADSTS{code}: ")
    assert world.secret not in answer.body.decode()
    return answer.status, body["error"], code


class TestAnswers:
    async def test_v2(self, world: StsWorld) -> None:
        answer = await ask(world, request(world, V2, form(world)))
        body = json.loads(answer.body)
        assert parse(body.pop("access_token")).claims["aud"] == ARM
        assert answer.status == 200
        assert answer.media_type == "application/json; charset=utf-8"
        assert_golden("authority/token_v2.json", {"headers": dict(answer.headers), "body": body})

    async def test_v1(self, world: StsWorld) -> None:
        answer = await ask(world, request(world, V1, form(world, scope=None, resource=ARM)))
        body = json.loads(answer.body)
        assert parse(body.pop("access_token")).claims["aud"] == ARM
        assert_golden("authority/token_v1.json", {"headers": dict(answer.headers), "body": body})

    async def test_resource_decides_the_form_of_the_token_not_the_endpoint(self, world: StsWorld) -> None:
        exchange = "api://AzureADTokenExchange"
        for path, fields in ((V1, {"scope": None, "resource": exchange}), (V2, {"scope": f"{exchange}/.default"})):
            body = json.loads((await ask(world, request(world, path, form(world, **fields)))).body)
            assert parse(body["access_token"]).claims["ver"] == "2.0"

    @pytest.mark.parametrize("content_type", [FORM.upper(), f"{FORM};charset=utf-8", f"{FORM} ; charset=UTF-8"])
    async def test_content_types(self, world: StsWorld, content_type: str) -> None:
        sent = request(world, V2, form(world), headers={"content-type": content_type})
        assert (await ask(world, sent)).status == 200

    async def test_telemetry_in_body_and_query_is_ignored(self, world: StsWorld) -> None:
        telemetry = {"client_info": "1", "x-client-SKU": "msal.js.node", "client-request-id": "x"}
        sent = request(world, V2, {**form(world), **telemetry}, query=(("client-request-id", "x"), ("scope", "evil")))
        assert (await ask(world, sent)).status == 200

    async def test_paths_ignore_case(self, world: StsWorld) -> None:
        sent = request(world, "/Contoso.OnMicrosoft.com/OAuth2/V2.0/Token", form(world))
        assert (await ask(world, sent)).status == 200

    async def test_http_basic(self, world: StsWorld) -> None:
        sent = request(
            world, V2, form(world, client_id=None, client_secret=None), headers=basic(world.app.client_id, world.secret)
        )
        assert (await ask(world, sent)).status == 200

    async def test_http_basic_with_the_client_id_repeated_in_the_body(self, world: StsWorld) -> None:
        sent = request(world, V2, form(world, client_secret=None), headers=basic(world.app.client_id, world.secret))
        assert (await ask(world, sent)).status == 200

    async def test_certificate(self, world: StsWorld) -> None:
        assertion = {
            "client_secret": None,
            "client_assertion": world.assertion(rsa_pair()),
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        }
        assert (await ask(world, request(world, V2, form(world, **assertion)))).status == 200

    async def test_empty_values_count_as_absent(self, world: StsWorld) -> None:
        assert (await ask(world, request(world, V2, form(world, client_assertion="", claims="")))).status == 200


def basic(client_id: str, secret: str) -> dict[str, str]:
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


class TestRefusals:
    async def test_wrong_secret(self, world: StsWorld) -> None:
        answer = await ask(world, request(world, V2, form(world, client_secret="guess")))
        assert answer.status == 401
        assert b"guess" not in answer.body
        body = json.loads(answer.body)
        body["error_description"] = body["error_description"].replace(world.app.client_id, "{client}")
        assert_golden("authority/error_wrong_secret.json", {"headers": dict(answer.headers), "body": body})

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"grant_type": None}, (400, "invalid_request", 900144)),
            ({"grant_type": "authorization_code"}, (400, "unsupported_grant_type", 70003)),
            ({"client_id": None}, (400, "invalid_request", 900144)),
            ({"client_id": "nobody"}, (400, "unauthorized_client", 700016)),
            ({"client_secret": None}, (401, "invalid_client", 7000218)),
            ({"client_secret": None, "client_assertion": "a.b.c"}, (400, "invalid_request", 90100)),
            ({"scope": None}, (400, "invalid_request", 900144)),
            ({"scope": "User.Read"}, (400, "invalid_scope", 70011)),
            ({"scope": "https://nowhere.example/.default"}, (400, "invalid_resource", 500011)),
            ({"resource": ARM}, (400, "invalid_request", 90100)),
            ({"claims": "{"}, (400, "invalid_request", 90100)),
        ],
    )
    async def test_parameters(self, world: StsWorld, changes: dict[str, str | None], expected: tuple[int, str, int]) -> None:
        assert await refused(world, request(world, V2, form(world, **changes))) == expected

    async def test_v1_without_resource_says_which_parameter_is_missing(self, world: StsWorld) -> None:
        answer = await ask(world, request(world, V1, form(world)))
        assert "'resource'" in json.loads(answer.body)["error_description"]

    @pytest.mark.parametrize("tenant", ["common", "organizations", "consumers", "nobody.example", "x" * 4000])
    async def test_tenants(self, world: StsWorld, tenant: str) -> None:
        assert await refused(world, request(world, f"/{tenant}/oauth2/v2.0/token", form(world))) == (
            400,
            "invalid_request",
            90002,
        )

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "X" * 50])
    async def test_methods(self, world: StsWorld, method: str) -> None:
        sent = request(world, V2, form(world), method=method)
        assert await refused(world, sent) == (400, "invalid_request", 900561)
        assert dict((await ask(world, sent)).headers)["Allow"] == "POST"

    @pytest.mark.parametrize("content_type", ["application/json", "text/plain", "", "multipart/form-data; boundary=x"])
    async def test_content_types(self, world: StsWorld, content_type: str) -> None:
        sent = request(world, V2, form(world), headers={"content-type": content_type})
        assert (await refused(world, sent))[:2] == (400, "invalid_request")

    @pytest.mark.parametrize("name", ["grant_type", "client_id", "client_secret", "scope", "x-client-SKU"])
    async def test_repeated_parameters(self, world: StsWorld, name: str) -> None:
        body = urlencode([*form(world).items(), (name, "a"), (name, "a")]).encode()
        assert await refused(world, request(world, V2, body)) == (400, "invalid_request", 90100)

    @pytest.mark.parametrize("body", [b"\xff\xfe=1", b"a=%ff", b"noequals", b"&", b"a=1;b=2&c", b"x=1&" * 65])
    async def test_malformed_bodies(self, world: StsWorld, body: bytes) -> None:
        assert (await refused(world, request(world, V2, body)))[:2] == (400, "invalid_request")

    async def test_empty_body(self, world: StsWorld) -> None:
        assert await refused(world, request(world, V2, b"")) == (400, "invalid_request", 900144)

    async def test_huge_body(self, world: StsWorld) -> None:
        body = urlencode({**form(world), "padding": "x" * 65_536}).encode()
        assert (await refused(world, request(world, V2, body)))[:2] == (413, "invalid_request")

    @pytest.mark.parametrize(
        "header",
        ["Basic", "Basic !", "Basic YQ==", "Bearer abc", "Basic Og==", "Basic gICA", "Basic YTo=", "Digest a=b", "Basic ü"],
    )
    async def test_authorization_headers(self, world: StsWorld, header: str) -> None:
        sent = request(world, V2, form(world, client_secret=None), headers={"authorization": header})
        assert await refused(world, sent) == (400, "invalid_request", 90100)

    async def test_two_credentials(self, world: StsWorld) -> None:
        sent = request(world, V2, form(world), headers=basic(world.app.client_id, world.secret))
        assert await refused(world, sent) == (400, "invalid_request", 90100)

    async def test_two_clients(self, world: StsWorld) -> None:
        sent = request(
            world, V2, form(world, client_secret=None, client_id="other"), headers=basic(world.app.client_id, world.secret)
        )
        assert await refused(world, sent) == (400, "invalid_request", 90100)

    async def test_wrong_secret_by_basic_is_challenged(self, world: StsWorld) -> None:
        sent = request(world, V2, form(world, client_id=None, client_secret=None), headers=basic(world.app.client_id, "guess"))
        assert await refused(world, sent) == (401, "invalid_client", 7000215)
        assert dict((await ask(world, sent)).headers)["WWW-Authenticate"].startswith("Basic ")

    @pytest.mark.parametrize(
        "path", ["/", "", "//", f"/{TENANT_ID}", f"/{TENANT_ID}/", f"{V2}/", f"//{V2}", "//oauth2/v2.0/token", "/ü"]
    )
    async def test_paths(self, world: StsWorld, path: str) -> None:
        assert (await refused(world, request(world, path, form(world))))[:2] == (404, "invalid_request")

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
    @given(st.binary(max_size=300))
    async def test_any_body_is_refused_in_words(self, world: StsWorld, body: bytes) -> None:
        assert (await refused(world, request(world, V2, body)))[0] == 400


@pytest.mark.parametrize("kind", list(FailureKind))
async def test_table_is_total(world: StsWorld, kind: FailureKind) -> None:
    answer = oauth_error(Failure(kind, "detail"), request(world, V2))
    assert answer.status == oauth_status(kind)
    assert 400 <= answer.status <= 503
    assert json.loads(answer.body)["error_codes"][0] > 0
