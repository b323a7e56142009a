"""What every stored type gets from the kernel: ETags, retries, casing, paging, tags, envelopes."""

import asyncio

import pytest
from tests.unit.providers.surface_plane import COMPUTE, GROUP, MSI, SUB, OpenPlane, uai, vm

_BODY = {"location": "westeurope"}


async def test_put_is_201_then_200_and_gives_back_what_was_sent(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    body = {"location": "West Europe", "tags": {"a": "b"}, "zones": ["1"], "properties": {"hardwareProfile": {"vmSize": "S"}}}
    first = await plane.call("PUT", vm("Web-1"), {**body, "id": "/x", "name": "y", "type": "z"}, version=COMPUTE)
    assert first.status == 201
    assert (first.body["id"], first.body["name"], first.body["type"]) == (
        vm("Web-1"),
        "Web-1",
        "Microsoft.Compute/virtualMachines",
    )
    assert first.body["location"] == "westeurope"
    assert first.body["tags"] == {"a": "b"}
    assert first.body["zones"] == ["1"]
    assert first.body["properties"]["provisioningState"] == "Succeeded"
    assert first.body["properties"]["hardwareProfile"] == {"vmSize": "S"}
    assert first.body["systemData"]["createdByType"] == "Application"
    again = await plane.call("PUT", vm("Web-1"), body, version=COMPUTE)
    assert again.status == 200
    assert again.body["properties"]["vmId"] == first.body["properties"]["vmId"]


async def test_casing_is_the_creators_and_the_declarations_whatever_is_asked(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    odd = f"{SUB.upper().replace('/SUBSCRIPTIONS', '/Subscriptions')}/resourcegroups/sTOCK/Providers/microsoft.compute//VIRTUALMACHINES/Web-1/"
    made = await plane.put(odd, _BODY, version=COMPUTE)
    assert made["id"] == vm("Web-1")
    found = await plane.get(vm("WEB-1"), version=COMPUTE)
    assert (found["id"], found["name"]) == (vm("Web-1"), "Web-1")
    assert (await plane.call("PUT", vm("wEB-1"), _BODY, version=COMPUTE)).body["name"] == "Web-1"
    assert (await plane.call("GET", GROUP.lower())).body["name"] == "Stock"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_if_match_pins_a_version(open_plane: OpenPlane, method: str) -> None:
    plane = await open_plane()
    created = await plane.call("PUT", vm("one"), _BODY, version=COMPUTE)
    stale = created.headers["etag"]
    current = (await plane.call("PATCH", vm("one"), {"tags": {"a": "1"}}, version=COMPUTE)).headers["etag"]
    assert stale != current
    assert (await plane.call("GET", vm("one"), version=COMPUTE)).headers["etag"] == current
    refused = await plane.call(method, vm("one"), _BODY, version=COMPUTE, headers={"If-Match": stale})
    assert (refused.status, refused.code) == (412, "PreconditionFailed")
    assert (await plane.call(method, vm("one"), _BODY, version=COMPUTE, headers={"If-Match": f"W/{current}"})).status == 200


async def test_if_none_match_star_creates_only(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    only_new = {"If-None-Match": "*"}
    assert (await plane.call("PUT", vm("one"), _BODY, version=COMPUTE, headers=only_new)).status == 201
    assert (await plane.call("PUT", vm("one"), _BODY, version=COMPUTE, headers=only_new)).status == 412
    assert (await plane.call("PUT", vm("two"), _BODY, version=COMPUTE, headers={"If-Match": "*"})).status == 412


async def test_an_etag_does_not_survive_its_resource(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    old = (await plane.call("PUT", vm("one"), _BODY, version=COMPUTE)).headers["etag"]
    await plane.call("DELETE", vm("one"), version=COMPUTE)
    plane.clock.advance(1)
    await plane.machine("one")
    assert (await plane.call("DELETE", vm("one"), version=COMPUTE, headers={"If-Match": old})).status == 412


async def test_writers_that_pin_nothing_all_get_through(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.machine("one")
    writes = [plane.call("PATCH", vm("one"), {"properties": {f"p{at}": at}}, version=COMPUTE) for at in range(10)]
    replies = await asyncio.gather(*writes)
    assert {one.status for one in replies} == {200}
    properties = (await plane.get(vm("one"), version=COMPUTE))["properties"]
    assert all(properties[f"p{at}"] == at for at in range(10))


async def test_of_writers_that_pin_one_version_one_gets_through(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    etag = (await plane.call("PUT", vm("one"), _BODY, version=COMPUTE)).headers["etag"]
    writes = [
        plane.call("PATCH", vm("one"), {"properties": {f"p{at}": at}}, version=COMPUTE, headers={"If-Match": etag})
        for at in range(5)
    ]
    assert sorted([one.status for one in await asyncio.gather(*writes)]) == [200, 412, 412, 412, 412]


async def test_one_of_many_creators_creates(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    replies = await asyncio.gather(*(plane.call("PUT", vm("one"), _BODY, version=COMPUTE) for _ in range(5)))
    assert sorted(one.status for one in replies) == [200, 200, 200, 200, 201]


async def test_nothing_is_created_in_a_group_that_is_being_deleted(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    creates = [plane.call("PUT", vm(f"m{at}"), _BODY, version=COMPUTE) for at in range(5)]
    replies = await asyncio.gather(plane.call("DELETE", GROUP), *creates)
    assert replies[0].status == 202
    assert {one.status for one in replies[1:]} <= {201, 404}
    await plane.put(GROUP, _BODY)
    assert (await plane.get(f"{GROUP}/resources"))["value"] == []


async def test_delete_is_200_then_204(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.machine("one")
    assert [(await plane.call("DELETE", vm("one"), version=COMPUTE)).status for _ in range(2)] == [200, 204]
    assert (await plane.call("DELETE", vm("one"), version=COMPUTE)).body is None


async def test_head_tells_whether_it_exists_without_a_body(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.machine("one")
    for url, status in ((vm("one"), 204), (vm("two"), 404)):
        reply = await plane.call("HEAD", url, version=COMPUTE)
        assert (reply.status, reply.body) == (status, None)


async def test_lists_are_paged_with_absolute_links(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for at in range(5):
        await plane.machine(f"m{at}")
    for collection in (GROUP, SUB):
        url = f"{collection}/providers/Microsoft.Compute/virtualMachines?$top=2&api-version={COMPUTE}"
        names, pages = [], 0
        while url:
            body = await plane.get(url)
            names += [one["name"] for one in body["value"]]
            url, pages = body.get("nextLink", ""), pages + 1
            assert not url or url.startswith("https://localhost:8443/subscriptions/")
        assert (names, pages) == ([f"m{at}" for at in range(5)], 3)
    refused = await plane.call(
        "GET", f"{GROUP}/providers/Microsoft.Compute/virtualMachines?$skiptoken=nonsense!", version=COMPUTE
    )
    assert (refused.status, refused.code) == (400, "InvalidParameter")


async def test_a_group_lists_its_own_only(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.put(f"{SUB}/resourceGroups/Stock2", _BODY)
    await plane.machine("one")
    await plane.put(vm("two").replace("/Stock/", "/Stock2/"), _BODY, version=COMPUTE)
    listed = await plane.get(f"{GROUP}/providers/Microsoft.Compute/virtualMachines", version=COMPUTE)
    assert [one["name"] for one in listed["value"]] == ["one"]


async def test_names_and_parents_are_checked_on_creation(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for url, status, code in (
        (uai("ab"), 400, "InvalidResourceName"),
        (uai("-abc"), 400, "InvalidResourceName"),
        (uai("a b c"), 400, "InvalidResourceName"),
        (uai("x" * 129), 400, "InvalidResourceName"),
        (
            f"{SUB}/resourceGroups/Gone/providers/Microsoft.ManagedIdentity/userAssignedIdentities/abc",
            404,
            "ResourceGroupNotFound",
        ),
    ):
        reply = await plane.call("PUT", url, _BODY, version=MSI)
        assert (reply.status, reply.code) == (status, code)


async def test_a_location_stays(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.machine("one")
    moved = await plane.call("PUT", vm("one"), {"location": "eastus"}, version=COMPUTE)
    assert (moved.status, moved.code) == (409, "InvalidResourceLocation")
    assert (await plane.call("PATCH", vm("one"), {"location": "WestEurope"}, version=COMPUTE)).status == 200
    assert (await plane.call("PATCH", vm("absent"), {"tags": {}}, version=COMPUTE)).code == "ResourceNotFound"
