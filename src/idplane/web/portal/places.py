"""Scopes on pages: what each is called, what it is, where its pages are, and which scopes stand above it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from idplane.model.failure import Failure
from idplane.model.ids import MANAGEMENT_GROUP, ROOT, ResourceId
from idplane.ports.collections import MANAGEMENT_GROUPS, SUBSCRIPTIONS
from idplane.web.portal.types import label_of, symbol_of
from idplane.web.portal.view import Visit

__all__ = ["Place", "iam", "parsed_scope", "place_of", "places_above", "scope_tail"]

_READ_GROUP: Final = f"{MANAGEMENT_GROUP}/read"
_READ_SUBSCRIPTION: Final = "Microsoft.Resources/subscriptions/read"
_SUBSCRIPTION: Final = "Microsoft.Resources/subscriptions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A scope in words."""

    id: ResourceId
    name: str

    @property
    def kind(self) -> str:
        """What it is."""
        if not self.id.segments:
            return "Tenant"
        return "Management group" if self.id.is_management_group else label_of(self.id.type)

    @property
    def symbol(self) -> str:
        """Its symbol."""
        return "tenant" if not self.id.segments else "group" if self.id.is_management_group else symbol_of(self.id.type)

    @property
    def iam(self) -> str:
        """Its access control page."""
        return iam(self.id)

    @property
    def reached(self) -> str:
        """The page that shows who can reach it."""
        return f"/portal/access/target{scope_tail(self.id)}"


def scope_tail(scope: ResourceId) -> str:
    """A scope as the tail of an address; the tenant's own is empty."""
    return quote(str(scope)) if scope.segments else ""


def iam(scope: ResourceId, tab: str = "check") -> str:
    """A tab of a scope's access control."""
    return f"/portal/iam/{tab}{scope_tail(scope)}"


def parsed_scope(text: str) -> ResourceId | None:
    """A scope that somebody wrote; None for what is none, and for nothing."""
    try:
        return ResourceId.parse(text.strip()) if text.strip() else None
    except Failure:
        return None


async def place_of(visit: Visit, scope: ResourceId) -> Place:
    """A scope as the person may know it: subscriptions and management groups by the names that people gave them."""
    # A management group's id may come from a key, which is in lower case.
    action = _READ_GROUP if scope.is_management_group else _READ_SUBSCRIPTION if scope.type == _SUBSCRIPTION else None
    if not scope.segments:
        return Place(id=ROOT, name=visit.desk.tenant.display_name)
    if action is not None and await visit.desk.may(action, scope):
        return Place(id=scope, name=await _display_name(visit, scope))
    return Place(id=scope, name=scope.name)


async def _display_name(visit: Visit, scope: ResourceId) -> str:
    store, tenant = visit.desk.store, visit.desk.tenant
    if scope.is_management_group:
        group = await store.get(MANAGEMENT_GROUPS, scope.name.lower())
        if group is not None and group.value.tenant_id == tenant.id:
            return group.value.display_name
        return "Tenant root group" if scope.name.lower() == tenant.id else scope.name
    found = await store.get(SUBSCRIPTIONS, scope.subscription or "")
    return found.value.display_name if found is not None and found.value.tenant_id == tenant.id else scope.name


async def places_above(visit: Visit, scope: ResourceId) -> tuple[Place, ...]:
    """The scopes from which it inherits, the tenant first; without itself."""
    keys = await visit.desk.access.lineage(scope)
    # A lineage holds keys; where the scope's own text says the same thing, it says so in the case that people wrote.
    written = {one.key: one for one in scope.lineage()}
    above = [written.get(key) or ResourceId.parse(key) for key in keys[:0:-1]]
    return tuple([await place_of(visit, one) for one in above])
