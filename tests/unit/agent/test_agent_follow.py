"""Following the server's changes from afar: nothing is missed, what is held serves through silence, and a refused agent serves nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.agent.agent_world import ARM, SYSTEM, VM, AgentWorld, change, get, settle, token_target

from idplane.agent.upstream import UpstreamResponse
from idplane.agent.workload_identity import ProjectedToken, Projection, TokenFiles
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


async def through(world: AgentWorld, seconds: float, *, steps: int = 60) -> None:
    """Let time pass, in steps that let whoever wakes do something."""
    for _ in range(steps):
        world.clock.advance(seconds / steps)
        await settle()


async def test_through_silence_tokens_serve_until_they_expire_and_never_after(
    world: AgentWorld, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(world):
        first = await token(world)
        world.server.down = True
        await through(world, 3590)
        assert await token(world) == first
        world.clock.advance(11)
        with pytest.raises(Failure) as caught:
            await token(world)
        assert caught.value.kind is FailureKind.UNAVAILABLE
    assert caplog.text.count("could not be read") == 1


async def test_after_silence_the_agent_is_caught_up_with_what_it_missed(world: AgentWorld) -> None:
    async with following(world):
        first = await token(world)
        world.server.down = True
        await through(world, 600)
        world.server.feed = [change("principals", SYSTEM.principal_id, subject=SYSTEM.principal_id, position=3)]
        world.server.position = 3
        world.server.down = False
        await through(world, 20)
        assert world.agent.condition.position == 3
        assert world.agent.condition.problem is None
        assert await token(world) != first


async def test_a_server_that_answers_somebody_is_asked_for_changes_at_once(world: AgentWorld) -> None:
    async with following(world):
        await token(world)
        world.server.down = True
        await through(world, 600)
        world.server.down = False
        asked = world.server.count("/agent/v1/changes")
        await world.agent.token(VM, None, "https://vault.azure.net")
        world.agent._source.forget()
        await world.agent.description(VM)
        await through(world, 0.5)
        assert world.server.count("/agent/v1/changes") > asked


async def test_where_the_server_no_longer_has_what_was_missed_nothing_is_trusted(world: AgentWorld) -> None:
    async with following(world):
        first = await token(world)
        descriptions = world.server.count("/agent/v1/host")
        world.server.position, world.server.reset = 9000, True
        await through(world, 5)
        assert await token(world) != first
        assert world.server.count("/agent/v1/host") == descriptions + 1


async def test_asking_again_is_spread_and_bounded(world: AgentWorld) -> None:
    async with following(world):
        world.server.down = True
        await through(world, 2)
        before = world.server.count("/agent/v1/changes")
        await through(world, 600, steps=2400)
        asked = world.server.count("/agent/v1/changes") - before
        assert 60 <= asked <= 240  # on average half of the longest pause lies between two


@pytest.mark.parametrize("code", ["AGENT_UNKNOWN", "AGENT_BANNED", "AGENT_LOCKED"])
async def test_a_refused_agent_drops_everything_and_serves_nothing(
    world: AgentWorld, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    address = await world.imds()
    async with following(world):
        await token(world)
        world.server.banned = code
        await through(world, 2)
        assert world.agent.cached_tokens == 0
        assert len(world.agent._source._credentials) == 0
        asked = world.server.token_requests
        answer = await world.ask(address, get(token_target()))
        assert (answer.status, answer.json["error"]) == (503, "service_unavailable")
        assert world.server.token_requests == asked
        assert world.agent.condition.refused is not None
        assert "refuses this agent" in caplog.text


async def test_a_refused_agent_asks_again_slowly_and_serves_when_it_is_taken_back(world: AgentWorld) -> None:
    async with following(world):
        first = await token(world)
        world.server.banned = "AGENT_BANNED"
        await through(world, 2)
        before = world.server.count("/agent/v1/changes")
        await through(world, 600)
        assert world.server.count("/agent/v1/changes") - before <= 40
        world.server.banned = None
        await through(world, 120)
        assert world.agent.condition.refused is None
        assert await token(world) != first


async def test_a_refusal_takes_workloads_own_tokens_away(world: AgentWorld, tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    now = world.clock.now()
    made = ProjectedToken(token="t", issuer="i", subject="s", tenant_id="t", issued_at=now, expires_at=now + timedelta(hours=1))

    async def issue(_: Projection, /) -> ProjectedToken:
        if world.server.banned is not None:
            raise Failure(FailureKind.AGENT_UNKNOWN, "no")
        return made

    world.agent.token_files = TokenFiles(issue=issue, clock=world.clock)
    try:
        async with following(world):
            await world.agent.token_files.open(Projection(host=VM), folder)
            assert [*os.scandir(folder)]
            world.server.banned = "AGENT_LOCKED"
            await through(world, 2)
            assert not [*os.scandir(folder)]
            world.server.banned = None
            await through(world, 180)
            assert [*os.scandir(folder)]
    finally:
        await world.agent.token_files.close()
        os.close(folder)


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
