import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.unit.sts.sts_world import AUTHORITY, TENANT_ID, shared_ring
from tests.unit.sts.user_world import ARM_SCOPE, People

from idplane.model.failure import Failure
from idplane.model.public_clients import AZURE_CLI
from idplane.sts.device_codes import StartedDeviceCode
from idplane.sts.requests import DEVICE_CODE_GRANT
from idplane.web.authority import AuthoritySurface
from idplane.web.http import HttpRequest, HttpResponse, Origin

ORIGIN = Origin(
    authority=AUTHORITY,
    management=AUTHORITY,
    graph=AUTHORITY,
    portal=f"{AUTHORITY}/portal",
    vault_domain="vault.localhost:8443",
)


@pytest.fixture
async def people() -> AsyncIterator[People]:
    opened = await People.open()
    yield opened
    await opened.world.store.close()


async def send(
    people: People, path: str, form: dict[str, str] | None = None, *, method: str | None = None, **query: str
) -> HttpResponse:
    world = people.world
    surface = AuthoritySurface(tokens=world.service, devices=world.devices, ring=shared_ring(), store=world.store)
    headers = {"content-type": ("application/x-www-form-urlencoded",)}
    request = HttpRequest(
        method=method or ("GET" if form is None else "POST"),
        path=path,
        query=tuple((name.replace("_", "-"), value) for name, value in query.items()),
        headers=headers,
        body=urlencode(form or {}).encode(),
        origin=ORIGIN,
        call=world.call(),
    )
    try:
        return await surface.handle(request)
    except Failure as failure:
        return surface.refuse(failure, request)


async def sent(people: People, path: str, form: dict[str, str], status: int = 200) -> Any:
    answer = await send(people, path, form)
    assert answer.status == status, answer.body
    return json.loads(answer.body)


@pytest.mark.parametrize("tenant", ["organizations", "common", "Common", TENANT_ID, "contoso.onmicrosoft.com"])
async def test_a_sign_in_from_start_to_end(people: People, tenant: str) -> None:
    started = await sent(people, f"/{tenant}/oauth2/v2.0/devicecode", {"client_id": AZURE_CLI, "scope": ARM_SCOPE})
    assert (started["expires_in"], started["interval"]) == (900, 5)
    assert started["verification_uri"] == f"{AUTHORITY}/common/oauth2/deviceauth"
    assert started["user_code"] in started["message"]
    poll = {"grant_type": DEVICE_CODE_GRANT, "client_id": AZURE_CLI, "device_code": started["device_code"], "client_info": "1"}
    pending = await sent(people, f"/{tenant}/oauth2/v2.0/token", poll, 400)
    assert (pending["error"], pending["error_codes"]) == ("authorization_pending", [70016])
    codes = StartedDeviceCode(device_code="", user_code=started["user_code"], expires_in=0, interval=0)
    await people.decide(codes, people.ada)
    answer = await sent(people, f"/{tenant}/oauth2/v2.0/token", poll)
    assert set(answer) == {
        "token_type", "scope", "expires_in", "ext_expires_in", "access_token", "refresh_token", "id_token", "client_info",
    }  # fmt: skip
    again = {
        "grant_type": "refresh_token",
        "client_id": AZURE_CLI,
        "refresh_token": answer["refresh_token"],
        "scope": ARM_SCOPE,
    }
    refreshed = await sent(people, f"/{tenant}/oauth2/v2.0/token", again)
    assert "client_info" not in refreshed
    assert refreshed["refresh_token"] != answer["refresh_token"]


async def test_answers_are_not_to_be_kept(people: People) -> None:
    answer = await send(people, "/common/oauth2/v2.0/devicecode", {"client_id": AZURE_CLI, "scope": "openid"})
    assert dict(answer.headers)["Cache-Control"].startswith("no-store")


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, 900144),
        ({"client_id": "nobody", "scope": "openid"}, 700016),
        ({"client_id": AZURE_CLI}, 900144),
        ({"client_id": AZURE_CLI, "scope": "a/b c/d"}, 70011),
    ],
)
async def test_a_start_that_is_refused(people: People, form: dict[str, str], code: int) -> None:
    assert (await sent(people, "/common/oauth2/v2.0/devicecode", form, 400))["error_codes"] == [code]


async def test_the_page_signs_nobody_in(people: People) -> None:
    answer = await send(people, "/common/oauth2/deviceauth")
    assert (answer.status, answer.media_type) == (200, "text/html; charset=utf-8")
    text = answer.body.decode()
    assert "idplane approve CODE" in text
    assert not {"<form", "<script", "<input"} & set(text.split())
    assert "default-src 'none'" in dict(answer.headers)["Content-Security-Policy"]
    # Nothing of the request is in it, so that nothing can be put into it.
    assert (await send(people, "/common/oauth2/deviceauth", otc="<script>")).body == answer.body
    assert (await send(people, "/common/oauth2/deviceauth", {}, method="POST")).status == 400


async def test_every_user_is_managed_here(people: People) -> None:
    answer = await send(people, "/common/userrealm/Ada@contoso.onmicrosoft.com", api_version="1.0")
    realm = json.loads(answer.body)
    assert (realm["account_type"], realm["domain_name"]) == ("Managed", "contoso.onmicrosoft.com")
    # Nobody learns from it who is there.
    nobody = json.loads((await send(people, "/common/UserRealm/nobody@contoso.onmicrosoft.com", api_version="1.0")).body)
    assert nobody == realm


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/common/userrealm/ada@home.example", {}),
        ("/common/userrealm/ada@home.example", {"api_version": "9"}),
        ("/common/userrealm/", {"api_version": "1.0"}),
        (f"/common/userrealm/{'a' * 300}", {"api_version": "1.0"}),
        ("/nobody.example/userrealm/ada@home.example", {"api_version": "1.0"}),
    ],
)
async def test_a_realm_that_is_refused(people: People, path: str, query: dict[str, str]) -> None:
    assert (await send(people, path, None, method=None, **query)).status == 400


async def test_a_password_is_refused_in_words_that_help(people: People) -> None:
    form = {"grant_type": "password", "client_id": AZURE_CLI, "username": "ada", "password": "x", "scope": ARM_SCOPE}
    for tenant in ("organizations", TENANT_ID):
        answer = await sent(people, f"/{tenant}/oauth2/v2.0/token", form, 400)
        assert (answer["error"], answer["error_codes"]) == ("invalid_grant", [50056])
        assert "device code" in answer["error_description"]


async def test_applications_still_need_a_tenant(people: People) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": people.world.app.client_id,
        "client_secret": "x",
        "scope": ARM_SCOPE,
    }
    assert (await sent(people, "/organizations/oauth2/v2.0/token", form, 400))["error_codes"] == [90002]


async def test_the_old_endpoint_has_no_users(people: People) -> None:
    form = {"grant_type": "refresh_token", "client_id": AZURE_CLI, "refresh_token": "x"}
    assert (await sent(people, f"/{TENANT_ID}/oauth2/token", form, 400))["error_codes"] == [70003]
