"""How much there is of each kind: counted where the person may read all of it, and no further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from idplane.graph.permissions import Area, may
from idplane.model.directory import PrincipalType
from idplane.model.ids import ROOT, ResourceId
from idplane.ports.collections import (
    AGENTS,
    IDENTITY_ASSIGNMENTS,
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
)
from idplane.ports.store import Collection, ColumnValue
from idplane.providers.agents import AGENTS_TYPE
from idplane.web.portal.sight import parts_of
from idplane.web.portal.types import GROUP, IDENTITY
from idplane.web.portal.view import Visit

__all__ = ["Figure", "Figures", "figures_of"]

_READ_ALL: Final = "Microsoft.Resources/subscriptions/resources/read"
_ROLES_READ: Final = "Microsoft.Authorization/roleAssignments/read"
_AGENTS_READ: Final = f"{AGENTS_TYPE}/read"
_MOST: Final = 200_000
_MOST_AT_ROOT: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A count, and where what was counted is shown."""

    label: str
    count: int
    to: str

    @property
    def said(self) -> str:
        """The count as it is written."""
        return f"{self.count:,}{'+' if self.count >= _MOST else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All of them."""

    shown: tuple[Figure, ...]
    groups: int
    resources: int
    """Without groups."""
    in_use: int
    """Identities on resources."""


@dataclass(frozen=True, slots=True)
class _Counter:
    """Counts below the scopes that the person may look at."""

    visit: Visit
    scopes: tuple[ResourceId, ...]

    async def below(self, collection: Collection[Any], column: str, action: str, where: Mapping[str, ColumnValue]) -> int:
        """How many records there are, below scopes where the person may do `action`."""
        total = 0
        for scope in self.scopes:
            if await self.visit.desk.may(action, scope):
                total += await self.visit.desk.store.count(collection, where=where, under=(column, scope.key), limit=_MOST)
        return min(total, _MOST)

    async def resources(self, type_name: str | None = None) -> int:
        where = {} if type_name is None else {"type": type_name.lower()}
        return await self.below(RESOURCES, "path", _READ_ALL, where)

    async def principals(self) -> int:
        """Those of managed identities."""
        where = {"type": PrincipalType.MANAGED_IDENTITY.value}
        return await self.below(PRINCIPALS, "resource_key", _READ_ALL, where)

    async def roles(self) -> int:
        return await self.below(ROLE_ASSIGNMENTS, "scope_key", _ROLES_READ, {}) + await self._at_root()

    async def _at_root(self) -> int:
        if not await self.visit.desk.may(_ROLES_READ, ROOT):
            return 0
        page = await self.visit.desk.store.page(ROLE_ASSIGNMENTS, where={"scope_key": "/"}, limit=_MOST_AT_ROOT)
        return sum(one.value.tenant_id == self.visit.desk.tenant.id for one in page.items)

    async def applications(self) -> int | None:
        """Service principals of applications; None where the person may not read the directory."""
        if not await may(self.visit.person.caller, self.visit.desk.access, Area.APPLICATIONS, writes=False):
            return None
        where = {"tenant_id": self.visit.desk.tenant.id, "type": PrincipalType.APPLICATION.value}
        return await self.visit.desk.store.count(PRINCIPALS, where=where, limit=_MOST)


async def figures_of(visit: Visit) -> Figures:
    """The figures, each only as far as the person may read."""
    counter = _Counter(visit, await _scopes(visit))
    groups, everything = await counter.resources(GROUP), await counter.resources()
    assigned = await counter.resources(IDENTITY)
    system = max(0, await counter.principals() - assigned)
    in_use = await counter.below(IDENTITY_ASSIGNMENTS, "host_key", _READ_ALL, {})
    applications = await counter.applications()
    shown = [
        Figure(label="System-assigned identities", count=system, to="/portal/applications"),
        Figure(label="User-assigned identities", count=assigned, to="/portal/identities"),
        Figure(label="Identities on resources", count=in_use, to="/portal/resources"),
        Figure(label="Role assignments", count=await counter.roles(), to="/portal/access"),
        Figure(
            label="Machines that are hosts", count=await counter.below(AGENTS, "host_key", _AGENTS_READ, {}), to="/portal/hosts"
        ),
        Figure(label="Resources", count=max(0, everything - groups), to="/portal/resources"),
    ]
    if applications is not None:
        shown.append(Figure(label="Applications", count=applications, to="/portal/applications"))
    return Figures(shown=tuple(shown), groups=groups, resources=max(0, everything - groups), in_use=in_use)


async def _scopes(visit: Visit) -> tuple[ResourceId, ...]:
    """Subscriptions, and what lies in others below the person's roles."""
    parts = await parts_of(visit, {})
    return tuple(
        ResourceId.parse(one.under[1]) if one.under else ResourceId(("subscriptions", str(one.where["subscription_id"])))
        for one in parts
    )
