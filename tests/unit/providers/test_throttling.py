"""Rates and numbers of profile azure, through the whole surface; profile open has none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.providers.deploying import deploy, identity, template
from tests.unit.providers.surface_plane import GROUP, MSI, SUB, Plane, Reply, open_plane

from idplane.model.events import EventStatus
from idplane.model.profile import AZURE, AZURE_UNHURRIED, OPEN, PROFILES
from idplane.model.rates import AZURE_MANAGEMENT, Rate

IDENTITIES = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm"
READS = "x-ms-ratelimit-remaining-subscription-reads"


async def put(plane: Plane, name: str, by: str = "owner") -> Reply:
    return await plane.call("PUT", f"{IDENTITIES}/{name}", {"location": "westeurope"}, by=by, version=MSI)


async def test_what_is_left_is_told() -> None:
    plane = await open_plane(profile=AZURE)
    seen = [(await plane.call("GET", GROUP)).headers for _ in range(2)]
    assert [one[READS] for one in seen] == ["249", "248"]
    assert [one["x-ms-ratelimit-remaining-subscription-global-reads"] for one in seen] == ["3749", "3748"]
    written = (await plane.call("PUT", f"{SUB}/resourceGroups/new", {"location": "x"})).headers
    assert (written["x-ms-ratelimit-remaining-subscription-writes"], READS in written) == ("198", False)
    deleted = (await plane.call("DELETE", f"{SUB}/resourceGroups/new")).headers
    assert deleted["x-ms-ratelimit-remaining-subscription-deletes"] == "199"
    other = (await plane.call("GET", GROUP, by="reader")).headers
    assert (other[READS], other["x-ms-ratelimit-remaining-subscription-global-reads"]) == ("249", "3747")
    tenant = (await plane.call("GET", "/subscriptions")).headers
    assert tenant["x-ms-ratelimit-remaining-tenant-reads"] == "249"


async def test_too_many_requests_of_one_are_refused_and_served_when_it_comes_back() -> None:
    plane = await open_plane(profile=AZURE)
    assert {(await plane.call("GET", GROUP)).status for _ in range(250)} == {200}
    refused = await plane.call("GET", GROUP)
    assert (refused.status, refused.body["error"]["code"]) == (429, "SubscriptionRequestsThrottled")
    assert refused.headers["retry-after"] == "1"
    assert (await plane.call("GET", GROUP, by="reader")).status == 200
    assert (await plane.call("GET", "/subscriptions")).status == 200
    plane.clock.advance(timedelta(seconds=1))
    assert (await plane.call("GET", GROUP)).headers[READS] == "24"


async def test_a_throttled_write_did_not_happen_and_is_not_logged() -> None:
    rates = replace(AZURE_MANAGEMENT, writes=Rate(2, 1))
    plane = await open_plane(profile=replace(AZURE, management_rates=rates))
    before = len(await plane.events())
    assert [(await put(plane, name)).status for name in ("one", "two")] == [201, 429]
    assert (await plane.call("GET", f"{IDENTITIES}/two", version=MSI)).status == 404
    assert len(await plane.events()) == before + 1


async def test_who_is_not_let_in_is_not_counted() -> None:
    plane = await open_plane(profile=AZURE)
    for _ in range(3):
        assert (await plane.call("GET", GROUP, by=None)).status == 401
    assert (await plane.call("GET", GROUP)).headers[READS] == "249"


async def test_one_identity_is_written_and_read_at_its_own_rate() -> None:
    plane = await open_plane(profile=AZURE)
    assert [(await put(plane, "one")).status for _ in range(6)] == [201, 200, 200, 200, 200, 429]
    refused = await put(plane, "one")
    assert (refused.body["error"]["code"], refused.headers["retry-after"]) == ("TooManyRequests", "4")
    assert (await put(plane, "two")).status == 201
    statuses = [(await plane.call("GET", f"{IDENTITIES}/one", version=MSI)).status for _ in range(11)]
    assert statuses == [200] * 10 + [429]
    listed = [(await plane.call("GET", IDENTITIES, version=MSI)).status for _ in range(6)]
    assert listed == [200] * 5 + [429]
    plane.clock.advance(timedelta(seconds=4))
    assert (await put(plane, "one")).status == 200


async def test_identities_of_a_subscription_are_made_two_a_second() -> None:
    plane = await open_plane(profile=AZURE)
    statuses = [(await put(plane, f"one-{number}")).status for number in range(41)]
    assert statuses == [201] * 40 + [429]
    plane.clock.advance(timedelta(seconds=1))
    assert [(await put(plane, f"two-{number}")).status for number in range(3)] == [201, 201, 429]


async def test_new_identities_and_assignments_are_counted_by_region_whatever_they_come_with() -> None:
    rates = replace(
        AZURE_MANAGEMENT, identities_made_in_subscription=Rate(2, 0.1), identities_assigned_in_subscription=Rate(3, 0.1)
    )
    plane = await open_plane(profile=replace(AZURE, management_rates=rates))

    async def machine(name: str, place: str, **block: object) -> int:
        body = {"location": place, "properties": {}, "identity": block}
        url = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}"
        return (await plane.call("PUT", url, body, version="2024-11-01")).status

    assert [await machine(f"m{number}", "West Europe", type="SystemAssigned") for number in range(3)] == [201, 201, 429]
    assert await machine("m0", "westeurope", type="SystemAssigned") == 200, "nothing new"
    assert await machine("n0", "northeurope", type="SystemAssigned") == 201
    (refused,) = [one for one in await plane.events() if one.status is EventStatus.FAILED]
    assert (refused.sub_status, refused.http_status) == ("TooManyRequests", 429)
    await put(plane, "shared")
    block = {"type": "UserAssigned", "userAssignedIdentities": {f"{IDENTITIES}/shared": {}}}
    plane.clock.advance(timedelta(seconds=10))
    await put(plane, "shared")
    assert [await machine(f"u{number}", "westeurope", **block) for number in range(3)] == [201, 201, 429]


async def test_a_deployment_s_own_requests_count_for_nothing() -> None:
    plane = await open_plane(profile=AZURE)
    names = [f"one-{number}" for number in range(90)]
    done = await deploy(plane, template(*(identity(name) for name in names)))
    assert done["provisioningState"] == "Succeeded", done.get("error")
    answer = await plane.call("PUT", f"{SUB}/resourceGroups/new", {"location": "x"})
    assert answer.headers["x-ms-ratelimit-remaining-subscription-writes"] == "197"


@pytest.mark.parametrize("profile", [OPEN, AZURE_UNHURRIED])
async def test_where_there_are_no_rates_nothing_is_counted(profile: object) -> None:
    plane = await open_plane(profile=profile)  # type: ignore[arg-type]  # one of the two above
    assert {(await put(plane, "one")).status for _ in range(30)} == {200, 201}
    assert not [name for name in (await plane.call("GET", GROUP)).headers if "ratelimit" in name]


def test_the_profile_without_rates_is_no_profile_of_its_own() -> None:
    assert AZURE_UNHURRIED.name == "azure"
    assert set(PROFILES) == {"azure", "open"}


# Numbers


async def test_a_group_holds_so_many_resources_of_a_type() -> None:
    plane = await open_plane(profile=replace(AZURE_UNHURRIED, resources_per_group_and_type=2))
    assert [(await put(plane, name)).status for name in ("one", "two", "three", "one")] == [201, 201, 409, 200]
    refused = await put(plane, "three")
    assert refused.body["error"]["code"] == "ResourceQuotaExceeded"
    machine = await plane.call("PUT", VM, {"location": "x", "properties": {}}, version="2024-11-01")
    assert machine.status == 201
    await plane.call("PUT", f"{SUB}/resourceGroups/other", {"location": "x"})
    elsewhere = f"{SUB}/resourceGroups/other/providers/Microsoft.ManagedIdentity/userAssignedIdentities/three"
    assert (await plane.call("PUT", elsewhere, {"location": "x"}, version=MSI)).status == 201


async def test_a_subscription_holds_so_many_groups() -> None:
    plane = await open_plane(profile=replace(AZURE_UNHURRIED, groups_per_subscription=2))
    made = [await plane.call("PUT", f"{SUB}/resourceGroups/{name}", {"location": "x"}) for name in ("a", "b", "a")]
    assert [one.status for one in made] == [201, 409, 200]
    assert made[1].body["error"]["code"] == "ResourceGroupQuotaExceeded"
