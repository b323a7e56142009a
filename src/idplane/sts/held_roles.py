"""The application roles that a principal holds: its own, and those of the groups that it is in."""

from __future__ import annotations

from idplane.model.directory import Principal
from idplane.ports.collections import PRINCIPALS
from idplane.ports.store import Reads
from idplane.rbac import Groups

__all__ = ["held_roles"]


async def held_roles(store: Reads, groups: Groups, principal: Principal, resource: str) -> tuple[str, ...]:
    """The values of its roles for the application with that client id, sorted, each once."""
    found = {*principal.roles_for(resource)}
    for group_id in await groups.of(principal.id):
        group = await store.get(PRINCIPALS, group_id)
        if group is not None:
            found.update(group.value.roles_for(resource))
    return tuple(sorted(found))
