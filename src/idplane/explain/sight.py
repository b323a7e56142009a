"""What one viewer may know: everything that an explanation shows has passed here.

The rule: a viewer is told what it could read by itself, and rules that name it or its groups. What it named itself is said back to it,
whether or not it exists. Everything else is counted (`hidden`) and otherwise left out, so that an explanation tells nobody what exists.
"""

from __future__ import annotations

from typing import Final, TypeVar

from idplane.explain.model import Fact, Link, LinkKind
from idplane.model.calls import Caller
from idplane.model.directory import Principal
from idplane.model.failure import Failure
from idplane.model.ids import ROOT, ResourceId
from idplane.model.roles import DenyAssignment, RoleAssignment
from idplane.ports.collections import PRINCIPALS
from idplane.ports.store import Collection, Reads
from idplane.rbac import EVERYONE, AccessControl

__all__ = ["READ_ASSIGNMENTS", "READ_DENIES", "Sight", "parsed"]

T = TypeVar("T")

READ_ASSIGNMENTS: Final = "Microsoft.Authorization/roleAssignments/read"
READ_DENIES: Final = "Microsoft.Authorization/denyAssignments/read"
_ADMINISTRATION: Final = "Microsoft.Authorization/roleAssignments/write"
_SCOPES: Final = {
    "Microsoft.Resources/tenants": "",
    "Microsoft.Resources/subscriptions": "Microsoft.Resources/subscriptions/read",
    "Microsoft.Resources/resourceGroups": "Microsoft.Resources/subscriptions/resourceGroups/read",
}
"""What it takes to read a scope that is no resource; nothing for the tenant, which everybody knows who is in it."""


class Sight:
    """One viewer's, for one explanation. Answers are kept as long as it lives, which is one request."""

    def __init__(self, *, viewer: Caller, access: AccessControl, store: Reads) -> None:
        self.viewer: Final = viewer
        self.hidden = 0
        """Rules that were passed over since the viewer may not see them."""
        self._access = access
        self._store = store
        self._answers: dict[tuple[str, str, bool], bool] = {}

    async def may(self, action: str, scope: ResourceId, *, data: bool = False) -> bool:
        """Whether the viewer may do something."""
        key = (action, scope.key, data)
        if key not in self._answers:
            decision = await self._access.check(self.viewer.principal_ids, action, scope, data=data)
            self._answers[key] = decision.allowed
        return self._answers[key]

    async def reads(self, scope: ResourceId) -> bool:
        """Whether the viewer may read what stands at a scope, and so know whether anything does."""
        action = _SCOPES.get(scope.type, f"{scope.type}/read")
        return not action or await self.may(action, scope)

    async def found(self, collection: Collection[T], key: str, scope: ResourceId) -> T | None:
        """A record that belongs to a scope; None if there is none, or if the viewer may not read that scope."""
        if not await self.reads(scope):
            return None
        row = await self._store.get(collection, key)
        return None if row is None else row.value

    def is_self(self, principal_id: str | None) -> bool:
        """Whether a principal is the viewer, or one of its groups."""
        return principal_id is not None and principal_id in self.viewer.principal_ids

    async def administers(self) -> bool:
        """Whether the viewer may read the whole directory: whoever may assign roles at the tenant's root (`graph.permissions`)."""
        return await self.may(_ADMINISTRATION, ROOT)

    async def of_assignment(self, one: RoleAssignment) -> bool:
        """Whether the viewer may know of a role assignment."""
        if one.tenant_id != self.viewer.tenant_id:
            return False
        return self.is_self(one.principal_id) or await self._at(READ_ASSIGNMENTS, one.scope)

    async def of_deny(self, one: DenyAssignment) -> bool:
        """Whether the viewer may know of a deny assignment: also of one that is meant for it, as refusals tell anyway."""
        if one.tenant_id != self.viewer.tenant_id:
            return False
        named = EVERYONE in one.principals or not self.viewer.principal_ids.isdisjoint(one.principals)
        spared = not self.viewer.principal_ids.isdisjoint(one.exclude_principals)
        return (named and not spared) or await self._at(READ_DENIES, one.scope)

    async def of_principal(self, principal: Principal) -> bool:
        """Whether the viewer may know what a principal is called."""
        if principal.tenant_id != self.viewer.tenant_id:
            return False
        if self.is_self(principal.id) or await self.administers():
            return True
        resource = parsed(principal.resource_id)
        return resource is not None and await self.reads(resource)

    async def name(self, principal_id: str) -> str:
        """What a principal is called; its object id where the viewer may not know, or there is none."""
        found = await self._store.get(PRINCIPALS, principal_id)
        shown = found is not None and await self.of_principal(found.value)
        return found.value.caller_name if found is not None and shown else principal_id

    async def fact(self, label: str, principal_id: str) -> Fact:
        """A principal as a line of an explanation."""
        return Fact(label=label, value=await self.name(principal_id), link=Link(kind=LinkKind.PRINCIPAL, ref=principal_id))

    async def _at(self, action: str, scope: str) -> bool:
        at = parsed(scope)
        return at is not None and await self.may(action, at)


def parsed(text: str | None) -> ResourceId | None:
    """A resource id out of a text that may be none."""
    try:
        return None if text is None else ResourceId.parse(text)
    except Failure:
        return None
