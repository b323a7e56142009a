"""Agents and servers of different versions: an old agent with today's server, and today's agent with an old server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.server_world import free_port
from tests.stories.planes import Up
from tests.upgrade.agents_world import ARM, SERVED, Agent, Machine, claims, until
from tests.upgrade.programs import TODAY, Earlier, Program, declared

pytestmark = pytest.mark.wide


class Pair:
    """A server of one version and agents of whichever on one machine; at most one agent at a time."""

    def __init__(self, folder: Path, server: Program) -> None:
        self._server = server
        self._options = ("--port", str(free_port()), "--no-rates")
        self._data = folder / "plane"
        self.up = self._start(server)
        self.machine = Machine(folder, self.up)
        self.agent: Agent | None = None

    def run(self, program: Program, *, joins: bool = False) -> Agent:
        """This version of the agent instead of the one that runs."""
        if self.agent is not None:
            self.agent.stop()
        self.agent = self.machine.agent(program, joins=joins)
        return self.agent

    def serve(self, server: Program) -> None:
        """This version of the server instead of the one that runs."""
        assert self.up.stop() == 0
        self.up = self.machine.up = self._start(server)

    def close(self) -> None:
        if self.agent is not None:
            self.agent.process.kill()
            self.agent.process.communicate()
        self.up.kill()

    def _start(self, server: Program) -> Up:
        return Up(self._data, *self._options, program=server.command, environment=server.environment)


@pytest.fixture(params=["an old agent", "an old server"])
def versions(request: pytest.FixtureRequest, earlier: Earlier, name: str) -> tuple[Program, Program]:
    """Of the server and of the agent."""
    return (TODAY, earlier(name)) if request.param == "an old agent" else (earlier(name), TODAY)


@pytest.fixture
def pair(versions: tuple[Program, Program], tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path, versions[0])
    yield made
    made.close()


@pytest.mark.parametrize("name", declared("agents"))
def test_it_joins_serves_renews_and_is_refused(pair: Pair, versions: tuple[Program, Program]) -> None:
    machine, (server, program) = pair.machine, versions
    agent = pair.run(program, joins=True)
    tokens = machine.served()
    assert set(tokens) == {one.value for one in SERVED}
    assert {claims(one)["oid"] for one in tokens.values()} == {machine.principal_id}
    assert claims(machine.projected())["sub"].lower() == machine.id.lower()

    # The other version goes on with the same folder, and back.
    other = pair.run(TODAY if program is not TODAY else server)
    assert other.info["agentId"] == agent.info["agentId"]
    assert other.imds()[0] == 200

    # Half of its life is over.
    assert not machine.shown().get("renewedAt")
    other.stop()
    pair.agent = None
    machine.age()
    agent = pair.run(program)
    until(lambda: machine.shown().get("renewedAt"), "the certificate is renewed")
    assert agent.imds()[0] == 200

    before = agent.imds(ARM)[1]["access_token"]
    assert machine.accepts(before)
    machine.cli("revoke", machine.principal_id)
    assert not machine.accepts(before)
    until(lambda: agent.imds(ARM)[1].get("access_token", before) != before, "what was revoked is dropped")
    assert machine.accepts(agent.imds(ARM)[1]["access_token"])

    machine.cli("agents", "ban", agent.info["agentId"])
    until(lambda: agent.imds()[0] != 200, "a banned agent serves nothing")
    assert agent.imds("https://graph.microsoft.com")[0] != 200
    assert machine.shown()["state"].lower() == "banned"


@pytest.mark.parametrize("name", declared("agents"))
def test_it_goes_on_when_its_server_changes_version(pair: Pair, versions: tuple[Program, Program]) -> None:
    """Enrolled by one version, served by the other and back: same agent, same enrollment, same folder."""
    server, program = versions
    agent = pair.run(program, joins=True)
    assert agent.imds()[0] == 200
    for one in (TODAY if server is not TODAY else program, server):
        pair.serve(one)
        until(lambda: agent.imds("https://graph.microsoft.com")[0] == 200, "the agent finds the server again")
        assert pair.machine.shown()["state"].lower() == "active"
    pair.machine.manage("DELETE", pair.machine.id)
    until(lambda: agent.imds()[0] != 200, "a deleted machine gets nothing")
