"""Nothing is revealed before authentication and authorization, and every attempt to change something is on record."""

import pytest
from tests.unit.providers.surface_plane import AWAY, COMPUTE, CORE, FOREIGN, GROUP, HOME, SUB, OpenPlane, uai, vm

from idplane.model.events import EventStatus

_PATHS = [
    "/subscriptions",
    "/tenants",
    "/providers",
    SUB,
    GROUP,
    f"{SUB}/resources",
    vm("none"),
    f"{vm('none')}/start",
    "/subscriptions/unknown/resourceGroups/x",
    "/subscriptions/a/b/c",
    "/nothing/here",
    "/providers/Nobody.Knows/x",
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST", "OPTIONS", "TRACE", "get"])
async def test_without_a_token_everything_is_401_with_a_challenge(open_plane: OpenPlane, method: str) -> None:
    plane = await open_plane(group=False)
    for path in _PATHS:
        reply = await plane.call(method, path, by=None, version=None, raw=b"{nonsense")
        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith(
            f'Bearer authorization_uri="https://localhost:8443/{HOME}", error="invalid_token"'
        )
        if method != "HEAD":
            assert reply.code == "AuthenticationFailed"
    assert await plane.events() == []


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("Bearer nonsense", "InvalidAuthenticationToken"),
        ("Bearer ", "InvalidAuthenticationToken"),
        ("Bearer", "InvalidAuthenticationToken"),
        ("Basic dTpw", "InvalidAuthenticationToken"),
        ("Bearer expired", "ExpiredAuthenticationToken"),
        ("Bearer audience", "InvalidAuthenticationTokenAudience"),
        ("", "AuthenticationFailed"),
    ],
)
async def test_bad_tokens(open_plane: OpenPlane, authorization: str, code: str) -> None:
    plane = await open_plane(group=False)
    reply = await plane.call("GET", GROUP, by=None, headers={"Authorization": authorization})
    assert (reply.status, reply.code) == (401, code)


async def test_a_revoked_token_is_challenged_for_a_new_one(open_plane: OpenPlane) -> None:
    plane = await open_plane(group=False)
    reply = await plane.call("GET", GROUP, by="revoked")
    assert reply.status == 401
    assert 'error="insufficient_claims", claims="' in reply.headers["www-authenticate"]


async def test_what_exists_and_what_does_not_look_the_same_to_the_unauthorized(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.machine("there")
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        there = await plane.call(method, vm("there"), {"location": "x"}, by="nobody", version=COMPUTE)
        absent = await plane.call(method, vm("absent"), raw=b"{nonsense", by="nobody", version=COMPUTE)
        assert (there.status, there.code) == (absent.status, absent.code) == (403, "AuthorizationFailed")
        assert there.message.replace("/there", "/absent") == absent.message
    for path in (SUB, "/subscriptions/00000000-0000-4000-8000-000000000000", f"{SUB}/resourceGroups", f"{SUB}/resources"):
        assert (await plane.call("GET", path, by="nobody")).code == "AuthorizationFailed"
    for path in (f"{vm('absent')}/start", f"{vm('there')}/start"):
        assert (await plane.call("POST", path, by="nobody", version=COMPUTE)).code == "AuthorizationFailed"


async def test_authorized_callers_hear_what_is_missing(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for url, code in (
        (vm("absent"), "ResourceNotFound"),
        (vm("absent").replace("/Stock/", "/Gone/"), "ResourceGroupNotFound"),
        (f"{SUB}/resourceGroups/Gone", "ResourceGroupNotFound"),
        (f"{SUB}/resourceGroups/Gone/resources", "ResourceGroupNotFound"),
        (f"{SUB}/resourceGroups/Gone/providers/Microsoft.Compute/virtualMachines", "ResourceGroupNotFound"),
        ("/subscriptions/00000000-0000-4000-8000-000000000000", "SubscriptionNotFound"),
        ("/subscriptions/not-a-guid/resourceGroups", "SubscriptionNotFound"),
    ):
        version = COMPUTE if "Compute" in url else CORE
        reply = await plane.call("GET", url, version=version)
        assert (reply.status, reply.code) == (404, code), url


async def test_a_reader_cannot_write_and_the_refusal_says_what_is_missing(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.machine("one")
    for method, url, body in (
        ("PUT", vm("two"), {"location": "westeurope"}),
        ("PATCH", vm("one"), {"tags": {}}),
        ("DELETE", vm("one"), None),
        ("POST", f"{vm('one')}/deallocate", None),
    ):
        reply = await plane.call(method, url, body, by="reader", version=COMPUTE)
        assert (reply.status, reply.code) == (403, "AuthorizationFailed")
        assert f"The client 'reader' with object id '{plane.people['reader']}' does not have authorization" in reply.message
    assert (await plane.call("GET", vm("one"), by="reader", version=COMPUTE)).status == 200
    assert (await plane.call("GET", vm("two"), by="reader", version=COMPUTE)).status == 404


async def test_a_contributor_cannot_grant(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    name = "11111111-2222-4333-8444-555555555555"
    reader = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7"
    body = {
        "properties": {"roleDefinitionId": reader, "principalId": plane.people["nobody"], "principalType": "ServicePrincipal"}
    }
    url = f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/{name}"
    refused = await plane.call("PUT", url, body, by="contributor", version="2022-04-01")
    assert (refused.status, refused.code) == (403, "AuthorizationFailed")
    assert "Microsoft.Authorization/roleAssignments/write" in refused.message
    assert (await plane.call("GET", GROUP, by="nobody")).status == 403
    assert (await plane.call("PUT", url, body, version="2022-04-01")).status == 201
    assert (await plane.call("GET", GROUP, by="nobody")).status == 200


async def test_roles_of_one_tenant_mean_nothing_in_anothers_subscription(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for method, url in (("GET", SUB), ("PUT", f"{SUB}/resourceGroups/mine"), ("GET", f"{SUB}/resources"), ("DELETE", GROUP)):
        reply = await plane.call(method, url, {"location": "x"}, by="stranger")
        assert (reply.status, reply.code) == (401, "InvalidAuthenticationTokenTenant")
        assert AWAY not in reply.message
    assert (await plane.call("GET", f"/subscriptions/{FOREIGN}")).status == 401
    assert [one["subscriptionId"] for one in (await plane.get("/subscriptions", by="stranger"))["value"]] == [FOREIGN]


async def test_what_is_not_declared_is_told_after_authentication_only(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for url, status, code in (
        (f"{GROUP}/providers/Nobody.Knows/things/one", 404, "InvalidResourceNamespace"),
        (f"{GROUP}/providers/Microsoft.Compute/things/one", 404, "InvalidResourceType"),
        ("/subscriptions/a/b/c", 400, "InvalidResourceId"),
        (f"{GROUP}/providers/Microsoft.Compute/virtualMachines/a<b", 400, "InvalidResourceId"),
    ):
        reply = await plane.call("GET", url, by="nobody", version=COMPUTE)
        assert (reply.status, reply.code) == (status, code)
    for version, code in (
        (None, "MissingApiVersionParameter"),
        ("1999-01-01", "NoRegisteredProviderFound"),
        ("x", "InvalidApiVersionParameter"),
    ):
        reply = await plane.call("GET", vm("one"), version=version)
        assert (reply.status, reply.code) == (400, code)
    assert "'2026-04-01, " in (await plane.call("GET", vm("one"), version="1999-01-01")).message
    reply = await plane.call("GET", GROUP, version="1999-01-01")
    assert reply.code == "InvalidApiVersionParameter"
    for method in ("OPTIONS", "TRACE", "FOO"):
        assert (await plane.call(method, GROUP)).status == 405


@pytest.mark.parametrize(
    ("raw", "content_type", "status", "code"),
    [
        (b"", "application/json", 400, "InvalidRequestContent"),
        (b"[]", "application/json", 400, "InvalidRequestContent"),
        (b"{", "application/json", 400, "InvalidRequestContent"),
        (b'{"location": NaN}', "application/json", 400, "InvalidRequestContent"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "application/json", 400, "InvalidRequestContent"),
        (b'{"location": "westeurope"}', "text/xml", 415, "UnsupportedMediaType"),
        (b'{"location": "westeurope"}', "application/x-www-form-urlencoded", 415, "UnsupportedMediaType"),
        (b'{"location": 5}', "application/json", 400, "InvalidParameter"),
        (b'{"location": "westeurope", "tags": 5}', "application/json; charset=utf-8", 400, "InvalidParameter"),
        (b'{"location": "westeurope", "properties": []}', "application/json", 400, "InvalidParameter"),
        (b"{}", "application/json", 400, "LocationRequired"),
        (b"{" + b" " * (4 * 1024 * 1024), "application/json", 413, "RequestContentTooLarge"),
    ],
)
async def test_bad_bodies(open_plane: OpenPlane, raw: bytes, content_type: str, status: int, code: str) -> None:
    plane = await open_plane()
    reply = await plane.call("PUT", vm("one"), raw=raw, version=COMPUTE, headers={"Content-Type": content_type})
    assert (reply.status, reply.code) == (status, code)
    assert (await plane.events())[-1].sub_status == code


async def test_every_attempt_to_change_something_is_on_record(open_plane: OpenPlane) -> None:
    plane = await open_plane(group=False)
    await plane.put(GROUP, {"location": "westeurope"})
    await plane.call("PUT", vm("one"), {"location": "westeurope"}, by="reader", version=COMPUTE)
    await plane.machine("one")
    await plane.call("GET", vm("one"), version=COMPUTE)
    await plane.call("POST", f"{vm('one')}/start", version=COMPUTE)
    await plane.call("PUT", uai("x"), {"location": "westeurope"}, version="2024-11-30")
    await plane.call("DELETE", vm("one"), version=COMPUTE)
    await plane.call("DELETE", vm("one"), version=COMPUTE)
    events = await plane.events()
    assert [(one.operation.rpartition("Microsoft.")[2], one.status, one.sub_status, one.http_status) for one in events] == [
        ("Resources/subscriptions/resourceGroups/write", EventStatus.SUCCEEDED, "Created", 201),
        ("Compute/virtualMachines/write", EventStatus.FAILED, "AuthorizationFailed", 403),
        ("Compute/virtualMachines/write", EventStatus.SUCCEEDED, "Created", 201),
        ("Compute/virtualMachines/start/action", EventStatus.SUCCEEDED, "OK", 200),
        ("ManagedIdentity/userAssignedIdentities/write", EventStatus.FAILED, "InvalidResourceName", 400),
        ("Compute/virtualMachines/delete", EventStatus.SUCCEEDED, "OK", 200),
        ("Compute/virtualMachines/delete", EventStatus.SUCCEEDED, "NoContent", 204),
    ]
    assert {one.caller_name for one in events} == {"owner", "reader"}
    assert events[0].because is not None
    assert events[1].because is None
    assert all(one.correlation_id == "d1000000-0000-4000-8000-000000000001" for one in events)
    assert all("hidden" not in str(one.claims) for one in events)
    assert len({one.operation_id for one in events}) == len(events)


async def test_the_cloud_metadata_is_public(open_plane: OpenPlane) -> None:
    plane = await open_plane(group=False)
    described = await plane.call("GET", "//metadata/endpoints", by=None, version="2022-09-01")
    assert described.status == 200
    assert described.body["authentication"]["loginEndpoint"] == "https://localhost:8443"
    listed = await plane.call("GET", "/metadata/endpoints/", by=None, version=None)
    assert listed.body == [described.body]
    assert (await plane.call("POST", "/metadata/endpoints", by=None)).status == 405
