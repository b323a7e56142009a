"""Bindings: which processes of a host may use which of its identities (design section 5, stop 2).

A host without bindings behaves as Azure's do: whatever runs there may use all of its identities. The first binding closes it:
from then on a process gets an identity only if some binding admits it to that identity.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from idplane.model.ids import ResourceId

__all__ = [
    "SYSTEM_ASSIGNED",
    "Binding",
    "ContainerEngine",
    "ContainerRule",
    "ExecutableRule",
    "ProcessRule",
    "binding_key",
]

SYSTEM_ASSIGNED: Final = "SystemAssigned"
"""How a binding names the host's system-assigned identity."""


class ContainerEngine(enum.StrEnum):
    """What made a container, as far as its cgroup tells."""

    DOCKER = "docker"
    PODMAN = "podman"
    KUBERNETES = "kubernetes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutableRule:
    """The file that the process executes. Everything that is given must hold."""

    path: str | None = None
    """Absolute. The file at this path, reached without any symbolic link, must be the very one that is executed."""
    device: int | None = None
    inode: int | None = None
    sha256: str | None = None
    """Lower-case hex, of the whole file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRule:
    """The container that the process lives in. Everything that is given must hold."""

    engine: ContainerEngine | None = None
    id: str | None = None
    """The full id, 64 hex digits."""
    pod: str | None = None
    """A Kubernetes pod's uid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRule:
    """Which processes are meant: those of which everything that is given here holds."""

    user: str | None = None
    """A name, looked up on the host, or a number."""
    group: str | None = None
    """A name or a number; the process' own or one of its supplementary groups."""
    executable: ExecutableRule | None = None
    systemd_unit: str | None = None
    """The unit's whole name (`app.service`), system manager's units only."""
    cgroup: str | None = None
    """A path in the unified hierarchy; the process lives there or below."""
    container: ContainerRule | None = None
    run: bool | None = None
    """Whether it was started by `idplane run` as this host, itself or an ancestor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A host's admission of some processes to some of its identities."""

    host: ResourceId
    name: str
    processes: ProcessRule
    created_at: datetime
    identities: tuple[str, ...] = ()
    """`SystemAssigned` and resource ids of user-assigned identities; empty for all that the host has."""

    @property
    def key(self) -> str:
        """Where it is stored."""
        return binding_key(self.host.key, self.name)


def binding_key(host_key: str, name: str) -> str:
    """Host and name, without case."""
    return f"{host_key}|{name.lower()}"
