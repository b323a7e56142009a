"""Microsoft.Authorization/roleDefinitions: the built-in roles and a tenant's custom ones (control-plane.md sections 5.5, 6 and 7.3).

A role is shown where it matters: at a scope that one of its assignable scopes contains, and by id also above such a scope. Writing or
deleting one needs the permission on every scope where it can be assigned, before and after the change, because the change reaches
all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from idplane.arm.context import Context
from idplane.arm.declare import ANY_SCOPE, Deleted, Item, Listed, Listing, Lookup, Own, OwnWrite, ResourceType, StoredItem
from idplane.arm.envelope import timestamp
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId, is_guid
from idplane.model.roles import RoleDefinition
from idplane.model.values import JsonObject
from idplane.ports.collections import ROLE_ASSIGNMENTS, ROLE_DEFINITIONS
from idplane.ports.store import ABSENT, Batch, Delete, Put, Versioned
from idplane.providers.fields import Fields
from idplane.providers.filters import Comparison, Condition, invalid_filter, parse_filter
from idplane.providers.role_actions import read_permission, render_permission
from idplane.providers.scopes import definition_scope, require_scope
from idplane.rbac.builtin import BUILT_IN_ROLES

__all__ = ["ROLE_DEFINITIONS_TYPE", "assignable_at", "custom_role"]

# Limits of control-plane.md section 7.3, and bounds of our own where Azure names none.
_NAME_LIMIT = 512
_DESCRIPTION_LIMIT = 2048
_SCOPES_LIMIT = 2000
_BLOCKS_LIMIT = 64
# The first api-version whose definitions say when and by whom they were made.
_DATED_SINCE = "2022-05-01"


@dataclass(frozen=True, slots=True)
class _Filter:
    name: str | None = None
    built_in: bool | None = None
    below: bool = False

    async def admits(self, role: RoleDefinition, scope: ResourceId, context: Context) -> bool:
        if self.name is not None and role.name.lower() != self.name:
            return False
        if self.built_in is not None and role.built_in != self.built_in:
            return False
        if self.below:
            return await _matters_at(role, scope, context)
        return assignable_at(role, await context.access.lineage(scope))


def assignable_at(role: RoleDefinition, lineage: Sequence[str]) -> bool:
    """Whether the role may be assigned at the scope of this lineage: it lies at or below an assignable scope."""
    return any(one.lower() in lineage for one in role.assignable_scopes)


async def custom_role(context: Context, role_id: str) -> Versioned[RoleDefinition] | None:
    """A custom role of the caller's tenant by its lower-case GUID, with its version."""
    found = await context.store.get(ROLE_DEFINITIONS, role_id)
    return found if found is not None and found.value.tenant_id == context.tenant.id else None


# Reading -------------------------------------------------------------------------------------------------------------


async def _get(lookup: Lookup) -> Item | None:
    role_id = lookup.id.name.lower()
    role = BUILT_IN_ROLES.get(role_id)
    if role is None:
        found = await custom_role(lookup.context, role_id)
        role = found.value if found is not None else None
    if role is None or not await _matters_at(role, lookup.id.scope, lookup.context):
        return None
    return Item(body=_render(role, lookup.id.scope, lookup.context))


async def _list(listing: Listing) -> Listed:
    """Built-in roles on the first page, then custom roles in pages."""
    context = listing.context
    wanted = _filter(context.query.get("$filter"))
    await require_scope(context, listing.scope)
    roles: list[RoleDefinition] = []
    if listing.after is None:
        roles.extend(BUILT_IN_ROLES.values())
    where: dict[str, str | int | None] = {"tenant_id": context.tenant.id}
    if wanted.name is not None:
        where["role_name"] = wanted.name
    page = await context.store.page(ROLE_DEFINITIONS, where=where, after=listing.after, limit=listing.top)
    roles.extend(one.value for one in page.items)
    shown = [role for role in roles if await wanted.admits(role, listing.scope, context)]
    return Listed(items=tuple(_render(role, listing.scope, context) for role in shown), after=page.after)


def _filter(text: str | None) -> _Filter:
    wanted = _Filter()
    for condition in parse_filter(text):
        wanted = _narrowed(wanted, condition, text or "")
    return wanted


def _narrowed(wanted: _Filter, condition: Condition, text: str) -> _Filter:
    if isinstance(condition, Comparison) and condition.operator == "eq":
        if condition.field == "rolename":
            return replace(wanted, name=condition.value.lower())
        if condition.field == "type" and condition.value.lower() in {"builtinrole", "customrole"}:
            return replace(wanted, built_in=condition.value.lower() == "builtinrole")
    elif not isinstance(condition, Comparison) and condition.name == "atscopeandbelow" and condition.argument is None:
        return replace(wanted, below=True)
    raise invalid_filter(text)


# Writing -------------------------------------------------------------------------------------------------------------


async def _put(write: OwnWrite) -> StoredItem:
    context, role_id = write.context, write.id.name.lower()
    old = await _writable(context, role_id)
    role = _parsed(write.body, role_id, context, old.value if old is not None else None)
    _require_named_data(role)
    await _require_everywhere(context, role, old)
    for scope in role.assignable_scopes:
        await require_scope(context, ResourceId.parse(scope))
    await _require_free_name(context, role)
    if old is None:
        await _require_room(context)
    else:
        await _require_assignments_covered(context, role)
    batch = Batch.of(Put(collection=ROLE_DEFINITIONS, value=role, expect=ABSENT if old is None else old.version))
    return StoredItem(body=_render(role, write.id.scope, context), created=old is None, batch=batch)


async def _delete(lookup: Lookup) -> Deleted | None:
    context, role_id = lookup.context, lookup.id.name.lower()
    _refuse_built_in(role_id)
    old = await custom_role(context, role_id)
    if old is None or not await _matters_at(old.value, lookup.id.scope, context):
        return None
    for scope in old.value.assignable_scopes:
        await context.require(lookup.type.permission("delete"), ResourceId.parse(scope))
    page = await context.store.page(ROLE_ASSIGNMENTS, where={"role_id": role_id}, limit=1)
    if page.items:
        raise Failure(FailureKind.ROLE_DEFINITION_IN_USE, "There are existing role assignments referencing role.", id=role_id)
    # An assignment of the role raises its version, so one that was made since makes this delete start again.
    batch = Batch.of(Delete(collection=ROLE_DEFINITIONS, key=role_id, expect=old.version))
    return Deleted(batch=batch, body=_render(old.value, lookup.id.scope, context))


async def _writable(context: Context, role_id: str) -> Versioned[RoleDefinition] | None:
    if not is_guid(role_id):
        raise _invalid(
            f"The role definition ID '{role_id[:100]}' is not valid. The role definition ID must be a GUID.",
            code="InvalidRoleDefinitionId",
        )
    _refuse_built_in(role_id)
    found = await context.store.get(ROLE_DEFINITIONS, role_id)
    if found is not None and found.value.tenant_id != context.tenant.id:
        raise Failure(FailureKind.CONFLICT, f"The role definition ID '{role_id}' is not available.")
    return found


def _refuse_built_in(role_id: str) -> None:
    role = BUILT_IN_ROLES.get(role_id)
    if role is not None:
        raise _invalid(f"The role definition '{role.name}' is built in and cannot be changed or deleted.")


def _require_named_data(role: RoleDefinition) -> None:
    """A role that can be assigned in a whole management group names its data actions one by one."""
    wild = [action for block in role.permissions for action in block.data_actions if "*" in action]
    if wild and any(scope.is_management_group for scope in _scopes(role)):
        raise Failure(
            FailureKind.INVALID_PARAMETER,
            f"The data action '{wild[0]}' has a wildcard, which roles that are assignable at a management group cannot have.",
            code="InvalidDataActionOrNotDataAction",
        )


async def _require_everywhere(context: Context, role: RoleDefinition, old: Versioned[RoleDefinition] | None) -> None:
    """The permission at every scope that the role reaches or reached."""
    scopes = set(_scopes(role)) | set(_scopes(old.value) if old is not None else ())
    for scope in sorted(scopes, key=lambda it: it.key):
        await context.require(context.action, scope)


async def _require_free_name(context: Context, role: RoleDefinition) -> None:
    """Role names are unique in the tenant, built-in ones included. The store's own constraint settles races."""
    name = role.name.lower()
    taken = any(built_in.name.lower() == name for built_in in BUILT_IN_ROLES.values())
    page = await context.store.page(ROLE_DEFINITIONS, where={"tenant_id": context.tenant.id, "role_name": name}, limit=1)
    if taken or any(one.value.id != role.id for one in page.items):
        raise Failure(
            FailureKind.ROLE_NAME_EXISTS,
            f"A role definition named '{role.name}' already exists in this directory. Role names must be unique.",
            name=role.name,
        )


async def _require_room(context: Context) -> None:
    limit = context.profile.custom_roles_per_tenant
    if limit is None:
        return
    if await context.store.count(ROLE_DEFINITIONS, where={"tenant_id": context.tenant.id}, limit=limit) >= limit:
        raise Failure(
            FailureKind.LIMIT_EXCEEDED,
            f"The directory already has {limit} custom role definitions, and no more can be created.",
            code="RoleDefinitionLimitExceeded",
            limit=str(limit),
        )


async def _require_assignments_covered(context: Context, role: RoleDefinition) -> None:
    """An assignable scope cannot be taken away while the role is assigned there."""
    for one in await context.store.all(ROLE_ASSIGNMENTS, where={"role_id": role.id}):
        if not assignable_at(role, await context.access.lineage(ResourceId.parse(one.value.scope))):
            raise Failure(
                FailureKind.ROLE_DEFINITION_IN_USE,
                f"The role is assigned at scope '{one.value.scope}', which its assignable scopes must go on to cover.",
                id=role.id,
            )


# The body ------------------------------------------------------------------------------------------------------------


def _parsed(body: JsonObject, role_id: str, context: Context, old: RoleDefinition | None) -> RoleDefinition:
    fields = Fields(body).inner("properties")
    name = fields.required_text("roleName", limit=_NAME_LIMIT)
    blocks = fields.inners("permissions", limit=_BLOCKS_LIMIT)
    if not blocks:
        raise fields.refuse("permissions", "must hold at least one permission block")
    return RoleDefinition(
        id=role_id,
        tenant_id=context.tenant.id,
        name=name,
        description=fields.text("description", limit=_DESCRIPTION_LIMIT) or "",
        built_in=False,
        permissions=tuple(read_permission(block) for block in blocks),
        assignable_scopes=_assignable_scopes(fields),
        created_at=_since(old, context.now),
        changed_at=context.now,
        created_by=old.created_by if old is not None else context.caller.principal_id,
        changed_by=context.caller.principal_id,
    )


def _since(old: RoleDefinition | None, now: datetime) -> datetime:
    return old.created_at if old is not None and old.created_at is not None else now


def _assignable_scopes(fields: Fields) -> tuple[str, ...]:
    """Subscriptions, groups, and at most one management group; no role of a tenant's own can be assignable at `/` (CP section 7.3)."""
    texts = fields.texts("assignableScopes", limit=_SCOPES_LIMIT)
    if not texts:
        raise fields.refuse("assignableScopes", "must hold at least one scope")
    scopes = {scope.key: scope for scope in map(ResourceId.parse, texts)}
    for scope in scopes.values():
        if not scope.is_management_group and (scope.subscription is None or scope.namespace is not None):
            raise fields.refuse(
                "assignableScopes", f"holds '{scope}', which is no management group, subscription or resource group"
            )
    if sum(scope.is_management_group for scope in scopes.values()) > 1:
        raise fields.refuse("assignableScopes", "holds more than one management group")
    return tuple(map(str, scopes.values()))


# Words ---------------------------------------------------------------------------------------------------------------


def _invalid(detail: str, *, code: str = "") -> Failure:
    facts = {"code": code} if code else {}
    return Failure(FailureKind.ROLE_DEFINITION_INVALID, detail, **facts)


def _scopes(role: RoleDefinition) -> tuple[ResourceId, ...]:
    return tuple(ResourceId.parse(text) for text in role.assignable_scopes)


async def _matters_at(role: RoleDefinition, scope: ResourceId, context: Context) -> bool:
    """Assignable at the scope, or somewhere below it."""
    if assignable_at(role, await context.access.lineage(scope)):
        return True
    for one in _scopes(role):
        if scope.key in await context.access.lineage(one):
            return True
    return False


def _render(role: RoleDefinition, scope: ResourceId, context: Context) -> JsonObject:
    properties: dict[str, object] = {
        "roleName": role.name,
        "type": "BuiltInRole" if role.built_in else "CustomRole",
        "description": role.description,
        "assignableScopes": list(role.assignable_scopes),
        "permissions": [render_permission(one) for one in role.permissions],
    }
    if context.api_version >= _DATED_SINCE:
        properties |= {
            "createdOn": timestamp(role.created_at) if role.created_at else None,
            "updatedOn": timestamp(role.changed_at) if role.changed_at else None,
            "createdBy": role.created_by or None,
            "updatedBy": role.changed_by or None,
        }
    return {
        "id": f"{definition_scope(scope)}/providers/Microsoft.Authorization/roleDefinitions/{role.id}",
        "type": "Microsoft.Authorization/roleDefinitions",
        "name": role.id,
        "properties": properties,
    }


ROLE_DEFINITIONS_TYPE = ResourceType(
    name="Microsoft.Authorization/roleDefinitions",
    api_versions=(
        "2022-05-01-preview",
        "2022-04-01",
        "2018-07-01",
        "2018-01-01-preview",
        "2017-05-01",
        "2016-07-01",
        "2015-07-01",
        "2015-06-01",
    ),
    placements=ANY_SCOPE,
    own=Own(get=_get, list=_list, put=_put, delete=_delete),
    located=False,
    taggable=False,
    system_data=False,
    patchable=False,
    # A PUT that updates answers 201 as well: clients take 200 for a failure (control-plane.md section 6).
    updated_status=201,
)
