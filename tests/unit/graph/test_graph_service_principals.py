from collections.abc import AsyncIterator

import pytest
from tests.unit.graph.graph_world import GRAPH_APP, IDENTITY_ID, OTHER_TENANT, SLOT_ID, TENANT, VM_ID, GraphWorld

from idplane.directory.first_party import FIRST_PARTY
from idplane.ports.collections import PRINCIPALS, ROLE_ASSIGNMENTS

SET = "/servicePrincipals"


@pytest.fixture
async def world() -> AsyncIterator[GraphWorld]:
    opened = await GraphWorld.open()
    yield opened
    await opened.store.close()


class TestManagedIdentities:
    @pytest.mark.parametrize(
        ("which", "name", "names"),
        [
            ("system", "stock-vm", ["isExplicit=False", VM_ID]),
            ("slot", "shop/slots/staging", ["isExplicit=False", SLOT_ID]),
            ("user", "front-end", ["isExplicit=True", IDENTITY_ID]),
        ],
    )
    async def test_values(self, world: GraphWorld, which: str, name: str, names: list[str]) -> None:
        principal = getattr(world, which)
        shown = await world.get(f"{SET}/{principal.id}")
        assert shown["alternativeNames"] == names
        assert (shown["displayName"], shown["appId"], shown["id"]) == (name, principal.client_id, principal.id)
        assert shown["servicePrincipalType"] == "ManagedIdentity"
        assert shown["servicePrincipalNames"][0] == principal.client_id
        assert shown["servicePrincipalNames"][1].startswith("https://identity.azure.net/")
        assert shown["appOwnerOrganizationId"] is None
        assert shown["@odata.context"].endswith("/v1.0/$metadata#servicePrincipals/$entity")

    async def test_no_application_object(self, world: GraphWorld) -> None:
        assert (await world.get("/applications", filter=f"appId eq '{world.user.client_id}'"))["value"] == []

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("PATCH", "", {"accountEnabled": False}),
            ("DELETE", "", None),
            ("POST", "/addPassword", {}),
            ("POST", "/removePassword", {"keyId": GRAPH_APP}),
            ("PATCH", "", {"keyCredentials": []}),
        ],
    )
    async def test_they_are_changed_elsewhere(self, world: GraphWorld, method: str, path: str, body: object) -> None:
        answer = await world.call(method, f"{SET}/{world.system.id}{path}", body)
        assert answer.refusal == (403, "Authorization_RequestDenied")
        assert "managed identity" in answer.message
        assert await world.principal(world.system.id) == world.system

    async def test_federated_credentials_can_only_be_read(self, world: GraphWorld) -> None:
        path = f"{SET}/{world.user.id}/federatedIdentityCredentials"
        assert (await world.get(path))["value"] == []
        assert (await world.call("POST", path, {"name": "abc"})).status == 405


class TestFinding:
    @pytest.mark.parametrize(
        ("condition", "names"),
        [
            ("servicePrincipalType eq 'ManagedIdentity'", {"stock-vm", "front-end", "shop/slots/staging"}),
            ("servicePrincipalType eq 'managedidentity' and startswith(displayName,'STOCK')", {"stock-vm"}),
            ("servicePrincipalType eq 'Robot'", set()),
            ("displayName eq 'Front-End'", {"front-end"}),
            ("displayName eq 'front-end' or displayName eq 'stock-vm'", {"front-end", "stock-vm"}),
            ("displayName in ('front-end', 'nobody')", {"front-end"}),
            ("startswith(displayName, 'Microsoft G')", {"Microsoft Graph"}),
            (f"appId eq '{GRAPH_APP}'", {"Microsoft Graph"}),
            (f"alternativeNames/any(a:a eq '{VM_ID.upper()}')", {"stock-vm"}),
            ("alternativeNames/any(n:n eq 'isExplicit=True')", {"front-end"}),
            ("servicePrincipalNames/any(c:c eq 'https://graph.microsoft.com')", {"Microsoft Graph"}),
            ("servicePrincipalType eq 'ManagedIdentity' and not(startswith(displayName,'s'))", {"front-end"}),
            ("servicePrincipalType eq 'ManagedIdentity' and displayName ne 'front-end'", {"stock-vm", "shop/slots/staging"}),
            ("accountEnabled eq false", set()),
            ("tags/$count eq 0 and displayName eq 'front-end'", {"front-end"}),
            ("displayName eq 'it''s'", set()),
        ],
    )
    async def test_filters(self, world: GraphWorld, condition: str, names: set[str]) -> None:
        assert {*await world.names(SET, filter=condition)} == names

    async def test_by_client_id_in_any_name(self, world: GraphWorld) -> None:
        condition = f"servicePrincipalNames/any(c:c eq '{world.system.client_id.upper()}')"
        assert await world.names(SET, filter=condition) == ["stock-vm"]
        answer = await world.get(f"{SET}(appId='{world.system.client_id}')")
        assert answer["id"] == world.system.id
        assert (await world.get(f"{SET}('{world.system.id}')"))["appId"] == world.system.client_id

    @pytest.mark.parametrize(
        "path", [f"{SET}/{TENANT}", f"{SET}/x", f"{SET}(appId='{TENANT}')", f"{SET}/{TENANT}/appRoleAssignments"]
    )
    async def test_what_is_not_there(self, world: GraphWorld, path: str) -> None:
        answer = await world.get(path)
        assert answer.refusal == (404, "Request_ResourceNotFound")
        assert "does not exist or one of its queried reference-property objects are not present" in answer.message

    async def test_other_tenants_are_not_shown(self, world: GraphWorld) -> None:
        stranger = await world.application("stranger", tenant=OTHER_TENANT)
        assert "stranger" not in await world.names(SET)
        assert (await world.get(f"{SET}/{stranger.id}")).status == 404
        assert (await world.call("DELETE", f"{SET}/{stranger.id}")).status == 404

    @pytest.mark.parametrize("options", [{}, {"filter": "startswith(displayName,'app-')"}, {"orderby": "displayName desc"}])
    async def test_pages(self, world: GraphWorld, options: dict[str, str]) -> None:
        for number in range(7):
            await world.application(f"app-{number}")
        once = await world.names(SET, options, top="900")
        paged = await world.names(SET, options, top="3")
        assert paged == once
        assert len(once) == (7 if "filter" in options else 7 + 4 + len(FIRST_PARTY))
        if "orderby" in options:
            assert once == sorted(once, key=str.casefold, reverse=True)

    async def test_count_select_and_search(self, world: GraphWorld) -> None:
        found = await world.get(SET, count="true", top="1", select="id,displayName", search='"displayName:stock"')
        assert found["@odata.count"] == 1
        assert found["value"] == [{"id": world.system.id, "displayName": "stock-vm"}]
        counted = await world.get(f"{SET}/$count", filter="servicePrincipalType eq 'ManagedIdentity'")
        assert (counted.status, counted.text) == (200, "3")

    @pytest.mark.parametrize(
        "options",
        [
            {"filter": "colour eq 'red'"},
            {"filter": "displayName eq 7"},
            {"filter": "displayName"},
            {"filter": "appRoles/any(r:r/value eq 'x')"},
            {"filter": "tolower(displayName) eq 'x'"},
            {"filter": "(" * 40 + "displayName eq 'x'" + ")" * 40},
            {"select": "colour"},
            {"orderby": "tags"},
            {"top": "1000"},
            {"skiptoken": "!"},
            {"expand": "owners"},
            {"search": "stock"},
        ],
    )
    async def test_questions_that_are_refused(self, world: GraphWorld, options: dict[str, str]) -> None:
        status, code = (await world.get(SET, options)).refusal
        assert (status, code) in {(400, "BadRequest"), (400, "Request_UnsupportedQuery")}


class TestFirstParty:
    async def test_graph_offers_its_roles(self, world: GraphWorld) -> None:
        graph = await world.graph_principal()
        roles = {one["value"]: one["id"] for one in graph["appRoles"]}
        assert roles["Directory.Read.All"] == "7ab1d382-f21e-4acd-a863-ba3e13f7da61"
        assert graph["appOwnerOrganizationId"] == "f8cdef31-a31e-4b4a-93e4-5f571e91255a"

    @pytest.mark.parametrize(("method", "path"), [("DELETE", ""), ("PATCH", ""), ("POST", "/addPassword")])
    async def test_nobody_changes_them(self, world: GraphWorld, method: str, path: str) -> None:
        graph = await world.graph_principal()
        answer = await world.call(method, f"{SET}/{graph['id']}{path}", {})
        assert answer.refusal == (403, "Authorization_RequestDenied")

    async def test_nobody_makes_another_one(self, world: GraphWorld) -> None:
        answer = await world.call("POST", SET, {"appId": GRAPH_APP})
        assert answer.refusal == (409, "Request_MultipleObjectsWithSameKeyValue")


class TestChanging:
    async def test_life(self, world: GraphWorld) -> None:
        app = await world.new_app(identifierUris=["api://orders"])
        made = await world.new_principal(app)
        assert made["servicePrincipalNames"] == [app["appId"], "api://orders"]
        assert (made["servicePrincipalType"], made["appOwnerOrganizationId"]) == ("Application", TENANT)
        path = f"{SET}/{made['id']}"
        changed = await world.call("PATCH", path, {"accountEnabled": False, "tags": ["a"], "notes": "n"})
        assert (changed.status, changed.text) == (204, "")
        shown = await world.get(path)
        assert (shown["accountEnabled"], shown["tags"], shown["notes"]) == (False, ["a"], "n")
        assert (await world.call("DELETE", path)).status == 204
        assert (await world.get(path)).status == 404
        assert (await world.get(f"/applications/{app['id']}"))["displayName"] == "orders"

    async def test_names_follow_the_application(self, world: GraphWorld) -> None:
        app = await world.new_app()
        made = await world.new_principal(app)
        await world.call("PATCH", f"/applications/{app['id']}", {"displayName": "sales", "identifierUris": ["api://sales"]})
        shown = await world.get(f"{SET}/{made['id']}")
        assert (shown["displayName"], shown["servicePrincipalNames"]) == ("sales", [app["appId"], "api://sales"])
        assert await world.names(SET, filter="servicePrincipalNames/any(c:c eq 'api://SALES')") == ["sales"]

    async def test_refusals(self, world: GraphWorld) -> None:
        app = await world.new_app()
        await world.new_principal(app)
        taken = await world.call("POST", SET, {"appId": app["appId"]})
        assert taken.refusal == (409, "Request_MultipleObjectsWithSameKeyValue")
        assert "already in use" in taken.message
        unknown = await world.call("POST", SET, {"appId": TENANT})
        assert unknown.refusal == (400, "Request_BadRequest")
        assert " does not reference " in unknown.message
        for body in ({}, {"appId": 7}, {"appId": app["appId"], "colour": "red"}):
            assert (await world.call("POST", SET, body)).refusal == (400, "Request_BadRequest")

    @pytest.mark.parametrize(
        "body",
        [
            {"appId": TENANT},
            {"displayName": "other"},
            {"accountEnabled": "no"},
            {"tags": "a"},
            {"appRoleAssignmentRequired": True},
            {"colour": 1},
            {"passwordCredentials": [{"displayName": "x"}]},
            {"keyCredentials": [{"key": "AAAA"}]},
        ],
    )
    async def test_changes_that_are_refused(self, world: GraphWorld, body: object) -> None:
        made = await world.new_principal(await world.new_app())
        answer = await world.call("PATCH", f"{SET}/{made['id']}", body)
        assert answer.refusal == (400, "Request_BadRequest")

    async def test_what_was_read_may_be_sent_back(self, world: GraphWorld) -> None:
        made = await world.new_principal(await world.new_app())
        assert (await world.call("PATCH", f"{SET}/{made['id']}", made)).status == 204

    async def test_the_last_owner_stays(self, world: GraphWorld) -> None:
        path = f"{SET}/{world.admin.id}"
        for method, body in (("DELETE", None), ("PATCH", {"accountEnabled": False})):
            assert (await world.call(method, path, body)).refusal == (412, "CannotDeleteLastRbacAdminAssignment")
        other = await world.application("second")
        await world.own(other)
        await world.disable(other)
        assert (await world.call("DELETE", path)).status == 412
        third = await world.application("third")
        await world.own(third)
        assert (await world.call("DELETE", path)).status == 204
        left = await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": world.admin.id})
        assert (await world.store.get(PRINCIPALS, world.admin.id), left) == (None, ())
