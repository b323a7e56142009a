from __future__ import annotations

from typing import Any

import pytest
from tests.unit.providers.surface_plane import FOREIGN, SUB, OpenPlane, Plane

NAMES = f"{SUB}/tagNames"


async def listed(plane: Plane) -> dict[str, Any]:
    return {one["tagName"]: one for one in (await plane.get(NAMES))["value"]}


async def put(plane: Plane, path: str) -> int:
    return (await plane.call("PUT", path)).status


async def test_names_and_values_come_and_go(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    assert [await put(plane, f"{NAMES}/Cost") for _ in range(2)] == [201, 200]
    assert [await put(plane, f"{NAMES}/cost/tagValues/low") for _ in range(2)] == [201, 200]
    found = (await listed(plane))["Cost"]
    assert (found["id"], found["count"]) == (f"{NAMES}/Cost", {"type": "Total", "value": 0})
    assert [(one["tagValue"], one["count"]["value"]) for one in found["values"]] == [("low", 0)]
    still = await plane.call("DELETE", f"{NAMES}/cost")
    assert (still.status, still.code) == (409, "Conflict")
    assert [(await plane.call("DELETE", f"{NAMES}/cost/tagValues/low")).status for _ in range(2)] == [200, 204]
    assert [(await plane.call("DELETE", f"{NAMES}/COST")).status for _ in range(2)] == [200, 204]
    assert await listed(plane) == {}


async def test_what_is_in_use_is_counted_and_stays(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await put(plane, f"{NAMES}/team")
    await put(plane, f"{NAMES}/team/tagValues/shop")
    body = {"location": "westeurope", "tags": {"Team": "shop", "other": "x"}}
    await plane.put(f"{SUB}/resourceGroups/tagged", body)
    found = await listed(plane)
    assert found["team"]["count"]["value"] == 1
    assert found["team"]["values"][0]["count"]["value"] == 1
    assert found["other"]["values"][0]["tagValue"] == "x"
    for path in (f"{NAMES}/team/tagValues/shop",):
        refused = await plane.call("DELETE", path)
        assert (refused.status, refused.code) == (409, "Conflict")
    await plane.put(f"{SUB}/resourceGroups/tagged", {"location": "westeurope"})
    assert (await plane.call("DELETE", f"{NAMES}/team/tagValues/shop")).status == 200
    assert (await plane.call("DELETE", f"{NAMES}/team")).status == 200


async def test_names_are_listed_in_pages(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for number in range(5):
        await put(plane, f"{NAMES}/name-{number}")
    names, link = [], f"{NAMES}?$top=2"
    while link:
        page = await plane.get(link)
        assert len(page["value"]) <= 2
        names += [one["tagName"] for one in page["value"]]
        link = page.get("nextLink")
    assert names == [f"name-{number}" for number in range(5)]


@pytest.mark.parametrize("name", ["azure-x", "Microsoft", "windows.1", "x" * 513])
async def test_names_that_are_refused(open_plane: OpenPlane, name: str) -> None:
    plane = await open_plane()
    assert (await plane.call("PUT", f"{NAMES}/{name}")).status == 400


async def test_values_need_their_name(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for method in ("PUT", "DELETE"):
        refused = await plane.call(method, f"{NAMES}/nowhere/tagValues/x")
        assert (refused.status, refused.code) == (404, "ParentResourceNotFound")
    for method in ("GET", "PATCH"):
        assert (await plane.call(method, f"{NAMES}/nowhere", {})).status == 405


async def test_who_may_not(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for method in ("PUT", "DELETE"):
        assert (await plane.call(method, f"{NAMES}/cost", by="reader")).status == 403
    assert (await plane.call("GET", NAMES, by="nobody")).status == 403
    assert (await plane.call("GET", f"/subscriptions/{FOREIGN}/tagNames")).status == 401
    assert (await plane.get(NAMES, by="reader"))["value"] == []
