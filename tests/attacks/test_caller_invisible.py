"""Callers of whom the kernel tells this agent too little: refused where there are bindings, served where there are none."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from tests.attacks.callers_world import SOMEBODY, SOMEBODY_ELSE, Puppet, is_root
from tests.unit.agent.agent_world import VM, AgentWorld

from idplane.agent.endpoint import Endpoint
from idplane.agent.host import Dialect
from idplane.agent.peers import Process
from idplane.agent.processes import Births, holders, read_process
from idplane.model.failure import Failure, FailureKind

pytestmark = pytest.mark.skipif(not is_root(), reason="becoming other users takes root")


@pytest.fixture
async def world() -> AsyncIterator[AgentWorld]:
    world = AgentWorld.make()
    yield world
    await world.close()


def bound(world: AgentWorld, **processes: object) -> AgentWorld:
    world.server.bindings[VM.key] = [{"name": "only", "identities": [], "processes": processes}]
    return world


def as_user(uid: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do something in a process of a user without privileges; what it raises is its exit code and its last words."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            asyncio.run(work())
            code = 0
        except BaseException as error:  # noqa: BLE001 - a child of a test run must end here, whatever happens
            os.write(2, repr(error).encode())
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_agent_without_privileges_cannot_tell_other_users() -> None:
    puppet = Puppet(uid=SOMEBODY)

    async def agent() -> None:
        world = bound(AgentWorld.make(), user=str(SOMEBODY))
        _, port = await world.imds()
        status, text = await asyncio.to_thread(puppet.ask, port)
        assert status == 403, text
        assert "no process that this agent may look into" in text
        await world.agent._refusals.close()
        (told,) = world.server.refusals
        assert told["reason"] == "CALLER_UNPROVEN"
        assert told["workload"]["uid"] == SOMEBODY
        world.server.bindings.clear()
        world.agent._source.forget()
        assert await asyncio.to_thread(puppet.ask, port) == [200, None]
        await world.close()

    try:
        as_user(SOMEBODY_ELSE, agent)
    finally:
        puppet.end()


def test_an_agent_without_privileges_tells_processes_of_its_own_user() -> None:
    puppet = Puppet(uid=SOMEBODY)

    async def agent() -> None:
        world = bound(AgentWorld.make(), user=str(SOMEBODY))
        _, port = await world.imds()
        assert await asyncio.to_thread(puppet.ask, port) == [200, None]
        puppet.do("ctypes.CDLL(None).prctl(4, 0)")  # PR_SET_DUMPABLE
        status, _ = await asyncio.to_thread(puppet.ask, port)
        assert status == 403
        await world.close()

    try:
        as_user(SOMEBODY, agent)
    finally:
        puppet.end()


async def test_a_run_whose_network_tells_nothing(world: AgentWorld) -> None:
    """The same addresses may exist on this machine, and belong to somebody else."""
    bound(world, user="0")
    child, parent = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        assert ctypes.CDLL(None).unshare(0x4000_0000) == 0  # CLONE_NEWNET
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        socket.send_fds(child, [b"x"], [sock.fileno()])
        child.recv(1)
        os._exit(0)
    try:
        _, (descriptor,), _, _ = socket.recv_fds(parent, 1, 1)
        listening = await world.agent.listen(socket.socket(fileno=descriptor), host=VM, dialect=Dialect.IMDS, run_id="r")
        (served,) = world.agent._listening
        handler = served._handler
        assert isinstance(handler, Endpoint)
        place = handler._listener.place
        assert place.own_network
        assert place.tables is None
        await listening.close()
    finally:
        parent.send(b"x")
        await asyncio.to_thread(os.waitpid, pid, 0)
        child.close()
        parent.close()


async def test_over_the_control_socket_the_process_is_told_and_judged(world: AgentWorld) -> None:
    bound(world, user=str(SOMEBODY))
    good, bad = Puppet(uid=SOMEBODY), Puppet()
    try:
        answer = await world.agent.token(VM, None, "r", _process(good))
        assert answer.access_token
        for process in (_process(bad), None):
            with pytest.raises(Failure) as caught:
                await world.agent.token(VM, None, "r", process)
            expected = FailureKind.CALLER_NOT_BOUND if process else FailureKind.CALLER_UNPROVEN
            assert caught.value.kind is expected
    finally:
        good.end()
        bad.end()
    await world.agent._refusals.close()
    assert [(it["reason"], it["dialect"]) for it in world.server.refusals] == [
        ("CALLER_NOT_BOUND", "control"),
        ("CALLER_UNPROVEN", "control"),
    ]


def _process(puppet: Puppet) -> Process:
    return Process(pid=puppet.pid, descriptor=os.pidfd_open(puppet.pid))


def test_a_process_that_ends_between_two_steps_is_nobody() -> None:
    """Its number may be another's already: what is read there is thrown away."""
    first, second = Puppet(), Puppet()
    try:
        pid, pidfd = first.pid, os.pidfd_open(first.pid)
        first.end()
        with pytest.raises(Failure, match="gone"):
            read_process(second.pid, None, pidfd)
        with pytest.raises(Failure):
            read_process(pid, None)
        os.close(pidfd)
    finally:
        second.end()


def test_a_process_that_lost_the_connection_between_two_steps_is_nobody() -> None:
    puppet = Puppet()
    server = socket.create_server(("127.0.0.1", 0))
    try:
        puppet.connect(server.getsockname()[1])
        inode = int(puppet.do("os.fstat(c.socket.fileno()).st_ino"))
        (holder,) = holders([inode], Births())[inode]
        assert holder.pid == puppet.pid
        puppet.do("!c.socket.close()")
        with pytest.raises(Failure):
            read_process(holder.pid, (holder.link, inode))
        assert holders([inode], Births()) == {}
    finally:
        server.close()
        puppet.end()
