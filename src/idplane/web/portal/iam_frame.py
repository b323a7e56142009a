"""What the tabs of access control have in common: the scope, whether the person may look at it, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from idplane.model.ids import ROOT, ResourceId
from idplane.web.portal.offers import Offer, offer
from idplane.web.portal.places import Place, iam, place_of, places_above
from idplane.web.portal.routes import Handler, Route
from idplane.web.portal.view import Visit

__all__ = ["DELETE", "READ", "VERSION", "WRITE", "IamFrame", "frame_of", "tab_routes"]

READ: Final = "Microsoft.Authorization/roleAssignments/read"
WRITE: Final = "Microsoft.Authorization/roleAssignments/write"
DELETE: Final = "Microsoft.Authorization/roleAssignments/delete"
VERSION: Final = "2022-04-01"
"""Of role assignments."""
_TABS: Final = (
    ("check", "Check access"),
    ("assignments", "Role assignments"),
    ("denies", "Deny assignments"),
    ("roles", "Roles"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IamFrame:
    """One scope's access control, and which tab of it is shown."""

    place: Place
    above: tuple[Place, ...]
    """The scopes from which it inherits, the tenant first."""
    keys: tuple[str, ...]
    """The keys of itself and of those above, nearest first."""
    tab: str
    add: Offer

    @property
    def scope(self) -> ResourceId:
        """The scope."""
        return self.place.id

    @property
    def crumbs(self) -> list[tuple[str, str]]:
        """The way to it."""
        return [("Access control", "/portal/iam"), *((one.name, one.iam) for one in self.above)]

    @property
    def tabs(self) -> list[tuple[str, str, bool]]:
        """Its tabs: label, address, whether it is shown."""
        return [(label, iam(self.scope, key), key == self.tab) for key, label in _TABS]

    @property
    def adding(self) -> str:
        """The page that adds a role assignment."""
        return iam(self.scope, "add")

    @property
    def resource(self) -> str:
        """The page of the resource; empty for scopes that have none."""
        has = self.scope.segments and not self.scope.is_management_group
        return f"/portal/resource{self.scope}" if has and self.scope.resource_group else ""

    def place_at(self, key: str) -> Place:
        """One of the scopes that it inherits from, or itself."""
        return next((one for one in self.above if one.id.key == key), self.place)


async def frame_of(visit: Visit, tab: str) -> IamFrame:
    """The scope that the address names. Raises `Failure` for one that is not there, or whose role assignments the person may not read."""
    scope = visit.resource("scope") if "scope" in visit.params else ROOT
    await _require(visit, scope)
    return IamFrame(
        place=await place_of(visit, scope),
        above=await places_above(visit, scope),
        keys=await visit.desk.access.lineage(scope),
        tab=tab,
        add=await offer(visit, WRITE, scope),
    )


async def _require(visit: Visit, scope: ResourceId) -> None:
    """As the API decides: the narrowest list of role assignments there is."""
    me = visit.person.caller.principal_id
    path = f"{scope if scope.segments else ''}/providers/Microsoft.Authorization/roleAssignments"
    await visit.desk.read(path, version=VERSION, **{"$filter": f"atScope() and principalId eq '{me}'"})


def tab_routes(tab: str, get: Handler, post: Handler | None = None) -> tuple[Route, ...]:
    """The addresses of a tab: at the tenant, and at any scope below it."""
    patterns = (f"/portal/iam/{tab}", f"/portal/iam/{tab}/{{scope:path}}")
    found = [Route(method="GET", pattern=one, handler=get) for one in patterns]
    if post is not None:
        found += [Route(method="POST", pattern=one, handler=post) for one in patterns]
    return tuple(found)
