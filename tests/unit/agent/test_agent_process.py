"""An agent of its own: it joins once, goes on as who it was, renews, and drops everything when it is refused."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.agent.host_world import HostWorld, imds

from idplane.agent.process import AgentProcess, JoinProblem, Refused
from idplane.agent.serving import EndpointProblem
from idplane.agent.settings import EndpointTable
from idplane.agent.state import StateDamaged, StateProblem, load_state
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.jose import parse
from idplane.model.dialects import Dialect
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.testing.local import LocalPlane


@pytest.fixture(scope="module")
def plane() -> Iterator[LocalPlane]:
    with closing(LocalPlane()) as made:
        yield made


@pytest.fixture
def world(plane: LocalPlane, tmp_path: Path) -> HostWorld:
    """A machine of its own, not yet a host."""
    return HostWorld(plane, plane.virtual_machine(f"vm-{tmp_path.name.replace('_', '-')[-40:]}"), tmp_path)


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[HostWorld]:
    """On a plane whose clock the test may move."""
    with closing(LocalPlane()) as made:
        yield HostWorld(made, made.virtual_machine("stock-vm"), tmp_path)


def endpoint(dialect: Dialect, folder: Path, **more: object) -> EndpointTable:
    return EndpointTable(dialect=dialect, env_file=str(folder / f"{dialect.value}.env"), **more)  # type: ignore[arg-type]  # as settings give them


def port_of(process: AgentProcess, dialect: Dialect) -> int:
    [where] = [one.where for one in process.endpoints.open if one.dialect is dialect]
    return int(where.rpartition(":")[2])


async def half_way(process: AgentProcess) -> None:
    """Renew as at half life. The clock stays: TLS judges certificates by the real time, in which a successor of tomorrow is not valid yet."""
    process.renewal._due = process.clock.now()
    await process.renewal.turn()


def kept(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


async def test_a_host_joins_and_serves(world: HostWorld, tmp_path: Path) -> None:
    async with world.joined(endpoints=(endpoint(Dialect.IMDS, tmp_path),)) as process:
        assert process.status()["joinedBy"] == "token"
        status, answer = await imds(port_of(process, Dialect.IMDS))
        assert status == 200
        assert world.vm.identity is not None
        assert parse(answer["access_token"]).claims["oid"] == world.vm.identity.principal_id


async def test_nothing_but_the_agents_own_state_is_kept(world: HostWorld, tmp_path: Path) -> None:
    secret = world.join_token()
    shown = secret.read_text().strip()
    async with world.agent(join=f"token:{secret}") as process:
        token = await world.token(process)
        assert kept(tmp_path / "agent") == {"agent.json", "lock", "control.sock", "plane.json"}
    assert kept(tmp_path / "agent") == {"agent.json", "lock"}
    content = b"".join(one.read_bytes() for one in (tmp_path / "agent").iterdir()).decode()
    assert shown not in content
    assert token[:40] not in content
    assert content.count("PRIVATE KEY") == 2


async def test_an_agent_goes_on_as_who_it_was_without_its_proof(world: HostWorld) -> None:
    async with world.joined() as process:
        first = process.status()["agentId"]
    (world.folder / "join-token").unlink()
    async with world.agent() as process:
        assert process.status()["agentId"] == first
        assert await world.token(process)


async def test_a_host_that_never_joined_says_what_it_needs(world: HostWorld) -> None:
    with pytest.raises(JoinProblem, match="say how it proves what it is with --join"):
        async with world.agent():
            pass
    assert kept(world.folder / "agent") == {"lock"}


async def test_a_join_token_is_good_for_one_host(world: HostWorld) -> None:
    secret = world.join_token()
    async with world.agent(join=f"token:{secret}"):
        pass
    with pytest.raises(JoinProblem, match="this host can't join"):
        async with world.agent("other", join=f"token:{secret}"):
            pass
    assert kept(world.folder / "other") == {"lock"}


async def test_damage_is_not_mended_with_a_proof_that_is_spent(world: HostWorld) -> None:
    async with world.joined():
        pass
    (world.folder / "agent" / "agent.json").write_text("{")
    with pytest.raises(StateDamaged, match="remove it and join again"):
        async with world.agent(join=f"token:{world.folder / 'join-token'}"):
            pass


async def test_one_process_runs_on_a_folder(world: HostWorld) -> None:
    async with world.joined():
        with pytest.raises(StateProblem, match="is already running"):
            async with world.agent():
                pass


async def test_the_certificate_is_renewed_at_half_life_under_a_new_key(world: HostWorld) -> None:
    async with world.joined() as process:
        await process.agent.turn()
        before = process.renewal.state
        await process.renewal.turn()
        assert process.renewal.state.certificate == before.certificate  # not due yet
        due = process.renewal._due
        assert 0.5 <= (due - before.not_before) / (before.not_after - before.not_before) <= 0.6
        await half_way(process)
        after = process.renewal.state
        assert after.agent_id == before.agent_id
        assert after.certificate != before.certificate
        assert after.private_key.private_numbers() != before.private_key.private_numbers()
        assert await world.token(process)
        found = load_state(world.folder / "agent")
        assert found is not None
        assert found.certificate == after.certificate
    async with world.agent() as process:
        assert await world.token(process)


async def test_who_is_killed_between_writing_a_successor_and_using_it_goes_on_with_it(world: HostWorld) -> None:
    async with world.joined() as process:
        before = process.renewal.state

        async def killed(*_: object) -> None:
            raise Failure(FailureKind.UNAVAILABLE, "killed")

        process.agent.become = killed  # type: ignore[assignment]  # as far as a process that is killed here gets
        await half_way(process)
        assert process.renewal.state is before
    async with world.agent() as process:
        assert process.renewal.state.certificate != before.certificate
        await process.agent.turn()
        assert process.agent.condition.heard_at is not None
        assert process.agent.condition.refused is None


async def test_a_copy_of_the_state_locks_host_and_copy(world: HostWorld) -> None:
    async with world.joined() as process:
        shutil.copytree(world.folder / "agent", world.folder / "copy", ignore=shutil.ignore_patterns("*.sock"))
        await half_way(process)
        await process.agent.turn()
        (world.folder / "copy").chmod(0o700)
        async with world.agent("copy") as copy:
            await copy.agent.turn()
            assert copy.agent.condition.refused is not None
            assert copy.agent.condition.refused.kind is FailureKind.AGENT_LOCKED
        await process.agent.turn()
        assert process.agent.condition.refused is not None
        with pytest.raises(Failure):
            await world.token(process)


async def test_who_was_away_for_too_long_has_to_join_again(lone: HostWorld) -> None:
    async with lone.joined():
        pass
    lone.plane.clock.advance(timedelta(days=400))
    async with lone.agent() as process:
        await process.agent.turn()
        assert process.agent.condition.refused is not None
        await process.renewal.turn()
        with pytest.raises(Failure) as caught:
            await lone.token(process)
        assert caught.value.kind is FailureKind.AGENT_UNKNOWN


async def test_who_can_prove_itself_again_joins_again_when_its_certificate_has_run_out(world: HostWorld) -> None:
    async with world.agent(join=world.host_key()) as process:
        before = process.renewal.state
        assert before.method == "ssh"
        process.renewal.state = replace(before, not_after=process.clock.now())
        await process.renewal.turn()
        assert process.renewal.state.certificate != before.certificate
        await process.agent.turn()
        assert process.agent.condition.problem is None
        assert await world.token(process)


async def test_who_was_removed_and_can_prove_itself_again_joins_again(world: HostWorld) -> None:
    async with world.agent(join=world.host_key()) as process:
        await process.agent.turn()
        first = process.renewal.state.agent_id
        world.remove(first)
        await process.agent.turn()
        assert process.status()["refused"]
        await process.renewal.turn()
        assert process.renewal.state.agent_id != first
        await process.agent.turn()
        assert not process.status()["refused"]
        assert await world.token(process)


async def test_who_is_banned_does_not_get_in_by_joining_again(world: HostWorld) -> None:
    join = world.host_key()
    async with world.agent(join=join) as process:
        await process.agent.turn()
        world.agents(process.renewal.state.agent_id, "ban")
        await process.agent.turn()
        before = process.renewal.state
        await process.renewal.turn()
        assert process.renewal.state is before
    with pytest.raises(JoinProblem, match="can't join"):
        async with world.agent("again", join=join):
            pass


async def test_damage_is_mended_with_a_proof_that_can_be_given_again(
    world: HostWorld, caplog: pytest.LogCaptureFixture
) -> None:
    join = world.host_key()
    async with world.agent(join=join):
        pass
    (world.folder / "agent" / "agent.json").write_text("{")
    async with world.agent(join=join) as process:
        assert await world.token(process)
    assert "is damaged; this host joins again" in caplog.text


async def test_a_ban_ends_everything_and_an_end_of_it_begins_anew(world: HostWorld, tmp_path: Path) -> None:
    async with world.joined(endpoints=(endpoint(Dialect.IMDS, tmp_path),)) as process:
        port = port_of(process, Dialect.IMDS)
        await process.agent.turn()
        first = (await imds(port))[1]["access_token"]
        agent_id = process.renewal.state.agent_id
        world.agents(agent_id, "ban")
        await process.agent.turn()
        assert process.status()["refused"]
        assert process.agent.cached_tokens == 0
        status, answer = await imds(port)
        assert (status, answer["error"]) == (503, "service_unavailable")
        world.agents(agent_id, "unban")
        await process.agent.turn()
        status, answer = await imds(port)
        assert status == 200
        assert answer["access_token"] != first


async def test_a_ban_reaches_an_agent_that_waits_for_news(world: HostWorld) -> None:
    async with world.joined() as process:
        await process.agent.turn()
        waiting = asyncio.ensure_future(process.agent.turn())
        await asyncio.to_thread(world.agents, process.renewal.state.agent_id, "ban")
        await waiting
        if process.agent.condition.refused is None:  # told of what came before; the next question is refused
            await process.agent.turn()
        assert process.agent.condition.refused is not None


async def test_a_refused_agent_may_end(world: HostWorld) -> None:
    async with world.joined() as process:
        object.__setattr__(process._options, "ends_when_refused", True)
        world.agents(process.renewal.state.agent_id, "ban")
        with pytest.raises(Refused, match="refuse this agent"):
            await asyncio.wait_for(process.run(), 30)


async def test_a_clock_that_is_wrong_costs_nothing(lone: HostWorld) -> None:
    async with lone.joined() as process:
        await process.agent.turn()
        for jump in (timedelta(minutes=10), timedelta(minutes=-20)):
            lone.plane.clock.advance(jump)
            await process.agent.description(ResourceId.parse(lone.vm.id))
            assert await lone.token(process)
            process.agent._source.forget()
        assert process.clock.corrected >= 2


async def test_every_endpoint_of_the_settings_is_open_with_its_variables(world: HostWorld, tmp_path: Path) -> None:
    dialects = [one for one in Dialect if one not in {Dialect.ARC, Dialect.WORKLOAD_IDENTITY}]
    tables = tuple(endpoint(one, tmp_path, secret_file=str(tmp_path / f"{one.value}.secret")) for one in dialects)
    async with world.joined(endpoints=tables) as process:
        await asyncio.gather(*process.endpoints._tasks)
        assert {one.dialect for one in process.endpoints.open} == set(dialects)
        secret = (tmp_path / "app-service.secret").read_text().strip()
    assert (tmp_path / "app-service.env").stat().st_mode & 0o777 == 0o640
    assert f"IDENTITY_HEADER={secret}\n" in (tmp_path / "app-service.env").read_text()
    assert "IDENTITY_SERVER_THUMBPRINT=" in (tmp_path / "service-fabric.env").read_text()
    async with world.agent(endpoints=tables):
        assert f"IDENTITY_HEADER={secret}\n" in (tmp_path / "app-service.env").read_text()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (EndpointTable(dialect=Dialect.IMDS, address="192.0.2.7", port=80), "ip addr add 192.0.2.7/32 dev lo"),
        (EndpointTable(dialect=Dialect.IMDS, port=1, env_file="/nowhere/x.env"), "/nowhere/x.env can't be written"),
        (EndpointTable(dialect=Dialect.IMDS, port=0, secret_file="/nowhere/x"), "/nowhere/x can't be written"),
    ],
)
async def test_an_endpoint_that_cannot_be_is_told_in_one_sentence(world: HostWorld, table: EndpointTable, words: str) -> None:
    with pytest.raises(EndpointProblem, match=words):
        async with world.joined(endpoints=(table,)):
            pass


async def test_a_port_that_is_taken_is_told(world: HostWorld) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        table = EndpointTable(dialect=Dialect.IMDS, port=taken.getsockname()[1])
        with pytest.raises(EndpointProblem, match="is taken by another program"):
            async with world.joined(endpoints=(table,)):
                pass


async def test_an_agent_starts_while_the_servers_are_away(world: HostWorld, tmp_path: Path) -> None:
    async with world.joined():
        pass
    silent = socket.create_server(("127.0.0.1", 0))
    options = world.options(endpoints=(endpoint(Dialect.IMDS, tmp_path),))
    dead = type(options.servers[0])(host="localhost", port=silent.getsockname()[1])
    silent.close()
    object.__setattr__(options, "servers", (dead,))
    process = await AgentProcess.open(options, clock=SystemClock(), entropy=SystemEntropy())
    try:
        await process.agent.turn()
        assert "no server can be reached" in str(process.status()["problem"])
        assert (await imds(port_of(process, Dialect.IMDS)))[0] == 503
    finally:
        await process.close()


async def test_commands_find_the_agent_as_they_find_a_plane(world: HostWorld) -> None:
    async with world.joined():
        document = json.loads((world.folder / "agent" / "plane.json").read_bytes())
        assert document["authority"] == world.plane.url
        assert document["tenant_id"] == world.plane.tenant_id
        assert document["ca_file"] == str(world.ca_file)
