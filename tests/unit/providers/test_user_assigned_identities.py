"""User-assigned identities by themselves (control-plane.md section 7.1)."""

import pytest
from tests.unit.providers.surface_plane import GROUP, HOME, MSI, SUB, OpenPlane, uai

from idplane.model.ids import is_guid
from idplane.ports.collections import PRINCIPALS

_VERSIONS = [
    "2015-08-31-preview",
    "2018-11-30",
    "2022-01-31-preview",
    "2023-01-31",
    "2024-11-30",
    "2025-05-31-preview",
    "2026-05-31",
]


@pytest.mark.parametrize("version", _VERSIONS)
async def test_what_each_version_shows(open_plane: OpenPlane, version: str) -> None:
    plane = await open_plane()
    made = await plane.call("PUT", uai("One"), {"location": "westeurope", "tags": {"a": "b"}}, version=version)
    assert made.status == 201
    assert (made.body["id"], made.body["name"], made.body["type"]) == (
        uai("One"),
        "One",
        "Microsoft.ManagedIdentity/userAssignedIdentities",
    )
    properties = made.body["properties"]
    assert {"tenantId", "principalId", "clientId"} <= set(properties)
    assert properties["tenantId"] == HOME
    assert is_guid(properties["principalId"])
    assert is_guid(properties["clientId"])
    assert ("isolationScope" in properties) == (version in ("2024-11-30", "2025-05-31-preview", "2026-05-31"))
    assert "provisioningState" not in properties
    assert ("systemData" in made.body) == (version not in ("2015-08-31-preview", "2018-11-30"))
    principal = await plane.store.get(PRINCIPALS, properties["principalId"])
    assert principal is not None
    assert principal.value.alternative_names == ("isExplicit=True", uai("One"))


async def test_ids_stay_for_life_whatever_clients_send(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    made = await plane.identity("one")
    fake = {"location": "westeurope", "properties": {"principalId": "x", "clientId": "y", "tenantId": "z", "other": 1}}
    for method in ("PUT", "PATCH"):
        reply = await plane.call(method, uai("one"), fake, version=MSI)
        assert reply.status == 200
        assert reply.body["properties"] == made["properties"]
    tagged = await plane.call(
        "PATCH", uai("one"), {"location": "westeurope", "properties": {}, "tags": {"x": "y"}}, version=MSI
    )
    assert tagged.body["tags"] == {"x": "y"}


async def test_versions_that_do_not_know_a_setting_leave_it_alone(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    newest = "2025-05-31-preview"
    settings = {"isolationScope": "Regional", "assignmentRestrictions": {"providers": ["Microsoft.Compute/virtualMachines"]}}
    await plane.put(uai("one"), {"location": "westeurope", "properties": settings}, version=newest)
    old = await plane.put(uai("one"), {"location": "westeurope"}, version="2018-11-30")
    assert set(old["properties"]) == {"tenantId", "principalId", "clientId"}
    shown = (await plane.get(uai("one"), version=newest))["properties"]
    assert {name: shown[name] for name in settings} == settings
    await plane.call("PATCH", uai("one"), {"tags": {}}, version=newest)
    assert (await plane.get(uai("one"), version=newest))["properties"]["isolationScope"] == "Regional"
    reset = await plane.put(uai("one"), {"location": "westeurope"}, version=newest)
    assert reset["properties"]["isolationScope"] == "None"
    assert "assignmentRestrictions" not in reset["properties"]


@pytest.mark.parametrize(
    "properties",
    [
        {"isolationScope": "Everywhere"},
        {"isolationScope": 5},
        {"assignmentRestrictions": []},
        {"assignmentRestrictions": {"providers": "x"}},
        {"assignmentRestrictions": {"providers": [5]}},
        {"assignmentRestrictions": {"providers": ["x"] * 101}},
    ],
)
async def test_settings_are_checked(open_plane: OpenPlane, properties: object) -> None:
    plane = await open_plane()
    reply = await plane.call(
        "PUT", uai("one"), {"location": "westeurope", "properties": properties}, version="2025-05-31-preview"
    )
    assert (reply.status, reply.code) == (400, "InvalidParameter")
    assert (await plane.call("GET", uai("one"), version=MSI)).status == 404


async def test_lists_and_operations(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for name in ("one", "two"):
        await plane.identity(name)
    for scope in (GROUP, SUB):
        listed = await plane.get(f"{scope}/providers/Microsoft.ManagedIdentity/userAssignedIdentities", version=MSI)
        assert [one["name"] for one in listed["value"]] == ["one", "two"]
        assert "nextLink" not in listed
    operations = await plane.get("/providers/Microsoft.ManagedIdentity/operations", by="nobody", version=MSI)
    names = {one["name"] for one in operations["value"]}
    assert "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action" in names
    assert (await plane.call("GET", "/providers/Microsoft.ManagedIdentity/operations", by=None, version=MSI)).status == 401


async def test_associated_resources_are_those_that_the_caller_may_read(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("one")
    user = {"type": "UserAssigned", "userAssignedIdentities": {uai("one"): {}}}
    await plane.machine("vm", user)
    await plane.person("keeper", ("Contributor", uai("one")))
    version = "2022-01-31-preview"
    url = f"{uai('one')}/listAssociatedResources"
    assert (await plane.call("POST", url, by="reader", version=version)).status == 403
    seen = await plane.call("POST", url, version=version)
    assert [one["id"].endswith("/virtualMachines/vm") for one in seen.body["value"]] == [True]
    assert (await plane.call("POST", f"{url}?$filter=name eq 'x'", version=version)).code == "InvalidFilterInQueryString"
    assert (await plane.call("POST", f"{uai('gone')}/listAssociatedResources", version=version)).code == "ResourceNotFound"
    hidden = await plane.call("POST", url, by="keeper", version=version)
    assert (hidden.status, hidden.body) == (200, {"totalCount": 0, "value": []})
