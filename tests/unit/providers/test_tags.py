from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from tests.unit.providers.management_world import GROUP, READER, SUB, SUBSCRIPTION, TENANT, World, open_world

from idplane.arm.requests import ManagementResponse
from idplane.model.failure import Failure, FailureKind
from idplane.providers import PROVIDERS

VERSION = "2021-04-01"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/stock"
VAULT_BODY = {"location": "westeurope", "properties": {"tenantId": TENANT, "sku": {"family": "A", "name": "standard"}}}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    opened = await open_world(*PROVIDERS)
    await opened.call("PUT", VAULT, {**VAULT_BODY, "tags": {"Env": "dev"}}, version="2023-07-01")
    yield opened
    await opened.store.close()


def at(scope: str) -> str:
    return f"{scope}/providers/Microsoft.Resources/tags/default"


def tags(world: World, method: str, scope: str, body: Any = None, **options: str) -> Awaitable[ManagementResponse]:
    return world.call(method, at(scope), body, version=VERSION, **options)


def stating(**values: object) -> dict[str, object]:
    return {"properties": {"tags": values}}


async def shown(world: World, scope: str) -> Any:
    return (await world.get(at(scope), version=VERSION))["properties"]["tags"]


async def refused(call: Awaitable[ManagementResponse]) -> Failure:
    with pytest.raises(Failure) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("scope", [SUB, GROUP, VAULT])
async def test_tags_are_put_merged_replaced_and_taken_away(world: World, scope: str) -> None:
    put = await tags(world, "PUT", scope, stating(Env="prod", Team="web"))
    assert (put.status, put.body) == (
        200,
        {
            "id": at(scope),
            "name": "default",
            "type": "Microsoft.Resources/tags",
            "properties": {"tags": {"Env": "prod", "Team": "web"}},
        },
    )
    for operation, values, expected in (
        ("Merge", {"env": "test", "cost": "7"}, {"Env": "test", "Team": "web", "cost": "7"}),
        ("Delete", {"TEAM": "", "cost": "8"}, {"Env": "test", "cost": "7"}),
        ("delete", {"cost": "7"}, {"Env": "test"}),
        ("Replace", {"a": "b"}, {"a": "b"}),
    ):
        patched = await tags(world, "PATCH", scope, {"operation": operation, **stating(**values)})
        assert patched.status == 200
        assert await shown(world, scope) == expected
    assert (await tags(world, "DELETE", scope)).status == 200
    assert await shown(world, scope) == {}


async def test_the_tags_are_those_of_the_thing_itself(world: World) -> None:
    assert await shown(world, VAULT) == {"Env": "dev"}
    await tags(world, "PUT", VAULT, stating(a="1"))
    await tags(world, "PUT", SUB, stating(s="1"))
    assert (await world.get(VAULT, version="2023-07-01"))["tags"] == {"a": "1"}
    assert (await world.get(SUB, version="2022-12-01"))["tags"] == {"s": "1"}


async def test_tags_ask_for_their_own_right_and_no_other(world: World) -> None:
    tagger = await world.principal(0x10)
    for _ in range(2):
        assert (await refused(tags(world, "PUT", VAULT, stating(a="1"), caller=tagger))).kind is FailureKind.FORBIDDEN
    await world.grant(0x100, "Tag Contributor", VAULT, tagger)
    assert (await tags(world, "PUT", VAULT, stating(a="1"), caller=tagger)).status == 200
    body = {**VAULT_BODY, "tags": {}}
    assert (await refused(world.call("PUT", VAULT, body, version="2023-07-01", caller=tagger))).kind is FailureKind.FORBIDDEN
    assert (await refused(tags(world, "PUT", GROUP, stating(a="1"), caller=tagger))).kind is FailureKind.FORBIDDEN
    assert (await refused(tags(world, "DELETE", VAULT, caller=READER))).kind is FailureKind.FORBIDDEN
    assert (await tags(world, "GET", VAULT, caller=READER)).status == 200


_BROKEN = [
    ({"a<b": "1"}, "InvalidTagNameCharacters"),
    ({"a/b": "1"}, "InvalidTagNameCharacters"),
    ({"a\tb": "1"}, "InvalidTagNameCharacters"),
    ({"n" * 513: "1"}, "InvalidTagNameLength"),
    ({"": "1"}, "InvalidTagNameLength"),
    ({"a": "v" * 257}, "InvalidTagValueLength"),
    ({"a": "1", "A": "2"}, "InvalidParameter"),
    ({"a": 1}, "InvalidParameter"),
    ({f"t{number}": "" for number in range(51)}, "TooManyTags"),
]


@pytest.mark.parametrize(("values", "code"), _BROKEN)
async def test_what_is_no_tag_is_refused_alike_everywhere(world: World, values: dict[str, object], code: str) -> None:
    calls = [
        tags(world, "PUT", VAULT, {"properties": {"tags": values}}),
        tags(world, "PATCH", SUB, {"operation": "Merge", "properties": {"tags": values}}),
        world.call("PUT", VAULT, {**VAULT_BODY, "tags": values}, version="2023-07-01"),
        world.call("PATCH", GROUP, {"tags": values}, version=VERSION),
    ]
    for call in calls:
        failure = await refused(call)
        assert (failure.kind, failure.data["code"]) == (FailureKind.INVALID_PARAMETER, code)
    assert await shown(world, VAULT) == {"Env": "dev"}


async def test_tags_do_not_grow_beyond_fifty_by_merging(world: World) -> None:
    await tags(world, "PUT", VAULT, stating(**{f"t{number}": "" for number in range(50)}))
    merge = {"operation": "Merge", **stating(T1="x")}
    assert (await tags(world, "PATCH", VAULT, merge)).status == 200
    failure = await refused(tags(world, "PATCH", VAULT, {"operation": "Merge", **stating(more="x")}))
    assert failure.data["code"] == "TooManyTags"


@pytest.mark.parametrize(
    "body", [{}, {"properties": {}}, {"operation": "Merge"}, {"operation": "Add", **stating(a="1")}, stating(a="1")]
)
async def test_a_patch_says_what_it_does_with_which_tags(world: World, body: object) -> None:
    assert (await refused(tags(world, "PATCH", VAULT, body))).kind is FailureKind.INVALID_PARAMETER


async def test_only_what_bears_tags_has_some(world: World) -> None:
    await world.grant(0xE1, "Owner", "/", READER)
    missing = [f"{VAULT}2", f"{SUB}/resourceGroups/none", f"{VAULT}/secrets/one", f"/subscriptions/{SUBSCRIPTION[::-1]}"]
    for scope in missing:
        assert (await refused(tags(world, "GET", scope))).kind.category.value in {403, 404}
    for scope in ("", "/providers/Microsoft.Management/managementGroups/a"):
        assert (await refused(tags(world, "GET", scope, caller=READER))).kind is FailureKind.UNKNOWN_TYPE
    name = f"{VAULT}/providers/Microsoft.Resources/tags/other"
    assert (await refused(world.call("PUT", name, stating(a="1"), version=VERSION))).kind is FailureKind.INVALID_NAME


async def test_a_read_only_lock_keeps_tags_as_they_are(world: World) -> None:
    lock = f"{GROUP}/providers/Microsoft.Authorization/locks/keep"
    await world.call("PUT", lock, {"properties": {"level": "ReadOnly"}}, version="2016-09-01")
    for method in ("PUT", "DELETE"):
        assert (await refused(tags(world, method, VAULT, stating(a="1")))).kind is FailureKind.LOCKED
