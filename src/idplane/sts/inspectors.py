"""Who may be told of tokens that are not his own: by introspection, and by security events.

Closed by default. Three ways in: an application, of tokens for itself; whoever holds the application role `Idplane.Tokens.Inspect` of a
resource application, of tokens for that one (a managed identity that serves an API has no other way to be its resource); and whoever
holds a right at the tenant's root, of all.
"""

from __future__ import annotations

from typing import Final

from idplane.model.calls import Caller
from idplane.model.directory import Principal, ResourceApplication
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT
from idplane.ports.collections import PRINCIPALS
from idplane.ports.store import Store
from idplane.rbac import AccessControl, Groups
from idplane.sts.held_roles import held_roles

__all__ = ["INSPECT_ROLE", "Inspectors"]

INSPECT_ROLE: Final = "Idplane.Tokens.Inspect"
"""The value of the application role."""


class Inspectors:
    """Decides from what the store holds now, whatever a token of the inspector says of its roles."""

    def __init__(self, *, store: Store, access: AccessControl) -> None:
        self._store = store
        self._access = access
        self._groups = Groups(store=store)

    async def speaks_for(self, inspector: Principal, resource: ResourceApplication) -> bool:
        """Whether he may know what the resource itself may know."""
        if inspector.client_id == resource.client_id:
            return True
        return INSPECT_ROLE in await held_roles(self._store, self._groups, inspector, resource.client_id)

    async def holds(self, inspector: Principal, action: str) -> bool:
        """Whether he has a right at the tenant's root."""
        ids = frozenset((inspector.id, *await self._groups.of(inspector.id)))
        return (await self._access.check(ids, action, ROOT)).allowed

    async def principal_of(self, caller: Caller) -> Principal:
        """The principal behind a verified token; raises `Failure(TOKEN_REVOKED)` when it is gone since."""
        found = await self._store.get(PRINCIPALS, caller.principal_id)
        if found is None:
            raise Failure(FailureKind.TOKEN_REVOKED, "the principal that the token was issued to no longer exists")
        return found.value
