"""What is refused before it is known who asks: counted, and on record once a minute; and what is not, because it is on record already."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest
from tests.attacks.joining import JoinWorld, join_world
from tests.attacks.table import met_by

from idplane.audit.refused import MOST_ADDRESSES, REFUSED
from idplane.model.calls import Call
from idplane.model.enrollments import JoinMethod
from idplane.model.events import ActivityEvent, EventStatus
from idplane.model.failure import Failure, FailureKind
from idplane.model.rates import STRANGERS_RECORDS
from idplane.ports.collections import ACTIVITY, SIGN_INS
from idplane.ports.store import Batch

BAD, FORM = "198.51.100.7", {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def world() -> AsyncIterator[JoinWorld]:
    async with join_world() as world:
        yield world


async def told(world: JoinWorld) -> list[ActivityEvent]:
    """The records of the minute that ends now."""
    before = len(await world.store.read_log(ACTIVITY, limit=1000))
    await world.servers[0].refused.turn()
    records = await world.store.read_log(ACTIVITY, limit=1000)
    events = [one.event for one in records[: len(records) - before]]
    assert all(one.operation == REFUSED for one in events)
    return events


async def test_a_minute_of_one_address_is_one_record(world: JoinWorld) -> None:
    first = await world.send("POST", "/agent/v1/enrollments", b"[]", address=BAD)
    for _ in range(30):
        await world.send("POST", "/agent/v1/enrollments", b'{"method":"token","csr":"!","evidence":{}}', address=BAD)
        await world.send("GET", "/subscriptions", None, {"Authorization": "Bearer nonsense"}, address=BAD)
    (event,) = await told(world)
    assert (event.status, event.sub_status, event.http_status) == (EventStatus.FAILED, "MALFORMED_BODY", 400)
    assert event.operation_id == first.body["error"]["requestId"]
    assert (event.client_address, event.properties["count"]) == (BAD, "61")
    reasons = "agents CSR_INVALID: 30, management TOKEN_INVALID: 30, agents MALFORMED_BODY: 1"
    assert event.properties["reasons"] == reasons
    assert await told(world) == []


async def test_many_addresses_share_a_record(world: JoinWorld) -> None:
    for number in range(100):
        await world.send("POST", "/agent/v1/challenges", b"", address=f"192.0.2.{number}")
    events = await told(world)
    assert len(events) == MOST_ADDRESSES + 1
    assert sum(int(str(one.properties["count"])) for one in events) == 100
    assert {str(one.properties["address"]) for one in events} >= {"192.0.2.0", "elsewhere"}


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("nowhere", "an unknown address"),
        (None, "an unknown address"),
    ],
)
async def test_an_ipv6_network_is_one_address(world: JoinWorld, address: str | None, network: str) -> None:
    assert Call(request_id="", correlation_id="", received_at=world.clock.now(), client_address=address).network == network


async def test_what_cannot_be_written_is_told_later(world: JoinWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.send("POST", "/agent/v1/challenges", b"", address=BAD)
    commit = type(world.store).commit

    async def away(_store: object, _batch: Batch) -> int:
        await world.send("POST", "/agent/v1/challenges", b"", address=BAD)
        raise Failure(FailureKind.UNAVAILABLE, "away")

    monkeypatch.setattr(type(world.store), "commit", away)
    with pytest.raises(Failure):
        await world.servers[0].refused.turn()
    monkeypatch.setattr(type(world.store), "commit", commit)
    (event,) = await told(world)
    assert event.properties["count"] == "2"


@pytest.mark.parametrize(
    ("method", "path", "headers", "reason"),
    [
        ("POST", "/agent/v1/challenges", {"Content-Type": "text/plain"}, "agents UNSUPPORTED_MEDIA_TYPE"),
        ("GET", "/agent/v1/host?id=x", {}, "agents AGENT_UNKNOWN"),
        ("POST", "/nobody/oauth2/token", FORM, "authority TENANT_NOT_FOUND"),
        ("POST", "/common/oauth2/v2.0/token", {**FORM, "Content-Type": "x/y"}, "authority UNSUPPORTED_MEDIA_TYPE"),
        ("GET", "/subscriptions/..%2f..%2fetc", {}, "management INVALID_PARAMETER"),
        ("GET", "/v1.0/users", {"Host": "evil.example"}, "graph FOREIGN_HOST"),
        ("GET", "/v1.0/users", {"Authorization": "Bearer x.y.z"}, "graph TOKEN_INVALID"),
        ("GET", "/secrets/../x", {"Host": "stock.vault.localhost"}, "vault INVALID_PARAMETER"),
        ("GET", f"/log/checkpoint?{'a' * 20_000}", {}, "log URI_TOO_LONG"),
    ],
)
async def test_every_surface_is_watched(world: JoinWorld, method: str, path: str, headers: dict[str, str], reason: str) -> None:
    sent = {name: value for name, value in headers.items() if name != "Host"}
    answer = await world.send(method, path, b"", sent, address=BAD, host=headers.get("Host", "localhost"))
    assert answer.status >= 400
    (event,) = await told(world)
    assert event.properties["reasons"] == f"{reason}: 1"
    assert path not in str(event.properties), "a stranger's text"


@pytest.mark.parametrize("path", ["x/../y", "x%2fy", "x%2F..%2Fy", "x%5Cy", "x\\y", "x/./y", "x%00", "x%0a"])
@pytest.mark.parametrize("surface", ["/agent/v1/", "/subscriptions/", "/v1.0/", "/common/"])
async def test_paths_that_play_tricks(world: JoinWorld, surface: str, path: str) -> None:
    answer = await world.send("GET", f"{surface}{path}", address=BAD)
    assert answer.status == 400
    (event,) = await told(world)
    met_by("path-url", answer=f"{answer.status} {event.sub_status}", record="activity log, counted: requests/refuse/action")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/subscriptions"),
        ("GET", "/favicon.ico"),
        ("GET", "/agent/v1/enrollments"),
    ],
)
async def test_what_the_best_of_clients_are_told_is_no_record(world: JoinWorld, method: str, path: str) -> None:
    assert (await world.send(method, path, address=BAD)).status in (401, 404, 405)
    assert await told(world) == []


async def test_what_is_on_record_is_not_counted_as_well(world: JoinWorld) -> None:
    assert (await world.join(JoinMethod.TOKEN, {"token": "x"}, address=BAD)).status == 403
    assert await wrong_secret(world) == 401
    assert await told(world) == []


async def test_who_proves_nothing_cannot_fill_the_logs(world: JoinWorld) -> None:
    most, beyond = STRANGERS_RECORDS.address.most, 20
    assert [await wrong_secret(world) for _ in range(most + beyond)] == [401] * (most + beyond)
    assert [(await world.join(JoinMethod.TOKEN, {"token": "x"}, address=BAD)).status for _ in range(most + beyond)].count(403)
    assert len(await world.store.read_log(SIGN_INS, limit=1000)) == most
    assert len(await world.store.read_log(ACTIVITY, limit=1000)) == most
    (event,) = await told(world)
    assert event.properties["reasons"] == f"authority CLIENT_SECRET_INVALID: {beyond}, agents ENROLLMENT_REFUSED: {beyond}"
    assert await wrong_secret(world, "192.0.2.9") == 401
    assert len(await world.store.read_log(SIGN_INS, limit=1000)) == most + 1, "others are heard as before"


async def wrong_secret(world: JoinWorld, address: str = BAD) -> int:
    tenant, client = world.servers[0].installation.tenant.id, world.system.client_id
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": "wrong", "scope": "x/.default"}
    path = f"/{tenant}/oauth2/v2.0/token"
    return (await world.send("POST", path, urlencode(form).encode(), FORM, address=address)).status
