"""Roles, groups and denials of a portal's world, put there past the API: what tests of pages about access start from."""

from __future__ import annotations

from tests.unit.web.portal_world import PortalWorld

from idplane.model.directory import GroupDetails, Membership, Principal, PrincipalType
from idplane.model.roles import DenyAssignment, Permission, RoleAssignment
from idplane.ports.collections import DENY_ASSIGNMENTS, MEMBERSHIPS, PRINCIPALS, ROLE_ASSIGNMENTS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.rbac import BUILT_IN_ROLES, EVERYONE


async def give(
    world: PortalWorld, principal: str, role: str, scope: str, *, kind: str = "User", condition: str | None = None
) -> str:
    ids = {one.name: one.id for one in BUILT_IN_ROLES.values()}
    now = world.clock.now()
    one = RoleAssignment(
        id=world.server.world.entropy.guid(),
        tenant_id=world.tenant_id,
        scope=scope,
        role_id=ids.get(role, role),
        principal_id=principal,
        principal_type=kind,
        created_at=now,
        changed_at=now,
        condition=condition,
    )
    await world.store.commit(Batch.of(Put(collection=ROLE_ASSIGNMENTS, value=one, expect=ABSENT)))
    return one.id


async def group_of(world: PortalWorld, *members: str) -> str:
    identifier = world.server.world.entropy.guid()
    group = Principal(
        id=identifier,
        tenant_id=world.tenant_id,
        client_id=identifier,
        display_name="Operators",
        type=PrincipalType.GROUP,
        created_at=world.clock.now(),
        group=GroupDetails(),
    )
    await world.store.commit(
        Batch.of(
            Put(collection=PRINCIPALS, value=group, expect=ABSENT),
            *(
                Put(collection=MEMBERSHIPS, value=Membership(group_id=identifier, member_id=one), expect=ABSENT)
                for one in members
            ),
        )
    )
    return identifier


async def deny(world: PortalWorld, scope: str, *principals: str, only_here: bool = False) -> None:
    one = DenyAssignment(
        id=world.server.world.entropy.guid(),
        tenant_id=world.tenant_id,
        name="No <i>deletes</i>",
        scope=scope,
        permissions=(Permission(actions=("*/delete",)),),
        principals=principals or (EVERYONE,),
        do_not_apply_to_child_scopes=only_here,
    )
    await world.store.commit(Batch.of(Put(collection=DENY_ASSIGNMENTS, value=one, expect=ABSENT)))
