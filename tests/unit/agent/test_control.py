"""The control socket's rules, and what it says to callers that break them."""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cli.run_world import NOWHERE, VM_A, FakeAgent, FakeHosts, FakePublicNames

from idplane.agent.control import ControlServer, Peer, refusal_of
from idplane.agent.control_wire import MAX_MESSAGE, body_length, control_address, decode, encode, text
from idplane.agent.runs import Runs
from idplane.bootstrap.world import SystemClock
from idplane.model.failure import Failure, FailureKind
from idplane.testing.worlds import SeededEntropy


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Path]:
    agent = FakeAgent()
    runs = Runs(agent=agent, public=FakePublicNames(), clock=SystemClock(), entropy=SeededEntropy(), surroundings=NOWHERE)
    server = ControlServer(path=tmp_path / "control.sock", runs=runs, hosts=FakeHosts(), agent=agent)
    await server.start()
    yield tmp_path / "control.sock"
    await server.close()
    await runs.close()
    assert not (tmp_path / "control.sock").exists()


async def talk(path: Path, frame: bytes, descriptors: Sequence[int] = ()) -> dict[str, object] | None:
    """What the server says to one frame after its greeting; None if it just ends."""

    def blocking() -> dict[str, object] | None:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            assert read(client) == {"protocol": 1}
            socket.send_fds(client, [frame], list(descriptors))
            return read(client)

    return await asyncio.to_thread(blocking)


def open_nothing() -> BinaryIO:
    return Path("/dev/null").open("rb")


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def read(client: socket.socket) -> dict[str, object] | None:
    file = client.makefile("rb")
    header = file.read(4)
    if len(header) < 4:
        return None
    value: dict[str, object] = json.loads(file.read(struct.unpack(">I", header)[0]))
    file.close()
    return value


async def refused(path: Path, message: Mapping[str, object], descriptors: Sequence[int] = ()) -> tuple[object, object]:
    answer = await talk(path, encode(message), descriptors)
    assert answer is not None
    return answer["failure"], answer["detail"]


@pytest.mark.parametrize(
    ("peer", "own", "refusal"),
    [
        (Peer(pid=1, uid=1000, same_namespace=True), 1000, None),
        (Peer(pid=1, uid=0, same_namespace=True), 1000, None),
        (Peer(pid=1, uid=1001, same_namespace=True), 1000, "this plane belongs to another user"),
        (Peer(pid=1, uid=1000, same_namespace=True), 0, "this plane belongs to another user"),
        (Peer(pid=1, uid=1000, same_namespace=False), 1000, "a process inside a run or a container may not control the plane"),
        (Peer(pid=1, uid=0, same_namespace=False), 0, "a process inside a run or a container may not control the plane"),
    ],
)
def test_who_may_use_the_socket(peer: Peer, own: int, refusal: str | None) -> None:
    assert refusal_of(peer, own) == refusal


async def test_only_the_owner_may_open_the_file(control: Path) -> None:
    assert os.stat(control).st_mode & 0o777 == 0o600  # noqa: PTH116 - pathlib is not for async code


async def test_a_token_as_a_metadata_endpoint_words_it(control: Path) -> None:
    answer = await talk(control, encode({"operation": "token", "resource": str(VM_A), "audience": "https://x/"}))
    assert answer is not None
    token = answer["result"]
    assert isinstance(token, dict)
    assert list(token) == ["access_token", "client_id", "expires_in", "expires_on", "not_before", "resource", "token_type"]
    assert all(isinstance(value, str) for value in token.values())
    assert token["resource"] == "https://x/"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({}, "INVALID_PARAMETER"),
        ({"operation": 1}, "INVALID_PARAMETER"),
        ({"operation": "shutdown"}, "INVALID_PARAMETER"),
        ({"operation": "token"}, "INVALID_PARAMETER"),
        ({"operation": "token", "resource": "vm-a"}, "INVALID_PARAMETER"),
        ({"operation": "token", "resource": "nobody", "audience": "x"}, "RESOURCE_NOT_FOUND"),
        ({"operation": "token", "resource": "vm-b", "audience": "x"}, "CONFLICT"),
        ({"operation": "token", "resource": "/x", "audience": "x"}, "INVALID_RESOURCE_ID"),
        ({"operation": "token", "resource": "vm-a", "audience": "x", "client_id": "y"}, "IDENTITY_NOT_FOUND"),
        ({"operation": "token", "resource": "vm-a", "audience": "x", "client_id": "y", "object_id": "z"}, "SELECTOR_REPEATED"),
        ({"operation": "token", "resource": "vm-a", "audience": "x", "client_id": 1}, "INVALID_PARAMETER"),
        ({"operation": "revoke", "id": "none"}, "RESOURCE_NOT_FOUND"),
        ({"operation": "run", "resource": "vm-a"}, "INVALID_PARAMETER"),
        ({"operation": "run", "resource": "vm-a", "dialect": "klingon"}, "INVALID_PARAMETER"),
        ({"operation": "env", "resource": "vm-a", "dialect": 7}, "INVALID_PARAMETER"),
        ({"operation": "run", "resource": "vm-a", "descriptors": "imds"}, "INVALID_PARAMETER"),
        ({"operation": "run", "resource": "vm-a", "descriptors": ["imds"]}, "INVALID_PARAMETER"),
        ({"operation": "run", "resource": "vm-a", "descriptors": [["imds"]]}, "INVALID_PARAMETER"),
    ],
)
async def test_wrong_requests_are_refused_in_words(control: Path, message: dict[str, object], kind: str) -> None:
    failure, detail = await refused(control, message)
    assert failure == kind
    assert detail


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 50_000])
async def test_what_is_no_message_is_refused(control: Path, body: bytes) -> None:
    answer = await talk(control, struct.pack(">I", len(body)) + body)
    assert answer is not None
    assert answer["failure"] == "MALFORMED_BODY"


async def test_a_message_too_long_is_refused_before_it_is_read(control: Path) -> None:
    answer = await talk(control, struct.pack(">I", MAX_MESSAGE + 1))
    assert answer is not None
    assert answer["failure"] == "BODY_TOO_LARGE"


async def test_what_is_no_socket_is_refused_and_closed(control: Path) -> None:
    names = ["endpoint", "names_udp", "names_tcp", "https"]
    with open_nothing() as nothing:
        before = open_descriptors()
        request = {"operation": "run", "resource": "vm-a", "descriptors": names}
        for _ in range(5):
            assert await refused(control, request, [nothing.fileno()] * 4) == (
                "INVALID_PARAMETER",
                "the names_udp descriptor is no usable socket",
            )
        assert open_descriptors() <= before + 1


async def test_a_socket_of_this_machines_network_is_refused(control: Path) -> None:
    """Nobody can make the agent serve identities where the whole machine could ask."""
    with socket.create_server(("127.0.0.1", 0)) as own:
        request = {"operation": "run", "resource": "vm-a", "descriptors": ["endpoint", "names_udp", "names_tcp", "https"]}
        assert await refused(control, request, [own.fileno()] * 4) == (
            "INVALID_PARAMETER",
            "the names_udp socket is not what a run may have",
        )


async def test_too_many_descriptors_are_refused(control: Path) -> None:
    with open_nothing() as nothing:
        failure, _ = await refused(control, {"operation": "runs"}, [nothing.fileno()] * 20)
    assert failure == "INVALID_PARAMETER"


async def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    stale = tmp_path / "control.sock"
    stale.touch()
    runs = Runs(agent=FakeAgent(), public=FakePublicNames(), clock=SystemClock(), entropy=SeededEntropy(), surroundings=NOWHERE)
    server = ControlServer(path=stale, runs=runs, hosts=FakeHosts(), agent=FakeAgent())
    await server.start()
    assert await talk(stale, encode({"operation": "runs"})) == {"result": {"runs": []}}
    await server.close()


async def test_a_folder_that_takes_no_socket_is_one_sentence(tmp_path: Path) -> None:
    runs = Runs(agent=FakeAgent(), public=FakePublicNames(), clock=SystemClock(), entropy=SeededEntropy(), surroundings=NOWHERE)
    server = ControlServer(path=tmp_path / "missing" / "control.sock", runs=runs, hosts=FakeHosts(), agent=FakeAgent())
    with pytest.raises(Failure, match="no control socket can be made") as caught:
        await server.start()
    assert caught.value.kind is FailureKind.UNAVAILABLE


def test_long_paths_go_by_the_folders_descriptor() -> None:
    assert control_address(Path("/data/control.sock"), 7) == "/data/control.sock"
    assert control_address(Path("/" + "x" * 200 + "/control.sock"), 7) == "/proc/self/fd/7/control.sock"


async def test_long_paths_work(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    runs = Runs(agent=FakeAgent(), public=FakePublicNames(), clock=SystemClock(), entropy=SeededEntropy(), surroundings=NOWHERE)
    server = ControlServer(path=folder / "control.sock", runs=runs, hosts=FakeHosts(), agent=FakeAgent())
    await server.start()
    descriptor = os.open(folder, os.O_RDONLY)
    path = Path(control_address(folder / "control.sock", descriptor))
    assert await talk(path, encode({"operation": "runs"})) == {"result": {"runs": []}}
    os.close(descriptor)
    await server.close()


@given(
    st.dictionaries(st.text(max_size=20), st.one_of(st.text(max_size=20), st.integers(), st.booleans(), st.none()), max_size=5)
)
def test_frames_round_trip(message: dict[str, object]) -> None:
    frame = encode(message)
    assert body_length(frame[:4]) == len(frame) - 4
    assert decode(frame[4:]) == message


@given(st.binary(max_size=200))
def test_decoding_raises_failures_only(body: bytes) -> None:
    with contextlib.suppress(Failure):
        decode(body)


def test_a_frame_too_long_is_not_sent() -> None:
    with pytest.raises(Failure):
        encode({"x": "y" * MAX_MESSAGE})


def test_members_that_are_no_text() -> None:
    with pytest.raises(Failure, match="'name' must be a text"):
        text({"name": 1}, "name")
