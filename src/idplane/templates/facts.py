"""What a deployment is, where it stands, and what only running it can tell: the world outside of a template as expressions see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["NOWHERE", "Facts", "Locals", "Lookup", "Unresolved"]


def _no_versions(_: str) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Circumstances of one deployment. Time and GUIDs are passed in: the engine has neither clock nor randomness."""

    scope: ResourceId
    """A resource group, a subscription, a management group or the tenant."""
    name: str
    now: datetime
    new_guid: Callable[[], str] = field(repr=False)
    location: str | None = None
    mode: str = "Incremental"
    tenant: JsonObject = field(default_factory=dict)
    subscription: JsonObject | None = None
    group: JsonObject | None = None
    management_group: JsonObject | None = None
    environment: JsonObject = field(default_factory=dict)
    deployer: JsonObject = field(default_factory=dict)
    versions: Callable[[str], tuple[str, ...]] = field(default=_no_versions, repr=False)
    """Api-versions of a resource type, newest first; none of an unknown one."""
    most_resources: int | None = None
    """What one template may have, if that is limited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What `reference` (no `word`) or a `list*` function asks for while a deployment runs."""

    id: str
    api_version: str
    word: str = ""
    full: bool = False
    body: str = ""
    """JSON text of what is posted."""


class Unresolved(Exception):  # noqa: N818 - a question, not a fault
    """The value depends on lookups that have not been made. Make them, and evaluate again."""

    def __init__(self, lookups: frozenset[Lookup]) -> None:
        super().__init__(f"{len(lookups)} lookups are missing")
        self.lookups = lookups


@dataclass(frozen=True, slots=True, kw_only=True)
class Locals:
    """What holds at one place of a template."""

    loops: Mapping[str, int] = field(default_factory=dict)
    """Index of each copy loop around the place, by lower-case name."""
    index: int | None = None
    """Index of the innermost loop."""
    variables: Mapping[str, object] = field(default_factory=dict)
    """Lambda variables by lower-case name."""
    arguments: Mapping[str, object] | None = None
    """Inside a user-defined function: its parameters by lower-case name."""
    depth: int = 0
    """User-defined functions around the place."""
    runtime: bool = False
    """Whether `reference` and `list*` may be used."""
    default: bool = False
    """Whether this is the default value of a parameter, where `utcNow` and `newGuid` may be used."""

    def at(self, name: str, index: int) -> Locals:
        """One turn of a copy loop."""
        return replace(self, loops={**self.loops, name.lower(): index}, index=index)

    def where(self, **variables: object) -> Locals:
        """With lambda variables."""
        return replace(self, variables={**self.variables, **variables})

    def running(self) -> Locals:
        """Where lookups are allowed."""
        return replace(self, runtime=True)


NOWHERE = Locals()
"""Outside of any loop, and ahead of the deployment."""
