"""Bindings as the server tells them (`model.binding_documents` has the other half).

A rule that this agent does not understand, being older than the server, admits nobody: leaving out what it does not know would let more
processes in than were meant.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from idplane.model.bindings import Binding, ContainerEngine, ContainerRule, ExecutableRule, ProcessRule
from idplane.model.ids import ResourceId

__all__ = ["BindingShape", "bindings_from"]


class BindingShape(msgspec.Struct):
    """One binding; its rule is looked at by itself."""

    name: str
    processes: msgspec.Raw
    identities: tuple[str, ...] = ()


class _Executable(msgspec.Struct, forbid_unknown_fields=True):
    path: str | None = None
    device: int | None = None
    inode: int | None = None
    sha256: str | None = None


class _Container(msgspec.Struct, forbid_unknown_fields=True):
    engine: ContainerEngine | None = None
    id: str | None = None
    pod: str | None = None


class _Processes(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    user: str | None = None
    group: str | None = None
    executable: _Executable | None = None
    systemd_unit: str | None = None
    cgroup: str | None = None
    container: _Container | None = None
    run: bool | None = None


def bindings_from(shapes: Iterable[BindingShape], host: ResourceId, now: datetime) -> tuple[Binding, ...]:
    """The bindings of a host that were heard of at `now`."""
    return tuple(
        Binding(host=host, name=it.name, processes=_rule(it.processes), identities=it.identities, created_at=now)
        for it in shapes
    )


def _rule(document: msgspec.Raw) -> ProcessRule:
    try:
        given = msgspec.json.decode(document, type=_Processes)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ProcessRule()
    return ProcessRule(
        user=given.user,
        group=given.group,
        executable=_executable(given.executable) if given.executable else None,
        systemd_unit=given.systemd_unit,
        cgroup=given.cgroup,
        container=_container(given.container) if given.container else None,
        run=given.run,
    )


def _executable(given: _Executable) -> ExecutableRule:
    return ExecutableRule(path=given.path, device=given.device, inode=given.inode, sha256=given.sha256)


def _container(given: _Container) -> ContainerRule:
    return ContainerRule(engine=given.engine, id=given.id, pod=given.pod)
