import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.graph.graph_world import OTHER_TENANT, TENANT, GraphWorld
from tests.unit.sts.sts_world import KeyPair, foreign_rsa_pair, rsa_pair

from idplane.directory.clients import secret_hash
from idplane.jose import Algorithm, Signer
from idplane.model.directory import AssertionUse
from idplane.model.profile import AZURE
from idplane.ports.collections import (
    APP_ROLE_ASSIGNMENTS,
    APPLICATIONS,
    CREDENTIALS,
    FEDERATED_CREDENTIALS,
    PRINCIPALS,
    ROLE_ASSIGNMENTS,
)

SET = "/applications"
ROLE = "aaaaaaaa-0000-4000-8000-000000000001"
TRUST = {"name": "main", "issuer": "https://issuer.example", "subject": "s", "audiences": ["api://AzureADTokenExchange"]}


@pytest.fixture
async def world() -> AsyncIterator[GraphWorld]:
    opened = await GraphWorld.open()
    yield opened
    await opened.store.close()


def role(**changes: object) -> dict[str, object]:
    plain = {"id": ROLE, "value": "Orders.Read", "displayName": "Read", "description": "Read", "isEnabled": True}
    return {**plain, "allowedMemberTypes": ["Application"], **changes}


def key(pair: KeyPair, **members: object) -> dict[str, object]:
    return {"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.b64encode(pair.certificate).decode(), **members}


async def _use(world: GraphWorld, principal: str) -> AssertionUse:
    found = await world.store.get(PRINCIPALS, principal)
    assert found is not None
    return found.value.assertion_use


class TestLife:
    async def test_create_read_update_delete(self, world: GraphWorld) -> None:
        made = await world.new_app(web={"redirectUris": ["https://orders.example"]}, requiredResourceAccess=[])
        assert (made["passwordCredentials"], made["keyCredentials"]) == ([], [])
        assert made["publisherDomain"] == "contoso.onmicrosoft.com"
        assert made["@odata.context"].endswith("#applications/$entity")
        path = f"{SET}/{made['id']}"
        changes = {"displayName": "sales", "web": {"homePageUrl": "https://x"}, "isFallbackPublicClient": True, "notes": "n"}
        assert (await world.call("PATCH", path, changes)).status == 204
        shown = await world.get(f"{SET}(appId='{made['appId']}')")
        assert (shown["displayName"], shown["isFallbackPublicClient"], shown["notes"]) == ("sales", True, "n")
        assert shown["web"]["redirectUris"] == ["https://orders.example"]
        assert shown["web"]["homePageUrl"] == "https://x"
        assert shown["web"]["implicitGrantSettings"]["enableIdTokenIssuance"] is False
        assert (await world.call("PATCH", path, {"notes": None})).status == 204
        assert (await world.get(path))["notes"] is None
        assert (await world.call("DELETE", path)).status == 204
        assert (await world.get(path)).refusal == (404, "Request_ResourceNotFound")

    async def test_assertions_that_count_once(self, world: GraphWorld) -> None:
        """The setting is the application's, and each of its service principals has it, before it and after it."""
        made = await world.new_app(authenticationBehaviors={"clientAssertionUse": "oncePerResource"})
        path = f"{SET}/{made['id']}"
        born = await world.call("POST", "/servicePrincipals", {"appId": made["appId"]})
        assert await _use(world, born.body["id"]) is AssertionUse.ONCE_PER_RESOURCE
        for said, use in (("once", AssertionUse.ONCE), (None, AssertionUse.ANY), ("any", AssertionUse.ANY)):
            changes = {"authenticationBehaviors": {"clientAssertionUse": said, "removeUnverifiedEmailClaim": True}}
            assert (await world.call("PATCH", path, changes)).status == 204
            assert (await world.get(path))["authenticationBehaviors"] == changes["authenticationBehaviors"]
            assert await _use(world, born.body["id"]) is use
        assert (await world.call("PATCH", path, {"authenticationBehaviors": {"clientAssertionUse": "once"}})).status == 204
        assert (await world.call("PATCH", path, {"displayName": "another"})).status == 204
        assert await _use(world, born.body["id"]) is AssertionUse.ONCE
        assert (await world.call("PATCH", path, {"authenticationBehaviors": None})).status == 204
        assert await _use(world, born.body["id"]) is AssertionUse.ANY
        for wrong in ({"clientAssertionsUse": "once"}, {"clientAssertionUse": "Once"}, {"clientAssertionUse": 1}, "once"):
            assert (await world.call("PATCH", path, {"authenticationBehaviors": wrong})).status == 400

    async def test_token_version(self, world: GraphWorld) -> None:
        made = await world.new_app(api={"requestedAccessTokenVersion": 2})
        row = await world.store.get(APPLICATIONS, made["id"])
        assert row is not None
        assert (row.value.token_version, made["api"]["requestedAccessTokenVersion"]) == (2, 2)
        await world.call("PATCH", f"{SET}/{made['id']}", {"api": {"requestedAccessTokenVersion": None}})
        row = await world.store.get(APPLICATIONS, made["id"])
        assert row is not None
        assert row.value.token_version == 1

    async def test_lists(self, world: GraphWorld) -> None:
        for number in range(7):
            await world.new_app(f"app-{number}", identifierUris=[f"api://app-{number}"])
        assert await world.names(SET, top="3", orderby="displayName") == [f"app-{number}" for number in range(7)]
        assert len(await world.names(SET, top="3")) == 7
        assert await world.names(SET, filter="startswith(displayName,'APP-3')") == ["app-3"]
        assert await world.names(SET, filter="identifierUris/any(s:s eq 'api://app-4')") == ["app-4"]
        assert await world.names(SET, filter="identifierUris/any(s:startswith(s,'api://app-5'))") == ["app-5"]
        assert (await world.get(f"{SET}/$count")).text == "7"
        found = await world.get(SET, top="1", select="appId")
        assert [*found["value"][0]] == ["appId"]

    async def test_other_tenants(self, world: GraphWorld) -> None:
        stranger = await world.application("stranger", "Application.ReadWrite.All", tenant=OTHER_TENANT)
        made = await world.new_app(identifierUris=["api://orders"])
        assert await world.names(SET, caller=stranger) == []
        for method in ("GET", "PATCH", "DELETE"):
            answer = await world.call(method, f"{SET}/{made['id']}", {} if method == "PATCH" else None, caller=stranger)
            assert answer.refusal == (404, "Request_ResourceNotFound")
        answer = await world.call("POST", "/servicePrincipals", {"appId": made["appId"]}, caller=stranger)
        assert answer.refusal == (400, "Request_BadRequest")

    async def test_what_was_read_may_be_sent_back(self, world: GraphWorld) -> None:
        made = await world.new_app(appRoles=[role()], keyCredentials=[key(rsa_pair())])
        assert (await world.call("PATCH", f"{SET}/{made['id']}", made)).status == 204
        shown = await world.get(f"{SET}/{made['id']}")
        assert {**shown.body, "@odata.context": ""} == {**made, "@odata.context": ""}

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"displayName": ""},
            {"displayName": 7},
            {"displayName": "x" * 300},
            {"displayName": "x", "colour": "red"},
            {"displayName": "x", "appId": TENANT},
            {"displayName": "x", "web": []},
            {"displayName": "x", "tags": {}},
            {"displayName": "x", "isFallbackPublicClient": "yes"},
            {"displayName": "x", "signInAudience": "Everyone"},
            {"displayName": "x", "api": {"requestedAccessTokenVersion": 3}},
            {"displayName": "x", "api": {"requestedAccessTokenVersion": "2"}},
            {"displayName": "x", "identifierUris": ["orders"]},
            {"displayName": "x", "identifierUris": ["api://a b"]},
            {"displayName": "x", "identifierUris": ["api://"]},
            {"displayName": "x", "identifierUris": ["api://a", "API://A/"]},
            {"displayName": "x", "appRoles": [role(), role()]},
            {"displayName": "x", "appRoles": [role(id="1")]},
            {"displayName": "x", "appRoles": [role(value="a b")]},
            {"displayName": "x", "appRoles": [role(allowedMemberTypes=[])]},
            {"displayName": "x", "appRoles": [role(allowedMemberTypes=["Robot"])]},
            {"displayName": "x", "appRoles": [role(displayName=None)]},
            {"displayName": "x", "keyCredentials": [{"key": "not base64!"}]},
            {"displayName": "x", "keyCredentials": [{"key": base64.b64encode(b"0nothing").decode()}]},
            {"displayName": "x", "keyCredentials": [key(rsa_pair(), usage="Sign")]},
            {"displayName": "x", "passwordCredentials": [{"secretText": "mine"}]},
        ],
    )
    async def test_bodies_that_are_refused(self, world: GraphWorld, body: object) -> None:
        answer = await world.call("POST", SET, body)
        assert answer.refusal == (400, "Request_BadRequest"), answer.message
        assert (await world.get(SET))["value"] == []

    async def test_a_body_that_is_no_object(self, world: GraphWorld) -> None:
        assert (await world.call("POST", SET, [])).refusal == (400, "BadRequest")


class TestIdentifierUris:
    @pytest.mark.parametrize(
        "uri", ["api://orders", "API://Orders/", "https://graph.microsoft.com", "https://vault.azure.net/"]
    )
    async def test_they_are_unique(self, world: GraphWorld, uri: str) -> None:
        first = await world.new_app(identifierUris=["api://orders"])
        refused = await world.call("POST", SET, {"displayName": "x", "identifierUris": [uri]})
        assert refused.refusal == (409, "Request_MultipleObjectsWithSameKeyValue")
        other = await world.new_app("other")
        answer = await world.call("PATCH", f"{SET}/{other['id']}", {"identifierUris": [uri]})
        assert answer.refusal == (409, "Request_MultipleObjectsWithSameKeyValue")
        assert (
            await world.call("PATCH", f"{SET}/{first['id']}", {"identifierUris": ["api://orders", "api://x"]})
        ).status == 204

    async def test_another_client_id_is_taken(self, world: GraphWorld) -> None:
        first = await world.new_app()
        answer = await world.call("POST", SET, {"displayName": "x", "identifierUris": [f"api://{first['appId']}"]})
        assert answer.status in (400, 409)
        own = await world.call("PATCH", f"{SET}/{first['id']}", {"identifierUris": [f"api://{first['appId']}"]})
        assert own.status == 204


class TestAppRoles:
    @pytest.mark.parametrize("after", [[], [role(value="Orders.Write")], [role(allowedMemberTypes=["User"])]])
    async def test_disabled_before_deleted(self, world: GraphWorld, after: list[dict[str, object]]) -> None:
        path = f"{SET}/{(await world.new_app(appRoles=[role()]))['id']}"
        assert (await world.call("PATCH", path, {"appRoles": after})).refusal == (400, "CannotDeleteOrUpdateEnabledEntitlement")
        assert (await world.call("PATCH", path, {"appRoles": [role(isEnabled=False)]})).status == 204
        assert (await world.call("PATCH", path, {"appRoles": after})).status == 204

    async def test_words_may_change(self, world: GraphWorld) -> None:
        path = f"{SET}/{(await world.new_app(appRoles=[role()]))['id']}"
        assert (await world.call("PATCH", path, {"appRoles": [role(displayName="Reader")]})).status == 204
        assert (await world.get(path))["appRoles"][0]["displayName"] == "Reader"


class TestSecrets:
    async def test_shown_once(self, world: GraphWorld) -> None:
        made = await world.new_app()
        path = f"{SET}/{made['id']}"
        secret = await world.call("POST", f"{path}/addPassword", {"passwordCredential": {"displayName": "rbac"}})
        assert secret["secretText"][4:7] == secret["hint"]
        assert secret["endDateTime"] == "2028-01-01T12:00:00Z"
        (row,) = await world.store.all(CREDENTIALS)
        assert row.value.secret_hash == secret_hash(secret["secretText"])
        assert (row.value.application_id, row.value.principal_id) == (made["id"], "")
        shown = await world.get(path)
        assert [(one["keyId"], one["secretText"]) for one in shown["passwordCredentials"]] == [(secret["keyId"], None)]
        assert secret["secretText"] not in json.dumps([str(event) for event in await world.events()])
        assert (await world.call("POST", f"{path}/removePassword", {"keyId": secret["keyId"]})).status == 204
        assert (await world.get(path))["passwordCredentials"] == []

    async def test_of_a_service_principal(self, world: GraphWorld) -> None:
        made = await world.new_principal(await world.new_app())
        path = f"/servicePrincipals/{made['id']}"
        secret = await world.call("POST", f"{path}/microsoft.graph.addPassword", {})
        assert (await world.get(path))["passwordCredentials"][0]["keyId"] == secret["keyId"]

    @pytest.mark.parametrize(
        "given",
        [
            {"endDateTime": "2025-01-01T00:00:00Z"},
            {"startDateTime": "2027-01-01T00:00:00Z", "endDateTime": "2026-06-01T00:00:00Z"},
            {"endDateTime": "2400-01-01T00:00:00Z"},
            {"endDateTime": "soon"},
            {"displayName": "x" * 200},
        ],
    )
    async def test_lifetimes(self, world: GraphWorld, given: dict[str, str]) -> None:
        path = f"{SET}/{(await world.new_app())['id']}/addPassword"
        assert (await world.call("POST", path, {"passwordCredential": given})).refusal == (400, "Request_BadRequest")

    async def test_removing_what_is_not_there(self, world: GraphWorld) -> None:
        path = f"{SET}/{(await world.new_app(keyCredentials=[key(rsa_pair())]))['id']}"
        certificate = (await world.get(path))["keyCredentials"][0]["keyId"]
        for key_id in (TENANT, "x", certificate):
            answer = await world.call("POST", f"{path}/removePassword", {"keyId": key_id})
            assert answer.refusal == (400, "Request_BadRequest")

    async def test_an_emptied_list_removes_them(self, world: GraphWorld) -> None:
        path = f"{SET}/{(await world.new_app())['id']}"
        await world.call("POST", f"{path}/addPassword", {})
        assert (await world.call("PATCH", path, {"passwordCredentials": []})).status == 204
        assert await world.store.all(CREDENTIALS) == ()


class TestCertificates:
    async def test_the_list_is_the_whole(self, world: GraphWorld) -> None:
        made = await world.new_app(keyCredentials=[key(rsa_pair(), displayName="first")])
        path = f"{SET}/{made['id']}"
        (first,) = made["keyCredentials"]
        assert (first["displayName"], first["key"], first["usage"]) == ("first", None, "Verify")
        kept = {"keyId": first["keyId"], "key": None}
        assert (await world.call("PATCH", path, {"keyCredentials": [kept, key(foreign_rsa_pair())]})).status == 204
        shown = (await world.get(path))["keyCredentials"]
        assert (len(shown), first["keyId"] in {one["keyId"] for one in shown}) == (2, True)
        assert (await world.call("PATCH", path, {"keyCredentials": [kept]})).status == 204
        assert [one["keyId"] for one in (await world.get(path))["keyCredentials"]] == [first["keyId"]]

    async def test_base64_of_a_pem_file_s_text(self, world: GraphWorld) -> None:
        twice = base64.b64encode(base64.b64encode(rsa_pair().certificate)).decode()
        made = await world.new_app(keyCredentials=[key(rsa_pair(), key=twice)])
        assert len(made["keyCredentials"]) == 1

    async def test_times_stay_within_the_certificate(self, world: GraphWorld) -> None:
        made = await world.new_app(keyCredentials=[key(rsa_pair(), endDateTime="2400-01-01T00:00:00Z")])
        assert made["keyCredentials"][0]["endDateTime"] < "2028"
        answer = await world.call(
            "POST", SET, {"displayName": "x", "keyCredentials": [key(rsa_pair(), startDateTime="2399-01-01T00:00:00Z")]}
        )
        assert answer.refusal == (400, "Request_BadRequest")

    async def test_rolling_with_proof(self, world: GraphWorld) -> None:
        made = await world.new_app(keyCredentials=[key(rsa_pair())])
        path = f"{SET}/{made['id']}"
        body = {"keyCredential": key(foreign_rsa_pair()), "proof": self.proof(world, rsa_pair(), made["id"])}
        added = await world.call("POST", f"{path}/addKey", body)
        assert added["usage"] == "Verify"
        removal = {"keyId": made["keyCredentials"][0]["keyId"], "proof": self.proof(world, foreign_rsa_pair(), made["appId"])}
        assert (await world.call("POST", f"{path}/removeKey", removal)).status == 204
        assert [one["keyId"] for one in (await world.get(path))["keyCredentials"]] == [added["keyId"]]

    @pytest.mark.parametrize(
        "bent",
        [
            {"aud": "other"},
            {"iss": TENANT},
            {"exp": 1 << 33},
            {"nbf": "x"},
            {"exp": 0},
            {"nbf": 253402300799, "exp": 253402300799},
        ],
    )
    async def test_proofs_that_prove_nothing(self, world: GraphWorld, bent: dict[str, object]) -> None:
        made = await world.new_app(keyCredentials=[key(rsa_pair())])
        for proof in (
            self.proof(world, rsa_pair(), made["id"], **bent),
            self.proof(world, foreign_rsa_pair(), made["id"]),
            "a.b.c",
        ):
            body = {"keyCredential": key(foreign_rsa_pair()), "proof": proof}
            answer = await world.call("POST", f"{SET}/{made['id']}/addKey", body)
            assert answer.refusal == (403, "Authentication_MissingOrMalformed")

    @staticmethod
    def proof(world: GraphWorld, pair: KeyPair, issuer: str, **bent: object) -> str:
        now = int(world.clock.now().timestamp())
        claims = {"aud": "00000002-0000-0000-c000-000000000000", "iss": issuer, "nbf": now, "exp": now + 600, **bent}
        return Signer(pair.key, Algorithm.RS256, {}).sign(claims)


class TestFederatedCredentials:
    async def test_life(self, world: GraphWorld) -> None:
        app = await world.new_app()
        path = f"{SET}/{app['id']}/federatedIdentityCredentials"
        made = await world.call("POST", path, {**TRUST, "description": "d"})
        assert made.status == 201
        assert made["subject"] == "s"
        for address in (f"{path}/main", f"{path}/{made['id']}", f"{path}(name='MAIN')", f"{path}/MAIN"):
            assert (await world.get(address))["id"] == made["id"]
        assert (await world.call("PATCH", f"{path}/main", {"subject": "t", "description": None})).status == 204
        shown = await world.get(f"{path}/main")
        assert (shown["subject"], shown["description"], shown["issuer"]) == ("t", None, TRUST["issuer"])
        assert [one["name"] for one in (await world.get(path))["value"]] == ["main"]
        assert (await world.call("DELETE", f"{path}/{made['id']}")).status == 204
        assert (await world.get(f"{path}/main")).refusal == (404, "Request_ResourceNotFound")

    async def test_pages(self, world: GraphWorld) -> None:
        path = f"{SET}/{(await world.new_app())['id']}/federatedIdentityCredentials"
        for number in range(7):
            await world.call("POST", path, {**TRUST, "name": f"name-{number}", "subject": str(number)})
        found, link = [], f"{path}?$top=3"
        while link:
            answer = await world.call("GET", link)
            found += [one["name"] for one in answer["value"]]
            link = answer.body.get("@odata.nextLink")
        assert found == [f"name-{number}" for number in range(7)]

    @pytest.mark.parametrize(
        "changes",
        [
            {"name": "a"},
            {"name": "a b c"},
            {"name": None},
            {"issuer": "issuer.example"},
            {"issuer": None},
            {"audiences": []},
            {"audiences": ["a", "b"]},
            {"subject": None},
            {"subject": "x" * 601},
            {"colour": 1},
            {"claimsMatchingExpression": {"value": "claims['sub'] eq 'x'", "languageVersion": 1}},
        ],
    )
    async def test_rules(self, world: GraphWorld, changes: dict[str, object]) -> None:
        path = f"{SET}/{(await world.new_app())['id']}/federatedIdentityCredentials"
        answer = await world.call("POST", path, {**TRUST, **changes})
        assert answer.refusal == (400, "Request_BadRequest")
        assert "properties." not in answer.message
        assert await world.store.all(FEDERATED_CREDENTIALS) == ()

    async def test_expressions_are_beta(self, world: GraphWorld) -> None:
        path = f"/beta{SET}/{(await world.new_app())['id']}/federatedIdentityCredentials"
        expression = {"value": "claims['sub'] matches 'repo:contoso/*'", "languageVersion": 1}
        made = await world.call("POST", path, {**TRUST, "subject": None, "claimsMatchingExpression": expression})
        assert made["claimsMatchingExpression"] == expression

    async def test_twice(self, world: GraphWorld) -> None:
        path = f"{SET}/{(await world.new_app())['id']}/federatedIdentityCredentials"
        await world.call("POST", path, TRUST)
        for body in (TRUST, {**TRUST, "name": "other"}):
            answer = await world.call("POST", path, body)
            assert answer.refusal == (409, "Request_MultipleObjectsWithSameKeyValue")
        await world.call("POST", path, {**TRUST, "name": "other", "subject": "t"})
        answer = await world.call("PATCH", f"{path}/other", {"subject": "s"})
        assert answer.refusal == (409, "Request_MultipleObjectsWithSameKeyValue")
        assert (await world.call("PATCH", f"{path}/other", {"name": "renamed"})).refusal == (400, "Request_BadRequest")

    async def test_limit_of_the_profile(self) -> None:
        world = await GraphWorld.open(AZURE)
        path = f"{SET}/{(await world.new_app())['id']}/federatedIdentityCredentials"
        for number in range(20):
            assert (await world.call("POST", path, {**TRUST, "name": f"n-{number}", "subject": str(number)})).status == 201
        answer = await world.call("POST", path, TRUST)
        assert answer.refusal == (400, "Directory_QuotaExceeded")
        assert (await world.call("PATCH", f"{path}/n-1", {"subject": "other"})).status == 204
        await world.store.close()


async def test_deleting_takes_everything_along(world: GraphWorld) -> None:
    app: Any = await world.new_app(appRoles=[role()], keyCredentials=[key(rsa_pair())])
    other = await world.new_principal(await world.new_app("other"))
    principal = await world.new_principal(app)
    before = len(await world.store.all(PRINCIPALS))
    await world.call("POST", f"{SET}/{app['id']}/addPassword", {})
    await world.call("POST", f"/servicePrincipals/{principal['id']}/addPassword", {})
    await world.call("POST", f"{SET}/{app['id']}/federatedIdentityCredentials", TRUST)
    for holder in (principal["id"], other["id"]):
        body = {"principalId": holder, "resourceId": principal["id"], "appRoleId": ROLE}
        assert (await world.call("POST", f"/servicePrincipals/{holder}/appRoleAssignments", body)).status == 201
    held = await world.principal(other["id"])
    assert held is not None
    assert held.roles_for(app["appId"]) == ("Orders.Read",)

    assert (await world.call("DELETE", f"{SET}(appId='{app['appId']}')")).status == 204

    assert await world.store.all(CREDENTIALS) == ()
    assert await world.store.all(FEDERATED_CREDENTIALS) == ()
    assert await world.store.all(APP_ROLE_ASSIGNMENTS) == ()
    assert len(await world.store.all(PRINCIPALS)) == before - 1
    held = await world.principal(other["id"])
    assert held is not None
    assert held.app_roles == ()
    assert len(await world.store.all(ROLE_ASSIGNMENTS)) == 1


async def test_a_secret_that_starts_later(world: GraphWorld) -> None:
    path = f"{SET}/{(await world.new_app())['id']}/addPassword"
    start = (world.clock.now() + timedelta(days=7)).isoformat()
    made = await world.call("POST", path, {"passwordCredential": {"startDateTime": start}})
    assert made["startDateTime"] == "2026-01-08T12:00:00Z"
