import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.first_party import graph_grants
from tests.unit.sts.sts_world import AUTHORITY, OTHER_TENANT_ID, TENANT_ID, StsWorld
from tests.unit.sts.user_world import People
from tests.unit.web.test_graph_sign_ins import ORIGIN, surface_of

from idplane.directory.people import new_user
from idplane.model.directory import UserDetails
from idplane.model.failure import Failure
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import ACTIVITY, MEMBERSHIPS, PRINCIPALS, REFRESH_TOKENS, ROLE_ASSIGNMENTS, SESSIONS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.web.http import HttpRequest

OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
NOBODY = "99999999-9999-4999-8999-999999999999"
GRAPH = "https://graph.microsoft.com/.default openid offline_access"


def ownership(principal_id: str, people: People, number: int = 1) -> RoleAssignment:
    now = people.world.clock.now()
    return RoleAssignment(
        id=f"00000000-0000-4000-8000-{number:012d}",
        tenant_id=TENANT_ID,
        scope="/",
        role_id=OWNER,
        principal_id=principal_id,
        principal_type="User",
        created_at=now,
        changed_at=now,
    )


class Desk:
    """Graph as one caller sees it."""

    def __init__(self, people: People) -> None:
        self.people = people
        self.world: StsWorld = people.world
        self.surface = surface_of(people.world)
        self.token = ""

    async def call(self, method: str, path: str, body: object = None, **options: str) -> tuple[int, Any]:
        request = HttpRequest(
            method=method,
            path=f"/v1.0{path}",
            query=tuple((f"${name}", value) for name, value in options.items()),
            headers={"authorization": (f"Bearer {self.token}",), "content-type": ("application/json",)},
            body=b"" if body is None else json.dumps(body).encode(),
            origin=ORIGIN,
            call=self.world.call(self.world.entropy.guid()),
        )
        try:
            answer = await self.surface.handle(request)
        except Failure as failure:
            answer = self.surface.refuse(failure, request)
        return answer.status, json.loads(answer.body) if answer.body else None

    async def get(self, path: str, **options: str) -> Any:
        status, body = await self.call("GET", path, **options)
        assert status == 200, body
        return body

    async def make(self, kind: str, name: str, **more: object) -> str:
        body = {"displayName": name, "mailNickname": name, **more}
        if kind == "users":
            body = {"accountEnabled": True, "userPrincipalName": f"{name}@contoso.onmicrosoft.com", **body}
        else:
            body = {"mailEnabled": False, "securityEnabled": True, **body}
        status, made = await self.call("POST", f"/{kind}", body)
        assert status == 201, made
        return str(made["id"])

    async def join(self, group: str, member: str) -> tuple[int, Any]:
        reference = {"@odata.id": f"{AUTHORITY}/v1.0/directoryObjects/{member}"}
        return await self.call("POST", f"/groups/{group}/members/$ref", reference)

    async def ids(self, path: str, **options: str) -> list[str]:
        return [one["id"] for one in (await self.get(path, **options))["value"]]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """Graph for Ada, who is Owner of the tenant."""
    people = await People.open()
    await people.world.commit(Put(collection=ROLE_ASSIGNMENTS, value=ownership(people.ada.id, people), expect=ABSENT))
    opened = Desk(people)
    opened.token = (await people.signed_in(scope=GRAPH)).access_token
    yield opened
    await people.world.store.close()


async def stranger(desk: Desk) -> str:
    """A user without any right; the desk's caller from then on."""
    identifier = await desk.make("users", "eve")
    found = await desk.world.store.get(PRINCIPALS, identifier)
    assert found is not None
    desk.token = (await desk.people.signed_in(scope=GRAPH, user=found.value)).access_token
    return identifier


class TestUsers:
    async def test_a_user_s_life(self, desk: Desk) -> None:
        made = await desk.make("users", "bob", givenName="Bob", jobTitle="Buyer", passwordProfile={"password": "hunter2"})
        by_name = await desk.get("/users/Bob@contoso.onmicrosoft.com")
        assert (by_name["id"], by_name["jobTitle"]) == (made, "Buyer")
        assert (await desk.get("/users('bob@contoso.onmicrosoft.com')"))["id"] == made
        change = {"displayName": "Robert", "givenName": None, "mail": "bob@home.example"}
        assert await desk.call("PATCH", f"/users/{made}", change) == (204, None)
        changed = await desk.get(f"/users/{made}", select="displayName,givenName,mail,jobTitle")
        assert [changed[one] for one in ("displayName", "givenName", "mail", "jobTitle")] == [
            "Robert",
            None,
            "bob@home.example",
            "Buyer",
        ]
        assert await desk.call("DELETE", f"/users/{made}") == (204, None)
        assert (await desk.call("GET", f"/users/{made}"))[0] == 404
        events = [row.event.operation for row in reversed(await desk.world.store.read_log(ACTIVITY))]
        assert events == ["Microsoft.Graph/users/create", "Microsoft.Graph/users/update", "Microsoft.Graph/users/delete"]

    async def test_a_password_is_stored_nowhere(self, desk: Desk) -> None:
        made = await desk.make("users", "bob", passwordProfile={"password": "hunter2"})
        change = {"passwordProfile": {"password": "hunter3"}}
        assert (await desk.call("PATCH", f"/users/{made}", change))[0] == 204
        everything = f"{await desk.world.store.all(PRINCIPALS)} {await desk.world.store.read_log(ACTIVITY)}"
        assert "hunter" not in everything

    @pytest.mark.parametrize(
        "filter_",
        [
            "userPrincipalName eq 'BOB@contoso.onmicrosoft.com'",
            "startswith(displayName,'bo')",
            "startswith(userPrincipalName,'bob') and accountEnabled eq true",
            "mailNickname eq 'bob'",
            "jobTitle eq 'Buyer'",
        ],
    )
    async def test_filters(self, desk: Desk, filter_: str) -> None:
        made = await desk.make("users", "bob", jobTitle="Buyer")
        assert await desk.ids("/users", filter=filter_) == [made]

    async def test_pages_and_counts(self, desk: Desk) -> None:
        made = {await desk.make("users", f"user-{number}") for number in range(5)} | {desk.people.ada.id}
        found: list[str] = []
        options = {"top": "2", "count": "true"}
        for _ in range(3):
            page = await desk.get("/users", **options)
            assert page["@odata.count"] == 6
            found += [one["id"] for one in page["value"]]
            options["skiptoken"] = page.get("@odata.nextLink", "").rpartition("skiptoken=")[2]
        assert set(found) == made
        assert len(found) == 6

    @pytest.mark.parametrize(
        "change",
        [
            {"displayName": ""},
            {"userPrincipalName": "nobody"},
            {"userPrincipalName": "a b@home.example"},
            {"userPrincipalName": "ADA@contoso.onmicrosoft.com"},
            {"accountEnabled": "yes"},
            {"shoeSize": 43},
            {"id": NOBODY},
        ],
    )
    async def test_what_is_refused(self, desk: Desk, change: dict[str, object]) -> None:
        body = {
            "accountEnabled": True,
            "displayName": "x",
            "mailNickname": "x",
            "userPrincipalName": "x@home.example",
            **change,
        }
        status, answer = await desk.call("POST", "/users", body)
        assert (status, answer["error"]["code"]) == (400, "Request_BadRequest")
        other = await desk.make("users", "bob")
        assert (await desk.call("PATCH", f"/users/{other}", change))[0] == 400

    @pytest.mark.parametrize("name", ["accountEnabled", "displayName", "mailNickname", "userPrincipalName"])
    async def test_what_a_new_user_needs(self, desk: Desk, name: str) -> None:
        body = {"accountEnabled": True, "displayName": "x", "mailNickname": "x", "userPrincipalName": "x@home.example"}
        del body[name]
        assert (await desk.call("POST", "/users", body))[0] == 400

    async def test_disabling_ends_every_sign_in(self, desk: Desk) -> None:
        eve = await desk.make("users", "eve")
        row = await desk.world.store.get(PRINCIPALS, eve)
        assert row is not None
        token = await desk.people.signed_in(user=row.value)
        assert (await desk.call("PATCH", f"/users/{eve}", {"accountEnabled": False}))[0] == 204
        assert (await desk.call("PATCH", f"/users/{eve}", {"accountEnabled": True}))[0] == 204
        with pytest.raises(Failure):
            await desk.world.authenticator.authenticate(token.access_token, ("https://management.azure.com/",))
        assert {one.value.principal_id for one in await desk.world.store.all(SESSIONS)} == {desk.people.ada.id}

    async def test_revoking_sign_ins(self, desk: Desk) -> None:
        status, answer = await desk.call("POST", f"/users/{desk.people.ada.id}/revokeSignInSessions")
        assert (status, answer["value"]) == (200, True)
        assert await desk.world.store.all(REFRESH_TOKENS) == ()
        assert (await desk.call("GET", "/me"))[0] == 401

    async def test_the_last_owner_stays(self, desk: Desk) -> None:
        status, answer = await desk.call("DELETE", f"/users/{desk.people.ada.id}")
        assert (status, answer["error"]["code"]) == (412, "CannotDeleteLastRbacAdminAssignment")
        assert (await desk.call("PATCH", f"/users/{desk.people.ada.id}", {"accountEnabled": False}))[0] == 412
        eve = await desk.make("users", "eve")
        await desk.world.commit(Put(collection=ROLE_ASSIGNMENTS, value=ownership(eve, desk.people, 2), expect=ABSENT))
        assert (await desk.call("DELETE", f"/users/{desk.people.ada.id}"))[0] == 204

    async def test_another_tenant_s_users_are_not_there(self, desk: Desk) -> None:
        world = desk.world
        details = UserDetails(user_principal_name="mallory@fabrikam.onmicrosoft.com")
        other = new_user(
            tenant_id=OTHER_TENANT_ID, display_name="M", details=details, entropy=world.entropy, now=world.clock.now()
        )
        await world.store.commit(Batch.of(Put(collection=PRINCIPALS, value=other, expect=ABSENT)))
        assert (await desk.call("GET", f"/users/{other.id}"))[0] == 404
        assert (await desk.call("GET", f"/users/{details.user_principal_name}"))[0] == 404
        assert (await desk.call("DELETE", f"/users/{other.id}"))[0] == 404
        assert other.id not in await desk.ids("/users")
        assert (await desk.join(await desk.make("groups", "team"), other.id))[0] == 404


class TestMe:
    async def test_everyone_may_look_at_oneself(self, desk: Desk) -> None:
        eve = await stranger(desk)
        assert (await desk.get("/me"))["id"] == eve
        assert (await desk.get(f"/users/{eve}"))["id"] == eve
        assert await desk.ids("/me/memberOf") == []
        assert (await desk.call("POST", "/me/getMemberGroups", {}))[1]["value"] == []
        assert (await desk.call("POST", f"/users/{desk.people.ada.id}/getMemberGroups", {}))[0] == 403
        assert (await desk.call("GET", f"/users/{desk.people.ada.id}"))[0] == 403
        assert (await desk.call("GET", "/users"))[0] == 403

    async def test_a_stranger_changes_nothing(self, desk: Desk) -> None:
        team = await desk.make("groups", "team")
        eve = await stranger(desk)
        attempts = (
            ("PATCH", f"/users/{eve}", {"displayName": "Eva"}),
            ("DELETE", f"/users/{desk.people.ada.id}", None),
            ("POST", "/groups", {"displayName": "x"}),
            ("POST", f"/groups/{team}/members/$ref", {"@odata.id": f"{AUTHORITY}/v1.0/directoryObjects/{eve}"}),
            ("POST", f"/users/{desk.people.ada.id}/revokeSignInSessions", None),
        )
        for method, path, body in attempts:
            status, answer = await desk.call(method, path, body)
            assert (status, answer["error"]["code"]) == (403, "Authorization_RequestDenied"), path

    async def test_an_application_is_nobody(self, desk: Desk) -> None:
        world = desk.world
        await world.commit(Put(collection=ROLE_ASSIGNMENTS, value=ownership(world.app.id, desk.people, 3), expect=ABSENT))
        issued = await world.service.issue(world.by_secret(audience="https://graph.microsoft.com"), world.call())
        desk.token = issued.access_token
        status, answer = await desk.call("GET", "/me")
        assert (status, answer["error"]["code"]) == (400, "BadRequest")


class TestGroups:
    async def test_a_group_s_life(self, desk: Desk) -> None:
        made = await desk.make("groups", "team", description="us")
        shown = await desk.get(f"/groups/{made}")
        assert (shown["description"], shown["securityEnabled"], shown["groupTypes"]) == ("us", True, [])
        assert (await desk.call("PATCH", f"/groups/{made}", {"displayName": "crew", "description": None}))[0] == 204
        assert await desk.ids("/groups", filter="displayName eq 'crew' and mailNickname eq 'team'") == [made]
        assert (await desk.get(f"/groups/{made}"))["description"] is None
        assert (await desk.join(made, desk.people.ada.id))[0] == 204
        assert (await desk.call("DELETE", f"/groups/{made}"))[0] == 204
        assert await desk.world.store.all(MEMBERSHIPS) == ()

    async def test_members_of_every_kind(self, desk: Desk) -> None:
        team, inner = await desk.make("groups", "team"), await desk.make("groups", "inner")
        identity = desk.world.system.id
        for one in (desk.people.ada.id, identity, inner):
            assert await desk.join(team, one) == (204, None)
        assert (await desk.join(inner, desk.world.app.id))[0] == 204
        shown = {one["id"]: one["@odata.type"] for one in (await desk.get(f"/groups/{team}/members"))["value"]}
        assert shown == {
            desk.people.ada.id: "#microsoft.graph.user",
            identity: "#microsoft.graph.servicePrincipal",
            inner: "#microsoft.graph.group",
        }
        assert await desk.ids(f"/groups/{team}/members/microsoft.graph.user") == [desk.people.ada.id]
        assert set(await desk.ids(f"/groups/{team}/transitiveMembers")) == {*shown, desk.world.app.id}
        assert await desk.get(f"/groups/{team}/members/$count") == 3
        assert set(await desk.ids(f"/directoryObjects/{desk.world.app.id}/transitiveMemberOf")) == {team, inner}
        assert await desk.ids(f"/directoryObjects/{desk.world.app.id}/memberOf") == [inner]

    async def test_pages_of_members(self, desk: Desk) -> None:
        team = await desk.make("groups", "team")
        made = [await desk.make("users", f"user-{number}") for number in range(5)]
        for one in made:
            await desk.join(team, one)
        found: list[str] = []
        for name in ("members", "transitiveMembers"):
            found, options = [], {"top": "2"}
            for _ in range(3):
                page = await desk.get(f"/groups/{team}/{name}", **options)
                found += [one["id"] for one in page["value"]]
                options["skiptoken"] = page.get("@odata.nextLink", "").rpartition("skiptoken=")[2]
            assert sorted(found) == sorted(made)

    async def test_adding_and_removing(self, desk: Desk) -> None:
        team, ada = await desk.make("groups", "team"), desk.people.ada.id
        assert (await desk.join(team, ada))[0] == 204
        status, answer = await desk.join(team, ada)
        assert status == 400
        assert "already exist" in answer["error"]["message"]
        assert (await desk.call("DELETE", f"/groups/{team}/members/{ada}/$ref"))[0] == 204
        assert (await desk.call("DELETE", f"/groups/{team}/members/{ada}/$ref"))[0] == 404

    @pytest.mark.parametrize("reference", ["", "nonsense", "https://x.example/v1.0/applications/" + NOBODY, 7, None])
    async def test_references_that_lead_nowhere(self, desk: Desk, reference: object) -> None:
        team = await desk.make("groups", "team")
        assert (await desk.call("POST", f"/groups/{team}/members/$ref", {"@odata.id": reference}))[0] == 400

    async def test_members_that_cannot_be(self, desk: Desk) -> None:
        team = await desk.make("groups", "team")
        assert (await desk.join(team, NOBODY))[0] == 404
        assert (await desk.join(team, team))[0] == 400
        assert (await desk.join(NOBODY, desk.people.ada.id))[0] == 404

    async def test_members_that_come_with_the_group(self, desk: Desk) -> None:
        reference = f"{AUTHORITY}/v1.0/users/{desk.people.ada.id}"
        team = await desk.make("groups", "team", **{"members@odata.bind": [reference]})
        assert await desk.ids(f"/groups/{team}/members") == [desk.people.ada.id]
        other = await desk.make("groups", "other")
        assert (await desk.call("PATCH", f"/groups/{other}", {"members@odata.bind": [reference]}))[0] == 204
        assert await desk.ids(f"/groups/{other}/members") == [desk.people.ada.id]

    @pytest.mark.parametrize(
        "change",
        [{"groupTypes": ["DynamicMembership"]}, {"securityEnabled": 1}, {"displayName": ""}, {"colour": "red"}, {"id": NOBODY}],
    )
    async def test_what_is_refused(self, desk: Desk, change: dict[str, object]) -> None:
        body = {"displayName": "x", "mailNickname": "x", "mailEnabled": False, "securityEnabled": True, **change}
        assert (await desk.call("POST", "/groups", body))[0] == 400

    async def test_a_program_that_may_write_groups_makes_no_administrators(self, desk: Desk) -> None:
        """Neither itself nor anybody else, directly or through a group of the group."""
        admins, inner, app = await desk.make("groups", "admins"), await desk.make("groups", "inner"), desk.world.app
        await desk.world.commit(Put(collection=ROLE_ASSIGNMENTS, value=ownership(admins, desk.people, 5), expect=ABSENT))
        await desk.join(admins, inner)
        await desk.people.change(replace(app, app_roles=graph_grants("Group.ReadWrite.All")))
        issued = await desk.world.service.issue(desk.world.by_secret(audience="https://graph.microsoft.com"), desk.world.call())
        desk.token = issued.access_token
        reference = f"{AUTHORITY}/v1.0/directoryObjects/{app.id}"
        for group in (admins, inner):
            assert (await desk.join(group, app.id))[0] == 403
            assert (await desk.call("PATCH", f"/groups/{group}", {"members@odata.bind": [reference]}))[0] == 403
        assert (await desk.join(await desk.make("groups", "harmless"), app.id))[0] == 204

    async def test_questions_about_membership(self, desk: Desk) -> None:
        ada, team, mail, other = desk.people.ada.id, await desk.make("groups", "team"), "", await desk.make("groups", "other")
        mail = await desk.make("groups", "mail", securityEnabled=False)
        await desk.join(team, ada)
        await desk.join(mail, team)
        asked: dict[str, tuple[dict[str, object], set[str]]] = {
            "getMemberGroups": ({"securityEnabledOnly": False}, {team, mail}),
            "getMemberObjects": ({"securityEnabledOnly": True}, {team}),
            "checkMemberGroups": ({"groupIds": [mail.upper(), other, NOBODY]}, {mail}),
            "checkMemberObjects": ({"ids": [team, other]}, {team}),
        }
        for name, (body, expected) in asked.items():
            for path in (f"/users/{ada}", f"/directoryObjects/{ada}", "/me"):
                status, answer = await desk.call("POST", f"{path}/{name}", body)
                assert status == 200, answer
                assert set(answer["value"]) == expected


class TestDirectoryObjects:
    async def test_by_ids(self, desk: Desk) -> None:
        ada, app, team = desk.people.ada.id, desk.world.app.id, await desk.make("groups", "team")
        status, answer = await desk.call(
            "POST", "/directoryObjects/getByIds", {"ids": [ada.upper(), app, team, NOBODY, "x", ada]}
        )
        assert status == 200
        assert [one["id"] for one in answer["value"]] == [ada, app, team]
        types = {"ids": [ada, app, team], "types": ["user", "servicePrincipal"]}
        _, answer = await desk.call("POST", "/directoryObjects/getByIds", types)
        assert [one["id"] for one in answer["value"]] == [ada, app]

    async def test_one(self, desk: Desk) -> None:
        shown = await desk.get(f"/directoryObjects/{desk.people.ada.id}")
        assert (shown["@odata.type"], shown["displayName"]) == ("#microsoft.graph.user", "Ada Lovelace")
        assert (await desk.call("GET", f"/directoryObjects/{NOBODY}"))[0] == 404

    @pytest.mark.parametrize("body", [{}, {"ids": "x"}, {"ids": ["a"] * 1001}, {"ids": [7]}, {"ids": [], "types": "user"}])
    async def test_what_is_refused(self, desk: Desk, body: dict[str, object]) -> None:
        assert (await desk.call("POST", "/directoryObjects/getByIds", body))[0] == 400

    async def test_nothing_is_deleted_here(self, desk: Desk) -> None:
        assert (await desk.call("DELETE", f"/directoryObjects/{desk.people.ada.id}"))[0] == 405


async def test_a_membership_counts_at_once(desk: Desk) -> None:
    """Whoever is in a group that is Owner is an Owner, from the next request on and until the group is left."""
    team = await desk.make("groups", "team")
    await desk.world.commit(Put(collection=ROLE_ASSIGNMENTS, value=ownership(team, desk.people, 4), expect=ABSENT))
    ada_s_token, eve = desk.token, await stranger(desk)
    eve_s_token = desk.token
    assert (await desk.call("GET", "/users"))[0] == 403
    desk.token = ada_s_token
    await desk.join(team, eve)
    desk.token = eve_s_token
    assert (await desk.call("GET", "/users"))[0] == 200
    assert (await desk.call("DELETE", f"/groups/{team}/members/{eve}/$ref"))[0] == 204
    assert (await desk.call("GET", "/users"))[0] == 403


async def test_sign_ins_of_users(desk: Desk) -> None:
    token = await desk.people.signed_in(scope=GRAPH)
    assert token.user is not None
    await desk.people.issue(desk.people.refresh(token.user.refresh_token))
    shown = await desk.get("/auditLogs/signIns")
    assert len(shown["value"]) == 2
    one = shown["value"][0]
    assert (one["userPrincipalName"], one["userId"], one["isInteractive"]) == (
        "Ada@Contoso.onmicrosoft.com",
        desk.people.ada.id,
        True,
    )
    assert (one["appDisplayName"], one["authenticationProtocol"]) == ("Microsoft Azure CLI", "deviceCode")
    assert one["@idplane.session"]["approvedBy"] == "the-operator"
