"""Runs without processes: names, limits, and that nothing stays open."""

import os
import socket
from pathlib import Path

import pytest
from tests.unit.cli.run_world import NOWHERE, TWIN, VM_A, VM_B, FakeAgent, FakePublicNames, FakeServing

from idplane.agent.network import NamespaceHandles, Network, pasta_command, slirp4netns_command
from idplane.agent.runs import Isolation, NamespaceSockets, Process, PublicNames, Runs, choose_host
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.testing.worlds import FakeClock, SeededEntropy


def runs_with(agent: FakeAgent, public: PublicNames | None = None) -> Runs:
    return Runs(
        agent=agent,
        public=public or FakePublicNames(),
        clock=FakeClock(),
        entropy=SeededEntropy(),
        surroundings=NOWHERE,
        network=Network(find=lambda _: None),
    )


def sockets() -> NamespaceSockets:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.setblocking(False)
    tcp = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    return NamespaceSockets(endpoint=tcp[0], names_udp=udp, names_tcp=tcp[1], https=tcp[2], plane=tcp[3])


def myself() -> Process:
    return Process(pid=os.getpid(), descriptor=os.pidfd_open(os.getpid()))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class RefusingNames(FakePublicNames):
    async def open(self, https: socket.socket, plane: socket.socket | None, /) -> FakeServing:
        raise Failure(FailureKind.UNAVAILABLE, f"no listener today on {https.fileno() and plane and 'these'}")


def test_a_unique_name_is_enough() -> None:
    assert choose_host("vm-a", [VM_A, VM_A]) == VM_A


def test_no_resource_of_that_name() -> None:
    with pytest.raises(Failure, match="there is no resource named 'x'") as caught:
        choose_host("x", [])
    assert caught.value.kind is FailureKind.RESOURCE_NOT_FOUND


def test_candidates_are_named() -> None:
    with pytest.raises(Failure) as caught:
        choose_host("vm-b", [TWIN, VM_B])
    assert caught.value.detail.endswith(f"use a full id: {VM_B}, {TWIN}")


def test_many_candidates_are_counted() -> None:
    many = [ResourceId.parse(str(VM_A).replace("/one/", f"/group-{number:02}/")) for number in range(25)]
    with pytest.raises(Failure, match="and 15 more"):
        choose_host("vm-a", many)


async def test_a_namespace_run_serves_and_ends_whole() -> None:
    agent = FakeAgent()
    runs = runs_with(agent)
    before = open_descriptors()
    opened = await runs.open_namespace(VM_A, sockets(), myself(), None)
    assert opened.authority is not None
    assert runs.listing() == (opened.run,)
    await runs.close()
    assert runs.listing() == ()
    assert not agent.open[0].is_open()
    assert open_descriptors() <= before + 1  # the datagram transport's socket goes with the next turn of the loop


async def test_a_run_that_cannot_open_leaves_nothing() -> None:
    agent = FakeAgent()
    runs = runs_with(agent, RefusingNames())
    taken = sockets()
    process = myself()
    with pytest.raises(Failure, match="no listener today"):
        await runs.open_namespace(VM_A, taken, process, None)
    assert runs.listing() == ()
    assert not agent.open[0].is_open()
    assert taken.endpoint is not None
    assert taken.endpoint.fileno() == taken.https.fileno() == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(process.descriptor)


async def test_a_network_that_cannot_be_had_is_refused_in_one_sentence() -> None:
    runs = runs_with(FakeAgent())
    with pytest.raises(Failure, match=r"pasta .* or slirp4netns") as caught:
        await runs.open_namespace(VM_A, sockets(), myself(), NamespaceHandles(user=0, network=0))
    assert caught.value.kind is FailureKind.UNAVAILABLE


async def test_variables_last_until_revoked() -> None:
    agent = FakeAgent()
    runs = runs_with(agent)
    opened = await runs.open_environment(VM_A, None)
    assert opened.variables["IDENTITY_ENDPOINT"].startswith("http://127.0.0.1:")
    assert len(opened.variables["IDENTITY_HEADER"]) == 64
    assert (opened.run.isolation, opened.run.pid) == (Isolation.ENVIRONMENT, None)
    await runs.revoke(opened.run.id)
    assert not agent.open[0].is_open()
    with pytest.raises(Failure, match="there is no run"):
        await runs.revoke(opened.run.id)


async def test_secrets_are_not_shown() -> None:
    runs = runs_with(FakeAgent())
    opened = await runs.open_environment(VM_A, None)
    assert opened.variables["IDENTITY_HEADER"] not in repr(opened)
    await runs.close()


async def test_runs_are_limited() -> None:
    runs = runs_with(FakeAgent())
    for _ in range(512):
        await runs.open_environment(VM_A, None)
    with pytest.raises(Failure) as caught:
        await runs.open_environment(VM_A, None)
    assert caught.value.kind is FailureKind.LIMIT_EXCEEDED
    await runs.close()


def test_network_programs_get_namespaces_and_no_way_back_to_this_machine() -> None:
    handles = NamespaceHandles(user=7, network=8)
    slirp = slirp4netns_command("slirp4netns", handles, ready=9, end=10)
    assert {"--disable-host-loopback", "--userns-path=/proc/self/fd/7", "/proc/self/fd/8"} <= set(slirp)
    pasta = pasta_command("pasta", handles, ready=9)
    assert "--no-map-gw" in pasta
    assert pasta.count("none") == 4


async def test_a_network_program_that_fails_is_reported() -> None:
    nothing = os.open("/dev/null", os.O_RDONLY)
    for program in ("slirp4netns", "pasta"):
        network = Network(find={program: "/bin/false"}.get)
        with pytest.raises(Failure, match="could not be started: the program ended without a word"):
            await network.connect(NamespaceHandles(user=nothing, network=nothing))
    os.close(nothing)
