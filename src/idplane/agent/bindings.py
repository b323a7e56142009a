"""Which bindings admit a process to which identities. Pure: what must be looked up on the machine comes in through `Lookups`.

A cgroup tells a systemd unit or a container only where their makers put it: at the root of the unified hierarchy, in folders that nobody
but root can make. What is spelled the same below a folder that was handed to a user (a user manager's units, a rootless container)
could be anybody's, and is nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from idplane.agent.identities import HostDescription, HostedIdentity
from idplane.model.bindings import SYSTEM_ASSIGNED, Binding, ContainerEngine, ContainerRule, ExecutableRule, ProcessRule
from idplane.model.calls import Workload
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId

__all__ = [
    "Check",
    "Container",
    "Executable",
    "Lookups",
    "ProcessFacts",
    "admits",
    "admitting",
    "binding_for",
    "cgroup_of",
    "checks",
    "container_of",
    "is_below",
    "refusing",
    "unit_of",
    "visible",
    "workload_of",
]

_MAX_TOLD = 1024
"""Characters of a path in a log, which is more than systems name their programs with."""
_MAX_VALUE = 200
"""Of what an explanation says of a process."""
_ID = "(?P<id>[0-9a-f]{64})"
_UID = r"(?P<pod>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})"
_UID_ESCAPED = _UID.replace("-[", "_[")
_QOS = "(?:burstable|besteffort)"
_SHAPES = tuple(
    (engine, re.compile(pattern + "(?:/.*)?", re.DOTALL))
    for engine, pattern in (
        (ContainerEngine.DOCKER, rf"/system\.slice/docker-{_ID}\.scope"),
        (ContainerEngine.DOCKER, rf"/docker/{_ID}"),
        (ContainerEngine.PODMAN, rf"/machine\.slice/libpod-{_ID}\.scope"),
        (ContainerEngine.PODMAN, rf"/machine\.slice/machine-libpod_pod_[0-9a-f]{{64}}\.slice/libpod-{_ID}\.scope"),
        (ContainerEngine.PODMAN, rf"/libpod_parent/libpod-{_ID}"),
        (
            ContainerEngine.KUBERNETES,
            rf"/kubepods\.slice/kubepods-pod{_UID_ESCAPED}\.slice/(?:cri-containerd|crio|docker)-{_ID}\.scope",
        ),
        (
            ContainerEngine.KUBERNETES,
            (
                rf"/kubepods\.slice/kubepods-(?P<qos>{_QOS})\.slice/kubepods-(?P=qos)-pod{_UID_ESCAPED}\.slice/"
                rf"(?:cri-containerd|crio|docker)-{_ID}\.scope"
            ),
        ),
        (ContainerEngine.KUBERNETES, rf"/kubepods/(?:{_QOS}/)?pod{_UID}/(?:crio-)?{_ID}"),
    )
)
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(service|scope)")
_SLICE = re.compile(r"(?P<name>[A-Za-z0-9:_.\\@-]+)\.slice")
_MAX_CGROUP = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Executable:
    """The file that a process executes."""

    path: str
    """As the kernel names it; proof of nothing."""
    device: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    """What was read of one process while it verifiably lived."""

    pid: int
    started: int
    """In clock ticks since the machine started; with the pid, it names a process."""
    uid: int
    gid: int
    groups: frozenset[int]
    """Supplementary ones."""
    executable: Executable
    cgroup: str | None = None
    """In the unified hierarchy; None if it tells nothing."""
    anchored: bool = False
    """Whether the cgroup counts from the machine's own root, so that units and containers can be told from it."""
    in_run: bool = False
    """Whether it belongs to the `idplane run` of the listener that it asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The container that a cgroup belongs to."""

    engine: ContainerEngine
    id: str
    pod: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a rule asks of a process."""

    selector: str
    """As Resource Manager names it."""
    wanted: str
    shown: str
    """Of the process; empty where it tells nothing. Of groups its own."""
    holds: bool


class Lookups(Protocol):
    """What rules need to know of this machine. May take long; none raises."""

    def user(self, name: str, /) -> int | None:
        """A user's number; None if there is no such user."""
        ...

    def group(self, name: str, /) -> int | None:
        """A group's number."""
        ...

    def file_at(self, path: str, /) -> tuple[int, int] | None:
        """Device and inode of the file at a path that leads over no symbolic link; None if it does, or leads nowhere."""
        ...

    def digest(self, process: ProcessFacts, /) -> str | None:
        """Lower-case hex SHA-256 of the file that the process executes; None if it can't be read whole."""
        ...


def admitting(bindings: Iterable[Binding], processes: Sequence[ProcessFacts], lookups: Lookups) -> tuple[Binding, ...]:
    """The bindings that admit every one of the processes; none if there are none."""
    return tuple(one for one in bindings if processes and all(admits(one.processes, each, lookups) for each in processes))


def admits(rule: ProcessRule, process: ProcessFacts, lookups: Lookups) -> bool:
    """Whether everything that the rule gives holds; a rule that gives nothing admits nobody. The dearest comes last."""
    some = False
    for one in checks(rule, process, lookups):
        if not one.holds:
            return False
        some = True
    return some


def checks(rule: ProcessRule, process: ProcessFacts, lookups: Lookups) -> Iterator[Check]:
    """What a rule asks of a process, one thing after the other; the executable, which is dear, is for whoever passed the rest."""
    passed = True
    for one in _cheap_checks(rule, process, lookups):
        passed = passed and one.holds
        yield one
    if rule.executable is not None and passed:
        yield from _executable_checks(rule.executable, process, lookups)


def _cheap_checks(rule: ProcessRule, process: ProcessFacts, lookups: Lookups) -> Iterator[Check]:
    if rule.user is not None:
        uid = int(rule.user) if _is_number(rule.user) else lookups.user(rule.user)
        yield Check("user", rule.user, str(process.uid), process.uid == uid)
    if rule.group is not None:
        wanted = int(rule.group) if _is_number(rule.group) else lookups.group(rule.group)
        own = (process.gid, *process.groups)
        yield Check("group", rule.group, str(process.gid), wanted is not None and wanted in own)
    if rule.run is not None:
        yield Check("run", str(rule.run).lower(), str(process.in_run).lower(), process.in_run is rule.run)
    cgroup = process.cgroup or ""
    if rule.cgroup is not None:
        yield Check("cgroup", rule.cgroup, cgroup, process.cgroup is not None and is_below(process.cgroup, rule.cgroup))
    if rule.systemd_unit is not None:
        unit = unit_of(process.cgroup) if process.anchored else None
        yield Check("systemdUnit", rule.systemd_unit, unit or "", unit == rule.systemd_unit)
    if rule.container is not None:
        yield from _container_checks(rule.container, container_of(process.cgroup) if process.anchored else None)


def refusing(bindings: Iterable[Binding], processes: Sequence[ProcessFacts], lookups: Lookups) -> str:
    """For whoever explains why none of the bindings admits the processes: what each asks of the first one that it refuses, and in vain.

    JSON, `[[binding, selector, wanted, shown], ...]`, of at most `_MAX_TOLD` characters.
    """
    told: list[str] = []
    room = _MAX_TOLD
    for one in bindings:
        refused = next((each for each in processes if not admits(one.processes, each, lookups)), None)
        for each in () if refused is None else checks(one.processes, refused, lookups):
            line = json.dumps([one.name, each.selector, each.wanted[:_MAX_VALUE], each.shown[:_MAX_VALUE]])
            if not each.holds and (room := room - len(line) - 2) > 0:
                told.append(line)
    return f"[{', '.join(told)}]"


def visible(host: HostDescription, bindings: Collection[Binding]) -> HostDescription:
    """The host with those identities only that some of the bindings lead to: the others do not exist for whom they admit."""
    return replace(host, identities=tuple(one for one in host.identities if binding_for(one, bindings) is not None))


def binding_for(identity: HostedIdentity, bindings: Iterable[Binding]) -> Binding | None:
    """The first of the bindings that leads to the identity."""
    return next((one for one in bindings if not one.identities or any(_names(name, identity) for name in one.identities)), None)


def workload_of(process: ProcessFacts, run_id: str | None) -> Workload:
    """The process as the sign-in log tells it. Unit and container only if they are certain."""
    container = container_of(process.cgroup) if process.anchored else None
    return Workload(
        pid=process.pid,
        uid=process.uid,
        gid=process.gid,
        executable=_told(process.executable.path),
        cgroup=_told(process.cgroup) if process.cgroup is not None else None,
        systemd_unit=unit_of(process.cgroup) if process.anchored else None,
        container=f"{container.engine}:{container.id}" if container else None,
        run_id=run_id,
    )


def _told(path: str) -> str:
    """A path as a log can hold it: of bounded length, and bytes that are no text spelled out."""
    return path[:_MAX_TOLD].encode(errors="surrogateescape").decode(errors="backslashreplace")


def cgroup_of(text: str) -> str | None:
    """The path in the unified hierarchy out of `/proc/PID/cgroup` (cgroups(7)).

    None if there is none, if it lies outside of what the reader sees (`..`), or if the cgroup is being removed.
    """
    paths = [line.removeprefix("0::") for line in text.splitlines() if line.startswith("0::")]
    if len(paths) != 1 or not _is_plain(paths[0]) or paths[0].endswith(" (deleted)"):
        return None
    return paths[0]


def is_below(cgroup: str, root: str) -> bool:
    """Whether a cgroup is `root` or lies in it."""
    if not _is_plain(cgroup) or not _is_plain(root):
        return False
    return root in {"/", cgroup} or cgroup.startswith(root + "/")


def unit_of(cgroup: str | None) -> str | None:
    """The system manager's unit that a cgroup belongs to: the first folder that is no slice (systemd.slice(5)).

    Whatever is spelled like a unit further down was made by the unit itself, such as a user's own manager.
    """
    if cgroup is None or not _is_plain(cgroup):
        return None
    parent = ""
    for folder in cgroup.split("/")[1:]:
        found = _SLICE.fullmatch(folder)
        if found is None:
            # systemd puts a line before what could be taken for one of the kernel's own files.
            unit = folder.removeprefix("_")
            return unit if _UNIT.fullmatch(unit) else None
        name = found["name"]
        if name.rpartition("-")[0] != parent:
            return None
        parent = name
    return None


def container_of(cgroup: str | None) -> Container | None:
    """The container that a cgroup belongs to, or lies in."""
    if cgroup is None or not _is_plain(cgroup):
        return None
    for engine, shape in _SHAPES:
        found = shape.fullmatch(cgroup)
        if found is not None:
            pod = found.groupdict().get("pod")
            return Container(engine=engine, id=found["id"], pod=pod.replace("_", "-") if pod else None)
    return None


def _is_plain(path: str) -> bool:
    """An absolute path that means what it spells."""
    if path == "/":
        return True
    folders = path.split("/")
    return len(path) <= _MAX_CGROUP and folders[0] == "" and not any(folder in {"", ".", ".."} for folder in folders[1:])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _executable_checks(rule: ExecutableRule, process: ProcessFacts, lookups: Lookups) -> Iterator[Check]:
    executed = process.executable
    file = (executed.device, executed.inode)
    if rule.device is not None:
        yield Check("executable.device", str(rule.device), str(executed.device), rule.device == executed.device)
    if rule.inode is not None:
        yield Check("executable.inode", str(rule.inode), str(executed.inode), rule.inode == executed.inode)
    if rule.path is not None:
        yield Check("executable.path", rule.path, _told(executed.path), lookups.file_at(rule.path) == file)
    if rule.sha256 is not None and (rule.path is None or lookups.file_at(rule.path) == file):
        digest = lookups.digest(process)
        yield Check("executable.sha256", rule.sha256, digest or "", digest == rule.sha256.lower())
    if all(one is None for one in (rule.path, rule.device, rule.inode, rule.sha256)):
        yield Check("executable", "", _told(executed.path), holds=False)


def _container_checks(rule: ContainerRule, container: Container | None) -> Iterator[Check]:
    if container is None:
        yield Check("container", "", "", holds=False)
        return
    yield Check("container", "", container.engine.value, holds=True)  # a rule that gives no more is met by any container
    if rule.engine is not None:
        yield Check("container.engine", rule.engine.value, container.engine.value, rule.engine is container.engine)
    if rule.id is not None:
        yield Check("container.id", rule.id, container.id, rule.id.lower() == container.id)
    if rule.pod is not None:
        pod = container.pod or ""
        yield Check("container.pod", rule.pod, pod, _bare(rule.pod) == _bare(pod))


def _bare(uid: str) -> str:
    return uid.lower().replace("-", "")


def _names(name: str, identity: HostedIdentity) -> bool:
    if name == SYSTEM_ASSIGNED:
        return identity.system_assigned
    if identity.resource_id is None:
        return False
    try:
        return ResourceId.parse(name).key == ResourceId.parse(identity.resource_id).key
    except Failure:
        return False
