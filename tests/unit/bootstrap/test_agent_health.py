"""What an agent tells probes: ready while it serves, whether a server can be reached just now or not."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest
from tests.unit.agent.host_world import HostWorld, imds

from idplane.agent.process import AgentProcess
from idplane.agent.settings import EndpointTable
from idplane.bootstrap.agent_health import agent_health, serve_health, watched
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.model.dialects import Dialect
from idplane.ports.telemetry import NO_TELEMETRY
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


async def test_metrics_count_tokens_and_questions_and_tell_when_the_certificate_ends(world: HostWorld, tmp_path: Path) -> None:
    table = EndpointTable(dialect=Dialect.IMDS, port=0, env_file=str(tmp_path / "variables"))
    options = world.options(join=f"token:{world.join_token()}", endpoints=(table,))
    clock, entropy = SystemClock(), SystemEntropy()
    async with AsyncExitStack() as stack:
        watching = watched(clock, entropy, stack)
        process = await AgentProcess.open(options, clock=clock, entropy=entropy, watching=watching)
        stack.push_async_callback(process.close)
        await process.agent.turn()
        await serve_health(stack, process, str(tmp_path / "health.sock"), watching.telemetry)
        port = int(process.endpoints.open[0].where.rpartition(":")[2].strip("/"))
        for _ in range(3):
            assert (await imds(port))[0] == 200
        (token,) = {(await imds(port))[1]["access_token"]}
        text = await _asked(tmp_path / "health.sock", "/metrics")
        assert 'idplane_agent_tokens_total{dialect="imds",outcome="fetched"} 1.0' in text
        assert 'idplane_agent_tokens_total{dialect="imds",outcome="cached"} 3.0' in text
        assert 'idplane_agent_upstream_seconds_count{status="2xx"}' in text
        (left,) = (line for line in text.splitlines() if line.startswith("idplane_agent_certificate_expiry_seconds "))
        assert 0 < float(left.split()[1]) <= 90 * 86400
        assert "idplane_agent_heard_age_seconds " in text
        assert token not in text
        world.agents(process.renewal.state.agent_id, "ban")
        await process.agent.turn()
        assert (await imds(port))[0] != 200
        text = await _asked(tmp_path / "health.sock", "/metrics")
        assert 'idplane_agent_tokens_total{dialect="imds",outcome="refused"} 1.0' in text


async def test_without_the_libraries_there_are_probes_and_no_metrics(
    world: HostWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "idplane.bootstrap.telemetry", None)
    async with world.joined() as process, AsyncExitStack() as stack:
        watching = watched(SystemClock(), SystemEntropy(), stack)
        assert watching.telemetry is NO_TELEMETRY
        assert "idplane[metrics]" in caplog.text
        await serve_health(stack, process, str(tmp_path / "health.sock"), watching.telemetry)
        assert "there is /livez" in await _asked(tmp_path / "health.sock", "/metrics")
        assert '"live":true' in await _asked(tmp_path / "health.sock", "/livez")


async def _asked(path: Path, target: str) -> str:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    text = (await reader.read()).decode()
    writer.close()
    return text
