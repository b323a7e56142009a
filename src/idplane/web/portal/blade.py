"""What the pages of one resource have in common: the resource as the person sees it, its heading and its tabs."""

from __future__ import annotations

from dataclasses import dataclass

from idplane.arm.missing import resource_not_found
from idplane.arm.preconditions import resource_etag
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.ports.collections import PRINCIPALS, RESOURCES
from idplane.web.portal.resources import Line
from idplane.web.portal.types import IDENTITY, declared, label_of, read_action, symbol_of
from idplane.web.portal.view import Visit

__all__ = ["Blade", "authors_of", "blade_of", "identity_blade"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blade:
    """One resource, and which of its pages is shown."""

    resource: Resource
    etag: str
    """Of the resource as it was read: a change that is worked out from it holds for no other."""
    tab: str

    @property
    def line(self) -> Line:
        """The resource in words."""
        return Line(self.resource)

    @property
    def id(self) -> ResourceId:
        """The resource's."""
        return self.resource.id

    @property
    def is_identity(self) -> bool:
        """Whether it is a user-assigned identity."""
        return self.resource.type == IDENTITY

    @property
    def bears_identity(self) -> bool:
        """Whether its type bears identities."""
        known = declared(self.resource.type)
        return known is not None and known.bears_identity

    @property
    def crumbs(self) -> list[tuple[str, str]]:
        """The way to it."""
        if self.is_identity:
            return [("Managed identities", "/portal/identities")]
        group = self.line.group
        found = [("Resources", "/portal/resources")]
        return [*found, (group.name, f"/portal/resource{group}")] if group is not None else found

    @property
    def label(self) -> str:
        """What it is."""
        return label_of(self.resource.type)

    @property
    def symbol(self) -> str:
        """Its symbol."""
        return symbol_of(self.resource.type)

    @property
    def tabs(self) -> list[tuple[str, str, bool]]:
        """Its pages: label, address, whether it is shown."""
        entries = [("overview", "Overview", f"/portal/resource{self.id}")]
        if self.is_identity:
            entries = [
                ("overview", "Overview", f"/portal/identity/overview{self.id}"),
                ("associated", "Associated resources", f"/portal/identity/resources{self.id}"),
                ("federated", "Federated credentials", f"/portal/identity/federated{self.id}"),
                ("roles", "Azure role assignments", f"/portal/identity/roles{self.id}"),
                ("credentials", "Credentials", f"/portal/identity/credentials{self.id}"),
                ("sign-ins", "Sign-ins", f"/portal/identity/sign-ins{self.id}"),
            ]
        if self.bears_identity:
            entries.append(("identity", "Identity", f"/portal/resource/identity{self.id}"))
        entries.append(("activity", "Activity log", f"/portal/resource/activity{self.id}"))
        return [(label, to, key == self.tab) for key, label, to in entries]


async def blade_of(visit: Visit, tab: str) -> Blade:
    """The resource that the address names; raises `Failure` for one that is not there, or that the person may not read."""
    identifier = visit.resource()
    await visit.desk.require(read_action(identifier), identifier)
    found = await visit.desk.store.get(RESOURCES, identifier.key)
    if found is None:
        raise resource_not_found(identifier)
    return Blade(resource=found.value, etag=resource_etag(found), tab=tab)


async def authors_of(visit: Visit, resource: Resource) -> dict[str, str]:
    """Who made a resource, and who changed it last, by name where there is one."""
    return {"created": await _name(visit, resource.created_by), "changed": await _name(visit, resource.changed_by)}


async def _name(visit: Visit, author: str) -> str:
    """What an author is called: programs are kept by their application ids, people by name."""
    where = {"tenant_id": visit.desk.tenant.id, "client_id": author.lower()}
    found = await visit.desk.store.page(PRINCIPALS, where=where, limit=1)
    return found.items[0].value.caller_name if found.items else author


async def identity_blade(visit: Visit, tab: str) -> Blade:
    """The same for a user-assigned identity; raises `Failure(RESOURCE_NOT_FOUND)` for anything else."""
    blade = await blade_of(visit, tab)
    if not blade.is_identity:
        raise resource_not_found(blade.id)
    return blade
