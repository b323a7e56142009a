"""A connection that is handed on, in every order of connecting, asking, forking, executing and passing descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.attacks.callers_world import (
    NOT_ALL,
    PYTHON,
    REFUSED,
    SOMEBODY,
    SOMEBODY_ELSE,
    BoundHost,
    Puppet,
    by_path,
    is_root,
)

from idplane.testing.local import LocalPlane

pytestmark = pytest.mark.skipif(not is_root(), reason="becoming other users takes root")


@pytest.fixture
def host(idplane: LocalPlane, tmp_path: Path) -> Iterator[BoundHost]:
    tmp_path.chmod(0o755)
    with BoundHost.open(idplane, tmp_path) as one:
        yield one


@pytest.fixture
def other(host: BoundHost) -> str:
    """A program that no binding means."""
    return host.copy_of_python("bad")


FORK_AND_BECOME = """!
def fork_and_become(path):
    ready, done = os.pipe()
    os.set_inheritable(done, True)
    child = os.fork()
    if child == 0:
        # The connection stays open in it; it says so by the pipe, and waits for its end, which comes by itself at last.
        os.execv(path, [path, "-I", "-S", "-c", f"import os, signal; os.write({done}, b'x'); signal.alarm(60); signal.pause()"])
    os.close(done)
    os.read(ready, 1)
    os.close(ready)
    return child
"""


def define(puppet: Puppet, code: str) -> None:
    """Give it a function."""
    puppet.do("!exec(" + repr(code.removeprefix("!").strip()) + ", globals())")


def test_connect_fork_exec_before_the_first_request(host: BoundHost, other: str) -> None:
    """The one whose binding it is has the connection, and so has the one who made it and asks."""
    host.bind(**by_path())
    bad = host.puppet(program=other)
    define(bad, FORK_AND_BECOME)
    bad.connect(host.port)
    child = bad.do(f"fork_and_become({PYTHON!r})")
    assert bad.do("c.ask()") == [403, NOT_ALL]
    host.refused_once("CALLER_NOT_BOUND")
    os.kill(child, 9)
    bad.do(f"os.waitpid({child}, 0)[0]")
    assert bad.do("c.ask()") == [403, REFUSED]
    assert host.puppet().ask(host.port) == [200, None]


def test_connect_ask_fork_exec(host: BoundHost, other: str) -> None:
    host.bind(**by_path())
    good = host.puppet()
    define(good, FORK_AND_BECOME)
    good.connect(host.port)
    assert good.do("c.ask()") == [200, None]
    child = good.do(f"fork_and_become({other!r})")
    assert good.do("c.ask()") == [403, NOT_ALL], "it might be the child that asks"
    host.refused_once("CALLER_NOT_BOUND")
    os.kill(child, 9)
    good.do(f"os.waitpid({child}, 0)[0]")
    assert good.do("c.ask()") == [200, None], "the connection is its own again"


def test_connect_ask_exec(host: BoundHost, other: str) -> None:
    """No process is born, and the pid stays."""
    host.bind(**by_path())
    puppet = host.puppet()
    puppet.connect(host.port)
    assert puppet.do("c.ask()") == [200, None]
    puppet.execute(other, host.port)
    assert puppet.do("c.ask()") == [403, REFUSED]
    host.refused_once("CALLER_NOT_BOUND")
    puppet.execute(PYTHON, host.port)
    assert puppet.do("c.ask()") == [200, None]


def test_connect_exec_ask(host: BoundHost, other: str) -> None:
    host.bind(**by_path())
    puppet = host.puppet()
    puppet.connect(host.port)
    puppet.execute(other, host.port)
    assert puppet.do("c.ask()") == [403, REFUSED]
    host.refused_once("CALLER_NOT_BOUND")


def test_a_request_that_was_sent_before_exec_is_judged_by_who_holds_the_connection(host: BoundHost, other: str) -> None:
    """Half of the request comes from the program that is meant, the rest from another."""
    host.bind(**by_path())
    puppet = host.puppet()
    puppet.connect(host.port)
    puppet.do("c.socket.sendall(REQUEST.format(more='', port=c.port).encode()[:-2])")
    puppet.execute(other, host.port)
    puppet.do(r"c.socket.sendall(b'\r\n')")
    assert puppet.do("c.receive()") == [403, REFUSED]
    host.refused_once("CALLER_NOT_BOUND")


def test_a_child_that_goes_on_with_the_connection_alone(host: BoundHost, other: str) -> None:
    """Fork; the parent ends; the child becomes another program, and the connection is as warm as ever."""
    host.bind(**by_path())
    puppet = host.puppet()
    puppet.connect(host.port)
    assert puppet.do("c.ask()") == [200, None]
    puppet.do("!if os.fork(): os._exit(0)")
    puppet.execute(other, host.port)
    assert puppet.do("c.ask()") == [403, REFUSED]
    host.refused_once("CALLER_NOT_BOUND")


def test_a_chain_of_children_does_not_outrun_the_search(host: BoundHost, other: str) -> None:
    """Each holder forks the next and ends, so that none of them is there when its turn to be looked at comes."""
    host.bind(**by_path())
    puppet = host.puppet(program=other)
    puppet.connect(host.port)
    define(
        puppet,
        """!
def run():
    for _ in range(1000):
        if os.fork():
            os._exit(0)
""",
    )
    define(puppet, FORK_AND_BECOME)
    puppet.do(f"fork_and_become({PYTHON!r})")
    puppet.do("c.send()")
    puppet.do("!run()")
    status, _ = puppet.do("c.receive()")
    assert status == 403


def test_a_descriptor_that_is_passed_to_another_user(host: BoundHost) -> None:
    host.bind(user=str(SOMEBODY))
    good, bad = host.puppet(uid=SOMEBODY), host.puppet(uid=SOMEBODY_ELSE)
    meeting = f"\0{host.folder}"
    bad.do(f"!u = expect({meeting!r})")
    good.connect(host.port)
    assert good.do("c.ask()") == [200, None]
    good.do(f"!hand_over({meeting!r}, c.socket.fileno()); c.socket.close()")
    bad.do(f"!c = Connection({host.port}, accept(u))")
    assert bad.do("c.ask()") == [403, REFUSED], "nothing was born, and yet the holder is another"
    refused = host.refused_once("CALLER_NOT_BOUND")
    assert refused.workload is not None
    assert refused.workload.uid == SOMEBODY_ELSE
    assert good.ask(host.port) == [200, None]


def test_a_descriptor_that_is_shared_with_another_user(host: BoundHost) -> None:
    host.bind(user=str(SOMEBODY))
    good, bad = host.puppet(uid=SOMEBODY), host.puppet(uid=SOMEBODY_ELSE)
    meeting = f"\0{host.folder}"
    bad.do(f"!u = expect({meeting!r})")
    good.connect(host.port)
    good.do(f"!hand_over({meeting!r}, c.socket.fileno())")
    bad.do(f"!c = Connection({host.port}, accept(u))")
    for one in (bad, good):
        assert one.do("c.ask()") == [403, NOT_ALL]
    host.refused_once("CALLER_NOT_BOUND")
    bad.do("!c.socket.close()")
    assert good.do("c.ask()") == [200, None]


def test_what_one_holder_may_see_the_next_may_not(host: BoundHost) -> None:
    """Both are admitted, to different identities, and the connection goes from one to the other and back."""
    host.bind("shared", identities=[host.shared.id], user=str(SOMEBODY))
    host.bind("system", identities=["SystemAssigned"], user="0")
    puppet, shared = host.puppet(), f"&client_id={host.shared.client_id}"
    puppet.connect(host.port)
    assert puppet.do("c.ask()") == [200, None]
    assert puppet.do(f"c.ask({shared!r})") == [400, "Identity not found"]
    puppet.do(f"become({SOMEBODY})")
    assert puppet.do(f"c.ask({shared!r})") == [200, None]
    assert host.machine.identity is not None
    system = f"&object_id={host.machine.identity.principal_id}"
    assert puppet.do(f"c.ask({system!r})") == [400, "Identity not found"]


def test_a_thread_with_descriptors_of_its_own_is_seen(host: BoundHost, other: str) -> None:
    """The program that is meant holds the connection, and one thread of another, whose first thread has closed it."""
    host.bind(**by_path())
    bad = host.puppet(program=other)
    define(
        bad,
        """!
import threading
def hide(path):
    ready, go, answers = threading.Event(), threading.Event(), []
    def ask():
        assert ctypes.CDLL(None, use_errno=True).unshare(0x400) == 0  # CLONE_FILES
        ready.set()
        go.wait()
        answers.append(c.ask())
    thread = threading.Thread(target=ask)
    thread.start()
    ready.wait()
    fork_and_become(path)
    os.close(c.socket.fileno())
    go.set()
    thread.join()
    c.socket.detach()
    return answers[0]
""",
    )
    define(bad, FORK_AND_BECOME)
    bad.connect(host.port)
    assert bad.do(f"hide({PYTHON!r})") == [403, NOT_ALL]
    host.refused_once("CALLER_NOT_BOUND")


def test_a_pid_that_is_used_again(host: BoundHost, other: str) -> None:
    """The process that was proved ends; one of its heirs gets its number, another program, and the warm connection."""
    host.bind(**by_path())
    puppet = host.puppet()
    puppet.connect(host.port)
    assert puppet.do("c.ask()") == [200, None]
    define(
        puppet,
        """!
import time
def reincarnate():
    old = os.getpid()
    if os.fork():
        os._exit(0)
    while os.path.exists(f"/proc/{old}"):
        os.sched_yield()
    for _ in range(10_000):  # other tests start processes meanwhile, which may get the number first
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(old - 1))
        child = os.fork()
        if child == 0:
            if os.getpid() == old:
                return
            os._exit(0)
        if child == old:
            os._exit(0)
        os.waitpid(child, 0)
    raise AssertionError("the number was not given out again")
""",
    )
    pid = puppet.pid
    puppet.tell("reincarnate()")
    puppet.process.wait()
    puppet.heard()
    assert puppet.pid == pid
    assert puppet.do("c.ask()") == [200, None], "the same program may go on"
    puppet.execute(other, host.port)
    assert puppet.pid == pid
    assert puppet.do("c.ask()") == [403, REFUSED]
    host.refused_once("CALLER_NOT_BOUND")


def test_a_connection_that_no_process_holds(host: BoundHost) -> None:
    """The client is gone, and what is left of the connection is the kernel's; the next one is served."""
    host.bind(user="0")
    puppet = host.puppet()
    puppet.connect(host.port)
    puppet.do("c.send()")
    puppet.do("!c.socket.close()")
    assert puppet.ask(host.port) == [200, None]
