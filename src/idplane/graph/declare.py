"""How an entity set is declared: names, properties and a few functions. Everything else is the service's.

    GROUPS = EntitySet(name="groups", entity=GROUP, area=Area.GROUPS, rows=..., find=..., create=..., update=..., delete=...,
                       children=(EntitySet(name="members", area=Area.MEMBERS, rows=..., ...),), actions=(...,))

Functions that read get a `Context`; those that change return a `Planned` whose batch the service commits together with the
activity event. A change that loses a race is planned again from fresh reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from idplane.graph.filters import Comparison, Expression, Operator, Some
from idplane.graph.matching import conjuncts
from idplane.graph.permissions import Area
from idplane.graph.query import MAX_TOP, ODataQuery
from idplane.graph.shapes import EntityType
from idplane.model.calls import Call, Caller
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import Profile
from idplane.model.values import JsonObject
from idplane.ports.store import Batch, Reads
from idplane.ports.world import Entropy
from idplane.rbac import AccessControl

__all__ = [
    "Action",
    "Context",
    "Entity",
    "EntitySet",
    "Planned",
    "RowQuery",
    "Rows",
    "Task",
    "missing",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The circumstances of one request, and what may be asked."""

    caller: Caller
    call: Call
    now: datetime
    version: str
    """`v1.0` or `beta`."""
    base: str
    """Graph's own address, without the version and a final slash."""
    store: Reads
    access: AccessControl
    entropy: Entropy
    profile: Profile

    @property
    def tenant_id(self) -> str:
        """Whose directory it is: the caller's, always."""
        return self.caller.tenant_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One object as it is shown, and what it was made from."""

    id: str
    document: JsonObject
    """With an `@odata.type` where a set holds several types."""
    row: Any = None
    """The record behind it, with its version; the set's own functions know its type."""
    cursor: str | None = None
    """Where a page behind it starts, if not at its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowQuery:
    """What a set's `rows` are asked for. Its conditions are hints: the service applies the whole filter to what comes back."""

    context: Context
    parent: Entity | None
    odata: ODataQuery
    after: str | None
    limit: int

    def equal(self, *path: str) -> str | None:
        """The text that a member must equal in every row, if the filter says so."""
        for part in conjuncts(self.odata.filter):
            if isinstance(part, Comparison) and part.path == path and part.operator is Operator.EQ:
                return part.value if isinstance(part.value, str) else None
        return None

    def holding(self, *path: str) -> str | None:
        """The text that a collection of texts must hold in every row, if the filter says so."""
        for part in conjuncts(self.odata.filter):
            if isinstance(part, Some) and part.path == path and not part.every:
                inner = part.inner
                if isinstance(inner, Comparison) and not inner.path and inner.operator is Operator.EQ:
                    return inner.value if isinstance(inner.value, str) else None
        return None

    @property
    def filter(self) -> Expression | None:
        """The whole condition."""
        return self.odata.filter


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows in the set's own order; `after` is where more start, None at the end. Fewer than asked, or none, is no end."""

    items: tuple[Entity, ...]
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A change that is asked for. `entity` is what it is about; None when it creates one, or is about the whole set."""

    context: Context
    parent: Entity | None
    entity: Entity | None
    body: JsonObject

    @property
    def target(self) -> Entity:
        """The entity, where the path names one."""
        assert self.entity is not None  # the route decides
        return self.entity

    @property
    def owner(self) -> Entity:
        """The parent, in a set below an entity."""
        assert self.parent is not None  # the route decides
        return self.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The answer to a change, and what makes it true."""

    status: int
    body: JsonObject | None = None
    batch: Batch = field(default_factory=Batch)
    target: str | None = None
    """Id of what was made, for the log; else the path's."""
    name: str = ""
    """Display name of what was changed, for the log."""
    context: str | None = None
    """What `@odata.context` names, if not the set: `Edm.String`."""


Wanted: TypeAlias = Callable[[str], bool]
"""Whether a property will be shown."""
Finder: TypeAlias = Callable[[Context, Entity | None, str], Awaitable[Entity | None]]
"""(context, parent, key) -> the entity with that key, in the caller's tenant."""
Completer: TypeAlias = Callable[[Context, Entity, Wanted], Awaitable[Entity]]
Planner: TypeAlias = Callable[[Task], Awaitable[Planned]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A POST below an entity, or below the set with `bound=False`."""

    name: str
    handle: Planner
    bound: bool = True
    reads: bool = False
    """It changes nothing: it needs the right to read, and leaves no record."""
    area: Area | None = None
    """Where it is not the set's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitySet:
    """A collection of entities, at the root or below an entity; with `single`, one entity without a key, such as `me`."""

    name: str
    """The path segment, or several: `auditLogs/signIns`."""
    entity: EntityType
    area: Area
    rows: Callable[[RowQuery], Awaitable[Rows]] | None = None
    find: Finder | None = None
    """By object id, as the path has it."""
    complete: Completer | None = None
    """Adds members that are kept elsewhere to entities that will be shown; they are among the type's `unfiltered` ones."""
    keys: Mapping[str, Finder] = field(default_factory=dict)
    """By another property, as in `(appId='...')`."""
    create: Planner | None = None
    update: Planner | None = None
    delete: Planner | None = None
    add_reference: Planner | None = None
    """POST `.../$ref`."""
    remove_reference: Planner | None = None
    """DELETE `.../{id}/$ref`; without an id, of a single one."""
    children: tuple[EntitySet, ...] = ()
    actions: tuple[Action, ...] = ()
    single: bool = False
    versions: frozenset[str] = frozenset({"v1.0", "beta"})
    sorted_by: frozenset[str] = frozenset()
    """Properties in whose order `rows` come by themselves, when one alone is asked for."""
    largest_page: int = MAX_TOP
    owned: bool = False
    """Whether an entity may be the caller itself, which everyone may read."""

    @property
    def keys_by_name(self) -> Mapping[str, Finder]:
        """`keys`, by lower-case names, as paths have them."""
        return {name.lower(): find for name, find in self.keys.items()}


def missing(key: str) -> Failure:
    """There is no such object in the directory, or none that this tenant may know of."""
    words = f"Resource '{key[:200]}' does not exist or one of its queried reference-property objects are not present"
    return Failure(FailureKind.RESOURCE_NOT_FOUND, words, id=key[:200])
