from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.providers.management_world import CONTRIBUTOR, OTHER_TENANT, OWNER, READER, TENANT, World, guid
from tests.unit.providers.people_world import ADA, EVE, OFF, open_directory

from idplane.model.failure import Failure, FailureKind
from idplane.model.user_sessions import DeviceCode, DeviceCodeState, fingerprint, user_code_key
from idplane.ports.collections import ACTIVITY, DEVICE_CODES
from idplane.providers.device_codes import DEVICE_CODES_TYPE

CODE = "BCDFGHJKL"
OTHER_OWNER = guid(9)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    opened = await open_directory()
    await opened.grant(0x24, "Owner", "/", OTHER_OWNER, tenant=OTHER_TENANT)
    yield opened
    await opened.store.close()


async def wait(world: World, code: str = CODE, tenant: str | None = None) -> None:
    now = world.clock.now()
    made = DeviceCode(
        id=fingerprint(f"device {code}"),
        user_code=user_code_key(code),
        client_id="cli",
        client_name="The CLI",
        scope="https://management.azure.com//.default openid",
        tenant_id=tenant,
        created_at=now,
        expires_at=now + timedelta(minutes=15),
        client_address="192.0.2.7",
    )
    await world.add(DEVICE_CODES, made)


async def send(world: World, word: str, code: str = CODE, body: object = None, *, caller: str = OWNER) -> Any:
    path = f"/providers/{DEVICE_CODES_TYPE}/{code}/{word}"
    answer: Any = (await world.call("POST", path, body or {}, caller=caller, version="2026-11-01")).body
    return answer["properties"]


async def refusal(
    world: World, word: str = "approve", code: str = CODE, body: object = None, *, caller: str = OWNER
) -> FailureKind:
    with pytest.raises(Failure) as raised:
        await send(world, word, code, body, caller=caller)
    return raised.value.kind


async def stored(world: World) -> DeviceCode:
    return (await world.store.all(DEVICE_CODES))[0].value


async def test_what_is_asked_for_is_shown_before_anything_is_decided(world: World) -> None:
    await wait(world)
    shown = await send(world, "show")
    assert (shown["clientName"], shown["clientAddress"], shown["state"]) == ("The CLI", "192.0.2.7", "pending")
    assert "management.azure.com" in shown["scope"]
    assert (await stored(world)).state is DeviceCodeState.PENDING


@pytest.mark.parametrize("user", [None, ADA, ADA.upper(), "ada@home.example", "ADA@home.example"])
async def test_approving(world: World, user: str | None) -> None:
    await wait(world)
    answer = await send(world, "approve", body=None if user is None else {"user": user})
    assert (answer["user"], answer["userId"], answer["state"]) == ("ada@home.example", ADA, "approved")
    found = await stored(world)
    assert (found.principal_id, found.tenant_id, found.decided_by) == (ADA, TENANT, OWNER)


@pytest.mark.parametrize("typed", ["bcdfghjkl", "BCDF-GHJKL", "bcd-fgh-jkl"])
async def test_a_code_as_people_type_it(world: World, typed: str) -> None:
    await wait(world)
    assert (await send(world, "approve", typed))["state"] == "approved"


async def test_denying(world: World) -> None:
    await wait(world)
    assert (await send(world, "deny"))["state"] == "denied"
    found = await stored(world)
    assert (found.principal_id, found.decided_by) == (None, OWNER)


@pytest.mark.parametrize("first", ["approve", "deny"])
@pytest.mark.parametrize("second", ["show", "approve", "deny"])
async def test_what_was_decided_stays_decided(world: World, first: str, second: str) -> None:
    await wait(world)
    await send(world, first)
    before = await stored(world)
    assert await refusal(world, second) is FailureKind.DEVICE_CODE_UNKNOWN
    assert await stored(world) == before


async def test_an_expired_code(world: World) -> None:
    await wait(world)
    world.clock.advance(timedelta(minutes=15))
    assert await refusal(world) is FailureKind.DEVICE_CODE_UNKNOWN


async def test_another_tenant_s_request(world: World) -> None:
    await wait(world, tenant=OTHER_TENANT)
    assert await refusal(world) is FailureKind.DEVICE_CODE_UNKNOWN
    assert await refusal(world, caller=OTHER_OWNER, body={"user": ADA}) is FailureKind.INVALID_PARAMETER
    assert (await send(world, "approve", body={"user": EVE}, caller=OTHER_OWNER))["userId"] == EVE


@pytest.mark.parametrize("user", ["", "nobody@home.example", EVE, "eve@home.example", OFF, OWNER, guid(0x99)])
async def test_only_a_user_who_may_sign_in(world: World, user: str) -> None:
    await wait(world)
    assert await refusal(world, body={"user": user}) is FailureKind.INVALID_PARAMETER
    assert (await stored(world)).state is DeviceCodeState.PENDING


@pytest.mark.parametrize("word", ["show", "approve", "deny"])
@pytest.mark.parametrize("caller", [CONTRIBUTOR, READER])
async def test_approving_needs_what_giving_access_needs(world: World, word: str, caller: str) -> None:
    """A Contributor may do any action, but who could sign in as an Owner would be one."""
    await wait(world)
    assert await refusal(world, word, caller=caller) is FailureKind.FORBIDDEN
    assert (await stored(world)).state is DeviceCodeState.PENDING


async def test_each_try_is_in_the_log(world: World) -> None:
    await wait(world)
    await refusal(world, caller=CONTRIBUTOR)
    await refusal(world, code="WRONGCODE")
    await send(world, "approve")
    events = [row.event for row in reversed(await world.store.read_log(ACTIVITY))]
    assert [(one.caller_id, one.http_status) for one in events] == [(CONTRIBUTOR, 403), (OWNER, 400), (OWNER, 200)]
    assert {one.operation for one in events} == {f"{DEVICE_CODES_TYPE}/approve/action"}


async def test_guessing_ends_soon(world: World) -> None:
    await wait(world)
    for number in range(10):
        assert await refusal(world, "show", f"WRONG{number}") is FailureKind.DEVICE_CODE_UNKNOWN
    assert await refusal(world) is FailureKind.THROTTLED
    # Others are not in the guesser's way, and a minute without tries lifts it.
    await world.grant(0x25, "Owner", "/", READER)
    assert (await send(world, "show", caller=READER))["state"] == "pending"
    world.clock.advance(timedelta(minutes=1, seconds=1))
    assert (await send(world, "approve"))["state"] == "approved"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_there_is_nothing_to_read_or_write(world: World, method: str) -> None:
    with pytest.raises(Failure) as raised:
        await world.call(method, f"/providers/{DEVICE_CODES_TYPE}/{CODE}", version="2026-11-01")
    assert raised.value.kind is FailureKind.METHOD_NOT_ALLOWED
