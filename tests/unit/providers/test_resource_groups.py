"""Tenants, subscriptions, groups and the lists that look into them."""

import pytest
from tests.unit.providers.surface_plane import COMPUTE, GROUP, HOME, SUB, SUBSCRIPTION, OpenPlane, uai, vm


async def test_a_group_lives_as_the_cli_expects(open_plane: OpenPlane) -> None:
    plane = await open_plane(group=False)
    assert (await plane.call("HEAD", GROUP)).status == 404
    made = await plane.call(
        "PUT", GROUP.lower().replace("stock", "Stock"), {"location": "West Europe", "tags": {}}, version="2024-11-01"
    )
    assert made.status == 201
    assert made.body == {
        "id": GROUP,
        "name": "Stock",
        "type": "Microsoft.Resources/resourceGroups",
        "location": "westeurope",
        "tags": {},
        "properties": {"provisioningState": "Succeeded"},
    }
    assert (await plane.call("HEAD", GROUP)).status == 204
    updated = {**made.body, "tags": {"x": "y"}, "properties": {}}
    assert (await plane.call("PUT", GROUP, updated, version="2024-11-01")).body["tags"] == {"x": "y"}
    assert (await plane.call("PATCH", GROUP, {"tags": {"z": "1"}, "properties": {"junk": 1}})).body["tags"] == {"z": "1"}
    assert (await plane.get(GROUP))["properties"] == {"provisioningState": "Succeeded"}
    assert (await plane.call("DELETE", GROUP)).status == 202
    gone = await plane.call("DELETE", GROUP)
    assert (gone.status, gone.code) == (404, "ResourceGroupNotFound")


@pytest.mark.parametrize("name", ["ends.", "a*b", "a b", "x" * 91, "a,b"])
async def test_group_names(open_plane: OpenPlane, name: str) -> None:
    plane = await open_plane(group=False)
    reply = await plane.call("PUT", f"{SUB}/resourceGroups/{name}", {"location": "westeurope"})
    assert (reply.status, reply.code) == (400, "InvalidResourceName")


async def test_lists_show_what_the_caller_may_read(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.put(f"{SUB}/resourceGroups/Other", {"location": "westeurope"})
    await plane.machine("one")
    await plane.machine("two")
    await plane.person("guest", ("Reader", GROUP))
    await plane.person("visitor", ("Reader", vm("one")))

    async def seen(url: str, by: str) -> list[str]:
        return [one["name"] for one in (await plane.get(url, by=by))["value"]]

    assert await seen(f"{SUB}/resourceGroups", "owner") == ["Other", "Stock"]
    assert await seen(f"{SUB}/resourceGroups", "guest") == ["Stock"]
    assert await seen(f"{SUB}/resourceGroups", "visitor") == []
    assert await seen(f"{SUB}/resources", "guest") == ["one", "two"]
    assert await seen(f"{SUB}/resources", "visitor") == ["one"]
    assert await seen(f"{GROUP}/resources", "visitor") == ["one"]
    for by in ("guest", "visitor"):
        assert [one["subscriptionId"] for one in (await plane.get("/subscriptions", by=by))["value"]] == [SUBSCRIPTION]
    assert (await plane.get("/subscriptions", by="nobody"))["value"] == []
    assert (await plane.call("GET", f"{SUB}/resources", by="nobody")).status == 403
    # Lists of one type are not filtered: the action is needed at the scope.
    assert (
        await plane.call("GET", f"{SUB}/providers/Microsoft.Compute/virtualMachines", by="visitor", version=COMPUTE)
    ).status == 403


async def test_filters_of_resource_lists(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.put(f"{SUB}/resourceGroups/Other", {"location": "eastus", "tags": {"Team": "red"}})
    await plane.machine("one")
    await plane.identity("one")
    await plane.call("PATCH", vm("one"), {"tags": {"Team": "Blue"}}, version=COMPUTE)

    async def found(text: str, url: str = f"{SUB}/resources") -> list[str]:
        return [one["type"].rpartition("/")[2] for one in (await plane.get(f"{url}?$filter={text}"))["value"]]

    assert await found("") == ["virtualMachines", "userAssignedIdentities"]
    assert await found("resourceType eq 'microsoft.compute/VIRTUALMACHINES'") == ["virtualMachines"]
    assert await found("resourceGroup eq 'stock'") == ["virtualMachines", "userAssignedIdentities"]
    assert await found("resourceGroup eq 'Other'") == []
    assert await found("name eq 'ONE' and resourceType eq 'Microsoft.Compute/virtualMachines'") == ["virtualMachines"]
    assert await found("tagName eq 'team'") == ["virtualMachines"]
    assert await found("tagName eq 'team' and tagValue eq 'Blue'") == ["virtualMachines"]
    assert await found("tagName eq 'team' and tagValue eq 'blue'") == []
    assert await found("location eq 'West Europe'") == ["virtualMachines", "userAssignedIdentities"]
    assert await found("tagName eq 'Team' and tagValue eq 'red'", f"{SUB}/resourceGroups") == ["resourceGroups"]
    both = ["virtualMachines", "userAssignedIdentities"]
    assert await found("name ne 'x'") == both
    assert await found("resourceType ne 'Microsoft.Compute/virtualMachines'") == both[1:]
    assert await found("substringof('N', name) and substringof('STO', resourceGroup)") == both
    assert await found("substringof('two', name) or startswith(tagName, 'te')") == both[:1]
    assert await found("startswith(tagName, 'x')") == []
    assert await found("tagName ne 'team'") == both[1:]
    assert await found("(name eq 'one' or name eq 'two') and location eq 'westeurope'") == both
    assert await found("(tagName eq 'team' and tagValue eq 'Blue') or name eq 'nobody'") == both[:1]
    assert await found("identity eq 'None'") == both
    assert await found("plan/publisher eq 'x'") == []
    for bad in (
        "colour eq 'red'",
        "name gt 'x'",
        "tagValue eq 'x'",
        "tagName eq 'a' or tagValue eq 'x'",
        "tagName eq 'a' and tagValue ne 'x'",
        "substringof(name, 'a')",
        "substringof('a', location)",
        "startswith(name, 'a')",
        "name eq",
        "name eq x",
        "name eq 'a' and",
        "name eq 'a' name eq 'b'",
        "name eq 'a' and name eq 'b'",
        "name eq 'a'; drop",
        "((",
        "(" * 20 + "name eq 'a'" + ")" * 20,
        " and ".join(["name ne 'a'"] * 200),
    ):
        reply = await plane.call("GET", f"{SUB}/resources?$filter={bad}")
        assert (reply.status, reply.code) == (400, "InvalidFilterInQueryString"), bad
    assert (await plane.call("GET", f"{SUB}/resourceGroups?$filter=resourceType eq 'x'")).status == 400


async def test_the_resource_of_an_identity_is_found_by_it(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    own = (await plane.machine("one", {"type": "SystemAssigned"}))["identity"]["principalId"]
    shared = (await plane.identity("shared"))["properties"]["principalId"]
    await plane.put(f"{SUB}/resourceGroups/Other", {"location": "eastus"})
    for text, url, names in (
        (f"identity/principalId eq '{own.upper()}'", f"{SUB}/resources", ["one"]),
        (f"identity/principalId eq '{own}' and name eq 'two'", f"{SUB}/resources", []),
        (f"identity/principalId eq '{own}'", f"{SUB}/resourceGroups/Other/resources", []),
        (f"identity/principalId eq '{shared}'", f"{SUB}/resources", []),
        ("identity/principalId eq 'nobody'", f"{SUB}/resources", []),
        (f"identity/principalId ne '{own}'", f"{SUB}/resources", ["shared"]),
        ("identity eq 'SystemAssigned'", f"{SUB}/resources", ["one"]),
    ):
        assert [one["name"] for one in (await plane.get(f"{url}?$filter={text}"))["value"]] == names, text


async def test_resource_lists_page_and_expand(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for at in range(4):
        await plane.identity(f"id{at}")
    url, names = f"{GROUP}/resources?$top=2&$expand=createdTime,changedTime,provisioningState", []
    while url:
        body = await plane.get(url)
        names += [one["name"] for one in body["value"]]
        assert all(
            {"createdTime", "changedTime", "provisioningState"} <= set(one) and "properties" not in one for one in body["value"]
        )
        url = body.get("nextLink", "")
    assert names == ["id0", "id1", "id2", "id3"]


async def test_account_lists(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    subscription = (await plane.get("/subscriptions", by="reader"))["value"][0]
    assert (subscription["id"], subscription["state"], subscription["tenantId"]) == (SUB, "Enabled", HOME)
    assert await plane.get(SUB.upper().replace("/SUBSCRIPTIONS", "/subscriptions"), by="reader") == subscription
    tenants = (await plane.get("/tenants", by="nobody"))["value"]
    assert [(one["id"], one["defaultDomain"]) for one in tenants] == [(f"/tenants/{HOME}", "home.test")]
    locations = (await plane.get(f"{SUB}/locations", by="reader"))["value"]
    assert {"name": "westeurope", "displayName": "West Europe"}.items() <= next(
        one for one in locations if one["name"] == "westeurope"
    ).items()


async def test_provider_metadata(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    compute = await plane.get(f"{SUB}/providers/microsoft.COMPUTE", by="reader")
    assert (compute["namespace"], compute["registrationState"]) == ("Microsoft.Compute", "Registered")
    machines = compute["resourceTypes"][0]
    assert machines["resourceType"] == "virtualMachines"
    assert "2024-11-01" in machines["apiVersions"]
    assert "West Europe" in machines["locations"]
    everything = await plane.get("/providers", by="nobody")
    assert {"Microsoft.Resources", "Microsoft.ManagedIdentity", "Microsoft.Authorization"} <= {
        one["namespace"] for one in everything["value"]
    }
    assert (await plane.call("GET", f"{SUB}/providers/Nobody.Knows")).code == "InvalidResourceNamespace"
    registered = await plane.call("POST", f"{SUB}/providers/Microsoft.KeyVault/register", version="2021-04-01")
    assert (registered.status, registered.body["registrationState"]) == (200, "Registered")
    assert (
        await plane.call("POST", f"{SUB}/providers/Microsoft.Compute/register", by="reader", version="2021-04-01")
    ).status == 403


async def test_deleting_a_group_deletes_what_is_in_it_and_nothing_else(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.put(f"{SUB}/resourceGroups/Stock2", {"location": "westeurope"})
    other = vm("kept").replace("/Stock/", "/Stock2/")
    await plane.identity("one")
    user = {"type": "UserAssigned", "userAssignedIdentities": {uai("one"): {}}}
    await plane.put(other, {"location": "westeurope", "identity": user}, version=COMPUTE)
    await plane.machine("gone", {**user, "type": "SystemAssigned, UserAssigned"})
    assert (await plane.call("DELETE", GROUP)).status == 202
    assert (await plane.get(other, version=COMPUTE))["identity"]["type"] == "UserAssigned"
    assert [one["name"] for one in (await plane.get(f"{SUB}/resources"))["value"]] == ["kept"]
