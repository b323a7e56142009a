"""The tree of management groups: what is in it, who may change it, and its settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from tests.unit.providers.grouping import (
    GROUPS,
    OPERATOR,
    ROOT,
    VERSION,
    call,
    make,
    move,
    names,
    open_groups,
    outcome,
    place,
    refused,
    show,
)
from tests.unit.providers.management_world import (
    CONTRIBUTOR,
    GROUP,
    OTHER_SUBSCRIPTION,
    OTHER_TENANT,
    OWNER,
    READER,
    STRANGER,
    SUB,
    SUBSCRIPTION,
    TENANT,
    World,
    guid,
)

from idplane.arm.requests import ManagementResponse
from idplane.model.failure import FailureKind
from idplane.model.profile import AZURE
from idplane.ports.collections import MANAGEMENT_GROUPS


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The tenant's operator beside the people of the subscription, who hold nothing above it."""
    opened = await open_groups()
    yield opened
    await opened.store.close()


# The tree -------------------------------------------------------------------------------------------------------------


async def test_a_group_is_made_shown_changed_and_removed(world: World) -> None:
    made = await make(world, "Shops")
    details = made["properties"].pop("details")
    assert made == {
        "id": f"{GROUPS}/Shops",
        "type": "Microsoft.Management/managementGroups",
        "name": "Shops",
        "properties": {"tenantId": TENANT, "displayName": "The Shops"},
    }
    assert details["parent"] == {"id": ROOT, "name": TENANT, "displayName": "Tenant Root Group"}
    assert (details["version"], details["updatedBy"]) == (1, OPERATOR)
    await call(world, "PATCH", f"{GROUPS}/SHOPS", {"displayName": "New"})
    again = await show(world, f"{GROUPS}/shops")
    assert (again["name"], again["properties"]["displayName"], again["properties"]["details"]["version"]) == ("Shops", "New", 2)
    assert (await call(world, "DELETE", f"{GROUPS}/shops")).status == 204
    assert (await call(world, "DELETE", f"{GROUPS}/shops")).status == 204
    assert await refused(call(world, "GET", f"{GROUPS}/shops")) is FailureKind.MANAGEMENT_GROUP_NOT_FOUND


async def test_the_root_group_is_there_from_the_start_and_stays(world: World) -> None:
    root = await show(world, ROOT)
    assert root["properties"]["displayName"] == "Tenant Root Group"
    assert "parent" not in root["properties"]["details"]
    await make(world, "shops")
    await call(world, "PATCH", ROOT, {"displayName": "Everything"})
    assert await names(world, GROUPS) == [TENANT, "shops"]
    assert (await show(world, ROOT))["properties"]["displayName"] == "Everything"
    for refusal in (call(world, "DELETE", ROOT), move(world, TENANT, "shops")):
        assert await refused(refusal) is FailureKind.INVALID_PARAMETER


async def test_details_are_shown_as_asked_for(world: World) -> None:
    await make(world, "a")
    await make(world, "b", "a")
    await make(world, "c", "b")
    await place(world, "b")
    flat = await show(world, f"{GROUPS}/a?$expand=children")
    assert flat["properties"]["children"] == [
        {"id": f"{GROUPS}/b", "type": "Microsoft.Management/managementGroups", "name": "b", "displayName": "The b"}
    ]
    deep = await show(world, f"{GROUPS}/a?$expand=children&$recurse=true")
    (below,) = deep["properties"]["children"]
    assert [one["name"] for one in below["children"]] == ["c", SUBSCRIPTION]
    groups = await show(world, f"{GROUPS}/a?$expand=children&$recurse=true&$filter=children.childType ne Subscription")
    assert [one["name"] for one in groups["properties"]["children"][0]["children"]] == ["c"]
    path = (await show(world, f"{GROUPS}/c?$expand=path"))["properties"]["details"]["path"]
    assert [one["name"] for one in path] == [TENANT, "a", "b", "c"]
    ancestors = (await show(world, f"{GROUPS}/c?$expand=ancestors"))["properties"]["details"]
    assert ancestors["managementGroupAncestors"] == ["b", "a", TENANT]


async def test_what_lies_below_is_listed_in_pages(world: World) -> None:
    for name, parent in (("a", None), ("b", "a"), ("c", "b"), ("z", None)):
        await make(world, name, parent)
    await place(world, "c")
    assert await names(world, f"{GROUPS}/a/descendants") == ["b", "c", SUBSCRIPTION]
    items, pages = await world.everything(f"{GROUPS}/a/descendants?$top=1", caller=OPERATOR, version=VERSION)
    assert ([one["properties"]["parent"]["id"] for one in items], pages) == ([f"{GROUPS}/a", f"{GROUPS}/b", f"{GROUPS}/c"], 3)
    assert await names(world, f"{ROOT}/descendants") == ["a", "b", "c", "z", SUBSCRIPTION]


async def test_subscriptions_are_placed_listed_and_taken_out(world: World) -> None:
    await make(world, "shops")
    assert await names(world, f"{ROOT}/subscriptions") == [SUBSCRIPTION]
    placed = await place(world, "shops")
    assert placed.status == 200
    assert placed.body == {
        "id": f"{GROUPS}/shops/subscriptions/{SUBSCRIPTION}",
        "type": "Microsoft.Management/managementGroups/subscriptions",
        "name": SUBSCRIPTION,
        "properties": {"tenant": TENANT, "displayName": "one", "parent": {"id": f"{GROUPS}/shops"}, "state": "Active"},
    }
    assert await names(world, f"{GROUPS}/shops/subscriptions") == [SUBSCRIPTION]
    assert await show(world, f"{GROUPS}/shops/subscriptions/{SUBSCRIPTION}") == placed.body
    assert (await call(world, "DELETE", f"{GROUPS}/shops/subscriptions/{SUBSCRIPTION}")).status == 200
    assert await names(world, f"{GROUPS}/shops/subscriptions") == []
    assert (await call(world, "DELETE", f"{GROUPS}/shops/subscriptions/{SUBSCRIPTION}")).status == 204
    unknown = call(world, "PUT", f"{GROUPS}/shops/subscriptions/{guid(0x99)}")
    assert await refused(unknown) is FailureKind.SUBSCRIPTION_NOT_FOUND
    assert await refused(place(world, "none")) is FailureKind.MANAGEMENT_GROUP_NOT_FOUND


async def test_a_group_is_removed_only_when_it_is_empty(world: World) -> None:
    await make(world, "a")
    await make(world, "b", "a")
    assert await refused(call(world, "DELETE", f"{GROUPS}/a")) is FailureKind.INVALID_PARAMETER
    await place(world, "b")
    assert await refused(call(world, "DELETE", f"{GROUPS}/b")) is FailureKind.INVALID_PARAMETER
    await place(world, TENANT)
    assert (await call(world, "DELETE", f"{GROUPS}/b")).status == 204
    assert (await call(world, "DELETE", f"{GROUPS}/a")).status == 204


@pytest.mark.parametrize("name", ["a b", "a.", "a" * 91, "a%26b", "ä"])
async def test_names_are_as_azure_has_them(world: World, name: str) -> None:
    kinds = {FailureKind.INVALID_NAME, FailureKind.INVALID_RESOURCE_ID}
    assert await refused(call(world, "PUT", f"{GROUPS}/{name}", {})) in kinds
    answer = await call(world, "POST", "/providers/Microsoft.Management/checkNameAvailability", {"name": name})
    assert isinstance(answer.body, dict)
    assert answer.body["reason"] == "Invalid"


async def test_names_are_taken_once_whatever_the_tenant(world: World) -> None:
    await make(world, "Shops")
    await world.grant(0xE2, "Owner", "/", STRANGER, tenant=OTHER_TENANT)
    assert await refused(make(world, "shops", caller=STRANGER)) is FailureKind.CONFLICT
    assert await refused(make(world, OTHER_TENANT)) is FailureKind.CONFLICT
    for name, available in (("shops", False), (OTHER_TENANT, False), ("other", True)):
        answer = await call(world, "POST", "/providers/Microsoft.Management/checkNameAvailability", {"name": name})
        assert isinstance(answer.body, dict)
        assert answer.body["nameAvailable"] is available
    for method in ("GET", "PATCH", "DELETE"):
        kind = await refused(call(world, method, f"{GROUPS}/shops", {"displayName": "mine"}, STRANGER))
        assert kind in {FailureKind.FORBIDDEN, FailureKind.MANAGEMENT_GROUP_NOT_FOUND}
    assert await names(world, GROUPS, STRANGER) == [OTHER_TENANT]


async def test_a_group_cannot_come_to_lie_in_itself(world: World) -> None:
    await make(world, "a")
    await make(world, "b", "a")
    for parent in ("a", "b"):
        assert await refused(move(world, "a", parent)) is FailureKind.INVALID_PARAMETER
    assert await refused(move(world, "a", "none")) is FailureKind.MANAGEMENT_GROUP_NOT_FOUND
    kind = await refused(call(world, "PATCH", f"{GROUPS}/a", {"parentGroupId": GROUP}))
    assert kind is FailureKind.INVALID_PARAMETER


async def test_two_moves_at_once_make_no_ring(world: World) -> None:
    for number in range(8):
        await make(world, f"a{number}")
        await make(world, f"b{number}")
        moves = (move(world, f"a{number}", f"b{number}"), move(world, f"b{number}", f"a{number}"))
        assert sorted(await asyncio.gather(*map(outcome, moves))) == [200, 400]


async def test_the_tree_has_six_levels_where_azure_says_so() -> None:
    world = await open_groups(profile=AZURE)
    for level in range(1, 7):
        await make(world, f"l{level}", f"l{level - 1}" if level > 1 else None)
    assert await refused(make(world, "l7", "l6")) is FailureKind.INVALID_PARAMETER
    await make(world, "x")
    await make(world, "y", "x")
    assert await refused(move(world, "x", "l5")) is FailureKind.INVALID_PARAMETER
    assert (await move(world, "x", "l4")).status == 200
    await world.store.close()


# Who may --------------------------------------------------------------------------------------------------------------


async def test_people_of_a_subscription_see_nothing_above_it(world: World) -> None:
    await make(world, "shops")
    await place(world, "shops")
    assert await names(world, GROUPS, OWNER) == []
    for method, body in (("GET", None), ("PUT", {}), ("PATCH", {"displayName": "x"}), ("DELETE", None)):
        assert await refused(call(world, method, f"{GROUPS}/shops", body, OWNER)) is FailureKind.FORBIDDEN
    assert await refused(call(world, "PUT", f"{GROUPS}/new", {}, OWNER)) is FailureKind.FORBIDDEN
    below = {"properties": {"details": {"parent": {"id": f"{GROUPS}/shops"}}}}
    assert await refused(call(world, "PUT", f"{GROUPS}/new", below, OWNER)) is FailureKind.FORBIDDEN
    for word in ("descendants", "subscriptions", f"subscriptions/{SUBSCRIPTION}"):
        assert await refused(call(world, "GET", f"{GROUPS}/shops/{word}", caller=OWNER)) is FailureKind.FORBIDDEN
    entities = await call(world, "POST", "/providers/Microsoft.Management/getEntities", caller=READER)
    assert isinstance(entities.body, dict)
    assert [(one["name"], one["properties"]["permissions"]) for one in entities.body["value"]] == [(SUBSCRIPTION, "view")]


async def test_whoever_may_write_a_group_makes_groups_in_it(world: World) -> None:
    worker = await world.principal(0x10)
    await make(world, "shops")
    await world.grant(0x100, "Contributor", f"{GROUPS}/shops", worker)
    made = await make(world, "web", "shops", worker)
    assert made["properties"]["details"]["parent"]["name"] == "shops"
    assert await refused(make(world, "top", caller=worker)) is FailureKind.FORBIDDEN
    assert await names(world, GROUPS, worker) == ["shops", "web"]


async def test_moving_takes_rights_on_what_is_moved_and_on_both_sides(world: World) -> None:
    mover = await world.principal(0x10)
    await make(world, "from")
    await make(world, "to")
    await place(world, "from")
    needed = [("Owner", SUB), ("Contributor", f"{GROUPS}/from"), ("Contributor", f"{GROUPS}/to")]
    for number, (role, scope) in enumerate(needed):
        assert await refused(place(world, "to", mover)) is FailureKind.FORBIDDEN
        await world.grant(0x100 + number, role, scope, mover)
    assert (await place(world, "to", mover)).status == 200
    for scope in ("from", TENANT):
        assert (await place(world, scope, mover)).status == 200
    assert await refused(call(world, "DELETE", f"{ROOT}/subscriptions/{SUBSCRIPTION}", caller=mover)) is FailureKind.FORBIDDEN


async def test_a_contributor_of_everything_cannot_move_a_subscription(world: World) -> None:
    """The move would let it choose what others inherit."""
    await make(world, "to")
    await world.grant(0x100, "Contributor", f"{GROUPS}/to", CONTRIBUTOR)
    assert await refused(place(world, "to", CONTRIBUTOR)) is FailureKind.FORBIDDEN
    await world.grant(0x101, "Contributor", ROOT, CONTRIBUTOR)
    await make(world, "a")
    assert await refused(move(world, "a", "to", CONTRIBUTOR)) is FailureKind.FORBIDDEN


async def test_nobody_reaches_into_another_tenant_s_tree(world: World) -> None:
    """By the path, by a parent in the body, or by a subscription that is not the tenant's."""
    await world.grant(0xE2, "Owner", "/", STRANGER, tenant=OTHER_TENANT)
    await make(world, "shops")
    await make(world, "theirs", caller=STRANGER)
    foreign = f"{GROUPS}/shops"
    attempts = [
        call(world, "PUT", f"{GROUPS}/mine", {"properties": {"details": {"parent": {"id": foreign}}}}, STRANGER),
        call(world, "PATCH", f"{GROUPS}/theirs", {"parentGroupId": foreign}, STRANGER),
        call(world, "PATCH", f"{GROUPS}/theirs", {"parentGroupId": ROOT}, STRANGER),
        call(world, "PUT", f"{GROUPS}/theirs/subscriptions/{SUBSCRIPTION}", caller=STRANGER),
        call(world, "PUT", f"{foreign}/subscriptions/{OTHER_SUBSCRIPTION}", caller=STRANGER),
        call(world, "PUT", f"{foreign}/subscriptions/{OTHER_SUBSCRIPTION}"),
        call(world, "GET", f"{foreign}/descendants", caller=STRANGER),
        call(world, "DELETE", f"{foreign}/subscriptions/{SUBSCRIPTION}", caller=STRANGER),
        world.call("GET", f"{foreign}/providers/Microsoft.Authorization/roleAssignments", caller=STRANGER),
    ]
    unseen = {FailureKind.FORBIDDEN, FailureKind.MANAGEMENT_GROUP_NOT_FOUND, FailureKind.SUBSCRIPTION_NOT_FOUND}
    for attempt in attempts:
        assert await refused(attempt) in unseen
    assert {one.value.key: one.value.parent for one in await world.store.all(MANAGEMENT_GROUPS)} == {
        "shops": None,
        "theirs": None,
    }


# Hierarchy settings ---------------------------------------------------------------------------------------------------

SETTINGS = f"{ROOT}/settings/default"


def settle(world: World, method: str = "PUT", caller: str = OPERATOR, **properties: object) -> Awaitable[ManagementResponse]:
    return call(world, method, SETTINGS, {"properties": properties}, caller)


async def test_settings_say_where_new_subscriptions_go(world: World) -> None:
    assert await refused(call(world, "GET", SETTINGS)) is FailureKind.RESOURCE_NOT_FOUND
    assert await names(world, f"{ROOT}/settings") == []
    await make(world, "new")
    put = await settle(world, defaultManagementGroup=f"{GROUPS}/new", requireAuthorizationForGroupCreation=False)
    assert (put.status, put.body) == (
        200,
        {
            "id": SETTINGS,
            "type": "Microsoft.Management/managementGroups/settings",
            "name": "default",
            "properties": {
                "tenantId": TENANT,
                "requireAuthorizationForGroupCreation": False,
                "defaultManagementGroup": f"{GROUPS}/new",
            },
        },
    )
    assert await names(world, f"{ROOT}/settings") == ["default"]
    alias = {"properties": {"displayName": "s", "workload": "Production"}}
    path = "/providers/Microsoft.Subscription/aliases/s"
    made: Any = (await world.call("PUT", path, alias, caller=OPERATOR, version="2021-10-01")).body
    assert made["properties"]["managementGroupId"] == f"{GROUPS}/new"
    assert await refused(call(world, "DELETE", f"{GROUPS}/new")) is FailureKind.INVALID_PARAMETER
    assert (await settle(world, "PATCH", defaultManagementGroup=TENANT)).status == 200
    assert (await show(world, SETTINGS))["properties"]["defaultManagementGroup"] == ROOT
    for status in (200, 204):
        assert (await call(world, "DELETE", SETTINGS)).status == status
    for unknown in ("none", f"{GROUPS}/none"):
        assert await refused(settle(world, defaultManagementGroup=unknown)) is FailureKind.MANAGEMENT_GROUP_NOT_FOUND
    assert await refused(call(world, "GET", f"{GROUPS}/new/settings/default")) is FailureKind.INVALID_PARAMETER
    assert await refused(settle(world, caller=OWNER)) is FailureKind.FORBIDDEN


async def test_a_protected_tree_grows_by_those_of_its_root(world: World) -> None:
    worker = await world.principal(0x10)
    await make(world, "shops")
    await world.grant(0x100, "Contributor", f"{GROUPS}/shops", worker)
    await settle(world, requireAuthorizationForGroupCreation=True)
    assert await refused(make(world, "web", "shops", worker)) is FailureKind.FORBIDDEN
    await make(world, "web", "shops")
    await settle(world, "PATCH", requireAuthorizationForGroupCreation=False)
    await make(world, "more", "shops", worker)


async def test_new_subscriptions_never_go_to_a_group_that_has_gone(world: World) -> None:
    for number in range(8):
        await make(world, "new")
        calls = [settle(world, defaultManagementGroup="new"), call(world, "DELETE", f"{GROUPS}/new")]
        settled, deleted = await asyncio.gather(*map(outcome, calls if number % 2 else reversed(calls)))
        if not number % 2:
            settled, deleted = deleted, settled
        assert (settled, deleted) in {(200, 400), (404, 204)}
        await call(world, "DELETE", SETTINGS)
        await call(world, "DELETE", f"{GROUPS}/new")
