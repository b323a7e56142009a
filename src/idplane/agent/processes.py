"""Processes as `/proc` tells of them: who holds a socket, and what can be known of each holder. Linux only; everything here blocks.

A pid says nothing by itself, since it may be another process' a moment later. So facts are read through one open folder of `/proc`,
which stays that process' own, between two looks at a pidfd (pidfd_open(2)) and at what might have changed meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import select
import stat
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from idplane.agent.bindings import Executable, ProcessFacts, cgroup_of
from idplane.model.failure import Failure, FailureKind

__all__ = ["Births", "Holder", "Mark", "descends", "has_ended", "holders", "inherited", "read_process", "unproven"]

_MAX_NEWBORN = 4096
_MAX_ROUNDS = 64
_MAX_INHERITED = 256
"""Descriptors of a new process that are looked at while others wait."""
_MAX_ANCESTORS = 256
_STARTED_FIELD = 19
"""Of `/proc/PID/stat`, counted from behind the name (proc_pid_stat(5): field 22)."""
_PARENT_FIELD = 1
_ALL_IDS = 0xFFFFFFFF
_OWN_LINKS = 2
"""Links of a folder that holds no other one."""
_MACHINE_CGROUPS = 0xEFFFFFFB
"""Inode of the first cgroup namespace (include/linux/proc_ns.h: PROC_CGROUP_INIT_INO)."""
_KCMP = MappingProxyType({"x86_64": 312, "aarch64": 272, "riscv64": 272})
_KCMP_FILES = 2


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a socket."""

    pid: int
    link: str
    """Below its folder in `/proc`, the link to the socket."""


@dataclass(frozen=True, slots=True)
class _Fingerprint:
    """What changes when a process becomes another program or another user, or ends."""

    executable: tuple[int, int]
    owner: tuple[int, int]


class Mark:
    """What a process was and held when it was looked at, for a later look that takes some microseconds.

    It says nothing about which process has the pid: that none was born since must be known from elsewhere.
    """

    __slots__ = ("_fingerprint", "_folder", "_link", "_target")

    def __init__(self, process: ProcessFacts, link: tuple[str, int] | None) -> None:
        self._folder = f"/proc/{process.pid}"
        self._link = f"{self._folder}/{link[0]}" if link else None
        self._target = f"socket:[{link[1]}]" if link else ""
        self._fingerprint = self._now()
        if (process.executable.device, process.executable.inode) != self._fingerprint.executable:
            raise unproven("the process changed while it was looked at")

    def stands(self) -> bool:
        """Whether all is as it was."""
        try:
            return self._now() == self._fingerprint and (self._link is None or os.readlink(self._link) == self._target)  # noqa: PTH115 - as below
        except OSError:
            return False

    def _now(self) -> _Fingerprint:
        executable, owner = os.stat(f"{self._folder}/exe"), os.stat(self._folder)  # noqa: PTH116 - for every request
        return _Fingerprint((executable.st_dev, executable.st_ino), (owner.st_uid, owner.st_gid))


def unproven(reason: str) -> Failure:
    """The failure for a caller that can't be told."""
    return Failure(FailureKind.CALLER_UNPROVEN, f"It could not be proved which process asks: {reason}")


class Births:
    """The number of the newest process or thread, from which it is seen whether there are new ones. Owns a descriptor.

    `/proc/loadavg` ends in the number that was given out last (proc_loadavg(5)); the kernel counts up, and starts anew after
    millions. Where something else than the kernel writes this file (lxcfs), nothing is known.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
        if os.fstat(self._descriptor).st_dev != Path("/proc").stat().st_dev:
            self.close()

    def last(self) -> int | None:
        """The number; None if it can't be known."""
        if self._descriptor is None:
            return None
        return int(os.pread(self._descriptor, 128, 0).rpartition(b" ")[2])

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def holders(inodes: Iterable[int], births: Births) -> Mapping[int, tuple[Holder, ...]]:
    """All processes that hold these sockets, as far as this process may look, those born during the search included.

    Raises CALLER_UNPROVEN when processes are born faster than they can be looked at.
    """
    search = _Search(MappingProxyType({f"socket:[{inode}]": inode for inode in inodes}))
    last = births.last()
    search.look(_pids())
    for _ in range(_MAX_ROUNDS):
        now = births.last()
        if last is None or now is None or now == last:
            return {inode: tuple(found) for inode, found in search.found.items()}
        search.look(range(last + 1, now + 1) if 0 < now - last <= _MAX_NEWBORN else _pids())
        last = now
    raise unproven("new processes appear faster than they can be looked at")


def inherited(newborn: Iterable[int], inode: int, parents: Container[int]) -> bool:
    """Whether one of these new processes holds a socket, or may hold it. Threads of its holders are no others. Quick."""
    target = f"socket:[{inode}]"
    for pid in newborn:
        try:
            names = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - names only
            if len(names) > _MAX_INHERITED:
                return True
            held = any(_leads(f"/proc/{pid}/fd/{name}", target) for name in names)
            if held and int(_status(Path(f"/proc/{pid}/status").read_bytes())["Tgid"]) not in parents:
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        except (OSError, ValueError, LookupError):
            return True
    return False


def _leads(link: str, target: str) -> bool:
    try:
        return os.readlink(link) == target  # noqa: PTH115 - for every descriptor
    except FileNotFoundError:
        return False


@dataclass(slots=True)
class _Search:
    """One search; links → inodes in, inodes → holders out."""

    wanted: Mapping[str, int]
    found: dict[int, list[Holder]] = field(default_factory=dict)

    def look(self, pids: Iterable[int]) -> None:
        for pid in pids:
            self._descriptors(pid, "fd")
            for thread in _threads_apart(pid):
                self._descriptors(pid, f"task/{thread}/fd")

    def _descriptors(self, pid: int, folder: str) -> None:
        for name, target in _links(f"/proc/{pid}/{folder}"):
            inode = self.wanted.get(target)
            if inode is not None:
                self.found.setdefault(inode, []).append(Holder(pid, f"{folder}/{name}"))


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names only, thousands of them


def _links(folder: str) -> Iterator[tuple[str, str]]:
    """The links in a folder of `/proc` and where they lead; nothing for one that is gone or closed to us."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        for name in os.listdir(descriptor):  # noqa: PTH208 - by descriptor
            try:
                yield name, os.readlink(name, dir_fd=descriptor)
            except OSError:
                continue
    except OSError:
        return
    finally:
        os.close(descriptor)


def _threads_apart(pid: int) -> list[str]:
    """The threads of a process that may hold other descriptors than its first one (unshare(2), CLONE_FILES)."""
    try:
        if os.stat(f"/proc/{pid}/task").st_nlink - _OWN_LINKS <= 1:  # noqa: PTH116 - for every process of the machine
            return []
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - as above
    except OSError:
        return []
    return [thread for thread in threads if int(thread) != pid and not _same_descriptors(pid, int(thread))]


def _same_descriptors(one: int, other: int) -> bool:
    """Whether two threads share their descriptors, as far as the kernel tells (kcmp(2))."""
    number = _KCMP.get(os.uname().machine)
    return number is not None and int(ctypes.CDLL(None).syscall(number, one, other, _KCMP_FILES, 0, 0)) == 0


def read_process(pid: int, link: tuple[str, int] | None, pidfd: int | None = None) -> tuple[ProcessFacts, Mark]:
    """What can be known of a process, and by what to know it again; raises CALLER_UNPROVEN for one that ends, changes, or can't be looked into.

    `link` is a descriptor below its folder and the inode of the socket that it must lead to, before and after. Without `pidfd`,
    which stays its owner's, one is opened.
    """
    with ExitStack() as held:
        try:
            if pidfd is None:
                pidfd = os.pidfd_open(pid)
                held.callback(os.close, pidfd)
            folder = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, folder)
            before = _seen(folder, link)
            facts = _facts(pid, folder)
            executed = (facts.executable.device, facts.executable.inode)
            if before != _seen(folder, link) or executed != before.executable or facts.started != _started(folder):
                raise unproven("the process changed while it was looked at")
            mark = Mark(facts, link)
        except (PermissionError, FileNotFoundError, ProcessLookupError) as error:
            raise unproven("the process is gone, or may not be looked into") from error
        except (OSError, ValueError, LookupError) as error:
            raise unproven("the process could not be looked into") from error
        if has_ended(pidfd):
            raise unproven("the process is gone")
        return facts, mark


def descends(pid: int, ancestor: int, ancestor_pidfd: int) -> bool:
    """Whether a process is another one or comes from it, by parents that all still live."""
    try:
        line = _line(pid, ancestor)
        return line is not None and line == _line(pid, ancestor) and not has_ended(ancestor_pidfd)
    except (OSError, ValueError, LookupError):
        return False


def has_ended(pidfd: int) -> bool:
    """Whether the process of a pidfd has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _line(pid: int, ancestor: int) -> list[tuple[int, int]] | None:
    """From a process to its ancestor, each with its start; None if it does not come from it."""
    line: list[tuple[int, int]] = []
    while pid > 0 and len(line) < _MAX_ANCESTORS:
        fields = _stat(Path(f"/proc/{pid}/stat").read_bytes())
        line.append((pid, int(fields[_STARTED_FIELD])))
        if pid == ancestor:
            return line
        pid = int(fields[_PARENT_FIELD])
    return None


def _seen(folder: int, link: tuple[str, int] | None) -> _Fingerprint:
    """What must not change while the facts are read."""
    if link is not None and os.readlink(link[0], dir_fd=folder) != f"socket:[{link[1]}]":
        raise unproven("the process no longer holds the connection")
    executable, owner = os.stat("exe", dir_fd=folder), os.fstat(folder)
    return _Fingerprint((executable.st_dev, executable.st_ino), (owner.st_uid, owner.st_gid))


def _facts(pid: int, folder: int) -> ProcessFacts:
    status = _status(_read(folder, "status"))
    uid, gid = _only(status["Uid"], "user"), _only(status["Gid"], "group")
    executed = os.stat("exe", dir_fd=folder)
    if not stat.S_ISREG(executed.st_mode):
        raise unproven("what the process executes is no file")
    path = os.readlink("exe", dir_fd=folder)
    return ProcessFacts(
        pid=pid,
        started=_started(folder),
        uid=uid,
        gid=gid,
        groups=frozenset(int(one) for one in status.get("Groups", "").split()),
        executable=Executable(path=path, device=executed.st_dev, inode=executed.st_ino),
        cgroup=cgroup_of(_read(folder, "cgroup").decode(errors="surrogateescape")),
        anchored=Path("/proc/self/ns/cgroup").stat().st_ino == _MACHINE_CGROUPS,
    )


def _status(content: bytes) -> Mapping[str, str]:
    pairs = (line.split(":", 1) for line in content.decode(errors="surrogateescape").splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}


def _only(ids: str, kind: str) -> int:
    """The one id that a process has: real, effective, saved and of the file system alike.

    They are as our own user namespace sees them. What it does not see has the overflow id, which is nobody in particular.
    """
    found = {int(one) for one in ids.split()}
    if len(found) != 1:
        raise unproven(f"the process acts for several {kind}s at once")
    one = found.pop()
    if one == int(Path(f"/proc/sys/kernel/overflow{kind[0]}id").read_bytes()) and not _sees_all_ids(kind):
        raise unproven(f"the process' {kind} is not known to this machine's agent")
    return one


def _sees_all_ids(kind: str) -> bool:
    return Path(f"/proc/self/{kind[0]}id_map").read_bytes().split() == [b"0", b"0", b"%d" % _ALL_IDS]


def _started(folder: int) -> int:
    return int(_stat(_read(folder, "stat"))[_STARTED_FIELD])


def _stat(content: bytes) -> list[bytes]:
    """The fields behind the name, which may hold anything, parentheses too."""
    return content.rpartition(b")")[2].split()


def _read(folder: int, name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - by descriptor
        return file.read()
