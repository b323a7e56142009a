from __future__ import annotations

from typing import Any

import pytest
from tests.unit.providers.surface_plane import GROUP, SUB, OpenPlane

LOGIC = f"{SUB}/providers/Microsoft.Logic"
WORKFLOW = f"{GROUP}/providers/Microsoft.Logic/workflows/one"
BODY = {"location": "westeurope", "properties": {}}


async def test_nothing_is_made_in_a_namespace_that_is_not_registered(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    told = (await plane.call("POST", f"{LOGIC}/unregister")).body
    assert (told["registrationState"], told["registrationPolicy"]) == ("NotRegistered", "RegistrationRequired")
    assert (await plane.get(LOGIC))["registrationState"] == "NotRegistered"
    refused = await plane.call("PUT", WORKFLOW, BODY, version="2019-05-01")
    assert (refused.status, refused.code) == (409, "MissingSubscriptionRegistration")
    assert "'Microsoft.Logic'" in refused.message
    assert (await plane.call("POST", f"{LOGIC}/register")).body["registrationState"] == "Registered"
    assert (await plane.call("PUT", WORKFLOW, BODY, version="2019-05-01")).status == 201


async def test_a_namespace_in_use_stays(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.put(WORKFLOW, BODY, version="2019-05-01")
    refused = await plane.call("POST", f"{LOGIC}/unregister")
    assert (refused.status, refused.code) == (409, "Conflict")
    assert (await plane.get(LOGIC))["registrationState"] == "Registered"
    await plane.call("DELETE", WORKFLOW, version="2019-05-01")
    for _ in range(2):
        assert (await plane.call("POST", f"{LOGIC}/unregister")).body["registrationState"] == "NotRegistered"


@pytest.mark.parametrize("namespace", ["Microsoft.Resources", "microsoft.authorization"])
async def test_what_is_part_of_resource_manager_stays(open_plane: OpenPlane, namespace: str) -> None:
    plane = await open_plane()
    refused = await plane.call("POST", f"{SUB}/providers/{namespace}/unregister")
    assert (refused.status, refused.code) == (409, "Conflict")
    assert (await plane.get(f"{SUB}/providers/{namespace}"))["registrationPolicy"] == "RegistrationFree"


async def test_who_may_not_register(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for word in ("register", "unregister"):
        refused = await plane.call("POST", f"{LOGIC}/{word}", by="reader")
        assert (refused.status, refused.code) == (403, "AuthorizationFailed")
        unknown = await plane.call("POST", f"{SUB}/providers/Microsoft.Nowhere/{word}")
        assert (unknown.status, unknown.code) == (404, "InvalidResourceNamespace")
    assert (await plane.call("POST", f"{GROUP}/providers/Microsoft.Logic/unregister")).status == 404
    assert (
        await plane.call("POST", "/providers/Microsoft.Management/managementGroups/x/providers/Microsoft.Logic/register")
    ).status == 404


async def test_types_and_permissions_of_a_namespace(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    types: list[Any] = (await plane.get(f"{SUB}/providers/Microsoft.Compute/resourceTypes"))["value"]
    assert "virtualMachines" in {one["resourceType"] for one in types}
    assert await plane.get(f"{SUB}/providers/Microsoft.Compute/providerPermissions") == {"value": []}
    for word in ("resourceTypes", "providerPermissions"):
        assert (await plane.call("GET", f"{SUB}/providers/Microsoft.Nowhere/{word}")).code == "InvalidResourceNamespace"
        assert (await plane.call("GET", f"{SUB}/providers/Microsoft.Compute/{word}", by="nobody")).status == 403
        assert (await plane.call("GET", f"/providers/Microsoft.Compute/{word}")).status == 404
        assert (await plane.call("POST", f"{SUB}/providers/Microsoft.Compute/{word}")).status == 405


async def test_what_can_be_granted_is_told_to_everyone(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    path = "/providers/Microsoft.Authorization/providerOperations"
    one = await plane.get(f"{path}/microsoft.managedidentity", by="nobody", version="2022-04-01")
    named = {operation["name"] for kind in one["resourceTypes"] for operation in kind["operations"]}
    assert "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action" in named
    assert "Microsoft.ManagedIdentity/register/action" in {operation["name"] for operation in one["operations"]}
    insights = await plane.get(f"{path}/Microsoft.Insights", by="nobody", version="2022-04-01")
    assert {"components", "eventtypes/values"} <= {kind["name"] for kind in insights["resourceTypes"]}
    first = await plane.get(f"{path}?$top=3", by="nobody", version="2022-04-01")
    assert len(first["value"]) == 3
    names, link = [one["name"] for one in first["value"]], first["nextLink"]
    while link:
        page = await plane.get(link, by="nobody")
        names += [one["name"] for one in page["value"]]
        link = page.get("nextLink")
    assert names == sorted(set(names), key=str.lower)
    assert {"Microsoft.Compute", "Microsoft.Resources", "Microsoft.Authorization"} <= set(names)
    missing = await plane.call("GET", f"{path}/Microsoft.Nowhere", version="2022-04-01")
    assert (missing.status, missing.code) == (404, "ResourceNotFound")
