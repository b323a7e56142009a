"""What the kernel's socket tables and this machine's files tell, for sockets and files of the test's own."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from idplane.agent.bindings import ProcessFacts
from idplane.agent.lookups import MachineLookups
from idplane.agent.processes import Births, Mark, holders, inherited, read_process
from idplane.agent.sockets import SocketTables, is_elsewhere, is_tables_socket

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tables are Linux's")
SOCK_DIAG = 4


@pytest.fixture
def tables() -> Iterator[SocketTables]:
    one = SocketTables.here()
    yield one
    one.close()


@pytest.mark.parametrize(
    ("listener", "address", "client", "target"),
    [
        (socket.AF_INET, "127.0.0.1", socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "127.0.0.1", socket.AF_INET6, "::ffff:127.0.0.1"),
        (socket.AF_INET6, "::1", socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::", socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET6, "::", socket.AF_INET6, "::ffff:127.0.0.1"),
    ],
)
def test_the_clients_socket_is_found_until_it_is_closed(
    tables: SocketTables, listener: socket.AddressFamily, address: str, client: socket.AddressFamily, target: str
) -> None:
    with socket.socket(listener) as server, socket.socket(client) as peer:
        if listener == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind((address, 0))
        server.listen()
        peer.connect((target, server.getsockname()[1]))
        accepted, _ = server.accept()
        with accepted:
            found = tables.client(accepted)
            assert found is not None
            assert (found.inode, found.uid) == (os.fstat(peer.fileno()).st_ino, os.getuid())
            assert tables.client(accepted) == found
            peer.shutdown(socket.SHUT_WR)
            assert tables.client(accepted) == found, "it may still wait for an answer"
            peer.close()
            assert tables.client(accepted) is None


def test_what_is_not_connected_has_no_client(tables: SocketTables) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert tables.client(server) is None
    assert tables.client(server) is None
    tables.close()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        server.accept()[0] as accepted,
    ):
        assert tables.client(accepted) is None


def test_only_a_socket_for_the_tables_is_taken_for_one() -> None:
    with socket.socket() as beside, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, SOCK_DIAG) as right:
            assert is_tables_socket(right, beside)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0) as routes:
            assert not is_tables_socket(routes, beside)
        assert not is_tables_socket(datagrams, beside)
        assert not is_elsewhere(beside, unknown=True)


def test_all_descriptors_of_a_socket_lead_to_its_holder() -> None:
    births = Births()
    with socket.socket() as one, socket.socket() as other:
        inodes = [os.fstat(it.fileno()).st_ino for it in (one, other)]
        found = holders(inodes, births)
        assert {it.pid for inode in inodes for it in found[inode]} == {os.getpid()}
        assert inherited([os.getpid()], inodes[0], [])
        assert not inherited([os.getpid()], inodes[0], [os.getpid()]), "a thread of the holder is the holder"
        assert not inherited([2**22 + 1], inodes[0], [])
    births.close()
    assert births.last() is None
    assert not inherited([os.getpid()], inodes[0], [])


@pytest.fixture
def lookups() -> MachineLookups:
    return MachineLookups()


def own() -> ProcessFacts:
    facts, mark = read_process(os.getpid(), None)
    assert mark.stands()
    return facts


def test_this_process_is_known() -> None:
    facts = own()
    executed = Path(sys.executable).resolve()
    assert (facts.uid, facts.gid, facts.groups) == (os.getuid(), os.getgid(), frozenset(os.getgroups()))
    assert (facts.executable.path, facts.executable.inode) == (str(executed), executed.stat().st_ino)
    assert Mark(facts, None).stands()


def test_a_file_is_found_by_its_plain_path_only(lookups: MachineLookups, tmp_path: Path) -> None:
    folder = tmp_path.resolve() / "folder"
    folder.mkdir()
    file = folder / "file"
    file.write_bytes(b"x")
    (folder / "link").symlink_to(file)
    (tmp_path / "linked").symlink_to(folder)
    found = file.stat()
    assert lookups.file_at(str(file)) == (found.st_dev, found.st_ino)
    for path in (
        folder / "link",
        tmp_path / "linked" / "file",
        folder,
        folder / "missing",
        f"{folder}/../folder/file",
        f"{folder}//file",
        f"{folder}/./file",
        f"{file}/",
        "relative",
        "",
        "/",
        f"{file}\0",
        "/dev/null",
        f"/proc/{os.getpid()}/exe",
    ):
        assert lookups.file_at(str(path)) is None, path


def test_content_is_read_of_what_is_executed(lookups: MachineLookups) -> None:
    facts = own()
    digest = hashlib.sha256(Path(sys.executable).resolve().read_bytes()).hexdigest()
    assert lookups.digest(facts) == lookups.digest(facts) == digest


def test_users_and_groups_by_name(lookups: MachineLookups) -> None:
    assert (lookups.user("root"), lookups.group("root")) == (0, 0)
    for name in ("no-such-name-here", "", "a\0b", "x" * 5000):
        assert lookups.user(name) is None
        assert lookups.group(name) is None
