"""What an agent tells probes: ready while it serves, whether a server can be reached just now or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest
from tests.unit.agent.host_world import HostWorld

from idplane.bootstrap.agent_health import agent_health, serve_health
from idplane.testing.local import LocalPlane


@pytest.fixture(scope="module")
def plane() -> Iterator[LocalPlane]:
    with closing(LocalPlane()) as made:
        yield made


@pytest.fixture
def world(plane: LocalPlane, tmp_path: Path) -> HostWorld:
    return HostWorld(plane, plane.virtual_machine("vm"), tmp_path)


async def test_an_agent_is_ready_once_it_was_heard_and_until_it_is_refused(world: HostWorld) -> None:
    async with world.joined() as process:
        health = agent_health(process)
        assert not (await health._ask()).ready
        await process.agent.turn()
        assert (await health._ask()).ready
        process.agent.condition.problem = "no server can be reached"
        assert (await health._ask()).ready
        world.agents(process.renewal.state.agent_id, "ban")
        await process.agent.turn()
        report = await health._ask()
        assert report.checks["accepted"] == "the servers refuse this agent"


async def test_probes_are_answered_on_a_socket_of_their_own(world: HostWorld, tmp_path: Path) -> None:
    async with world.joined() as process, AsyncExitStack() as stack:
        await serve_health(stack, process, str(tmp_path / "health.sock"))
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "health.sock"))
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert head.split()[1] == b"503"
        assert json.loads(body)["checks"]["connected"]["ok"] is False


async def test_an_address_that_is_none_is_told(world: HostWorld) -> None:
    async with world.joined() as process, AsyncExitStack() as stack:
        with pytest.raises(ValueError, match=r"health.listen must be like"):
            await serve_health(stack, process, "everywhere")
