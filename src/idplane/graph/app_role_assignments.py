"""`appRoleAssignments` of a principal, and `appRoleAssignedTo` of a resource: two views of the same assignments.

What is assigned shows as `roles` in tokens for the resource at once; what is taken away ends the tokens that list it
(`directory.app_roles`). To groups, roles are assigned for their members.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from idplane.directory.app_roles import NO_ROLE, assign, offered_roles, unassign
from idplane.graph.declare import Context, Entity, EntitySet, Planned, RowQuery, Rows, Task
from idplane.graph.permissions import Area
from idplane.graph.settings import require_known
from idplane.graph.shapes import TEXT, TIME, EntityType
from idplane.graph.times import shown_time
from idplane.model.directory import AppRole, AppRoleAssignment, Principal, PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import is_guid
from idplane.model.values import JsonObject
from idplane.ports.collections import APP_ROLE_ASSIGNMENTS, APPLICATIONS, PRINCIPALS
from idplane.ports.store import Batch, Put, Versioned
from idplane.providers.fields import Fields

__all__ = ["ASSIGNED_TO_SET", "ASSIGNMENTS_SET"]

_MEMBERS: Final = (
    "id",
    "principalId",
    "resourceId",
    "appRoleId",
    "principalDisplayName",
    "principalType",
    "resourceDisplayName",
    "createdDateTime",
    "deletedDateTime",
)
_TYPE: Final = EntityType(
    name="appRoleAssignment",
    properties={**dict.fromkeys(_MEMBERS[:7], TEXT), "createdDateTime": TIME, "deletedDateTime": TIME},
)
_KINDS: Final = {PrincipalType.USER: "User", PrincipalType.GROUP: "Group"}


async def _document(context: Context, one: AppRoleAssignment) -> JsonObject:
    holder = await context.store.get(PRINCIPALS, one.principal_id)
    resource = await context.store.get(PRINCIPALS, one.resource_id)
    return {
        "id": one.id,
        "deletedDateTime": None,
        "appRoleId": one.role_id,
        "createdDateTime": shown_time(one.created_at),
        "principalDisplayName": holder.value.display_name if holder else None,
        "principalId": one.principal_id,
        "principalType": _KINDS.get(holder.value.type, "ServicePrincipal") if holder else None,
        "resourceDisplayName": resource.value.display_name if resource else None,
        "resourceId": one.resource_id,
    }


async def _entity(context: Context, row: Versioned[AppRoleAssignment]) -> Entity:
    return Entity(id=row.value.id, document=await _document(context, row.value), row=row)


# Reading ----------------------------------------------------------------------------------------------------------------


async def _held(query: RowQuery) -> Rows:
    return await _page(query, "principal_id")


async def _given(query: RowQuery) -> Rows:
    return await _page(query, "resource_id")


async def _page(query: RowQuery, column: str) -> Rows:
    assert query.parent is not None  # the sets are below a principal
    where = {column: query.parent.id}
    for name, further in (("resourceId", "resource_id"), ("principalId", "principal_id"), ("appRoleId", "role_id")):
        value = query.equal(name)
        if value is not None and further != column:
            where[further] = value.lower()
    page = await query.context.store.page(APP_ROLE_ASSIGNMENTS, where=where, after=query.after, limit=query.limit)
    return Rows(items=tuple([await _entity(query.context, row) for row in page.items]), after=page.after)


async def _find(context: Context, parent: Entity | None, key: str) -> Entity | None:
    assert parent is not None  # the sets are below a principal
    row = await context.store.get(APP_ROLE_ASSIGNMENTS, key.lower()) if is_guid(key) else None
    if row is None or parent.id not in (row.value.principal_id, row.value.resource_id):
        return None
    return await _entity(context, row)


# Changing ---------------------------------------------------------------------------------------------------------------


async def _create_held(task: Task) -> Planned:
    return await _create(task, "principalId")


async def _create_given(task: Task) -> Planned:
    return await _create(task, "resourceId")


async def _create(task: Task, mine: str) -> Planned:
    """`mine` is the member that the path says already; it must say the same."""
    require_known(task.body, *_MEMBERS)
    context, fields = task.context, Fields(task.body)
    if (fields.text(mine) or task.owner.id).lower() != task.owner.id:
        raise fields.refuse(mine, "is not the object that the address names")
    named = {**task.body, mine: task.owner.id}
    holder = await _principal(context, Fields(named), "principalId")
    resource = await _principal(context, Fields(named), "resourceId")
    role_id = fields.required_text("appRoleId").lower()
    role = await _role(context, fields, resource.value, holder.value, role_id)
    made = AppRoleAssignment(
        id=context.entropy.guid(),
        tenant_id=context.tenant_id,
        principal_id=holder.value.id,
        resource_id=resource.value.id,
        role_id=role_id,
        created_at=context.now,
    )
    same = {"principal_id": made.principal_id, "resource_id": made.resource_id, "role_id": role_id}
    if (await context.store.page(APP_ROLE_ASSIGNMENTS, where=same, limit=1)).items:
        words = "Permission being assigned already exists on the object"
        raise Failure(FailureKind.INVALID_PARAMETER, words, code="Request_BadRequest")
    batch = await _pinned(context, resource.value) + assign(made, holder, resource.value, role)
    body = await _document(context, made)
    return Planned(status=201, body=body, batch=batch, target=made.id, name=holder.value.display_name)


async def _delete(task: Task) -> Planned:
    row: Versioned[AppRoleAssignment] = task.target.row
    holder = await task.context.store.get(PRINCIPALS, row.value.principal_id)
    resource = await task.context.store.get(PRINCIPALS, row.value.resource_id)
    assert holder is not None  # it is referenced
    assert resource is not None  # so is it
    return Planned(status=204, batch=unassign(row, holder, resource.value), name=holder.value.display_name)


async def _principal(context: Context, fields: Fields, name: str) -> Versioned[Principal]:
    key = fields.required_text(name)
    row = await context.store.get(PRINCIPALS, key.lower()) if is_guid(key) else None
    if row is None or row.value.tenant_id != context.tenant_id:
        raise fields.refuse(name, f"names '{key[:100]}', which does not exist in the directory")
    if name == "resourceId" and row.value.type is not PrincipalType.APPLICATION:
        raise fields.refuse(name, "is not the service principal of an application")
    return row


async def _role(context: Context, fields: Fields, resource: Principal, holder: Principal, role_id: str) -> AppRole | None:
    if role_id == NO_ROLE:
        return None
    offered = {one.id: one for one in await offered_roles(context.store, resource)}
    role = offered.get(role_id)
    if role is None or not role.enabled:
        raise fields.refuse("appRoleId", f"names '{role_id[:100]}', which the resource does not offer")
    wanted = "User" if holder.type in _KINDS else "Application"
    if wanted not in role.member_types:
        raise fields.refuse("appRoleId", f"names a role whose allowed member types do not include {wanted}")
    return role


async def _pinned(context: Context, resource: Principal) -> Batch:
    """The resource's application at its next version: what its roles are must not change meanwhile, or be read without this one."""
    page = await context.store.page(APPLICATIONS, where={"client_id": resource.client_id}, limit=1)
    return Batch.of(*(Put(collection=APPLICATIONS, value=row.value, expect=row.version) for row in page.items))


ASSIGNMENTS_SET: Final = EntitySet(
    name="appRoleAssignments",
    entity=_TYPE,
    area=Area.APP_ROLE_ASSIGNMENTS,
    rows=_held,
    find=_find,
    create=_create_held,
    delete=_delete,
)
"""Below whoever holds the roles: a service principal, a user, a group."""
ASSIGNED_TO_SET: Final = replace(ASSIGNMENTS_SET, name="appRoleAssignedTo", rows=_given, create=_create_given)
"""Below the resource."""
