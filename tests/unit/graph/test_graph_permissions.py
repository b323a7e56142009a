"""Who may do what, and what the log says of it."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.unit.graph.graph_world import GRAPH_APP, TENANT, GraphWorld

from idplane.model.events import EventStatus
from idplane.ports.collections import APPLICATIONS

DENIED = (403, "Authorization_RequestDenied")


@pytest.fixture
async def world() -> AsyncIterator[GraphWorld]:
    opened = await GraphWorld.open()
    yield opened
    await opened.store.close()


@pytest.mark.parametrize(
    ("role", "reads", "writes"),
    [
        ("Application.Read.All", True, False),
        ("Application.ReadWrite.All", True, True),
        ("Directory.Read.All", True, False),
        ("Directory.ReadWrite.All", True, False),
        ("AppRoleAssignment.ReadWrite.All", False, False),
        ("Application.ReadWrite.OwnedBy", False, False),
        ("User.Read.All", False, False),
        ("AuditLog.Read.All", False, False),
    ],
)
async def test_roles(world: GraphWorld, role: str, *, reads: bool, writes: bool) -> None:
    caller = await world.application("caller", role)
    for path in ("/applications", "/servicePrincipals", f"/servicePrincipals(appId='{GRAPH_APP}')", "/applications/$count"):
        answer = await world.get(path, caller=caller)
        assert (answer.status == 200) is reads, path
    made = await world.call("POST", "/applications", {"displayName": "x"}, caller=caller)
    assert (made.status == 201) is writes
    if not writes:
        assert made.refusal == DENIED


async def test_without_roles_nothing_is_told(world: GraphWorld) -> None:
    app = await world.new_app()
    for method, path in (
        ("GET", f"/applications/{app['id']}"),
        ("GET", f"/applications/{TENANT}"),
        ("PATCH", f"/applications/{app['id']}"),
        ("DELETE", f"/applications/{TENANT}"),
        ("GET", "/servicePrincipals"),
        ("GET", f"/servicePrincipals/{world.user.id}"),
        ("GET", "/auditLogs/signIns"),
        ("GET", "/auditLogs/directoryAudits"),
    ):
        answer = await world.call(method, path, {} if method == "PATCH" else None, caller=world.system)
        assert answer.refusal == DENIED, path
        assert answer.message == "Insufficient privileges to complete the operation."


async def test_everyone_reads_itself(world: GraphWorld) -> None:
    for path in (f"/servicePrincipals/{world.system.id}", f"/servicePrincipals(appId='{world.system.client_id}')"):
        assert (await world.get(path, caller=world.system))["displayName"] == "stock-vm"
    answer = await world.call("PATCH", f"/servicePrincipals/{world.system.id}", {}, caller=world.system)
    assert answer.refusal == DENIED


async def test_owners_at_the_root_may(world: GraphWorld) -> None:
    await world.own(world.system)
    assert (await world.call("POST", "/applications", {"displayName": "x"}, caller=world.system)).status == 201


async def test_nobody_takes_over_an_administrator(world: GraphWorld) -> None:
    writer = await world.application("writer", "Application.ReadWrite.All")
    app = await world.new_app()
    principal = await world.new_principal(app)
    owner = await world.principal(principal["id"])
    assert owner is not None
    await world.own(owner)
    trust = {"name": "main", "issuer": "https://issuer.example", "subject": "s", "audiences": ["api://AzureADTokenExchange"]}
    for method, path, body in (
        ("POST", f"/servicePrincipals/{world.admin.id}/addPassword", {}),
        ("POST", f"/servicePrincipals/{owner.id}/addPassword", {}),
        ("POST", f"/applications/{app['id']}/addPassword", {}),
        ("POST", f"/applications/{app['id']}/federatedIdentityCredentials", trust),
        ("PATCH", f"/applications/{app['id']}", {"keyCredentials": []}),
    ):
        answer = await world.call(method, path, body, caller=writer)
        assert answer.refusal == DENIED
        assert "administrator" in answer.message
        assert (await world.call(method, path, body)).status < 300


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/applications", "GET, POST"),
        ("DELETE", "/applications", "GET, POST"),
        ("POST", "/applications/$count", "GET"),
        ("POST", "/auditLogs/signIns", "GET"),
        ("GET", f"/applications/{TENANT}/addPassword", "POST"),
        ("DELETE", f"/applications/{TENANT}/addPassword", "POST"),
        ("PUT", f"/applications/{TENANT}", "GET, PATCH, DELETE"),
    ],
)
async def test_methods(world: GraphWorld, method: str, path: str, allowed: str) -> None:
    answer = await world.call(method, path, {})
    assert answer.status == 405
    assert allowed in answer.message


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/colours",
        "/applications/x/colours",
        "/applications/x/addPassword/y",
        "/applications/addPassword",
        "/applications/$ref/x",
        "/applications/$metadata",
        f"/applications/{'x' * 600}",
        "/auditLogs",
        "/auditLogs/signIns/x",
        "/beta2/applications",
        "/applications/x/federatedIdentityCredentials/y/z",
    ],
)
async def test_paths_that_lead_nowhere(world: GraphWorld, path: str) -> None:
    answer = await world.get(path)
    assert answer.status in (400, 404)
    assert answer.refusal[1] in ("Request_ResourceNotFound", "BadRequest")


@pytest.mark.parametrize("key", ["colour='x'", "appId=x", "appId='x", "'x'y", "appId='x',b='y'"])
async def test_keys_that_are_refused(world: GraphWorld, key: str) -> None:
    assert (await world.get(f"/applications({key})")).refusal == (400, "BadRequest")


class TestTheLog:
    async def test_a_change_and_a_refusal(self, world: GraphWorld) -> None:
        app = await world.new_app()
        await world.call("PATCH", f"/applications/{app['id']}", {"displayName": 7})
        await world.call("DELETE", f"/applications/{app['id']}", caller=world.system)
        await world.get("/applications")
        events = await world.events()
        assert [(one.operation, one.status, one.sub_status) for one in events] == [
            ("Microsoft.Graph/applications/create", EventStatus.SUCCEEDED, "Created"),
            ("Microsoft.Graph/applications/update", EventStatus.FAILED, "Request_BadRequest"),
            ("Microsoft.Graph/applications/delete", EventStatus.FAILED, "Authorization_RequestDenied"),
        ]
        assert {one.resource_id for one in events} == {f"/providers/Microsoft.Graph/applications/{app['id']}"}
        assert [one.caller_id for one in events] == [world.admin.id, world.admin.id, world.system.id]

    async def test_directory_audits(self, world: GraphWorld) -> None:
        app = await world.new_app()
        path = f"/applications/{app['id']}"
        secret = await world.call("POST", f"{path}/addPassword", {})
        world.clock.advance(timedelta(minutes=1))
        await world.call("DELETE", path, caller=world.system)
        found = (await world.get("/auditLogs/directoryAudits", orderby="activityDateTime asc"))["value"]
        assert [one["activityDisplayName"].removeprefix("Microsoft.Graph/") for one in found] == [
            "applications/create",
            "applications/addPassword",
            "applications/delete",
        ]
        assert [one["result"] for one in found] == ["success", "success", "failure"]
        assert found[0]["initiatedBy"]["app"]["appId"] == world.admin.client_id
        assert found[0]["targetResources"][0]["id"] == app["id"]
        assert found[0]["targetResources"][0]["displayName"] == "orders"
        assert secret["secretText"] not in str(found)
        later = await world.get("/auditLogs/directoryAudits", filter="activityDateTime gt 2026-01-01T12:00:30Z")
        assert [one["result"] for one in later["value"]] == ["failure"]
        pages, link = 0, "/auditLogs/directoryAudits?$top=1"
        while link:
            answer = await world.call("GET", link)
            pages, link = pages + len(answer["value"]), answer.body.get("@odata.nextLink")
        assert pages == 3

    @pytest.mark.parametrize("key", ["x%", "a:b", " ", "x" * 300])
    async def test_names_that_are_none(self, world: GraphWorld, key: str) -> None:
        answer = await world.call("DELETE", f"/applications/{key}")
        assert answer.status == 404
        (event,) = await world.events()
        assert event.resource_id.startswith("/providers/Microsoft.Graph/applications/")

    async def test_a_change_that_nobody_may_make_changes_nothing(self, world: GraphWorld) -> None:
        await world.call("POST", "/applications", {"displayName": "x"}, caller=world.system)
        assert await world.store.all(APPLICATIONS) == ()
