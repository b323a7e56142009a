"""What the vault does with secrets, and the bodies that it answers with."""

from __future__ import annotations

import pytest
from tests.unit.vault.vault_world import (
    EPOCH,
    HOST,
    World,
)

from idplane.ports.collections import SECRETS

# Bodies


async def test_a_set_answers_with_the_whole_bundle(world: World) -> None:
    body = {
        "value": "hunter2",
        "contentType": "password",
        "tags": {"file-encoding": "utf-8"},
        "attributes": {"enabled": True, "nbf": 1, "exp": 32503680000},
    }
    shown = await world.ok("PUT", "/secrets/Db-Password", body)
    version = shown["id"].rsplit("/", 1)[1]
    assert len(version) == 32
    assert int(version, 16) >= 0
    assert shown == {
        "value": "hunter2",
        "contentType": "password",
        "id": f"{HOST}/secrets/Db-Password/{version}",
        "attributes": {
            "enabled": True,
            "nbf": 1,
            "exp": 32503680000,
            "created": EPOCH,
            "updated": EPOCH,
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": 90,
        },
        "tags": {"file-encoding": "utf-8"},
    }


async def test_a_plain_set_shows_no_absent_members(world: World) -> None:
    shown = await world.ok("PUT", "/secrets/s", {"value": "v", "attributes": {}})
    assert set(shown) == {"value", "id", "attributes"}
    assert set(shown["attributes"]) == {"enabled", "created", "updated", "recoveryLevel", "recoverableDays"}


@pytest.mark.parametrize("path", ["/secrets/s", "/secrets/s/", "/Secrets/S", "//secrets//s//"])
async def test_a_get_without_version_reads_the_current_one(world: World, path: str) -> None:
    await world.ok("PUT", "/secrets/s", {"value": "old"})
    newest = await world.ok("PUT", "/secrets/s", {"value": "new"})
    assert await world.ok("GET", path, token="user") == newest


async def test_a_get_with_version_reads_that_one(world: World) -> None:
    old = await world.ok("PUT", "/secrets/s", {"value": "old"})
    await world.ok("PUT", "/secrets/s", {"value": "new"})
    version = old["id"].rsplit("/", 1)[1]
    assert await world.ok("GET", f"/secrets/s/{version}") == old
    assert await world.ok("GET", f"/secrets/s/{version.upper()}/") == old


async def test_the_current_version_is_found_among_many(world: World) -> None:
    for number in range(1, 40):
        shown = await world.ok("PUT", "/secrets/s", {"value": str(number)})
        assert (await world.ok("GET", "/secrets/s"))["value"] == str(number)
        assert (await world.ok("GET", "/secrets/s"))["id"] == shown["id"]


async def test_the_first_spelling_of_a_name_stays(world: World) -> None:
    await world.ok("PUT", "/secrets/DbPassword", {"value": "1"})
    shown = await world.ok("PUT", "/secrets/DBPASSWORD", {"value": "2"})
    assert shown["id"].startswith(f"{HOST}/secrets/DbPassword/")


async def test_a_set_over_a_disabled_version_enables_the_secret_again(world: World) -> None:
    await world.ok("PUT", "/secrets/s", {"value": "1", "attributes": {"enabled": False}})
    await world.ok("PUT", "/secrets/s", {"value": "2"})
    assert (await world.ok("GET", "/secrets/s"))["value"] == "2"


async def test_values_of_all_characters_and_of_the_largest_size_come_back(world: World) -> None:
    for value in ("", "\x00\u2028\U0001f512 \"'", "é" * 12800):
        await world.ok("PUT", "/secrets/s", {"value": value})
        assert (await world.ok("GET", "/secrets/s"))["value"] == value


async def test_an_update_changes_what_it_names_and_shows_no_value(world: World) -> None:
    made = await world.ok("PUT", "/secrets/s", {"value": "v", "contentType": "a", "tags": {"x": "1"}})
    world.clock.advance(10)
    shown = await world.ok("PATCH", "/secrets/s/", {"attributes": {"exp": 2000000000}})
    assert shown["id"] == made["id"]
    assert "value" not in shown
    assert shown["contentType"] == "a"
    assert shown["tags"] == {"x": "1"}
    assert shown["attributes"]["exp"] == 2000000000
    assert shown["attributes"]["created"] == EPOCH
    assert shown["attributes"]["updated"] == EPOCH + 10
    shown = await world.ok("PATCH", "/secrets/s", {"tags": {"y": "2"}, "contentType": "b", "attributes": {"enabled": None}})
    assert shown["tags"] == {"y": "2"}
    assert shown["contentType"] == "b"
    assert shown["attributes"]["exp"] == 2000000000
    assert "tags" not in await world.ok("PATCH", "/secrets/s", {"tags": {}})


async def test_an_update_of_an_old_version_leaves_the_current_one(world: World) -> None:
    old = (await world.ok("PUT", "/secrets/s", {"value": "1"}))["id"].rsplit("/", 1)[1]
    await world.ok("PUT", "/secrets/s", {"value": "2"})
    await world.ok("PATCH", f"/secrets/s/{old}", {"attributes": {"enabled": False}})
    assert (await world.ok("GET", "/secrets/s"))["value"] == "2"
    assert (await world.refused(403, "GET", f"/secrets/s/{old}"))["innererror"] == {"code": "SecretDisabled"}


async def test_the_deleted_bundle(world: World) -> None:
    made = await world.ok("PUT", "/secrets/s", {"value": "v", "tags": {"a": "b"}})
    expected = {
        "recoveryId": f"{HOST}/deletedsecrets/s",
        "deletedDate": EPOCH,
        "scheduledPurgeDate": EPOCH + 90 * 86400,
        "id": made["id"],
        "attributes": made["attributes"],
        "tags": {"a": "b"},
    }
    assert await world.ok("DELETE", "/secrets/s") == expected
    assert await world.ok("GET", "/deletedsecrets/s/") == expected


async def test_retention_and_purge_protection_of_the_vault_show(world: World) -> None:
    await world.change_vault({"softDeleteRetentionInDays": 7})
    shown = await world.ok("PUT", "/secrets/s", {"value": "v"})
    assert shown["attributes"]["recoveryLevel"] == "CustomizedRecoverable+Purgeable"
    assert shown["attributes"]["recoverableDays"] == 7
    assert (await world.ok("DELETE", "/secrets/s"))["scheduledPurgeDate"] == EPOCH + 7 * 86400
    await world.change_vault({"softDeleteRetentionInDays": 90, "enablePurgeProtection": True})
    assert (await world.ok("GET", "/deletedsecrets/s"))["attributes"]["recoveryLevel"] == "Recoverable"


# Lists


async def test_an_empty_vault_lists_nothing(world: World) -> None:
    assert await world.ok("GET", "/secrets") == {"value": [], "nextLink": None}
    assert await world.ok("GET", "/deletedsecrets/") == {"value": [], "nextLink": None}


async def test_the_list_shows_each_secret_once_without_version(world: World) -> None:
    for value in ("1", "2", "3"):
        await world.ok("PUT", "/secrets/a", {"value": value, "contentType": value})
    await world.ok("PUT", "/secrets/a-b", {"value": "v", "attributes": {"enabled": False}})
    shown = await world.ok("GET", "/secrets", token="user")
    assert {item["id"]: item.get("contentType") for item in shown["value"]} == {
        f"{HOST}/secrets/a": "3",
        f"{HOST}/secrets/a-b": None,
    }
    assert all("value" not in item for item in shown["value"])


async def _everything(world: World, path: str) -> list[list[str]]:
    pages: list[list[str]] = []
    while path:
        shown = await world.ok("GET", path, version="7.4" if "?" not in path else "")
        pages.append([item["id"] for item in shown["value"]])
        link = shown["nextLink"] or ""
        assert not link or link.startswith(f"{HOST}/")
        path = link.removeprefix(HOST)
    return pages


async def test_lists_are_paged_and_the_links_keep_size_and_version(world: World) -> None:
    names = [f"s{number}" for number in range(7)] + ["s1-x", "s10", "S-upper"]
    for name in names:
        await world.ok("PUT", f"/secrets/{name}", {"value": "1"})
        await world.ok("PUT", f"/secrets/{name}", {"value": "2"})
    first = await world.ok("GET", "/secrets?maxresults=3")
    assert first["nextLink"].startswith(f"{HOST}/secrets?api-version=7.4&$skiptoken=")
    assert first["nextLink"].endswith("&maxresults=3")
    pages = await _everything(world, "/secrets?api-version=7.4&maxresults=3")
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert sorted(one for page in pages for one in page) == sorted(f"{HOST}/secrets/{name}" for name in names)


async def test_a_full_last_page_has_no_next_one(world: World) -> None:
    for name in ("a", "b"):
        await world.ok("PUT", f"/secrets/{name}", {"value": "1"})
    assert (await world.ok("GET", "/secrets?maxresults=2"))["nextLink"] is None


async def test_versions_are_listed_with_their_ids_in_pages(world: World) -> None:
    made = [(await world.ok("PUT", "/secrets/s", {"value": str(number)}))["id"] for number in range(5)]
    await world.ok("PUT", "/secrets/s2", {"value": "other"})
    pages = await _everything(world, "/secrets/s/versions?api-version=7.4&maxresults=2")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [one for page in pages for one in page] == sorted(made)


async def test_versions_of_nothing_are_none(world: World) -> None:
    assert (await world.ok("GET", "/secrets/unknown/versions"))["value"] == []
    await world.ok("PUT", "/secrets/s", {"value": "1"})
    await world.ok("DELETE", "/secrets/s")
    assert (await world.ok("GET", "/secrets/s/versions"))["value"] == []


async def test_deleted_secrets_leave_one_list_and_enter_the_other(world: World) -> None:
    for name in ("a", "b", "c", "d"):
        await world.ok("PUT", f"/secrets/{name}", {"value": "1"})
        await world.ok("PUT", f"/secrets/{name}", {"value": "2"})
    for name in ("a", "b", "d"):
        await world.ok("DELETE", f"/secrets/{name}")
    assert await _everything(world, "/secrets?api-version=7.4&maxresults=1") == [[f"{HOST}/secrets/c"], []]
    pages = await _everything(world, "/deletedsecrets?api-version=7.4&maxresults=2")
    assert pages == [[f"{HOST}/secrets/a", f"{HOST}/secrets/b"], [f"{HOST}/secrets/d"]]


@pytest.mark.parametrize("size", ["0", "26", "-1", "x", "", "1.5", "٣", "9" * 5000])
async def test_page_sizes_out_of_bounds(world: World, size: str) -> None:
    error = await world.refused(400, "GET", f"/secrets?maxresults={size}")
    assert error["code"] == "BadParameter"


async def test_a_skip_token_that_is_not_ours(world: World) -> None:
    for path in ("/secrets", "/secrets/s/versions", "/deletedsecrets"):
        await world.ok("PUT", "/secrets/s", {"value": "1"}) if path != "/deletedsecrets" else None
        assert (await world.refused(400, "GET", f"{path}?$skiptoken=a|b"))["code"] == "BadParameter"


# Delete, recover, purge


async def test_a_deleted_secret_is_gone_and_comes_back_whole(world: World) -> None:
    old = (await world.ok("PUT", "/secrets/s", {"value": "1"}))["id"].rsplit("/", 1)[1]
    await world.ok("PUT", "/secrets/s", {"value": "2"})
    await world.ok("DELETE", "/secrets/s")
    for method, path in (
        ("GET", "/secrets/s"),
        ("GET", f"/secrets/s/{old}"),
        ("PATCH", "/secrets/s"),
        ("DELETE", "/secrets/s"),
    ):
        assert (await world.refused(404, method, path, {}))["code"] == "SecretNotFound"
    recovered = await world.ok("POST", "/deletedsecrets/s/recover")
    assert "value" not in recovered
    assert "recoveryId" not in recovered
    assert (await world.ok("GET", "/secrets/s"))["value"] == "2"
    assert (await world.ok("GET", f"/secrets/s/{old}"))["value"] == "1"
    assert (await world.refused(404, "GET", "/deletedsecrets/s"))["message"] == "Deleted Secret not found: s"


async def test_a_deleted_name_cannot_be_set(world: World) -> None:
    await world.ok("PUT", "/secrets/s", {"value": "1"})
    await world.ok("DELETE", "/secrets/s")
    assert await world.refused(409, "PUT", "/secrets/s", {"value": "2"}) == {
        "code": "Conflict",
        "message": "Secret s is currently in a deleted but recoverable state, and its name cannot be reused; in this state, "
        "the secret can only be recovered or purged.",
        "innererror": {"code": "ObjectIsDeletedButRecoverable"},
    }


async def test_a_purged_secret_leaves_nothing_and_frees_its_name(world: World) -> None:
    for value in ("1", "2", "3"):
        await world.ok("PUT", "/secrets/s", {"value": value})
    await world.ok("DELETE", "/secrets/s")
    response = await world.send("DELETE", "/deletedsecrets/s")
    assert (response.status, response.body) == (204, b"")
    assert await world.store.all(SECRETS) == ()
    await world.ok("PUT", "/secrets/s", {"value": "4"})
    assert (await world.ok("GET", "/secrets/s"))["value"] == "4"


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/deletedsecrets/s"), ("POST", "/deletedsecrets/s/recover")])
async def test_only_deleted_secrets_are_purged_or_recovered(world: World, method: str, path: str) -> None:
    assert await world.refused(404, method, path) == {"code": "SecretNotFound", "message": "Deleted Secret not found: s"}
    await world.ok("PUT", "/secrets/s", {"value": "1"})
    await world.refused(404, method, path)
    assert (await world.ok("GET", "/secrets/s"))["value"] == "1"


async def test_purge_protection_forbids_the_purge(world: World) -> None:
    await world.change_vault({"enablePurgeProtection": True})
    await world.ok("PUT", "/secrets/s", {"value": "1"})
    await world.ok("DELETE", "/secrets/s")
    error = await world.refused(403, "DELETE", "/deletedsecrets/s")
    assert error["message"].startswith('Operation "purge" is not allowed because purge protection is enabled')
    await world.ok("GET", "/deletedsecrets/s")


async def test_deleted_secrets_are_purged_when_their_time_is_over(world: World) -> None:
    assert await world.vault.purge_due(world.clock.now()) is None
    await world.change_vault({"softDeleteRetentionInDays": 10, "enablePurgeProtection": True})
    for name in ("early", "late", "kept"):
        await world.ok("PUT", f"/secrets/{name}", {"value": "1"})
        await world.ok("PUT", f"/secrets/{name}", {"value": "2"})
    await world.ok("DELETE", "/secrets/early")
    world.clock.advance(86400)
    await world.ok("DELETE", "/secrets/late")
    due = await world.vault.purge_due(world.clock.now())
    assert due is not None
    assert due.timestamp() == EPOCH + 10 * 86400
    due = await world.vault.purge_due(due)
    assert due is not None
    assert due.timestamp() == EPOCH + 11 * 86400
    await world.refused(404, "GET", "/deletedsecrets/early")
    await world.ok("GET", "/deletedsecrets/late")
    assert await world.vault.purge_due(due) is None
    assert {one.value.name for one in await world.store.all(SECRETS)} == {"kept"}
