"""Following the server's changes from afar: nothing is missed, and silence is not trusted for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from tests.unit.agent.agent_world import ARM, SYSTEM, VM, AgentWorld, change, settle

from idplane.agent.upstream import UpstreamResponse
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId


@asynccontextmanager
async def following(world: AgentWorld) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(world.agent.follow())
    await settle()
    yield task
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def token(world: AgentWorld) -> str:
    return (await world.agent.token(VM, None, ARM)).access_token


async def test_a_change_is_applied_when_it_arrives(world: AgentWorld) -> None:
    async with following(world):
        first = await token(world)
        world.server.feed = [change("principals", SYSTEM.principal_id, subject=SYSTEM.principal_id, position=3)]
        world.clock.advance(1)
        await settle()
        assert await token(world) != first


async def test_what_was_held_before_the_first_contact_is_dropped(world: AgentWorld) -> None:
    first = await token(world)
    async with following(world):
        assert await token(world) != first


async def test_a_short_outage_costs_nothing(world: AgentWorld) -> None:
    async with following(world):
        first = await token(world)
        world.server.down = True
        for _ in range(20):
            world.clock.advance(1)
            await settle()
        assert await token(world) == first


async def test_after_a_long_silence_nothing_is_served_from_memory(world: AgentWorld, caplog: pytest.LogCaptureFixture) -> None:
    async with following(world):
        await token(world)
        world.server.down = True
        world.server.feed = []
        world.server.position = -1  # ends the waiting request
        for _ in range(70):
            world.clock.advance(timedelta(seconds=1))
            await settle()
        with pytest.raises(Failure) as caught:
            await token(world)
        assert caught.value.kind is FailureKind.UNAVAILABLE
    assert "could not be read" in caplog.text


async def test_a_feed_that_went_back_is_not_trusted(world: AgentWorld) -> None:
    world.server.position = 100
    async with following(world):
        first = await token(world)
        world.server.position = 5  # a database restored from a backup
        world.clock.advance(1)
        await settle()
        assert await token(world) != first


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"not json", FailureKind.UNAVAILABLE),
        (200, b"[]", FailureKind.UNAVAILABLE),
        (200, b'{"id": 5}', FailureKind.UNAVAILABLE),
        (200, b"\xff\xfe", FailureKind.UNAVAILABLE),
        (500, b"{}", FailureKind.UNAVAILABLE),
        (404, b"<html>", FailureKind.UNAVAILABLE),
        (302, b"", FailureKind.UNAVAILABLE),
        (403, b'{"error":{"code":"HOST_NOT_BOUND","message":"m"}}', FailureKind.HOST_NOT_BOUND),
        (401, b'{"error":{"code":"AGENT_UNKNOWN","message":"m"}}', FailureKind.AGENT_UNKNOWN),
        (400, b'{"error":{"code":"A_KIND_OF_TOMORROW","message":"m"}}', FailureKind.UNAVAILABLE),
    ],
)
async def test_whatever_the_server_says_of_a_host_is_a_failure_of_ours(
    world: AgentWorld, status: int, body: bytes, kind: FailureKind
) -> None:
    def broken(host: ResourceId) -> UpstreamResponse:
        return UpstreamResponse(status=status, body=body)

    world.server._host = broken  # type: ignore[method-assign]  # a broken server
    with pytest.raises(Failure) as caught:
        await token(world)
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"not json", FailureKind.UNAVAILABLE),
        (200, b"{}", FailureKind.UNAVAILABLE),
        (200, b'{"access_token": 5}', FailureKind.UNAVAILABLE),
        (400, b"not json", FailureKind.UNAVAILABLE),
        (400, b'{"error": 5}', FailureKind.UNAVAILABLE),
        (500, b'{"error": "server_error"}', FailureKind.UNAVAILABLE),
        (429, b"Too Many Requests", FailureKind.THROTTLED),
        (400, b'{"error":"invalid_scope"}', FailureKind.SCOPE_INVALID),
        (400, b'{"error":"something_else"}', FailureKind.INVALID_PARAMETER),
        (400, b'{"error":"unauthorized_client","error_codes":[50105]}', FailureKind.IDENTITY_NOT_FOUND),
        (400, b'{"error":"unauthorized_client","error_codes":[[],{}]}', FailureKind.CLIENT_UNKNOWN),
    ],
)
async def test_whatever_the_token_service_says_is_a_failure_of_ours(
    world: AgentWorld, status: int, body: bytes, kind: FailureKind
) -> None:
    world.server.token_answer = UpstreamResponse(status=status, body=body)
    with pytest.raises(Failure) as caught:
        await token(world)
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (b'{"access_token":"opaque","expires_in":"3600"}', 3600),
        (b'{"access_token":"opaque","expires_in":3600}', 3600),
        (b'{"access_token":"a.b.c","expires_in":3600}', 3600),
    ],
)
async def test_an_opaque_tokens_times_are_the_answers(world: AgentWorld, answer: bytes, left: int) -> None:
    world.server.token_answer = UpstreamResponse(status=200, body=answer)
    got = await world.agent.token(VM, None, ARM)
    assert got.expires_at == world.clock.now() + timedelta(seconds=left)
    assert got.not_before == world.clock.now()
