import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.first_party import graph_grants
from tests.unit.sts.sts_world import AUTHORITY, StsWorld, assert_golden, replacing

from idplane.graph.catalogue import ENTITY_SETS
from idplane.graph.filters import parse_filter
from idplane.graph.service import DirectoryService
from idplane.graph.sign_ins import sign_in_document
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import OPEN
from idplane.ports.collections import PRINCIPALS
from idplane.rbac import AccessControl
from idplane.web.graph import GraphSurface
from idplane.web.graph_errors import describe, graph_error
from idplane.web.http import HttpRequest, HttpResponse, Origin

ORIGIN = Origin(
    authority=AUTHORITY,
    management=AUTHORITY,
    graph=AUTHORITY,
    portal=f"{AUTHORITY}/portal",
    vault_domain="vault.localhost:8443",
)
BETA = "/beta/auditLogs/signIns"
MANAGED = "signInEventTypes/any(t: t eq 'managedIdentity')"
SERVICE = "signInEventTypes/any(t: t eq 'servicePrincipal')"
EVERY = "signInEventTypes/any(t: t eq 'managedIdentity' or t eq 'servicePrincipal')"


@pytest.fixture
async def world() -> AsyncIterator[StsWorld]:
    opened = await StsWorld.open()
    yield opened
    await opened.store.close()


async def reader(world: StsWorld, audience: str = "https://graph.microsoft.com") -> dict[str, str]:
    issued = await world.service.issue(world.by_secret(audience=audience), world.call("00000000-0000-4000-8000-000000000000"))
    return {"authorization": f"Bearer {issued.access_token}"}


def surface_of(world: StsWorld) -> GraphSurface:
    return GraphSurface(
        service=DirectoryService(
            store=world.store,
            clock=world.clock,
            entropy=world.entropy,
            profile=OPEN,
            access=AccessControl(store=world.store),
            authenticator=world.authenticator,
            sets=ENTITY_SETS,
            describe=describe,
        )
    )


async def get(
    world: StsWorld, headers: Mapping[str, str], path: str = BETA, *, method: str = "GET", **options: str
) -> HttpResponse:
    surface = surface_of(world)
    sent = HttpRequest(
        method=method,
        path=path,
        query=tuple((f"${name}", value) for name, value in options.items()),
        headers={name: (value,) for name, value in headers.items()},
        body=b"",
        origin=ORIGIN,
        call=world.call(),
    )
    try:
        return await surface.handle(sent)
    except Failure as failure:
        return surface.refuse(failure, sent)


async def listed(world: StsWorld, headers: Mapping[str, str], **options: str) -> Any:
    answer = await get(world, headers, **options)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


async def refused(answer: HttpResponse) -> tuple[int, str]:
    body = json.loads(answer.body)
    assert set(body["error"]) == {"code", "message", "innerError"}
    return answer.status, body["error"]["code"]


class TestReading:
    async def test_golden_of_a_managed_identity(self, world: StsWorld) -> None:
        facts = {"pid": 7, "uid": 1000, "gid": 100, "executable": "/usr/bin/python3", "cgroup": "/system.slice/app.service"}
        facts |= {"systemd_unit": "app.service", "container": None, "run_id": None, "binding": "app"}
        await world.service.issue(world.by_agent(world.user, workload=facts), world.call())
        (record,) = await world.sign_ins()
        fixed = replace(
            record,
            client_id="{client}",
            principal_id="{principal}",
            token_id="{uti}",
            credential_id="{credential}",
            credential_thumbprint="{thumbprint}",
            signing_key="{kid}",
        )
        assert record.credential_thumbprint is not None
        assert_golden("graph/sign_in_managed_identity.json", sign_in_document(fixed))

    async def test_golden_of_a_refusal(self, world: StsWorld) -> None:
        with pytest.raises(Failure):
            await world.service.issue(world.by_secret(client_secret="guess"), world.call())
        (record,) = await world.sign_ins()
        fixed = replace(
            record,
            client_id="{client}",
            principal_id="{principal}",
            failure_reason=record.failure_reason.replace(world.app.client_id, "{client}"),
        )
        assert_golden("graph/sign_in_refused.json", sign_in_document(fixed))

    async def test_kinds(self, world: StsWorld) -> None:
        headers = await reader(world)
        await world.service.issue(world.by_agent(world.system), world.call())
        kinds = {
            text: [it["signInEventTypes"] for it in (await listed(world, headers, filter=text))["value"]]
            for text in (MANAGED, SERVICE, EVERY)
        }
        assert kinds == {
            MANAGED: [["managedIdentity"]],
            SERVICE: [["servicePrincipal"]],
            EVERY: [["managedIdentity"], ["servicePrincipal"]],
        }

    async def test_without_a_filter_there_are_only_users(self, world: StsWorld) -> None:
        assert (await listed(world, await reader(world)))["value"] == []

    async def test_v1_0_has_no_service_principals(self, world: StsWorld) -> None:
        headers = await reader(world)
        answer = await get(world, headers, "/v1.0/auditLogs/signIns")
        assert (answer.status, json.loads(answer.body)["value"]) == (200, [])
        answer = await get(world, headers, "/v1.0/auditLogs/signIns", filter=MANAGED)
        assert await refused(answer) == (400, "Request_UnsupportedQuery")

    async def test_columns(self, world: StsWorld) -> None:
        headers = await reader(world)
        await world.service.issue(world.by_agent(world.system), world.call())
        with pytest.raises(Failure):
            await world.service.issue(world.by_secret(client_secret="x"), world.call())
        for condition, count in (
            (f"servicePrincipalId eq '{world.system.id}'", 1),
            (f"appId eq '{world.app.client_id.upper()}'", 2),
            ("status/errorCode eq 7000215", 1),
            ("status/errorCode eq 0 and correlationId eq '88888888-8888-4888-8888-888888888888'", 2),
            ("appId eq 'nobody'", 0),
        ):
            found = await listed(world, headers, filter=f"{condition} and {EVERY}")
            assert len(found["value"]) == count, condition

    async def test_times_and_order(self, world: StsWorld) -> None:
        headers = await reader(world)
        moments = []
        for _ in range(3):
            world.clock.advance(timedelta(minutes=1))
            moments.append(world.clock.now().isoformat().replace("+00:00", "Z"))
            await world.service.issue(world.by_agent(world.system), world.call())
        for condition, expected in (
            (f"createdDateTime ge {moments[1]}", moments[1:]),
            (f"createdDateTime gt {moments[1]}", moments[2:]),
            (f"createdDateTime le {moments[1]}", moments[:2]),
            (f"createdDateTime lt {moments[1]}", moments[:1]),
        ):
            found = await listed(world, headers, filter=f"{MANAGED} and {condition}", orderby="createdDateTime asc")
            assert [it["createdDateTime"] for it in found["value"]] == expected
        newest_first = await listed(world, headers, filter=MANAGED)
        assert [it["createdDateTime"] for it in newest_first["value"]] == moments[::-1]

    async def test_pages(self, world: StsWorld) -> None:
        headers = await reader(world)
        for number in range(5):
            await world.service.issue(world.by_agent(world.system), world.call(f"{number:08d}-0000-4000-8000-000000000000"))
        options = {"filter": MANAGED, "top": "2", "orderby": "createdDateTime asc"}
        seen: list[str] = []
        for _ in range(9):
            found = await listed(world, headers, **options)
            seen += [it["id"][:8] for it in found["value"]]
            if "@odata.nextLink" not in found:
                break
            link = urlsplit(found["@odata.nextLink"])
            assert f"{link.scheme}://{link.netloc}{link.path}" == f"{AUTHORITY}{BETA}"
            options = {name.removeprefix("$"): value for name, value in parse_qsl(link.query)}
        assert seen == [f"{number:08d}" for number in range(5)]

    async def test_own_address_as_audience(self, world: StsWorld) -> None:
        headers = await reader(world, AUTHORITY)
        assert (await get(world, headers, filter=EVERY)).status == 200

    async def test_other_tenants_are_not_shown(self, world: StsWorld) -> None:
        with pytest.raises(Failure):
            await world.service.issue(world.by_secret(tenant="fabrikam.onmicrosoft.com"), world.call())
        found = await listed(world, await reader(world), filter=EVERY)
        assert [it["status"]["errorCode"] for it in found["value"]] == [0]


class TestRefusals:
    async def test_no_token(self, world: StsWorld) -> None:
        for headers in ({}, {"authorization": "Bearer "}, {"authorization": "Basic abc"}):
            answer = await get(world, headers)
            assert await refused(answer) == (401, "InvalidAuthenticationToken")
            assert dict(answer.headers)["WWW-Authenticate"].startswith("Bearer ")

    async def test_token_for_another_resource(self, world: StsWorld) -> None:
        headers = await reader(world, "https://vault.azure.net")
        assert await refused(await get(world, headers)) == (401, "InvalidAuthenticationToken")

    async def test_token_without_the_role(self, world: StsWorld) -> None:
        await world.commit(replacing(PRINCIPALS, replace(world.app, app_roles=graph_grants("User.Read.All"))))
        answer = await get(world, await reader(world), filter=EVERY)
        assert await refused(answer) == (403, "Authorization_RequestDenied")

    @pytest.mark.parametrize("path", ["/v1.0/colours", "/beta", "/beta/", f"{BETA}/x", "/v1.0/auditLogs", f"{BETA}/x/y"])
    async def test_other_objects(self, world: StsWorld, path: str) -> None:
        answer = await get(world, await reader(world), path)
        assert await refused(answer) == (404, "Request_ResourceNotFound")
        assert "not available" in json.loads(answer.body)["error"]["message"]

    @pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
    async def test_methods(self, world: StsWorld, method: str) -> None:
        assert (await get(world, await reader(world), method=method)).status == 405

    @pytest.mark.parametrize(
        "options",
        [
            {"top": "0"},
            {"top": "1001"},
            {"top": "-1"},
            {"top": "x"},
            {"top": "1" * 50},
            {"top": "²"},
            {"orderby": "appId desc x"},
            {"orderby": "status"},
            {"skiptoken": "x"},
            {"skiptoken": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5"},
            {"count": "yes"},
            {"select": ""},
            {"expand": "x"},
            {"apply": "x"},
            {"top": "1", "TOP": "2"},
        ],
    )
    async def test_options(self, world: StsWorld, options: dict[str, str]) -> None:
        assert await refused(await get(world, await reader(world), **options)) == (400, "BadRequest")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "appId",
        "appId eq nobody",
        "appId eq 'x' and",
        "appId eq 'x'  appId eq 'y'",
        "appId eq 'x",
        "status/errorCode eq '0'",
        "status/errorCode eq 99999999999999999999",
        "createdDateTime ge 2026-01-01T00:00:00",
        "createdDateTime ge 2026-13-01T00:00:00Z",
        "createdDateTime ge yesterday",
        "createdDateTime ge '2026-01-01T00:00:00Z'",
        "signInEventTypes eq 'managedIdentity'",
        "signInEventTypes/any(t: t eq 'everything')",
        "signInEventTypes/any(t: u eq 'managedIdentity')",
        "signInEventTypes/any(t: t eq 'managedIdentity' or t eq 'interactiveUser')",
        "signInEventTypes/any()",
        f"{MANAGED} and signInEventTypes/any(t: t eq 'interactiveUser')",
        "appId eq '" + "x" * 9000 + "'",
    ],
)
async def test_filters_that_are_refused(world: StsWorld, text: str) -> None:
    answer = await get(world, await reader(world), filter=text)
    assert await refused(answer) == (400, "Request_UnsupportedQuery")


async def test_unknown_properties_are_refused(world: StsWorld) -> None:
    headers = await reader(world)
    for options in ({"filter": "userColour eq 'x'"}, {"orderby": "userColour"}, {"select": "id,userColour"}):
        assert await refused(await get(world, headers, **options)) == (400, "BadRequest")


async def test_conditions_combine(world: StsWorld) -> None:
    headers = await reader(world)
    for _ in range(3):
        world.clock.advance(timedelta(minutes=1))
        await world.service.issue(world.by_agent(world.system), world.call())
    at = world.clock.now()
    earlier, later = (moment.isoformat().replace("+00:00", "Z") for moment in (at - timedelta(minutes=1), at))
    for condition, count in (
        (f"createdDateTime ge {earlier} and createdDateTime lt {later}", 1),
        (f"createdDateTime gt {earlier} and createdDateTime ge 2025-01-01T00:00:00Z", 1),
        (f"(appId eq 'nobody' or appId eq '{world.system.client_id}') and createdDateTime ge {earlier}", 2),
        (f"not (createdDateTime ge {later})", 2),
        (f"servicePrincipalName in ('nobody', '{world.system.display_name.upper()}')", 3),
        ("startswith(servicePrincipalName, 'no-such')", 0),
    ):
        found = await listed(world, headers, filter=f"{MANAGED} and {condition}")
        assert len(found["value"]) == count, condition


async def test_counts_and_selections(world: StsWorld) -> None:
    headers = await reader(world)
    for _ in range(3):
        await world.service.issue(world.by_agent(world.system), world.call())
    found = await listed(world, headers, filter=MANAGED, count="true", top="1", select="id,appId")
    assert found["@odata.count"] == 3
    assert [{name for name in one if name[0] != "@"} for one in found["value"]] == [{"id", "appId"}]
    counted = await get(world, headers, f"{BETA}/$count", filter=MANAGED)
    assert (counted.status, counted.body, counted.media_type) == (200, b"3", "text/plain")


@given(st.text(alphabet="aptIdeqgnd '()/:tT0-Z,in", max_size=60))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        parse_filter(text)
    except Failure as failure:
        kind = failure.kind
    else:
        kind = FailureKind.INVALID_FILTER
    assert kind is FailureKind.INVALID_FILTER


@pytest.mark.parametrize("kind", list(FailureKind))
async def test_table_is_total(world: StsWorld, kind: FailureKind) -> None:
    sent = HttpRequest(method="GET", path=BETA, query=(), headers={}, body=b"", origin=ORIGIN, call=world.call())
    answer = graph_error(Failure(kind), sent)
    assert (await refused(answer))[1] == describe(Failure(kind))[1]
    assert answer.status == kind.category.value
