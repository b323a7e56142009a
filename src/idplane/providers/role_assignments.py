"""Microsoft.Authorization/roleAssignments: giving and taking roles (control-plane.md sections 5.5, 6, 7.3 and 9).

Whoever holds `roleAssignments/write` at a scope may give any role there, as in Azure, unless he holds it under a condition on what
he gives (`assignment_conditions`). An assignment never changes its principal, role or scope, so what a PUT may update is its
description and its condition.

Races are settled by the store: assigning a custom role raises the role's version, so that a delete or change of the role that was
decided before starts again and sees the assignment; an assignment refers to its principal and to the resource that its scope is or
lies in, so neither can go and leave it behind; and (principal, role, scope) is unique.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from idplane.arm.context import Context
from idplane.arm.declare import ANY_SCOPE, Deleted, Item, Listed, Listing, Lookup, Own, OwnWrite, ResourceType, StoredItem
from idplane.arm.envelope import timestamp
from idplane.model.directory import Principal
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId, is_guid
from idplane.model.roles import RoleAssignment, RoleDefinition
from idplane.model.values import JsonObject
from idplane.ports.collections import PRINCIPALS, ROLE_ASSIGNMENTS, ROLE_DEFINITIONS
from idplane.ports.store import ABSENT, Batch, ColumnValue, Delete, Put, Versioned
from idplane.providers.assignment_conditions import (
    StatedCondition,
    attributes_of_request,
    attributes_of_stored,
    role_id_of,
    stated_condition,
)
from idplane.providers.fields import Fields
from idplane.providers.filters import Condition, FunctionCall, invalid_filter, parse_filter
from idplane.providers.role_definitions import assignable_at, custom_role
from idplane.providers.scopes import ScopedQuery, definition_scope, require_scope, scoped_page
from idplane.rbac.builtin import BUILT_IN_ROLES

__all__ = ["ROLE_ASSIGNMENTS_TYPE"]

_TYPE = "Microsoft.Authorization/roleAssignments"
_DESCRIPTION_LIMIT = 2048
# What clients may call a principal's type. The answer always carries the real one: azure-mgmt-authorization sends "User" for
# everything unless told otherwise (control-plane.md section 6).
_PRINCIPAL_TYPES = frozenset({"user", "group", "serviceprincipal", "foreigngroup", "device", "msi", "application", "unknown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A PUT's body, read."""

    role_id: str
    principal_id: str
    description: str | None
    delegated_identity: str | None
    condition: StatedCondition


@dataclass(frozen=True, slots=True)
class _Filter:
    principal_id: str | None = None
    through_groups: bool = False
    below: bool = True


# Reading -------------------------------------------------------------------------------------------------------------


async def _find(context: Context, identifier: ResourceId) -> Versioned[RoleAssignment] | None:
    """The assignment with that name, if it stands at exactly that scope in the caller's tenant."""
    found = await context.store.get(ROLE_ASSIGNMENTS, identifier.name.lower())
    if found is None or found.value.tenant_id != context.tenant.id or found.value.scope_key != identifier.scope.key:
        return None
    return found


async def _get(lookup: Lookup) -> Item | None:
    found = await _find(lookup.context, lookup.id)
    return Item(body=_render(found.value)) if found is not None else None


async def _list(listing: Listing) -> Listed:
    context = listing.context
    wanted = _filter(context.query.get("$filter"))
    if context.query.get("tenantid", context.tenant.id).lower() not in {context.tenant.id, ""}:
        words = "The query parameter 'tenantId' must be the tenant of the access token."
        raise Failure(FailureKind.INVALID_PARAMETER, words, parameter="tenantId")
    await require_scope(context, listing.scope)
    either: tuple[dict[str, ColumnValue], ...] = ({},)
    if wanted.principal_id is not None:
        named = await context.access.principal_ids(wanted.principal_id) if wanted.through_groups else {wanted.principal_id}
        either = tuple({"principal_id": one} for one in sorted(named))
    query = ScopedQuery(
        collection=ROLE_ASSIGNMENTS,
        scope=listing.scope,
        below=wanted.below,
        either=either,
        keep=lambda one: one.tenant_id == context.tenant.id,
    )
    found, after = await scoped_page(context, query, after=listing.after, top=listing.top)
    return Listed(items=tuple(_render(one, listing.scope) for one in found), after=after)


def _filter(text: str | None) -> _Filter:
    wanted = _Filter()
    for condition in parse_filter(text):
        wanted = _narrowed(wanted, condition, text or "")
    return wanted


def _narrowed(wanted: _Filter, condition: Condition, text: str) -> _Filter:
    principal: str | None = None
    through_groups = wanted.through_groups
    if isinstance(condition, FunctionCall):
        if condition.name == "atscope" and condition.argument is None:
            return replace(wanted, below=False)
        if condition.name == "assignedto":
            principal, through_groups = condition.argument, True
    elif (condition.field, condition.operator) == ("principalid", "eq"):
        principal = condition.value
    if principal is None or wanted.principal_id not in {None, principal.lower()}:
        raise invalid_filter(text)
    return replace(wanted, principal_id=principal.lower(), through_groups=through_groups)


# Creating ------------------------------------------------------------------------------------------------------------


async def _put(write: OwnWrite) -> StoredItem:
    context, scope, name = write.context, write.id.scope, write.id.name.lower()
    if not is_guid(name):
        raise _refused(
            f"The role assignment ID '{name[:100]}' is not valid. The role assignment ID must be a GUID.",
            "InvalidRoleAssignmentId",
        )
    wanted = _wanted(write.body)
    proof = await require_scope(context, scope)
    old = await context.store.get(ROLE_ASSIGNMENTS, name)
    if old is not None:
        return _updated(old, wanted, scope, context)
    role = await _role(context, wanted.role_id, scope)
    principal = await _principal(context, wanted.principal_id)
    await _require_new(context, wanted, scope)
    await _require_room(context, scope)
    value = RoleAssignment(
        id=name,
        tenant_id=context.tenant.id,
        scope=str(scope),
        role_id=wanted.role_id,
        principal_id=principal.id,
        principal_type=principal.type.rbac_type,
        created_at=context.now,
        changed_at=context.now,
        created_by=context.caller.principal_id,
        changed_by=context.caller.principal_id,
        description=wanted.description,
        condition=wanted.condition.text,
        condition_version=wanted.condition.version,
        delegated_identity=wanted.delegated_identity,
        anchor=proof.value.id.key if proof is not None else None,
    )
    batch = Batch.of(Put(collection=ROLE_ASSIGNMENTS, value=value, expect=ABSENT))
    if role is not None:
        batch += Batch.of(Put(collection=ROLE_DEFINITIONS, value=role.value, expect=role.version))
    return StoredItem(body=_render(value), created=True, batch=batch)


def _wanted(body: JsonObject) -> _Wanted:
    fields = Fields(body).inner("properties")
    role_id = role_id_of(fields.required_text("roleDefinitionId"))
    if role_id is None:
        raise _refused(
            "The role definition ID is not valid. It must end with /providers/Microsoft.Authorization/roleDefinitions/{GUID}.",
            "InvalidRoleDefinitionId",
        )
    principal_id = fields.required_text("principalId")
    if not is_guid(principal_id):
        raise _refused("A valid principal ID must be provided for role assignment.", "InvalidPrincipalId")
    _check_principal_type(fields.text("principalType"))
    return _Wanted(
        role_id=role_id,
        principal_id=principal_id.lower(),
        description=fields.text("description", limit=_DESCRIPTION_LIMIT),
        delegated_identity=fields.text("delegatedManagedIdentityResourceId"),
        condition=stated_condition(fields),
    )


def _check_principal_type(sent: str | None) -> None:
    if sent is not None and sent.lower() not in _PRINCIPAL_TYPES:
        raise Failure(
            FailureKind.PRINCIPAL_TYPE,
            f"The principal type '{sent[:100]}' is not valid. It must be User, Group, ServicePrincipal, ForeignGroup or Device.",
            type=sent[:100],
        )


def _updated(old: Versioned[RoleAssignment], wanted: _Wanted, scope: ResourceId, context: Context) -> StoredItem:
    value = old.value
    same = (value.tenant_id, value.principal_id, value.role_id, value.scope_key) == (
        context.tenant.id,
        wanted.principal_id,
        wanted.role_id,
        scope.key,
    )
    if not same:
        raise Failure(
            FailureKind.ROLE_ASSIGNMENT_UPDATE,
            "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
            id=value.id,
        )
    condition = wanted.condition
    if (value.description, value.condition) == (wanted.description, condition.text):
        return StoredItem(body=_render(value), created=False, batch=Batch())
    value = replace(
        value,
        description=wanted.description,
        condition=condition.text,
        condition_version=condition.version,
        changed_at=context.now,
        changed_by=context.caller.principal_id,
    )
    batch = Batch.of(Put(collection=ROLE_ASSIGNMENTS, value=value, expect=old.version))
    return StoredItem(body=_render(value), created=False, batch=batch)


async def _role(context: Context, role_id: str, scope: ResourceId) -> Versioned[RoleDefinition] | None:
    """Check that the role exists and is assignable here; the stored one if it is a custom role."""
    if role_id in BUILT_IN_ROLES:
        return None
    role = await custom_role(context, role_id)
    if role is None:
        raise Failure(
            FailureKind.ROLE_DEFINITION_NOT_FOUND,
            f"The specified role definition with ID '{role_id.replace('-', '')}' does not exist.",
            id=role_id,
        )
    if not assignable_at(role.value, await context.access.lineage(scope)):
        raise _refused(
            f"The role definition '{role.value.name}' is not assignable at scope '{scope}'.",
            "RoleAssignmentScopeNotAssignableToRoleDefinition",
        )
    if scope.is_management_group and any(one.data_actions for one in role.value.permissions):
        raise _refused(
            f"The role definition '{role.value.name}' has data actions. Custom roles with data actions are not assignable at "
            "management groups.",
            "RoleAssignmentScopeNotAssignableToRoleDefinition",
        )
    return role


async def _principal(context: Context, principal_id: str) -> Principal:
    found = await context.store.get(PRINCIPALS, principal_id)
    if found is None or found.value.tenant_id != context.tenant.id:
        # The CLI looks for " does not exist in the directory " to decide whether to try again.
        shown, tenant = principal_id.replace("-", ""), context.tenant.id
        raise Failure(
            FailureKind.PRINCIPAL_NOT_FOUND,
            f"Principal {shown} does not exist in the directory {tenant}. Check that you have the correct principal ID.",
            principal=principal_id,
            tenant=tenant,
        )
    return found.value


async def _require_new(context: Context, wanted: _Wanted, scope: ResourceId) -> None:
    where: dict[str, ColumnValue] = {
        "principal_id": wanted.principal_id,
        "role_id": wanted.role_id,
        "scope_key": scope.key,
    }
    same = await context.store.page(ROLE_ASSIGNMENTS, where=where, limit=1)
    if same.items:
        existing = same.items[0].value.id
        raise Failure(
            FailureKind.ROLE_ASSIGNMENT_EXISTS,
            f"The role assignment already exists. The ID of the existing role assignment is {existing.replace('-', '')}.",
            id=existing,
        )


async def _require_room(context: Context, scope: ResourceId) -> None:
    profile = context.profile
    if scope.subscription is not None:
        kind, limit, place = "subscription", profile.role_assignments_per_subscription, f"/subscriptions/{scope.subscription}"
    elif scope.is_management_group:
        kind, limit, place = "management group", profile.role_assignments_per_management_group, scope.key
    else:
        return
    if limit is not None and await context.store.count(ROLE_ASSIGNMENTS, under=("scope_key", place), limit=limit) >= limit:
        raise Failure(
            FailureKind.LIMIT_EXCEEDED,
            f"No more role assignments can be created: the {kind} has reached its limit of {limit}.",
            code="RoleAssignmentLimitExceeded",
            limit=str(limit),
        )


# Deleting ------------------------------------------------------------------------------------------------------------


async def _delete(lookup: Lookup) -> Deleted | None:
    context = lookup.context
    old = await _find(context, lookup.id)
    if old is None:
        return None
    # Another assignment may have taken the name since the caller was let in: conditions are about the one that goes.
    await context.require(context.action, lookup.id, attributes=attributes_of_stored(old.value))
    batch = Batch.of(Delete(collection=ROLE_ASSIGNMENTS, key=old.value.id, expect=old.version))
    return Deleted(batch=batch, body=_render(old.value))


# Words ---------------------------------------------------------------------------------------------------------------


def _refused(detail: str, code: str) -> Failure:
    return Failure(FailureKind.INVALID_PARAMETER, detail, code=code)


def _render(one: RoleAssignment, asked: ResourceId = ROOT) -> JsonObject:
    """An assignment as it is shown at the scope `asked`.

    What a subscription inherits names the role under that subscription, since clients look the role up among those listed there.
    """
    scope = ResourceId.parse(one.scope)
    prefix = "" if scope == ROOT else str(scope)
    roles = definition_scope(scope) or definition_scope(asked)
    properties = {
        "roleDefinitionId": f"{roles}/providers/Microsoft.Authorization/roleDefinitions/{one.role_id}",
        "principalId": one.principal_id,
        "principalType": one.principal_type,
        "scope": one.scope,
        "condition": one.condition,
        "conditionVersion": one.condition_version,
        "createdOn": timestamp(one.created_at),
        "updatedOn": timestamp(one.changed_at),
        "createdBy": one.created_by or None,
        "updatedBy": one.changed_by or None,
        "delegatedManagedIdentityResourceId": one.delegated_identity,
        "description": one.description,
    }
    # The description has no nulls here: what is not there is left out.
    known = {name: value for name, value in properties.items() if value is not None}
    return {"id": f"{prefix}/providers/{_TYPE}/{one.id}", "type": _TYPE, "name": one.id, "properties": known}


ROLE_ASSIGNMENTS_TYPE = ResourceType(
    name=_TYPE,
    api_versions=(
        "2022-04-01",
        "2021-04-01-preview",
        "2020-10-01-preview",
        "2020-08-01-preview",
        "2020-04-01-preview",
        "2020-03-01-preview",
        "2018-09-01-preview",
        "2018-07-01",
        "2018-01-01-preview",
        "2017-10-01-preview",
        "2015-07-01",
    ),
    placements=ANY_SCOPE,
    own=Own(get=_get, list=_list, put=_put, delete=_delete),
    located=False,
    taggable=False,
    system_data=False,
    patchable=False,
    attributes=attributes_of_request,
    logged=(
        "roleDefinitionId",
        "principalId",
        "principalType",
        "scope",
        "condition",
        "conditionVersion",
        "description",
        "delegatedManagedIdentityResourceId",
    ),
)
