"""Application roles: who holds which, and what a change of an assignment or of a role means for the principals that hold it.

A principal's record carries what its assignments come to (`Principal.app_roles`). It is written together with them, so a token is
made from the principal alone, and whatever rests on the principal (a decision that is remembered, a cached token) ends with the change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from idplane.directory.first_party import first_party_roles
from idplane.model.directory import AppRole, AppRoleAssignment, GrantedRole, Principal
from idplane.ports.collections import APP_ROLE_ASSIGNMENTS, APPLICATIONS, PRINCIPALS
from idplane.ports.store import ABSENT, Batch, Delete, Put, Reads, Versioned

__all__ = ["NO_ROLE", "app_role_removals", "assign", "offered_roles", "regrant", "unassign"]

NO_ROLE: Final = "00000000-0000-0000-0000-000000000000"
"""The role id of an assignment that gives access without a role."""


async def offered_roles(store: Reads, resource: Principal) -> tuple[AppRole, ...]:
    """The roles that a service principal's application offers: its own table, or what is known of Azure's own."""
    known = first_party_roles(resource.client_id)
    if known is not None:
        return known
    page = await store.page(APPLICATIONS, where={"client_id": resource.client_id}, limit=1)
    return page.items[0].value.app_roles if page.items else ()


def assign(assignment: AppRoleAssignment, holder: Versioned[Principal], resource: Principal, role: AppRole | None) -> Batch:
    """The operations that make an assignment true; `role` is None for access without one."""
    held = holder.value.app_roles
    granted = held if role is None else (*held, *_granted(resource, (role,)))
    return Batch.of(
        Put(collection=PRINCIPALS, value=replace(holder.value, app_roles=granted), expect=holder.version),
        Put(collection=APP_ROLE_ASSIGNMENTS, value=assignment, expect=ABSENT),
    )


def unassign(assignment: Versioned[AppRoleAssignment], holder: Versioned[Principal], resource: Principal) -> Batch:
    """The operations that take an assignment away."""
    gone = (resource.client_id, assignment.value.role_id)
    kept = tuple(one for one in holder.value.app_roles if (one.resource, one.role) != gone)
    return Batch.of(
        Delete(
            collection=APP_ROLE_ASSIGNMENTS,
            key=assignment.value.id,
            expect=assignment.version,
            subject=assignment.value.principal_id,
        ),
        Put(collection=PRINCIPALS, value=replace(holder.value, app_roles=kept), expect=holder.version),
    )


async def regrant(store: Reads, resource: Principal, roles: Sequence[AppRole]) -> Batch:
    """What holders of a resource's roles hold now that its roles are these; assignments of roles that are gone go with them."""
    offered = {one.id: one for one in roles}
    batch = Batch()
    mine: dict[str, list[AppRole]] = {}
    for row in await store.all(APP_ROLE_ASSIGNMENTS, where={"resource_id": resource.id}):
        assignment = row.value
        held = mine.setdefault(assignment.principal_id, [])
        if assignment.role_id in offered:
            held.append(offered[assignment.role_id])
        elif assignment.role_id != NO_ROLE:
            batch += Batch.of(_deletion(row))
    return batch + await _replaced(store, resource, mine)


async def app_role_removals(store: Reads, principal: Principal) -> Batch:
    """The operations that remove every assignment to a principal, and every one of a role of it, when the principal goes."""
    mine = await store.all(APP_ROLE_ASSIGNMENTS, where={"principal_id": principal.id})
    ours = await store.all(APP_ROLE_ASSIGNMENTS, where={"resource_id": principal.id})
    holders: Mapping[str, Sequence[AppRole]] = {row.value.principal_id: () for row in ours}
    others = {key: roles for key, roles in holders.items() if key != principal.id}
    unique = {row.value.id: row for row in (*mine, *ours)}
    return Batch.of(*map(_deletion, unique.values())) + await _replaced(store, principal, others)


async def _replaced(store: Reads, resource: Principal, held: Mapping[str, Sequence[AppRole]]) -> Batch:
    """The holders, with these roles of the resource instead of those that they had."""
    batch = Batch()
    for principal_id, roles in held.items():
        row = await store.get(PRINCIPALS, principal_id)
        if row is None:
            continue
        kept = tuple(one for one in row.value.app_roles if one.resource != resource.client_id)
        changed = (*kept, *_granted(resource, roles))
        if changed != row.value.app_roles:
            batch += Batch.of(Put(collection=PRINCIPALS, value=replace(row.value, app_roles=changed), expect=row.version))
    return batch


def _granted(resource: Principal, roles: Sequence[AppRole]) -> tuple[GrantedRole, ...]:
    """What these roles come to in tokens: a role that is disabled or has no value is shown in none."""
    return tuple(
        GrantedRole(resource=resource.client_id, role=one.id, value=one.value) for one in roles if one.enabled and one.value
    )


def _deletion(row: Versioned[AppRoleAssignment]) -> Delete[AppRoleAssignment]:
    return Delete(collection=APP_ROLE_ASSIGNMENTS, key=row.value.id, expect=row.version, subject=row.value.principal_id)
