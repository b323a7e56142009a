"""What a plane in a test hands out: tokens, identities, resources, answers, and a clock that can be moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from idplane.bootstrap.world import SystemClock

__all__ = ["Answer", "Application", "HostResource", "ManagedIdentity", "MovableClock", "Token", "VirtualMachine"]


class Token(NamedTuple):
    """An access token as azure-core's credentials return it."""

    token: str
    expires_on: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the plane answered to a call."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedIdentity:
    """A managed identity: the system-assigned one of a machine, or a user-assigned one (then `id` is its resource id)."""

    id: str
    principal_id: str
    client_id: str

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> ManagedIdentity:
        """As Resource Manager shows it."""
        properties = body["properties"]
        return cls(id=body["id"], principal_id=properties["principalId"], client_id=properties["clientId"])


@dataclass(frozen=True, slots=True, kw_only=True)
class HostResource:
    """A resource that code can run as. `identity` is its system-assigned identity, if it has one."""

    id: str
    identity: ManagedIdentity | None


class VirtualMachine(HostResource):
    """A machine that code can run as."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An application with a client secret, for code that signs in without a managed identity."""

    client_id: str
    principal_id: str
    secret: str = field(repr=False)


class MovableClock(SystemClock):
    """Real time plus an offset that a test moves."""

    def __init__(self) -> None:
        self._offset = timedelta()

    def now(self) -> datetime:
        """The current instant, moved by what the test let pass."""
        return super().now() + self._offset

    def advance(self, by: timedelta) -> None:
        """Let time pass at once."""
        self._offset += by

    def reset(self) -> bool:
        """Back to real time; whether it was another."""
        moved, self._offset = bool(self._offset), timedelta()
        return moved
