from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from tests.unit.providers.management_world import (
    GROUP,
    OTHER_SUBSCRIPTION,
    OTHER_TENANT,
    OWNER,
    READER,
    SUB,
    SUBSCRIPTION,
    TENANT,
    World,
    guid,
    open_world,
)

from idplane.model.events import ActivityEvent, EventStatus
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import ACTIVITY
from idplane.ports.store import Append, Batch
from idplane.providers.activity_events import EVENT_MEMBERS, render_event
from idplane.providers.insights import INSIGHTS

V = "2015-04-01"
VALUES = "providers/Microsoft.Insights/eventtypes/management/values"
SINCE = "eventTimestamp ge '2026-01-01T00:00:00Z'"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/Stock"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    opened = await open_world(INSIGHTS)
    yield opened
    await opened.store.close()


async def log(world: World, number: int, **values: Any) -> None:
    """An event at noon plus as many minutes as its number."""
    fields: dict[str, Any] = {
        "id": guid(number),
        "at": world.clock.now() + timedelta(minutes=number),
        "tenant_id": TENANT,
        "subscription_id": SUBSCRIPTION,
        "resource_id": VM,
        "operation": "Microsoft.Compute/virtualMachines/write",
        "status": EventStatus.SUCCEEDED,
        "sub_status": "Created",
        "http_status": 201,
        "caller": "owner",
        "caller_id": OWNER,
        "correlation_id": guid(0xC0 + number),
        "operation_id": guid(0xD0 + number),
        "method": "PUT",
    }
    await world.store.commit(Batch.of(Append(log=ACTIVITY, event=ActivityEvent(**(fields | values)))))


def url(text: str, scope: str = SUB, more: str = "") -> str:
    return f"{scope}/{VALUES}?$filter={quote(text)}{more}"


async def numbers(world: World, text: str, scope: str = SUB, more: str = "") -> list[int]:
    items, _ = await world.everything(url(text, scope, more), version=V)
    return [int(one["eventDataId"][:8], 16) for one in items]


@pytest.fixture
async def busy(world: World) -> World:
    await log(world, 1)
    await log(
        world,
        2,
        resource_id=GROUP,
        operation="Microsoft.Resources/subscriptions/resourceGroups/write",
        caller="deployer",
        caller_id=guid(0x20),
    )
    await log(
        world,
        3,
        resource_id=f"{SUB}/resourceGroups/Web2/providers/Microsoft.Web/sites/a",
        operation="Microsoft.Web/sites/delete",
    )
    await log(
        world, 4, status=EventStatus.FAILED, sub_status="DenyAssignmentAuthorizationFailed", http_status=403, because=guid(0x99)
    )
    await log(world, 5, resource_id=VM.lower())
    await log(world, 6, subscription_id=None, resource_id="/", operation="Microsoft.Authorization/roleAssignments/write")
    await log(world, 7, tenant_id=OTHER_TENANT, subscription_id=OTHER_SUBSCRIPTION)
    return world


# What is found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SINCE, [5, 4, 3, 2, 1]),
        ("eventTimestamp ge 2026-01-01T00:00:00Z", [5, 4, 3, 2, 1]),
        ("eventTimestamp ge 2026-01-01T12:02:00.000000+00:00", [5, 4, 3, 2]),
        ("eventTimestamp ge 2026-01-01T12:02:00.0000000Z and eventTimestamp le 2026-01-01T12:04:00", [4, 3, 2]),
        ("eventTimestamp gt '2026-01-01T12:02:00Z' and eventTimestamp lt '2026-01-01T12:04:00Z'", [3]),
        ("eventTimestamp ge '2026-01-01T14:02:00+02:00'", [5, 4, 3, 2]),
        (f"{SINCE} and resourceGroupName eq 'web'", [5, 4, 2, 1]),
        (f"{SINCE} and resourceId eq '{VM}'", [5, 4, 1]),
        (f"{SINCE} and resourceUri eq '{VM.upper()}'", [5, 4, 1]),
        (f"{SINCE} and resourceProvider eq Microsoft.Web", [3]),
        (f"{SINCE} and correlationId eq '{guid(0xC2).upper()}'", [2]),
        (f"{SINCE} and caller eq 'Deployer'", [2]),
        (f"{SINCE} and caller eq '{guid(0x20)}'", [2]),
        (f"{SINCE} and status eq 'failed'", [4]),
        (f"{SINCE} and eventChannels eq 'Admin, Operation' and status eq 'Failed' and resourceGroupName eq 'Web'", [4]),
        (f"{SINCE} and caller eq 'nobody'", []),
        ("eventTimestamp ge '2027-01-01T00:00:00Z'", []),
    ],
)
async def test_what_a_filter_finds(busy: World, text: str, expected: list[int]) -> None:
    assert await numbers(busy, text) == expected


async def test_the_tenant_s_log_holds_what_lies_in_no_subscription(busy: World) -> None:
    await busy.grant(0xF9, "Reader", "/", OWNER)
    assert await numbers(busy, SINCE, "") == [6]


@pytest.mark.parametrize("top", [1, 2, 3])
async def test_pages_hold_everything_once(busy: World, top: int) -> None:
    assert await numbers(busy, SINCE, more=f"&$top={top}") == [5, 4, 3, 2, 1]
    assert await numbers(busy, f"{SINCE} and resourceGroupName eq 'web'", more=f"&$top={top}&$select=eventDataId") == [
        5,
        4,
        2,
        1,
    ]


async def test_events_that_arrive_while_paging_do_not_disturb(busy: World) -> None:
    first = await busy.get(url(SINCE, more="&$top=2"), version=V)
    await log(busy, 8)
    rest, _ = await busy.everything(first["nextLink"], version=V)
    assert [int(one["eventDataId"][:8], 16) for one in rest] == [3, 2, 1]


async def test_a_rare_event_is_found_behind_many_others(world: World) -> None:
    await log(world, 1, caller="rare")
    events = [Append(log=ACTIVITY, event=await _copy(world, number)) for number in range(2100)]
    await world.store.commit(Batch.of(*events))
    items, pages = await world.everything(url(f"{SINCE} and caller eq 'rare'"), version=V)
    assert [one["caller"] for one in items] == ["rare"]
    assert pages == 2


async def _copy(world: World, number: int) -> ActivityEvent:
    return ActivityEvent(
        id=guid(number + 0x1000),
        at=world.clock.now() + timedelta(hours=1),
        tenant_id=TENANT,
        subscription_id=SUBSCRIPTION,
        resource_id=VM,
        operation="Microsoft.Compute/virtualMachines/write",
        status=EventStatus.SUCCEEDED,
    )


# What is refused


@pytest.mark.parametrize(
    "text",
    [
        "",
        "eventTimestamp le '2026-01-01T00:00:00Z'",
        "resourceGroupName eq 'web'",
        "eventTimestamp eq '2026-01-01T00:00:00Z'",
        "eventTimestamp ge yesterday",
        "eventTimestamp ge '2026-13-01T00:00:00Z'",
        f"{SINCE} and {SINCE}",
        f"{SINCE} and color eq 'red'",
        f"{SINCE} and caller ne 'x'",
        f"{SINCE} and atScope()",
        f"{SINCE} or caller eq 'x'",
        f"{SINCE} and correlationId eq 'a' and correlationId eq 'b'",
    ],
)
async def test_filters_that_are_refused(world: World, text: str) -> None:
    with pytest.raises(Failure) as refused:
        await world.get(url(text), version=V)
    assert refused.value.kind is FailureKind.INVALID_FILTER


async def test_the_filter_is_required(world: World) -> None:
    with pytest.raises(Failure) as refused:
        await world.get(f"{SUB}/{VALUES}", version=V)
    assert refused.value.kind is FailureKind.INVALID_FILTER


@pytest.mark.parametrize("more", ["&$select=color", "&$skiptoken=eA", "&$skiptoken=LTE", "&$top=0"])
async def test_parameters_that_are_refused(world: World, more: str) -> None:
    with pytest.raises(Failure) as refused:
        await world.get(url(SINCE, more=more), version=V)
    assert refused.value.kind is FailureKind.INVALID_PARAMETER


async def test_who_may_read(world: World) -> None:
    machine = await world.principal(0x10)
    with pytest.raises(Failure) as refused:
        await world.get(url(SINCE), caller=machine, version=V)
    assert refused.value.kind is FailureKind.FORBIDDEN
    assert refused.value.data["action"] == "Microsoft.Insights/eventtypes/values/read"
    assert await world.get(url(SINCE), caller=READER, version=V) == {"value": []}
    with pytest.raises(Failure):
        await world.get(url(SINCE, ""), caller=READER, version=V)


async def test_the_log_is_read_only(world: World) -> None:
    for method in ("PUT", "POST", "DELETE"):
        with pytest.raises(Failure):
            await world.call(method, f"{SUB}/{VALUES}", {}, version=V)


# How an event looks


async def test_an_event_on_the_wire(world: World) -> None:
    await log(
        world, 1, because=guid(0x99), claims={"appid": "x", "ver": 1}, properties={"note": "n"}, client_address="10.0.0.1"
    )
    (event,) = (await world.get(url(SINCE), version=V))["value"]
    assert tuple(sorted(event)) == EVENT_MEMBERS
    assert event["authorization"] == {"action": "Microsoft.Compute/virtualMachines/write", "scope": VM}
    assert event["id"] == f"{VM}/events/{guid(1)}/ticks/639028656600000000"
    assert event["eventTimestamp"] == "2026-01-01T12:01:00.0000000Z"
    assert event["level"] == "Informational"
    assert event["resourceGroupName"] == "Web"
    assert event["resourceProviderName"]["value"] == "Microsoft.Compute"
    assert event["resourceType"]["value"] == "Microsoft.Compute/virtualMachines"
    assert event["subStatus"] == {"value": "Created", "localizedValue": "Created (HTTP Status Code: 201)"}
    assert event["claims"] == {"appid": "x", "ver": "1"}
    assert event["properties"]["note"] == "n"
    assert event["properties"]["roleAssignmentId"] == guid(0x99)
    assert event["httpRequest"]["clientIpAddress"] == "10.0.0.1"


async def test_a_refusal_names_what_denied(busy: World) -> None:
    items, _ = await busy.everything(url(f"{SINCE} and status eq 'Failed'"), version=V)
    assert items[0]["level"] == "Error"
    assert items[0]["properties"]["denyAssignmentId"] == guid(0x99)
    assert items[0]["subStatus"]["localizedValue"] == "Forbidden (HTTP Status Code: 403)"


async def test_select_shows_only_what_was_asked(busy: World) -> None:
    body = await busy.get(url(SINCE, more="&$select=eventTimestamp , OPERATIONNAME"), version=V)
    assert {tuple(sorted(one)) for one in body["value"]} == {("eventTimestamp", "operationName")}


async def test_odd_resource_ids_and_statuses_are_shown_all_the_same(world: World) -> None:
    await log(world, 1, resource_id="not an id", http_status=799)
    (event,) = (await world.get(url(SINCE), version=V))["value"]
    assert event["resourceGroupName"] == ""
    assert event["subStatus"]["localizedValue"] == "Created (HTTP Status Code: 799)"


def test_every_member_can_be_selected() -> None:
    event = ActivityEvent(
        id="i",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        tenant_id=TENANT,
        subscription_id=None,
        resource_id="/",
        operation="o",
        status=EventStatus.SUCCEEDED,
    )
    assert {frozenset(one) for one in render_event(event)} == {frozenset(EVENT_MEMBERS)}


async def test_categories_are_for_everyone(world: World) -> None:
    body = await world.get("/providers/Microsoft.Insights/eventcategories", caller=await world.principal(0x10), version=V)
    assert {"value": "Administrative", "localizedValue": "Administrative"} in body["value"]


# Pairs


async def test_an_operation_is_its_start_and_its_end(world: World) -> None:
    await log(world, 5, started_at=world.clock.now(), properties={"uri": "/u", "requestbody": "{}", "responseBody": "[]"})
    end, start = (await world.get(url(SINCE), version=V))["value"]
    assert (end["status"]["value"], start["status"]["value"]) == ("Succeeded", "Started")
    assert (end["eventName"]["value"], start["eventName"]["value"]) == ("EndRequest", "BeginRequest")
    assert end["operationId"] == start["operationId"]
    assert end["eventDataId"] == guid(5) != start["eventDataId"]
    assert (end["eventTimestamp"], start["eventTimestamp"]) == ("2026-01-01T12:05:00.0000000Z", "2026-01-01T12:00:00.0000000Z")
    assert (end["httpRequest"]["uri"], "uri" in end["properties"]) == ("/u", False)
    assert (start["properties"]["requestbody"], "responseBody" in start["properties"]) == ("{}", False)
    assert end["properties"]["responseBody"] == "[]"
    assert start["subStatus"] == {"value": "", "localizedValue": ""}
    again = (await world.get(url(SINCE), version=V))["value"]
    assert [one["id"] for one in again] == [end["id"], start["id"]]


async def test_a_start_has_not_failed_yet(world: World) -> None:
    failed = {"status": EventStatus.FAILED, "sub_status": "Conflict", "because": guid(9), "properties": {"statusMessage": "no"}}
    await log(world, 1, started_at=world.clock.now(), **failed)
    end, start = (await world.get(url(SINCE), version=V))["value"]
    assert (end["level"], start["level"]) == ("Error", "Informational")
    assert end["properties"]["statusMessage"] == "no"
    assert not {"statusMessage", "statusCode", "denyAssignmentId"} & set(start["properties"])


@pytest.mark.parametrize(
    ("more", "expected"), [("status eq 'Started'", 1), ("levels eq 'Error'", 0), ("status eq 'Failed,Started'", 1)]
)
async def test_either_half_can_be_asked_for(world: World, more: str, expected: int) -> None:
    await log(world, 1, started_at=world.clock.now())
    assert len((await world.get(url(f"{SINCE} and {more}"), version=V))["value"]) == expected


@pytest.mark.parametrize("top", [1, 2, 3, 5])
async def test_a_page_never_parts_them(world: World, top: int) -> None:
    for number in range(1, 5):
        await log(world, number, started_at=world.clock.now())
    link, seen = url(SINCE, more=f"&$top={top}"), []
    while link:
        body = await world.get(link, version=V)
        operations = [one["operationId"] for one in body["value"]]
        assert operations[::2] == operations[1::2]
        seen += operations[::2]
        link = body.get("nextLink", "")
    assert seen == [guid(0xD0 + number) for number in (4, 3, 2, 1)]


# Further filters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("operations eq 'Microsoft.Web/sites/delete, microsoft.compute/virtualmachines/WRITE'", [5, 4, 3, 1]),
        ("resourceType eq 'microsoft.web/sites'", [3]),
        ("resourceTypes eq 'Microsoft.Web/sites,Microsoft.Resources/subscriptions/resourceGroups'", [3, 2]),
        ("levels eq 'Critical,Error'", [4]),
        ("category eq 'Administrative' and eventChannels eq 'Admin'", [5, 4, 3, 2, 1]),
        ("category eq 'Policy'", []),
        (f"resourceUri eq '{VM}' and resourceGroupName eq 'Web' and caller eq '{OWNER}' and status eq 'Succeeded'", [5, 1]),
        (f"resourceUri eq '{VM}' and resourceGroupName eq 'Web2'", []),
        (f"correlationId eq '{guid(0xC3)}' and resourceGroupName eq 'Web'", []),
        (f"correlationId eq '{guid(0xC7)}'", []),
        (f"caller eq '{OWNER}' and correlationId eq '{guid(0xC7)}'", []),
    ],
)
async def test_filters_combine(busy: World, text: str, expected: list[int]) -> None:
    assert await numbers(busy, f"{SINCE} and {text}") == expected


@pytest.mark.parametrize(
    "text", ["resourceUri eq 'no id'", "resourceGroupName eq 'a/b'", "caller eq 'a' and caller eq 'b'", "status ne 'Failed'"]
)
async def test_values_that_are_refused(world: World, text: str) -> None:
    with pytest.raises(Failure) as refused:
        await world.get(url(f"{SINCE} and {text}"), version=V)
    assert refused.value.kind is FailureKind.INVALID_FILTER


async def test_a_group_at_the_tenant_holds_nothing(busy: World) -> None:
    await busy.grant(0xF9, "Reader", "/", OWNER)
    assert await numbers(busy, f"{SINCE} and resourceGroupName eq 'Web'", "") == []


async def test_the_role_that_allowed_it_is_named_while_it_is_assigned(world: World) -> None:
    await log(world, 1, because=guid(0xF2))
    await log(world, 2, because=guid(0xEE))
    gone, held = (await world.get(url(SINCE), version=V))["value"]
    assert held["authorization"]["role"] == "Reader"
    assert "role" not in gone["authorization"]


# Who reads what


async def test_a_reader_of_a_group_sees_its_events_and_no_others(busy: World) -> None:
    reader = await busy.principal(0x10)
    await busy.grant(0xFA, "Reader", GROUP, reader)

    async def seen(text: str, scope: str = SUB) -> list[int]:
        items, _ = await busy.everything(url(text, scope), caller=reader, version=V)
        return [int(one["eventDataId"][:8], 16) for one in items]

    assert await seen(f"{SINCE} and resourceGroupName eq 'web'") == [5, 4, 2, 1]
    assert await seen(f"{SINCE} and resourceUri eq '{VM}'") == [5, 4, 1]
    assert await seen(SINCE) == [5, 4, 2, 1]
    assert await seen(f"{SINCE} and correlationId eq '{guid(0xC3)}'") == []
    for text in (
        "resourceGroupName eq 'web2'",
        f"resourceUri eq '{SUB}'",
        f"resourceUri eq '/subscriptions/{OTHER_SUBSCRIPTION}'",
    ):
        with pytest.raises(Failure) as refused:
            await seen(f"{SINCE} and {text}")
        assert refused.value.kind is FailureKind.FORBIDDEN


async def test_a_group_named_beside_a_stranger_s_resource_opens_nothing(busy: World) -> None:
    reader = await busy.principal(0x10)
    await busy.grant(0xFA, "Reader", GROUP, reader)
    site = f"{SUB}/resourceGroups/Web2/providers/Microsoft.Web/sites/a"
    for text in (
        f"resourceGroupName eq 'web' and resourceUri eq '{site}'",
        f"resourceUri eq '{site}' and resourceGroupName eq 'web'",
    ):
        with pytest.raises(Failure) as refused:
            await busy.everything(url(f"{SINCE} and {text}"), caller=reader, version=V)
        assert refused.value.kind is FailureKind.FORBIDDEN


async def test_the_log_of_another_tenant_s_subscription_is_refused(busy: World) -> None:
    with pytest.raises(Failure) as refused:
        await busy.get(url(SINCE, f"/subscriptions/{OTHER_SUBSCRIPTION}"), version=V)
    assert refused.value.kind is FailureKind.TOKEN_TENANT
