from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.graph.graph_world import GRAPH_APP, OTHER_TENANT, TENANT, GraphWorld

from idplane.directory.app_roles import NO_ROLE
from idplane.directory.first_party import GRAPH_ROLES
from idplane.directory.identities import removal_of
from idplane.ports.collections import APP_ROLE_ASSIGNMENTS
from idplane.ports.store import CommitRefused

READ, WRITE = "aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"
IDS = {one.value: one.id for one in GRAPH_ROLES}


@pytest.fixture
async def world() -> AsyncIterator[GraphWorld]:
    opened = await GraphWorld.open()
    yield opened
    await opened.store.close()


def role(identifier: str, value: str, **changes: object) -> dict[str, object]:
    plain = {"id": identifier, "value": value, "displayName": value, "isEnabled": True, "allowedMemberTypes": ["Application"]}
    return {**plain, **changes}


async def resource(world: GraphWorld) -> Any:
    """The service principal of an application with two roles."""
    app = await world.new_app(appRoles=[role(READ, "Orders.Read"), role(WRITE, "Orders.Write")])
    return await world.new_principal(app)


async def grant(world: GraphWorld, holder: str, target: Any, identifier: str = READ, **further: object) -> Any:
    body = {"principalId": holder, "resourceId": target["id"], "appRoleId": identifier}
    return await world.call("POST", f"/servicePrincipals/{holder}/appRoleAssignments", body, **further)  # type: ignore[arg-type]  # a caller


async def roles(world: GraphWorld, target: Any) -> tuple[str, ...]:
    principal = await world.principal(world.user.id)
    assert principal is not None
    return principal.roles_for(target["appId"])


class TestAssigning:
    async def test_to_a_managed_identity(self, world: GraphWorld) -> None:
        target = await resource(world)
        made = await grant(world, world.user.id, target)
        assert made.status == 201
        assert (made["principalDisplayName"], made["principalType"]) == ("front-end", "ServicePrincipal")
        assert made["resourceDisplayName"] == "orders"
        assert await roles(world, target) == ("Orders.Read",)
        mine, theirs = (
            f"/servicePrincipals/{world.user.id}/appRoleAssignments",
            f"/servicePrincipals/{target['id']}/appRoleAssignedTo",
        )
        for path in (mine, theirs):
            assert [one["id"] for one in (await world.get(path))["value"]] == [made["id"]]
            assert (await world.get(f"{path}/{made['id']}"))["appRoleId"] == READ
        assert (await world.get(mine, filter=f"resourceId eq {target['id']}"))["value"]
        assert (await world.get(mine, filter=f"resourceId eq {TENANT}"))["value"] == []
        assert (await world.call("DELETE", f"{mine}/{made['id']}")).status == 204
        assert (await roles(world, target), await world.store.all(APP_ROLE_ASSIGNMENTS)) == ((), ())

    async def test_from_the_resource_s_side(self, world: GraphWorld) -> None:
        target = await resource(world)
        path = f"/servicePrincipals/{target['id']}/appRoleAssignedTo"
        body = {"principalId": world.user.id, "resourceId": target["id"], "appRoleId": WRITE}
        made = await world.call("POST", path, body)
        assert (made.status, await roles(world, target)) == (201, ("Orders.Write",))
        assert (await world.call("DELETE", f"{path}/{made['id']}")).status == 204
        assert await roles(world, target) == ()

    async def test_a_role_of_graph(self, world: GraphWorld) -> None:
        graph = await world.graph_principal()
        assert (await grant(world, world.user.id, graph, IDS["Directory.Read.All"])).status == 201
        assert await roles(world, graph) == ("Directory.Read.All",)
        assert (await world.get("/applications", caller=await world.principal(world.user.id))).status == 200

    async def test_access_without_a_role(self, world: GraphWorld) -> None:
        target = await resource(world)
        assert (await grant(world, world.user.id, target, NO_ROLE)).status == 201
        assert await roles(world, target) == ()

    async def test_refusals(self, world: GraphWorld) -> None:
        target, stranger = await resource(world), await world.application("stranger", tenant=OTHER_TENANT)
        path = f"/servicePrincipals/{world.user.id}/appRoleAssignments"
        good = {"principalId": world.user.id, "resourceId": target["id"], "appRoleId": READ}
        for bad in (
            {**good, "appRoleId": TENANT},
            {**good, "appRoleId": "Orders.Read"},
            {**good, "appRoleId": None},
            {**good, "resourceId": stranger.id},
            {**good, "resourceId": world.system.id},
            {**good, "resourceId": TENANT},
            {**good, "principalId": world.system.id},
            {**good, "colour": 1},
        ):
            assert (await world.call("POST", path, bad)).refusal == (400, "Request_BadRequest"), bad
        assert (await world.call("POST", path, good)).status == 201
        twice = await world.call("POST", path, good)
        assert twice.refusal == (400, "Request_BadRequest")
        assert "already exists" in twice.message

    async def test_a_role_for_people_only(self, world: GraphWorld) -> None:
        app = await world.new_app(appRoles=[role(READ, "Orders.Read", allowedMemberTypes=["User"])])
        answer = await grant(world, world.user.id, await world.new_principal(app))
        assert answer.refusal == (400, "Request_BadRequest")

    async def test_an_assignment_of_somebody_else(self, world: GraphWorld) -> None:
        made = await grant(world, world.user.id, await resource(world))
        answer = await world.call("DELETE", f"/servicePrincipals/{world.system.id}/appRoleAssignments/{made['id']}")
        assert answer.refusal == (404, "Request_ResourceNotFound")

    async def test_pages(self, world: GraphWorld) -> None:
        graph = await world.graph_principal()
        for identifier in list(IDS.values())[:7]:
            await grant(world, world.user.id, graph, identifier)
        link, found = f"/servicePrincipals/{world.user.id}/appRoleAssignments?$top=3", []
        while link:
            answer = await world.call("GET", link)
            found += [one["appRoleId"] for one in answer["value"]]
            link = answer.body.get("@odata.nextLink")
        assert sorted(found) == sorted(list(IDS.values())[:7])


class TestRolesThatChange:
    async def test_disabled_enabled_renamed_gone(self, world: GraphWorld) -> None:
        target = await resource(world)
        path = f"/applications(appId='{target['appId']}')"
        await grant(world, world.user.id, target)
        await grant(world, world.user.id, target, WRITE)
        other = role(WRITE, "Orders.Write")
        for after, held in (
            ([role(READ, "Orders.Read", isEnabled=False), other], ("Orders.Write",)),
            ([role(READ, "Orders.List", isEnabled=True), other], ("Orders.List", "Orders.Write")),
            ([role(READ, "Orders.List", isEnabled=False), other], ("Orders.Write",)),
            ([other], ("Orders.Write",)),
        ):
            assert (await world.call("PATCH", path, {"appRoles": after})).status == 204
            assert await roles(world, target) == held
        assert [row.value.role_id for row in await world.store.all(APP_ROLE_ASSIGNMENTS)] == [WRITE]

    async def test_a_role_of_its_own_and_a_new_name(self, world: GraphWorld) -> None:
        target = await resource(world)
        await grant(world, target["id"], target)
        body = {"displayName": "sales", "appRoles": [role(READ, "Orders.Read", isEnabled=False), role(WRITE, "Orders.Write")]}
        assert (await world.call("PATCH", f"/applications(appId='{target['appId']}')", body)).status == 204
        principal = await world.principal(target["id"])
        assert principal is not None
        assert (principal.display_name, principal.app_roles) == ("sales", ())

    async def test_a_holder_that_goes(self, world: GraphWorld) -> None:
        target = await resource(world)
        await grant(world, world.user.id, target)
        await world.store.commit(await removal_of(world.store, world.user.id))
        assert await world.store.all(APP_ROLE_ASSIGNMENTS) == ()

    async def test_a_removal_that_was_overtaken_is_refused(self, world: GraphWorld) -> None:
        target = await resource(world)
        removal = await removal_of(world.store, world.user.id)
        await grant(world, world.user.id, target)
        with pytest.raises(CommitRefused):
            await world.store.commit(removal)


class TestWhoMay:
    async def test_writing_applications_is_not_enough(self, world: GraphWorld) -> None:
        target = await resource(world)
        writer = await world.application("writer", "Application.ReadWrite.All")
        assert (await grant(world, writer.id, target, caller=writer)).refusal == (403, "Authorization_RequestDenied")
        granter = await world.application("granter", "AppRoleAssignment.ReadWrite.All")
        assert (await grant(world, world.user.id, target, caller=granter)).status == 201

    async def test_everyone_reads_its_own(self, world: GraphWorld) -> None:
        await grant(world, world.user.id, await resource(world))
        mine = await world.get(f"/servicePrincipals/{world.user.id}/appRoleAssignments", caller=world.user)
        assert len(mine["value"]) == 1
        for path in (
            f"/servicePrincipals/{world.system.id}/appRoleAssignments",
            f"/servicePrincipals/{TENANT}/appRoleAssignments",
        ):
            assert (await world.get(path, caller=world.user)).refusal == (403, "Authorization_RequestDenied")


def test_the_table_s_ids_are_distinct() -> None:
    assert len({one.id for one in GRAPH_ROLES}) == len({one.value for one in GRAPH_ROLES}) == len(GRAPH_ROLES)
    assert GRAPH_APP not in IDS.values()
