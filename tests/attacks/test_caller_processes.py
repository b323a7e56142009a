"""Whoever is not the process that a binding means gets nothing, whatever it does with processes, users and programs."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.attacks.callers_world import PYTHON, REFUSED, SOMEBODY, SOMEBODY_ELSE, BoundHost, by_path, is_root

from idplane.testing.local import LocalPlane

pytestmark = pytest.mark.skipif(not is_root(), reason="becoming other users takes root")


@pytest.fixture
def host(idplane: LocalPlane, tmp_path: Path) -> Iterator[BoundHost]:
    tmp_path.chmod(0o755)
    with BoundHost.open(idplane, tmp_path) as one:
        yield one


def test_without_a_binding_everyone_is_served_and_recorded(host: BoundHost) -> None:
    puppet = host.puppet(uid=SOMEBODY)
    assert puppet.ask(host.port) == [200, None]
    (issued,) = host.issued()
    assert issued.workload is not None
    assert (issued.workload.pid, issued.workload.uid, issued.workload.executable) == (puppet.pid, SOMEBODY, PYTHON)
    assert issued.workload.binding is None


def test_a_bound_process_is_served_and_recorded_with_its_binding(host: BoundHost) -> None:
    host.bind("the-app", user=str(SOMEBODY), **by_path())
    puppet = host.puppet(uid=SOMEBODY)
    assert puppet.ask(host.port) == [200, None]
    (issued,) = host.issued()
    assert issued.workload is not None
    assert (issued.workload.pid, issued.workload.uid, issued.workload.binding) == (puppet.pid, SOMEBODY, "the-app")
    assert not host.refusals()


def test_the_first_binding_closes_a_host_at_once(host: BoundHost) -> None:
    puppet = host.puppet(uid=SOMEBODY)
    puppet.connect(host.port)
    assert puppet.do("c.ask()") == [200, None]
    host.bind(user=str(SOMEBODY_ELSE))
    assert puppet.do("c.ask()") == [403, REFUSED]
    host.refused_once("CALLER_NOT_BOUND")
    host.unbind()
    assert puppet.do("c.ask()") == [200, None]


def test_another_user_is_refused(host: BoundHost) -> None:
    host.bind(user=str(SOMEBODY))
    good, bad = host.puppet(uid=SOMEBODY), host.puppet(uid=SOMEBODY_ELSE)
    assert good.ask(host.port) == [200, None]
    assert bad.ask(host.port) == [403, REFUSED], "a token that is cached is no more theirs than another"
    refused = host.refused_once("CALLER_NOT_BOUND")
    assert refused.workload is not None
    assert (refused.workload.pid, refused.workload.uid) == (bad.pid, SOMEBODY_ELSE)
    assert refused.resource == "https://vault.azure.net"
    assert good.ask(host.port) == [200, None]


def test_even_root_is_refused(host: BoundHost) -> None:
    host.bind(user=str(SOMEBODY))
    assert host.puppet().ask(host.port) == [403, REFUSED]
    host.refused_once("CALLER_NOT_BOUND")


def test_users_and_groups_have_names(host: BoundHost) -> None:
    host.bind(user="root", group="root")
    assert host.puppet().ask(host.port) == [200, None]
    host.bind(user="no-such-user-here")
    assert host.puppet().ask(host.port) == [403, REFUSED]


def test_a_supplementary_group_counts(host: BoundHost) -> None:
    host.bind(group="4711")
    puppet = host.puppet()
    assert puppet.ask(host.port) == [403, REFUSED]
    puppet.do("os.setgroups([1, 4711])")
    assert puppet.ask(host.port) == [200, None]


@pytest.mark.parametrize("change", ["os.setresuid({0}, {0}, 0)", "os.setresuid(0, {0}, 0)", "os.setresuid({0}, 0, 0)"])
def test_a_process_with_several_users_is_nobody_in_particular(host: BoundHost, change: str) -> None:
    host.bind(user=str(SOMEBODY))
    host.bind("root-too", user="0")
    puppet = host.puppet()
    puppet.do(change.format(SOMEBODY))
    status, text = puppet.ask(host.port)
    assert status == 403
    assert "acts for several users" in text
    host.refused_once("CALLER_UNPROVEN")


def test_a_kept_connection_does_not_survive_a_change_of_user(host: BoundHost) -> None:
    host.bind(user="0")
    puppet = host.puppet()
    puppet.connect(host.port)
    assert puppet.do("c.ask()") == [200, None]
    puppet.do(f"become({SOMEBODY})")
    assert puppet.do("c.ask()") == [403, REFUSED]
    host.refused_once("CALLER_NOT_BOUND")


def test_root_of_a_namespace_of_its_own_is_not_root(host: BoundHost) -> None:
    host.bind(user="root")
    puppet = host.puppet(uid=SOMEBODY)
    puppet.do("enter_user_namespace()")
    assert puppet.do("os.getuid()") == 0
    assert puppet.ask(host.port) == [403, REFUSED]
    refused = host.refused_once("CALLER_NOT_BOUND")
    assert refused.workload is not None
    assert refused.workload.uid == SOMEBODY


def test_the_right_user_with_another_program_is_refused(host: BoundHost) -> None:
    host.bind(user="0", **by_path())
    other = host.copy_of_python()
    assert host.puppet().ask(host.port) == [200, None]
    assert host.puppet(program=other).ask(host.port) == [403, REFUSED]
    refused = host.refused_once("CALLER_NOT_BOUND")
    assert refused.workload is not None
    assert refused.workload.executable == other
    assert host.puppet().ask(host.port) == [200, None]


def test_content_tells_programs_apart_wherever_they_lie(host: BoundHost) -> None:
    digest = hashlib.sha256(Path(PYTHON).read_bytes()).hexdigest()
    host.bind(executable={"sha256": digest})
    assert host.puppet(program=host.copy_of_python()).ask(host.port) == [200, None]
    changed = host.copy_of_python("changed")
    with Path(changed).open("ab") as file:
        file.write(b"\0")
    assert host.puppet(program=changed).ask(host.port) == [403, REFUSED]
    host.refused_once("CALLER_NOT_BOUND")


def test_device_and_inode_are_one_file(host: BoundHost) -> None:
    found = Path(PYTHON).stat()
    host.bind(executable={"device": found.st_dev, "inode": found.st_ino})
    assert host.puppet().ask(host.port) == [200, None]
    assert host.puppet(program=host.copy_of_python()).ask(host.port) == [403, REFUSED]


def test_a_path_over_a_symbolic_link_means_nothing(host: BoundHost) -> None:
    link = host.folder / "link"
    link.symlink_to(PYTHON)
    host.bind(**by_path(str(link)))
    assert host.puppet(program=str(link)).ask(host.port) == [403, REFUSED]
    host.refused_once("CALLER_NOT_BOUND")
    (host.folder / "folder").symlink_to(Path(PYTHON).parent)
    host.bind(**by_path(str(host.folder / "folder" / Path(PYTHON).name)))
    assert host.puppet().ask(host.port) == [403, REFUSED]


def test_a_link_to_the_allowed_program_by_another_name_is_the_allowed_program(host: BoundHost) -> None:
    program = host.copy_of_python("app")
    os.link(program, host.folder / "same")
    host.bind(**by_path(program))
    assert host.puppet(program=str(host.folder / "same")).ask(host.port) == [200, None]


def test_a_file_that_was_replaced_is_another(host: BoundHost) -> None:
    program = host.copy_of_python("app")
    host.bind(**by_path(program))
    old = host.puppet(program=program)
    assert old.ask(host.port) == [200, None]
    Path(host.copy_of_python("new")).replace(program)
    assert old.ask(host.port) == [403, REFUSED]
    host.refused_once("CALLER_NOT_BOUND")
    assert host.puppet(program=program).ask(host.port) == [200, None]
    Path(program).unlink()
    assert old.ask(host.port) == [403, REFUSED]


def test_a_mount_over_the_allowed_program_in_another_namespace(host: BoundHost) -> None:
    allowed, bad = host.copy_of_python("app"), host.copy_of_python("bad")
    host.bind(**by_path(allowed))
    script = f'mount --bind {bad} {allowed} && exec "$@"'
    puppet = host.puppet("unshare", "-m", "sh", "-c", script, "sh", program=allowed)
    assert puppet.do("os.readlink('/proc/self/exe')") == allowed
    assert puppet.ask(host.port) == [403, REFUSED]
    host.refused_once("CALLER_NOT_BOUND")
    assert host.puppet(program=allowed).ask(host.port) == [200, None]


def test_a_mount_over_the_allowed_program_in_the_agents_own_namespace(host: BoundHost) -> None:
    allowed, bad = host.copy_of_python("app"), host.copy_of_python("bad")
    host.bind(**by_path(allowed))
    assert os.spawnlp(os.P_WAIT, "mount", "mount", "--bind", bad, allowed) == 0
    try:
        assert host.puppet(program=allowed).ask(host.port) == [403, REFUSED]
        host.refused_once("CALLER_NOT_BOUND")
    finally:
        host.stack.close()
        assert os.spawnlp(os.P_WAIT, "umount", "umount", allowed) == 0


def test_bindings_say_which_identities_may_be_named(host: BoundHost) -> None:
    host.bind("shared-only", identities=[host.shared.id], user=str(SOMEBODY))
    host.bind("system", identities=["SystemAssigned"], user=str(SOMEBODY_ELSE))
    one, other = host.puppet(uid=SOMEBODY), host.puppet(uid=SOMEBODY_ELSE)
    for puppet in (one, other):
        puppet.connect(host.port)
    shared = f"&client_id={host.shared.client_id}"
    assert one.do(f"c.ask({shared!r})") == [200, None]
    assert one.do("c.ask()") == [200, None], "the only identity that there is for it needs no name"
    assert other.do("c.ask()") == [200, None]
    assert other.do(f"c.ask({shared!r})") == [400, "Identity not found"], "that it exists is not theirs to know"
    assert not host.refusals()
    issued = [it.workload.binding for it in host.plane.sign_ins() if it.workload]
    assert issued == ["shared-only", "system"]


def test_several_bindings_admit_one_after_another(host: BoundHost) -> None:
    host.bind("one", user=str(SOMEBODY))
    host.bind("two", group=str(SOMEBODY_ELSE))
    for uid in (SOMEBODY, SOMEBODY_ELSE):
        assert host.puppet(uid=uid).ask(host.port) == [200, None]
    host.unbind("two")
    assert host.puppet(uid=SOMEBODY_ELSE).ask(host.port) == [403, REFUSED]


def test_ipv4_through_an_ipv6_socket_is_seen(host: BoundHost) -> None:
    """How Java connects."""
    host.bind(user=str(SOMEBODY))
    puppet = host.puppet(uid=SOMEBODY)
    puppet.connect(host.port, family=int(socket.AF_INET6), address="::ffff:127.0.0.1")
    assert puppet.do("c.ask()") == [200, None]


def test_repeated_refusals_are_one_record_and_then_a_count(host: BoundHost) -> None:
    host.bind(user=str(SOMEBODY))
    puppet = host.puppet()
    puppet.connect(host.port)
    for _ in range(5):
        assert puppet.do("c.ask()") == [403, REFUSED]
    host.refused_once("CALLER_NOT_BOUND")
    host.plane.run(host.plane._plane.agent._refusals.close())
    (counted,) = host.refusals()
    assert counted.endpoint is not None
    assert counted.endpoint.count == 4
